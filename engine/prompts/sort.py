"""Which sorts of values an operator, a filter or a test can take, and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import product
from types import NoneType
from typing import NamedTuple

from .known import (
    ANYTHING,
    NUMBER,
    SAID,
    TEXT,
    WHOLE,
    Absence,
    Blank,
    Fields,
    Items,
    Known,
    Plain,
    Row,
    Table,
    Uncalled,
    Words,
    either,
    is_said,
    members_of,
)

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

_PLAIN: Mapping[type, str] = {
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
            return (_PLAIN.get(kind, "any"),)
        case Words(words=words):
            return (_PLAIN.get(type(word), "any") for word in words)
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
