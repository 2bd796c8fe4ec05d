"""System calls of a store, and what is built of them: whole files, locks, atomic replacement.

All I/O goes through a `Disk`, so that a test, handing in one of its own, can see each call, make
it fail, or cut it short. Windows has no lock of a whole file, no positional reads and no fsync of
directories; its branch is tested only against stand-ins for its calls, never on Windows.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR
from threading import Lock, get_ident
from typing import Protocol, TypeAlias, TypeVar
from weakref import WeakSet

from ...errors import StoreError
from ...os_fork import FORKS

if sys.platform == "win32":
    import msvcrt

    _BINARY = os.O_BINARY
    _IS_LOCKED = frozenset((errno.EACCES, errno.EDEADLK))
    _LOCKED_BYTE = 0x7FFF_0000  # beyond any journal: a locked byte can be neither read nor written
    _position = Lock()  # guards the one file position that an open file has

    def _pread(file: int, length: int, offset: int) -> bytes:
        with _position:
            os.lseek(file, offset, os.SEEK_SET)
            return os.read(file, length)

    def _pwrite(file: int, data: bytes, offset: int) -> int:
        with _position:
            os.lseek(file, offset, os.SEEK_SET)
            return os.write(file, data)

    def _flock(file: int) -> bool:
        try:
            _locking(file, msvcrt.LK_NBLCK)
        except OSError as error:
            if error.errno in _IS_LOCKED:
                return False
            raise
        return True

    def _funlock(file: int) -> None:
        _locking(file, msvcrt.LK_UNLCK)

    def _locking(file: int, mode: int) -> None:
        with _position:
            os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(file, mode, 1)

    _fsync = os.fsync

    def _fsync_directory(path: str | os.PathLike[str]) -> None:
        """Do nothing: the system syncs its directories itself."""

else:
    import fcntl
    import resource

    _BINARY = 0
    _pread = os.pread
    _pwrite = os.pwrite
    _fsync = os.fdatasync if hasattr(os, "fdatasync") else os.fsync  # macOS has only the other one

    def _flock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _funlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)

    def _fsync_directory(path: str | os.PathLike[str]) -> None:
        directory = os.open(path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


T = TypeVar("T")
Named: TypeAlias = str | Path
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_AGAIN = frozenset((errno.EINTR, errno.EAGAIN))
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP))
_FILES_ON_WINDOWS = 512  # of the C library, where nothing was set
_MANY = frozenset((errno.EMFILE, errno.ENFILE))
FORBIDDEN = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


class Disk:
    """The system calls that a store makes, one method each.

    They raise `OSError` as the system does. A file is a descriptor, a moment a number of
    nanoseconds since 1970. Files and directories are created with access for their owner only.
    """

    def open(self, path: Named, flags: int) -> int:
        """Open a file; `flags` are those of `os`."""
        return _with_idle_files_closed(lambda: _open(path, flags))

    def close(self, file: int) -> None:
        """Close a file."""
        with FORKS.changing_descriptors() as descriptors:
            descriptors.discard(file)
            os.close(file)

    def read(self, file: int, length: int, offset: int) -> bytes:
        """Read `length` bytes, fewer only where the file ends."""
        return _pread(file, length, offset)

    def write(self, file: int, data: bytes, offset: int) -> int:
        """Write `data`, perhaps only its first part; returns the number of bytes written."""
        return _pwrite(file, data, offset)

    def truncate(self, file: int, length: int) -> None:
        """Truncate a file."""
        os.ftruncate(file, length)

    def sync(self, file: int) -> None:
        """Force what was written to a file down to the disk (fdatasync)."""
        _fsync(file)

    def sync_directory(self, path: Named) -> None:
        """Force the entries of a directory down to the disk (fsync)."""
        _with_idle_files_closed(lambda: _fsync_directory(path))

    def lock(self, file: int) -> bool:
        """Try to lock an open file exclusively (flock); False if another open file has the lock.

        The operating system releases it when the process ends, however it ends.
        """
        return _flock(file)

    def unlock(self, file: int) -> None:
        """Release the lock of an open file."""
        _funlock(file)

    def status(self, file: int | Named) -> os.stat_result:
        """The `os.stat` of a file."""
        return os.stat(file)

    def touch(self, path: Named, moment: int | None = None) -> None:
        """Set the times of a file, to now if no `moment` is given.

        Anyone who may write the file may set them to now, only its owner to another moment.
        """
        if moment is None:
            os.utime(path)
        else:
            os.utime(path, ns=(moment, moment))

    def rename(self, path: Named, new: Named) -> None:
        """Rename a file, atomically replacing one that has the new name."""
        os.replace(path, new)

    def remove(self, path: Named) -> None:
        """Delete a file."""
        os.unlink(path)

    def make_directory(self, path: Named) -> None:
        """Make a directory; its parent must exist."""
        os.mkdir(path, 0o700)

    def remove_directory(self, path: Named) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def pause(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def now(self) -> float:
        """The monotonic clock, in seconds."""
        return time.monotonic()

    def names(self, directory: Named) -> list[str]:
        """The names in a directory."""
        return _with_idle_files_closed(lambda: os.listdir(directory))


DISK = Disk()


def _open(path: Named, flags: int) -> int:
    with FORKS.changing_descriptors() as descriptors:
        file = os.open(path, flags | _BINARY, 0o600)
        descriptors.add(file)
    return file


def _with_idle_files_closed(call: Callable[[], T]) -> T:
    """Call it; where no more files can be opened, close idle ones and call it again."""
    try:
        return call()
    except OSError as error:
        if error.errno not in _MANY:
            raise
    for cache in list(_CACHES):
        cache.close_idle()
    return call()


class IdleFiles(Protocol):
    """A cache of open files, of which some are not in use."""

    def close_idle(self) -> None:
        """Close those that no thread is using at this moment."""
        ...


_CACHES: WeakSet[IdleFiles] = WeakSet()


def close_when_exhausted(cache: IdleFiles) -> None:
    """Close the idle files of a cache when this process or the system can open no more."""
    _CACHES.add(cache)


def open_files_limit() -> int:
    """How many files this process may have open (RLIMIT_NOFILE)."""
    if sys.platform == "win32":
        return _FILES_ON_WINDOWS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def check_locks(disk: Disk, path: Path) -> None:
    """Raise `StoreError` if the file system has no locks, or if its locks exclude nobody.

    Somebody who creates the same store may replace the file between the two opens of it.
    """
    with opened(disk, path) as one, opened(disk, path) as two:
        if disk.status(one).st_ino != disk.status(two).st_ino:
            check_locks(disk, path)
            return
        try:
            is_excluded = not disk.lock(one) or not disk.lock(two)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            is_excluded = False
    if not is_excluded:
        raise StoreError(
            f"{path.parent}: this file system does not lock files, so processes would overwrite "
            "each other's turns; name a store on a local disk"
        )


_FIRST_CHUNK, _CHUNK = 1 << 16, 1 << 20
_STALE = 3600  # seconds
_TRIES = 8
_FIRST_PAUSE, _LONGEST_PAUSE, _LOCK_TIMEOUT = 0.000_05, 0.005, 60  # seconds


def store_error(error: OSError, path: Path) -> StoreError:
    """The `StoreError` for what the operating system refused, with the way on."""
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


class OpenFile:
    """An open file and the path it was opened by, which may name another file by now.

    Raises `OSError` as the system does. A file without write permission is opened read-only,
    unless `create` is true.
    """

    def __init__(self, disk: Disk, path: Path, *, create: bool, extra: int = 0) -> None:
        self._disk = disk
        self.path = os.fspath(path)
        self._guard = Lock()
        self._is_closed = False
        self._syncs = 0
        self.is_writable = True
        try:
            flags = os.O_RDWR | (os.O_CREAT if create else 0) | extra
            self.descriptor = disk.open(self.path, flags)
        except OSError as error:
            if create or error.errno not in FORBIDDEN:
                raise
            self.descriptor = disk.open(self.path, os.O_RDONLY)
            self.is_writable = False
        FORKS.own(self)
        try:
            self.inode = disk.status(self.descriptor).st_ino
        except BaseException:
            self.close()
            raise

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, by `close` or by a fork."""
        return self._is_closed

    def is_at_path(self) -> bool:
        """Whether the file is open and the path still names it (same inode)."""
        try:
            return not self._is_closed and self._disk.status(self.path).st_ino == self.inode
        except FileNotFoundError:
            return False

    def reset_after_fork(self) -> None:
        """See `ProcessOwned`: the descriptor was closed."""
        self._guard = Lock()
        self._is_closed = True

    def rename(self, path: Path) -> None:
        """Rename it, replacing the file that has the new name."""
        self._disk.rename(self.path, path)
        self.path = os.fspath(path)

    def sync(self) -> bool:
        """fdatasync; False if it is closed. A close meanwhile takes effect afterwards."""
        with self._guard:
            if self._is_closed:
                return False
            self._syncs += 1
        try:
            self._disk.sync(self.descriptor)
        finally:
            with self._guard:
                self._syncs -= 1
                is_still_open = not self._is_closed or self._syncs
            if not is_still_open:
                self._close()
        return True

    def close(self) -> None:
        """Close the file, as soon as no thread syncs it."""
        with self._guard:
            if self._is_closed:
                return
            self._is_closed = True
            is_in_use = self._syncs > 0
        if not is_in_use:
            self._close()

    def _close(self) -> None:
        with suppress(OSError):  # what must last was synced before
            self._disk.close(self.descriptor)


