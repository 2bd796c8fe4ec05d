"""Reads a shape that is written into a graph, and tells everything that does not hold in it.

Shapes written into the graph: `str`, `list[int]`, `yes|no`, `float?`, and mappings of these.

What fits is what the JSON Schema lets pass, and one thing more: an optional key may be left out
and is then null. Nothing is converted but `1.0` to a whole number and `1` to a float: a number
written as text is refused, since a model that is told so writes it right the next time.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import Any, Literal, TypeAlias, TypedDict, cast

from msgspec import Struct, field

from ..errors import DefinitionError, KeyPath, Problem, closest
from ..messages import JSON
from .rule import named, shown, told

# A mapping's type is a TypedDict, since its values are kept and read as plain JSON.
_typed_dict = cast("Callable[[str, Mapping[str, object]], type]", TypedDict)
_literal = cast("Any", Literal)  # Any: its words are known only at run time


class Simple(Struct, frozen=True):
    """Text, a number, or true and false."""

    name: str

    @property
    def schema(self) -> dict[str, JSON]:
        """The JSON Schema of what fits."""
        return {"type": _SIMPLE[self.name].in_schema}

    @property
    def type(self) -> object:
        """The Python type of what fits."""
        return _SIMPLE[self.name].type

    def fit(self, value: JSON, place: KeyPath, faults: list[str]) -> JSON:
        """The value as it is kept; what does not fit is told in `faults`."""
        simple = _SIMPLE[self.name]
        if self.name == "int" and isinstance(value, float) and value.is_integer():
            return int(value)
        if self.name == "float" and type(value) is int:
            return _as_float(value, place, faults)
        if type(value) is not simple.type:
            faults.append(f"{named(place)} must be {simple.said}, not {shown(value)}")
        return value


class Words(Struct, frozen=True):
    """One of these words."""

    words: tuple[str, ...]

    @property
    def schema(self) -> dict[str, JSON]:
        """The JSON Schema of what fits."""
        return {"type": "string", "enum": list(self.words)}

    @property
    def type(self) -> object:
        """The Python type of what fits."""
        return operator.getitem(_literal, self.words)

    def fit(self, value: JSON, place: KeyPath, faults: list[str]) -> JSON:
        """The value as it is kept; what does not fit is told in `faults`."""
        if value not in self.words:
            text = f"{named(place)} must be {' or '.join(self.words)}, not {shown(value)}"
            near = closest(value, self.words) if isinstance(value, str) else None
            faults.append(f"{text}; did you mean {near!r}?" if near else text)
        return value


class ListOf(Struct, frozen=True):
    """Any number of values that all fit `item`."""

    item: Inline

    @property
    def schema(self) -> dict[str, JSON]:
        """The JSON Schema of what fits."""
        return {"type": "array", "items": self.item.schema}

    @property
    def type(self) -> object:
        """The Python type of what fits."""
        return GenericAlias(list, (self.item.type,))

    def fit(self, value: JSON, place: KeyPath, faults: list[str]) -> JSON:
        """The value as it is kept; what does not fit is told in `faults`."""
        if not isinstance(value, list):
            faults.append(f"{named(place)} must be a list, not {shown(value)}")
            return value
        return [self.item.fit(item, (*place, at), faults) for at, item in enumerate(value)]


class Optional(Struct, frozen=True):
    """A value that fits `value`, or null."""

    value: Simple | Words | ListOf

    @property
    def schema(self) -> dict[str, JSON]:
        """The JSON Schema of what fits."""
        return {"anyOf": [self.value.schema, {"type": "null"}]}

    @property
    def type(self) -> object:
        """The Python type of what fits."""
        return cast("type", self.value.type) | None

    def fit(self, value: JSON, place: KeyPath, faults: list[str]) -> JSON:
        """The value as it is kept; what does not fit is told in `faults`."""
        return None if value is None else self.value.fit(value, place, faults)


class Fields(Struct, frozen=True):
    """A mapping with exactly these keys; the optional ones may be left out."""

    name: str
    fields: Mapping[str, Inline]

    @property
    def schema(self) -> dict[str, JSON]:
        """The JSON Schema of what fits, all keys required: strict structured output wants it."""
        return {
            "type": "object",
            "properties": {key: part.schema for key, part in self.fields.items()},
            "required": list(self.fields),
            "additionalProperties": False,
        }

    @property
    def type(self) -> object:
        """The Python type of what fits."""
        return _typed_dict(self.name, {key: part.type for key, part in self.fields.items()})

    def fit(self, value: JSON, place: KeyPath, faults: list[str]) -> JSON:
        """The value as it is kept; what does not fit is told in `faults`."""
        if not isinstance(value, dict):
            keys = ", ".join(self.fields)
            text = f"{named(place)} must be an object with the keys {keys}, not {shown(value)}"
            faults.append(text)
            return value
        for key in [key for key in value if key not in self.fields]:
            text = f"{named((*place, key))} is not asked for"
            near = closest(key, [known for known in self.fields if known not in value])
            faults.append(f"{text}; did you mean {near!r}?" if near else text)
        fitted: dict[str, JSON] = {}
        for key, part in self.fields.items():
            if key in value or isinstance(part, Optional):
                fitted[key] = part.fit(value.get(key), (*place, key), faults)
            else:
                faults.append(f"{named((*place, key))} is missing")
        return fitted


Inline: TypeAlias = Simple | Words | ListOf | Optional | Fields


class InlineRule(Struct, frozen=True):
    """A shape written into the graph, as a rule."""

    root: Inline

    @property
    def schema(self) -> Mapping[str, JSON]:
        """The JSON Schema of what fits."""
        return self.root.schema

    @property
    def type(self) -> object:
        """The Python type of what fits."""
        return self.root.type

    def read(self, value: JSON) -> JSON:
        """The value as it is kept. Raises `ValueError`, one line, if it does not fit."""
        faults: list[str] = []
        fitted = self.root.fit(value, (), faults)
        if faults:
            raise ValueError(told(faults))
        return fitted

    @property
    def is_text(self) -> bool:
        """Whether what fits is text, so that a model may write it without quotes."""
        root = self.root.value if isinstance(self.root, Optional) else self.root
        return isinstance(root, Words) or root == Simple("str")


class _Sort(Struct, frozen=True):
    type: type
    in_schema: str
    said: str


_SIMPLE: Mapping[str, _Sort] = {
    "str": _Sort(str, "string", "text"),
    "int": _Sort(int, "integer", "a whole number"),
    "float": _Sort(float, "number", "a number"),
    "bool": _Sort(bool, "boolean", "true or false"),
}
SIMPLE = tuple(_SIMPLE)


def _as_float(value: int, place: KeyPath, faults: list[str]) -> JSON:
    try:
        return float(value)
    except OverflowError:
        faults.append(f"{named(place)} is too large, {shown(value)}")
        return value


_CODE = "G030"
_DEEPEST = 16  # no model fills more; and a mapping made in Python may contain itself
_WORD = re.compile(r"\w[\w.+-]*")
_MEANT: Mapping[str, str] = {"number": "float", "double": "float", "text": "str"}
_FORMS = "str, int, float, bool, list[...], one of some words such as yes|no, or any of them with ?"


def read_inline(declared: object, name: str) -> InlineRule:
    """The shape that a mapping or a text says; `name` is what its type is called.

    Raises `DefinitionError` with all problems, each with its path inside `declared`.
    """
    reading = _Reading()
    root = reading.any(declared, (), name)
    if root is None:
        raise DefinitionError(reading.problems)
    return InlineRule(root)


class _Reading(Struct):
    """What does not hold is noted and None is given back, so that the rest is read too."""

    problems: list[Problem] = field(default_factory=list[Problem])

    def any(self, declared: object, path: KeyPath, name: str) -> Inline | None:
        if isinstance(declared, Mapping):
            return self._mapping(cast("Mapping[object, object]", declared), path, name)
        if not isinstance(declared, str):
            self._note(
                path, f"{declared!r} is no shape; write {_FORMS}, or a mapping of keys to them"
            )
            return None
        if declared.count("[") + declared.count("?") > _DEEPEST:
            self._note(path, "this is nested too deeply; write less into one value")
            return None
        return self._text(declared, path)

    def _mapping(
        self, declared: Mapping[object, object], path: KeyPath, name: str
    ) -> Fields | None:
        if len(path) >= _DEEPEST:
            self._note(path, "this is nested too deeply; write less into one value")
            return None
        if not declared:
            self._note(path, "a mapping needs at least one key, such as {answer: str}")
        fields: dict[str, Inline] = {}
        for key, value in declared.items():
            at = (*path, str(key))
            self._check_key(key, at)
            inner = self.any(value, at, f"{name}_{key}")
            if inner is not None:
                fields[str(key)] = inner
        return None if self.problems else Fields(name, fields)

    def _check_key(self, key: object, path: KeyPath) -> None:
        if isinstance(key, str) and key.isidentifier():
            return
        near = re.sub(r"\W+", "_", str(key)).strip("_")
        self._note(
            path,
            f"the key {key!r} must be a name of letters, digits and _, as templates read it",
            suggestion=near if near.isidentifier() else None,
            on_key=True,
        )

    def _text(self, declared: str, path: KeyPath) -> Simple | Words | ListOf | Optional | None:
        text = declared.strip()
        if text.endswith("?"):
            return self._optional(text, path)
        if text.startswith("list[") and text.endswith("]"):
            item = self._text(text[5:-1], path)
            return ListOf(item) if item else None
        if text in SIMPLE:
            return Simple(text)
        if "|" in text:
            return self._words(text, path)
        self._note_unknown(text, path)
        return None

    def _optional(self, text: str, path: KeyPath) -> Optional | None:
        inner = self._text(text[:-1], path)
        if isinstance(inner, Optional):
            self._note(path, f"{text!r} is optional twice; one ? is enough")
            return None
        return Optional(inner) if inner else None

    def _words(self, text: str, path: KeyPath) -> Words | None:
        words = tuple(word.strip() for word in text.split("|"))
        wrong = next((word for word in words if not _WORD.fullmatch(word)), None)
        if wrong is not None:
            said = f"{wrong!r} in {text!r} is no word; a word is letters, digits and any of _-.+"
        elif len(set(words)) < len(words):
            said = f"{text!r} names a word twice"
        elif set(words) <= set(SIMPLE):
            said = f"{text!r} is a choice of types; a value has one type, or is one of some words"
        else:
            return Words(words)
        self._note(path, said)
        return None

    def _note_unknown(self, text: str, path: KeyPath) -> None:
        if text == "list":
            self._note(path, "a list of what? write list[str]", suggestion="list[str]")
            return
        near = _MEANT.get(text.lower()) or closest(text.lower(), SIMPLE)
        if text.lower() in SIMPLE:
            near = text.lower()
        said = f"unknown type {text!r}" if text else "a type is missing here"
        self._note(path, said if near else f"{said}; write {_FORMS}", suggestion=near)

    def _note(
        self, path: KeyPath, message: str, *, suggestion: str | None = None, on_key: bool = False
    ) -> None:
        problem = Problem(_CODE, message, path=path, suggestion=suggestion, on_key=on_key)
        self.problems.append(problem)
