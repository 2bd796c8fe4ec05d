"""Mending the files of a store: what a killed process left, and on demand what was damaged.

Nothing that was acknowledged is lost by `mend`. `Salvage` keeps every line that can be read of a
journal that is damaged in the middle, and the damaged file beside it.

What the files of a store hold, read without a lock: damage, leftovers, and how much there is.

Nothing here writes. A file that somebody writes meanwhile is looked at again.
"""

from __future__ import annotations

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
from ..compact_json import parse_document
from ..journal import files
from ..journal.disk import DISK, Disk, failure
from ..journal.header import FORMAT, Header
from ..journal.index import Index
from ..journal.journal_file import JournalFile
from ..journal.line import Operation, Transaction, claims, pack, unpack
from ..journal.medium import Medium
from ..journal.reading import Gone
from ..journal.torn import TornTail, can_be_torn
from .catalogue import Catalogue
from .layout import Layout

Code: TypeAlias = Literal["damaged", "version", "misplaced", "torn", "stale", "aside"]
_WRITER = re.compile(r"\.(\d+)-\d+\.tmp\Z")


class Finding(Struct, frozen=True):
    """Something in a store that is not as it should be.

    `damaged`, `version` and `misplaced` journals are not opened; a `torn` tail and a `stale` file
    are left by a killed process and harmless; `aside` is what an earlier repair kept. `line` counts
    from 1, None where there is none.
    """

    code: Code
    file: Path
    message: str
    line: int | None = None

    @property
    def severity(self) -> Literal["error", "warning", "note"]:
        """An error keeps a session from being opened, a warning is mended by `repair`."""
        if self.code == "aside":
            return "note"
        return "warning" if self.code in ("torn", "stale") else "error"


class Journal(Struct, frozen=True):
    """What one session's file holds. `live` are the bytes that still count; `key` may be lost."""

    path: Path
    key: SessionKey | None
    size: int
    live: int
    runs: int
    turns: int
    findings: tuple[Finding, ...]


class Damage(NamedTuple):
    """Where a journal's whole transactions end, and the first line that is none of them."""

    end: int
    line: int
    is_torn: bool


class Survey:
    """All files below a store's directory; raises `InputError` where there is no store."""

    def __init__(self, root: Path, disk: Disk = DISK) -> None:
        self.layout = Layout(root, Medium(disk))
        self._disk = disk
        if not self.layout.check():
            raise InputError(f"{root}: there is no store; name another one with --store")
        self.journals = sorted(self.layout.all_journals())

    def read(self, path: Path) -> Journal:
        """Read one journal; it may be gone by now, which is an empty one."""
        data = bytes_of(self._disk, path)
        while find_damage(data) and len(again := bytes_of(self._disk, path)) != len(data):
            data = again  # somebody was writing
        return _journal(self.layout, path, data)

    def leftovers(self) -> Iterator[Finding]:
        """Files beside the journals that a killed process or an earlier repair has left."""
        for path in sorted(self.layout.root.rglob("*")):
            journal = path.with_suffix(".jsonl")
            if path.suffix == ".tmp" and _is_let_go(self._disk, path):
                yield Finding("stale", path, "a write that was cut short has left it")
            elif path.suffix in (".torn", ".damaged") and journal.exists():
                yield Finding(
                    "aside", path, "what an earlier repair has cut; delete it when you like"
                )
            elif path.suffix in (".torn", ".damaged", ".lock", ".seized") and not journal.exists():
                yield Finding("stale", path, "its session is gone")

    def prompts(self) -> Iterator[Finding]:
        """The sources of templates that cannot be read."""
        for path in sorted((self.layout.root / "prompts").glob("*.json")):
            try:
                document = parse_document(bytes_of(self._disk, path))
            except DamagedStore:
                document = {}
            if not isinstance(document.get("sources"), dict):
                yield Finding("damaged", path, "the sources of a prompt cannot be read", 1)


