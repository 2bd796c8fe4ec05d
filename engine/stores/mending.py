"""Mending the files of a store: what a killed process left, and on demand what was damaged.

Nothing that was acknowledged is lost by `mend`. `Salvage` keeps every line that can be read of a
journal that is damaged in the middle, and the damaged file beside it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from ..errors import DamagedStore
from ..session import SessionKey
from . import files
from .catalogue import Catalogue
from .disk import DISK, failure
from .header import FORMAT, Header
from .index import Index
from .journal_file import JournalFile
from .line import Operation, Transaction, pack, unpack
from .medium import Medium
from .reading import Gone
from .survey import Finding, bytes_of
from .torn import TornTail


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
