"""A store that keeps sessions in memory, for tests and for runs that nobody comes back to."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from threading import RLock

from ..messages import JSON, Message
from ..session import Change, Head, Record, Run, SessionInfo, SessionKey, Summary, Turn
from .codec import DELETED, normal_mapping, normal_record
from .lease import (
    Leases,
    TurnQueue,
    already_done,
    check_key,
    check_user,
    gone,
    under_way,
)
from .protocol import Hit, Lease, Policy
from .search import says


@dataclass(slots=True)
class _Session:
    activity: int = 0
    name: str | None = None
    last_number: int = 0
    turns: dict[str, Turn] = field(default_factory=dict[str, Turn])
    done: list[str] = field(default_factory=list[str])
    records: dict[str, dict[tuple[str, int], Record]] = field(
        default_factory=dict[str, dict[tuple[str, int], Record]]
    )
    state: dict[str, JSON] = field(default_factory=dict[str, JSON])
    node_states: dict[str, Mapping[str, JSON]] = field(
        default_factory=dict[str, Mapping[str, JSON]]
    )
    summaries: dict[int, Summary] = field(default_factory=dict[int, Summary])


class MemoryStore:
    """Keeps sessions for as long as the object lives; safe to use from many tasks and threads.

    It behaves as `TinyDBStore` does, but for what outlives a process.
    """

    def __init__(self) -> None:
        self._guard = RLock()
        self._queue = TurnQueue()
        self._leases: Leases[_Session] = Leases()
        self._clock = count(1)
        self._sessions: dict[SessionKey, _Session] = {}
        self._prompts: dict[str, dict[str, str]] = {}

    async def begin(self, key: SessionKey, turn: Turn, *, policy: Policy = "serialize") -> Lease:
        """Take the session for a run, and note the run as running."""
        check_key(key)
        has_turn = policy != "fork"
        if has_turn:
            await self._queue.take(key, policy)
        try:
            with self._guard:
                return self._begin(key, turn, has_turn=has_turn)
        except BaseException:
            if has_turn:
                self._queue.give(key)
            raise

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        """Keep `records`, all or none; a record of the same node and attempt is replaced."""
        kept = [normal_record(record) for record in records]
        with self._guard:
            session = self._leased(lease)
            of_run = session.records.setdefault(lease.run_id, {})
            for record in kept:
                of_run[record.node, record.attempt] = record
            self._touch(session)

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Close the run and give the session free; if the turn is done, the session moves."""
        self._leases.check(lease)
        try:
            with self._guard:
                return self._finish(self._leased(lease), lease.run_id, turn, change)
        finally:
            await self.release(lease)

    async def release(self, lease: Lease) -> None:
        """Give the session free and leave the run as it is, to be resumed."""
        grant = self._leases.end(lease)
        if grant is not None and grant.has_turn:
            self._queue.give(lease.key)

    async def head(self, key: SessionKey) -> Head | None:
        """Where the session stands, or None if there is no such session."""
        with self._guard:
            session = self._session(key)
            return None if session is None else _head(session)

    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        """A run with the last record of each of its nodes, or None."""
        with self._guard:
            session = self._session(key)
            if session is None or run_id not in session.turns:
                return None
            records: dict[str, Record] = {}
            for record in session.records.get(run_id, {}).values():
                earlier = records.get(record.node)
                if earlier is None or earlier.attempt <= record.attempt:
                    records[record.node] = record
            return Run(key, session.turns[run_id], records)

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        """The done turns with `number` > `since`, the newest `last` of them, oldest first."""
        with self._guard:
            session = self._session(key)
            if session is None:
                return []
            numbers = [session.turns[run_id].number for run_id in session.done]
            start = bisect_right(numbers, since)
            if last is not None:
                start = max(start, len(numbers) - max(0, last))
            return [session.turns[run_id] for run_id in session.done[start:]]

    async def runs(self, key: SessionKey, *, limit: int = 20, offset: int = 0) -> list[Turn]:
        """All runs of a session whatever their status, newest first."""
        with self._guard:
            session = self._session(key)
            if session is None:
                return []
            return list(reversed(session.turns.values()))[offset : offset + limit]

    async def summary(self, key: SessionKey, *, until: int) -> Summary | None:
        """The newest summary that covers no turn after number `until`."""
        with self._guard:
            session = self._session(key)
            return None if session is None else _summary(session, until)

    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """The sessions of one user, the one with the latest activity first."""
        with self._guard:
            page = self._by_activity(user_id)[offset : offset + limit]
            return [_info(key, session) for key, session in page]

    async def search(
        self,
        user_id: str | None,
        text: str,
        *,
        last: int,
        exclude: str | None = None,
        limit: int = 20,
    ) -> list[Hit]:
        """The done turns that have `text` in their input or answer, the newest first."""
        with self._guard:
            others = [
                (key, session)
                for key, session in self._by_activity(user_id)
                if key.session_id != exclude
            ]
            hits = [
                Hit(key, session.turns[run_id])
                for key, session in others[: max(0, last)]
                for run_id in reversed(session.done)
                if says(session.turns[run_id], text)
            ]
            return hits[: max(0, limit)]

    async def rename(self, key: SessionKey, name: str | None) -> bool:
        """Name a session, or take its name away; False if there is no such session."""
        with self._guard:
            session = self._session(key)
            if session is None:
                return False
            session.name = name
            return True

    async def delete_run(self, key: SessionKey, run_id: str) -> bool:
        """Delete a run and every word of it that the store knows of; False if there is none."""
        with self._guard:
            session = self._session(key)
            if session is None or run_id not in session.turns:
                return False
            number = session.turns.pop(run_id).number
            session.records.pop(run_id, None)
            for records in session.records.values():
                for place, record in records.items():
                    records[place] = _without_run(record, run_id)
            if number:
                session.done.remove(run_id)
                for covers in [covers for covers in session.summaries if covers >= number]:
                    del session.summaries[covers]
            return True

    async def delete_session(self, key: SessionKey) -> bool:
        """Delete a session with all that it has; False if there is none."""
        check_key(key)
        with self._guard:
            return self._sessions.pop(key, None) is not None

    async def delete_user(self, user_id: str | None) -> int:
        """Delete all sessions of a user, and tell how many there were."""
        check_user(user_id)
        with self._guard:
            keys = [key for key in self._sessions if key.user_id == user_id]
            for key in keys:
                del self._sessions[key]
            return len(keys)

    async def find(self, run_id: str) -> SessionKey | None:
        """The session that a run belongs to, over all users."""
        with self._guard:
            for key, session in self._sessions.items():
                if run_id in session.turns:
                    return key
            return None

    async def keep_prompt(self, prompt_hash: str, sources: Mapping[str, str]) -> None:
        """Keep the sources of a template, once for each hash."""
        self._prompts.setdefault(prompt_hash, dict(sources))

    async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        """The sources kept under a hash, or None."""
        sources = self._prompts.get(prompt_hash)
        return None if sources is None else dict(sources)

    async def close(self) -> None:
        """Do nothing: there is no file to let go of, and what is kept stays."""

    def _begin(self, key: SessionKey, turn: Turn, *, has_turn: bool) -> Lease:
        session = self._sessions.get(key)
        earlier = None if session is None else session.turns.get(turn.run_id)
        if earlier is not None and earlier.status == "done":
            raise already_done(turn.run_id)
        if session is None:
            session = self._sessions[key] = _Session()
        elif self._leases.is_under_way(session, turn.run_id):
            raise under_way(turn.run_id)
        session.turns[turn.run_id] = replace(_kept(turn), status="running", number=0)
        self._touch(session)
        return self._leases.grant(
            Lease(key, turn.run_id, _head(session)), session, has_turn=has_turn
        )

    def _finish(self, session: _Session, run_id: str, turn: Turn, change: Change) -> Turn:
        number = session.last_number + 1 if turn.status == "done" else 0
        turn = replace(_kept(turn), run_id=run_id, number=number)
        state = normal_mapping(change.state)
        node_states = {node: normal_mapping(kept) for node, kept in change.node_states.items()}
        session.turns[run_id] = turn
        self._touch(session)
        if turn.status == "done":
            session.last_number = number
            session.done.append(run_id)
            session.state.update(state)
            session.node_states.update(node_states)
            if change.summary is not None:
                session.summaries[change.summary.covers] = change.summary
        return turn

    def _leased(self, lease: Lease) -> _Session:
        session = self._leases.check(lease).place
        if session is not self._sessions.get(lease.key) or lease.run_id not in session.turns:
            raise gone(lease.run_id, lease.key)
        return session

    def _session(self, key: SessionKey) -> _Session | None:
        check_key(key)
        return self._sessions.get(key)

    def _by_activity(self, user_id: str | None) -> list[tuple[SessionKey, _Session]]:
        check_user(user_id)
        mine = [item for item in self._sessions.items() if item[0].user_id == user_id]
        return sorted(mine, key=lambda item: item[1].activity, reverse=True)

    def _touch(self, session: _Session) -> None:
        session.activity = next(self._clock)


