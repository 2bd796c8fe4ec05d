"""What journals are kept on: the disk, when data is forced down to it, and the format."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from .disk import DISK, Disk
from .header import FORMAT, Format

Sync: TypeAlias = Literal["always", "turn", "never"]


class Medium(Struct, frozen=True):
    """The same for all journals of a store."""

    disk: Disk = DISK
    sync: Sync = "turn"
    form: Format = FORMAT

    @property
    def is_synced(self) -> bool:
        """Whether anything is ever forced down to the disk."""
        return self.sync != "never"
