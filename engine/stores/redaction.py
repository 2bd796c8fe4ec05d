"""Redaction: what else changes in a session when one of its runs is deleted.

Quotes of the run are references and vanish with it (`quoting`). Here its replayed messages and
the summaries that cover it are redacted, and the state that it set is undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..messages import JSON
from ..records import Change, StateKey
from .codec import redact_replayed
from .journal.line import Document, dump_json, parse_document
from .quoting import DELETED


class StateValue(NamedTuple):
    """A value in the state, and the run that set it."""

    value: JSON
    run_id: str


class StateChange(NamedTuple):
    """A change of the state: keys that are set, and keys that are dropped."""

    put: Mapping[StateKey, StateValue]
    dropped: Iterable[StateKey] = ()


def values_set_by(run_id: str, change: Change) -> dict[StateKey, StateValue]:
    """The state that a run sets."""
    return {key: StateValue(value, run_id) for key, value in change.values().items()}


def undo(
    gone: Mapping[StateKey, StateValue],
    number: int,
    others: Iterable[tuple[int, Mapping[StateKey, StateValue]]],
) -> StateChange:
    """The change that undoes what the deleted run with this number set, where it was the last to.

    `others` is what the other done runs set, with their numbers, the newest first.
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


def redact_run(data: bytes, run_id: str, run: JSON, *, may_summarize: bool) -> bytes | None:
    """Another run's record without the texts of a deleted run; None if it has none of them.

    `run` is the reference to the deleted run; `may_summarize` says that a summary in the record may
    cover it.
    """
    document = parse_document(data)
    is_changed = redact_replayed(document, run_id, run)
    if may_summarize and _is_summary(document):
        is_changed = True
        _redact_summary(document)
    return dump_json(document) if is_changed else None


def redact_summary(data: bytes) -> bytes:
    """The document of a record, without the summary if it wrote one."""
    document = parse_document(data)
    if not _is_summary(document):
        return data
    _redact_summary(document)
    return dump_json(document)


def wrote_summary(data: bytes) -> bool:
    """Whether the node of a record's document wrote a summary."""
    return _is_summary(parse_document(data))


def _is_summary(document: Document) -> bool:
    return isinstance(document.get("fields", {}).get("covers"), int)


def _redact_summary(document: Document) -> None:
    document["output"] = DELETED
    document["fields"] = {"topics": [], "covers": document["fields"]["covers"]}
    for exchange in document.get("exchanges", ()):
        exchange["reply"] = DELETED
