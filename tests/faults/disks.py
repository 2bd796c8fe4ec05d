"""Disks that fail: at one call of many, in one way of several."""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from teamgraph.engine.stores.journal.disk import DISK, Disk

How: TypeAlias = Literal[
    "EIO", "ENOSPC", "EINTR", "partly", "die before", "die after", "die partly", "stop"
]
CHANGES = frozenset(
    ("write", "truncate", "rename", "remove", "make_directory", "remove_directory", "open")
)
CALLS = (*sorted(CHANGES), "read", "sync", "sync_directory", "lock", "unlock", "status", "touch")


DYING: tuple[How, ...] = ("die before", "die after", "die partly")
FAILING: tuple[How, ...] = ("EIO", "ENOSPC", "EINTR")


@dataclass
class Mishap:
    """What goes wrong, and at which of the calls `of`; `count` counts those so far."""

    at: int
    how: How
    of: frozenset[str] = frozenset(CALLS)
    count: int = 0

    def __str__(self) -> str:
        return f"{self.how} at call {self.at}"

    def meets(self, call: str) -> bool:
        """Whether it is this call."""
        self.count += call in self.of
        return call in self.of and self.count - 1 == self.at


@dataclass(frozen=True)
class Places:
    """Where a mishap may happen, in each way; all of them, or as many as are to be tried."""

    hows: Sequence[How]
    of: frozenset[str]
    trials: int
    seed: int

    def none(self) -> Mishap:
        """A mishap that never happens; it counts the calls."""
        return Mishap(-1, self.hows[0], self.of)

    def mishaps(self, calls: int) -> list[Mishap]:
        """One for each place and way, of so many calls."""
        every = [Mishap(at, how, self.of) for how in self.hows for at in range(calls)]
        random.Random(self.seed).shuffle(every)
        return every[: self.trials]


class FailingDisk(Disk):
    """A disk with one mishap."""

    def __init__(self, mishap: Mishap, disk: Disk = DISK) -> None:
        self._mishap = mishap
        self._disk = disk

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401  it stands before any method
        if name not in CALLS:
            return super().__getattribute__(name)
        call: Callable[..., Any] = getattr(self._disk, name)
        return lambda *given, **named: self._do(name, call, *given, **named)

    def _do(self, name: str, call: Callable[..., Any], *given: Any, **named: Any) -> Any:  # noqa: ANN401
        if not self._mishap.meets(name):
            return call(*given, **named)
        how = self._mishap.how
        if how == "die before":
            os._exit(9)
        if how == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
            return call(*given, **named)
        if how in ("partly", "die partly") and name == "write":
            file, data, offset = given
            written: int = call(file, data[: len(data) // 2], offset)
            if how == "die partly":
                os._exit(9)
            return written
        if how.startswith("die"):
            call(*given, **named)
            os._exit(9)
        number = getattr(errno, how)
        raise OSError(number, os.strerror(number))
