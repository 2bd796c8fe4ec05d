"""The embedded store: a directory with one TinyDB journal for each session."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from tinydb import TinyDB

from ...errors import InputError, NotFound
from ...records import Change, Head, Record, Run, SessionInfo, SessionKey, Summary, Turn
from ...session.store import Hit, Lease, Policy
from ..journal.disk import DISK, Disk
from ..journal.medium import Medium, Sync
from ..journal.reading import Gone
from ..leases import Leases, TurnQueue, check_key, check_user, gone, taken_over, under_way
from .directory import Directory
from .references import Elsewhere
from .session_file import SessionFile
from .sessions import Sessions, Turns
from .table import JournalDatabase

Answer = TypeVar("Answer")


class TinyDBStore:
    """Keeps sessions below a directory; many processes may use it at once.

    `sync` says when data is forced to the disk: `always` (each write), `turn` (when a run is
    finished, before `finish` returns) or `never`. In each of them a killed process loses nothing
    that was put; the difference is a power cut. What it left of the end of a journal is cut and
    kept aside, with a `TornTail` warning; with `never` the session may be refused as damaged.
    `handles` sessions stay open.

    A run holds its session until it ends or its process dies. A process that stands still for
    `lease_timeout` seconds (it was suspended, say) loses the session to another one that waits for
    it, and what it writes later is refused as a `Conflict`. `disk` makes the system calls.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: Sync = "turn",
        handles: int = 128,
        lease_timeout: float = 60.0,
        disk: Disk = DISK,
    ) -> None:
        if sync not in ("always", "turn", "never"):
            raise InputError(f"sync: {sync!r} is unknown; take 'always', 'turn' or 'never'")
        if not lease_timeout > 0:
            raise InputError(f"lease_timeout: {lease_timeout!r} is no time; take some seconds")
        self.path = Path(path)
        self._medium = Medium(disk, sync)
        self._files = Directory(self.path, self._medium, handles=handles)
        self._queue = TurnQueue()
        self._leases: Leases[SessionFile] = Leases()
        self._turns = Turns(lease_timeout)
        self._sessions = Sessions(self._files, self._medium)

    async def begin(self, key: SessionKey, turn: Turn, *, policy: Policy = "serialize") -> Lease:
        """Take the session for a run, and note the run as running."""
        check_key(key)
        if policy == "fork":
            return await self._begin(key, turn, policy)
        await self._queue.take(key, policy)
        try:
            return await self._begin(key, turn, policy)
        except BaseException:
            self._queue.give(key)
            raise

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        """Keep `records`, all or none; a record of the same node and attempt is replaced."""
        await self._write_leased(lease, lambda session: session.put(lease, records))

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Close the run and give the session free; if the turn is done, the session moves."""
        session = self._leases.check(lease).place
        try:
            turn = await self._write_leased(
                lease, lambda session: session.finish(lease, turn, change), is_end=True
            )
            await self._sessions.tidy(session)
            return turn
        finally:
            await self.release(lease)

    async def release(self, lease: Lease) -> None:
        """Give the session free and leave the run as it is, to be resumed."""
        grant = self._leases.end(lease)
        if grant is None:
            return
        if grant.has_turn:
            self._turns.give(grant.place.turn)
        self._files.handles.give(grant.place)
        if grant.has_turn:
            self._queue.give(lease.key)

    async def head(self, key: SessionKey) -> Head | None:
        """Where the session stands, or None if there is no such session."""
        return await self._sessions.read(key, SessionFile.head)

    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        """A run with its records, replayed messages filled in, or None."""
        elsewhere = Elsewhere()
        while True:
            run = await self._sessions.read(key, lambda session: session.run(run_id, elsewhere))
            if not (wanted := elsewhere.wanted - elsewhere.turns.keys()):
                return run
            for source in wanted:
                elsewhere.turns[source] = await self._sessions.run(
                    partial(self._files.turn, key.user_id, source)
                )

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        """The done turns with `number` > `since`, the newest `last` of them, oldest first."""
        found = await self._sessions.read(
            key, lambda session: session.turns(last=last, since=since)
        )
        return found or []

    async def runs(self, key: SessionKey, *, limit: int = 20, offset: int = 0) -> list[Turn]:
        """All runs of a session whatever their status, newest first."""
        found = await self._sessions.read(
            key, lambda session: session.runs(limit=limit, offset=offset)
        )
        return found or []

    async def summary(self, key: SessionKey, *, until: int) -> Summary | None:
        """The newest summary that covers no turn after number `until`."""
        return await self._sessions.read(key, lambda session: session.summary(until=until))

    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """The sessions of one user, the one with the latest activity first."""
        check_user(user_id)
        return await self._sessions.run(
            lambda: self._files.infos(user_id, limit=limit, offset=offset)
        )

    async def users(self, *, limit: int = 20, offset: int = 0) -> list[str | None]:
        """The users who have a session, in an order that means nothing but stays."""
        return await self._sessions.run(lambda: self._files.users(limit=limit, offset=offset))

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
        check_user(user_id)
        return await self._sessions.run(
            lambda: self._files.search(user_id, text, last=last, exclude=exclude, limit=limit)
        )

    async def rename(self, key: SessionKey, name: str | None) -> bool:
        """Name a session, or take its name away; False if there is no such session."""

        def act(session: SessionFile) -> bool:
            session.rename(name)
            return True

        return bool(await self._sessions.write(key, act))

    async def delete_run(self, key: SessionKey, run_id: str) -> bool:
        """Delete a run and every word of it that the store knows of; False if there is none."""
        return bool(await self._sessions.write(key, lambda session: session.delete_run(run_id)))

    async def delete_session(self, key: SessionKey) -> bool:
        """Delete a session with all that it has; False if there is none."""
        check_key(key)
        return await self._sessions.run(lambda: self._files.delete_session(key))

    async def delete_user(self, user_id: str | None) -> int:
        """Delete all sessions of a user, and tell how many there were."""
        check_user(user_id)
        return await self._sessions.run(lambda: self._files.delete_user(user_id))

    async def find(self, user_id: str | None, run_id: str) -> SessionKey | None:
        """The session of a user that a run belongs to; it may look into each of them."""
        check_user(user_id)
        return await self._sessions.run(lambda: self._files.find(user_id, run_id))

    async def keep_prompt(self, prompt_hash: str, sources: Mapping[str, str]) -> None:
        """Keep the sources of a template, once for each hash."""
        if not self._files.has_prompt(prompt_hash):
            await self._sessions.run(lambda: self._files.keep_prompt(prompt_hash, sources))

    async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        """The sources kept under a hash, or None."""
        return await self._sessions.run(lambda: self._files.prompt(prompt_hash))

    async def prompt_hashes(self, prefix: str = "") -> list[str]:
        """The hashes that sources are kept under and that begin with `prefix`, sorted."""
        return await self._sessions.run(lambda: self._files.prompt_hashes(prefix))

    async def close(self) -> None:
        """End all leases and let go of every file; what is used afterwards is opened again."""
        for lease in self._leases.all():
            await self.release(lease)
        self._turns.close()
        self._sessions.close()
        self._files.handles.close()

    def database(self, key: SessionKey) -> TinyDB:
        """A session as a TinyDB, to be closed by the caller; raises `NotFound` if it is not there.

        Its tables are `runs`, `nodes`, `state` and `summaries`.
        """
        check_key(key)
        session = self._files.open(key, create=False)
        if session is None:
            raise NotFound(
                f"session {key.session_id!r}: there is none of that name in {self.path}; "
                "list the sessions of the user to find its id"
            )
        try:
            return JournalDatabase(
                session.journal.path, self._medium, owner=key._asdict(), create=False
            )
        finally:
            self._files.handles.give(session)

    async def _begin(self, key: SessionKey, turn: Turn, policy: Policy) -> Lease:
        while True:
            session = await self._sessions.open(key, create=True)
            if session is None:  # pragma: no cover - deleted while it was being made
                continue
            try:
                return await self._begin_in(session, turn, policy)
            except Gone:
                self._files.handles.drop(session)
                self._files.handles.give(session)
            except BaseException:
                self._files.handles.give(session)
                raise

    async def _begin_in(self, session: SessionFile, turn: Turn, policy: Policy) -> Lease:
        has_turn = policy != "fork"
        if has_turn:
            await self._turns.take(session, policy, self._sessions)

        def begin() -> Head | None:
            return None if has_turn and not session.turn.is_held() else session.begin(turn)

        try:
            if self._leases.is_under_way(session, turn.run_id):
                raise under_way(turn.run_id)
            head = await self._sessions.commit(session, begin)
        except BaseException:
            if has_turn:
                self._turns.give(session.turn)
            raise
        if head is None:  # it was seized before it was used
            self._turns.give(session.turn)
            return await self._begin_in(session, turn, policy)
        return self._leases.grant(Lease(session.key, turn.run_id, head), session, has_turn=has_turn)

    async def _write_leased(
        self, lease: Lease, write: Callable[[SessionFile], Answer], *, is_end: bool = False
    ) -> Answer:
        grant = self._leases.check(lease)
        session = grant.place

        def act() -> Answer:
            if grant.has_turn and not session.turn.is_held():
                raise taken_over(lease.run_id, lease.key)
            return write(session)

        try:
            return await self._sessions.commit(session, act, is_end=is_end)
        except Gone as error:
            raise gone(lease.run_id, lease.key) from error
