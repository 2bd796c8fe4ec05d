"""What the systems do in different ways.

Windows has no lock of a whole file, no reading at a place and no syncing of directories. What
stands here for it has never been run there, only on what stands in for its calls in a test.
"""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import errno
    import msvcrt
    from threading import Lock

    BINARY = os.O_BINARY
    _HELD = frozenset((errno.EACCES, errno.EDEADLK))
    _LOCKED = 0x7FFF_0000  # a byte that no journal reaches: nobody can read or write a locked one
    _place = Lock()  # of whoever moves the one place that an open file has

    def read_at(file: int, length: int, offset: int) -> bytes:
        """Read `length` bytes, fewer only where the file ends."""
        with _place:
            os.lseek(file, offset, os.SEEK_SET)
            return os.read(file, length)

    def write_at(file: int, data: bytes, offset: int) -> int:
        """Write `data`, or a part of it, and tell how many bytes that were."""
        with _place:
            os.lseek(file, offset, os.SEEK_SET)
            return os.write(file, data)

    def lock(file: int) -> bool:
        """Have an open file to oneself among all processes; False if another has it."""
        try:
            _locking(file, msvcrt.LK_NBLCK)
        except OSError as error:
            if error.errno in _HELD:
                return False
            raise
        return True

    def unlock(file: int) -> None:
        """Let go of a locked file."""
        _locking(file, msvcrt.LK_UNLCK)

    def _locking(file: int, mode: int) -> None:
        with _place:
            os.lseek(file, _LOCKED, os.SEEK_SET)
            msvcrt.locking(file, mode, 1)

    sync = os.fsync

    def sync_directory(path: str | os.PathLike[str]) -> None:
        """Do nothing: the system looks after its directories."""

else:
    import fcntl

    BINARY = 0
    read_at = os.pread
    write_at = os.pwrite
    sync = os.fdatasync if hasattr(os, "fdatasync") else os.fsync  # macOS has only the other one

    def lock(file: int) -> bool:
        """Have an open file to oneself among all processes; False if another has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(file: int) -> None:
        """Let go of a locked file."""
        fcntl.flock(file, fcntl.LOCK_UN)

    def sync_directory(path: str | os.PathLike[str]) -> None:
        """Make what was created, renamed or deleted in a directory outlast a power cut."""
        directory = os.open(path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
