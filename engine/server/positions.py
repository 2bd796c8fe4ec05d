"""Event ids: what a client of a run's event stream was told, so that it can come back.

`number-stream-nodes-check`: the number of the event in its stream; the stream, which is a new one
after a restart; how many finished nodes the client was told in all, and the XOR of the CRC-32 of
their paths. Within a stream the number says where to go on. In a later stream of the same run the
rest says which of the finished nodes that are stored the client knows already: the nodes that
finished first, as many as it was told (docs/decisions/0032-server.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from zlib import crc32

from msgspec import Struct

from ..errors import InputError
from ..records import Record

_ID = re.compile(r"(\d{1,9})-([0-9a-f]{8})-(\d{1,9})-([0-9a-f]{8})")


class EventPosition(Struct, frozen=True):
    """What a client was told: up to event `number` of `stream`; `nodes` and `check` as above."""

    number: int
    stream: str
    nodes: int = 0
    check: int = 0

    def __str__(self) -> str:
        return f"{self.number}-{self.stream}-{self.nodes}-{self.check:08x}"

    @classmethod
    def parse(cls, event_id: str) -> EventPosition:
        """The position that an event id is; raises `InputError`."""
        match = _ID.fullmatch(event_id)
        if match is None:
            raise InputError(
                f"Last-Event-ID: {event_id!r} is no id of an event of a run; send that of the last "
                "event as it came, or leave it out to get all events"
            )
        return cls(int(match[1]), match[2], int(match[3]), int(match[4], 16))

    def at(self, number: int) -> EventPosition:
        """The position of a client that knows as much, and has this event."""
        return EventPosition(number, self.stream, self.nodes, self.check)

    def with_node(self, path: str) -> EventPosition:
        """The position of a client that was told of one more finished node."""
        check = self.check ^ crc32(path.encode())
        return EventPosition(self.number, self.stream, self.nodes + 1, check)

    def told(self, finished: Iterable[Record]) -> frozenset[str]:
        """The paths of those finished nodes that the client was told.

        A node is told once it is stored. Two that end at the same time may be stored in the other
        order, so one of the first may have been missing for a later one. If the check fits
        neither, none counts as told: to tell a node twice is better than never.
        """
        paths = [record.node for record in sorted(finished, key=lambda each: each.ended)]
        first, later = paths[: self.nodes], paths[self.nodes :]
        missing = self.check
        for path in first:
            missing ^= crc32(path.encode())
        if not missing:
            return frozenset(first)
        swaps = {crc32(path.encode()): path for path in later}
        for path in reversed(first):
            if (other := swaps.get(crc32(path.encode()) ^ missing)) is not None:
                return frozenset(first) - {path} | {other}
        return frozenset()
