"""What is written to a journal for a turn, a summary, and keys of the state.

A document that is there keeps its number; a new one gets the next free one of its table.
"""

from __future__ import annotations

from ..session import Summary, Turn
from . import codec
from .catalogue import Catalogue, Place
from .compact_json import dump
from .forgetting import StateChange
from .index import Index
from .line import Operation


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
