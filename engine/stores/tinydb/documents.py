"""The last documents that were read or written: each turn of a session reads them again.

The documents of a table as TinyDB wants to see them: a mapping, each read when asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from ..compact_json import dump, parse_document
from ..journal.line import Operation, Slot


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


Value = TypeVar("Value")
_VALUES = 16
_BYTES = 16_384


class Recent(Generic[Value]):
    """Reads documents of one kind, and keeps the last few that are not too long."""

    def __init__(self, source: Source, decode: Callable[[bytes], Value]) -> None:
        self._source = source
        self._decode = decode
        self._kept: OrderedDict[int, tuple[Slot, Value]] = OrderedDict()

    def read(self, slot: Slot) -> Value:
        """The document that lies at `slot`."""
        kept = self._kept.get(slot.offset)
        if kept is not None and kept[0] is slot:
            return kept[1]
        value = self._decode(self._source.text(slot))
        self.keep(slot, value)
        return value

    def keep(self, slot: Slot, value: Value) -> None:
        """Keep what was just written: it is what would be read."""
        if slot.length <= _BYTES:
            self._kept[slot.offset] = (slot, value)
            if len(self._kept) > _VALUES:
                self._kept.popitem(last=False)
