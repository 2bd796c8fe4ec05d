"""A session of the memory store."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias, cast

from msgspec import Struct, field
from msgspec.structs import replace

from ..messages import JSON
from ..quotes import RESULT, said
from ..session import Change, Head, Record, SessionInfo, SessionKey, StateKey, Summary, Turn
from .codec import (
    Decode,
    decode_own_words,
    decode_record,
    encode_record,
    normal_mapping,
    normal_record,
)
from .forgetting import (
    Kept,
    StateChange,
    forget_run,
    forget_summary,
    set_by,
    undo,
    wrote_summary,
)
from .protocol import Lease
from .quoting import References, text_of_turn

Stored: TypeAlias = "Record | bytes"
"""A record, as its document if it quotes other runs."""


class MemorySession(Struct):
    """What a session holds; `done` are the run ids of the done turns in their order.

    `covers` are the keys of `summaries`, sorted. `deleted` counts the runs that were deleted.
    """

    activity: int = 0
    deleted: int = 0
    name: str | None = None
    last_number: int = 0
    turns: dict[str, Turn] = field(default_factory=dict[str, Turn])
    done: list[str] = field(default_factory=list[str])
    records: dict[str, dict[tuple[str, int], Stored]] = field(
        default_factory=dict[str, "dict[tuple[str, int], Stored]"]
    )
    state: dict[str, JSON] = field(default_factory=dict[str, JSON])
    node_states: dict[str, Mapping[str, JSON]] = field(
        default_factory=dict[str, Mapping[str, JSON]]
    )
    writers: dict[StateKey, str] = field(default_factory=dict[StateKey, str])
    summaries: dict[int, Summary] = field(default_factory=dict[int, Summary])
    covers: list[int] = field(default_factory=list[int])

    def head(self) -> Head:
        """Where the session stands."""
        return Head(
            version=self.last_number,
            turns=self.last_number,
            state=normal_mapping(self.state),
            node_states={node: normal_mapping(state) for node, state in self.node_states.items()},
            summary=self.summary(),
            name=self.name,
            deleted=self.deleted,
            writers=dict(self.writers),
        )

    def summary(self, *, until: int | None = None) -> Summary | None:
        """The newest summary, of those that cover no turn after number `until` if it is given."""
        count = len(self.covers) if until is None else bisect_right(self.covers, until)
        return self.summaries[self.covers[count - 1]] if count else None

    def info(self, key: SessionKey) -> SessionInfo:
        """The session in a list."""
        runs = list(self.turns.values())
        latest = [*runs[-1:], *(self.turns[run_id] for run_id in self.done[-1:])]
        return SessionInfo(
            key=key,
            turns=self.last_number,
            started=runs[0].started if runs else 0.0,
            updated=max((max(turn.started, turn.ended) for turn in latest), default=0.0),
            name=self.name,
            first_input=runs[0].input if runs else "",
        )

    def put(self, lease: Lease, records: Sequence[Record], references: References) -> None:
        """Keep records of a run, all or none."""
        is_late = lease.head.deleted != self.deleted
        kept: dict[tuple[str, int], Stored] = {}
        for record in records:
            one: Stored = normal_record(record)
            if record.quotes:
                one = encode_record(0, record, references)
                one = forget_summary(one) if is_late else one
            kept[record.node, record.attempt] = one
        self.records.setdefault(lease.run_id, {}).update(kept)

    def last_records(
        self, run_id: str, references: References, decode: Decode = decode_record
    ) -> list[Record]:
        """The last record of each node of a run, as far as `decode` reads it."""
        last: dict[str, tuple[int, Stored]] = {}
        for (node, attempt), kept in self.records.get(run_id, {}).items():
            if node not in last or last[node][0] <= attempt:
                last[node] = (attempt, kept)
        return [
            decode(kept, references) if isinstance(kept, bytes) else kept
            for _, kept in last.values()
        ]

    def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Close a run; if it is done, the session moves."""
        run_id = lease.run_id
        number = self.last_number + 1 if turn.status == "done" else 0
        turn = replace(plain_turn(turn), run_id=run_id, number=number)
        state = normal_mapping(change.state)
        node_states = {node: normal_mapping(kept) for node, kept in change.node_states.items()}
        self.turns[run_id] = turn
        if number:
            self.last_number = number
            self.done.append(run_id)
            self._set(StateChange(set_by(run_id, Change(state, node_states))))
            summary = change.summary_at(number)
            if summary is not None and lease.head.deleted == self.deleted:
                if summary.covers not in self.summaries:
                    insort(self.covers, summary.covers)
                self.summaries[summary.covers] = summary
        return turn

    def delete_run(self, run_id: str, references: References) -> bool:
        """Delete a run and its words; False if it is not there."""
        if run_id not in self.turns:
            return False
        number = self.turns[run_id].number
        self._undo(run_id, number, references)
        self.deleted += 1
        del self.turns[run_id]
        self.records.pop(run_id, None)
        for other in self.records:
            self._forget(other, run_id, number, references)
        if number:
            self.done.remove(run_id)
            start = bisect_left(self.covers, number)
            for covers in self.covers[start:]:
                del self.summaries[covers]
            del self.covers[start:]
        return True

    def _undo(self, run_id: str, number: int, references: References) -> None:
        def values(run_id: str) -> dict[StateKey, Kept]:
            records = self.last_records(run_id, references)
            return set_by(run_id, Change.of(self.turns[run_id], records))

        others = (
            (self.turns[other].number, values(other))
            for other in reversed(self.done)
            if other != run_id
        )
        self._set(undo(values(run_id) if number else {}, number, others))

    def _set(self, change: StateChange) -> None:
        for key in change.dropped:
            (self.state if key.scope == "state" else self.node_states).pop(key.name, None)
            self.writers.pop(key, None)
        for key, (value, run_id) in change.put.items():
            if key.scope == "state":
                self.state[key.name] = value
            else:
                self.node_states[key.name] = cast("dict[str, JSON]", value)
            self.writers[key] = run_id

    def _forget(self, other: str, run_id: str, number: int, references: References) -> None:
        """Take the words of a run, which had this number, out of the records of another one."""
        since = self.turns[other].number
        sums_up = bool(number) and not 0 < since < number
        for attempt, kept in list(self.records[other].items()):
            data = kept if isinstance(kept, bytes) else encode_record(0, kept, references)
            if sums_up and not since and wrote_summary(data):
                del self.records[other][attempt]
            elif (changed := forget_run(data, run_id, run_id, sums_up=sums_up)) is not None:
                self.records[other][attempt] = changed


