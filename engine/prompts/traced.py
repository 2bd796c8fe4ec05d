"""Text that knows where its words came from: a place in a template, and the values shown there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .rendered import Stretch


class Place(NamedTuple):
    """Where words were printed; `is_text` if they stand there letter by letter."""

    template: str
    line: int
    column: int
    is_text: bool = False

    def after(self, text: str) -> Place:
        """The place behind `text`, which stands here."""
        if not self.is_text:
            return self
        lines = text.count("\n")
        column = len(text) - text.rfind("\n") if lines else self.column + len(text)
        return self._replace(line=self.line + lines, column=column)


class Piece(NamedTuple):
    """`length` characters that came from one place, not known yet where it is None.

    `values` are the paths of what they show, as in `input.message`; none for the template's own.
    """

    length: int
    place: Place | None
    values: tuple[str, ...] = ()


class Traced(str):
    """A text and the pieces that it is made of, which tile it.

    What Python makes of it is plain text again, except where the pieces can be kept.
    """

    pieces: tuple[Piece, ...]

    def __new__(cls, text: str, pieces: Iterable[Piece]) -> Traced:
        self = super().__new__(cls, text)
        self.pieces = tuple(pieces)
        return self

    def __str__(self) -> str:
        """The very same: Jinja makes text of all that it prints."""
        return self

    @classmethod
    def of(cls, text: str, place: Place | None, values: tuple[str, ...] = ()) -> Traced:
        """A text that came from one place whole."""
        return cls(text, [Piece(len(text), place, values)] if text else ())

    @property
    def values(self) -> tuple[str, ...]:
        """The paths of all that it shows."""
        return tuple(dict.fromkeys(value for piece in self.pieces for value in piece.values))

    def at(self, place: Place) -> Traced:
        """The same text; what had no place yet was printed here."""
        return Traced(self, [piece._replace(place=piece.place or place) for piece in self.pieces])

    def strip(self, chars: str | None = None, /) -> Traced:
        """As `str.strip`, with the pieces of what is left."""
        left = super().strip(chars)
        start = len(self) - len(super().lstrip(chars))
        return Traced(left, self._cut(start, start + len(left)))

    def stretches(self) -> tuple[Stretch, ...]:
        """The pieces, each with where it begins and ends; all must have a place."""
        found: list[Stretch] = []
        end = 0
        for length, place, values in self.pieces:
            start, end = end, end + length
            assert place is not None  # noqa: S101  whatever is printed has one
            template, line, column, is_text = place
            found.append(Stretch(start, end, template, line, column, values, is_text))
        return tuple(found)

    def _cut(self, start: int, end: int) -> Iterable[Piece]:
        offset = 0
        for length, place, values in self.pieces:
            first, last = max(start - offset, 0), min(end - offset, length)
            if first < last:
                moved = place.after(self[offset : offset + first]) if place else None
                yield Piece(last - first, moved, values)
            offset += length


def pieces_of(text: str) -> tuple[Piece, ...]:
    """The pieces of a text; all of it is one without a place if it is plain."""
    return text.pieces if isinstance(text, Traced) else Traced.of(text, None).pieces
