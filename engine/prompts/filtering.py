"""What Jinja's filters and ours take, and what they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .known import (
    ABSENT,
    ANYTHING,
    NUMBER,
    SAID,
    TEXT,
    WHOLE,
    Items,
    Known,
    Plain,
    Row,
    Table,
    either,
    filled,
    is_said,
    item_of,
    least_of,
    members_of,
    not_none,
)
from .sort import (
    CONVERTED,
    INDEXED,
    LISTED,
    LOOPED,
    NUMERIC,
    PAIRED,
    PRINTED,
    SIZED,
    TEXTUAL,
    WRITTEN,
    Taking,
)

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
_GIVES: Mapping[str, Known] = {
    **dict.fromkeys((*_TEXTS, *_SET_APART), TEXT),
    **dict.fromkeys(("length", "count", "int", "wordcount"), WHOLE),
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

_TAKES: Mapping[str, Taking] = {
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


def taken_by(name: str) -> Taking | None:
    """What a filter takes; None if nothing is said against anything."""
    return _TAKES.get(name)


def makes_text(name: str) -> bool:
    """Whether a filter writes what it is given into a text."""
    return _GIVES.get(name) == TEXT and name not in TAKES_RECORDS


def given_by(name: str, base: Known, picked: Known | None) -> Known:
    """What a filter gives; `picked` is what it finds by an attribute in each item, if it does."""
    if name == "map":
        return Items(ANYTHING if picked is None else picked, is_stream=True)
    if name in _TEXTS and is_said(base):
        return SAID
    made = _MADE.get(name)
    return _GIVES.get(name, ANYTHING) if made is None else made(base)


def chosen(name: str, test: object, base: Known) -> Known:
    """What `select` or `reject` gives for a test without arguments."""
    item = item_of(base)
    if name == "select" and test is None:
        item = filled(item)
    elif (name, test) == ("reject", "none"):
        item = not_none(item)
    return Items(item, is_stream=True)


def _picked(base: Known) -> Known:
    return item_of(base) if least_of(base) else either(item_of(base), ABSENT)


def _listed(base: Known) -> Known:
    return Items(item_of(base), least=least_of(base))


def _streamed(base: Known) -> Known:
    return Items(item_of(base), is_stream=True)


def _reversed(base: Known) -> Known:
    parts = (each if each in (TEXT, SAID) else _streamed(each) for each in members_of(base))
    return either(*parts)


def _grouped(base: Known) -> Known:
    return Items(Row((ANYTHING, Items(item_of(base), least=1))))


def _cut(base: Known) -> Known:
    return Items(Items(item_of(base)), is_stream=True)


def _paired(base: Known) -> Known:
    return Items(Row((TEXT, base.value))) if isinstance(base, Table) else ANYTHING


def _sliced(base: Known) -> Known:
    parts = (each if isinstance(each, Plain) else Items(item_of(each)) for each in members_of(base))
    return either(*parts)


_MADE: Mapping[str, Callable[[Known], Known]] = {
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
