"""The name of a journal, which must outlast a power cut as the journal does.

A file that is open, while others may delete it or put another one under its name.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

from .disk import FORBIDDEN, Disk


class OpenFile:
    """One open file and the name that it was opened by.

    Raises `OSError` as the system does. A file that may be read and not written is opened so,
    unless `create` is true.
    """

    def __init__(self, disk: Disk, path: Path, *, create: bool, extra: int = 0) -> None:
        self._disk = disk
        self._name = os.fspath(path)
        self._guard = Lock()
        self._is_closed = False
        self._syncs = 0
        self.is_writable = True
        try:
            flags = os.O_RDWR | (os.O_CREAT if create else 0) | extra
            self.descriptor = disk.open(self._name, flags)
        except OSError as error:
            if create or error.errno not in FORBIDDEN:
                raise
            self.descriptor = disk.open(self._name, os.O_RDONLY)
            self.is_writable = False
        try:
            self.inode = disk.status(self.descriptor).st_ino
        except BaseException:
            self.close()
            raise

    def there(self) -> os.stat_result:
        """What is known of the file that has the name by now."""
        return self._disk.status(self._name)

    def is_there(self) -> bool:
        """Whether it is still this file that has the name."""
        try:
            return self.there().st_ino == self.inode
        except FileNotFoundError:
            return False

    def rename(self, path: Path) -> None:
        """Put it in place of the file that has another name."""
        self._disk.rename(self._name, path)
        self._name = os.fspath(path)

    def sync(self) -> None:
        """Make what was written outlast a power cut; it may be closed meanwhile."""
        with self._guard:
            if self._is_closed:
                return
            self._syncs += 1
        try:
            self._disk.sync(self.descriptor)
        finally:
            with self._guard:
                self._syncs -= 1
                is_left_open = not self._is_closed or self._syncs
            if not is_left_open:
                self._let_go()

    def close(self) -> None:
        """Let go of the file, once it is not being synced."""
        with self._guard:
            if self._is_closed:
                return
            self._is_closed = True
            is_in_use = self._syncs > 0
        if not is_in_use:
            self._let_go()

    def _let_go(self) -> None:
        with suppress(OSError):  # what must last was synced; what is let go of needs no more
            self._disk.close(self.descriptor)


class LastingName:
    """Of a file and of the directories above it: without them it is not found again."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._lasts = False

    def sync(self, lasting: set[Path] | None = None) -> None:
        """Make it last, once; raises `OSError` as the system does.

        `lasting` are directories, never removed, whose names are known to do so.
        """
        if self._lasts:
            return
        lasting = set() if lasting is None else lasting
        *near, part = self._path.parents[:2]
        far = () if part in lasting else self._path.parents[2:4]
        for directory in (*near, part, *far):
            self._disk.sync_directory(directory)
        lasting.add(part)
        self._lasts = True
