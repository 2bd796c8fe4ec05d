"""An open journal: append-only, checked line by line, shared by threads and processes.

Writers lock the file (flock) for as long as one write takes, readers take no lock. A torn tail, as
a killed process or a power cut leaves it, is cut and set aside; damage anywhere else is an error.
An index of the position of each document is in memory and follows what other processes append.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Literal, Protocol, TypeAlias, cast
from uuid import uuid4
from zlib import crc32

from msgspec import Struct
from msgspec.msgpack import Decoder, encode

from ...blocking import warn
from ...errors import Conflict, DamagedStore, StoreError
from ...os_fork import FORKS
from .disk import (
    DISK,
    Disk,
    OpenFile,
    append,
    append_or_undo,
    lock_file,
    opened,
    read_whole,
    remove_file,
    store_error,
    write_at,
)
from .line import (
    FORMAT,
    MARK,
    Entry,
    Header,
    JournalFormat,
    Operation,
    Slot,
    Transaction,
    header_data,
    pack,
    sync_claims,
    unpack,
)

Sync: TypeAlias = Literal["always", "turn", "never"]
Proof: TypeAlias = tuple[int, bytes, bytes]
SAVED_INDEX = ".index"
"""Ends the name of the file with the index of a long journal."""
_BLOATED = 1 << 20
_PROOF, _HEADER = 128, 4096  # bytes; ids that make a header longer cost the saved index
_EMPTY_INDEX, _INDEXED = 10_000, 350  # bytes of an index, and of each document in it
_CHUNK = 1 << 20


class JournalSettings(Struct, frozen=True):
    """What all journals of a store share: the disk, when data is synced, the format.

    `unsaved` is how many bytes of a journal are read at its opening without a saved index.
    """

    disk: Disk = DISK
    sync: Sync = "turn"
    format: JournalFormat = FORMAT
    unsaved: int = 1 << 18

    @property
    def is_synced(self) -> bool:
        """Whether anything is ever synced."""
        return self.sync != "never"


class JournalDeleted(Conflict):
    """The journal's file was deleted, or deleted and created again."""


class OldVersion(StoreError):
    """The journal has an older `version` and must be upgraded before it is used."""

    def __init__(self, path: Path, version: int) -> None:
        super().__init__(f"{path}: it has the old version {version}; open it with a store")
        self.version = version


class TornTail(UserWarning):
    """A half-written end, left by a killed process or a power cut, was cut and set aside."""


class IndexListener(Protocol):
    """A second index, updated with each document that is put or deleted, by whichever process."""

    def clear(self) -> None:
        """Drop everything: the journal is read again from its beginning."""
        ...

    def put(self, table: str, document: str, slot: Slot) -> None:
        """A document was put, new or in place of its earlier version."""
        ...

    def drop(self, table: str, document: str, slot: Slot) -> None:
        """A document was deleted."""
        ...

    def documents(self) -> dict[str, dict[str, Slot]]:
        """The documents of those tables of which it has every one with a key, by number."""
        ...

    def dump(self) -> bytes:
        """Everything, to be loaded when the journal is opened the next time."""
        ...

    def load(self, data: bytes) -> None:
        """Take in what `dump` gave."""
        ...


