"""A store that keeps sessions in memory, for tests and for runs that nobody comes back to."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import count
from threading import RLock

from msgspec.structs import replace

from ..session import Change, Head, Record, Run, SessionInfo, SessionKey, Summary, Turn
from .lease import Leases, TurnQueue, already_done, check_key, check_user, gone, under_way
from .memory_session import MemoryReferences, MemorySession, plain_turn
from .protocol import Hit, Lease, Policy
from .search import says


class MemoryStore:
    """Keeps sessions for as long as the object lives; safe to use from many tasks and threads.

    It behaves as `TinyDBStore` does, but for what outlives a process. `sessions` are there from
    the start.
    """

    def __init__(self, sessions: Mapping[SessionKey, MemorySession] | None = None) -> None:
        self._guard = RLock()
        self._queue = TurnQueue()
        self._leases: Leases[MemorySession] = Leases()
        self._clock = count(1)
        self._sessions: dict[SessionKey, MemorySession] = dict(sessions or {})
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
        with self._guard:
            session = self._leased(lease)
            session.put(lease, records, self._references(lease.key, session))
            self._touch(session)

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Close the run and give the session free; if the turn is done, the session moves."""
        self._leases.check(lease)
        try:
            with self._guard:
                session = self._leased(lease)
                kept = session.finish(lease, turn, change)
                self._touch(session)
                return kept
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
            return None if session is None else session.head()

    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        """A run with the last record of each of its nodes, or None."""
        with self._guard:
            session = self._session(key)
            if session is None or run_id not in session.turns:
                return None
            records = session.last_records(run_id, self._references(key, session))
            return Run(key, session.turns[run_id], {record.node: record for record in records})

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        """The done turns with `number` > `since`, the newest `last` of them, oldest first."""
        with self._guard:
            session = self._session(key)
            if session is None:
                return []
            turns = session.turns
            start = bisect_right(session.done, since, key=lambda run_id: turns[run_id].number)
            if last is not None:
                start = max(start, len(session.done) - max(0, last))
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
            return None if session is None else session.summary(until=until)

    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """The sessions of one user, the one with the latest activity first."""
        with self._guard:
            page = self._by_activity(user_id)[offset : offset + limit]
            return [session.info(key) for key, session in page]

    async def users(self, *, limit: int = 20, offset: int = 0) -> list[str | None]:
        """The users who have a session, the one who came first before the others."""
        with self._guard:
            return list(dict.fromkeys(key.user_id for key in self._sessions))[offset:][:limit]

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
            if session is None:
                return False
            return session.delete_run(run_id, self._references(key, session))

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

    async def find(self, user_id: str | None, run_id: str) -> SessionKey | None:
        """The session of a user that a run belongs to, the one with the latest activity first."""
        with self._guard:
            for key, session in self._by_activity(user_id):
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

    async def prompt_hashes(self, prefix: str = "") -> list[str]:
        """The hashes that sources are kept under and that begin with `prefix`, sorted."""
        return sorted(each for each in self._prompts if each.startswith(prefix))

    async def close(self) -> None:
        """Do nothing: there is no file to let go of, and what is kept stays."""

    def _begin(self, key: SessionKey, turn: Turn, *, has_turn: bool) -> Lease:
        session = self._sessions.get(key)
        earlier = None if session is None else session.turns.get(turn.run_id)
        if earlier is not None and earlier.status == "done":
            raise already_done(turn.run_id)
        if session is None:
            session = self._sessions[key] = MemorySession()
        elif self._leases.is_under_way(session, turn.run_id):
            raise under_way(turn.run_id)
        session.turns[turn.run_id] = replace(plain_turn(turn), status="running", number=0)
        self._touch(session)
        return self._leases.grant(
            Lease(key, turn.run_id, session.head()), session, has_turn=has_turn
        )

    def _leased(self, lease: Lease) -> MemorySession:
        session = self._leases.check(lease).place
        if session is not self._sessions.get(lease.key) or lease.run_id not in session.turns:
            raise gone(lease.run_id, lease.key)
        return session

    def _session(self, key: SessionKey) -> MemorySession | None:
        check_key(key)
        return self._sessions.get(key)

    def _by_activity(self, user_id: str | None) -> list[tuple[SessionKey, MemorySession]]:
        check_user(user_id)
        mine = [item for item in self._sessions.items() if item[0].user_id == user_id]
        return sorted(mine, key=lambda item: item[1].activity, reverse=True)

    def _references(self, key: SessionKey, session: MemorySession) -> MemoryReferences:
        return MemoryReferences(session, key.user_id, self._sessions)

    def _touch(self, session: MemorySession) -> None:
        session.activity = next(self._clock)
