"""Our own stores against the kit that is there for everybody's."""

from __future__ import annotations

from pathlib import Path

from teamgraph import MemoryStore, Store, TinyDBStore
from teamgraph.testing import StoreConformance


class TestMemoryStore(StoreConformance):
    def open_store(self, place: Path) -> Store:
        self.there: dict[Path, Store] = getattr(self, "there", {})
        return self.there.setdefault(place, MemoryStore())


class TestTinyDBStore(StoreConformance):
    def open_store(self, place: Path) -> Store:
        return TinyDBStore(place, sync="never", handles=2)


class TestTinyDBStoreThatWaitsForTheDisk(StoreConformance):
    examples = 5

    def open_store(self, place: Path) -> Store:
        return TinyDBStore(place, sync="always")
