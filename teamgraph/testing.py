"""Conformance kit for stores: subclass `StoreConformance` and pytest runs its tests.

The pytest plug-in (prompt snapshots) needs no import: pytest loads it by its entry point.
"""

from __future__ import annotations

from .engine.testing.conformance import StoreConformance

__all__ = ["StoreConformance"]
