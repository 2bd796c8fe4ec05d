"""The last documents that were read or written: each turn of a session reads them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from .documents import Source
from .line import Slot

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
