"""The file under a journal: only ever appended to, checked line by line, shared by processes.

A torn tail, as a killed process or a power cut leaves it, is cut and kept aside; damage anywhere
else is an error. Writers hold a lock on the file for as long as one write takes, readers hold none.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import RLock
from uuid import uuid4

from ...errors import StoreError
from . import files
from .activity import Activity
from .disk import failure
from .header import Header
from .index import Index, Watcher
from .line import MARK, Operation, Slot, Transaction, pack
from .medium import Medium
from .open_file import LastingName, OpenFile
from .reading import Reader


class JournalFile:
    """One open journal. `owner` is what its header says of whose it is; another one is an error.

    Raises `Gone` if the file is not there and `create` is false. `watcher` is told of each
    document. Safe to use from many threads; it sees the transactions of other processes as soon
    as they are whole.
    """

    def __init__(
        self,
        path: Path,
        medium: Medium,
        *,
        owner: Mapping[str, str | None],
        create: bool,
        watcher: Watcher | None = None,
    ) -> None:
        self.path = path
        self.medium = medium
        self.index = Index(watcher)
        self._reader = Reader(path, medium, self.index, owner)
        self._disk = medium.disk
        self._threads = RLock()
        self._depth = 0
        self._is_tidy = False
        self._has_failed = False
        self._name = LastingName(path, medium.disk)
        self._file: OpenFile | None = None
        try:
            self._open(create=create)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise failure(error, path) from error
            raise

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever committed."""
        return self.index.sequence == 0

    @property
    def is_closed(self) -> bool:
        """Whether the file was let go of, or could not be opened anew."""
        return self._file is None

    def close(self) -> None:
        """Let go of the file. Twice does no harm."""
        with self._threads:
            if self._file is not None:
                self._file.close()
                self._file = None

    @contextmanager
    def shared(self) -> Generator[None]:
        """See all that was committed, by whomever; no other thread writes meanwhile."""
        with self._threads:
            if not self._depth:
                self._refresh()
            yield

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Have the journal to oneself among all threads and processes."""
        with self._threads:
            self._lock(wait=True)
            try:
                yield
            finally:
                self._unlock()

    def try_shared(self) -> bool:
        """As `shared`, but False instead of waiting; ended by `end_try`."""
        return self._try(self._refresh)

    def try_exclusive(self) -> bool:
        """As `exclusive`, but False instead of waiting; ended by `end_try`."""
        return self._try(lambda: self._lock(wait=False))

    def end_try(self) -> None:
        """End what `try_shared` or `try_exclusive` began."""
        if self._depth:
            self._unlock()
        self._threads.release()

    def text(self, slot: Slot) -> bytes:
        """The JSON of a document."""
        try:
            return self._disk.read(self._opened().descriptor, slot.length, slot.offset)
        except OSError as error:
            raise failure(error, self.path) from error

    def commit(self, operations: Sequence[Operation]) -> None:
        """Write a transaction, all or nothing, while the journal is held `exclusive`."""
        file = self._opened()
        if self._has_failed:
            way = "check the disk, then begin the run again"
            raise StoreError(f"{self.path}: an earlier write did not reach the disk; {way}")
        if not file.is_writable:
            raise failure(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), self.path)
        if self.is_empty:
            self._reader.born = uuid4().hex
            operations = [self.header().operation(), *operations]
        end = self.index.end
        synced = self.index.synced if self.medium.is_synced else None
        data, transaction = pack(operations, self.index.sequence + 1, end, synced)
        try:
            files.write_or_nothing(self._disk, file.descriptor, data, end)
        except OSError as error:
            raise failure(error, self.path) from error
        self.index.apply(transaction)

    def flush(self, lasting: set[Path] | None = None) -> None:
        """Make what was committed outlast a power cut and say so in the file, or take no more.

        `lasting` are directories, never removed, whose names are known to last.
        """
        file, end = self._opened(), self.index.end
        try:
            file.sync()
            self._name.sync(lasting)
        except OSError as error:
            self._has_failed = True
            raise failure(error, self.path) from error
        self._mark(file, end)

    def header(self, version: int | None = None) -> Header:
        """What the journal says of itself, or would say in another version."""
        version = self.medium.form.version if version is None else version
        owner, born = self._reader.owner, self._reader.born
        return Header(version, owner, born, self.index.next_numbers())

    def replace(self, file: OpenFile, transactions: Sequence[Transaction]) -> None:
        """Go on with another open file, which lies under this journal's name by now."""
        numbers = self.index.next_numbers()
        self._opened().close()
        self._file = file
        self.index.forget()
        self.index.reserve(numbers)
        for transaction in transactions:
            self.index.apply(transaction)

    def _mark(self, file: OpenFile, synced: int) -> None:
        """Say up to where a file has reached the disk; if not now, the next write will."""
        is_noted = self.medium.sync == "turn"  # afterwards: a turn's end is activity, this is none
        activity = nullcontext() if is_noted else Activity(self.path, self._disk).unnoted()
        with suppress(StoreError):
            if self.try_exclusive():
                try:
                    if file is self._file:  # and was it when its end was looked at
                        self.index.synced = max(self.index.synced, synced)
                        with activity:
                            self.commit([MARK])
                finally:
                    self.end_try()

    def _reopen(self) -> None:
        try:
            self._open(create=False)
        except OSError as error:
            raise failure(error, self.path) from error

    def _open(self, *, create: bool) -> None:
        self._adopt(self._reader.opened(create=create))

    def _adopt(self, file: OpenFile) -> None:
        self.close()
        self._file = file
        self._is_tidy = False
        self.index.forget()
        self._refresh()

    def _try(self, begin: Callable[[], bool]) -> bool:
        if not self._threads.acquire(blocking=False):
            return False
        is_held = False
        try:
            is_held = begin()
        finally:
            if not is_held:
                self._threads.release()
        return is_held

    def _lock(self, *, wait: bool) -> bool:
        if self._depth:
            self._depth += 1
            return True
        try:
            if not self._opened().is_writable:
                self._try_to_write()
            while self._has_lock(self._opened(), wait=wait):
                if self._is_mine(self._opened()):
                    self._depth = 1
                    return True
                self._open(create=False)
        except OSError as error:
            raise failure(error, self.path) from error
        return False

    def _try_to_write(self) -> None:
        """Open the file anew, if it may be written by now."""
        file = self._reader.opened(create=False)
        if file.is_writable:
            self._adopt(file)
        else:
            file.close()

    def _has_lock(self, file: OpenFile, *, wait: bool) -> bool:
        if wait:
            files.lock(self._disk, file.descriptor, self.path)
            return True
        return self._disk.lock(file.descriptor)

    def _is_mine(self, file: OpenFile) -> bool:
        """Whether the locked file is still the journal; if so, all of it is taken in."""
        is_mine = False
        try:
            status = self._reader.there(file)
            if status.st_ino == file.inode:
                if not self._is_tidy and file.is_writable:
                    files.remove(self._disk, self.path.with_suffix(".tmp"))
                    self._is_tidy = True
                self._take_in(status.st_size, is_locked=True)
                is_mine = True
        finally:
            if not is_mine:
                self._disk.unlock(file.descriptor)
        return is_mine

    def _unlock(self) -> None:
        self._depth -= 1
        if not self._depth and self._file is not None:
            try:
                self._disk.unlock(self._file.descriptor)
            except OSError:
                self.close()  # that lets go of the lock, too
                self._reopen()

    def _opened(self) -> OpenFile:
        if self._file is None:
            raise StoreError(f"{self.path}: the journal was closed; open it anew")
        return self._file

    def _refresh(self) -> bool:
        file = self._opened()
        try:
            status = self._reader.there(file)
            if status.st_ino == file.inode:
                self._take_in(status.st_size, is_locked=False)
            else:
                self._open(create=False)
        except OSError as error:
            raise failure(error, self.path) from error
        return True

    def _take_in(self, size: int, *, is_locked: bool) -> None:
        if size == self.index.end:
            return
        if size < self.index.end:
            self.index.forget()
        is_bad = self._reader.take_in(self._opened(), size)
        if self.index.end == size:
            return
        if is_locked:
            self._reader.settle(self._opened(), size)
        elif is_bad:
            # Perhaps a writer took a failed write back under our eyes: look again without one.
            with self.exclusive():
                pass
