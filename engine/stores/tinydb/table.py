"""TinyDB over a journal: each write appends only what it changes, queries work as documented."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, cast

from tinydb import TinyDB
from tinydb.queries import QueryLike
from tinydb.storages import Storage
from tinydb.table import Document, Table

from ..journal.journal_file import JournalFile, JournalSettings
from ..journal.line import Operation, Slot, dump_json, parse_document
from .session_file import SessionIndex, StoredShared, unpacked


class JournalTable(Table):
    """A table that writes single documents to the journal, one transaction for each call."""

    _seen = -1

    @property
    def journal(self) -> JournalFile:
        """The file of the table."""
        return cast("JournalStorage", self.storage).file

    def insert(self, document: Mapping[Any, Any]) -> int:
        """Insert a document and return its number."""
        return self.insert_multiple([document])[0]

    def insert_multiple(self, documents: Iterable[Mapping[Any, Any]]) -> list[int]:
        """Insert documents and return their numbers."""
        with self.journal.exclusive():
            operations: list[Operation] = []
            stored = self.journal.index.tables.get(self.name, {})
            new: set[int] = set()
            free = self.journal.index.next_number(self.name)
            for document in documents:
                if not isinstance(document, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
                    raise ValueError("Document is not a Mapping")
                number = document.doc_id if isinstance(document, self.document_class) else free
                if number in new or str(number) in stored:
                    raise ValueError(f"Document with ID {number} already exists")
                free = max(free, number + 1)
                new.add(number)
                operations.append(_put(self.name, number, dict(document)))
            self._commit(operations)
            return [int(operation.document) for operation in operations]

    def update(
        self,
        fields: Mapping[Any, Any] | Callable[[MutableMapping[Any, Any]], None],
        cond: QueryLike | None = None,
        doc_ids: Iterable[int] | None = None,
    ) -> list[int]:
        """Change documents and return their numbers."""
        with self.journal.exclusive():
            operations: list[Operation] = []
            for number, document in self._selected(cond, doc_ids):
                if callable(fields):
                    fields(document)
                else:
                    document.update(fields)
                key = self.journal.index.tables[self.name][str(number)].key
                operations.append(_put(self.name, number, document, key))
            self._commit(operations)
            return [int(operation.document) for operation in operations]

    def update_multiple(
        self,
        updates: Iterable[
            tuple[Mapping[Any, Any] | Callable[[MutableMapping[Any, Any]], None], QueryLike]
        ],
    ) -> list[int]:
        """Change documents by several conditions and return their numbers."""
        with self.journal.exclusive():
            return super().update_multiple(updates)  # pyright: ignore[reportUnknownMemberType]

    def upsert(self, document: Mapping[Any, Any], cond: QueryLike | None = None) -> list[int]:
        """Change the documents that match, or insert one if none does."""
        with self.journal.exclusive():
            return super().upsert(document, cond)  # pyright: ignore[reportUnknownMemberType]

    def remove(
        self, cond: QueryLike | None = None, doc_ids: Iterable[int] | None = None
    ) -> list[int]:
        """Remove documents and return their numbers."""
        if cond is None and doc_ids is None:
            raise RuntimeError("Use truncate() to remove all documents")
        with self.journal.exclusive():
            numbers = [number for number, _ in self._selected(cond, doc_ids)]
            self._commit([Operation("d", self.name, str(number)) for number in numbers])
            return numbers

    def truncate(self) -> None:
        """Remove all documents."""
        self._commit([Operation("e", self.name)])

    def search(self, cond: QueryLike) -> list[Document]:
        """All documents that match, also those that others wrote since the last call."""
        with self.journal.shared():
            if self._seen != self.journal.index.sequence:
                self.clear_cache()
                self._seen = self.journal.index.sequence
            return super().search(cond)

    def _selected(
        self, cond: QueryLike | None, numbers: Iterable[int] | None
    ) -> list[tuple[int, dict[str, Any]]]:
        documents = TableDocuments(cast("JournalStorage", self.storage), self.name)
        if numbers is not None:
            wanted = dict.fromkeys(numbers)
            return [
                (number, documents[str(number)]) for number in wanted if str(number) in documents
            ]
        return [
            (int(number), document)
            for number, document in documents.items()
            if cond is None or cond(document)
        ]

    def _commit(self, operations: list[Operation]) -> None:
        if operations:
            with self.journal.exclusive():
                cast("JournalStorage", self.storage).commit(operations)
        self.clear_cache()


class JournalStorage(Storage):
    """A journal as a TinyDB storage.

    TinyDB writes whole tables; documents that have not changed are not written again.
    """

    def __init__(
        self,
        path: Path,
        settings: JournalSettings,
        *,
        owner: Mapping[str, str | None] | None = None,
        create: bool = True,
    ) -> None:
        # With the listener of a session a saved index can be used.
        self._index = index = SessionIndex()
        self.file = JournalFile(path, settings, owner=owner or {}, create=create, listener=index)
        self._shared = StoredShared(index, self.file)

    def document(self, table: str, slot: Slot) -> dict[str, Any]:
        """A document; what a session packed for the file is unpacked."""
        document = parse_document(self.file.text(slot))
        return unpacked(table, slot.key, document, self._index, self._shared)

    def read(self) -> dict[str, dict[str, Any]] | None:
        """All tables; their documents are read lazily."""
        with self.file.shared():
            tables = {name: TableDocuments(self, name) for name in self.file.index.tables}
            return cast("dict[str, dict[str, Any]]", tables) or None

    def write(self, data: Mapping[str, Mapping[Any, Any]]) -> None:
        """Make the journal contain these tables and no others."""
        with self.file.exclusive():
            tables = self.file.index.tables
            operations = [Operation("x", name) for name in tables if name not in data]
            for name, wanted in data.items():
                if isinstance(wanted, TableDocuments):
                    continue
                documents = TableDocuments(self, name)
                differences = documents.differences(wanted)
                operations += differences or ([] if name in tables else [Operation("e", name)])
            if operations:
                self.commit(operations)

    def commit(self, operations: Sequence[Operation]) -> None:
        """Append a transaction, all or nothing; the journal must be locked `exclusive`."""
        self.file.commit(operations)
        if self.file.settings.sync == "always":
            self.file.flush()

    def close(self) -> None:
        """Close the file; a second call has no effect."""
        self.file.close()


class JournalDatabase(TinyDB):
    """A TinyDB on a journal; its tables are those of `session_file`."""

    table_class = JournalTable
    default_storage_class = JournalStorage  # type: ignore[assignment]  # TinyDB names its own


class TableDocuments(Mapping[str, dict[str, Any]]):
    """The documents of one table by number (as text), each parsed afresh when it is read.

    Positions are looked up for each document: another process may compact the file meanwhile.
    """

    def __init__(self, storage: JournalStorage, table: str) -> None:
        self._storage = storage
        self._table = table

    def __getitem__(self, document: str) -> dict[str, Any]:
        return self._storage.document(self._table, self._slots()[document])

    def __iter__(self) -> Iterator[str]:
        for document in list(self._slots()):
            if document in self._slots():  # or it was deleted since
                yield document

    def __len__(self) -> int:
        return len(self._slots())

    def __contains__(self, document: object) -> bool:
        return document in self._slots()

    def differences(self, wanted: Mapping[Any, Any]) -> list[Operation]:
        """The operations that make the table contain `wanted` and nothing else."""
        names, slots, table = {str(document) for document in wanted}, self._slots(), self._table
        operations = [
            Operation("d", table, document) for document in slots if document not in names
        ]
        for document, content in wanted.items():
            slot = slots.get(str(document))
            data = dump_json(content)
            if slot is None:
                operations.append(Operation("p", table, str(document), data=data))
            elif dump_json(self[str(document)]) != data:
                operations.append(Operation("p", table, str(document), slot.key, data))
        return operations

    def _slots(self) -> Mapping[str, Slot]:
        return self._storage.file.index.tables.get(self._table, {})


def _put(table: str, number: int, document: Mapping[Any, Any], key: bytes = b"null") -> Operation:
    return Operation("p", table, str(number), key, dump_json(document))
