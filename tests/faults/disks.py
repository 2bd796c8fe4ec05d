"""Disks that fail: at one call of many, in one way of several."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from engine.stores.disk import DISK, Disk

How: TypeAlias = Literal[
    "EIO", "ENOSPC", "EINTR", "partly", "die before", "die after", "die partly", "stop"
]
CHANGES = frozenset(
    ("write", "truncate", "rename", "remove", "make_directory", "remove_directory", "open")
)
CALLS = (*sorted(CHANGES), "read", "sync", "sync_directory", "lock", "unlock", "status", "touch")


@dataclass
class Mishap:
    """What goes wrong, and at which call; `count` counts the calls so far."""

    at: int
    how: How
    of: frozenset[str] = frozenset(CALLS)
    count: int = 0
    has_happened: bool = False
    where: str = ""
    calls: list[str] = field(default_factory=list[str])

    def meets(self, call: str) -> bool:
        """Whether it is this call."""
        if call not in self.of:
            return False
        self.count += 1
        self.calls.append(call)
        if self.count - 1 != self.at:
            return False
        self.where = call
        self.has_happened = True
        return True


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
        if how == "partly":
            return call(*given, **named)
        number = getattr(errno, how)
        raise OSError(number, os.strerror(number))
