"""What journals are kept on: the disk, when data is forced down to it, and the format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .disk import DISK, Disk
from .header import FORMAT, Format

Sync: TypeAlias = Literal["always", "turn", "never"]


@dataclass(frozen=True, slots=True)
class Medium:
    """The same for all journals of a store."""

    disk: Disk = DISK
    sync: Sync = "turn"
    form: Format = FORMAT

    @property
    def is_synced(self) -> bool:
        """Whether anything is ever forced down to the disk."""
        return self.sync != "never"
