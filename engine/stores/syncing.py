"""How journals are made to outlast a power cut: by one thread, many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TypeAlias

from .journal_file import JournalFile

Waiter: TypeAlias = "asyncio.Future[None]"
Work: TypeAlias = "SimpleQueue[tuple[JournalFile, Waiter] | None]"


class Syncer:
    """Has a thread while there is something to do, and `idle` seconds longer.

    What is asked for while it waits for the disk it does together next, each file once.
    """

    def __init__(self, *, idle: float = 5.0) -> None:
        self._idle = idle
        self._guard = Lock()
        self._lasting: set[Path] = set()
        self._work: Work | None = None
        self._thread: Thread | None = None

    async def sync(self, journal: JournalFile) -> None:
        """Wait until all that was committed to a journal before has reached the disk."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        with self._guard:
            if self._work is None:
                self._work = SimpleQueue()
                self._thread = Thread(
                    target=self._run, args=(self._work,), name="teamgraph-sync", daemon=True
                )
                self._thread.start()
            self._work.put((journal, waiter))
        await waiter

    def close(self) -> None:
        """Wait for what is under way. What comes afterwards gets a new thread."""
        with self._guard:
            work, self._work = self._work, None
            thread, self._thread = self._thread, None
        if work is not None and thread is not None:
            work.put(None)
            thread.join()

    def _run(self, work: Work) -> None:
        is_open = True
        while is_open:
            batch: dict[JournalFile, list[Waiter]] = {}
            with suppress(Empty):
                item = work.get(timeout=self._idle)
                while item is not None:
                    batch.setdefault(item[0], []).append(item[1])
                    item = work.get_nowait()
                is_open = False
            is_open = is_open and (bool(batch) or self._goes_on(work))
            self._sync(batch)

    def _goes_on(self, work: Work) -> bool:
        """Whether there is more to do, after a while in which there was nothing."""
        with self._guard:
            is_over = self._work is work and work.empty()
            if is_over:
                self._work = self._thread = None
            return not is_over

    def _sync(self, batch: dict[JournalFile, list[Waiter]]) -> None:
        for journal, waiters in batch.items():
            error: Exception | None = None
            try:
                journal.flush(self._lasting)
            except Exception as raised:  # noqa: BLE001  whoever waits is told
                error = raised
            _tell(waiters, error)


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
