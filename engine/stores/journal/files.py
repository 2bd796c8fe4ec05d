"""What is built of system calls: whole reads, whole writes, directories with those above them."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR
from threading import get_ident

from ...errors import StoreError
from .disk import Disk

_CHUNK = 1 << 20
_LEFT = 3600
_TRIES = 8
_FIRST_PAUSE, _LONGEST_PAUSE, _PATIENCE = 0.000_05, 0.005, 60


@contextmanager
def opened(disk: Disk, path: Path, flags: int = os.O_RDONLY) -> Generator[int]:
    """A file that is open for as long as the block lasts."""
    file = disk.open(path, flags)
    try:
        yield file
    finally:
        disk.close(file)


def chunks(disk: Disk, file: int, offset: int = 0) -> Iterator[bytes]:
    """What a file holds from `offset` on, in pieces."""
    while data := disk.read(file, _CHUNK, offset):
        offset += len(data)
        yield data


def read_whole(disk: Disk, path: Path) -> bytes:
    """All that a file holds."""
    with opened(disk, path) as file:
        return b"".join(chunks(disk, file))


def first_line(disk: Disk, path: Path) -> bytes:
    """The first line of a file."""
    head = b""
    with opened(disk, path) as file:
        for chunk in chunks(disk, file):
            head += chunk
            line, end, _ = head.partition(b"\n")
            if end:
                return line + end
    return head


def contains(disk: Disk, path: Path, needle: bytes) -> bool:
    """Whether some bytes are anywhere in a file."""
    kept = len(needle) - 1
    before = b""
    with opened(disk, path) as file:
        for chunk in chunks(disk, file):
            known = before + chunk
            if needle in known:
                return True
            before = known[-kept:]
    return False


def write_at(disk: Disk, file: int, data: bytes, offset: int) -> None:
    """Write all of `data`."""
    written = disk.write(file, data, offset)
    while written < len(data):
        more = disk.write(file, data[written:], offset + written)
        if not more:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += more


def lock(disk: Disk, file: int, path: Path) -> None:
    """Have an open file to oneself, after waiting for whoever has it.

    Files are held for as long as one write takes: raises `StoreError` after a minute.
    """
    pause, waited = _FIRST_PAUSE, 0.0
    while not disk.lock(file):
        if waited >= _PATIENCE:
            raise StoreError(
                f"{path}: another process has held it for {waited:.0f} seconds; "
                "wake that process or end it, then try again"
            )
        disk.pause(pause)
        waited += pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def append(disk: Disk, path: Path, data: bytes) -> None:
    """Add to a file that nobody else writes."""
    with opened(disk, path, os.O_WRONLY | os.O_CREAT) as file:
        write_at(disk, file, data, disk.status(file).st_size)


def write_or_nothing(disk: Disk, file: int, data: bytes, end: int) -> None:
    """Write all of `data` behind the `end` of a file, or leave the file as it is."""
    try:
        write_at(disk, file, data, end)
    except BaseException:
        with suppress(OSError):
            disk.truncate(file, end)
        raise


def write_whole(disk: Disk, path: Path, data: bytes, *, sync: bool) -> None:
    """Put a file in place in one step: a reader sees all of it or none."""
    _sweep(disk, path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.tmp")
    try:
        with opened(disk, temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            write_at(disk, file, data, 0)
            if sync:
                disk.sync(file)
        disk.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            disk.remove(temporary)
        raise
    if sync:
        disk.sync_directory(path.parent)


def _sweep(disk: Disk, path: Path) -> None:
    """Remove what killed processes left of a file that they were about to put in place."""
    left = [
        path.with_name(name)
        for name in disk.names(path.parent)
        if name.startswith(f"{path.name}.") and name.endswith(".tmp")
    ]
    for temporary in left:
        with suppress(FileNotFoundError):
            if time.time() - disk.status(temporary).st_mtime > _LEFT:
                disk.remove(temporary)


def remove(disk: Disk, path: Path) -> None:
    """Take a file's name away, if it is there."""
    with suppress(FileNotFoundError):
        disk.remove(path)


def make_directories(disk: Disk, path: Path, tries: int = _TRIES) -> None:
    """Make a directory, with those above it, unless it is there.

    Others may take those above away meanwhile, so it is tried several times.
    """
    try:
        disk.make_directory(path)
    except FileNotFoundError:
        if tries == 1:
            raise  # it is not for want of those above: /proc has them, and takes nothing in
        make_directories(disk, path.parent)
        make_directories(disk, path, tries - 1)
    except FileExistsError as error:
        if not S_ISDIR(disk.status(path).st_mode):
            number = errno.ENOTDIR
            raise NotADirectoryError(number, os.strerror(number), str(path)) from error
