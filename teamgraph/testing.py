"""What tests are written with: the conformance kit for stores.

The pytest plug-in (snapshots of prompts) is loaded by pytest itself.
"""

from __future__ import annotations

from .engine.testing.conformance import StoreConformance

__all__ = ["StoreConformance"]
