"""Where the stores wait for a lock that another has, and for whatever takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

    async def run(self, act: Callable[[], Answer]) -> Answer:
        """Do it in a thread."""
        with self._guard:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="teamgraph-store")
            pool = self._pool
        return await asyncio.get_running_loop().run_in_executor(pool, act)

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
