"""When sessions were last active: the times of their files, which no clock can put out of order."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from .disk import Disk


class Activity:
    """The activity of one session, as its list will show it.

    Where a file belongs to another user, who alone may set its time, nothing is noted.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self._disk = disk
        self._path = os.fspath(path)
        self._directory = os.fspath(path.parent)

    def note(self) -> None:
        """Note that the session was active later than any other of its user's sessions.

        The directory has the latest time of all, so that the order holds whatever the clock does.
        """
        with suppress(OSError):
            latest = self._disk.status(self._directory).st_mtime_ns
            moment = max(time.time_ns(), latest + 1)
            self._disk.touch(self._path, moment)
            self._disk.touch(self._directory, moment)

    @contextmanager
    def unnoted(self) -> Generator[None]:
        """Do what is no activity, though it writes."""
        moment: int | None = None
        with suppress(OSError):
            moment = self._disk.status(self._path).st_mtime_ns
        yield
        if moment is not None:
            with suppress(OSError):
                self._disk.touch(self._path, moment)
