"""Releases the leases of runs that cannot end any more: their event loop was closed or dropped.

A run ends its lease itself, even if it is cancelled. It cannot where its event loop stops for good
with the run in it: a reader of `astream` that leaves in a synchronous framework, a thread that ends
without closing its loop. The store would refresh such a lease for as long as the process lives.
"""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import suppress
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Protocol
from weakref import ref

from ..blocking import run_blocking
from ..errors import TeamgraphError
from ..session.store import Lease

POLL = 1.0
"""Seconds between two looks."""
PATIENCE = 10.0
"""Seconds for which a loop that is not closed may be blocked with a run in it."""


class Releasing(Protocol):
    """The part of a `Store` that ends a lease."""

    async def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        ...


class LeaseWatcher:
    """A daemon thread that looks at the event loops of all runs, once a second while there are any.

    A lease is released at once if its loop was closed, or if the garbage collector finds that its
    loop or task was dropped; otherwise after the loop has not been running for `patience` seconds.
    Such a run gets `Conflict` at its next write, and can be resumed.
    """

    def __init__(self, *, poll: float = POLL, patience: float = PATIENCE) -> None:
        self._poll = poll
        self._patience = patience
        self._guard = Lock()
        self._watched: dict[int, _Watched] = {}
        self._is_running = False

    def add(self, store: Releasing, lease: Lease) -> None:
        """Watch the current task until it removes the lease."""
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - a run is always in a task
            return
        watched = _Watched(store, lease, task)
        with self._guard:
            self._watched[id(lease)] = watched
            if not self._is_running:
                thread = Thread(target=self._run, name="teamgraph-leases", daemon=True)
                with suppress(RuntimeError):  # no thread left in the system; the next run tries
                    thread.start()
                    self._is_running = True

    def remove(self, lease: Lease) -> None:
        """The run has ended its lease."""
        with self._guard:
            self._watched.pop(id(lease), None)

    def forget_parent(self) -> None:
        """Drop everything in a forked child: the leases are those of the parent."""
        self._guard = Lock()
        self._watched = {}
        self._is_running = False

    def _run(self) -> None:
        sleep(self._poll)
        while self._release_orphans():
            sleep(self._poll)

    def _release_orphans(self) -> bool:
        """Look at all runs once, and keep none of them; false if there are none."""
        with self._guard:
            watched = list(self._watched.items())
            if not watched:
                self._is_running = False
                return False
        for key, each in watched:
            if each.is_orphaned(self._poll, self._patience):
                with self._guard:
                    if self._watched.pop(key, None) is None:
                        continue
                with suppress(TeamgraphError):
                    run_blocking(each.store.release(each.lease))
        return True


class _Watched:
    """A lease and the task that can end it, which this does not keep alive."""

    def __init__(self, store: Releasing, lease: Lease, task: asyncio.Task[object]) -> None:
        self.store = store
        self.lease = lease
        self._task = ref(task)
        self._loop = ref(task.get_loop())
        self._still_since: float | None = None
        self._is_collected = False

    def is_orphaned(self, poll: float, patience: float) -> bool:
        """Whether the task can no longer end the lease."""
        loop = self._loop()
        if loop is None or self._task() is None or loop.is_closed():
            return True
        if loop.is_running():
            self._still_since, self._is_collected = None, False
            return False
        now = monotonic()
        if self._still_since is None:
            self._still_since = now
        del loop
        if now - self._still_since >= poll and not self._is_collected:
            self._is_collected = True
            gc.collect()  # a dropped loop and its tasks are a cycle
            return self._loop() is None or self._task() is None
        return now - self._still_since >= patience


WATCHER = LeaseWatcher()
"""The watcher of this process."""
if hasattr(os, "register_at_fork"):  # pragma: no branch - where processes can fork
    os.register_at_fork(after_in_child=WATCHER.forget_parent)
