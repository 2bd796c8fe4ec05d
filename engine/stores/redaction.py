"""Redaction: what else changes in a session when one of its runs is deleted.

Quotes of the run are references and vanish with it (`quoting`). Here its replayed messages and
the summaries that cover it are redacted, and the state that it set is undone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from ..messages import JSON
from ..records import Change, StateKey, Turn
from .codec import part_id, redact_parts, redact_replayed
from .journal.line import Document
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


def only_of(run_id: str, turns: Iterable[Turn]) -> set[str]:
    """The attachments that of these turns only that of the run names, by hash or URL."""
    own, others = set[str](), set[str]()
    for turn in turns:
        named = own if turn.run_id == run_id else others
        named.update(part_id(part) for part in turn.attachments)
    return own - others


def redact_run(
    document: Document,
    run_id: str,
    run: JSON,
    *,
    may_summarize: bool,
    attached: Collection[str] = (),
) -> bool:
    """Remove the texts of a deleted run from another run's record; False if it has none of them.

    `run` is the reference to the deleted run; `may_summarize` says that a summary in the record may
    cover it. `attached` are the attachments that only the deleted run had.
    """
    is_changed = redact_replayed(document, run_id, run)
    if attached:
        is_changed = redact_parts(document, attached) or is_changed
    if may_summarize and wrote_summary(document):
        is_changed = True
        _redact_summary(document)
    return is_changed


def redact_summary(document: Document) -> None:
    """Remove the summary from the document of a record, if it wrote one."""
    if wrote_summary(document):
        _redact_summary(document)


def wrote_summary(document: Document) -> bool:
    """Whether the node of a record's document wrote a summary."""
    return isinstance(document.get("fields", {}).get("covers"), int)


def _redact_summary(document: Document) -> None:
    document["output"] = DELETED
    document["fields"] = {"topics": [], "covers": document["fields"]["covers"]}
    for exchange in document.get("exchanges", ()):
        exchange["reply"] = DELETED
