"""What is known of a value before it is there: its kind, its fields, the words it can be.

Python types, JSON Schemas and constants are all read into this one small language. What cannot be
told is `ANYTHING`, and nothing is ever said against that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from types import NoneType
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace


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
