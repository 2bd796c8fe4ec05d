"""The threads of a store: fsync on the spot or in threads, and a pool for blocking work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from typing import TypeAlias, TypeVar

from msgspec import Struct, field

from ...blocking import calling_context
from .disk import DISK, Disk
from .journal_file import JournalFile

T = TypeVar("T")
_Waiter: TypeAlias = "asyncio.Future[None]"
_POOL_THREADS = 4
_SYNC_THREADS = 4  # the file system merges syncs that are asked for at the same time
_QUICK = 0.001  # seconds; the rest of a turn blocks its event loop for about as long
_AVERAGED = 8
_MOST_IN_THREADS = 1000


class _Crew(Struct):
    """Sync threads and their queue of journals; `busy` counts those queued or being synced."""

    work: SimpleQueue[JournalFile | None] = field(default_factory=SimpleQueue["JournalFile | None"])
    threads: set[Thread] = field(default_factory=set[Thread])
    busy: int = 0


class Syncer:
    """Syncs journals on the spot while the disk is fast, in up to four threads while it is slow.

    When the last eight syncs took more than a millisecond on average, the next ones go to threads:
    as many as the square of the milliseconds of the last one, then the disk is tried again. So a
    disk that needs 10 ms blocks an event loop in one of 100 turns, a slow one in one of 1000.
    The time that a sync takes in a thread is not measured, since it waits for others there.

    A thread ends when it had nothing to do for `idle` seconds. Requests for a journal that is
    still queued are merged.
    """

    def __init__(self, disk: Disk = DISK, *, idle: float = 5.0) -> None:
        self._disk = disk
        self._idle = idle
        self._average = 0.0
        self._left_for_threads = 0
        self._guard = Lock()
        self._synced_directories: set[Path] = set()
        self._waiting: dict[JournalFile, list[_Waiter]] = {}
        self._crew = _Crew()

    async def sync(self, journal: JournalFile) -> None:
        """Wait until everything committed to a journal so far is synced."""
        if not self._left_for_threads:
            self._sync_on_the_spot(journal)
            return
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        with self._guard:
            self._left_for_threads = max(0, self._left_for_threads - 1)
            is_queued = journal in self._waiting or self._enqueue(journal, self._crew)
            if is_queued:
                self._waiting.setdefault(journal, []).append(waiter)
        if is_queued:
            await waiter
        else:
            self._sync_on_the_spot(journal)

    def close(self) -> None:
        """Wait for the syncs in progress and end the threads; later requests start new ones."""
        with self._guard:
            crew, self._crew = self._crew, _Crew()
            threads = list(crew.threads)
        for _ in threads:
            crew.work.put(None)
        for thread in threads:
            thread.join()

    def _sync_on_the_spot(self, journal: JournalFile) -> None:
        began = self._disk.now()
        try:
            journal.flush(self._synced_directories)
        finally:
            took = self._disk.now() - began
            self._average += (took - self._average) / _AVERAGED
            if self._average > _QUICK:
                self._average = 0.0
                self._left_for_threads = min(int((took / _QUICK) ** 2), _MOST_IN_THREADS)

    def _enqueue(self, journal: JournalFile, crew: _Crew) -> bool:
        """Queue a journal for the threads; False if there is none and none can be started."""
        if len(crew.threads) < min(crew.busy + 1, _SYNC_THREADS):
            thread = Thread(target=self._run, args=(crew,), name="teamgraph-sync", daemon=True)
            with suppress(RuntimeError):  # the system has no more threads
                thread.start()
                crew.threads.add(thread)
        if not crew.threads:
            return False
        crew.work.put(journal)
        crew.busy += 1
        return True

    def _run(self, crew: _Crew) -> None:
        while (journal := self._next(crew)) is not None:
            with self._guard:
                waiters = self._waiting.pop(journal)
            error: Exception | None = None
            try:
                journal.flush(self._synced_directories)
            except Exception as raised:  # noqa: BLE001  raised in each waiter
                error = raised
            with self._guard:
                crew.busy -= 1
            _wake(waiters, error)

    def _next(self, crew: _Crew) -> JournalFile | None:
        """The next journal; None if the thread has been idle for too long and is to end."""
        with suppress(Empty):
            return crew.work.get(timeout=self._idle)
        with self._guard:
            is_over = crew.work.empty()
            crew.threads -= {current_thread()} if is_over else set()
        return None if is_over else self._next(crew)


def _wake(waiters: Iterable[_Waiter], error: Exception | None) -> None:
    for waiter in waiters:
        with suppress(RuntimeError):  # its loop is closed
            waiter.get_loop().call_soon_threadsafe(_settle, waiter, error)


def _settle(waiter: _Waiter, error: Exception | None) -> None:
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)


class ThreadPool:
    """A pool of four threads, created at its first use, for work that blocks."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, act: Callable[[], T], *, undo: Callable[[T], None] | None = None) -> T:
        """Run a function in a thread and await its result.

        A thread cannot be stopped: if the caller is cancelled, its result goes to `undo`.
        """
        with self._guard:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="teamgraph-store")
            pool = self._pool
        work = pool.submit(calling_context().run, act)
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            if undo is not None:
                work.add_done_callback(partial(_undo, undo))
            raise

    def close(self) -> None:
        """Wait for the work in progress and end the threads; later work starts new ones."""
        with self._guard:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()


def _undo(undo: Callable[[T], None], work: Future[T]) -> None:
    if not work.cancelled() and work.exception() is None:
        undo(work.result())
