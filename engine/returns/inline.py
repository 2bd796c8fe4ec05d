"""Types written into the graph: `str`, `list[int]`, `yes|not at all`, `float?`, mappings, lists.

A mapping declares an object, a list of one item a list of such items: `[{reason: str}]` is
`list[{reason: str}]`.

A value is valid if the JSON Schema accepts it, with one addition: an optional key may be left out
and is then null. Nothing is converted but `1.0` to an integer and `1` to a float: a number written
as text is refused, since a model that reads the error writes it right the next time.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
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
            words = map(repr, self.words) if any(" " in word for word in self.words) else self.words
            text = f"{location(path)} must be {' or '.join(words)}, not {excerpt(value)}"
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

    value: ScalarShape | EnumType | ListShape | ObjectType

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
_WORD = re.compile(r"""[^\s|?\[\]{}",:]+(\ [^\s|?\[\]{}",:]+)*""", re.VERBOSE)
_MEANT: Mapping[str, str] = {
    **dict.fromkeys(("number", "double", "decimal"), "float"),
    **dict.fromkeys(("text", "date", "datetime"), "str"),
    **dict.fromkeys(("list", "array", "tuple", "set", "sequence"), "list[str]"),
}
_OBJECTS = ("dict", "object", "mapping", "record", "json", "any")
_NULLS = ("none", "null")
_FORMS = (
    "str, int, float, bool, list[...], words such as yes|no, or any of them with ? if it may be "
    "null; an object is a mapping of keys to them"
)


def read_inline(declared: object, name: str) -> InlineValidator:
    """Parse the type that a mapping, a list or a text declares; `name` names its Python type.

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
        found: InlineType | None = None
        match declared:
            case _ if len(path) >= _MAX_DEPTH:
                self._note(path, _TOO_DEEP)
            case Mapping():
                found = self._mapping(cast("Mapping[object, object]", declared), path, name)
            case [item]:
                inner = self.any(item, (*path, 0), name)
                found = ListShape(inner) if inner else None
            case list() | tuple():
                self._note(path, *_not_one_item(cast("Sequence[object]", declared)))
            case str() if sum(map(declared.count, "[{?")) > _MAX_DEPTH:
                self._note(path, _TOO_DEEP)
            case str():
                found = self._text(declared, path, name)
            case type(__name__=known) if known in SCALARS:
                self._note(path, f"write the type {known} as a text", suggestion=known)
            case _:
                self._note(path, f"{declared!r} is not a type; write {_FORMS}")
        return found

    def _mapping(
        self, declared: Mapping[object, object], path: KeyPath, name: str
    ) -> ObjectType | None:
        if "type" in declared and {*declared} & {"properties", "items", "enum", "$defs"}:
            text = "this is a JSON Schema; write it to a file and name that (`returns: answer.json`"
            self._note(path, f"{text}), or write the keys with their types: {{answer: str}}")
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

    def _check_key(self, key: object, path: KeyPath, *, on_key: bool = True) -> None:
        if isinstance(key, str) and key.isidentifier():
            return
        near = re.sub(r"\W+", "_", str(key)).strip("_")
        self._note(
            path,
            f"the key {key!r} must be a name of letters, digits and _, as templates read it",
            suggestion=near if near.isidentifier() else None,
            on_key=on_key,
        )

    def _text(self, declared: str, path: KeyPath, name: str) -> InlineType | None:
        text = declared.strip()
        found: InlineType | None = None
        if text.endswith("?"):
            found = self._optional(text, path, name)
        elif text.startswith("list[") and _closes_at_end(text):
            item = self._text(text[5:-1], path, name)
            found = ListShape(item) if item else None
        elif text.startswith("{") and _closes_at_end(text):
            found = self._record(text, path, name)
        elif "|" in text:
            found = self._words(text, path)
        elif text in SCALARS:
            found = ScalarShape(text)
        else:
            self._note_unknown(text, path)
        return found

    def _optional(self, text: str, path: KeyPath, name: str) -> OptionalType | None:
        inner = self._text(text[:-1], path, name)
        if isinstance(inner, OptionalType):
            self._note(path, f"{text!r} is optional twice; one ? is enough")
            return None
        return OptionalType(inner) if inner else None

    def _record(self, text: str, path: KeyPath, name: str) -> ObjectType | None:
        """An object whose keys stand in a text: `{reason: str, query: str}`."""
        fields: dict[str, InlineType] = {}
        for part in _split(text[1:-1]):
            key, colon, declared = (each.strip() for each in part.partition(":"))
            if not colon or not key:
                self._note(path, f"{part!r} in {text!r} is no key with a type, such as reason: str")
                continue
            self._check_key(key, path, on_key=False)
            if key in fields:
                self._note(path, f"{text!r} has the key {key!r} twice")
            inner = self._text(declared, path, f"{name}_{key}")
            if inner is not None:
                fields[key] = inner
        return None if self.problems else ObjectType(name, fields)

    def _words(self, text: str, path: KeyPath) -> EnumType | None:
        words = tuple(" ".join(word.split()) for word in text.split("|"))
        wrong = next((word for word in words if not _WORD.fullmatch(word)), None)
        types = [word for word in words if word.lower() not in _NULLS]
        meant: str | None = None
        if len(types) == 1 and types[0] in SCALARS:
            message, meant = f"a type that may be null has a ?, not {text!r}", f"{types[0]}?"
        elif wrong is not None:
            message = f"{wrong!r} in {text!r} is not a word or some words; these have none of "
            message += '| ? [ ] { } , : "'
        elif len(set(words)) < len(words):
            message = f"{text!r} names a word twice"
        elif set(types) <= set(SCALARS):
            message = (
                f"{text!r} is a choice of types; a value has one type, or is one of some words"
            )
        else:
            return EnumType(words)
        self._note(path, message, suggestion=meant)
        return None

    def _note_unknown(self, text: str, path: KeyPath) -> None:
        word = text.lower()
        if word in _OBJECTS:
            message = f"{text!r} does not say which keys; write them with their types: "
            self._note(path, message + "{answer: str}, or a text of any form: str")
            return
        near = _MEANT.get(word) or (word if word in SCALARS else closest(word, SCALARS))
        if word.startswith("list[") and _closes_at_end(word) and word != text:
            near = f"list{text[4:]}"
        message = f"unknown type {text!r}" if text else "a type is missing here"
        if near == _MEANT["list"]:
            message = "a list of what?"
        self._note(path, message if near else f"{message}; write {_FORMS}", suggestion=near)
        return

    def _note(
        self, path: KeyPath, message: str, suggestion: str | None = None, *, on_key: bool = False
    ) -> None:
        problem = Problem(_CODE, message, path=path, suggestion=suggestion, on_key=on_key)
        self.problems.append(problem)


_TOO_DEEP = "this is nested too deeply; write less into one value"


def _not_one_item(items: Sequence[object]) -> tuple[str, str | None]:
    """What is wrong with a list that does not have one item, and what may have been meant."""
    if items and all(isinstance(item, str) for item in items):
        words = "|".join(map(str, items))
        return "a list has the type of its items, [str]; one of some words is a text", words
    return (
        f"a list has one item, the type of all that are in it, such as [str], not {len(items)}",
        None,
    )


def _closes_at_end(text: str) -> bool:
    """Whether the first bracket of a text is closed by its last character."""
    depth = 0
    for at, character in enumerate(text):
        depth += (character in "[{") - (character in "]}")
        if character in "]}" and depth <= 0:
            return depth == 0 and at == len(text) - 1
    return False


def _split(text: str) -> list[str]:
    """The parts of a text between the commas that are in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
