"""The store that is put to the test: ours."""

from __future__ import annotations

from pathlib import Path

from teamgraph import TinyDBStore
from teamgraph.engine.stores.journal.disk import Disk

PATIENCE = 0.4
"""Seconds for which a holder may stand still, where that is what is tested."""


def ours(place: Path, disk: Disk) -> TinyDBStore:
    """As it comes."""
    return TinyDBStore(place, disk=disk)


def impatient(place: Path, disk: Disk) -> TinyDBStore:
    """As it comes, but for those who wait."""
    return TinyDBStore(place, disk=disk, lease_timeout=PATIENCE)


def evicting(place: Path, disk: Disk) -> TinyDBStore:
    """It keeps no idle file open: each session is opened again for every use of it."""
    return TinyDBStore(place, disk=disk, handles=0)
