"""`teamgraph store verify` and `repair`: find damage and leftovers in a store, and mend them.

`Survey` reads without locks and writes nothing; a file that is being written meanwhile is read
again. `repair_finding` mends what killed processes left and loses no record. `Salvage` rewrites a
journal that is damaged in the middle with every document that can be read, and keeps the damaged
file.
"""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ...errors import DamagedStore, InputError, UnknownVersion
from ...records import SessionKey
from ..attachments import hash_in, journal_of, read_attachment
from ..journal.compaction import ATTACHED
from ..journal.disk import (
    DISK,
    Disk,
    contains,
    is_stale,
    lock_file,
    opened,
    read_whole,
    remove_file,
    store_error,
    write_at,
)
from ..journal.journal_file import (
    SAVED_INDEX,
    JournalDeleted,
    JournalFile,
    JournalIndex,
    JournalSettings,
    TornTail,
    can_be_torn,
)
from ..journal.line import (
    FORMAT,
    RECOVER,
    Entry,
    Header,
    Operation,
    Slot,
    Transaction,
    pack,
    parse_document,
    sync_claims,
    unpack,
)
from .directory import StoreLayout
from .session_file import CANCEL_MARK, SessionIndex, unfit

FindingCode: TypeAlias = Literal["damaged", "version", "misplaced", "torn", "stale", "aside"]
_WHILE_USED = (".tmp", ".run", CANCEL_MARK, ".import")
_BESIDE = (".torn", ".damaged", ".lock", ".seized")
_WRITER = re.compile(r"\.(\d+)-\d+\.(?:tmp|import)\Z")


class Finding(Struct, frozen=True):
    """A problem in a store, or what an earlier repair set aside.

    `damaged`, `version` and `misplaced` journals are not opened; a `torn` tail and a `stale` file
    are left by a killed process and harmless; `aside` is what an earlier repair set aside. `line`
    counts from 1 and is None where there is none.
    """

    code: FindingCode
    file: Path
    message: str
    line: int | None = None

    @property
    def severity(self) -> Literal["error", "warning", "note"]:
        """An error prevents a session from being opened, a warning is mended by `repair`."""
        if self.code == "aside":
            return "note"
        return "warning" if self.code in ("torn", "stale") else "error"


class Attached(NamedTuple):
    """The file of an attachment, its size in bytes, and when it was last attached (Unix time)."""

    file: Path
    size: int
    used: float


class JournalReport(Struct, frozen=True):
    """Size, counts and findings of one session's file; `live` are the bytes that still count.

    `key` is None where the header cannot be read.
    """

    path: Path
    key: SessionKey | None
    size: int
    live: int
    runs: int
    turns: int
    findings: tuple[Finding, ...]


class Damage(NamedTuple):
    """The end of a journal's intact transactions, and the first line that is not one of them."""

    end: int
    line: int
    is_torn: bool


