"""References to earlier runs in the documents of a record, in place of the words that it quotes.

A text that quotes nothing is kept as it is. Another one is a list of its pieces: texts of its own,
and `[run, place]` for a text of an earlier run, or `[run, place, parts, length]` where it was cut
or escaped; `run` counts in the record's `quotes`. So whoever deletes a run deletes its words in all
that quoted it, also in what is written later by a run that had read it before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from ..messages import JSON, Quote
from ..quotes import ANSWER, INPUT
from ..session import Turn
from .excerpt import Excerpt, joined, split

DELETED = "(deleted)"
Content: TypeAlias = "str | list[Any]"
"""A text in a document."""


class References(Protocol):
    """What a store knows of the runs that its documents refer to."""

    def source(self, run_id: str, session_id: str | None = None) -> JSON:
        """What stands for a run, of another session if that is named; None if it is gone."""
        ...

    def turn(self, source: JSON) -> Turn | None:
        """The turn of a run of the same session, None if it is gone."""
        ...

    def text(self, source: JSON, place: str) -> str | None:
        """A text of a run, None if it is gone."""
        ...


class Quoting:
    """Puts references into the texts of one record. `sources` are the runs that it refers to."""

    def __init__(self, quotes: Sequence[Quote], references: References) -> None:
        longest_first = sorted(quotes, key=lambda quote: len(quote.text), reverse=True)
        self._quotes = [quote for quote in longest_first if quote.text]
        self._gone = {
            quote.run_id
            for quote in quotes
            if quote.session_id is None and references.source(quote.run_id) is None
        }
        self._references = references
        self.sources: list[JSON] = []

    def has_lost(self, run_id: str | None) -> bool:
        """Whether a run was deleted since it was read."""
        return run_id in self._gone

    def content(self, text: str) -> Content:
        """The text as it is kept."""
        pieces: list[str | list[JSON]] = [text]
        for quote in self._quotes:
            pieces = [part for piece in pieces for part in self._split(piece, quote)]
        return text if pieces == [text] else pieces

    def _split(self, piece: str | list[JSON], quote: Quote) -> Iterable[str | list[JSON]]:
        if not isinstance(piece, str):
            return (piece,)
        return [
            self._referred(part, quote) if isinstance(part, Excerpt) else part
            for part in split(piece, quote.text)
        ]

    def _referred(self, excerpt: Excerpt, quote: Quote) -> list[JSON]:
        source = self._references.source(quote.run_id, quote.session_id)
        if source not in self.sources:
            self.sources.append(source)
        reference: list[JSON] = [self.sources.index(source), quote.place]
        if excerpt.parts != ((0, len(quote.text)),):
            reference.append([part if isinstance(part, str) else [*part] for part in excerpt.parts])
            reference.append(len(quote.text))
        return reference


class Reading:
    """Fills words in where a record's texts refer to earlier runs. `quotes` are those it found."""

    def __init__(self, sources: Sequence[JSON], references: References) -> None:
        self._sources = sources
        self._references = references
        self.quotes: dict[Quote, None] = {}

    def text(self, content: Content) -> str:
        """The text as it was, without what has been deleted since."""
        if isinstance(content, str):
            return content
        return "".join(piece if isinstance(piece, str) else self._said(*piece) for piece in content)

    def _said(
        self, number: int, place: str, parts: Sequence[Any] = (), length: int | None = None
    ) -> str:
        source = self._sources[number]
        text = self._references.text(source, place)
        if text is None or length not in (None, len(text)):
            return DELETED  # of another length is a text that itself has lost some words
        if (turn := self._references.turn(source)) is not None:
            self.quotes[Quote(turn.run_id, place)] = None
        if not parts:
            return text
        return joined(tuple(part if isinstance(part, str) else tuple(part) for part in parts), text)


def text_of_turn(turn: Turn, place: str) -> str | None:
    """A text of a run that its turn has; None for all others."""
    return {INPUT: turn.input, ANSWER: turn.answer}.get(place)