def _head(session: _Session) -> Head:
    return Head(
        version=session.last_number,
        turns=session.last_number,
        state=normal_mapping(session.state),
        node_states={node: normal_mapping(state) for node, state in session.node_states.items()},
        summary=_summary(session),
        name=session.name,
    )


def _summary(session: _Session, until: int | None = None) -> Summary | None:
    known = [covers for covers in session.summaries if until is None or covers <= until]
    return session.summaries[max(known)] if known else None


def _info(key: SessionKey, session: _Session) -> SessionInfo:
    runs = list(session.turns.values())
    latest = [*runs[-1:], *(session.turns[run_id] for run_id in session.done[-1:])]
    return SessionInfo(
        key=key,
        turns=session.last_number,
        started=runs[0].started if runs else 0.0,
        updated=max((max(turn.started, turn.ended) for turn in latest), default=0.0),
        name=session.name,
        first_input=runs[0].input if runs else "",
    )


def _kept(turn: Turn) -> Turn:
    if not turn.given_state:
        return turn
    return replace(turn, given_state=normal_mapping(turn.given_state))


def _without_run(record: Record, run_id: str) -> Record:
    exchanges = tuple(
        replace(
            exchange,
            messages=tuple(_without_words(message, run_id) for message in exchange.messages),
        )
        for exchange in record.exchanges
    )
    return replace(record, exchanges=exchanges)


def _without_words(message: Message, run_id: str) -> Message:
    if message.origin != run_id:
        return message
    return message.model_copy(update={"content": DELETED})
