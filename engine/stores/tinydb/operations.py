"""What is written to a journal for a turn, a summary, and keys of the state.

A document that is there keeps its number; a new one gets the next free one of its table.

What is done to the documents of a journal so that a run is gone from them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from ...records import Summary, Turn
from .. import codec
from ..compact_json import dump
from ..journal.index import Index
from ..journal.line import Operation
from ..redaction import StateChange, forget_run, wrote_summary
from .catalogue import Catalogue, Place
from .documents import Source


def deletion(catalogue: Catalogue, source: Source, run_id: str, run: int) -> Iterator[Operation]:
    """The operations that delete a run, which is document `run`, but for what it set in the state.

    Summaries that may be of it go. A run that is not done is left without the record of its own
    summary, so that it writes it anew when it is taken up.
    """
    number = catalogue.number_of.get(run_id, 0)
    yield Operation("d", "runs", str(run))
    for other, records in catalogue.records.items():
        since = catalogue.number_of.get(catalogue.run_ids.get(str(other), ""), 0)
        sums_up = bool(number) and not 0 < since < number
        for record in records.values():
            if other == run:
                yield Operation("d", "nodes", record.document)
            else:
                yield from _forget(
                    source, record, (run_id, run), sums_up=sums_up, is_done=since > 0
                )
    if number:
        for covered in catalogue.covers[bisect_left(catalogue.covers, number) :]:
            yield Operation("d", "summaries", catalogue.summaries[covered].document)


def _forget(
    source: Source, record: Place, gone: tuple[str, int], *, sums_up: bool, is_done: bool
) -> Iterator[Operation]:
    data = source.text(record.slot)
    if sums_up and not is_done and wrote_summary(data):
        yield Operation("d", "nodes", record.document)
        return
    kept = forget_run(data, *gone, sums_up=sums_up)
    if kept is not None:
        yield Operation("p", "nodes", record.document, record.slot.key, kept)


def put_turn(catalogue: Catalogue, index: Index, turn: Turn) -> Operation:
    """Keep a run."""
    document = _document(catalogue.runs.get(turn.run_id), index.next_number("runs"))
    key = dump((turn.run_id, turn.number))
    return Operation("p", "runs", document, key, codec.encode_turn(turn))


def put_summary(catalogue: Catalogue, index: Index, summary: Summary) -> Operation:
    """Keep a summary."""
    place = catalogue.summaries.get(summary.covers)
    document = _document(place, index.next_number("summaries"))
    key = dump((summary.covers,))
    return Operation("p", "summaries", document, key, codec.encode_summary(summary))


def put_state(catalogue: Catalogue, index: Index, change: StateChange) -> list[Operation]:
    """Keep values of the state, and let go of others."""
    there = catalogue.state
    free = index.next_number("state")
    operations = [
        Operation("d", "state", there[key].document) for key in change.dropped if key in there
    ]
    for key, kept in change.put.items():
        place = there.get(key)
        document = _document(place, free)
        free += place is None
        data = dump({**key._asdict(), "value": kept.value, "run": kept.run_id})
        operations.append(Operation("p", "state", document, dump(key), data))
    return operations


def _document(place: Place | None, free: int) -> str:
    return str(free) if place is None else place.document