@contextmanager
def opened(disk: Disk, path: Named, flags: int = os.O_RDONLY) -> Generator[int]:
    """Open a file for the block."""
    file = disk.open(path, flags)
    try:
        yield file
    finally:
        disk.close(file)


def chunks(disk: Disk, file: int, offset: int = 0) -> Iterator[bytes]:
    """The contents of a file from `offset` on: 64 kB, then in chunks of 1 MB.

    Most files are small, and the memory for a long read costs more than reading one of them.
    """
    length = _FIRST_CHUNK
    while data := disk.read(file, length, offset):
        offset += len(data)
        yield data
        if len(data) < length:  # the file ends here
            break
        length = _CHUNK


def read_whole(disk: Disk, path: Named) -> bytes:
    """The contents of a file."""
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
    """Whether a file contains some bytes."""
    overlap = len(needle) - 1
    before = b""
    with opened(disk, path) as file:
        for chunk in chunks(disk, file):
            window = before + chunk
            if needle in window:
                return True
            before = window[-overlap:]
    return False


def write_at(disk: Disk, file: int, data: bytes, offset: int) -> None:
    """Write all of `data`."""
    written = disk.write(file, data, offset)
    while written < len(data):
        more = disk.write(file, data[written:], offset + written)
        if not more:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += more


