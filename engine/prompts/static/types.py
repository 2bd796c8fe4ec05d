"""The type lattice of the checker, and the types of Python annotations, JSON Schemas and constants.

A static type says what is known of a value before it exists: scalar, literal, list, tuple, mapping,
record, or a union of these. `ANY` is the top: nothing is ever reported against it. Below the types
stand the categories (text, number, list, ...) that filters and operators accept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from functools import cache, reduce
from itertools import product
from types import NoneType
from types import UnionType as PythonUnion
from typing import (
    Annotated,
    Literal,
    NamedTuple,
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


class AnyType(Struct, frozen=True):
    """A value of unknown type."""


class ScalarType(Struct, frozen=True):
    """A text, number, boolean or None; `kind` is its Python type.

    `is_user_text` is true for the raw text of a user.
    """

    kind: type
    is_user_text: bool = False


class LiteralType(Struct, frozen=True):
    """One of a few fixed values."""

    literals: tuple[object, ...]


class ListType(Struct, frozen=True):
    """A list of items of one type, at least `min_items` of them.

    `is_stream` is true for an iterator: it can be consumed once, and has no text and no length.
    """

    item: StaticType
    min_items: int = 0
    is_stream: bool = False


class TupleType(Struct, frozen=True):
    """A tuple: each part has its own type, and maybe a name; a list at run if `is_list`."""

    parts: tuple[StaticType, ...]
    names: tuple[str, ...] = ()
    is_list: bool = False


class MappingType(Struct, frozen=True):
    """A mapping with any keys of one type and values of one type; keys of JSON are texts."""

    value: StaticType
    key: StaticType = ScalarType(str)


class RecordType(Struct, frozen=True, eq=False):
    """A value with named fields; `name` is for messages.

    Fields are computed when needed, since a class may have fields of its own type. Two types with
    the same `source` are equal. `is_open` is true if there may be further fields, `is_loose` if a
    template may test for a field that is not declared. `kind` is the value of the field `kind`,
    where that discriminates the records of one list. `is_mapping` is true for a mapping, whose keys
    are the fields; else they are attributes.
    """

    name: str
    source: Hashable
    find: Callable[[], Mapping[str, StaticType]]
    is_open: bool = False
    is_loose: bool = False
    kind: str | None = None
    is_mapping: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordType) and self.source == other.source

    def __hash__(self) -> int:
        return hash(self.source)

    @property
    def fields(self) -> Mapping[str, StaticType]:
        """The type of each field; that of an optional one includes `ABSENT`."""
        return self.find()


class CallableType(Struct, frozen=True):
    """A function whose calls have the type `result`."""

    result: StaticType


class UnionType(Struct, frozen=True):
    """A value of one of several types."""

    members: tuple[StaticType, ...]


StaticType: TypeAlias = (
    AnyType
    | ScalarType
    | LiteralType
    | ListType
    | TupleType
    | MappingType
    | RecordType
    | CallableType
    | UnionType
)


class Absent:
    """Marker of a missing field or item."""


class NoElse:
    """Marker of the value of `x if y` where y is false: prints nothing, has no other use."""


class NotCalled:
    """Marker of a method or macro that is not called."""


ANY = AnyType()
TEXT = ScalarType(str)
USER_TEXT = ScalarType(str, is_user_text=True)
INTEGER = ScalarType(int)
NUMBER = ScalarType(float)
BOOLEAN = ScalarType(bool)
TIME = ScalarType(datetime)
DATE, CLOCK, DURATION = ScalarType(date), ScalarType(time), ScalarType(timedelta)
BYTES = ScalarType(bytes)
NONE = ScalarType(NoneType)
ABSENT = ScalarType(Absent)
NO_ELSE = ScalarType(NoElse)
CALLABLE = ScalarType(NotCalled)

_EMPTY = frozenset((NONE, ABSENT))
_NOTHING = (NONE, ABSENT, NO_ELSE)


def record_type(
    name: str,
    parts: Mapping[str, StaticType],
    *,
    is_loose: bool = False,
    kind: str | None = None,
    is_mapping: bool = False,
) -> StaticType:
    """A record with exactly these fields."""
    source = (*parts.items(), is_loose, kind, is_mapping)
    return RecordType(
        name, source, lambda: parts, is_loose=is_loose, kind=kind, is_mapping=is_mapping
    )


def union(*kinds: StaticType) -> StaticType:
    """The union of `kinds`; of no kinds it has no values, like the item of an empty list."""
    members: dict[StaticType, None] = {}
    for kind in kinds:
        members |= dict.fromkeys(kind.members if isinstance(kind, UnionType) else (kind,))
    if ANY in members:
        members = dict.fromkeys((ANY, *(each for each in _NOTHING if each in members)))
    return next(iter(members)) if len(members) == 1 else UnionType(tuple(members))


def may_be_none(value_type: StaticType) -> bool:
    """Whether the value can be None or missing."""
    return not _EMPTY.isdisjoint(members(value_type))


def may_be_absent(value_type: StaticType) -> bool:
    """Whether the value can be missing."""
    return ABSENT in members(value_type)


def is_user_text(value_type: StaticType) -> bool:
    """Whether the value can be the raw text of a user."""
    return any(isinstance(each, ScalarType) and each.is_user_text for each in members(value_type))


def members(value_type: StaticType) -> tuple[StaticType, ...]:
    """The members of a union, or the type itself."""
    return value_type.members if isinstance(value_type, UnionType) else (value_type,)


def without_null(value_type: StaticType) -> StaticType:
    """The type without None, missing and the value of an `if` without `else`."""
    return _without(value_type, _EMPTY | {NO_ELSE})


def without_none_or_absent(value_type: StaticType) -> StaticType:
    """The type without None and missing."""
    return _without(value_type, _EMPTY)


def without_absent(value_type: StaticType) -> StaticType:
    """The type without missing and the value of an `if` without `else`."""
    return _without(value_type, frozenset((ABSENT, NO_ELSE)))


def non_empty(value_type: StaticType) -> StaticType:
    """The type where a list is known not to be empty."""
    parts = [
        replace(each, min_items=max(each.min_items, 1)) if isinstance(each, ListType) else each
        for each in members(value_type)
    ]
    return union(*parts)


def when_falsy(value_type: StaticType) -> StaticType:
    """The type where the value is known to be false, empty, None or missing."""
    parts: list[StaticType] = []
    for each in members(value_type):
        if isinstance(each, ListType):
            parts.append(ListType(ANY))
        elif not isinstance(each, RecordType) and each != CALLABLE:
            parts.append(NONE if each in (ABSENT, NO_ELSE) else each)
    return union(*parts)


def without_none(value_type: StaticType) -> StaticType:
    """The type without None."""
    return _without(value_type, frozenset((NONE,)))


def with_kinds(value_type: StaticType, kinds: Collection[str]) -> StaticType:
    """The type where the field `kind` is known to be one of `kinds`."""
    left = [
        each
        for each in members(value_type)
        if not isinstance(each, RecordType) or each.kind is None or each.kind in kinds
    ]
    return union(*left) if left else ANY


def _without(value_type: StaticType, gone: frozenset[ScalarType]) -> StaticType:
    left = [member for member in members(value_type) if member not in gone]
    return union(*left) if left else ANY


def item_type(value_type: StaticType) -> StaticType:
    """The type of the items of a loop over the value."""
    match value_type:
        case RecordType(is_mapping=True):
            return keys_of(value_type)
        case ListType(item=item) | MappingType(key=item):
            return item
        case TupleType(parts=parts) if parts:
            return union(*parts)
        case UnionType(members=members):
            return union(*(item_type(each) for each in members if each != NO_ELSE))
        case _:
            is_text = isinstance(value_type, LiteralType) or value_type in (TEXT, USER_TEXT)
            return TEXT if is_text else ANY


def keys_of(record: RecordType) -> StaticType:
    """The type of the keys of a mapping with known keys."""
    is_closed = not record.is_open and record.fields
    return LiteralType(tuple(record.fields)) if is_closed else TEXT


def values_of(record: RecordType) -> StaticType:
    """The type of the values of a mapping with known keys, each of them present."""
    found = union(*(without_missing(each) for each in record.fields.values()))
    return union(found, ANY) if record.is_open or not record.fields else found


def without_missing(value_type: StaticType) -> StaticType:
    """The type without missing."""
    return _without(value_type, frozenset((ABSENT,)))


def value_at(record: RecordType, key: StaticType) -> StaticType:
    """The type of a lookup by a key of this type, which may be missing."""
    keys = literals_of(key)
    if not keys:
        return union(values_of(record), ABSENT)
    fields = record.fields
    missing = ANY if record.is_open else ABSENT
    return union(*(fields.get(str(each), missing) for each in keys))


def lookup_type(table: MappingType) -> StaticType:
    """The type of a mapping's value under some key, which may be missing unless it is `ANY`."""
    return table.value if table.value == ANY else union(table.value, ABSENT)


