"""The first line of a journal: its format, whose it is, and when it was born."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DamagedStore, UnknownVersion
from .compact_json import dump, parse_document
from .line import Operation

FORMAT = "teamgraph-journal"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Header:
    """What a journal says of itself.

    `born` is another mark each time a session is made, also under the same ids. `next_numbers`
    are the numbers that the next new document of each table gets.
    """

    owner: Mapping[str, str | None]
    born: str
    next_numbers: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def read(cls, data: bytes, path: Path) -> Header:
        """Read a header; raises `UnknownVersion` where a newer teamgraph wrote it."""
        document = parse_document(data)
        if document.get("format") != FORMAT:
            raise DamagedStore(f"{path}: it is no journal of teamgraph; move it away")
        if document.get("version") != VERSION:
            raise UnknownVersion(
                f"{path}: it has version {document.get('version')} and this teamgraph reads "
                f"version {VERSION}; use the teamgraph that wrote it, or a newer one"
            )
        return cls(document["owner"], document["born"], document.get("next", {}))

    def operation(self) -> Operation:
        """The header as the first line of a journal."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "owner": self.owner,
            "born": self.born,
            "next": self.next_numbers,
        }
        return Operation("h", "", data=dump(document))

    def must_belong_to(self, owner: Mapping[str, str | None], path: Path) -> None:
        """Raise `DamagedStore` if the journal is another one's: it was moved or copied here."""
        for name, expected in owner.items():
            if self.owner.get(name) != expected:
                raise DamagedStore(
                    f"{path}: it belongs to {name} {self.owner.get(name)!r}, not to {expected!r}; "
                    "put the file back to where it was"
                )
