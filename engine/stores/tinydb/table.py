"""TinyDB over a journal: every write costs what it changes, every query works as documented."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, cast

from tinydb import TinyDB
from tinydb.queries import QueryLike
from tinydb.table import Document, Table

from ..compact_json import dump
from ..journal.journal_file import JournalFile
from ..journal.line import Operation
from .documents import Documents
from .journal import JournalStorage


class JournalTable(Table):
    """A table whose writes go to the journal as single documents, one transaction a call."""

    _seen = -1

    @property
    def journal(self) -> JournalFile:
        """The file that the table lies in."""
        return cast("JournalStorage", self.storage).file

    def insert(self, document: Mapping[Any, Any]) -> int:
        """Insert a document and return its number."""
        return self.insert_multiple([document])[0]

    def insert_multiple(self, documents: Iterable[Mapping[Any, Any]]) -> list[int]:
        """Insert documents and return their numbers."""
        with self.journal.exclusive():
            operations: list[Operation] = []
            there = self.journal.index.tables.get(self.name, {})
            new: set[int] = set()
            free = self.journal.index.next_number(self.name)
            for document in documents:
                if not isinstance(document, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
                    raise ValueError("Document is not a Mapping")
                number = document.doc_id if isinstance(document, self.document_class) else free
                if number in new or str(number) in there:
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
            for number, document in self._chosen(cond, doc_ids):
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
        """Change the documents that match, or insert this one if none does."""
        with self.journal.exclusive():
            return super().upsert(document, cond)  # pyright: ignore[reportUnknownMemberType]

    def remove(
        self, cond: QueryLike | None = None, doc_ids: Iterable[int] | None = None
    ) -> list[int]:
        """Remove documents and return their numbers."""
        if cond is None and doc_ids is None:
            raise RuntimeError("Use truncate() to remove all documents")
        with self.journal.exclusive():
            numbers = [number for number, _ in self._chosen(cond, doc_ids)]
            self._commit([Operation("d", self.name, str(number)) for number in numbers])
            return numbers

    def truncate(self) -> None:
        """Remove all documents."""
        self._commit([Operation("e", self.name)])

    def search(self, cond: QueryLike) -> list[Document]:
        """All documents that match, also those that others wrote since the last look."""
        with self.journal.shared():
            if self._seen != self.journal.index.sequence:
                self.clear_cache()
                self._seen = self.journal.index.sequence
            return super().search(cond)

    def _chosen(
        self, cond: QueryLike | None, numbers: Iterable[int] | None
    ) -> list[tuple[int, dict[str, Any]]]:
        documents = Documents(self.journal, self.journal.index.tables.get(self.name, {}))
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


class JournalDatabase(TinyDB):
    """A TinyDB on a journal; its tables are `runs`, `nodes`, `state` and `summaries`."""

    table_class = JournalTable
    default_storage_class = JournalStorage  # type: ignore[assignment]  # TinyDB names its own


def _put(table: str, number: int, document: Mapping[Any, Any], key: bytes = b"null") -> Operation:
    return Operation("p", table, str(number), key, dump(document))