def list_members(value_type: StaticType) -> tuple[StaticType, ...]:
    """The list and tuple types that the value can have."""
    return tuple(each for each in members(value_type) if isinstance(each, ListType | TupleType))


def min_length(value_type: StaticType) -> int:
    """The minimum number of items of a list."""
    match value_type:
        case ListType(min_items=min_items):
            return min_items
        case TupleType(parts=parts):
            return len(parts)
        case UnionType(members=members):
            return min(map(min_length, members), default=0)
        case _:
            return 0


def literals_of(value_type: StaticType) -> tuple[object, ...]:
    """All values that it can have besides None, if these are fixed; else empty."""
    literals: list[object] = []
    for member in members(value_type):
        if isinstance(member, LiteralType):
            literals += member.literals
        elif member not in _EMPTY:
            return ()
    return tuple(literals)


Field: TypeAlias = ModelField | DataclassField | TypedDictField
DeclaredSchema: TypeAlias = Mapping[str, object]

_DEEPEST = 20
"""How deep a recursive schema is followed."""

_PLAIN: Mapping[object, StaticType] = {
    str: TEXT, int: INTEGER, float: NUMBER, bool: BOOLEAN, NoneType: NONE,
}  # fmt: skip
_SCHEMA_PLAIN: Mapping[object, StaticType] = {
    "string": TEXT, "integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN, "null": NONE,
}  # fmt: skip


