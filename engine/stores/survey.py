"""What the files of a store hold, read without a lock: damage, leftovers, and how much there is.

Nothing here writes. A file that somebody writes meanwhile is looked at again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from ..errors import DamagedStore, InputError, UnknownVersion
from ..session import SessionKey
from . import files
from .catalogue import Catalogue
from .compact_json import parse_document
from .disk import DISK, Disk, failure
from .header import FORMAT, Header
from .index import Index
from .layout import Layout
from .line import Transaction, claims, unpack
from .medium import Medium
from .torn import can_be_torn

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
