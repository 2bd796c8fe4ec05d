"""Which sorts of values an operator, a filter or a test can take, and what comes out of it.

What is known of a value before it is there: its kind, its fields, the words it can be.

Python types, JSON Schemas and constants are all read into this one small language. What cannot be
told is `ANYTHING`, and nothing is ever said against that.

Reads Python types, JSON Schemas and constants for what they say of their values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import datetime
from functools import cache, reduce
from itertools import product
from types import NoneType, UnionType
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


class Anything(Struct, frozen=True):
    """A value of which nothing is known."""


class Plain(Struct, frozen=True):
    """A text, number, truth value or None; `kind` is its Python type.

    `is_said` is true for the words of a user, as they came in.
    """

    kind: type
    is_said: bool = False


class Words(Struct, frozen=True):
    """One of some fixed values."""

    words: tuple[object, ...]


class Items(Struct, frozen=True):
    """A list of values that are all alike, `least` of them for certain.

    `is_stream` is true for what can be gone through once, and has no text and no length.
    """

    item: Known
    least: int = 0
    is_stream: bool = False


class Row(Struct, frozen=True):
    """A tuple: each part has its own kind."""

    parts: tuple[Known, ...]


class Table(Struct, frozen=True):
    """A mapping with any keys, its values all alike."""

    value: Known


class Fields(Struct, frozen=True, eq=False):
    """A value with named fields; `name` is what people call it.

    The fields are asked for when they are needed: a class may have fields of its own kind. Two of
    the same `source` are the same. `is_open` is true if there may be further fields; `is_loose`
    if a template may ask whether there is one that nobody declared. `kind` is what the field
    `kind` says, where that tells records apart that stand in one list.
    """

    name: str
    source: Hashable
    find: Callable[[], Mapping[str, Known]]
    is_open: bool = False
    is_loose: bool = False
    kind: str | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.source == other.source

    def __hash__(self) -> int:
        return hash(self.source)

    @property
    def fields(self) -> Mapping[str, Known]:
        """What is known of each field; what may be left out may be `ABSENT`."""
        return self.find()


class Either(Struct, frozen=True):
    """A value of one kind or another."""

    members: tuple[Known, ...]


Known: TypeAlias = Anything | Plain | Words | Items | Row | Table | Fields | Either


class Absence:
    """The kind of a field that is not there."""


class Blank:
    """The kind of what `x if y` gives where y is false: printed as nothing, and of no other use."""


class Uncalled:
    """The kind of a method or macro that is not called."""


ANYTHING = Anything()
TEXT = Plain(str)
SAID = Plain(str, is_said=True)
WHOLE = Plain(int)
NUMBER = Plain(float)
TRUTH = Plain(bool)
NONE = Plain(NoneType)
ABSENT = Plain(Absence)
BLANK = Plain(Blank)
UNCALLED = Plain(Uncalled)

_EMPTY = frozenset((NONE, ABSENT))
_NOTHING = (NONE, ABSENT, BLANK)


def record(
    name: str, parts: Mapping[str, Known], *, is_loose: bool = False, kind: str | None = None
) -> Known:
    """A value with just these fields."""
    source = (*parts.items(), is_loose, kind)
    return Fields(name, source, lambda: parts, is_loose=is_loose, kind=kind)


def either(*kinds: Known) -> Known:
    """A value of any of `kinds`; of none of them there is no value, as in an empty list."""
    members: dict[Known, None] = {}
    for kind in kinds:
        members |= dict.fromkeys(kind.members if isinstance(kind, Either) else (kind,))
    if ANYTHING in members:
        members = dict.fromkeys((ANYTHING, *(each for each in _NOTHING if each in members)))
    return next(iter(members)) if len(members) == 1 else Either(tuple(members))


def may_be_none(known: Known) -> bool:
    """Whether the value can be None, or not be there."""
    return not _EMPTY.isdisjoint(members_of(known))


def may_be_absent(known: Known) -> bool:
    """Whether the value can be missing."""
    return ABSENT in members_of(known)


def is_said(known: Known) -> bool:
    """Whether the value can be a user's own words."""
    return any(isinstance(each, Plain) and each.is_said for each in members_of(known))


