"""The first line of a journal: its format, whose it is, and when it was born."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct, field

from ...errors import DamagedStore, UnknownVersion
from ..compact_json import dump, parse_document
from .line import Operation

_NAME = "teamgraph-journal"
Upgrade: TypeAlias = Callable[[Operation], Operation]


class Format(Struct, frozen=True):
    """The version of the journals that are written, and the way to it from older ones.

    `upgrades[n]` makes of a document of version n that of version n + 1.
    """

    version: int = 1
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict[int, Upgrade])

    def check(self, version: object, path: Path) -> int:
        """The version that a journal says it has; raises `UnknownVersion` if it cannot be read."""
        if isinstance(version, int) and (version == self.version or version in self.upgrades):
            return version
        raise UnknownVersion(
            f"{path}: it has version {version} and this teamgraph reads version {self.version}; "
            "use the teamgraph that wrote it, or a newer one"
        )

    def upgraded(self, operation: Operation, version: int) -> Operation:
        """A document of an older version as it is written now."""
        for older in range(version, self.version):
            operation = self.upgrades[older](operation)
        return operation


FORMAT = Format()


class Header(Struct, frozen=True):
    """What a journal says of itself.

    `born` is another mark each time a session is made, also under the same ids. `next_numbers`
    are the numbers that the next new document of each table gets.
    """

    version: int
    owner: Mapping[str, str | None]
    born: str
    next_numbers: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def read(cls, data: bytes, path: Path, form: Format) -> Header:
        """Read a header; raises `UnknownVersion` where a newer teamgraph wrote it."""
        document = parse_document(data)
        if document.get("format") != _NAME:
            raise DamagedStore(f"{path}: it is no journal of teamgraph; move it away")
        version = form.check(document.get("version"), path)
        return cls(version, document["owner"], document["born"], document.get("next", {}))

    def operation(self) -> Operation:
        """The header as the first line of a journal."""
        document = {
            "format": _NAME,
            "version": self.version,
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
