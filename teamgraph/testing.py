"""Conformance kit for stores: subclass `StoreConformance` and pytest runs its tests.

The pytest plug-in (prompt snapshots) needs no import: pytest loads it by its entry point.
"""

from __future__ import annotations

try:
    from .engine.testing.conformance import StoreConformance
except ImportError as error:
    _TEXT = "teamgraph.testing needs the extra `testing`: pip install 'teamgraph[testing]'"
    raise ImportError(_TEXT) from error

__all__ = ["StoreConformance"]