def members_of(known: Known) -> tuple[Known, ...]:
    """The kinds that a value can be of."""
    return known.members if isinstance(known, Either) else (known,)


def filled(known: Known) -> Known:
    """The same where it is known to be there, and not None."""
    return _without(known, _EMPTY | {BLANK})


def kept(known: Known) -> Known:
    """The same where None, and what is missing, was refused."""
    return _without(known, _EMPTY)


def there(known: Known) -> Known:
    """The same where it is known to be there."""
    return _without(known, frozenset((ABSENT, BLANK)))


def some(known: Known) -> Known:
    """The same where a list is known to have something in it."""
    parts = [
        replace(each, least=max(each.least, 1)) if isinstance(each, Items) else each
        for each in members_of(known)
    ]
    return either(*parts)


def falsy(known: Known) -> Known:
    """The same where it is known to be false, empty, None or missing."""
    parts: list[Known] = []
    for each in members_of(known):
        if isinstance(each, Items):
            parts.append(Items(ANYTHING))
        elif not isinstance(each, Fields) and each != UNCALLED:
            parts.append(NONE if each in (ABSENT, BLANK) else each)
    return either(*parts)


def not_none(known: Known) -> Known:
    """The same where it is known not to be None."""
    return _without(known, frozenset((NONE,)))


def of_kinds(known: Known, kinds: Collection[str]) -> Known:
    """The same where the field `kind` is known to be one of `kinds`."""
    left = [
        each
        for each in members_of(known)
        if not isinstance(each, Fields) or each.kind is None or each.kind in kinds
    ]
    return either(*left) if left else ANYTHING


def _without(known: Known, gone: frozenset[Plain]) -> Known:
    left = [member for member in members_of(known) if member not in gone]
    return either(*left) if left else ANYTHING


def item_of(known: Known) -> Known:
    """What a loop over the value gives."""
    match known:
        case Items(item=item):
            return item
        case Row(parts=parts) if parts:
            return either(*parts)
        case Either(members=members):
            return either(*(item_of(each) for each in members if each != BLANK))
        case _:
            is_text = isinstance(known, Table | Words) or known in (TEXT, SAID)
            return TEXT if is_text else ANYTHING


def value_in(table: Table) -> Known:
    """What a mapping has under some key; nothing is said against one of which nothing is known."""
    return table.value if table.value == ANYTHING else either(table.value, ABSENT)


def lists_in(known: Known) -> tuple[Known, ...]:
    """The kinds of lists that the value can be."""
    return tuple(each for each in members_of(known) if isinstance(each, Items | Row))


def least_of(known: Known) -> int:
    """How many items a list has for certain."""
    match known:
        case Items(least=least):
            return least
        case Row(parts=parts):
            return len(parts)
        case Either(members=members):
            return min(map(least_of, members), default=0)
        case _:
            return 0


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
    words: list[object] = []
    for member in members_of(known):
        if isinstance(member, Words):
            words += member.words
        elif member not in _EMPTY:
            return ()
    return tuple(words)


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


NOUNS: Mapping[str, str] = {
    "text": "a text",
    "number": "a number",
    "truth": "a truth value",
    "time": "a time",
    "list": "a list",
    "tuple": "a list",
    "stream": "no list before it is made one with | list",
    "mapping": "a mapping",
    "record": "a record",
    "uncalled": "not called: () is missing",
    "none": "None",
    "absent": "missing",
    "blank": "nothing where the `if` in it has no `else`",
}
"""What is said of a value of each sort: `x is ...`."""

_PLAIN_SORTS: Mapping[type, str] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "truth",
    datetime: "time",
    list: "list",
    NoneType: "none",
    Absence: "absent",
    Blank: "blank",
    Uncalled: "uncalled",
}

_OTHERS: Mapping[type, str] = {Row: "tuple", Table: "mapping", Fields: "record"}

