"""The words of a message row by row, each with where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..prompts import Stretch

_NAMED = 2
"""How many paths of one stretch are named."""


class Row(NamedTuple):
    """Words on one line that came from one place; `goes_on` if the line began before them.

    `place` and `values` are empty where they are those of the row above.
    """

    place: str
    values: str
    words: str
    goes_on: bool


def rows(text: str, stretches: Sequence[Stretch]) -> Iterator[Row]:
    """The rows of a message; the end of a line has none of its own."""
    goes_on = False
    for stretch in stretches:
        lines = text[stretch.start : stretch.end].split("\n")
        place, values = f"{stretch.template}:{stretch.line}:{stretch.column}", _values(stretch)
        for number, words in enumerate(lines):
            if number and stretch.is_text:
                place = f"{stretch.template}:{stretch.line + number}:1"
            goes_on = goes_on and not number
            is_end = not words and (goes_on or number == len(lines) - 1)
            if not is_end:
                yield Row(place, values, words, goes_on)
                place = values = ""
        goes_on = not text[: stretch.end].endswith("\n")


def _values(stretch: Stretch) -> str:
    more = len(stretch.values) - _NAMED
    named = ", ".join(stretch.values[:_NAMED])
    return f"{named} and {more} more" if more > 0 else named
