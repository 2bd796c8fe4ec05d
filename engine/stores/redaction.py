"""Redaction: what else changes in a session when one of its runs is deleted.

Quotes of the run are references and vanish with it (`quoting`). Here its replayed messages and
the summaries that cover it are redacted, and the state that it set is undone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import merge
from typing import NamedTuple, TypeAlias, cast

from ..messages import JSON
from ..records import Change, StateKey, Turn
from .codec import part_id, redact_parts, redact_replayed
from .journal.line import Document
from .quoting import DELETED


class StateValue(NamedTuple):
    """A value in the state, and the run that set it, empty if it was set outside of a turn."""

    value: JSON
    run_id: str


class StateChange(NamedTuple):
    """A change of the state: keys that are set, and keys that are dropped."""

    put: Mapping[StateKey, StateValue]
    dropped: Iterable[StateKey] = ()


def values_set_by(run_id: str, change: Change) -> dict[StateKey, StateValue]:
    """The state that a run sets."""
    return {key: StateValue(value, run_id) for key, value in change.values().items()}


SetOutside: TypeAlias = Mapping[str, JSON]
"""What was last done to a key outside of a turn: `value`, absent if the key was removed, and
`after`, the number of turns that the session had."""
_REMOVED = StateValue(None, "(removed)")


def set_outside(
    values: Mapping[str, JSON], remove: Collection[str], *, after: int
) -> dict[StateKey, StateValue]:
    """What is stored of a change outside of a turn, beside the change itself."""
    entries: dict[str, SetOutside] = {name: {"after": after} for name in remove}
    entries |= {name: {"after": after, "value": value} for name, value in values.items()}
    return {StateKey("set", name): StateValue(dict(each), "") for name, each in entries.items()}


def undo(
    gone: Mapping[StateKey, StateValue],
    number: int,
    others: Iterable[tuple[int, Mapping[StateKey, StateValue]]],
    outside: Mapping[str, SetOutside],
) -> StateChange:
    """The change that undoes what the deleted run with this number set, where it was the last to.

    `others` is what the other done runs set, with their numbers, the newest first. `outside` is by
    key what was last done to it outside of a turn: what was done before that is of no account.
    """
    left, dropped = dict.fromkeys(gone), list[StateKey]()
    put: dict[StateKey, StateValue] = {}
    by_time = merge(others, _between_turns(outside), key=lambda each: each[0], reverse=True)
    for other, values in by_time if left else ():
        for key in [key for key in left if key in values]:
            del left[key]
            if other < number:
                if values[key] is _REMOVED:
                    dropped.append(key)
                else:
                    put[key] = values[key]
        if not left:
            break
    return StateChange(put, [*dropped, *left])


def _between_turns(
    outside: Mapping[str, SetOutside],
) -> Iterator[tuple[float, Mapping[StateKey, StateValue]]]:
    """The changes as if runs had made them, between two turns, the newest first."""
    for name, each in sorted(outside.items(), key=lambda item: -cast("int", item[1]["after"])):
        value = StateValue(each["value"], "") if "value" in each else _REMOVED
        yield cast("int", each["after"]) + 0.5, {StateKey("state", name): value}


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
