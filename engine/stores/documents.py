"""The documents of a table as TinyDB wants to see them: a mapping, each read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from .compact_json import dump, parse_document
from .line import Operation, Slot


class Source(Protocol):
    """Where the text of a document is read."""

    def text(self, slot: Slot) -> bytes:
        """The JSON of a document."""
        ...


class Documents(Mapping[str, dict[str, Any]]):
    """The documents of one table by their numbers as text; every look is a fresh copy."""

    def __init__(self, source: Source, slots: Mapping[str, Slot]) -> None:
        self._source = source
        self._slots = slots

    def __getitem__(self, document: str) -> dict[str, Any]:
        return parse_document(self._source.text(self._slots[document]))

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._slots))

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, document: object) -> bool:
        return document in self._slots

    def differences(self, table: str, wanted: Mapping[Any, Any]) -> list[Operation]:
        """What must be done to a table so that it holds `wanted`, and nothing else."""
        names = {str(document) for document in wanted}
        operations = [
            Operation("d", table, document) for document in self._slots if document not in names
        ]
        for document, content in wanted.items():
            slot = self._slots.get(str(document))
            data = dump(content)
            if slot is None:
                operations.append(Operation("p", table, str(document), data=data))
            elif dump(self[str(document)]) != data:
                operations.append(Operation("p", table, str(document), slot.key, data))
        return operations
