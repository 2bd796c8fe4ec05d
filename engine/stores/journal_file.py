"""The file under a journal: only ever appended to, checked line by line, shared by processes.

A torn tail, as a killed process leaves it, is cut and kept aside; damage anywhere else is an
error. Writers hold a lock on the file for as long as one write takes, readers hold none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Literal, TypeAlias
from uuid import uuid4

from ..errors import Conflict, StoreError
from . import files
from .disk import DISK, Disk, failure
from .header import Header
from .index import Index, Watcher
from .line import Operation, Slot, Transaction, pack, unpack
from .torn import keep_aside

Sync: TypeAlias = Literal["always", "turn", "never"]
_CHUNK = 1 << 20


class Gone(Conflict):
    """The journal was deleted."""


class JournalFile:
    """One open journal. `owner` is what its header says of whose it is; another one is an error.

    Raises `Gone` if the file is not there and `create` is false. `watcher` is told of each
    document. Safe to use from many threads; it sees the transactions of other processes as soon
    as they are whole.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: Mapping[str, str | None],
        sync: Sync,
        create: bool,
        watcher: Watcher | None = None,
        disk: Disk = DISK,
    ) -> None:
        self.path = path
        self.owner = owner
        self.sync = sync
        self.disk = disk
        self.born = ""
        self.index = Index(watcher)
        self._name = os.fspath(path)
        self._directory = os.fspath(path.parent)
        self._threads = RLock()
        self._depth = 0
        self._is_tidy = False
        self._has_failed = False
        self._is_new = False
        self._file = self._inode = -1
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

    def close(self) -> None:
        """Let go of the file. Twice does no harm."""
        with self._threads:
            if self._file >= 0:
                self.disk.close(self._file)
                self._file = -1

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
            return self.disk.read(self._file, slot.length, slot.offset)
        except OSError as error:
            raise failure(error, self.path) from error

    def commit(self, operations: Sequence[Operation]) -> None:
        """Write a transaction, all or nothing, while the journal is held `exclusive`."""
        if self._has_failed:
            way = "check the disk, then open the store anew"
            raise StoreError(f"{self.path}: an earlier write did not reach the disk; {way}")
        if self.is_empty:
            self.born = uuid4().hex
            operations = [Header(self.owner, self.born).operation(), *operations]
        end = self.index.end
        data, transaction = pack(operations, self.index.sequence + 1, end)
        try:
            files.write_or_nothing(self.disk, self._file, data, end)
        except OSError as error:
            raise failure(error, self.path) from error
        self.index.apply(transaction)
        if self.sync == "always":
            self.flush()

    def flush(self) -> None:
        """Make what was committed outlast a power cut; if that fails, nothing more is taken."""
        try:
            with self._threads:
                file = self.disk.duplicate(self._file)
                is_new, self._is_new = self._is_new, False
            files.sync_and_close(self.disk, file, self.path.parents[:3] if is_new else ())
        except OSError as error:
            self._has_failed = True
            raise failure(error, self.path) from error

    @contextmanager
    def unstamped(self) -> Generator[None]:
        """Leave the file's time as it was: some writes are no activity of the session."""
        moment = self._status().st_mtime_ns
        yield
        self.disk.touch(self._name, moment)

    def stamp(self) -> None:
        """Note that the session was active later than any other of its user's sessions."""
        files.stamp(self.disk, self._name, self._directory)

    def replace(self, file: int, transactions: Sequence[Transaction]) -> None:
        """Go on with another open file, which lies under this journal's name by now."""
        numbers = self.index.next_numbers()
        self.disk.close(self._file)
        self._file, self._inode = file, self.disk.status(file).st_ino
        self.index.forget()
        self.index.reserve(numbers)
        for transaction in transactions:
            self.index.apply(transaction)

    def _open(self, *, create: bool) -> None:
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        try:
            file = self.disk.open(self._name, flags)
        except FileNotFoundError as error:
            raise Gone(f"{self.path}: there is no such journal") from error
        self.close()
        self._file = file
        status = self.disk.status(file)
        self._inode = status.st_ino
        self._is_new = status.st_size == 0
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
        if self._file < 0:
            raise self._closed()
        try:
            while self._has_file(wait=wait):
                if self._is_mine():
                    self._depth = 1
                    return True
                self._open(create=False)
        except OSError as error:
            raise failure(error, self.path) from error
        return False

    def _has_file(self, *, wait: bool) -> bool:
        if wait:
            files.lock(self.disk, self._file, self.path)
            return True
        return self.disk.lock(self._file)

    def _is_mine(self) -> bool:
        """Whether the locked file is still the journal; if so, all of it is taken in."""
        is_mine = False
        try:
            status = self._status()
            if status.st_ino == self._inode:
                if not self._is_tidy:
                    files.remove(self.disk, self.path.with_suffix(".tmp"))
                    self._is_tidy = True
                self._take_in(status.st_size, is_locked=True)
                is_mine = True
        finally:
            if not is_mine:
                self.disk.unlock(self._file)
        return is_mine

    def _unlock(self) -> None:
        self._depth -= 1
        if not self._depth and self._file >= 0:
            self.disk.unlock(self._file)

    def _closed(self) -> StoreError:
        return StoreError(f"{self.path}: the journal was closed; open it anew")

    def _refresh(self) -> bool:
        if self._file < 0:
            raise self._closed()
        try:
            status = self._status()
            if status.st_ino == self._inode:
                self._take_in(status.st_size, is_locked=False)
            else:
                self._open(create=False)
        except OSError as error:
            raise failure(error, self.path) from error
        return True

    def _status(self) -> os.stat_result:
        """The file that has the journal's name by now."""
        try:
            return self.disk.status(self._name)
        except FileNotFoundError as error:
            raise Gone(f"{self.path}: the journal was deleted") from error

    def _take_in(self, size: int, *, is_locked: bool) -> None:
        if size == self.index.end:
            return
        if size < self.index.end:
            self.index.forget()
        is_bad = self._scan(size)
        if self.index.end == size:
            return
        if is_locked:
            self._settle(size)
        elif is_bad:
            # Perhaps a writer took a failed write back under our eyes: look again without one.
            with self.exclusive():
                pass

    def _scan(self, size: int) -> bool:
        """Take in the transactions up to `size`; whether something is there that is none."""
        chunk = _CHUNK
        while True:
            start = self.index.end
            wanted = min(chunk, size - start)
            buffer = self.disk.read(self._file, wanted, start)
            for transaction in unpack(buffer, start):
                if transaction is None or not self.index.follows(transaction):
                    return True
                first = transaction.entries[0]
                if first.verb == "h":
                    self._meet(Header.read(first.slot.cut(buffer, start), self.path))
                self.index.apply(transaction)
            if start + wanted == size:
                return False
            if self.index.end == start:
                chunk *= 2

    def _meet(self, header: Header) -> None:
        header.must_belong_to(self.owner, self.path)
        if self.born and self.born != header.born:
            raise Gone(f"{self.path}: the session was deleted and begun anew")
        self.born = header.born
        self.index.reserve(header.next_numbers)

    def _settle(self, size: int) -> None:
        """Cut a torn tail, after one more look from the beginning: a writer may have cut it too."""
        self.index.forget()
        self._scan(size)
        end = self.index.end
        rest = self.disk.read(self._file, size - end, end)
        if rest:
            keep_aside(self.disk, self.path, rest, end, self.index.sequence + 1)
            self.disk.truncate(self._file, end)