def declared_type(declared: object) -> StaticType:
    """The static type of a Python annotation, or of a JSON Schema given as a mapping."""
    if isinstance(declared, Mapping):
        schema = cast("DeclaredSchema", declared)
        return _SchemaReader(schema).declared_type(schema)
    if isinstance(declared, _STATIC_TYPES):
        return declared
    return python_type(declared)


def stored_type(declared: object) -> StaticType:
    """The static type of the values of a Python type after storage as JSON: a date is a text."""
    value_type = declared_type(declared)
    if isinstance(value_type, ScalarType) or isinstance(declared, (Mapping, *_STATIC_TYPES)):
        return value_type
    try:
        adapter: TypeAdapter[object] = TypeAdapter(cast("type[object]", declared))
        schema = adapter.json_schema(
            by_alias=False, mode="serialization", schema_generator=_StoredSchema
        )
    except (PydanticUserError, NameError, TypeError):
        return value_type
    return _SchemaReader(schema, is_open=False).declared_type(schema)


def constant_type(value: object) -> StaticType:
    """The static type of a constant: a mapping is a record, a list has a union of its items."""
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, object]", value)
        parts = {str(key): constant_type(each) for key, each in entries.items()}
        return record_type("mapping", parts, is_mapping=True)
    if not isinstance(value, list | tuple):
        return python_type(type(value))
    items = cast("Sequence[object]", value)
    if not items:
        return ListType(ANY)
    if all(isinstance(item, Mapping) for item in items):
        rows = _rows_type(cast("Sequence[Mapping[str, object]]", items))
        return ListType(rows, min_items=len(items))
    return ListType(union(*map(constant_type, items)), min_items=len(items))


def _rows_type(rows: Sequence[Mapping[str, object]]) -> StaticType:
    """The type of the mappings in one list: a key that not all of them have may be missing."""
    keys = dict.fromkeys(key for row in rows for key in row)
    parts = {
        key: union(*(constant_type(row[key]) if key in row else ABSENT for row in rows))
        for key in keys
    }
    return record_type("mapping", parts, is_mapping=True)


def python_type(declared: object) -> StaticType:
    """The static type of a Python annotation."""
    if declared is None:
        return NONE
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is Literal:
        return _literal_type(arguments)
    if origin in (Annotated, Required, NotRequired):
        return python_type(arguments[0])
    if origin in (Union, PythonUnion):
        return union(*map(python_type, arguments))
    return _class_type(origin or declared, arguments)


