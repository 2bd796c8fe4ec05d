"""What the documents of a journal refer to: runs of the same session, and of other ones.

A run of the same session is known by its document's number. A run of another session of the user
is known by the name of that session's file and its own id; its words are read beforehand, since
nobody who holds a journal may wait for another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias, cast

from ...messages import JSON
from ...records import Record, Turn
from ...session.quotes import RESULT, texts_of
from ..codec import Decode, decode_own_words
from ..quoting import References, text_of_turn
from .catalogue import Catalogue
from .layout import session_name

Source: TypeAlias = tuple[str, str]
"""A run of another session: the name of its session's file, and its id."""


class Elsewhere:
    """The turns of other sessions that somebody has read, and those that were asked for in vain."""

    def __init__(self) -> None:
        self.turns: dict[Source, Turn | None] = {}
        self.wanted: set[Source] = set()

    def text(self, source: Source, place: str) -> str | None:
        """A text of a run of another session, None if it is gone, or not read yet."""
        if source not in self.turns:
            self.wanted.add(source)
        turn = self.turns.get(source)
        return None if turn is None else text_of_turn(turn, place)


class FileReferences:
    """The references of one session's documents: implements `quoting.References`.

    `turn_of` and `records_of` read a run that the catalogue has.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        turn_of: Callable[[str], Turn],
        records_of: Callable[[str, References, Decode], list[Record]],
        elsewhere: Elsewhere,
    ) -> None:
        self._catalogue = catalogue
        self._turn_of = turn_of
        self._records_of = records_of
        self._elsewhere = elsewhere
        self._said: dict[tuple[str, bool], Mapping[str, str]] = {}

    def source(self, run_id: str, session_id: str | None = None) -> JSON:
        """See `References.source`."""
        if session_id is not None:
            return [session_name(session_id), run_id]
        place = self._catalogue.runs.get(run_id)
        return None if place is None else int(place.document)

    def turn(self, source: JSON) -> Turn | None:
        """See `References.turn`."""
        run_id = self._catalogue.run_ids.get(str(source))
        return None if run_id is None else self._turn_of(run_id)

    def text(self, source: JSON, place: str) -> str | None:
        """See `References.text`."""
        if isinstance(source, list):
            return self._elsewhere.text(cast("Source", tuple(source)), place)
        turn = self.turn(source)
        if turn is None:
            return None
        text = text_of_turn(turn, place)
        if text is not None:
            return text
        return self._texts(turn.run_id, results=place.endswith(RESULT)).get(place)

    def _texts(self, run_id: str, *, results: bool) -> Mapping[str, str]:
        if (run_id, results) not in self._said:
            decode = partial(decode_own_words, results=results)
            records = self._records_of(run_id, self, decode)
            self._said[run_id, results] = texts_of(self._turn_of(run_id), records)
        return self._said[run_id, results]
