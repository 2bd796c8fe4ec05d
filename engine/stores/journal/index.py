"""What is known of a journal without its texts: where each document lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .line import Entry, Slot, Transaction


class Watcher(Protocol):
    """Is told of each document that comes or goes, whoever wrote it."""

    def forget(self) -> None:
        """Start over: the journal is read again from its beginning."""
        ...

    def put(self, table: str, document: str, slot: Slot) -> None:
        """A document is there, new or in place of the one that it was."""
        ...

    def drop(self, table: str, document: str, slot: Slot) -> None:
        """A document is gone."""
        ...


class Index:
    """Where each document of each table lies; `live` is the number of bytes that still count.

    Up to byte `synced` the file is known to have reached the disk.
    Numbers of documents are given once and never again, also not after a deletion.
    """

    def __init__(self, watcher: Watcher | None = None) -> None:
        self.tables: dict[str, dict[str, Slot]] = {}
        self.live = 0
        self.sequence = 0
        self.end = 0
        self.synced = 0
        self._next: dict[str, int] = {}
        self._watcher = watcher

    def forget(self) -> None:
        """Start over."""
        self.tables.clear()
        self._next.clear()
        self.live = self.sequence = self.end = self.synced = 0
        if self._watcher is not None:
            self._watcher.forget()

    def apply(self, transaction: Transaction) -> None:
        """Take a transaction in."""
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

    def follows(self, transaction: Transaction) -> bool:
        """Whether a transaction may come next: a header first, then one number after the other."""
        if not self.end:
            return transaction.entries[0].verb == "h"
        return transaction.sequence == self.sequence + 1

    def next_numbers(self) -> dict[str, int]:
        """The next free number of each table."""
        return dict(self._next)

    def next_number(self, table: str) -> int:
        """The number for the next new document of a table."""
        return self._next.get(table, 1)

    def reserve(self, numbers: Mapping[str, int]) -> None:
        """Take the next free numbers from a header."""
        self._next.update(numbers)

    def _put(self, entry: Entry) -> None:
        slots = self.tables.setdefault(entry.table, {})
        earlier = slots.get(entry.document)
        if earlier is not None:
            self.live -= earlier.line
        slots[entry.document] = entry.slot
        self.live += entry.slot.line
        number = int(entry.document)
        if number >= self._next.get(entry.table, 1):
            self._next[entry.table] = number + 1
        if self._watcher is not None:
            self._watcher.put(entry.table, entry.document, entry.slot)

    def _drop(self, table: str, document: str) -> None:
        slot = self.tables.get(table, {}).pop(document, None)
        if slot is None:
            return
        self.live -= slot.line
        if self._watcher is not None:
            self._watcher.drop(table, document, slot)