def _class_type(declared: object, arguments: tuple[object, ...]) -> StaticType:
    if not isinstance(declared, type):
        return ANY
    kind = cast("type[object]", declared)
    if not arguments:
        return _PLAIN.get(kind) or _record_class_type(kind)
    if issubclass(kind, tuple) and arguments[-1] != ...:
        return TupleType(tuple(map(python_type, arguments)), is_list=True)
    if issubclass(kind, Mapping):
        return MappingType(python_type(arguments[-1]))
    return ListType(python_type(arguments[0])) if issubclass(kind, Iterable) else ANY


def _record_class_type(declared: type[object]) -> StaticType:
    is_open = False
    if issubclass(declared, BaseModel):
        is_open = declared.model_config.get("extra") == "allow"
    elif not (is_dataclass(declared) or is_typeddict(declared) or issubclass(declared, Struct)):
        return ANY
    source = cast("Hashable", declared)
    return RecordType(
        declared.__name__,
        source,
        lambda: _fields_of(source),
        is_open,
        is_mapping=is_typeddict(declared),
    )


@cache
def _fields_of(source: Hashable) -> Mapping[str, StaticType]:
    declared = cast("type[object]", source)
    try:
        hints = cast("dict[str, object]", get_type_hints(declared, include_extras=True))
    except NameError:
        hints = {}
    optional = {*cast("Iterable[str]", getattr(declared, "__optional_keys__", ()))}
    optional |= {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
    found = {name: python_type(hints.get(name, object)) for name in _names_of(declared, hints)}
    found |= {name: union(found[name], ABSENT) for name in optional}
    for base in declared.__mro__[:-1]:
        if base is BaseModel:
            break
        for name, each in vars(base).items():
            if isinstance(each, property):
                given = cast("Mapping[str, object]", getattr(each.fget, "__annotations__", {}))
                found.setdefault(name, python_type(given.get("return", object)))
    return found


def _names_of(declared: type[object], hints: Mapping[str, object]) -> Iterable[str]:
    if issubclass(declared, BaseModel):
        return (*declared.model_fields, *declared.model_computed_fields)
    if issubclass(declared, Struct):
        return declared.__struct_fields__
    own = cast("Mapping[str, object]", getattr(declared, "__dataclass_fields__", hints))
    return (*own,)


def _literal_type(literals: Iterable[object]) -> StaticType:
    """A literal type, if all values are plain; others may be stored in another form."""
    found = tuple(literals)
    if not all(isinstance(each, str | int | None) for each in found):
        return ANY
    without_absent = tuple(each for each in found if each is not None)
    kinds = [LiteralType(without_absent)] if without_absent else []
    return union(*kinds, *([NONE] if None in found else []))


class _StoredSchema(GenerateJsonSchema):
    """The schema of what pydantic serializes: a field with a default is always present."""

    def field_is_required(self, field: Field, total: bool) -> bool:
        is_key_of = field["type"] == "typed-dict-field"
        return bool(field.get("required", total)) if is_key_of else True


class _SchemaIdentity(Struct, frozen=True):
    """A part of a schema, compared by identity."""

    part: DeclaredSchema

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SchemaIdentity) and self.part is other.part

    def __hash__(self) -> int:
        return id(self.part)


class _SchemaReader(Struct, frozen=True):
    """Converts one JSON Schema; `root` resolves its references.

    If `is_open`, an object without `additionalProperties` may have further fields.
    """

    root: DeclaredSchema
    depth: int = 0
    is_open: bool = True

    def declared_type(self, part: object) -> StaticType:
        if not isinstance(part, Mapping) or self.depth > _DEEPEST:
            return ANY
        inner = replace(self, depth=self.depth + 1)
        schema = cast("DeclaredSchema", part)
        if isinstance(reference := schema.get("$ref"), str):
            return inner.declared_type(self._referred(reference))
        if "const" in schema or "enum" in schema:
            return _literal_type(cast("list[object]", schema.get("enum", [schema.get("const")])))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return union(*map(inner.declared_type, cast("list[object]", schema[keyword])))
        return inner._typed(schema)

    def _typed(self, schema: DeclaredSchema) -> StaticType:
        kind = schema.get("type")
        if isinstance(kind, list):
            kinds = cast("list[str]", kind)
            return union(*(self._typed({**schema, "type": each}) for each in kinds))
        if kind == "array":
            parts = cast("Sequence[object]", schema.get("prefixItems", ()))
            return (
                TupleType(tuple(map(self.declared_type, parts)), is_list=True)
                if parts
                else ListType(self.declared_type(schema.get("items")))
            )
        if kind != "object":
            return _SCHEMA_PLAIN.get(kind, ANY)
        further = schema.get("additionalProperties", self.is_open)
        if "properties" not in schema:
            return MappingType(self.declared_type(further))
        name = str(schema.get("title", "object"))
        is_open = further is not False
        reader = replace(self, depth=0)
        return RecordType(
            name,
            _SchemaIdentity(schema),
            lambda: _properties(schema, reader),
            is_open,
            is_mapping=True,
        )

    def _referred(self, reference: str) -> object:
        return reduce(_inside, reference.removeprefix("#/").split("/"), cast("object", self.root))


