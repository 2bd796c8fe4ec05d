"""Who may write a session: a FIFO queue for it, the leases that were granted, and their watcher.

The watcher releases the leases of runs that cannot end any more, of every store. A run ends its
lease itself, even if it is cancelled; it cannot where its event loop stops for good with the run in
it: a reader of `astream` that leaves in a synchronous framework, a thread that ends without closing
its loop. The store would refresh such a lease for as long as the process lives.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from threading import Lock, Thread
from time import monotonic, sleep, time
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar
from weakref import ref

from msgspec import Struct
from msgspec.structs import replace

from ..blocking import run_blocking
from ..errors import Advice, Conflict, InputError, NotFound, SessionBusy, TeamgraphError
from ..records import SessionKey, Turn
from ..session.store import Lease, Policy, WhileWaiting

S = TypeVar("S")
_Waiter: TypeAlias = "asyncio.Future[None]"
Interruption: TypeAlias = Literal["cancelled", "handed back"]
"""How a run was stopped by another than its caller."""
POLL = 1.0
"""Seconds between two looks."""
PATIENCE = 10.0
"""Seconds for which a loop that is not closed may be blocked with a run in it."""


class SessionQueue:
    """FIFO queue of each session in this process; waiters may be in any thread and loop."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._waiting: dict[SessionKey, deque[_Waiter]] = {}
        self._handed: dict[SessionKey, _Waiter] = {}

    async def acquire(self, key: SessionKey, policy: Policy) -> None:
        """Acquire the session; raises `SessionBusy` if it is taken and `policy` is `reject`.

        A caller that is cancelled while it waits leaves the queue.
        """
        with self._guard:
            queue = self._waiting.get(key)
            if queue is None:
                self._waiting[key] = deque()
                return
            if policy == "reject":
                raise session_busy(key)
            waiter = asyncio.get_running_loop().create_future()
            queue.append(waiter)
        try:
            await waiter
        except BaseException:
            self._leave(key, waiter)
            raise

    def release(self, key: SessionKey) -> None:
        """Release the session and hand it to the first waiter."""
        with self._guard:
            queue = self._waiting[key]
            while queue:
                waiter = queue.popleft()
                with suppress(RuntimeError):  # its loop is closed
                    waiter.get_loop().call_soon_threadsafe(_wake, waiter)
                    self._handed[key] = waiter
                    return
            del self._waiting[key]
            self._handed.pop(key, None)

    def _leave(self, key: SessionKey, waiter: _Waiter) -> None:
        with self._guard:
            queue = self._waiting.get(key, ())
            if waiter in queue:
                self._waiting[key].remove(waiter)
                return
            if self._handed.get(key) is not waiter:
                return
        self.release(key)


class Grant(Struct, Generic[S], frozen=True):
    """A lease, the session it was granted for, and whether it is exclusive (not `fork`)."""

    lease: Lease
    session: S
    is_exclusive: bool


class Leases(Generic[S]):
    """The leases that are granted and not yet ended; any other is a `Conflict`."""

    def __init__(self) -> None:
        self._tokens = count(1)
        self._guard = Lock()
        self._grants: dict[int, Grant[S]] = {}
        self._runs: set[tuple[int, str]] = set()

    def grant(self, lease: Lease, session: S, *, is_exclusive: bool) -> Lease:
        """Grant a lease; returns it with its token."""
        lease = replace(lease, token=next(self._tokens))
        self._grants[lease.token] = Grant(lease, session, is_exclusive)
        return lease

    def reserve(self, session: S, run_id: str) -> None:
        """Mark a run as in progress before its lease is granted; raises `SessionBusy` if it is."""
        with self._guard:
            if (id(session), run_id) in self._runs:
                raise run_in_progress(run_id)
            self._runs.add((id(session), run_id))

    def unreserve(self, session: S, run_id: str) -> None:
        """The lease of the run could not be granted."""
        self._runs.discard((id(session), run_id))

    def check(self, lease: Lease) -> Grant[S]:
        """The grant of a lease; raises `Conflict` if it has ended."""
        grant = self._grants.get(lease.token)
        if grant is None or grant.lease is not lease:
            raise lease_ended(lease)
        return grant

    def end(self, lease: Lease) -> Grant[S] | None:
        """End a lease; None if it has ended before."""
        grant = self._grants.get(lease.token)
        if grant is None or grant.lease is not lease:
            return None
        self._runs.discard((id(grant.session), lease.run_id))
        return self._grants.pop(lease.token, None)

    def all(self) -> list[Lease]:
        """The leases that have not ended."""
        return [grant.lease for grant in list(self._grants.values())]

    def sessions(self) -> list[tuple[Lease, S]]:
        """The leases that have not ended, with their sessions."""
        return [(grant.lease, grant.session) for grant in list(self._grants.values())]

    def has_exclusive(self, session: S) -> bool:
        """Whether a lease of this session is granted that excludes others."""
        return any(
            grant.is_exclusive and grant.session is session for grant in list(self._grants.values())
        )


def _wake(waiter: _Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)


def session_busy(key: SessionKey) -> SessionBusy:
    """The error for a session that another run has."""
    return SessionBusy(
        f"session {key.session_id!r}: another run is in progress",
        advice=Advice(
            python="wait for it, or make the runner with busy='serialize', which waits, or 'fork'",
            terminal="wait for it, or have it waited for or forked (--busy serialize or fork)",
            http="wait for it, or begin another session",
        ),
    )


