"""What the stores ask of the operating system: locks, syncs, whole writes.

The one module to change for a system without `flock`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import get_ident

from ..errors import StoreError

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_FORBIDDEN = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


def lock(descriptor: int, *, wait: bool) -> bool:
    """Have an open file to oneself among all processes; False if another has it.

    The operating system lets go of it when the process ends, however it ends.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Let go of the file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def is_alive(process: int) -> bool:
    """Whether a process of this machine still runs."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)  # perhaps it is somebody else's
    return True


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of `data`."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], offset + written)


def write_or_nothing(descriptor: int, data: bytes, end: int) -> None:
    """Write all of `data` behind the `end` of a file, or leave the file as it is."""
    try:
        write_at(descriptor, data, end)
    except BaseException:
        with suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


def stamp(descriptor: int, directory: str) -> None:
    """Set the time of a file to now, or to later than that of all others in the directory.

    The directory itself has the latest time, so that the order holds whatever the clock does.
    """
    moment = max(time.time_ns(), os.stat(directory).st_mtime_ns + 1)  # noqa: PTH116 - hot path
    os.utime(descriptor, ns=(moment, moment))
    os.utime(directory, ns=(moment, moment))


def modified(path: Path) -> int:
    """The time of a file, in nanoseconds."""
    return path.stat().st_mtime_ns


def set_modified(file: int | Path, moment: int) -> None:
    """Set the time of a file, in nanoseconds: some writes are no activity."""
    os.utime(file, ns=(moment, moment))


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Read `length` bytes, fewer only where the file ends."""
    return os.pread(descriptor, length, offset)


def append(path: Path, data: bytes) -> None:
    """Add to a file that nobody else writes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def sync_and_close(descriptor: int, directories: Sequence[Path]) -> None:
    """Make what was written to a file, and the directories it was made in, outlast a power cut."""
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    for directory in directories:
        sync_directory(directory)


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or deleted in a directory outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes, *, sync: bool) -> None:
    """Put a file in place in one step: a reader sees all of it or none."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_at(descriptor, data, 0)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if sync:
        sync_directory(path.parent)


def failure(error: OSError, path: Path) -> StoreError:
    """What the operating system refused, in words that tell how to go on."""
    if error.errno in _FULL:
        way = "make room there and try again"
    elif error.errno in _FORBIDDEN:
        way = "give this user the right to read and write there, or name another store"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        way = "a store is a directory; name another path"
    else:
        way = "check the disk, or name another store"
    return StoreError(f"{path}: {(error.strerror or str(error)).lower()}; {way}")
