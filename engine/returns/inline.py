"""Types written into the graph: `str`, `list[int]`, `yes|no`, `float?`, and mappings of these.

A value is valid if the JSON Schema accepts it, with one addition: an optional key may be left out
and is then null. Nothing is converted but `1.0` to an integer and `1` to a float: a number written
as text is refused, since a model that reads the error writes it right the next time.
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
from .validator import excerpt, location, summary

# A mapping's type is a TypedDict, since its values are stored and read as plain JSON.
_typed_dict = cast("Callable[[str, Mapping[str, object]], type]", TypedDict)
_literal = cast("Any", Literal)  # Any: its words are known only at run time


class ScalarShape(Struct, frozen=True):
    """Text, a number, or true and false."""

    name: str

    @property
    def schema(self) -> dict[str, JSON]:
        """The JSON Schema of valid values."""
        return {"type": _SCALARS[self.name].in_schema}

    @property
    def type(self) -> object:
        """The Python type of valid values."""
        return _SCALARS[self.name].type

    def validate(self, value: JSON, path: KeyPath, errors: list[str]) -> JSON:
        """The value as it is stored; what is wrong with it is added to `errors`."""
        scalar = _SCALARS[self.name]
        if self.name == "int" and isinstance(value, float) and value.is_integer():
            return int(value)
        if self.name == "float" and type(value) is int:
            return _as_float(value, path, errors)
        if type(value) is not scalar.type:
            errors.append(f"{location(path)} must be {scalar.noun}, not {excerpt(value)}")
        return value


class EnumType(Struct, frozen=True):
    """One of these words."""

    words: tuple[str, ...]

    @property
    def schema(self) -> dict[str, JSON]:
        """The JSON Schema of valid values."""
        return {"type": "string", "enum": list(self.words)}

    @property
    def type(self) -> object:
        """The Python type of valid values."""
        return operator.getitem(_literal, self.words)

    def validate(self, value: JSON, path: KeyPath, errors: list[str]) -> JSON:
        """The value as it is stored; what is wrong with it is added to `errors`."""
        if value not in self.words:
            text = f"{location(path)} must be {' or '.join(self.words)}, not {excerpt(value)}"
            near = closest(value, self.words) if isinstance(value, str) else None
            errors.append(f"{text}; did you mean {near!r}?" if near else text)
        return value


class ListShape(Struct, frozen=True):
    """A list whose items are all valid for `item`."""

    item: InlineType

    @property
    def schema(self) -> dict[str, JSON]:
        """The JSON Schema of valid values."""
        return {"type": "array", "items": self.item.schema}

    @property
    def type(self) -> object:
        """The Python type of valid values."""
        return GenericAlias(list, (self.item.type,))

    def validate(self, value: JSON, path: KeyPath, errors: list[str]) -> JSON:
        """The value as it is stored; what is wrong with it is added to `errors`."""
        if not isinstance(value, list):
            errors.append(f"{location(path)} must be a list, not {excerpt(value)}")
            return value
        return [self.item.validate(item, (*path, at), errors) for at, item in enumerate(value)]


class OptionalType(Struct, frozen=True):
    """A value that is valid for `value`, or null."""

    value: ScalarShape | EnumType | ListShape

    @property
    def schema(self) -> dict[str, JSON]:
        """The JSON Schema of valid values."""
        return {"anyOf": [self.value.schema, {"type": "null"}]}

    @property
    def type(self) -> object:
        """The Python type of valid values."""
        return cast("type", self.value.type) | None

    def validate(self, value: JSON, path: KeyPath, errors: list[str]) -> JSON:
        """The value as it is stored; what is wrong with it is added to `errors`."""
        return None if value is None else self.value.validate(value, path, errors)


class ObjectType(Struct, frozen=True):
    """An object with exactly these keys; the optional ones may be left out."""

    name: str
    fields: Mapping[str, InlineType]

    @property
    def schema(self) -> dict[str, JSON]:
        """The JSON Schema of valid values, all keys required: strict structured output wants it."""
        return {
            "type": "object",
            "properties": {key: part.schema for key, part in self.fields.items()},
            "required": list(self.fields),
            "additionalProperties": False,
        }

    @property
    def type(self) -> object:
        """The Python type of valid values."""
        return _typed_dict(self.name, {key: part.type for key, part in self.fields.items()})

    def validate(self, value: JSON, path: KeyPath, errors: list[str]) -> JSON:
        """The value as it is stored; what is wrong with it is added to `errors`."""
        if not isinstance(value, dict):
            keys = ", ".join(self.fields)
            text = f"{location(path)} must be an object with the keys {keys}, not {excerpt(value)}"
            errors.append(text)
            return value
        for key in [key for key in value if key not in self.fields]:
            text = f"{location((*path, key))} is not asked for"
            near = closest(key, [known for known in self.fields if known not in value])
            errors.append(f"{text}; did you mean {near!r}?" if near else text)
        validated: dict[str, JSON] = {}
        for key, part in self.fields.items():
            if key in value or isinstance(part, OptionalType):
                validated[key] = part.validate(value.get(key), (*path, key), errors)
            else:
                errors.append(f"{location((*path, key))} is missing")
        return validated


InlineType: TypeAlias = ScalarShape | EnumType | ListShape | OptionalType | ObjectType


class InlineValidator(Struct, frozen=True):
    """Validates against a type written into the graph."""

    root: InlineType

    @property
    def schema(self) -> Mapping[str, JSON]:
        """The JSON Schema of valid values."""
        return self.root.schema

    @property
    def type(self) -> object:
        """The Python type of valid values."""
        return self.root.type

    def validate(self, value: JSON) -> JSON:
        """The value as it is stored. Raises `ValueError`, one line, if it is invalid."""
        errors: list[str] = []
        validated = self.root.validate(value, (), errors)
        if errors:
            raise ValueError(summary(errors))
        return validated

    @property
    def is_text(self) -> bool:
        """Whether valid values are text, which a model may write without quotes."""
        root = self.root.value if isinstance(self.root, OptionalType) else self.root
        return isinstance(root, EnumType) or root == ScalarShape("str")


class _ScalarInfo(Struct, frozen=True):
    type: type
    in_schema: str
    noun: str


_SCALARS: Mapping[str, _ScalarInfo] = {
    "str": _ScalarInfo(str, "string", "text"),
    "int": _ScalarInfo(int, "integer", "a whole number"),
    "float": _ScalarInfo(float, "number", "a number"),
    "bool": _ScalarInfo(bool, "boolean", "true or false"),
}
SCALARS = tuple(_SCALARS)


def _as_float(value: int, path: KeyPath, errors: list[str]) -> JSON:
    try:
        return float(value)
    except OverflowError:
        errors.append(f"{location(path)} is too large, {excerpt(value)}")
        return value


_CODE = "G030"
_MAX_DEPTH = 16  # no model fills more; and a mapping made in Python may contain itself
_WORD = re.compile(r"\w[\w.+-]*")
_MEANT: Mapping[str, str] = {"number": "float", "double": "float", "text": "str"}
_FORMS = "str, int, float, bool, list[...], one of some words such as yes|no, or any of them with ?"


def read_inline(declared: object, name: str) -> InlineValidator:
    """Parse the type that a mapping or a text declares; `name` is the name of its Python type.

    Raises `DefinitionError` with all problems, each with its path inside `declared`.
    """
    parser = _InlineParser()
    root = parser.any(declared, (), name)
    if root is None:
        raise DefinitionError(parser.problems)
    return InlineValidator(root)


class _InlineParser(Struct):
    """Parses a declaration; a problem is added and gives None, so that the rest is parsed too."""

    problems: list[Problem] = field(default_factory=list[Problem])

    def any(self, declared: object, path: KeyPath, name: str) -> InlineType | None:
        if isinstance(declared, Mapping):
            return self._mapping(cast("Mapping[object, object]", declared), path, name)
        if not isinstance(declared, str):
            self._note(
                path, f"{declared!r} is not a type; write {_FORMS}, or a mapping of keys to them"
            )
            return None
        if declared.count("[") + declared.count("?") > _MAX_DEPTH:
            self._note(path, "this is nested too deeply; write less into one value")
            return None
        return self._text(declared, path)

    def _mapping(
        self, declared: Mapping[object, object], path: KeyPath, name: str
    ) -> ObjectType | None:
        if len(path) >= _MAX_DEPTH:
            self._note(path, "this is nested too deeply; write less into one value")
            return None
        if not declared:
            self._note(path, "a mapping needs at least one key, such as {answer: str}")
        fields: dict[str, InlineType] = {}
        for key, value in declared.items():
            at = (*path, str(key))
            self._check_key(key, at)
            inner = self.any(value, at, f"{name}_{key}")
            if inner is not None:
                fields[str(key)] = inner
        return None if self.problems else ObjectType(name, fields)

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

    def _text(
        self, declared: str, path: KeyPath
    ) -> ScalarShape | EnumType | ListShape | OptionalType | None:
        text = declared.strip()
        if text.endswith("?"):
            return self._optional(text, path)
        if text.startswith("list[") and text.endswith("]"):
            item = self._text(text[5:-1], path)
            return ListShape(item) if item else None
        if text in SCALARS:
            return ScalarShape(text)
        if "|" in text:
            return self._words(text, path)
        self._note_unknown(text, path)
        return None

    def _optional(self, text: str, path: KeyPath) -> OptionalType | None:
        inner = self._text(text[:-1], path)
        if isinstance(inner, OptionalType):
            self._note(path, f"{text!r} is optional twice; one ? is enough")
            return None
        return OptionalType(inner) if inner else None

    def _words(self, text: str, path: KeyPath) -> EnumType | None:
        words = tuple(word.strip() for word in text.split("|"))
        wrong = next((word for word in words if not _WORD.fullmatch(word)), None)
        if wrong is not None:
            message = (
                f"{wrong!r} in {text!r} is not a word; a word is letters, digits and any of _-.+"
            )
        elif len(set(words)) < len(words):
            message = f"{text!r} names a word twice"
        elif set(words) <= set(SCALARS):
            message = (
                f"{text!r} is a choice of types; a value has one type, or is one of some words"
            )
        else:
            return EnumType(words)
        self._note(path, message)
        return None

    def _note_unknown(self, text: str, path: KeyPath) -> None:
        if text == "list":
            self._note(path, "a list of what? write list[str]", suggestion="list[str]")
            return
        near = _MEANT.get(text.lower()) or closest(text.lower(), SCALARS)
        if text.lower() in SCALARS:
            near = text.lower()
        message = f"unknown type {text!r}" if text else "a type is missing here"
        self._note(path, message if near else f"{message}; write {_FORMS}", suggestion=near)

    def _note(
        self, path: KeyPath, message: str, *, suggestion: str | None = None, on_key: bool = False
    ) -> None:
        problem = Problem(_CODE, message, path=path, suggestion=suggestion, on_key=on_key)
        self.problems.append(problem)