def _inside(part: object, key: str) -> object:
    return cast("DeclaredSchema", part).get(key) if isinstance(part, Mapping) else None


def _properties(schema: DeclaredSchema, reader: _SchemaReader) -> Mapping[str, StaticType]:
    required = cast("list[str]", schema.get("required", []))
    properties = cast("Mapping[str, object]", schema["properties"])
    found = {name: reader.declared_type(part) for name, part in properties.items()}
    return {
        name: value_type if name in required else union(value_type, ABSENT)
        for name, value_type in found.items()
    }


_STATIC_TYPES = (
    AnyType,
    CallableType,
    ScalarType,
    LiteralType,
    ListType,
    TupleType,
    MappingType,
    RecordType,
    UnionType,
)


def find_unprintable(value_type: StaticType, *, is_inside: bool = False) -> StaticType | None:
    """The first part of a value that has no text: a record, or anything but data in a list.

    None and what may be missing are parts only inside of a list or mapping.
    """
    parts: Iterable[StaticType] = ()
    is_bad = False
    match value_type:
        case RecordType():
            is_bad = True
        case ListType(is_stream=True) | CallableType():
            is_bad = is_inside
        case ScalarType(kind=kind):
            is_bad = is_inside and kind not in _DATA
        case ListType(item=part) | MappingType(value=part):
            parts, is_inside = (part,), True
        case TupleType(parts=parts):
            is_inside = True
        case UnionType(members=parts):
            pass
        case _:
            pass
    if is_bad:
        return value_type
    found = (find_unprintable(each, is_inside=is_inside) for each in parts)
    return next((each for each in found if each is not None), None)


_DATA = frozenset((str, int, float, bool))
_UNWRITABLE = frozenset((NotCalled, bytes, Absent, NoElse, timedelta))


def find_unwritable(value_type: StaticType) -> StaticType | None:
    """The first part of a value that JSON cannot hold: a function, an iterator, bytes, ...

    The fields of a record are looked at too, those of a class only where it is written in Python.
    """
    todo, seen = [value_type], set[StaticType]()
    while todo:
        match part := todo.pop():
            case CallableType() | ListType(is_stream=True) | RecordType(name="namespace"):
                return part
            case ScalarType(kind=kind) if kind in _UNWRITABLE:
                return part
            case ListType(item=inner):
                todo.append(inner)
            case MappingType(value=inner, key=ScalarType()):
                todo.append(without_missing(inner))  # a key that is missing is no part
            case TupleType(parts=parts) | UnionType(members=parts):
                todo += parts
            case RecordType(source=tuple()) if part not in seen:
                seen.add(part)
                todo += map(without_missing, part.fields.values())
            case _:
                pass
    return None


def hashed_type(value_type: StaticType) -> StaticType:
    """The type of what is hashed with a value: of a tuple, its parts."""
    parts = [
        hashed_type(union(*each.parts))
        if isinstance(each, TupleType) and not each.is_list
        else each
        for each in members(value_type)
    ]
    return union(*parts)


def may_hold_absent(value_type: StaticType) -> bool:
    """Whether an item of a list or a value of a mapping, however deep, may be missing."""
    match value_type:
        case ListType(item=part):
            return may_be_absent(part) or may_hold_absent(part)
        case TupleType(parts=parts):
            return any(may_be_absent(each) or may_hold_absent(each) for each in parts)
        case UnionType(members=parts):
            return any(map(may_hold_absent, parts))
        case _:
            return False