_NUMBERS = frozenset(("number", "truth"))
_LISTS = frozenset(("list", "tuple"))
_ORDERED = (_NUMBERS, frozenset(("text",)), frozenset(("time",)), _LISTS)


class Taking(NamedTuple):
    """The sorts that something takes, and how that is said."""

    sorts: frozenset[str]
    told: str


def _taking(told: str, *sorts: str) -> Taking:
    return Taking(frozenset(sorts), told)


_LOOPED = ("text", "list", "tuple", "stream", "mapping", "blank")
LOOPED = _taking("a list", *_LOOPED)
LISTED = _taking("a list", "list", "tuple", "stream", "mapping", "blank")
SIZED = _taking("a list or a text", "text", "list", "tuple", "mapping", "blank")
INDEXED = _taking("a list or a text", "text", "list", "tuple")
NUMERIC = _taking("a number", "number", "truth")
TEXTUAL = _taking("a text", "text")
PRINTED = _taking("a text", "text", "number", "truth", "time", "list", "tuple", "mapping", "blank")
PRINTABLE = _taking("a text", *PRINTED.sorts, "none", "absent", "record")
WRITTEN = _taking("a value", *PRINTED.sorts, "none", "record")
CONVERTED = Taking(PRINTED.sorts - {"blank"}, "a value")
PAIRED = _taking("a mapping", "mapping", "record")
CONTAINER = _taking("a list or a text", *_LOOPED, "record")


def sorts_of(known: Known) -> frozenset[str]:
    """The sorts that a value can be of; "any" where that cannot be told."""
    return frozenset(sort for each in members_of(known) for sort in _sorts_of(each))


def _sorts_of(known: Known) -> Iterable[str]:
    match known:
        case Plain(kind=kind):
            return (_PLAIN_SORTS.get(kind, "any"),)
        case Words(words=words):
            return (_PLAIN_SORTS.get(type(word), "any") for word in words)
        case Items():
            return ("stream" if known.is_stream else "list",)
        case _:
            return (_OTHERS.get(type(known), "any"),)


def misfit(known: Known, taking: Taking) -> str | None:
    """A sort that the value can be of and that is not taken; None if there is none."""
    return min(sorts_of(known) - taking.sorts - {"any"}, default=None)


def has_order(*values: Known) -> bool:
    """Whether the values can be told apart as lower and higher, as far as can be told."""
    sorts = frozenset[str]().union(*map(sorts_of, values)) - {"any"}
    return any(sorts <= group for group in _ORDERED)


def result(operator: str, left: Known, right: Known) -> Known | None:
    """What an operator makes of two values; None if there are some that it cannot take."""
    made: list[Known] = []
    for one, other in product(members_of(left), members_of(right)):
        pairs = [*product(sorts_of(one), sorts_of(other))]
        if not all(_is_taken(operator, *pair) for pair in pairs):
            return None
        made.append(_made(operator, one, other, pairs))
    return either(*made)


def _is_taken(operator: str, left: str, right: str) -> bool:
    sorts = {left, right}
    if "any" in sorts or sorts <= _NUMBERS:
        return True
    if operator == "%":
        return left == "text"
    if operator == "+":
        return left == right and left in ("text", "list", "tuple")
    if operator == "*":
        return bool(sorts & {"text", *_LISTS}) and bool(sorts & _NUMBERS)
    return operator == "-" and left == right == "time"


def _made(operator: str, left: Known, right: Known, pairs: Iterable[tuple[str, str]]) -> Known:
    sorts = {sort for pair in pairs for sort in pair}
    if sorts <= _NUMBERS:
        return WHOLE if operator != "/" and NUMBER not in (left, right) else NUMBER
    if operator == "+" and isinstance(left, Items) and isinstance(right, Items):
        return Items(either(left.item, right.item), least=left.least + right.least)
    if "text" in sorts and "any" not in sorts:
        return SAID if is_said(left) or is_said(right) else TEXT
    return ANYTHING
