"""Signatures of filters and methods: the categories that they accept, and the types they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jinja2.sandbox import modifies_known_mutable

from .types import (
    ABSENT,
    ANY,
    BOOLEAN,
    CONVERTED,
    INDEXED,
    INTEGER,
    LISTED,
    LOOPED,
    NONE,
    NUMBER,
    NUMERIC,
    PAIRED,
    PRINTED,
    SIZED,
    TEXT,
    TEXTUAL,
    USER_TEXT,
    WRITTEN,
    Accepts,
    ListType,
    MappingType,
    ScalarType,
    StaticType,
    TupleType,
    categories_of,
    is_user_text,
    item_type,
    members,
    min_length,
    union,
    without_none,
    without_null,
)

_TEXT, _TIME = frozenset(("text",)), frozenset(("time",))
_LISTS_OF_TEXT = frozenset(("split", "rsplit", "splitlines"))
_OF_TEXT: Mapping[str, StaticType] = {
    **dict.fromkeys(
        (
            *("upper", "lower", "title", "capitalize", "casefold", "swapcase", "strip", "lstrip"),
            *("rstrip", "replace", "center", "ljust", "rjust", "zfill", "expandtabs", "format"),
            *("join", "removeprefix", "removesuffix"),
        ),
        TEXT,
    ),
    **dict.fromkeys(("count", "find", "index", "rfind", "rindex"), INTEGER),
    **dict.fromkeys(("startswith", "endswith", "isdigit", "isalpha", "isupper"), BOOLEAN),
    **dict.fromkeys(_LISTS_OF_TEXT, ListType(TEXT)),
}
_TAKEN_BY_TEXT: Mapping[str, Accepts] = {
    **dict.fromkeys(
        (
            *("replace", "split", "rsplit", "strip", "lstrip", "rstrip", "count", "find", "index"),
            *("removeprefix", "removesuffix", "partition", "rpartition"),
        ),
        TEXTUAL,
    ),
    "join": LOOPED,
}
_TAKEN_BY_TIME: Mapping[str, Accepts] = {"strftime": TEXTUAL, "replace": NUMERIC}
_OF_TIME = frozenset(("isoformat", "strftime", "ctime"))


def method_result(
    owner: StaticType, name: str, given: Mapping[int | str, StaticType]
) -> StaticType:
    """The type of a method call, `ANY` where unknown."""
    return union(*(_given_by(each, name, given) for each in members(owner)))


def _given_by(owner: StaticType, name: str, given: Mapping[int | str, StaticType]) -> StaticType:
    if isinstance(owner, MappingType):
        return _of_table(owner.value, name, given)
    categories = categories_of(owner)
    if categories == _TIME:
        return TEXT if name in _OF_TIME else ANY
    if categories != _TEXT:
        return ANY
    is_split = name in ("split", "rsplit") and bool(given)
    return ListType(TEXT, min_items=1) if is_split else _OF_TEXT.get(name, ANY)


def method_accepts(owner: StaticType, name: str) -> Accepts | None:
    """What a method accepts as its first argument; None if anything."""
    categories = categories_of(owner)
    if categories == _TIME:
        return _TAKEN_BY_TIME.get(name)
    return _TAKEN_BY_TEXT.get(name) if categories == _TEXT else None


def is_mutation(owner: StaticType, name: str) -> bool:
    """Whether a method would mutate a list or mapping, which the sandbox forbids."""
    match owner:
        case ListType() | TupleType():
            return modifies_known_mutable([], name)
        case MappingType():
            return modifies_known_mutable({}, name)
        case _:
            return False


def _of_table(value: StaticType, name: str, given: Mapping[int | str, StaticType]) -> StaticType:
    match name:
        case "items":
            return ListType(TupleType((TEXT, value)))
        case "keys":
            return ListType(TEXT)
        case "values":
            return ListType(value)
        case "get":
            return union(value, given.get(1, NONE))
        case _:
            return ANY


LOOP = "\0loop"
CONCAT = "\0concat"
SLICE = "\0slice"

_TEXTS = (
    *("upper", "lower", "title", "capitalize", "trim", "replace", "join", "string", "indent"),
    *("wordwrap", "truncate", "format", "e", "escape", "forceescape", "center", "urlencode"),
    *("striptags", "pprint", "filesizeformat", "xmlattr", "urlize", "safe", "truncate_chars"),
    "written",
)
_SET_APART = ("fence", "tojson", "quote", "bullets")
_GIVES: Mapping[str, StaticType] = {
    **dict.fromkeys((*_TEXTS, *_SET_APART), TEXT),
    **dict.fromkeys(("length", "count", "int", "wordcount"), INTEGER),
    **dict.fromkeys(("float", "round", "abs", "sum"), NUMBER),
}
_LOOPING = (
    *("select", "reject", "selectattr", "rejectattr", "unique", "batch", "slice", "map", "sort"),
    *("list", "first", "min", "max", "join", "sum", "groupby", "reverse"),
)
TAKES_NONE = frozenset(("tojson", "pprint", "written", LOOP))
TAKES_RECORDS = frozenset(("fence", "bullets", "written", "tojson", "pprint"))
ORDERS = frozenset(("sort", "min", "max", "groupby"))
BY_ATTRIBUTE = frozenset(("map", "sort", "groupby", "sum", "unique", "join", "min", "max"))
BY_FIRST = frozenset(("selectattr", "rejectattr", "groupby"))

_TAKES: Mapping[str, Accepts] = {
    **dict.fromkeys(_TEXTS, PRINTED),
    **dict.fromkeys(_LOOPING, LOOPED),
    **dict.fromkeys(("indent", "wordwrap", "truncate"), TEXTUAL),
    **dict.fromkeys(("length", "count"), SIZED),
    **dict.fromkeys(("last", SLICE), INDEXED),
    **dict.fromkeys(("abs", "round"), NUMERIC),
    **dict.fromkeys(("int", "float"), CONVERTED),
    **dict.fromkeys(("tojson", "pprint", "written", "fence"), WRITTEN),
    **dict.fromkeys(("items", "dictsort", "xmlattr"), PAIRED),
    "bullets": LISTED,
    "quote": PRINTED,
}


def filter_accepts(name: str) -> Accepts | None:
    """What a filter accepts; None if anything."""
    return _TAKES.get(name)


def makes_text(name: str) -> bool:
    """Whether a filter converts its input to text."""
    return _GIVES.get(name) == TEXT and name not in TAKES_RECORDS


def filter_result(name: str, base: StaticType, picked: StaticType | None) -> StaticType:
    """The type that a filter returns; `picked` is what it takes from each item, if it does."""
    if name == "map":
        return ListType(ANY if picked is None else picked, is_stream=True)
    if name in _TEXTS and is_user_text(base):
        return USER_TEXT
    result_type = _MADE.get(name)
    return _GIVES.get(name, ANY) if result_type is None else result_type(base)


def selected(name: str, test: object, base: StaticType) -> StaticType:
    """What `select` or `reject` returns for a test without arguments."""
    item = item_type(base)
    if name == "select" and test is None:
        item = without_null(item)
    elif (name, test) == ("reject", "none"):
        item = without_none(item)
    return ListType(item, is_stream=True)


def _picked(base: StaticType) -> StaticType:
    return item_type(base) if min_length(base) else union(item_type(base), ABSENT)


def _listed(base: StaticType) -> StaticType:
    return ListType(item_type(base), min_items=min_length(base))


def _streamed(base: StaticType) -> StaticType:
    return ListType(item_type(base), is_stream=True)


def _reversed(base: StaticType) -> StaticType:
    parts = (each if each in (TEXT, USER_TEXT) else _streamed(each) for each in members(base))
    return union(*parts)


def _grouped(base: StaticType) -> StaticType:
    return ListType(TupleType((ANY, ListType(item_type(base), min_items=1))))


def _cut(base: StaticType) -> StaticType:
    return ListType(ListType(item_type(base)), is_stream=True)


def _paired(base: StaticType) -> StaticType:
    return ListType(TupleType((TEXT, base.value))) if isinstance(base, MappingType) else ANY


def _sliced(base: StaticType) -> StaticType:
    parts = (
        each if isinstance(each, ScalarType) else ListType(item_type(each))
        for each in members(base)
    )
    return union(*parts)


_MADE: Mapping[str, Callable[[StaticType], StaticType]] = {
    **dict.fromkeys(("first", "last", "min", "max"), _picked),
    **dict.fromkeys(("sort", "list"), _listed),
    **dict.fromkeys(("selectattr", "rejectattr", "select", "reject", "unique"), _streamed),
    **dict.fromkeys(("batch", "slice"), _cut),
    **dict.fromkeys(("items", "dictsort"), _paired),
    "groupby": _grouped,
    "reverse": _reversed,
    SLICE: _sliced,
    LOOP: lambda base: base,
}
