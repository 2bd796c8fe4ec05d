"""The journal as a TinyDB storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tinydb.storages import Storage

from ..journal.journal_file import JournalFile
from ..journal.line import Operation
from ..journal.medium import Medium
from .documents import Documents


class JournalStorage(Storage):
    """Lets TinyDB read and write a journal.

    TinyDB hands over whole tables; what has not changed in them is not written again.
    """

    def __init__(
        self,
        path: Path,
        medium: Medium,
        *,
        owner: Mapping[str, str | None] | None = None,
        create: bool = True,
    ) -> None:
        self.file = JournalFile(path, medium, owner=owner or {}, create=create)

    def read(self) -> dict[str, dict[str, Any]] | None:
        """All tables; their documents are read when they are asked for."""
        with self.file.shared():
            tables = {
                name: Documents(self.file, slots) for name, slots in self.file.index.tables.items()
            }
            return cast("dict[str, dict[str, Any]]", tables) or None

    def write(self, data: Mapping[str, Mapping[Any, Any]]) -> None:
        """Make the journal hold these tables and no others."""
        with self.file.exclusive():
            tables = self.file.index.tables
            operations = [Operation("x", name) for name in tables if name not in data]
            for name, wanted in data.items():
                if isinstance(wanted, Documents):
                    continue
                documents = Documents(self.file, tables.get(name, {}))
                differences = documents.differences(name, wanted)
                operations += differences or ([] if name in tables else [Operation("e", name)])
            if operations:
                self.commit(operations)

    def commit(self, operations: Sequence[Operation]) -> None:
        """Write a transaction, all or nothing, while the journal is held `exclusive`."""
        self.file.commit(operations)
        if self.file.medium.sync == "always":
            self.file.flush()

    def close(self) -> None:
        """Let go of the file. Twice does no harm."""
        self.file.close()
