"""The stores that are put to the test: ours."""

from __future__ import annotations

from pathlib import Path

from engine.stores import TinyDBStore
from engine.stores.disk import Disk


def ours(place: Path, disk: Disk) -> TinyDBStore:
    """As it comes."""
    return TinyDBStore(place, disk=disk)