def lock_file(disk: Disk, file: int, path: Path) -> None:
    """Lock an open file exclusively, polling with backoff; raises `StoreError` after a minute.

    Files are locked for as long as one write takes.
    """
    pause, waited = _FIRST_PAUSE, 0.0
    while not disk.lock(file):
        if waited >= _LOCK_TIMEOUT:
            raise StoreError(
                f"{path}: another process has had it locked for {waited:.0f} seconds; "
                "wake that process or end it, then try again"
            )
        disk.pause(pause)
        waited += pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def append(disk: Disk, path: Path, data: bytes) -> None:
    """Append to a file that nobody else writes, creating it if needed."""
    with opened(disk, path, os.O_WRONLY | os.O_CREAT) as file:
        write_at(disk, file, data, disk.status(file).st_size)


def append_or_undo(disk: Disk, file: int, data: bytes, end: int) -> None:
    """Write `data` at the `end` of a file; truncate back to `end` if that fails."""
    try:
        write_at(disk, file, data, end)
    except BaseException:
        with suppress(OSError):
            disk.truncate(file, end)
        raise


def replace_file(disk: Disk, path: Path, data: bytes, *, sync: bool) -> None:
    """Write a file atomically: temporary file, fsync if `sync`, rename."""
    _remove_stale(disk, path)
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


def _remove_stale(disk: Disk, path: Path) -> None:
    """Remove temporary files of `replace_file` that killed processes left an hour ago."""
    stale = [
        path.with_name(name)
        for name in disk.names(path.parent)
        if name.startswith(f"{path.name}.") and name.endswith(".tmp")
    ]
    for temporary in stale:
        with suppress(FileNotFoundError):
            if is_stale(disk, temporary):
                disk.remove(temporary)


def is_stale(disk: Disk, path: Path) -> bool:
    """Whether a file was not written for an hour, so that nobody is about to use it."""
    return time.time() - disk.status(path).st_mtime > _STALE


def remove_file(disk: Disk, path: Path) -> None:
    """Delete a file if it exists."""
    with suppress(FileNotFoundError):
        disk.remove(path)


def make_directories(disk: Disk, path: Path, *, sync: bool = False, tries: int = _TRIES) -> None:
    """Make a directory with its parents unless it exists, and sync its entry if `sync`.

    Others may remove an empty parent meanwhile, so it is tried several times.
    """
    try:
        disk.make_directory(path)
    except FileNotFoundError:
        if tries == 1:
            raise  # the parent exists: /proc, for one, lets nobody create anything
        make_directories(disk, path.parent, sync=sync)
        make_directories(disk, path, sync=sync, tries=tries - 1)
    except FileExistsError as error:
        if not S_ISDIR(disk.status(path).st_mode):
            number = errno.ENOTDIR
            raise NotADirectoryError(number, os.strerror(number), str(path)) from error
    if sync:
        with suppress(PermissionError):  # a directory that others own may not be readable
            disk.sync_directory(path.parent)
