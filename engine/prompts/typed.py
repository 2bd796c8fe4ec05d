"""Reads Python types, JSON Schemas and constants for what they say of their values."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache, reduce
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

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, PydanticUserError, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import DataclassField, ModelField, TypedDictField

from .known import (
    ABSENT,
    ANYTHING,
    NONE,
    NUMBER,
    TEXT,
    TRUTH,
    WHOLE,
    Anything,
    Either,
    Fields,
    Items,
    Known,
    Plain,
    Row,
    Table,
    Words,
    either,
    record,
)

Field: TypeAlias = ModelField | DataclassField | TypedDictField
Schema: TypeAlias = Mapping[str, object]

_DEEPEST = 20
"""How deep a schema is followed where it leads into itself."""

_PLAIN: Mapping[object, Known] = {
    str: TEXT, int: WHOLE, float: NUMBER, bool: TRUTH, NoneType: NONE,
}  # fmt: skip
_SCHEMA_PLAIN: Mapping[object, Known] = {
    "string": TEXT, "integer": WHOLE, "number": NUMBER, "boolean": TRUTH, "null": NONE,
}  # fmt: skip


def of(declared: object) -> Known:
    """What a Python type, or a JSON Schema given as a mapping, says of its values."""
    if isinstance(declared, Mapping):
        schema = cast("Schema", declared)
        return _Reading(schema).of(schema)
    if isinstance(declared, _KINDS):
        return declared
    return of_type(declared)


def of_kept(declared: object) -> Known:
    """What the values of a Python type are once they were kept as JSON: a date is a text there."""
    known = of(declared)
    if isinstance(known, Plain) or isinstance(declared, (Mapping, *_KINDS)):
        return known
    try:
        adapter: TypeAdapter[object] = TypeAdapter(cast("type[object]", declared))
        schema = adapter.json_schema(by_alias=False, mode="serialization", schema_generator=_AsKept)
    except (PydanticUserError, NameError, TypeError):
        return known
    return _Reading(schema, is_open=False).of(schema)


def of_value(value: object) -> Known:
    """What a constant is: of a mapping its keys, of a list what its items have in common."""
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, object]", value)
        return record("mapping", {str(key): of_value(each) for key, each in entries.items()})
    if not isinstance(value, list | tuple):
        return of_type(type(value))
    items = cast("Sequence[object]", value)
    if not items:
        return Items(ANYTHING)
    if all(isinstance(item, Mapping) for item in items):
        rows = _of_rows(cast("Sequence[Mapping[str, object]]", items))
        return Items(rows, least=len(items))
    return Items(either(*map(of_value, items)), least=len(items))


def _of_rows(rows: Sequence[Mapping[str, object]]) -> Known:
    """What mappings in one list are: a key that not all of them have may be absent."""
    keys = dict.fromkeys(key for row in rows for key in row)
    parts = {
        key: either(*(of_value(row[key]) if key in row else ABSENT for row in rows)) for key in keys
    }
    return record("mapping", parts)


def of_type(declared: object) -> Known:
    """What a Python type says of its values."""
    if declared is None:
        return NONE
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is Literal:
        return _words(arguments)
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
    elif not (is_dataclass(declared) or is_typeddict(declared) or issubclass(declared, Struct)):
        return ANYTHING
    source = cast("Hashable", declared)
    return Fields(declared.__name__, source, lambda: _fields_of(source), is_open)


@cache
def _fields_of(source: Hashable) -> Mapping[str, Known]:
    declared = cast("type[object]", source)
    try:
        hints = cast("dict[str, object]", get_type_hints(declared, include_extras=True))
    except NameError:
        hints = {}
    optional = {*cast("Iterable[str]", getattr(declared, "__optional_keys__", ()))}
    optional |= {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
    found = {name: of_type(hints.get(name, object)) for name in _names_of(declared, hints)}
    found |= {name: either(found[name], ABSENT) for name in optional}
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
    if issubclass(declared, Struct):
        return declared.__struct_fields__
    own = cast("Mapping[str, object]", getattr(declared, "__dataclass_fields__", hints))
    return (*own,)


def _words(words: Iterable[object]) -> Known:
    """One of these values, if they are all plain: another may be kept as something else."""
    found = tuple(words)
    if not all(isinstance(each, str | int | None) for each in found):
        return ANYTHING
    there = tuple(each for each in found if each is not None)
    kinds = [Words(there)] if there else []
    return either(*kinds, *([NONE] if None in found else []))


class _AsKept(GenerateJsonSchema):
    """Writes the schema of what pydantic writes: a field with a default is there too."""

    def field_is_required(self, field: Field, total: bool) -> bool:
        is_key = field["type"] == "typed-dict-field"
        return bool(field.get("required", total)) if is_key else True


class _Source(Struct, frozen=True):
    """A part of a schema: two are the same if they are the very same mapping."""

    part: Schema

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and self.part is other.part

    def __hash__(self) -> int:
        return id(self.part)


class _Reading(Struct, frozen=True):
    """Reads one JSON Schema; `root` is where its references lead to.

    Where `is_open`, an object that does not say so may have further fields.
    """

    root: Schema
    depth: int = 0
    is_open: bool = True

    def of(self, part: object) -> Known:
        if not isinstance(part, Mapping) or self.depth > _DEEPEST:
            return ANYTHING
        inner = replace(self, depth=self.depth + 1)
        schema = cast("Schema", part)
        if isinstance(reference := schema.get("$ref"), str):
            return inner.of(self._referred(reference))
        if "const" in schema or "enum" in schema:
            return _words(cast("list[object]", schema.get("enum", [schema.get("const")])))
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return either(*map(inner.of, cast("list[object]", schema[union])))
        return inner.of_kind(schema)

    def of_kind(self, schema: Schema) -> Known:
        kind = schema.get("type")
        if isinstance(kind, list):
            kinds = cast("list[str]", kind)
            return either(*(self.of_kind({**schema, "type": each}) for each in kinds))
        if kind == "array":
            parts = cast("Sequence[object]", schema.get("prefixItems", ()))
            return Row(tuple(map(self.of, parts))) if parts else Items(self.of(schema.get("items")))
        if kind != "object":
            return _SCHEMA_PLAIN.get(kind, ANYTHING)
        further = schema.get("additionalProperties", self.is_open)
        if "properties" not in schema:
            return Table(self.of(further))
        name = str(schema.get("title", "object"))
        is_open = further is not False
        again = replace(self, depth=0)
        return Fields(name, _Source(schema), lambda: _properties(schema, again), is_open)

    def _referred(self, reference: str) -> object:
        return reduce(_inside, reference.removeprefix("#/").split("/"), cast("object", self.root))


def _inside(part: object, key: str) -> object:
    return cast("Schema", part).get(key) if isinstance(part, Mapping) else None


def _properties(schema: Schema, reading: _Reading) -> Mapping[str, Known]:
    required = cast("list[str]", schema.get("required", []))
    properties = cast("Mapping[str, object]", schema["properties"])
    found = {name: reading.of(part) for name, part in properties.items()}
    return {
        name: known if name in required else either(known, ABSENT) for name, known in found.items()
    }


_KINDS = (Anything, Plain, Words, Items, Row, Table, Fields, Either)
