"""Who may write: the queue for a session's turn, and the leases that were given.

A waiter may live in any thread and any event loop; the turn goes from hand to hand in the order
in which it was asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from itertools import count
from threading import Lock
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ..errors import Conflict, InputError, SessionBusy
from ..records import SessionKey
from ..session.store import Lease, Policy

Place = TypeVar("Place")
Waiter: TypeAlias = "asyncio.Future[None]"


class TurnQueue:
    """One turn for each session: whoever asks first has it first."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._waiting: dict[SessionKey, deque[Waiter]] = {}
        self._handed: dict[SessionKey, Waiter] = {}

    async def take(self, key: SessionKey, policy: Policy) -> None:
        """Have the turn of the session, after waiting for it if `policy` says so.

        A caller that is cancelled while it waits leaves the queue.
        """
        with self._guard:
            queue = self._waiting.get(key)
            if queue is None:
                self._waiting[key] = deque()
                return
            if policy == "reject":
                raise busy(key)
            waiter = asyncio.get_running_loop().create_future()
            queue.append(waiter)
        try:
            await waiter
        except BaseException:
            self._leave(key, waiter)
            raise

    def give(self, key: SessionKey) -> None:
        """Let go of the turn: the one who waits longest has it now."""
        with self._guard:
            queue = self._waiting[key]
            while queue:
                waiter = queue.popleft()
                with suppress(RuntimeError):  # its loop is closed: nobody waits there any more
                    waiter.get_loop().call_soon_threadsafe(_wake, waiter)
                    self._handed[key] = waiter
                    return
            del self._waiting[key]
            self._handed.pop(key, None)

    def _leave(self, key: SessionKey, waiter: Waiter) -> None:
        with self._guard:
            queue = self._waiting.get(key, ())
            if waiter in queue:
                self._waiting[key].remove(waiter)
                return
            if self._handed.get(key) is not waiter:
                return
        self.give(key)


class Grant(Struct, Generic[Place], frozen=True):
    """What the store notes about a lease: where its session lies, and whether it has the turn."""

    lease: Lease
    place: Place
    has_turn: bool


class Leases(Generic[Place]):
    """The leases that are out. A lease that was let go of, or never given, is a `Conflict`."""

    def __init__(self) -> None:
        self._tokens = count(1)
        self._grants: dict[int, Grant[Place]] = {}
        self._under_way: set[tuple[int, str]] = set()

    def grant(self, lease: Lease, place: Place, *, has_turn: bool) -> Lease:
        """Give a lease; it comes back with its token."""
        lease = replace(lease, token=next(self._tokens))
        self._grants[lease.token] = Grant(lease, place, has_turn)
        self._under_way.add((id(place), lease.run_id))
        return lease

    def check(self, lease: Lease) -> Grant[Place]:
        """What was noted when the lease was given; raises `Conflict` if it is no longer out."""
        grant = self._grants.get(lease.token)
        if grant is None or grant.lease is not lease:
            raise Conflict(
                f"run {lease.run_id!r}: its lease on session {lease.key.session_id!r} has ended; "
                "begin the run again to go on with it"
            )
        return grant

    def end(self, lease: Lease) -> Grant[Place] | None:
        """Take a lease back; None if it is not out."""
        grant = self._grants.get(lease.token)
        if grant is None or grant.lease is not lease:
            return None
        self._under_way.discard((id(grant.place), lease.run_id))
        return self._grants.pop(lease.token, None)

    def all(self) -> list[Lease]:
        """The leases that are out."""
        return [grant.lease for grant in list(self._grants.values())]

    def is_under_way(self, place: Place, run_id: str) -> bool:
        """Whether a lease for this very run is out."""
        return (id(place), run_id) in self._under_way


def _wake(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)


def busy(key: SessionKey) -> SessionBusy:
    """The error for a session whose turn somebody else has."""
    return SessionBusy(
        f"session {key.session_id!r}: another run is under way in it; "
        "wait for it, or let it be waited for or forked (--busy serialize or fork)"
    )


def under_way(run_id: str) -> SessionBusy:
    """The error for a run that is begun a second time while the first is at it."""
    return SessionBusy(f"run {run_id!r}: it is under way already; wait until it has ended")


def already_done(run_id: str) -> InputError:
    """The error for a run that is begun again although it is done."""
    return InputError(f"run {run_id!r}: it is done already; take another run id for a new message")


def gone(run_id: str, key: SessionKey) -> Conflict:
    """The error for writing a run that was deleted, alone or with its session."""
    return Conflict(
        f"run {run_id!r}: it was deleted from session {key.session_id!r} while it was under way; "
        "send the message again as a new run"
    )


def taken_over(run_id: str, key: SessionKey) -> Conflict:
    """The error for writing a run whose session was seized by another process."""
    return Conflict(
        f"run {run_id!r}: this process stood still for so long that another one has taken over "
        f"session {key.session_id!r}; nothing was written since, resume the run to go on with it"
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
