"""Where the stores wait for a lock that another has, and for whatever takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TypeVar

from .journal_file import JournalFile

Answer = TypeVar("Answer")
_THREADS = 4


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
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="teamgraph-store")
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