def limited(value_type: StaticType, most: int = 1000) -> StaticType:
    """The type, or `ANY` in place of one with more than `most` parts: types may share parts."""
    todo, count = [value_type], 0
    while todo:
        count += 1
        if count > most:
            return ANY
        match todo.pop():
            case ListType(item=part) | MappingType(value=part):
                todo.append(part)
            case TupleType(parts=parts) | UnionType(members=parts):
                todo += parts
            case RecordType(source=tuple()) as record:
                todo += record.fields.values()
            case _:
                pass
    return value_type


NOUNS: Mapping[str, str] = {
    "text": "a text",
    "number": "a number",
    "truth": "a boolean",
    "time": "a time",
    "date": "a date",
    "clock": "a time of day",
    "duration": "a duration",
    "list": "a list",
    "tuple": "a list",
    "stream": "an iterator, not a list, until | list makes it one",
    "mapping": "a mapping",
    "record": "a record",
    "callable": "not called: () is missing",
    "none": "None",
    "absent": "missing",
    "bytes": "bytes, not a text",
    "no_else": "undefined where its inline `if` has no `else`",
}
"""How messages describe a value of each category: `x is ...`."""

_SCALAR_CATEGORIES: Mapping[type, str] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "truth",
    bytes: "bytes",
    datetime: "time",
    date: "date",
    time: "clock",
    timedelta: "duration",
    list: "list",
    NoneType: "none",
    Absent: "absent",
    NoElse: "no_else",
    NotCalled: "callable",
}

_OTHER_CATEGORIES: Mapping[type, str] = {
    TupleType: "tuple",
    MappingType: "mapping",
    CallableType: "callable",
}

_NUMBERS = frozenset(("number", "truth"))
_LISTS = frozenset(("list", "tuple"))
_COMPARED = frozenset(("text", "mapping", *_NUMBERS, *_LISTS))
"""Categories of values that equal none of another one, numbers and booleans aside."""
_WITH_DATE = (("time", datetime), ("date", date))
_MOMENTS = ("time", "date", "clock", "duration")
_ORDERED = (_NUMBERS, *(frozenset((each,)) for each in ("text", *_MOMENTS)), _LISTS)


class Accepts(NamedTuple):
    """The categories that something accepts, and their description for messages."""

    categories: frozenset[str]
    description: str


def _accepts(description: str, *categories: str) -> Accepts:
    return Accepts(frozenset(categories), description)


_LOOPED = ("text", "list", "tuple", "stream", "mapping", "no_else")
LOOPED = _accepts("a list", *_LOOPED)
LISTED = _accepts("a list", "list", "tuple", "stream", "mapping", "no_else")
SIZED = _accepts("a list or a text", "text", "list", "tuple", "mapping", "no_else")
INDEXED = _accepts("a list or a text", "text", "list", "tuple")
HASHED = _accepts(
    "a text or a number",
    *("text", "number", "truth", *_MOMENTS, "tuple", "none", "bytes"),
)
NUMERIC = _accepts("a number", "number", "truth")
TEXTUAL = _accepts("a text", "text")
PRINTED = _accepts(
    "a text", "text", "number", "truth", *_MOMENTS, "list", "tuple", "mapping", "no_else"
)
FORMATTED = _accepts("a text or a number", "text", "number", "truth", *_MOMENTS)
MOMENTS = _accepts("a time", *_MOMENTS)
PRINTABLE = _accepts("a text", *PRINTED.categories, "none", "absent", "record")
WRITTEN = _accepts("a value", *PRINTED.categories, "none", "record")
CONVERTED = Accepts(PRINTED.categories - {"no_else"}, "a value")
PAIRED = _accepts("a mapping", "mapping")
KEYED = _accepts("a mapping or a list of pairs", "mapping", "list", "tuple", "stream")
CONTAINER = _accepts("a list or a text", *_LOOPED)


def categories_of(value_type: StaticType) -> frozenset[str]:
    """The categories that a value can have; "any" where that is unknown."""
    return frozenset(category for each in members(value_type) for category in _category_of(each))


