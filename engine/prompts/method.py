"""What the methods of texts, mappings and times give."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2.sandbox import modifies_known_mutable

from .known import (
    ANYTHING,
    NONE,
    TEXT,
    TRUTH,
    WHOLE,
    Items,
    Known,
    Row,
    Table,
    either,
    members_of,
)
from .sort import LOOPED, NUMERIC, TEXTUAL, Taking, sorts_of

_TEXT, _TIME = frozenset(("text",)), frozenset(("time",))
_LISTS_OF_TEXT = frozenset(("split", "rsplit", "splitlines"))
_OF_TEXT: Mapping[str, Known] = {
    **dict.fromkeys(
        (
            *("upper", "lower", "title", "capitalize", "casefold", "swapcase", "strip", "lstrip"),
            *("rstrip", "replace", "center", "ljust", "rjust", "zfill", "expandtabs", "format"),
            *("join", "removeprefix", "removesuffix"),
        ),
        TEXT,
    ),
    **dict.fromkeys(("count", "find", "index", "rfind", "rindex"), WHOLE),
    **dict.fromkeys(("startswith", "endswith", "isdigit", "isalpha", "isupper"), TRUTH),
    **dict.fromkeys(_LISTS_OF_TEXT, Items(TEXT)),
}
_TAKEN_BY_TEXT: Mapping[str, Taking] = {
    **dict.fromkeys(
        (
            *("replace", "split", "rsplit", "strip", "lstrip", "rstrip", "count", "find", "index"),
            *("removeprefix", "removesuffix", "partition", "rpartition"),
        ),
        TEXTUAL,
    ),
    "join": LOOPED,
}
_TAKEN_BY_TIME: Mapping[str, Taking] = {"strftime": TEXTUAL, "replace": NUMERIC}
_OF_TIME = frozenset(("isoformat", "strftime", "ctime"))


def given_by_method(owner: Known, name: str, given: Mapping[int | str, Known]) -> Known:
    """What a method gives, as far as it can be told."""
    return either(*(_given_by(each, name, given) for each in members_of(owner)))


def _given_by(owner: Known, name: str, given: Mapping[int | str, Known]) -> Known:
    if isinstance(owner, Table):
        return _of_table(owner.value, name, given)
    sorts = sorts_of(owner)
    if sorts == _TIME:
        return TEXT if name in _OF_TIME else ANYTHING
    if sorts != _TEXT:
        return ANYTHING
    is_split = name in ("split", "rsplit") and bool(given)
    return Items(TEXT, least=1) if is_split else _OF_TEXT.get(name, ANYTHING)


def taken_by_method(owner: Known, name: str) -> Taking | None:
    """What the first argument of a method must be; None if nothing is said against any."""
    sorts = sorts_of(owner)
    if sorts == _TIME:
        return _TAKEN_BY_TIME.get(name)
    return _TAKEN_BY_TEXT.get(name) if sorts == _TEXT else None


def is_change(owner: Known, name: str) -> bool:
    """Whether a method would change a list or mapping, which no template may."""
    match owner:
        case Items() | Row():
            return modifies_known_mutable([], name)
        case Table():
            return modifies_known_mutable({}, name)
        case _:
            return False


def _of_table(value: Known, name: str, given: Mapping[int | str, Known]) -> Known:
    match name:
        case "items":
            return Items(Row((TEXT, value)))
        case "keys":
            return Items(TEXT)
        case "values":
            return Items(value)
        case "get":
            return either(value, given.get(1, NONE))
        case _:
            return ANYTHING
