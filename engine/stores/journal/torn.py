"""What to do about bytes at the end of a journal that are no whole transaction."""

from __future__ import annotations

import warnings
from pathlib import Path

from ...errors import DamagedStore
from . import files
from .disk import Disk
from .line import claims


class TornTail(UserWarning):
    """What a killed process or a power cut left half written was cut, and kept aside."""


def must_be_torn(path: Path, rest: bytes, end: int, expected: int) -> None:
    """Raise `DamagedStore` if the bytes behind `end` were there as a whole once."""
    if not can_be_torn(rest, end, expected):
        raise DamagedStore(
            f"{path}: damaged at byte {end}; restore the file from a backup, or delete the session"
        )


def can_be_torn(rest: bytes, end: int, expected: int) -> bool:
    """Whether the bytes behind `end` may never have been there as a whole.

    A whole line among them tells, by what it vouches for. A power cut may leave whole lines behind
    others that are missing, but none that was written after those had reached the disk. Where
    nothing was ever synced, only the transaction `expected`, which was begun there, may be torn.
    """
    return all(
        sequence == expected if synced is None else synced <= end
        for sequence, synced in claims(rest)
    )


def keep_aside(disk: Disk, path: Path, rest: bytes) -> None:
    """Keep the bytes of a torn tail in a file of their own."""
    torn = path.with_suffix(".torn")
    files.append(disk, torn, rest)
    warnings.warn(
        f"{path}: a torn tail of {len(rest)} bytes was cut and kept in {torn.name}",
        TornTail,
        stacklevel=2,
    )