def _category_of(value_type: StaticType) -> Iterable[str]:
    match value_type:
        case LiteralType(literals=literals):
            return (_SCALAR_CATEGORIES.get(type(word), "any") for word in literals)
        case ScalarType(kind=kind):
            found = _SCALAR_CATEGORIES.get(kind, "any")
        case ListType(is_stream=True):
            found = "stream"
        case ListType() | TupleType(is_list=True):
            found = "list"
        case RecordType():
            found = "mapping" if value_type.is_mapping else "record"
        case _:
            found = _OTHER_CATEGORIES.get(type(value_type), "any")
    return (found,)


def rejected_category(value_type: StaticType, accepts: Accepts) -> str | None:
    """A category of the value that is not accepted; None if all are."""
    return min(categories_of(value_type) - accepts.categories - {"any"}, default=None)


def other_category(value_type: StaticType, constant: object) -> str | None:
    """A category of the value if it can equal no constant of this kind; None if it may."""
    found = categories_of(value_type) - {"none", "absent", "no_else"}
    own = _SCALAR_CATEGORIES[type(constant)]
    alike = _NUMBERS if own in _NUMBERS else {own}
    is_known = found <= _COMPARED and not found & alike
    return min(found, default=None) if is_known else None


def is_orderable(*values: StaticType) -> bool:
    """Whether the values can be ordered among each other, as far as is known."""
    categories = frozenset[str]().union(*map(categories_of, values)) - {"any"}
    if categories and categories <= _LISTS:
        items = [item_type(each) for each in values if item_type(each) != union()]
        return not any(map(may_be_none, items)) and is_orderable(*items)
    return any(categories <= group for group in _ORDERED)


def binary_result(operator: str, left: StaticType, right: StaticType) -> StaticType | None:
    """The type of a binary operation; None if the operator rejects some of the values."""
    made: list[StaticType] = []
    for one, other in product(members(left), members(right)):
        pairs = [*product(categories_of(one), categories_of(other))]
        if not all(_is_accepted(operator, *pair) for pair in pairs):
            return None
        made.append(_made(operator, one, other, pairs))
    return union(*made)


def _is_accepted(operator: str, left: str, right: str) -> bool:
    categories = {left, right}
    if "any" in categories or categories <= _NUMBERS or (operator, left, right) in _OF_MOMENTS:
        return True
    if operator == "%":
        return left == "text"
    if operator == "+":
        return left == right and left in ("text", "list", "tuple")
    if operator == "*":
        return bool(categories & {"text", *_LISTS}) and bool(categories & _NUMBERS)
    return False


_OF_MOMENTS: Mapping[tuple[str, str, str], StaticType] = {
    **{("-", each, each): DURATION for each in ("time", "date", "duration")},
    **{("-", each, "duration"): ScalarType(kind) for each, kind in _WITH_DATE},
    **{("+", each, "duration"): ScalarType(kind) for each, kind in _WITH_DATE},
    **{("+", "duration", each): ScalarType(kind) for each, kind in _WITH_DATE},
    ("+", "duration", "duration"): DURATION,
    ("*", "duration", "number"): DURATION,
    ("/", "duration", "number"): DURATION,
}


def _made(
    operator: str, left: StaticType, right: StaticType, pairs: Sequence[tuple[str, str]]
) -> StaticType:
    categories = {category for pair in pairs for category in pair}
    found: StaticType = ANY
    if operator == "%" and categories_of(left) == {"text"}:
        found = TEXT
    elif categories <= _NUMBERS:
        found = INTEGER if operator != "/" and NUMBER not in (left, right) else NUMBER
    elif operator == "+" and isinstance(left, TupleType) and isinstance(right, TupleType):
        found = limited(TupleType((*left.parts, *right.parts), is_list=left.is_list))
    elif operator == "+" and categories == {"list"}:
        least = min_length(left) + min_length(right)
        found = limited(ListType(union(item_type(left), item_type(right)), min_items=least))
    elif operator == "*" and categories & _LISTS and "any" not in categories:
        found = ListType(item_type(left if categories_of(left) & _LISTS else right))
    elif all((operator, *pair) in _OF_MOMENTS for pair in pairs):
        found = union(*(_OF_MOMENTS[(operator, *pair)] for pair in pairs))
    elif "text" in categories and "any" not in categories:
        found = USER_TEXT if is_user_text(left) or is_user_text(right) else TEXT
    return found
