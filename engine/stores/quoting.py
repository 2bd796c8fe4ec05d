"""References to earlier runs in the documents of a record, in place of the words that it quotes.

A text that quotes nothing is kept as it is. Another one is a list of its pieces: texts of its own,
and `[run, place]` for a text of an earlier run, or `[run, place, parts, length]` where it was cut
or escaped; `run` counts in the record's `quotes`. So whoever deletes a run deletes its words in all
that quoted it, also in what is written later by a run that had read it before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from ..messages import JSON, Quote
from ..quotes import ANSWER, INPUT, RESULT
from ..session import Turn
from .excerpt import Excerpt, heads, is_cut, joined, split

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
        self._by_text: dict[str, Quote] = {}
        for quote in quotes:
            self._by_text.setdefault(quote.text, quote)
        self._by_text.pop("", None)
        self._known: dict[bool, Sequence[tuple[str, tuple[str, ...]]]] = {}
        self._quotes = quotes
        self._references = references
        self.sources: list[JSON] = []

    def has_lost(self, run_id: str) -> bool:
        """Whether a run of this session was deleted since it was read."""
        was_read = any(one.run_id == run_id for one in self._quotes if one.session_id is None)
        return was_read and self._references.source(run_id) is None

    def content(self, text: str, *, of_result: bool = False) -> Content:
        """The text as it is kept.

        A result `of_result` of a tool that made it itself quotes no other results: a chain of equal
        ones would have to be followed back to the first.
        """
        if (quote := self._by_text.get(text)) and not (of_result and _is_result(quote)):
            return [self._reference(quote)]
        pieces: list[str | list[JSON]] = [text]
        own = text
        for quoted, beginnings in self._needles(cut=is_cut(text)):
            for beginning in beginnings:
                if beginning in own and not (of_result and _is_result(self._by_text[quoted])):
                    pieces = list(self._apart(pieces, quoted, beginnings))
                    own = "\0".join(piece for piece in pieces if isinstance(piece, str))
                    break
        return pieces if len(pieces) > 1 or isinstance(pieces[0], list) else text

    def _needles(self, *, cut: bool) -> Sequence[tuple[str, tuple[str, ...]]]:
        """The quoted texts, the longest first, each with how it may begin where it is quoted."""
        if cut not in self._known:
            longest_first = sorted(self._by_text, key=len, reverse=True)
            self._known[cut] = heads(longest_first, cut=cut)
        return self._known[cut]

    def _apart(
        self, pieces: Iterable[str | list[JSON]], quoted: str, beginnings: tuple[str, ...]
    ) -> Iterator[str | list[JSON]]:
        """The pieces, with references in place of what they quote of a text."""
        for piece in pieces:
            if not isinstance(piece, str):
                yield piece
                continue
            for part in split(piece, quoted, beginnings):
                if isinstance(part, str):
                    yield part
                else:
                    yield self._referred(part, self._by_text[quoted])

    def _referred(self, excerpt: Excerpt, quote: Quote) -> list[JSON]:
        reference = self._reference(quote)
        if excerpt.parts != ((0, len(quote.text)),):
            reference.append([part if isinstance(part, str) else [*part] for part in excerpt.parts])
            reference.append(len(quote.text))
        return reference

    def _reference(self, quote: Quote) -> list[JSON]:
        source = self._references.source(quote.run_id, quote.session_id)
        if source not in self.sources:
            self.sources.append(source)
        return [self.sources.index(source), quote.place]


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


def _is_result(quote: Quote) -> bool:
    return quote.place.endswith(RESULT)


def text_of_turn(turn: Turn, place: str) -> str | None:
    """A text of a run that its turn has; None for all others."""
    return {INPUT: turn.input, ANSWER: turn.answer}.get(place)
