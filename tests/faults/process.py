"""Processes to be killed: children that are forked, with all that they need imported already."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType

from .said import Tell

_PATIENCE = 60.0


class Child:
    """A process that runs `work`, which tells lines. Whoever starts it ends it.

    What it raises it tells as `["error", text]`.
    """

    def __init__(self, work: Callable[[Tell], None], *, patience: float = _PATIENCE) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(reading)
            _work(work, writing, patience)
        os.close(writing)
        self.pipe = reading
        self._text = b""

    def wait_for(self, lines: int) -> None:
        """Wait until it has told that many lines; an end counts too."""
        while self._text.count(b"\n") < lines:
            ready, _, _ = select.select([self.pipe], [], [], _PATIENCE)
            data = os.read(self.pipe, 1 << 16) if ready else b""
            if not data:
                return
            self._text += data

    def kill(self, after: float = 0.0) -> list[str]:
        """Kill it after so many seconds, and hear what it told."""
        time.sleep(after)  # the moment of the kill, not a wait for anything
        os.kill(self.pid, signal.SIGKILL)
        return self.end()

    def end(self) -> list[str]:
        """Wait for its end, and hear what it told."""
        return ends([self])[0]

    def hear(self) -> bool:
        """Hear more of what it tells; False once it has ended."""
        data = os.read(self.pipe, 1 << 20)
        self._text += data
        if not data:
            os.close(self.pipe)
            os.waitpid(self.pid, 0)
        return bool(data)

    def lines(self) -> list[str]:
        """What it told so far, in whole lines."""
        return self._text.decode().split("\n")[:-1]

    def stopped(self) -> None:
        """Wait until it has suspended itself, or has ended."""
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def send(self, signal_number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, signal_number)


def ends(children: Sequence[Child]) -> list[list[str]]:
    """Wait for the ends of all, and hear what each told; a pipe that nobody reads would fill up."""
    there = {child.pipe: child for child in children}
    while there:
        ready, _, _ = select.select(list(there), [], [])
        for pipe in ready:
            if not there[pipe].hear():
                del there[pipe]
    return [child.lines() for child in children]


def _work(work: Callable[[Tell], None], pipe: int, patience: float) -> None:
    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"signal {number}: the child takes too long at {frame}")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(int(patience))
    try:
        work(lambda text: _write(pipe, text.encode()))
    except BaseException as error:  # noqa: BLE001  a child has nobody to raise it to
        _write(pipe, (json.dumps(["error", repr(error)]) + "\n").encode())
        os._exit(1)
    os._exit(0)


def _write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]