class MemoryReferences(Struct, frozen=True):
    """The references of one session's documents: implements `quoting.References`.

    A run of the same session is known by its id, one of another session by the ids of both.
    """

    session: MemorySession
    user_id: str | None
    sessions: Mapping[SessionKey, MemorySession]

    def source(self, run_id: str, session_id: str | None = None) -> JSON:
        """See `References.source`."""
        if session_id is not None:
            return [session_id, run_id]
        return run_id if run_id in self.session.turns else None

    def turn(self, source: JSON) -> Turn | None:
        """See `References.turn`."""
        return self.session.turns.get(source) if isinstance(source, str) else None

    def text(self, source: JSON, place: str) -> str | None:
        """See `References.text`."""
        if isinstance(source, list):
            session_id, run_id = map(str, source)
            session = self.sessions.get(SessionKey(self.user_id, session_id))
            turn = session.turns.get(run_id) if session is not None else None
            return None if turn is None else text_of_turn(turn, place)
        turn = self.turn(source)
        if turn is None:
            return None
        text = text_of_turn(turn, place)
        if text is not None:
            return text
        decode = partial(decode_own_words, results=place.endswith(RESULT))
        records = self.session.last_records(turn.run_id, self, decode)
        return said(turn, records).get(place)


def plain_turn(turn: Turn) -> Turn:
    """The turn as it comes back from a store."""
    if not turn.given_state:
        return turn
    return replace(turn, given_state=normal_mapping(turn.given_state))
