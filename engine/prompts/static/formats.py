"""The places of a format (`"%d of %s"`, `"{:.2f}"`): what argument each takes, of what type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from string import Formatter

from msgspec import Struct

from .types import FORMATTED, MOMENTS, NUMERIC, PRINTED, TEXTUAL, Accepts

_DIRECTIVE = re.compile(r"%(?:\(([^)]*)\))?[-#0 +]*(\*|\d+)?(?:\.(\*|\d*))?[hlL]?(.|$)", re.DOTALL)
_SPECIFICATION = re.compile(
    r"(?:.?([<>=^]))?([-+ ]?)z?(#?)0?\d*([,_]?)(\.\d+)?([a-zA-Z%]?)", re.DOTALL
)
_WHOLE = "bcdoxX"
_NUMBERS = "eEfFgGn%"


class Place(Struct, frozen=True):
    """A place of a format: `key` is the position or the name of its argument.

    `is_whole` is true where a fraction is an error.
    """

    key: int | str
    accepts: Accepts
    is_whole: bool = False


def percent_places(template: str) -> list[Place]:
    """The places of a format for `%`; raises `ValueError` with what is wrong in it."""
    places: list[Place] = []
    for name, width, precision, conversion in _DIRECTIVE.findall(template):
        if conversion == "%":
            continue
        if conversion not in "diouxXeEfFgGcrsa" or not conversion:
            raise ValueError(f"the format has '%{conversion}', which is none; write %% for a %")
        if "*" in (width, precision):
            raise ValueError("the format has the width '*'; write the number")
        accepts = PRINTED if conversion in "rsa" else NUMERIC
        places.append(Place(name or len(places), accepts, conversion in "oxXc"))
    return places


def brace_places(template: str) -> Iterator[Place]:
    """The places of a format for `.format()`; raises `ValueError` with what is wrong in it."""
    automatic = count()
    for _, field, specification, conversion in Formatter().parse(template):
        if field is None:
            continue
        key, is_whole_value = _key_of(field, automatic)
        if is_whole_value:
            yield _place(key, specification or "", conversion)
        for _, width, _, _ in Formatter().parse(specification or ""):
            if width is not None:
                yield Place(_key_of(width, automatic)[0], NUMERIC, is_whole=True)


def _key_of(field: str, automatic: Iterator[int]) -> tuple[int | str, bool]:
    """The argument that a field names, and whether it takes all of it: `{0.name}` does not."""
    name = re.split(r"[.\[]", field, maxsplit=1)[0]
    key = int(name) if name.isdigit() else name or next(automatic)
    return key, name == field


def _place(key: int | str, specification: str, conversion: str | None) -> Place:
    if not specification or conversion or "{" in specification:
        return Place(key, PRINTED)
    found = _SPECIFICATION.fullmatch(specification)
    if found is None:
        return Place(key, MOMENTS)
    align, sign, alternate, grouped, precision, kind = found.groups()
    if kind and kind in _WHOLE + _NUMBERS:
        return Place(key, NUMERIC, is_whole=kind in _WHOLE)
    if align == "=" or sign or alternate or grouped:
        return Place(key, NUMERIC)
    return Place(key, TEXTUAL if precision or kind else FORMATTED)