def check_waiting(
    key: SessionKey,
    turns: Iterable[Turn],
    begun: Turn | None,
    policy: Policy,
    while_waiting: WhileWaiting,
) -> None:
    """Raise `SessionBusy` if one of these turns waits for a person and no other may run meanwhile.

    `begun` is what is stored of the run to begin: one that waits itself is continued.
    """
    if while_waiting == "allow" or policy == "fork" or (begun and begun.status == "waiting"):
        return
    now = time()
    for turn in turns:
        if turn.is_waiting(now):
            raise SessionBusy(
                f"session {key.session_id!r}: run {turn.run_id!r} waits for an answer to "
                f"{', '.join(map(repr, turn.waiting))}",
                advice=Advice(
                    python="give it with `Runner.respond`, or let other turns run meanwhile: "
                    "Runner(..., while_waiting='allow')",
                    terminal=f"give it with `teamgraph runs respond {turn.run_id}`, or let other "
                    "turns run meanwhile (--while-waiting allow)",
                    http="give it with POST /api/runs/ID/respond, or begin another session",
                ),
            )


def run_in_progress(run_id: str) -> SessionBusy:
    """The error for a run that is begun again while it is in progress."""
    return SessionBusy(f"run {run_id!r}: it is in progress already; wait until it has ended")


def check_stored(
    key: SessionKey, run_id: str, stored: Turn | None, *, expected: bool | None
) -> None:
    """Raise `NotFound` or `InputError` if a run cannot be begun, given what is stored of it."""
    if stored is None:
        if expected:
            raise NotFound(
                f"run {run_id!r}: session {key.session_id!r} does not have it any more; it was "
                "deleted while it waited for its turn"
            )
        return
    if stored.status == "done":
        raise InputError(
            f"run {run_id!r}: it is done already; use another run id for a new message"
        )
    if expected is False:
        raise InputError(
            f"run {run_id!r}: it exists already ({stored.status}); resume it with `Runner.resume`, "
            "or use another run id for a new message"
        )


def session_exists(key: SessionKey) -> InputError:
    """The error for a session that is created although it exists."""
    return InputError(
        f"the session {key.session_id!r} exists already; delete it, or give the new one another id"
    )


def lease_ended(lease: Lease) -> Conflict:
    """The error for writing a run after its lease was released."""
    return Conflict(
        f"run {lease.run_id!r}: its lease on session {lease.key.session_id!r} has ended; "
        "begin the run again to continue it"
    )


def run_deleted(run_id: str, key: SessionKey) -> Conflict:
    """The error for writing a run that was deleted, alone or with its session."""
    return Conflict(
        f"run {run_id!r}: it was deleted from session {key.session_id!r} while it was in progress; "
        "send the message again as a new run"
    )


def lease_lost(run_id: str, key: SessionKey) -> Conflict:
    """The error for writing a run whose session was taken over by another process."""
    return Conflict(
        f"run {run_id!r}: this process was suspended for so long that another one has taken over "
        f"session {key.session_id!r}; nothing was written since, resume the run to continue it"
    )


def check_user(user_id: str | None) -> None:
    """Refuse the empty user id."""
    if user_id == "":
        raise InputError("user_id: it is empty; give an id, or None for no user")


def check_key(key: SessionKey) -> None:
    """Refuse empty ids."""
    check_user(key.user_id)
    if key.session_id == "":
        raise InputError("session_id: it is empty; give an id, or None for a fresh session")


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

    def interrupt(
        self, store: Releasing, key: SessionKey, run_id: str, *, hand_back: bool = False
    ) -> bool:
        """Cancel a run that this process has in progress, from any thread; false if it has none.

        A run that is not kept has a store of its own, whose `source` is that of the runner. With
        `hand_back` the run is not ended, but left as it is stored, to be resumed.
        """
        with self._guard:
            found = [
                each
                for each in self._watched.values()
                if store in (each.store, getattr(each.store, "source", None))
                and (each.lease.run_id, each.lease.key) == (run_id, key)
            ]
        for each in found:
            each.interrupt(hand_back=hand_back)
        return bool(found)

    def interrupted(self, lease: Lease) -> Interruption | None:
        """How the run of a lease was interrupted, None if its own caller cancelled it."""
        watched = self._watched.get(id(lease))
        return watched.interruption if watched is not None else None

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
            if each.is_orphaned(self._poll, self._patience) and self._forget(key):
                with suppress(TeamgraphError):
                    run_blocking(each.store.release(each.lease))
        return True

    def _forget(self, key: int) -> bool:
        """Watch a run no longer; false if it has ended by itself meanwhile."""
        with self._guard:
            return self._watched.pop(key, None) is not None


class _Watched:
    """A lease and the task that can end it, which this does not keep alive."""

    def __init__(self, store: Releasing, lease: Lease, task: asyncio.Task[object]) -> None:
        self.store = store
        self.lease = lease
        self._task = ref(task)
        self._loop = ref(task.get_loop())
        self._still_since: float | None = None
        self._is_collected = False
        self.interruption: Interruption | None = None

    def interrupt(self, *, hand_back: bool) -> None:
        """Cancel the task, from any thread; one whose loop has gone is left to the watcher."""
        task, loop = self._task(), self._loop()
        if task is not None and loop is not None and self.interruption is None:
            self.interruption = "handed back" if hand_back else "cancelled"
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(task.cancel)

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