class Survey:
    """Reads all files below a store's directory; raises `InputError` where there is no store."""

    def __init__(self, root: Path, disk: Disk = DISK) -> None:
        self.layout = StoreLayout(root, JournalSettings(disk))
        self._disk = disk
        if not self.layout.exists():
            raise InputError(f"{root}: there is no store; name another one with --store")
        self.journals = sorted(self.layout.all_journals())

    def read(self, path: Path) -> JournalReport:
        """Read one journal; a file that was deleted meanwhile is an empty journal."""
        data = _read_if_exists(self._disk, path)
        while find_damage(data) and len(again := _read_if_exists(self._disk, path)) != len(data):
            data = again  # it was being written
        return self._report(path, data)

    def leftovers(self) -> Iterator[Finding]:
        """Files beside the journals that a killed process or an earlier repair has left."""
        for path in sorted(self.layout.root.rglob("*")):
            journal = path.with_suffix(".jsonl")
            if path.suffix in (".tmp", ".run", ".cancel", ".import") and _is_abandoned(
                self._disk, path
            ):
                yield Finding("stale", path, "a process that was killed has left it")
            elif path.suffix in (".torn", ".damaged") and journal.exists():
                yield Finding(
                    "aside", path, "an earlier repair has set it aside; delete it when you like"
                )
            elif path.suffix in (*_BESIDE, SAVED_INDEX) and not journal.exists():
                yield Finding("stale", path, "its session was deleted")
            elif path.suffix == ATTACHED:
                yield from self._attachment(path)

    def attachments(self) -> list[Attached]:
        """All attachments, the one that was last used longest ago first."""
        found: list[Attached] = []
        for path in self.layout.root.rglob(f"*{ATTACHED}"):
            with suppress(FileNotFoundError):  # deleted meanwhile
                status = self._disk.status(path)
                found.append(Attached(path, status.st_size, status.st_mtime))
        return sorted(found, key=lambda each: each.used)

    def _attachment(self, path: Path) -> Iterator[Finding]:
        """What is wrong with an attachment; one without a turn may be that of a run to begin."""
        journal, digest = journal_of(path), hash_in(path).encode()
        try:
            with suppress(FileNotFoundError):  # deleted meanwhile
                read_attachment(self._disk, path)
                is_named = journal.exists() and contains(self._disk, journal, digest)
                if not is_named and is_stale(self._disk, path):
                    yield Finding("stale", path, "no run has this attachment any more")
        except DamagedStore:
            text = "the attachment is damaged; restore the file from a backup, or delete it"
            yield Finding("damaged", path, text)

    def prompts(self) -> Iterator[Finding]:
        """The sources of templates that cannot be read."""
        for path in sorted((self.layout.root / "prompts").glob("*.json")):
            try:
                document = parse_document(_read_if_exists(self._disk, path))
            except DamagedStore:
                document = {}
            if not isinstance(document.get("sources"), dict):
                yield Finding("damaged", path, "the sources of a prompt cannot be read", 1)

    def _report(self, path: Path, data: bytes) -> JournalReport:
        sessions = SessionIndex()
        index = JournalIndex(sessions)
        key, findings = None, list[Finding]()
        try:
            for transaction in _intact_transactions(data):
                if transaction.entries[0].verb == "h":
                    header = Header.read(transaction.entries[0].slot.cut(data, 0), path, FORMAT)
                    key = _key_of(header.owner)
                index.apply(transaction)
        except (UnknownVersion, DamagedStore) as error:
            code: FindingCode = "version" if isinstance(error, UnknownVersion) else "damaged"
            message = str(error).removeprefix(f"{path}: ")
            findings.append(Finding(code, path, message, 1))
        else:
            findings += _damage_findings(path, data) or _type_findings(path, index, data)
        if key is not None and self.layout.journal(key) != path:
            owner = f"session {key.session_id!r} of user {key.user_id!r}"
            message = f"it is {owner}; move it back to where it was"
            findings.append(Finding("misplaced", path, message))
        runs, turns = len(sessions.runs()), len(sessions.numbers)
        return JournalReport(path, key, len(data), index.live, runs, turns, tuple(findings))


class Loss(Struct, frozen=True):
    """What salvaging a journal loses.

    Unreadable `lines`, `documents` whose types do not fit, and `records` of runs that are lost.
    """

    lines: int
    bytes: int
    records: int
    documents: int = 0


