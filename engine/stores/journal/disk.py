"""The system calls of a store, in one place.

Everything else here is built of them, so that a test, handing in a `Disk` of its own, may see each
one, let it fail, or cut it short.

What the systems do in different ways.

Windows has no lock of a whole file, no reading at a place and no syncing of directories. What
stands here for it has never been run there, only on what stands in for its calls in a test.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import TypeAlias

from ...errors import StoreError

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


Named: TypeAlias = str | Path
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_AGAIN = frozenset((errno.EINTR, errno.EAGAIN))
_MANY = frozenset((errno.EMFILE, errno.ENFILE))
FORBIDDEN = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


class Disk:
    """What a store asks of the operating system, each method one thing.

    They raise `OSError` as the system does. A file is a descriptor, a moment a number of
    nanoseconds since 1970. What is made is open to its owner only.
    """

    def open(self, path: Named, flags: int) -> int:
        """Open a file; `flags` are those of `os`."""
        return os.open(path, flags | BINARY, 0o600)

    def close(self, file: int) -> None:
        """Let go of an open file."""
        os.close(file)

    def read(self, file: int, length: int, offset: int) -> bytes:
        """Read `length` bytes, fewer only where the file ends."""
        return read_at(file, length, offset)

    def write(self, file: int, data: bytes, offset: int) -> int:
        """Write `data`, or a part of it from its beginning, and tell how many bytes that were."""
        return write_at(file, data, offset)

    def truncate(self, file: int, length: int) -> None:
        """Cut a file off."""
        os.ftruncate(file, length)

    def sync(self, file: int) -> None:
        """Make what was written to a file outlast a power cut."""
        sync(file)

    def sync_directory(self, path: Named) -> None:
        """Make what was created, renamed or deleted in a directory outlast a power cut."""
        sync_directory(path)

    def lock(self, file: int) -> bool:
        """Have an open file to oneself among all processes; False if another has it.

        The operating system lets go of it when the process ends, however it ends.
        """
        return lock(file)

    def unlock(self, file: int) -> None:
        """Let go of a locked file."""
        unlock(file)

    def status(self, file: int | Named) -> os.stat_result:
        """What the system knows of a file."""
        return os.stat(file)

    def touch(self, path: Named, moment: int | None = None) -> None:
        """Set the time of a file, to now if no `moment` is given.

        Now is what whoever may write the file may set, any other moment what its owner may.
        """
        if moment is None:
            os.utime(path)
        else:
            os.utime(path, ns=(moment, moment))

    def rename(self, path: Named, new: Named) -> None:
        """Give a file another name, in one step; a file that had it is gone."""
        os.replace(path, new)

    def remove(self, path: Named) -> None:
        """Take a file's name away."""
        os.unlink(path)

    def make_directory(self, path: Named) -> None:
        """Make a directory in one that is there."""
        os.mkdir(path, 0o700)

    def remove_directory(self, path: Named) -> None:
        """Remove a directory that is empty."""
        os.rmdir(path)

    def pause(self, seconds: float) -> None:
        """Let others go on for a while."""
        time.sleep(seconds)

    def now(self) -> float:
        """Seconds since some moment; no change of the clock disturbs them."""
        return time.monotonic()

    def names(self, directory: Named) -> list[str]:
        """What lies in a directory."""
        return os.listdir(directory)


DISK = Disk()


def failure(error: OSError, path: Path) -> StoreError:
    """What the operating system refused, in words that tell how to go on."""
    if error.errno in _FULL:
        way = "make room there and try again"
    elif error.errno in FORBIDDEN:
        way = "give this user the right to read and write there, or name another store"
    elif error.errno in _MANY:
        way = "allow this process more open files, or give the store fewer handles"
    elif error.errno in _AGAIN:
        way = "try again"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        way = "a store is a directory; name another path"
    else:
        way = "check the disk, or name another store"
    return StoreError(f"{path}: {(error.strerror or str(error)).lower()}; {way}")
