"""Fork safety: what a process owns is dropped in a forked child and created again there.

`os.fork` copies memory, locks and descriptors, but of the threads only the one that calls it. So in
the child a descriptor shares its file lock with the parent, a lock may be held by a thread that
does not exist, and a thread pool has no threads. Before a fork we wait until no other thread
is opening a file, changing what a held lock guards, or importing one of our modules; in the child
every descriptor is closed (which leaves the parent's file locks alone) and every owner is reset.
Signals that would end either process wait until that is done, unless another thread of the parent
takes them.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cached_property
from threading import Condition, RLock, Timer, get_ident, main_thread
from typing import Any, Protocol, cast
from weakref import WeakSet

_PATIENCE = 10.0  # seconds; a fork that waits for longer is made all the same
_PAUSE = 0.000_2
_SOON = 0.05
_ENDING = {signal.SIGINT, signal.SIGTERM}
_OURS = ("teamgraph.", "litellm.")


class _Lock(Protocol):
    """An `RLock`, whose type has no public name."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


class ProcessOwned(Protocol):
    """An object with parts that a forked child cannot use."""

    def reset_after_fork(self) -> None:
        """Drop those parts in the child; it has one thread, and the descriptors are closed."""
        ...


class ForkGuard:
    """The descriptors, owners and locks of this process, and the hooks around `os.fork`."""

    def __init__(self) -> None:
        self._gate = Condition()
        self._opening: set[int] = set()
        self._importing: set[int] = set()
        self._descriptors: set[int] = set()
        self._owners: WeakSet[ProcessOwned] = WeakSet()
        self._locks: WeakSet[_Lock] = WeakSet()
        self._callbacks: list[Callable[[], None]] = []
        self._acquired: list[_Lock] = []
        self._masks: dict[int, set[int]] = {}
        if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
            os.register_at_fork(
                before=self._before,
                after_in_parent=lambda: self._finish(self._release),
                after_in_child=lambda: self._finish(self._reset),
            )

    def own(self, owner: ProcessOwned) -> None:
        """Reset an object in forked children, for as long as it lives."""
        self._owners.add(owner)

    def call_in_child(self, callback: Callable[[], None]) -> None:
        """Call a function in forked children."""
        self._callbacks.append(callback)

    def hold(self, lock: _Lock) -> None:
        """Hold an RLock during forks, so that the child gets what it guards between two changes."""
        self._locks.add(lock)

    @contextmanager
    def changing_descriptors(self) -> Generator[set[int]]:
        """Open or close a descriptor and change the set of them, without a fork in between."""
        thread = get_ident()
        with self._gate:
            self._opening.add(thread)
        try:
            yield self._descriptors
        finally:
            with self._gate:
                self._opening.discard(thread)
                self._gate.notify_all()

    @contextmanager
    def importing(self) -> Generator[None]:
        """Import modules of others, without a fork in between."""
        thread = get_ident()
        self._importing.add(thread)
        try:
            yield
        finally:
            self._importing.discard(thread)

    def _before(self) -> None:
        self._masks[get_ident()] = {*signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)}
        deadline = time.monotonic() + _PATIENCE
        while self._foreign_imports() and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        self._acquired.extend(  # one by one: an interrupt between two leaves a true list
            lock
            for lock in list(self._locks)
            if lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
        )
        self._gate.acquire()
        self._gate.wait_for(
            lambda: self._opening <= {get_ident()}, timeout=max(0.0, deadline - time.monotonic())
        )

    def _finish(self, act: Callable[[], None]) -> None:
        """Finish a hook, then unblock the signals; one whose handler raises is sent again."""
        try:
            act()
        finally:
            pending = signal.sigpending() & _ENDING
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(get_ident(), set()))
            except BaseException:  # noqa: BLE001  of a handler; Python ignores what a hook raises
                main = cast("int", main_thread().ident)
                for number in pending:
                    Timer(_SOON, signal.pthread_kill, [main, number]).start()

    def _release(self) -> None:
        self._gate.release()
        while self._acquired:
            self._acquired.pop().release()

    def _reset(self) -> None:
        self._gate = Condition()
        self._opening.intersection_update({get_ident()})
        while self._acquired:
            self._acquired.pop().release()
        for descriptor in self._descriptors:
            with suppress(OSError):
                os.close(descriptor)
        self._descriptors.clear()
        for owner in list(self._owners):
            owner.reset_after_fork()
        _renew_property_locks()
        for name in self._foreign_imports():
            _forget_module(name)
        self._importing.intersection_update({get_ident()})
        for callback in self._callbacks:
            callback()

    def _foreign_imports(self) -> list[str]:
        """The modules that other threads are importing, where one of ours is among them."""
        locks = list(_module_locks().items())
        owners = {name: getattr(reference(), "owner", None) for name, reference in locks}
        threads = self._importing | {
            owner for name, owner in owners.items() if f"{name}.".startswith(_OURS)
        }
        threads -= {None, get_ident()}
        return [name for name, owner in owners.items() if owner in threads]


def _module_locks() -> dict[str, Any]:
    """The locks of modules that are being imported; CPython keeps them by name."""
    found: dict[str, Any] = getattr(getattr(importlib, "_bootstrap", None), "_module_locks", {})
    return found


def _renew_property_locks() -> None:
    """Replace the locks that cached properties have before Python 3.12, one for each class."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("teamgraph."):
            continue
        for kind in [value for value in vars(module).values() if isinstance(value, type)]:
            for attribute in vars(kind).values():
                if isinstance(attribute, cached_property) and hasattr(attribute, "lock"):
                    attribute.lock = RLock()  # pyright: ignore[reportAttributeAccessIssue]


def _forget_module(name: str) -> None:
    """Forget a module whose importing thread does not exist: nobody would finish it."""
    _module_locks().pop(name, None)
    for module in [each for each in sys.modules if f"{each}.".startswith(f"{name}.")]:
        del sys.modules[module]


FORKS = ForkGuard()
