"""The same documents in plain TinyDB and in SQLite, as one would store them without us."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tinydb import TinyDB

Document = Mapping[str, object]


class Peer(Protocol):
    """Documents of one session in one file."""

    def fill(self, documents: Sequence[Document]) -> None:
        """Store many documents."""
        ...

    def add(self, document: Document) -> None:
        """Store one document."""
        ...

    def last(self, count: int) -> int:
        """Read the newest documents; return how many there were."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class PlainTinyDB:
    """TinyDB with its default storage: one JSON file, rewritten for each change."""

    def __init__(self, folder: Path) -> None:
        self._database = TinyDB(folder / "plain.json")

    def fill(self, documents: Sequence[Document]) -> None:
        self._database.insert_multiple(documents)  # pyright: ignore[reportUnknownMemberType]  TinyDB's types are loose

    def add(self, document: Document) -> None:
        self._database.insert(document)  # pyright: ignore[reportUnknownMemberType]  TinyDB's types are loose

    def last(self, count: int) -> int:
        return len(self._database.all()[-count:])

    def close(self) -> None:
        self._database.close()


class SQLite:
    """A table of JSON texts; each commit is synced."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "peer.sqlite")
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS nodes (id INTEGER PRIMARY KEY, it)")

    def fill(self, documents: Sequence[Document]) -> None:
        with self._connection:
            texts = ((json.dumps(document),) for document in documents)
            self._connection.executemany("INSERT INTO nodes (it) VALUES (?)", texts)

    def add(self, document: Document) -> None:
        self.fill([document])

    def last(self, count: int) -> int:
        query = "SELECT it FROM nodes ORDER BY id DESC LIMIT ?"
        return len([json.loads(it) for (it,) in self._connection.execute(query, (count,))])

    def close(self) -> None:
        self._connection.close()
