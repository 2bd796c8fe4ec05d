"""Where the stores wait for a lock that another has, and for whatever takes long.

How journals are made to outlast a power cut: on the spot, or in threads, many at once.
"""

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

from .disk import DISK, Disk
from .journal_file import JournalFile

Waiter: TypeAlias = "asyncio.Future[None]"
_THREADS = 4  # of what some of them ask for at once, the file system makes one
_QUICK = 0.001  # seconds; the other work of a turn keeps its event loop for about as long
_LATEST = 8
_MOST_AWAY = 1000


class _Crew(Struct):
    """Some threads, and the journals that wait for them; `busy` counts those, done or not yet."""

    work: SimpleQueue[JournalFile | None] = field(default_factory=SimpleQueue["JournalFile | None"])
    threads: set[Thread] = field(default_factory=set[Thread])
    busy: int = 0


class Syncer:
    """Syncs on the spot for as long as the disk is quick, for a thread would cost more than that.

    When the latest syncs took more than a millisecond on average, the next ones go to threads: as
    many as the square of the milliseconds of the last one. Then the disk is tried again. So a disk
    that needs 10 ms holds up an event loop in one of hundred turns, a slow one in one of thousand.
    What a sync takes in a thread says little, for there it waits for the others, too.

    There are threads while they have something to do, and `idle` seconds longer. What is asked for
    while a journal waits for its turn is done together: each file once.
    """

    def __init__(self, disk: Disk = DISK, *, idle: float = 5.0) -> None:
        self._disk = disk
        self._idle = idle
        self._average = 0.0
        self._away = 0
        self._guard = Lock()
        self._lasting: set[Path] = set()
        self._waiting: dict[JournalFile, list[Waiter]] = {}
        self._crew = _Crew()

    async def sync(self, journal: JournalFile) -> None:
        """Wait until all that was committed to a journal before has reached the disk."""
        if not self._away:
            self._sync_here(journal)
            return
        waiter: Waiter = asyncio.get_running_loop().create_future()
        with self._guard:
            self._away = max(0, self._away - 1)
            is_handed = journal in self._waiting or self._hand_over(journal, self._crew)
            if is_handed:
                self._waiting.setdefault(journal, []).append(waiter)
        if is_handed:
            await waiter
        else:
            self._sync_here(journal)

    def close(self) -> None:
        """Wait for what is under way. What comes afterwards gets new threads."""
        with self._guard:
            crew, self._crew = self._crew, _Crew()
            threads = list(crew.threads)
        for _ in threads:
            crew.work.put(None)
        for thread in threads:
            thread.join()

    def _sync_here(self, journal: JournalFile) -> None:
        began = self._disk.now()
        try:
            journal.flush(self._lasting)
        finally:
            took = self._disk.now() - began
            self._average += (took - self._average) / _LATEST
            if self._average > _QUICK:
                self._average = 0.0
                self._away = min(int((took / _QUICK) ** 2), _MOST_AWAY)

    def _hand_over(self, journal: JournalFile, crew: _Crew) -> bool:
        """Give a journal to the threads; False if there is none, and none to be had."""
        if len(crew.threads) < min(crew.busy + 1, _THREADS):
            thread = Thread(target=self._run, args=(crew,), name="teamgraph-sync", daemon=True)
            with suppress(RuntimeError):  # the system has no more of them
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
                journal.flush(self._lasting)
            except Exception as raised:  # noqa: BLE001  whoever waits is told
                error = raised
            with self._guard:
                crew.busy -= 1
            _tell(waiters, error)

    def _next(self, crew: _Crew) -> JournalFile | None:
        """The next journal; None if there was none for a while, and the thread is to end."""
        with suppress(Empty):
            return crew.work.get(timeout=self._idle)
        with self._guard:
            is_over = crew.work.empty()
            crew.threads -= {current_thread()} if is_over else set()
        return None if is_over else self._next(crew)


def _tell(waiters: Iterable[Waiter], error: Exception | None) -> None:
    for waiter in waiters:
        with suppress(RuntimeError):  # its loop is closed: nobody waits there any more
            waiter.get_loop().call_soon_threadsafe(_settle, waiter, error)


def _settle(waiter: Waiter, error: Exception | None) -> None:
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)


Answer = TypeVar("Answer")
_POOL_THREADS = 4


class Threads:
    """Does a thing at once where nothing must be waited for, and in a thread where it must."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._pool: ThreadPoolExecutor | None = None

    async def run(
        self, act: Callable[[], Answer], *, undo: Callable[[Answer], None] | None = None
    ) -> Answer:
        """Do it in a thread.

        A thread cannot be stopped: what comes of it after the caller was cancelled is for `undo`.
        """
        with self._guard:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="teamgraph-store")
            pool = self._pool
        work = pool.submit(act)
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            if undo is not None:
                work.add_done_callback(partial(_undo, undo))
            raise

    async def shared(self, journal: JournalFile, act: Callable[[], Answer]) -> Answer:
        """Read a journal."""
        if journal.try_shared():
            try:
                return act()
            finally:
                journal.end_try()

        def wait() -> Answer:
            with journal.shared():
                return act()

        return await self.run(wait)

    async def exclusive(self, journal: JournalFile, act: Callable[[], Answer]) -> Answer:
        """Write a journal."""
        if journal.try_exclusive():
            try:
                return act()
            finally:
                journal.end_try()

        def wait() -> Answer:
            with journal.exclusive():
                return act()

        return await self.run(wait)

    def close(self) -> None:
        """Wait for what is under way. What comes afterwards gets new threads."""
        with self._guard:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()


def _undo(undo: Callable[[Answer], None], work: Future[Answer]) -> None:
    if not work.cancelled() and work.exception() is None:
        undo(work.result())