def bytes_of(disk: Disk, path: Path) -> bytes:
    """A file in one piece, nothing if it is gone by now."""
    try:
        return files.read_whole(disk, path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise failure(error, path) from error


def find_damage(data: bytes) -> Damage | None:
    """The first place in a journal that is no whole transaction, None if there is none."""
    transactions = whole(data)
    end, expected = 0, 1
    for transaction in transactions:
        end, expected = transaction.end, transaction.sequence + 1
    if end == len(data):
        return None
    rest = data[end:]
    is_torn = can_be_torn(rest, end, expected)
    return Damage(end, data.count(b"\n", 0, end) + _good_lines(rest) + 1, is_torn)


def whole(data: bytes) -> Iterator[Transaction]:
    """The transactions from the beginning of a journal as far as they follow each other."""
    index = Index()
    for transaction in unpack(data, 0):
        if transaction is None or not index.follows(transaction):
            return
        index.apply(transaction)
        yield transaction


def _journal(layout: Layout, path: Path, data: bytes) -> Journal:
    catalogue = Catalogue()
    index = Index(catalogue)
    key, findings = None, list[Finding]()
    try:
        for transaction in whole(data):
            if transaction.entries[0].verb == "h":
                header = Header.read(transaction.entries[0].slot.cut(data, 0), path, FORMAT)
                key = SessionKey(header.owner.get("user_id"), header.owner.get("session_id") or "")
            index.apply(transaction)
    except (UnknownVersion, DamagedStore) as error:
        code: Code = "version" if isinstance(error, UnknownVersion) else "damaged"
        message = str(error).removeprefix(f"{path}: ")
        findings.append(Finding(code, path, message, 1))
    else:
        findings += _damage(path, data)
    if key is not None and layout.journal(key) != path:
        whose = f"session {key.session_id!r} of user {key.user_id!r}"
        findings.append(Finding("misplaced", path, f"it is {whose}; put it back to where it was"))
    runs, turns = len(catalogue.runs), len(catalogue.numbers)
    return Journal(path, key, len(data), index.live, runs, turns, tuple(findings))


def _damage(path: Path, data: bytes) -> Iterator[Finding]:
    damage = find_damage(data)
    if damage is None:
        return
    left = len(data) - damage.end
    if damage.is_torn:
        message = f"a write of {left} bytes was cut short; it never counted"
        yield Finding("torn", path, message, damage.line)
    else:
        message = "it was changed from outside or cut in the middle; restore it from a backup"
        yield Finding("damaged", path, message, damage.line)


def _good_lines(rest: bytes) -> int:
    """How many lines are whole before the first that is not; 0 if all of them are."""
    bad = (
        number
        for number, line in enumerate(rest.splitlines(keepends=True))
        if not any(claims(line))
    )
    return next(bad, 0)


def _is_let_go(disk: Disk, path: Path) -> bool:
    """Whether nobody writes a temporary file any more: its lock is free, and its process gone."""
    writer = _WRITER.search(path.name)
    if writer is not None and _is_alive(int(writer[1])):
        return False
    try:
        with files.opened(disk, path, os.O_RDWR) as file:
            return disk.lock(file)
    except OSError:  # gone by now, or no file of ours
        return False


def _is_alive(process: int) -> bool:
    """Whether a process of this machine still runs."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)  # perhaps it is somebody else's
    return True


class Loss(Struct, frozen=True):
    """What salvaging a journal loses: lines that cannot be read, and records that need them."""

    lines: int
    bytes: int
    records: int


class Salvage(Struct, frozen=True):
    """A journal that is damaged in the middle, and what of it can be kept."""

    path: Path
    owner: Mapping[str, str | None]
    operations: tuple[Operation, ...]
    loss: Loss

    @classmethod
    def of(cls, path: Path) -> Salvage:
        """Look at what can be kept; raises `DamagedStore` if nobody can tell whose it was."""
        data = bytes_of(DISK, path)
        header, catalogue = None, Catalogue()
        index = Index(catalogue)
        lost_lines = lost_bytes = 0
        for piece in _pieces(data):
            if isinstance(piece, bytes):
                lost_lines, lost_bytes = lost_lines + 1, lost_bytes + len(piece)
                continue
            first = piece.entries[0]
            if first.verb == "h":
                header = Header.read(first.slot.cut(data, 0), path, FORMAT)
                index.reserve(header.next_numbers)
            index.apply(piece)
        if header is None:
            raise DamagedStore(
                f"{path}: the line that says whose session it is was lost; restore the file from a "
                "backup, or delete it"
            )
        orphans = {
            place.document
            for run, records in catalogue.records.items()
            if str(run) not in catalogue.run_ids
            for place in records.values()
        }
        operations = [replace(header, next_numbers=index.next_numbers()).operation()]
        for table, slots in index.tables.items():
            for document, slot in slots.items():
                if table != "nodes" or document not in orphans:
                    text = slot.cut(data, 0)
                    operations.append(Operation("p", table, document, slot.key, text))
        return cls(
            path, header.owner, tuple(operations), Loss(lost_lines, lost_bytes, len(orphans))
        )

    @property
    def key(self) -> SessionKey:
        """Whose session it is."""
        return SessionKey(self.owner.get("user_id"), self.owner.get("session_id") or "")

    def keep(self) -> Path:
        """Put what can be kept in the place of the damaged file, and tell where that is now."""
        aside, temporary = self.path.with_suffix(".damaged"), self.path.with_suffix(".tmp")
        disk = DISK
        try:
            with files.opened(disk, self.path, os.O_RDWR) as file:
                files.lock(disk, file, self.path)
                moment = disk.status(self.path).st_mtime_ns
                with files.opened(disk, temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as new:
                    files.write_at(disk, new, _packed(self.operations), 0)
                    disk.sync(new)
                disk.touch(temporary, moment)
                files.remove(disk, aside)
                os.link(self.path, aside)
                disk.rename(temporary, self.path)
                disk.sync_directory(self.path.parent)
        except OSError as error:
            raise failure(error, self.path) from error
        return aside


def mend(finding: Finding, key: SessionKey | None) -> bool:
    """Mend what a killed process left; False if there is nothing to mend without losing records.

    A torn tail is cut and kept aside, a stale file is deleted.
    """
    if finding.code == "torn":
        owner = {} if key is None else {"user_id": key.user_id, "session_id": key.session_id}
        with suppress(Gone), warnings.catch_warnings():
            warnings.simplefilter("ignore", TornTail)
            journal = JournalFile(finding.file, Medium(), owner=owner, create=False)
            try:
                with journal.exclusive():
                    pass  # whoever takes a journal cuts its torn tail
            finally:
                journal.close()
        return True
    if finding.code == "stale":
        try:
            finding.file.unlink(missing_ok=True)
        except OSError as error:
            raise failure(error, finding.file) from error
        return True
    return False


def _packed(operations: tuple[Operation, ...]) -> bytes:
    """The lines of a new journal, each document a transaction of its own."""
    pieces: list[bytes] = []
    for sequence, operation in enumerate(operations, start=1):
        pieces.append(pack([operation], sequence, 0)[0])
    return b"".join(pieces)


def _pieces(data: bytes) -> Iterator[Transaction | bytes]:
    """The whole transactions of a file, and the lines between them that are part of none."""
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
