"""The store that is put to the test: ours."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

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
    """It keeps no idle file open and saves the index of each journal, however short it is."""
    store = TinyDBStore(place, disk=disk, handles=0)
    store._settings = replace(store._settings, unsaved=0)
    store.reset_after_fork()
    return store
