"""Three-way merge of a value that two nodes, running at the same time, have both changed."""

from __future__ import annotations

from typing import Final, TypeAlias

from ..messages import JSON


class Absent:
    """There is no value."""


ABSENT: Final = Absent()
_Value: TypeAlias = "JSON | Absent"


def merge_changes(base: _Value, theirs: _Value, ours: _Value) -> _Value:
    """The value with both changes since `base`; raises `ValueError` where they contradict.

    Mappings are merged key by key, and items that both appended to a list are all in it, theirs
    first. Both may set the same text, boolean or null. Numbers that both changed contradict, even
    equal ones: nobody can tell whether they were set or added to.
    """
    if _is_same(theirs, base):
        return ours
    if _is_same(ours, base):
        return theirs
    if isinstance(theirs, dict) and isinstance(ours, dict) and _may_be(dict, base):
        return _merge_mappings(base if isinstance(base, dict) else {}, theirs, ours)
    if isinstance(theirs, list) and isinstance(ours, list) and _may_be(list, base):
        before = base if isinstance(base, list) else []
        count = len(before)
        if theirs[:count] == before and ours[:count] == before:
            return [*theirs, *ours[count:]]
    if _is_set_alike(base, theirs, ours):
        return ours
    raise ValueError("two changes that contradict each other")


def _merge_mappings(
    base: dict[str, JSON], theirs: dict[str, JSON], ours: dict[str, JSON]
) -> dict[str, JSON]:
    merged: dict[str, JSON] = {}
    for key in dict.fromkeys([*theirs, *ours]):
        value = merge_changes(base.get(key, ABSENT), theirs.get(key, ABSENT), ours.get(key, ABSENT))
        if not isinstance(value, Absent):
            merged[key] = value
    return merged


def _may_be(kind: type, base: _Value) -> bool:
    return isinstance(base, kind | Absent)


def _is_same(one: _Value, other: _Value) -> bool:
    return one is other or (type(one) is type(other) and one == other)


def _is_set_alike(base: _Value, theirs: _Value, ours: _Value) -> bool:
    """Whether both set (or removed) the same value, and did not append the same text to one."""
    if theirs is None or isinstance(theirs, bool | Absent):
        return _is_same(theirs, ours)
    is_append = isinstance(base, str) and base != "" and str(theirs).startswith(base)
    return isinstance(theirs, str) and _is_same(theirs, ours) and not is_append
