"""What tests are written with: snapshots of prompts, and the conformance kit for stores.

`plugin` is what pytest loads. It imports the rest only when there is something to do, so that a
measurement of the engine that begins later misses nothing; so does this front door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conformance import StoreConformance
else:

    def __getattr__(name: str) -> object:
        if name != "StoreConformance":
            raise AttributeError(f"the package {__name__!r} has no {name!r}")
        from .conformance import StoreConformance  # noqa: PLC0415  see above

        return StoreConformance


__all__ = ["StoreConformance"]