class JournalIndex:
    """In-memory index of a journal: the position of each document of each table.

    `live` is the number of bytes that still count, `synced` the byte up to which the file is known
    to be synced. Document numbers are never used twice, also not after a deletion.

    Of a saved index the documents that its listener has are taken in only when they are asked for.
    """

    def __init__(self, listener: IndexListener | None = None) -> None:
        self._tables: dict[str, dict[str, Slot]] = {}
        self._loaded = 0
        self.live = 0
        self.sequence = 0
        self.end = 0
        self.synced = 0
        self._next: dict[str, int] = {}
        self._listener = listener

    @property
    def tables(self) -> dict[str, dict[str, Slot]]:
        """The positions of the documents, by table and number."""
        if self._loaded and self._listener is not None:
            self._loaded = 0
            for name, held in self._listener.documents().items():
                if slots := {**held, **self._tables.get(name, {})}:
                    self._tables[name] = {each: slots[each] for each in sorted(slots, key=int)}
        return self._tables

    def save(self, proof: Proof) -> bytes:
        """Everything, as `load` reads it; there must be a listener."""
        listener, tables = cast("IndexListener", self._listener), dict(self.tables)
        for name, held in listener.documents().items():
            if slots := tables.get(name):
                tables[name] = {each: slots[each] for each in slots if each not in held}
        saved = SavedIndex(
            proof,
            self.end,
            self.sequence,
            self.live,
            self.synced,
            self._next,
            tables,
            listener.dump(),
        )
        data = encode(saved)
        return b"%b%08x" % (_SAVED_HEAD, crc32(data)) + data

    def load(self, saved: SavedIndex) -> bool:
        """Take in what was saved; false without a listener, which has most of it."""
        if self._listener is None:
            return False
        self.clear()
        self.end, self.sequence = saved.end, saved.sequence
        self.live, self.synced = saved.live, saved.synced
        self._next.update(saved.next_numbers)
        self._tables = saved.tables
        self._loaded = len(saved.listener)
        self._listener.load(saved.listener)
        return True

    def clear(self) -> None:
        """Drop everything."""
        self._tables.clear()
        self._loaded = 0
        self._next.clear()
        self.live = self.sequence = self.end = self.synced = 0
        if self._listener is not None:
            self._listener.clear()

    def apply(self, transaction: Transaction) -> None:
        """Add a transaction."""
        for entry in transaction.entries:
            if entry.verb == "p":
                self._put(entry)
            elif entry.verb == "d":
                self._drop(entry.table, entry.document)
            elif entry.verb == "h":
                self.live += entry.slot.line
            elif entry.verb != "m":
                for document in list(self.tables.get(entry.table, ())):
                    self._drop(entry.table, document)
                self.tables.pop(entry.table, None)
                if entry.verb == "e":
                    self.tables[entry.table] = {}
        self.sequence = transaction.sequence
        self.end = transaction.end
        self.synced = max(self.synced, transaction.synced)

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, with what the listener has of it; an estimate."""
        indexed = sum(map(len, self._tables.values()))
        return _EMPTY_INDEX + _INDEXED * indexed + 2 * self._loaded

    def is_next(self, transaction: Transaction) -> bool:
        """Whether a transaction may come next: a header first, then consecutive numbers."""
        if not self.end:
            return transaction.entries[0].verb == "h"
        return transaction.sequence == self.sequence + 1

    def next_numbers(self) -> dict[str, int]:
        """The next free document number of each table."""
        return dict(self._next)

    def next_number(self, table: str) -> int:
        """The next free document number of a table."""
        return self._next.get(table, 1)

    def reserve(self, numbers: Mapping[str, int]) -> None:
        """Set the next free numbers, as a header has them."""
        self._next.update(numbers)

    def _put(self, entry: Entry) -> None:
        number = int(entry.document)
        is_new = number >= self._next.get(entry.table, 1)
        slots = self._tables.setdefault(entry.table, {})
        if not is_new and entry.document not in slots:
            slots = self.tables.setdefault(entry.table, {})
        earlier = slots.get(entry.document)
        if earlier is not None:
            self.live -= earlier.line
        slots[entry.document] = entry.slot
        self.live += entry.slot.line
        if is_new:
            self._next[entry.table] = number + 1
        if self._listener is not None:
            self._listener.put(entry.table, entry.document, entry.slot)

    def _drop(self, table: str, document: str) -> None:
        slot = self.tables.get(table, {}).pop(document, None)
        if slot is None:
            return
        self.live -= slot.line
        if self._listener is not None:
            self._listener.drop(table, document, slot)


class SavedIndex(Struct, frozen=True, array_like=True):
    """An index in the file beside its journal: what it is the index of, and everything in it."""

    proof: Proof
    end: int
    sequence: int
    live: int
    synced: int
    next_numbers: dict[str, int]
    tables: dict[str, dict[str, Slot]]
    listener: bytes

    @classmethod
    def decode(cls, data: bytes) -> SavedIndex | None:
        """The saved index; None if it was not written to its end, or by another version."""
        start = len(_SAVED_HEAD) + 8
        body = memoryview(data)[start:]
        if data[:start] != b"%b%08x" % (_SAVED_HEAD, crc32(body)):
            return None
        return _SAVED.decode(body)


_SAVED_HEAD = b"teamgraph-index 2 "
_SAVED = Decoder(SavedIndex)


class JournalFile:
    """One open journal, safe to use from many threads; reads see what any process committed.

    `owner` is compared with the header's: another owner is an error. Raises `JournalDeleted` if
    there is no file and `create` is false. `listener` is a second index to update, `beside` a file
    that is synced together with the journal's name.
    """

    def __init__(
        self,
        path: Path,
        settings: JournalSettings,
        *,
        owner: Mapping[str, str | None],
        create: bool,
        listener: IndexListener | None = None,
        beside: Path | None = None,
    ) -> None:
        self.path = path
        self._beside = beside
        self.settings = settings
        self.index = JournalIndex(listener)
        self._owner = owner
        self._born = ""
        self._disk = settings.disk
        self._mutex = RLock()
        self._depth = 0
        self._is_tidy = False
        self._has_failed = False
        self._is_name_synced = False
        self._is_resting = False
        self._proof: Proof | None = None
        self._saved = 0
        self._file: OpenFile | None = None
        try:
            self._open(create=create)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise store_error(error, path) from error
            raise
        FORKS.own(self)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever committed."""
        return self.index.sequence == 0

    @property
    def is_writable(self) -> bool:
        """Whether this user may write the file, on this file system."""
        return self._opened().is_writable

    @property
    def is_closed(self) -> bool:
        """Whether the file was closed for good, or could not be opened again."""
        return self._file is None and not self._is_resting

    @property
    def is_bloated(self) -> bool:
        """Whether compaction is worth its cost: over 1 MB, and less than half of it is live."""
        return self.index.end > _BLOATED and self.index.live * 2 < self.index.end

    def close(self) -> None:
        """Close the file; a second call has no effect."""
        with self._mutex:
            self._is_resting = False
            if self._file is not None:
                self._file.close()
                self._file = None

    def rest(self) -> None:
        """Close the file until the next use, unless a thread is using it; the index is kept."""
        if not self._mutex.acquire(blocking=False):
            return
        try:
            file = self._file
            if file is not None and not self._depth:
                with suppress(OSError):
                    self._proof = self._prove(file, self.index.end)
                    self._is_resting, self._file = True, None
                    file.close()
        finally:
            self._mutex.release()

    def save_index(self) -> None:
        """Save the index beside a long journal, unless an earlier one spares most of its reading.

        An index is a cache: nothing is lost without it, and errors are ignored.
        """
        unsaved = self.index.end - self._saved
        if self._file is None or unsaved < max(self.settings.unsaved, self.index.end >> 4):
            return
        with suppress(OSError, StoreError, Conflict):
            if self.try_exclusive():
                try:
                    self._save_index(self._opened())
                finally:
                    self.end_try()

    def reset_after_fork(self) -> None:
        """See `ProcessOwned`: the next use opens the file again."""
        self._mutex = RLock()
        self._depth = 0
        self._is_resting = not self.is_closed
        self._file = None
        self.index.clear()

    @contextmanager
    def shared(self) -> Generator[None]:
        """Read for the block: all commits of any process are seen, no other thread writes."""
        with self._mutex:
            if not self._depth:
                self._refresh()
            yield

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Write for the block: locked against all threads and processes."""
        with self._mutex:
            self._lock(wait=True)
            try:
                yield
            finally:
                self._unlock()

    def try_shared(self) -> bool:
        """Begin `shared` without waiting; False if that is not possible. `end_try` ends it."""
        if not self._mutex.acquire(blocking=False):
            return False
        try:
            if not self._depth:  # pragma: no branch - nobody reads in the midst of a write today
                self._refresh()
        except BaseException:
            self._mutex.release()
            raise
        return True

    def try_exclusive(self) -> bool:
        """Begin `exclusive` without waiting; False if that is not possible. `end_try` ends it."""
        if not self._mutex.acquire(blocking=False):
            return False
        is_locked = False
        try:
            is_locked = self._lock(wait=False)
        finally:
            if not is_locked:
                self._mutex.release()
        return is_locked

    def end_try(self) -> None:
        """End what `try_shared` or `try_exclusive` began."""
        if self._depth:
            self._unlock()
        self._mutex.release()

    def text(self, slot: Slot) -> bytes:
        """The JSON of a document; raises `DamagedStore` if its line is not intact any more."""
        try:
            line = self._disk.read(self._opened().descriptor, slot.line, slot.start)
        except OSError as error:
            raise store_error(error, self.path) from error
        if (data := slot.checked(line)) is None:
            raise damaged(self.path, slot.start)
        return data

    def commit(self, operations: Sequence[Operation]) -> None:
        """Append a transaction, all or nothing; the journal must be locked `exclusive`.

        Nothing is written without operations: a transaction ends with its last one.
        """
        if not operations:
            return
        file = self._opened()
        if self._has_failed:
            way = "check the disk, then begin the run again"
            raise StoreError(f"{self.path}: an earlier write did not reach the disk; {way}")
        if not file.is_writable:
            raise store_error(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), self.path)
        if self.is_empty:
            self._born = uuid4().hex
            operations = [self.header().operation(), *operations]
        end = self.index.end
        synced = self.index.synced if self.settings.is_synced else None
        data, transaction = pack(operations, self.index.sequence + 1, end, synced)
        try:
            append_or_undo(self._disk, file.descriptor, data, end)
        except OSError as error:
            raise store_error(error, self.path) from error
        self.index.apply(transaction)

    def flush(self, synced_directories: set[Path] | None = None) -> None:
        """Sync what was committed, and the file's name, and append a mark that says so.

        After a failure nothing can be committed any more. `synced_directories` are directories,
        never removed, whose own names are known to be synced; it is added to.
        """
        try:
            while True:
                file, end = self._awake(), self.index.end
                if file.sync():
                    break  # otherwise it was closed in between
            self._sync_name(synced_directories)
        except OSError as error:
            self._has_failed = True
            raise store_error(error, self.path) from error
        self._mark(file, end)

    def header(self, version: int | None = None) -> Header:
        """The header as it would be written now, by default in the current version."""
        version = self.settings.format.version if version is None else version
        return Header(version, self._owner, self._born, self.index.next_numbers())

    def replace(self, file: OpenFile, transactions: Sequence[Transaction]) -> None:
        """Continue with another open file, which was renamed to this journal's path."""
        numbers = self.index.next_numbers()
        self._opened().close()
        self._file = file
        self._saved = 0
        self.index.clear()
        self.index.reserve(numbers)
        for transaction in transactions:
            self.index.apply(transaction)

    def failure(self, error: OSError) -> StoreError:
        """The error to raise for what the system refused; a missing file was deleted by others."""
        if isinstance(error, FileNotFoundError):
            return JournalDeleted(f"{self.path}: the journal was deleted")
        return store_error(error, self.path)

    def _sync_name(self, synced_directories: set[Path] | None) -> None:
        """Sync the directory of the file and those above it, without which it is not found."""
        if self._is_name_synced:
            return
        if self._beside is not None:
            with suppress(FileNotFoundError), opened(self._disk, self._beside, os.O_RDWR) as file:
                self._disk.sync(file)
        known = set() if synced_directories is None else synced_directories
        *near, part = self.path.parents[:2]
        far = () if part in known else self.path.parents[2:4]
        for directory in (*near, part, *far):
            self._disk.sync_directory(directory)
        known.add(part)
        self._is_name_synced = True

    def _mark(self, file: OpenFile, synced: int) -> None:
        """Record up to where the file is synced; where it is locked, the next write will."""
        with suppress(StoreError):
            if self.try_exclusive():
                try:
                    if file is self._file:  # it was not replaced while it was synced
                        self.index.synced = max(self.index.synced, synced)
                        self.commit([MARK])
                finally:
                    self.end_try()

    def _open(self, *, create: bool) -> None:
        self._use(self._open_file(create=create))

    def _awake(self) -> OpenFile:
        """The open file, opened again if it rests."""
        if self._is_resting:
            with self._mutex:
                self._wake()
        return self._opened()

    def _wake(self) -> None:
        """Open a resting file again; the index stays if it is still the one of this file."""
        if not self._is_resting:
            return
        file = self._open_file(create=False)
        try:
            is_known = self.index.end and self._prove(file, self.index.end) == self._proof
        except BaseException:
            file.close()
            raise
        self._file, self._is_resting = file, False
        if not is_known:
            self._is_tidy = False
            self._saved = 0
            self.index.clear()

    def _prove(self, file: OpenFile, end: int) -> Proof:
        """What no other file has that was ever at this path: inode, first and last indexed bytes.

        The first line tells one compaction from the next, even where they get the same inode.
        """
        read = partial(self._disk.read, file.descriptor, _PROOF)
        return file.inode, read(0), read(max(0, end - _PROOF))

    def _save_index(self, file: OpenFile) -> None:
        data = self.index.save(self._prove(file, self.index.end))
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
        with opened(self._disk, self.path.with_suffix(SAVED_INDEX), flags) as saved:
            write_at(self._disk, saved, data, 0)
        self._saved = self.index.end

    def _load_index(self, file: OpenFile, size: int) -> None:
        """Begin with the index that was saved, if it is one of this file."""
        try:
            data = read_whole(self._disk, self.path.with_suffix(SAVED_INDEX))
        except OSError:
            return
        saved = SavedIndex.decode(data)
        if saved is None or saved.end > size or saved.proof != self._prove(file, saved.end):
            return
        header = header_data(self._disk.read(file.descriptor, _HEADER, 0))
        if header is not None:
            self._check_header(header)
            self._saved = saved.end if self.index.load(saved) else 0

    def _open_file(self, *, create: bool) -> OpenFile:
        try:
            return OpenFile(self._disk, self.path, create=create)
        except FileNotFoundError as error:
            raise JournalDeleted(f"{self.path}: there is no such journal") from error

    def _use(self, file: OpenFile) -> None:
        self.close()
        self._file = file
        self._is_tidy = False
        self._saved = 0
        self.index.clear()
        self._refresh()

    def _opened(self) -> OpenFile:
        if self._file is None:
            raise StoreError(f"{self.path}: the journal was closed; open it again")
        return self._file

    def _refresh(self) -> None:
        """Catch up with what other processes wrote, or open the file that replaced this one."""
        try:
            self._wake()
            file = self._opened()
            status = self._disk.status(file.path)
            if status.st_ino != file.inode:
                self._open(create=False)
            elif status.st_size != self.index.end:
                self._catch_up(file, status.st_size, is_locked=False)
        except OSError as error:
            raise self.failure(error) from error

    def _lock(self, *, wait: bool) -> bool:
        """Lock the file that has the journal's path now, and catch up with it."""
        if self._depth:
            self._depth += 1
            return True
        try:
            self._wake()
            while True:
                file = self._opened()
                if not file.is_writable:
                    file = self._reopen_if_writable()
                if wait:
                    lock_file(self._disk, file.descriptor, self.path)
                elif not self._disk.lock(file.descriptor):
                    return False
                if self._is_current(file):
                    self._depth = 1
                    return True
                self._open(create=False)
        except OSError as error:
            raise self.failure(error) from error

    def _is_current(self, file: OpenFile) -> bool:
        """Catch up with a locked file; unlocks it and returns False if it was replaced."""
        is_current = False
        try:
            status = self._disk.status(file.path)
            if status.st_ino == file.inode:
                if not self._is_tidy and file.is_writable:
                    if status.st_size:  # else there was nothing to compact
                        remove_file(self._disk, self.path.with_suffix(".tmp"))
                    self._is_tidy = True
                if status.st_size != self.index.end:
                    self._catch_up(file, status.st_size, is_locked=True)
                is_current = True
        finally:
            if not is_current:
                self._disk.unlock(file.descriptor)
        return is_current

    def _reopen_if_writable(self) -> OpenFile:
        file = self._open_file(create=False)
        if file.is_writable:
            self._use(file)
        else:
            file.close()
        return self._opened()

    def _unlock(self) -> None:
        self._depth -= 1
        if self._depth or self._file is None:
            return
        try:
            self._disk.unlock(self._file.descriptor)
        except OSError:
            self.close()  # that releases the lock, too
            try:
                self._open(create=False)
            except OSError as error:
                raise store_error(error, self.path) from error

    def _catch_up(self, file: OpenFile, size: int, *, is_locked: bool) -> None:
        """Index what lies behind the index's end; a torn tail is cut if the file is locked."""
        if size < self.index.end:
            self.index.clear()
        if not self.index.end and size >= self.settings.unsaved:
            self._load_index(file, size)
        is_bad = self._read(file, size)
        if self.index.end == size:
            return
        if is_locked:
            self._cut_torn_tail(file, size)
        elif is_bad:
            # A writer may just have undone a failed write: look again while none can write.
            with self.exclusive():
                pass

    def _read(self, file: OpenFile, size: int) -> bool:
        """Index the transactions up to `size`; returns whether there is something else."""
        index, chunk = self.index, _CHUNK
        while True:
            start = index.end
            wanted = min(chunk, size - start)
            buffer = self._disk.read(file.descriptor, wanted, start)
            for transaction in unpack(buffer, start):
                if transaction is None or not index.is_next(transaction):
                    return True
                first = transaction.entries[0]
                if first.verb == "h":
                    self._check_header(first.slot.cut(buffer, start))
                index.apply(transaction)
            if start + wanted == size:
                return False
            if index.end == start:
                chunk *= 2

    def _check_header(self, data: bytes) -> None:
        header = Header.read(data, self.path, self.settings.format)
        if header.version != self.settings.format.version:
            raise OldVersion(self.path, header.version)
        header.must_belong_to(self._owner, self.path)
        if self._born and self._born != header.born:
            raise JournalDeleted(f"{self.path}: the session was deleted and created again")
        self._born, self._owner = header.born, header.owner
        self.index.reserve(header.next_numbers)

    def _cut_torn_tail(self, file: OpenFile, size: int) -> None:
        """Cut a torn tail, after reading again from the beginning: a writer may have undone it.

        A read-only file is left as it is.
        """
        self.index.clear()
        self._read(file, size)
        end = self.index.end
        rest = self._disk.read(file.descriptor, size - end, end)
        if not rest:
            return
        must_be_torn(self.path, rest, end, self.index.sequence + 1)
        if file.is_writable:
            torn = self.path.with_suffix(".torn")
            append(self._disk, torn, rest)
            text = f"a torn tail of {len(rest)} bytes was cut and saved in {torn.name}"
            warn(f"{self.path}: {text}", TornTail)
            self._disk.truncate(file.descriptor, end)


def must_be_torn(path: Path, rest: bytes, end: int, expected: int) -> None:
    """Raise `DamagedStore` unless the bytes behind `end` can be a torn tail."""
    if not can_be_torn(rest, end, expected):
        raise damaged(path, end)


def damaged(path: Path, at: int) -> DamagedStore:
    """The error for a journal that was changed from outside."""
    return DamagedStore(
        f"{path}: damaged at byte {at}; restore the file from a backup, or recover what can "
        "be read with `teamgraph store repair --salvage`"
    )


def can_be_torn(rest: bytes, end: int, expected: int) -> bool:
    """Whether the bytes behind `end` may be an incomplete write, and no damage.

    An intact line among them decides, by what it claims was synced. A power cut may leave intact
    lines behind others that are missing, but none that was written after those were synced. Where
    nothing was ever synced, only the transaction `expected`, which was begun there, may be torn.
    """
    return all(
        sequence == expected if synced is None else synced <= end
        for sequence, synced in sync_claims(rest)
    )