class Salvage(Struct, frozen=True):
    """What can be read of a journal that is damaged in the middle."""

    path: Path
    owner: Mapping[str, str | None]
    operations: tuple[Operation, ...]
    loss: Loss

    @classmethod
    def read(cls, path: Path) -> Salvage:
        """Read what can be read; raises `DamagedStore` if the header is lost."""
        return cls._of(path, _read_if_exists(DISK, path))

    @property
    def key(self) -> SessionKey:
        """The session's key."""
        return _key_of(self.owner)

    @property
    def damaged_file(self) -> Path:
        """Where the damaged file is saved."""
        return self.path.with_suffix(".damaged")

    def write(self) -> Salvage:
        """Lock the journal, read it again, and replace it by what can be read of it now.

        Returns what was written: with the turns that other processes have stored meanwhile.
        """
        temporary, disk = self.path.with_suffix(".tmp"), DISK
        try:
            with opened(disk, self.path, os.O_RDWR) as file:
                lock_file(disk, file, self.path)
                current = self.read(self.path)
                moment = disk.status(self.path).st_mtime_ns
                with opened(disk, temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as new:
                    write_at(disk, new, _encoded(current.operations), 0)
                    disk.sync(new)
                disk.touch(temporary, moment)
                remove_file(disk, self.path.with_suffix(SAVED_INDEX))
                remove_file(disk, self.damaged_file)
                os.link(self.path, self.damaged_file)
                disk.rename(temporary, self.path)
                disk.sync_directory(self.path.parent)
        except OSError as error:
            raise store_error(error, self.path) from error
        return current

    @classmethod
    def _of(cls, path: Path, data: bytes) -> Salvage:
        header, sessions = None, SessionIndex()
        index = JournalIndex(sessions)
        lost_lines = lost_bytes = lost_keys = 0
        for piece in _transactions_and_lines(data):
            if isinstance(piece, bytes):
                lost_lines, lost_bytes = lost_lines + 1, lost_bytes + len(piece)
                continue
            first = piece.entries[0]
            if first.verb == "h":
                header = Header.read(first.slot.cut(data, 0), path, FORMAT)
                index.reserve(header.next_numbers)
            entries = [entry for entry in piece.entries if _has_key(entry)]
            lost_keys += len(piece.entries) - len(entries)
            index.apply(replace(piece, entries=entries))
        if header is None:
            raise DamagedStore(
                f"{path}: the line that names its session was lost; restore the file from a "
                "backup, or delete it"
            )
        # A number that a lost line may have given to words or a text must not be given to others.
        words, texts = index.next_number("words"), index.next_number("texts")
        index.reserve({"words": words + lost_lines, "texts": texts + lost_lines})
        misfits = {(table, document) for table, document, _, _ in _unfit_documents(index, data)}
        orphans = {
            ("nodes", stored.document)
            for run, records in sessions.all_records().items()
            if sessions.run_id(str(run)) is None or ("runs", str(run)) in misfits
            for stored in records.values()
        }
        lost = misfits | orphans
        operations = [replace(header, next_numbers=index.next_numbers()).operation()]
        for table, slots in index.tables.items():
            for document, slot in slots.items():
                if (table, document) not in lost:
                    text = slot.cut(data, 0)
                    operations.append(Operation("p", table, document, slot.key, text))
        lost_documents = len(misfits) + lost_keys
        loss = Loss(lost_lines, lost_bytes, len(orphans - misfits), lost_documents)
        return cls(path, header.owner, tuple(operations), loss)


def repair_finding(finding: Finding, key: SessionKey | None, disk: Disk = DISK) -> bool:
    """Cut a torn tail or delete a stale file; False for other findings, which `repair` leaves."""
    if finding.code == "torn":
        owner = {} if key is None else key._asdict()
        with suppress(JournalDeleted), warnings.catch_warnings():
            warnings.simplefilter("ignore", TornTail)
            journal = JournalFile(finding.file, JournalSettings(disk), owner=owner, create=False)
            try:
                with journal.exclusive():  # locking a journal cuts its torn tail
                    if not journal.is_writable:
                        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            except OSError as error:
                raise store_error(error, finding.file) from error
            finally:
                journal.close()
        return True
    if finding.code == "stale":
        try:
            finding.file.unlink(missing_ok=True)
        except OSError as error:
            raise store_error(error, finding.file) from error
        return True
    return False


def find_damage(data: bytes) -> Damage | None:
    """Where the intact transactions of a journal end, None if at its end."""
    end, expected = 0, 1
    for transaction in _intact_transactions(data):
        end, expected = transaction.end, transaction.sequence + 1
    if end == len(data):
        return None
    rest = data[end:]
    is_torn = can_be_torn(rest, end, expected)
    return Damage(end, data.count(b"\n", 0, end) + _intact_lines(rest) + 1, is_torn)


def _intact_transactions(data: bytes) -> Iterator[Transaction]:
    """The consecutive transactions from the beginning of a journal."""
    index = JournalIndex()
    for transaction in unpack(data, 0):
        if transaction is None or not index.is_next(transaction):
            return
        index.apply(transaction)
        yield transaction


def _intact_lines(rest: bytes) -> int:
    """The number of intact lines before the first that is not; 0 if all of them are intact."""
    bad = (
        number
        for number, line in enumerate(rest.splitlines(keepends=True))
        if not any(sync_claims(line))
    )
    return next(bad, 0)


def _transactions_and_lines(data: bytes) -> Iterator[Transaction | bytes]:
    """All intact transactions of a file, and the lines between them that are in none."""
    position = 0
    while position < len(data):
        start = position
        for transaction in unpack(data[start:], start):
            if transaction is None:
                break
            yield transaction
            position = transaction.end
        if position < len(data):
            end = data.find(b"\n", position) + 1 or len(data)
            yield data[position:end]
            position = end


def _unfit_documents(index: JournalIndex, data: bytes) -> Iterator[tuple[str, str, Slot, str]]:
    """Table, number and place of the documents that do not fit their types, with the reason.

    Documents without a key are those of a user of TinyDB, and may be anything.
    """
    for table, slots in index.tables.items():
        for document, slot in slots.items():
            if (
                slot.key != b"null"
                and (reason := unfit(table, slot.key, slot.cut(data, 0))) is not None
            ):
                yield table, document, slot, reason


def _has_key(entry: Entry) -> bool:
    """Whether the key of a document has the types of its table."""
    if entry.verb != "p":
        return True
    try:
        SessionIndex().put(entry.table, entry.document, entry.slot)
    except DamagedStore:
        return False
    return True


def _type_findings(path: Path, index: JournalIndex, data: bytes) -> list[Finding]:
    """One finding for all documents that do not fit their types, at the first of them."""
    found = sorted(
        (data.count(b"\n", 0, slot.offset) + 1, reason)
        for _, _, slot, reason in _unfit_documents(index, data)
    )
    if not found:
        return []
    line, reason = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return [Finding("damaged", path, f"{reason}{more}; {RECOVER}", line)]


def _damage_findings(path: Path, data: bytes) -> list[Finding]:
    damage = find_damage(data)
    if damage is None:
        return []
    left = len(data) - damage.end
    if damage.is_torn:
        message = f"a write of {left} bytes was cut short; it never counted"
        return [Finding("torn", path, message, damage.line)]
    message = "it was changed from outside or cut in the middle; restore it from a backup, or "
    message += "recover what can be read with `teamgraph store repair --salvage`"
    return [Finding("damaged", path, message, damage.line)]


def _encoded(operations: tuple[Operation, ...]) -> bytes:
    """A new journal, each document a transaction of its own."""
    pieces: list[bytes] = []
    for sequence, operation in enumerate(operations, start=1):
        pieces.append(pack([operation], sequence, 0)[0])
    return b"".join(pieces)


def _key_of(owner: Mapping[str, str | None]) -> SessionKey:
    return SessionKey(owner.get("user_id"), owner.get("session_id") or "")


def _read_if_exists(disk: Disk, path: Path) -> bytes:
    try:
        return read_whole(disk, path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise store_error(error, path) from error


def _is_abandoned(disk: Disk, path: Path) -> bool:
    """Whether nobody writes a temporary file any more: it is not locked, its process is gone."""
    writer = _WRITER.search(path.name)
    if writer is not None and _is_alive(int(writer[1])):
        return False
    try:
        with opened(disk, path, os.O_RDWR) as file:
            return disk.lock(file)
    except OSError:  # deleted by now, or not one of ours
        return False


def _is_alive(process: int) -> bool:
    """Whether a process of this machine still runs."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)  # perhaps it is another user's
    return True
