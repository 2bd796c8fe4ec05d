"""The embedded store: a directory with one TinyDB journal for each session."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from tinydb import TinyDB

from ...errors import InputError, NotFound, StoreError
from ...messages import JSON
from ...os_fork import FORKS
from ...records import Change, Head, Record, Run, SessionInfo, SessionKey, Summary, Turn
from ...session.store import VERSION, FinishedRun, Hit, Lease, Policy, WhileWaiting
from ...unknown_names import explained
from ...values import check_counts, check_folder
from ..journal.compaction import compact
from ..journal.disk import DISK, Disk
from ..journal.journal_file import JournalDeleted, JournalFile, JournalSettings, Sync
from ..journal.syncing import Syncer, ThreadPool
from ..leases import (
    WATCHER,
    Leases,
    SessionQueue,
    check_key,
    check_stored,
    check_user,
    run_deleted,
    run_in_progress,
    session_busy,
)
from ..memory import MemorySession
from .directory import SessionDirectory
from .lock import Heartbeat, SessionLock
from .session_file import OtherRuns, SessionFile
from .table import JournalDatabase

T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05  # seconds


class TinyDBStore:
    """Stores sessions below a directory; many processes may use it at once.

    `sync` says when data is forced to the disk: `always` (each write), `turn` (when a run is
    finished, before `finish` returns) or `never`. In each of them a killed process loses nothing
    that was put; the difference is a power cut. A torn tail that it leaves is cut and set aside,
    with a `TornTail` warning; with `never` the session may be refused as damaged.
    The files of up to `handles` idle sessions stay open, the indexes of many more in memory.

    A run has its session locked until it ends or its process dies. A process that is suspended for
    `lease_timeout` seconds loses the session to another one that waits for it, and what it writes
    later is refused as a `Conflict`. `disk` makes the system calls.
    """

    version = VERSION

    @explained
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: Sync = "turn",
        handles: int = 128,
        lease_timeout: float = 60.0,
        disk: Disk = DISK,
    ) -> None:
        check_folder("path", path)
        if sync not in ("always", "turn", "never"):
            raise InputError(f"sync: {sync!r} is unknown; use 'always', 'turn' or 'never'")
        check_counts(handles=handles)
        if not (isinstance(lease_timeout, int | float) and lease_timeout > 0):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            raise InputError(f"lease_timeout: {lease_timeout!r} is not positive; use some seconds")
        self.path = Path(path)
        self._settings = JournalSettings(disk, sync)
        self._lease_timeout = lease_timeout
        self._handles = handles
        self.reset_after_fork()
        FORKS.own(self)

    def reset_after_fork(self) -> None:
        """See `ProcessOwned`: a forked child has no session open and no lease."""
        self._directory = SessionDirectory(self.path, self._settings, handles=self._handles)
        self._queue = SessionQueue()
        self._leases: Leases[SessionFile] = Leases()
        self._run_locks: dict[tuple[int, str], SessionLock] = {}
        self._heartbeat = Heartbeat(self._lease_timeout, self._look_for_marks)
        self._threads = ThreadPool()
        self._syncer = Syncer(self._settings.disk)

    async def begin(
        self,
        key: SessionKey,
        turn: Turn,
        *,
        policy: Policy = "serialize",
        is_stored: bool | None = None,
        while_waiting: WhileWaiting = "refuse",
    ) -> Lease:
        """Lease the session to a run, and store the run as running."""
        check_key(key)
        if policy == "fork":
            return await self._begin(key, turn, policy, is_stored, while_waiting)
        await self._queue.acquire(key, policy)
        try:
            return await self._begin(key, turn, policy, is_stored, while_waiting)
        except BaseException:
            self._queue.release(key)
            raise

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        """Store `records`, all or none; a record of the same node and attempt is replaced."""
        grant = self._leases.check(lease)
        try:
            await self._commit(grant.session, partial(grant.session.put, grant, records))
        except JournalDeleted as error:
            raise run_deleted(lease.run_id, lease.key) from error

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Finish the run and release the session; a done turn is numbered, its change applied."""
        grant = self._leases.check(lease)
        session = grant.session
        try:
            turn = await self._commit(
                session, partial(session.finish, grant, turn, change), is_end=True
            )
            if session.journal.is_bloated:
                # The turn is stored; without room, or a thread, a later turn will compact.
                with suppress(StoreError, RuntimeError):
                    await self._threads.run(lambda: compact(session.journal))
            return turn
        except JournalDeleted as error:
            raise run_deleted(lease.run_id, lease.key) from error
        finally:
            await self.release(lease)

    async def release(self, lease: Lease) -> None:
        """Release the session and leave the run as it is, to be resumed."""
        grant = self._leases.end(lease)
        if grant is None:
            return
        self._unlock_run(grant.session, lease.run_id)
        if grant.is_exclusive:
            self._unlock(grant.session)
        self._directory.cache.release(grant.session)
        if grant.is_exclusive:
            self._queue.release(lease.key)

    async def cancel(self, key: SessionKey, run_id: str) -> None:
        """See `Cancels`: a mark beside the session, which the holder's heartbeat looks for."""

        async def mark(session: SessionFile) -> None:
            session.mark_cancelled(run_id)

        await self._use(key, mark)

    async def create(
        self, key: SessionKey, runs: Sequence[FinishedRun], *, name: str | None = None
    ) -> None:
        """Create a session with finished runs, all or nothing; `InputError` if it exists."""
        check_key(key)

        def write(session: SessionFile) -> None:
            for run in runs:
                session.add(run)
            if name is not None:
                session.rename(name)

        await self._threads.run(lambda: self._directory.create(key, write))

    async def snapshot(self, key: SessionKey) -> MemorySession | None:
        """See `Copyable.snapshot`."""
        return await self._read(key, lambda session: self._directory.snapshot(key, session))

    async def restore(self, key: SessionKey, session: MemorySession) -> None:
        """See `Copyable.restore`: a temporary journal, renamed."""
        check_key(key)
        await self._threads.run(
            lambda: self._directory.create(key, lambda file: file.restore(session))
        )

    async def head(self, key: SessionKey) -> Head | None:
        """Version, state and summary of the session, or None if there is no such session."""
        return await self._read(key, SessionFile.head)

    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        """A run with its records, replayed messages filled in, or None."""
        others = OtherRuns()
        while True:
            run = await self._read(key, lambda session: session.run(run_id, others))
            if not (missing := others.missing - others.turns.keys()):
                return run
            for other in missing:
                others.turns[other] = await self._threads.run(
                    partial(self._directory.turn, key.user_id, other)
                )

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        """The done turns with `number` > `since`, the newest `last` of them, oldest first."""
        found = await self._read(key, lambda session: session.turns(last=last, since=since))
        return found or []

    async def runs(self, key: SessionKey, *, limit: int = 20, offset: int = 0) -> list[Turn]:
        """All runs of a session whatever their status, newest first."""
        found = await self._read(key, lambda session: session.runs(limit=limit, offset=offset))
        return found or []

    async def summary(self, key: SessionKey, *, until: int) -> Summary | None:
        """The newest summary that covers no turn after number `until`."""
        return await self._read(key, lambda session: session.summary(until=until))

    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """The sessions of one user, the one with the latest activity first."""
        check_user(user_id)
        return await self._threads.run(
            lambda: self._directory.infos(user_id, limit=limit, offset=offset)
        )

    async def users(self, *, limit: int = 20, offset: int = 0) -> list[str | None]:
        """The users who have a session, in a stable but arbitrary order."""
        return await self._threads.run(lambda: self._directory.users(limit=limit, offset=offset))

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
        return await self._threads.run(
            lambda: self._directory.search(user_id, text, last=last, exclude=exclude, limit=limit)
        )

    async def waiting(self, user_id: str | None, *, limit: int = 20, offset: int = 0) -> list[Hit]:
        """The runs of a user that wait for a person, the newest first; also those that expired."""
        check_user(user_id)
        return await self._threads.run(
            lambda: self._directory.waiting(user_id, limit=limit, offset=offset)
        )

    async def rename(self, key: SessionKey, name: str | None) -> bool:
        """Name a session, or remove its name; False if there is no such session."""

        def act(session: SessionFile) -> bool:
            session.rename(name)
            return True

        return bool(await self._write(key, act))

    async def set_state(
        self, key: SessionKey, values: Mapping[str, JSON], *, remove: Collection[str] = ()
    ) -> bool:
        """See `SetsState.set_state`."""

        def act(session: SessionFile) -> bool:
            session.set_state(values, remove)
            return True

        return bool(await self._write(key, act))

    async def delete_run(self, key: SessionKey, run_id: str) -> bool:
        """Delete a run and its texts wherever the store has them; False if there is none."""
        return bool(await self._write(key, lambda session: session.delete_run(run_id)))

    async def delete_session(self, key: SessionKey) -> bool:
        """Delete a session with everything in it; False if there is none."""
        check_key(key)
        return await self._threads.run(lambda: self._directory.delete_session(key))

    async def delete_user(self, user_id: str | None) -> int:
        """Delete all sessions of a user; returns how many there were."""
        check_user(user_id)
        return await self._threads.run(lambda: self._directory.delete_user(user_id))

    async def find(self, user_id: str | None, run_id: str) -> SessionKey | None:
        """The session of a user that a run belongs to; reads them by activity until it is found."""
        check_user(user_id)
        return await self._threads.run(lambda: self._directory.find(user_id, run_id))

    async def put_prompt(self, prompt_hash: str, sources: Mapping[str, str]) -> None:
        """Store the sources of a template, once for each hash."""
        if not self._directory.has_prompt(prompt_hash):
            await self._threads.run(lambda: self._directory.put_prompt(prompt_hash, sources))

    async def put_attachment(self, key: SessionKey, sha256: str, data: bytes) -> None:
        """See `StoresAttachments.put_attachment`: a file beside the session's journal."""
        check_key(key)
        await self._threads.run(lambda: self._directory.put_attachment(key, sha256, data))

    async def get_attachment(self, key: SessionKey, sha256: str) -> bytes | None:
        """See `StoresAttachments.get_attachment`."""
        check_key(key)
        return await self._threads.run(lambda: self._directory.attachment(key, sha256))

    async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        """The sources stored under a hash, or None."""
        return await self._threads.run(lambda: self._directory.prompt(prompt_hash))

    async def prompt_hashes(self, prefix: str = "") -> list[str]:
        """The hashes under which sources are stored that begin with `prefix`, sorted."""
        return await self._threads.run(lambda: self._directory.prompt_hashes(prefix))

    async def close(self) -> None:
        """End all leases and close every file; later use opens them again."""
        for lease in self._leases.all():
            await self.release(lease)
        self._heartbeat.close()
        self._threads.close()
        self._syncer.close()
        self._directory.cache.close()

    def database(self, key: SessionKey) -> TinyDB:
        """A session as a TinyDB, to be closed by the caller; raises `NotFound` if there is none.

        Its tables are `runs`, `nodes`, `state`, `summaries` and `words`.
        """
        check_key(key)
        session = self._directory.open(key, create=False)
        if session is None:
            raise NotFound(
                f"session {key.session_id!r}: there is none of that name in {self.path}; "
                "list the sessions of the user to find its id"
            )
        try:
            return JournalDatabase(
                session.journal.path, self._settings, owner=key._asdict(), create=False
            )
        finally:
            self._directory.cache.release(session)

    async def _begin(
        self,
        key: SessionKey,
        turn: Turn,
        policy: Policy,
        is_stored: bool | None,
        while_waiting: WhileWaiting,
    ) -> Lease:
        while True:
            session = await self._open(key, create=not is_stored)
            if session is None:
                check_stored(key, turn.run_id, None, expected=is_stored)
                continue  # pragma: no cover - deleted while it was created
            try:
                return await self._begin_in(session, turn, policy, is_stored, while_waiting)
            except JournalDeleted:
                self._directory.cache.discard(session)
                self._directory.cache.release(session)
            except BaseException:
                self._directory.cache.release(session)
                raise

    async def _begin_in(
        self,
        session: SessionFile,
        turn: Turn,
        policy: Policy,
        is_stored: bool | None,
        while_waiting: WhileWaiting,
    ) -> Lease:
        is_exclusive = policy != "fork"
        while True:
            if is_exclusive:
                await self._lock(session, policy)
            try:
                head = await self._begin_locked(session, turn, policy, is_stored, while_waiting)
            except BaseException:
                if is_exclusive:
                    self._unlock(session)
                raise
            if head is not None:
                lease = Lease(session.key, turn.run_id, head)
                return self._leases.grant(lease, session, is_exclusive=is_exclusive)
            self._unlock(session)  # another process took it over before it was used

    async def _begin_locked(
        self,
        session: SessionFile,
        turn: Turn,
        policy: Policy,
        is_stored: bool | None,
        while_waiting: WhileWaiting,
    ) -> Head | None:
        """Store a run as running; None if the session's lock was taken over."""
        is_exclusive = policy != "fork"

        def begin() -> Head | None:
            if is_exclusive and not session.lock.is_held():
                return None
            is_locked_elsewhere = (
                not is_exclusive
                and is_stored is not False
                and not self._leases.has_exclusive(session)
                and session.is_locked_elsewhere()
            )
            return session.begin(
                turn,
                is_stored,
                policy,
                while_waiting,
                is_locked_elsewhere=is_locked_elsewhere,
                has_run_lock=in_file,
            )

        in_file = not is_exclusive or bool(is_stored)
        self._lock_run(session, turn.run_id, in_file=in_file)
        try:
            head = await self._commit(session, begin)
        except BaseException:
            self._unlock_run(session, turn.run_id)
            raise
        if head is None:
            self._unlock_run(session, turn.run_id)
        return head

    def _lock_run(self, session: SessionFile, run_id: str, *, in_file: bool) -> None:
        """Mark a run as in progress, with `in_file` among processes; or raise `SessionBusy`."""
        self._leases.reserve(session, run_id)
        if not in_file:
            return
        lock = session.run_lock(run_id)
        try:
            if not lock.try_acquire():
                raise run_in_progress(run_id)
        except BaseException:
            lock.close()
            self._leases.unreserve(session, run_id)
            raise
        self._run_locks[id(session), run_id] = lock
        session.take_cancelled(run_id)  # a mark that came too late for an earlier try

    def _unlock_run(self, session: SessionFile, run_id: str) -> None:
        self._leases.unreserve(session, run_id)
        if (lock := self._run_locks.pop((id(session), run_id), None)) is not None:
            lock.delete()

    async def _lock(self, session: SessionFile, policy: Policy) -> None:
        """Acquire a session's lock, polling; raises `SessionBusy` if `policy` is `reject`."""
        pause = _FIRST_PAUSE
        while not session.lock.try_acquire():
            if session.lock.is_stale(self._lease_timeout):
                take_over = partial(_write_locked, session.journal, session.lock.take_over)
                if await self._threads.run(take_over):
                    break
            if policy == "reject":
                raise session_busy(session.key)
            await asyncio.sleep(pause)  # no operating system notifies of a lock that is released
            pause = min(2 * pause, _LONGEST_PAUSE)
        self._heartbeat.add(session.lock)

    def _look_for_marks(self) -> None:
        """Cancel the runs of this process that another one has marked."""
        for lease, session in self._leases.sessions():
            if session.take_cancelled(lease.run_id):
                WATCHER.interrupt(self, lease.key, lease.run_id)

    def _unlock(self, session: SessionFile) -> None:
        self._heartbeat.remove(session.lock)
        session.lock.release()

    async def _open(self, key: SessionKey, *, create: bool) -> SessionFile | None:
        """Open and acquire a session; None if there is none and `create` is false."""
        session = self._directory.cache.acquire(key)
        if session is not None:
            return session
        if self._directory.is_quick_to_open(key):
            return self._directory.open(key, create=create)
        return await self._threads.run(
            lambda: self._directory.open(key, create=create), undo=self._release_opened
        )

    def _release_opened(self, session: SessionFile | None) -> None:
        if session is not None:
            self._directory.cache.release(session)

    async def _read(self, key: SessionKey, read: Callable[[SessionFile], T]) -> T | None:
        """Read a session, in a thread if another thread has it; None if there is none."""
        return await self._use(key, lambda session: self._shared(session, read))

    async def _write(self, key: SessionKey, write: Callable[[SessionFile], T]) -> T | None:
        """Write a session without a lease; None if there is none."""

        def act(session: SessionFile) -> T | None:
            return write(session) if session.exists else None

        return await self._use(key, lambda session: self._commit(session, partial(act, session)))

    async def _use(
        self, key: SessionKey, use: Callable[[SessionFile], Awaitable[T | None]]
    ) -> T | None:
        check_key(key)
        while (session := await self._open(key, create=False)) is not None:
            try:
                return await use(session)
            except JournalDeleted:
                self._directory.cache.discard(session)
            finally:
                self._directory.cache.release(session)
        return None

    async def _commit(
        self, session: SessionFile, write: Callable[[], T], *, is_end: bool = False
    ) -> T:
        """Write at once if the journal is free, else in a thread; then sync it if that is due."""
        journal = session.journal
        if journal.try_exclusive():
            try:
                answer = write()
            finally:
                journal.end_try()
        else:
            answer = await self._threads.run(partial(_write_locked, journal, write))
        sync = self._settings.sync
        if sync == "always" or (sync == "turn" and is_end):
            try:
                await self._syncer.sync(journal)
            except StoreError:
                self._directory.distrust(session)
                raise
        if is_end:
            with suppress(StoreError):  # the turn is stored, and the session is in the list
                session.touch()
        return answer

    async def _shared(self, session: SessionFile, read: Callable[[SessionFile], T]) -> T | None:
        """Read at once if the journal is free, else wait for it in a thread."""
        journal = session.journal
        if journal.try_shared():
            try:
                return read(session) if session.exists else None
            finally:
                journal.end_try()

        def wait() -> T | None:
            with journal.shared():
                return read(session) if session.exists else None

        return await self._threads.run(wait)


def _write_locked(journal: JournalFile, write: Callable[[], T]) -> T:
    with journal.exclusive():
        return write()
