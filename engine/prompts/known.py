"""What is known of a value before it is there: its kind, its fields, the words it can be.

Python types and JSON Schemas are both read into this one small language. What cannot be told is
`ANYTHING`, and nothing is ever said against that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set as AbstractSet
from dataclasses import dataclass, fields as dataclass_fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Literal,
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
            return _fields_of_class(self.source)
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
    str: TEXT, int: WHOLE, float: NUMBER, bool: TRUTH, None: NONE, NoneType: NONE,
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


def of(declared: object) -> Known:
    """What a Python type, or a JSON Schema given as a mapping, says of its values."""
    if isinstance(declared, Mapping):
        schema = cast("Schema", declared)
        return of_schema(schema, schema)
    return of_type(declared)


def of_type(declared: object) -> Known:
    """What a Python type says of its values."""
    if isinstance(declared, type | NoneType) and declared in _PLAIN:
        return _PLAIN[declared]
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is Literal:
        return Words(arguments)
    if origin is Annotated:
        return of_type(arguments[0])
    if origin in (Union, UnionType):
        return either(*map(of_type, arguments))
    if isinstance(origin, type):
        return _of_generic(origin, arguments)
    return _of_class(declared) if isinstance(declared, type) else ANYTHING


def _of_generic(origin: type, arguments: tuple[object, ...]) -> Known:
    if issubclass(origin, tuple) and arguments[-1:] != (...,):
        return Row(tuple(map(of_type, arguments)))
    if issubclass(origin, Mapping):
        return Table(of_type(arguments[-1]))
    return Items(of_type(arguments[0])) if issubclass(origin, Iterable) else ANYTHING


def _of_class(declared: type) -> Known:
    if issubclass(declared, BaseModel):
        is_open = declared.model_config.get("extra") == "allow"
        return Fields(declared.__name__, declared, is_open=is_open)
    if is_dataclass(declared) or is_typeddict(declared):
        return Fields(declared.__name__, declared)
    return ANYTHING


@cache
def _fields_of_class(declared: type) -> Mapping[str, Known]:
    try:
        hints = get_type_hints(declared, include_extras=True)
    except NameError:
        hints = dict[str, object]()
    if issubclass(declared, BaseModel):
        names: Iterable[str] = (*declared.model_fields, *declared.model_computed_fields)
    elif is_dataclass(declared):
        names = [field.name for field in dataclass_fields(declared)]
    else:
        names = hints
    optional: AbstractSet[str] = getattr(declared, "__optional_keys__", frozenset())
    found = {name: of_type(hints.get(name, object)) for name in names}
    found |= {name: either(found[name], NONE) for name in optional}
    for base in declared.__mro__[:-1]:
        if base is BaseModel:
            break
        for name, each in vars(base).items():
            if isinstance(each, property):
                given = getattr(each.fget, "__annotations__", {}).get("return", object)
                found.setdefault(name, of_type(given))
    return found


def of_schema(schema: Schema, root: Schema) -> Known:
    """What a JSON Schema says of its values; `root` is where its references lead to."""
    if isinstance(reference := schema.get("$ref"), str):
        found: object = root
        for key in reference.removeprefix("#/").split("/"):
            found = cast("Schema", found).get(key, {})
        return of_schema(cast("Schema", found), root)
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
