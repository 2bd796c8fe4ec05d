"""Which documents of a journal are which runs, records, state keys and summaries.

It follows the keys in the journal's lines, so no text is read to find one.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from msgspec import Struct

from ..compact_json import parse_key
from ..journal.line import Slot


class Place(Struct, frozen=True, gc=False):
    """A document: its number as text, and where it lies."""

    document: str
    slot: Slot


class Catalogue:
    """What lies where.

    The keys are `[run_id, number]` for runs (number 0 until the run is done), `[run, node,
    attempt]` for nodes (`run` is the document of the run), `[scope, name]` for state (the scopes
    are `state`, `node` and `head`) and `[covers]` for summaries. A document without a key, as a
    user of TinyDB may insert it, is left alone.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Place] = {}
        self.run_ids: dict[str, str] = {}
        self.number_of: dict[str, int] = {}
        self.numbers: list[int] = []
        self.by_number: dict[int, str] = {}
        self.records: dict[int, dict[tuple[str, int], Place]] = {}
        self.state: dict[tuple[str, str], Place] = {}
        self.covers: list[int] = []
        self.summaries: dict[int, Place] = {}

    def forget(self) -> None:
        """Start over."""
        for kept in (self.runs, self.run_ids, self.number_of, self.by_number, self.records):
            kept.clear()
        for rest in (self.numbers, self.state, self.covers, self.summaries):
            rest.clear()

    def put(self, table: str, document: str, slot: Slot) -> None:
        """A document is there, new or in place of the one that it was."""
        if slot.key == b"null":
            return
        key = parse_key(slot.key)
        place = Place(document, slot)
        match table:
            case "runs":
                self._put_run(place, key[0], key[1])
            case "nodes":
                self.records.setdefault(key[0], {})[key[1], key[2]] = place
            case "state":
                self.state[key[0], key[1]] = place
            case _:
                if key[0] not in self.summaries:
                    insort(self.covers, key[0])
                self.summaries[key[0]] = place

    def drop(self, table: str, document: str, slot: Slot) -> None:
        """A document is gone."""
        if slot.key == b"null":
            return
        key = parse_key(slot.key)
        match table:
            case "runs":
                self._drop_run(document, key[0])
            case "nodes":
                self.records[key[0]].pop((key[1], key[2]), None)
            case "state":
                self.state.pop((key[0], key[1]), None)
            case _:
                self.summaries.pop(key[0], None)
                self.covers.remove(key[0])

    def _put_run(self, place: Place, run_id: str, number: int) -> None:
        self._unnumber(run_id)
        self.runs[run_id] = place
        self.run_ids[place.document] = run_id
        if number:
            self.number_of[run_id] = number
            self.by_number[number] = run_id
            insort(self.numbers, number)

    def _drop_run(self, document: str, run_id: str) -> None:
        self._unnumber(run_id)
        self.runs.pop(run_id, None)
        self.run_ids.pop(document, None)

    def _unnumber(self, run_id: str) -> None:
        number = self.number_of.pop(run_id, 0)
        if number:
            del self.by_number[number]
            del self.numbers[bisect_left(self.numbers, number)]
