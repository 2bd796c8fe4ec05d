"""The last turns that were read, for they are read again in each turn of a session."""

from __future__ import annotations

from collections import OrderedDict

from ..session import Turn
from .codec import decode_turn
from .documents import Source
from .line import Slot

_TURNS = 16
_BYTES = 16_384


class RecentTurns:
    """Reads turns, and keeps the last few that are not too long."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._kept: OrderedDict[str, tuple[Slot, Turn]] = OrderedDict()

    def turn(self, run_id: str, slot: Slot) -> Turn:
        """The turn of a run, whose document lies at `slot`."""
        kept = self._kept.get(run_id)
        if kept is not None and kept[0] is slot:
            return kept[1]
        turn = decode_turn(self._source.text(slot))
        if slot.length <= _BYTES:
            self._kept[run_id] = (slot, turn)
            if len(self._kept) > _TURNS:
                self._kept.popitem(last=False)
        return turn
