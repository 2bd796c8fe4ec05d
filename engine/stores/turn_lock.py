"""The turn of a session among processes: a lock on a file beside the journal."""

from __future__ import annotations

import os
from pathlib import Path

from .disk import Disk, failure
from .reading import Gone


class TurnLock:
    """Held for as long as a run lasts; the operating system frees it when the process dies."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._file = -1

    def take(self) -> bool:
        """Have the turn; False if another process has it.

        Raises `Gone` if the session's directory was deleted.
        """
        try:
            while True:
                if self._file < 0:
                    self._file = self._disk.open(self._path, os.O_RDWR | os.O_CREAT)
                if not self._disk.lock(self._file):
                    return False
                if self._is_current():
                    return True
                self.close()
        except FileNotFoundError as error:
            raise Gone(f"{self._path.parent}: the directory was deleted") from error
        except OSError as error:
            raise failure(error, self._path) from error

    def give(self) -> None:
        """Let another process have the turn."""
        if self._file >= 0:
            self._disk.unlock(self._file)

    def close(self) -> None:
        """Let go of the file, and of the turn."""
        if self._file >= 0:
            self._disk.close(self._file)
            self._file = -1

    def _is_current(self) -> bool:
        """Whether the file still lies there: it is deleted with its session."""
        try:
            there = self._disk.status(self._path)
            return there.st_ino == self._disk.status(self._file).st_ino
        except FileNotFoundError:
            return False
