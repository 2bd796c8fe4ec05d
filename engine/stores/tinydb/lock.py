"""The lock of a session among processes, and the heartbeat that keeps it from being taken over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

from ...errors import StoreError
from ..journal.disk import Disk, OpenFile, lock_file, store_error
from ..journal.journal_file import JournalDeleted

_LOOK = 1.0
"""Seconds between two looks for marks of other processes."""


class SessionLock:
    """A flock on a file beside the journal, held for as long as a run lasts.

    The operating system releases it when the process dies, but not when it is suspended. So the
    holder refreshes the file's mtime (`Heartbeat`), and a waiter that has seen no refresh for the
    timeout replaces the file by one that it has locked itself: `is_held` is then false for the
    earlier holder.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._file: OpenFile | None = None
        self._seen = (0, 0)
        self._looked = self._watched = 0.0

    def try_acquire(self) -> bool:
        """Acquire the lock; False if another process has it.

        Raises `JournalDeleted` if the session's directory was deleted.
        """
        try:
            while True:
                if self._file is None or self._file.is_closed:
                    self._file = OpenFile(self._disk, self._path, create=True)
                is_free = self._disk.lock(self._file.descriptor)
                if self._file.is_at_path():
                    if is_free:
                        self._touch()
                    return is_free
                self.close()
        except FileNotFoundError as error:
            raise JournalDeleted(f"{self._path.parent}: the directory was deleted") from error
        except OSError as error:
            self.close()
            raise store_error(error, self._path) from error

    def is_held(self) -> bool:
        """Whether the lock that was acquired has not been taken over.

        The answer stays valid while the journal is locked `exclusive`: `take_over` needs that too.
        """
        file = self._file  # the heartbeat's thread calls this as well
        try:
            return file is not None and file.is_at_path()
        except OSError as error:
            raise store_error(error, self._path) from error

    def is_stale(self, timeout: float) -> bool:
        """Whether the holder's heartbeat has been missing for `timeout` seconds of our watching.

        Between two calls that are far apart this process may have been suspended as well: they
        count for at most a third of the timeout, in which the holder refreshes at least once.
        """
        seen, now = self._mark(), self._disk.now()
        if seen == self._seen:
            self._watched += min(now - self._looked, timeout / 3)
        else:
            self._seen, self._watched = seen, 0.0
        self._looked = now
        return self._watched >= timeout

    def take_over(self) -> bool:
        """Replace the lock of a stale holder; False if it has refreshed it after all.

        The journal must be locked `exclusive`.
        """
        if self._mark() != self._seen:
            return False
        temporary = self._path.with_suffix(".seized")
        try:
            file = OpenFile(self._disk, temporary, create=True)
            try:
                lock_file(self._disk, file.descriptor, temporary)
                file.rename(self._path)
            except BaseException:
                file.close()
                raise
        except OSError as error:
            raise store_error(error, self._path) from error
        self.close()
        self._file = file
        return True

    def refresh(self) -> None:
        """Refresh the heartbeat (mtime) if the lock is still held."""
        with suppress(StoreError):  # the next write raises it
            if self.is_held():
                self._touch()

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None and not self._file.is_closed:
            try:
                self._disk.unlock(self._file.descriptor)
            except OSError:
                self.close()  # that releases the lock, too

    def delete(self) -> None:
        """Delete the file and release the lock."""
        with suppress(OSError, StoreError):  # it was deleted with its session
            if self.is_held():
                self._disk.remove(self._path)
        self.close()

    def close(self) -> None:
        """Close the file, and release the lock by that."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _touch(self) -> None:
        with suppress(OSError):  # deleted, or the disk fails: the next write raises it
            self._disk.touch(self._path)

    def _mark(self) -> tuple[int, int]:
        try:
            status = self._disk.status(self._path)
        except FileNotFoundError:
            return 0, 0
        except OSError as error:
            raise store_error(error, self._path) from error
        return status.st_ino, status.st_mtime_ns


class Heartbeat:
    """A thread that refreshes the session locks of this process, every third of `timeout` seconds.

    It runs while there are locks to refresh, and calls `look` once a second.
    """

    def __init__(self, timeout: float, look: Callable[[], None]) -> None:
        self._timeout = timeout
        self._look = look
        self._guard = Lock()
        self._locks: set[SessionLock] = set()
        self._is_running = False
        self._stop = Event()

    def add(self, lock: SessionLock) -> None:
        """Refresh a lock from now on."""
        with self._guard:
            self._locks.add(lock)
            if not self._is_running:
                thread = Thread(
                    target=self._run, args=(self._stop,), name="teamgraph-heartbeat", daemon=True
                )
                with suppress(RuntimeError):  # no more threads to be had; the next lock tries again
                    thread.start()
                    self._is_running = True

    def remove(self, lock: SessionLock) -> None:
        """Refresh a lock no more."""
        with self._guard:
            self._locks.discard(lock)

    def close(self) -> None:
        """Stop the thread; the next lock starts a new one."""
        with self._guard:
            self._stop.set()
            self._stop, self._is_running = Event(), False

    def _run(self, stop: Event) -> None:
        waited = 0.0
        while not stop.wait(pause := min(_LOOK, self._timeout / 3)):
            with self._guard:
                locks = list(self._locks)
                if not locks and self._stop is stop:
                    self._is_running = False
                    return
            self._look()
            waited += pause
            if waited >= self._timeout / 3:
                waited = 0.0
                for lock in locks:
                    lock.refresh()
