"""What a deleted run takes with it out of its session, whatever the store.

What other runs only quote of it is gone with the run itself (`quoting`). What they replayed with
its id, what was summed up since, and what it set in the state has to be looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..messages import JSON
from ..records import Change, StateKey
from .codec import forget_replayed
from .compact_json import Document, dump, parse_document
from .quoting import DELETED


class StateValue(NamedTuple):
    """A value in the state, and the run that set it."""

    value: JSON
    run_id: str


class StateChange(NamedTuple):
    """What becomes of the state: the values that some keys get, and the keys that go."""

    put: Mapping[StateKey, StateValue]
    dropped: Iterable[StateKey] = ()


def set_by(run_id: str, change: Change) -> dict[StateKey, StateValue]:
    """What a run sets."""
    return {key: StateValue(value, run_id) for key, value in change.values().items()}


def undo(
    gone: Mapping[StateKey, StateValue],
    number: int,
    others: Iterable[tuple[int, Mapping[StateKey, StateValue]]],
) -> StateChange:
    """Take back what the run with this number set, where no later one has set it since.

    `others` are what the other done runs set, with their numbers, the newest first.
    """
    left = dict.fromkeys(gone)
    put: dict[StateKey, StateValue] = {}
    for other, values in others if left else ():
        for key in [key for key in left if key in values]:
            del left[key]
            if other < number:
                put[key] = values[key]
        if not left:
            break
    return StateChange(put, left)


def forget_run(data: bytes, run_id: str, source: JSON, *, sums_up: bool) -> bytes | None:
    """The document of another run's record without the words of a deleted run; None if it had none.

    `sums_up` says that a summary in it may be of that run.
    """
    document = parse_document(data)
    is_changed = forget_replayed(document, run_id, source)
    if sums_up and _is_summary(document):
        is_changed = True
        _forget_summary(document)
    return dump(document) if is_changed else None


def forget_summary(data: bytes) -> bytes:
    """The document of a record, without the summary if one was written in it."""
    document = parse_document(data)
    if not _is_summary(document):
        return data
    _forget_summary(document)
    return dump(document)


def wrote_summary(data: bytes) -> bool:
    """Whether a record's document is that of a node which wrote a summary."""
    return _is_summary(parse_document(data))


def _is_summary(document: Document) -> bool:
    return isinstance(document.get("fields", {}).get("covers"), int)


def _forget_summary(document: Document) -> None:
    document["output"] = DELETED
    document["fields"] = {"topics": [], "covers": document["fields"]["covers"]}
    for exchange in document.get("exchanges", ()):
        exchange["reply"] = DELETED
