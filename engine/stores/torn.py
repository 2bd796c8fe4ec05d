"""What to do about bytes at the end of a journal that are no whole transaction."""

from __future__ import annotations

import warnings
from pathlib import Path

from ..errors import DamagedStore
from . import files
from .disk import Disk
from .line import sequences


class TornTail(UserWarning):
    """The last write of a killed process was cut from a journal; its bytes were kept aside."""


def must_be_torn(path: Path, rest: bytes, end: int, expected: int) -> None:
    """Raise `DamagedStore` if the bytes behind `end` can be no torn write.

    A torn write has no whole line but of the transaction `expected`, which was begun there.
    """
    if any(sequence != expected for sequence in sequences(rest)):
        raise DamagedStore(
            f"{path}: damaged at byte {end}; restore the file from a backup, or delete the session"
        )


def keep_aside(disk: Disk, path: Path, rest: bytes) -> None:
    """Keep the bytes of a torn write in a file of their own."""
    torn = path.with_suffix(".torn")
    files.append(disk, torn, rest)
    warnings.warn(
        f"{path}: a torn write of {len(rest)} bytes was cut and kept in {torn.name}",
        TornTail,
        stacklevel=2,
    )
