"""What is known of a value before it is there: its kind, its fields, the words it can be.

Python types and JSON Schemas are both read into this one small language. What cannot be told is
`ANYTHING`, and nothing is ever said against that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Literal,
    NotRequired,
    Required,
    TypeAlias,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Anything:
    """A value of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A text, number, truth value or None; `kind` is its Python type."""

    kind: type


@dataclass(frozen=True, slots=True)
class Words:
    """One of some fixed values."""

    words: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list of values that are all alike."""

    item: Known


@dataclass(frozen=True, slots=True)
class Row:
    """A tuple: each part has its own kind."""

    parts: tuple[Known, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping with any keys, its values all alike."""

    value: Known


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """A value with named fields; `name` is what people call it.

    The fields are had from `source`, a class or a schema, when they are asked for: a class may
    have fields of its own kind. `is_open` is true if it may have further ones.
    """

    name: str
    source: object
    is_open: bool = False
    root: object = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.source is other.source

    def __hash__(self) -> int:
        return id(self.source)

    @property
    def fields(self) -> Mapping[str, Known]:
        """The fields by name."""
        if isinstance(self.source, type):
            return _fields_of(self.source)
        schema = cast("Schema", self.source)
        root = cast("Schema", self.root)
        required = cast("list[str]", schema.get("required", []))
        properties = cast("Mapping[str, Schema]", schema.get("properties", {}))
        return {
            name: of_schema(part, root) if name in required else either(of_schema(part, root), NONE)
            for name, part in properties.items()
        }


@dataclass(frozen=True, slots=True)
class Either:
    """A value of one kind or another."""

    members: tuple[Known, ...]


Known: TypeAlias = Anything | Plain | Words | Items | Row | Table | Fields | Either
Schema: TypeAlias = Mapping[str, object]

ANYTHING = Anything()
TEXT = Plain(str)
WHOLE = Plain(int)
NUMBER = Plain(float)
TRUTH = Plain(bool)
NONE = Plain(NoneType)

_PLAIN: Mapping[object, Known] = {
    str: TEXT, int: WHOLE, float: NUMBER, bool: TRUTH, NoneType: NONE,
}  # fmt: skip
_SCHEMA_PLAIN: Mapping[object, Known] = {
    "string": TEXT, "integer": WHOLE, "number": NUMBER, "boolean": TRUTH, "null": NONE,
}  # fmt: skip


def either(*kinds: Known) -> Known:
    """A value of any of `kinds`."""
    members: dict[Known, None] = {}
    for kind in kinds:
        members |= dict.fromkeys(kind.members if isinstance(kind, Either) else (kind,))
    if ANYTHING in members:
        return ANYTHING
    return next(iter(members)) if len(members) == 1 else Either(tuple(members))


def may_be_none(known: Known) -> bool:
    """Whether the value can be None."""
    return known == NONE or (isinstance(known, Either) and NONE in known.members)


def filled(known: Known) -> Known:
    """The same where it is known not to be None."""
    if isinstance(known, Either):
        return either(*(member for member in known.members if member != NONE))
    return ANYTHING if known == NONE else known


def item_of(known: Known) -> Known:
    """What a loop over the value gives."""
    match known:
        case Items():
            return known.item
        case Row() | Either():
            parts = known.parts if isinstance(known, Row) else map(item_of, known.members)
            return either(*parts)
        case Plain(kind=kind) if kind is not str:
            return ANYTHING
        case Table() | Plain() | Words():
            return TEXT
        case _:
            return ANYTHING


def record_in(known: Known) -> Fields | None:
    """The first kind of record that the value, or a list or mapping of them, can be."""
    match known:
        case Fields():
            return known
        case Items(item=part) | Table(value=part):
            return record_in(part)
        case Row(parts=parts) | Either(members=parts):
            return next(filter(None, map(record_in, parts)), None)
        case _:
            return None


def words_of(known: Known) -> tuple[object, ...]:
    """The values that it can be, besides None; empty if there are any others."""
    members = known.members if isinstance(known, Either) else (known,)
    words: list[object] = []
    for member in members:
        if isinstance(member, Words):
            words += member.words
        elif member != NONE:
            return ()
    return tuple(words)


def of(declared: object) -> Known:
    """What a Python type, or a JSON Schema given as a mapping, says of its values."""
    if isinstance(declared, Mapping):
        schema = cast("Schema", declared)
        return of_schema(schema, schema)
    return of_type(declared)


def of_type(declared: object) -> Known:
    """What a Python type says of its values."""
    if declared is None:
        return NONE
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is Literal:
        return Words(arguments)
    if origin in (Annotated, Required, NotRequired):
        return of_type(arguments[0])
    if origin in (Union, UnionType):
        return either(*map(of_type, arguments))
    return _of_class(origin or declared, arguments)


def _of_class(declared: object, arguments: tuple[object, ...]) -> Known:
    if not isinstance(declared, type):
        return ANYTHING
    kind = cast("type[object]", declared)
    if not arguments:
        return _PLAIN.get(kind) or _of_record(kind)
    if issubclass(kind, tuple) and arguments[-1] != ...:
        return Row(tuple(map(of_type, arguments)))
    if issubclass(kind, Mapping):
        return Table(of_type(arguments[-1]))
    return Items(of_type(arguments[0])) if issubclass(kind, Iterable) else ANYTHING


def _of_record(declared: type[object]) -> Known:
    is_open = False
    if issubclass(declared, BaseModel):
        is_open = declared.model_config.get("extra") == "allow"
    elif not is_dataclass(declared) and not is_typeddict(declared):
        return ANYTHING
    return Fields(declared.__name__, declared, is_open=is_open)


@cache
def _fields_of(declared: type[object]) -> Mapping[str, Known]:
    try:
        hints = cast("dict[str, object]", get_type_hints(declared, include_extras=True))
    except NameError:
        hints = {}
    optional = {*cast("Iterable[str]", getattr(declared, "__optional_keys__", ()))}
    optional |= {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
    found = {name: of_type(hints.get(name, object)) for name in _names_of(declared, hints)}
    found |= {name: either(found[name], NONE) for name in optional}
    for base in declared.__mro__[:-1]:
        if base is BaseModel:
            break
        for name, each in vars(base).items():
            if isinstance(each, property):
                given = cast("Mapping[str, object]", getattr(each.fget, "__annotations__", {}))
                found.setdefault(name, of_type(given.get("return", object)))
    return found


def _names_of(declared: type[object], hints: Mapping[str, object]) -> Iterable[str]:
    if issubclass(declared, BaseModel):
        return (*declared.model_fields, *declared.model_computed_fields)
    own = cast("Mapping[str, object]", getattr(declared, "__dataclass_fields__", hints))
    return (*own,)


def of_schema(schema: Schema, root: Schema) -> Known:
    """What a JSON Schema says of its values; `root` is where its references lead to."""
    if isinstance(reference := schema.get("$ref"), str):
        found = root
        for key in reference.removeprefix("#/").split("/"):
            found = cast("Schema", found.get(key, {}))
        return of_schema(found, root)
    if "const" in schema:
        return Words((schema["const"],))
    if "enum" in schema:
        return Words(tuple(cast("list[object]", schema["enum"])))
    for union in ("anyOf", "oneOf"):
        if union in schema:
            members = cast("list[Schema]", schema[union])
            return either(*(of_schema(member, root) for member in members))
    return _of_schema_type(schema, root)


def _of_schema_type(schema: Schema, root: Schema) -> Known:
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = cast("list[str]", kind)
        return either(*(of_schema({**schema, "type": each}, root) for each in kinds))
    if kind == "array":
        return Items(of_schema(cast("Schema", schema.get("items", {})), root))
    if kind != "object":
        return _SCHEMA_PLAIN.get(kind, ANYTHING)
    further = schema.get("additionalProperties", True)
    if "properties" not in schema:
        return Table(of_schema(cast("Schema", further), root) if further is not True else ANYTHING)
    name = str(schema.get("title", "object"))
    return Fields(name, schema, is_open=further is not False, root=root)
