"""Where sessions are kept: the protocol, and the stores that come with teamgraph.

The store on disk is imported when it is first asked for: a run in memory does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .memory import MemoryStore
from .protocol import Hit, Lease, Policy, Store

if TYPE_CHECKING:
    from .directory import SkippedSession
    from .medium import Sync
    from .tinydb import TinyDBStore
    from .torn import TornTail
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415  not a name of this package

        if name not in _ON_DISK:
            raise AttributeError(f"the package {__name__!r} has no {name!r}")
        return getattr(import_module(f".{_ON_DISK[name]}", __name__), name)


_ON_DISK = {
    "SkippedSession": "directory",
    "Sync": "medium",
    "TinyDBStore": "tinydb",
    "TornTail": "torn",
}

__all__ = [
    "Hit",
    "Lease",
    "MemoryStore",
    "Policy",
    "SkippedSession",
    "Store",
    "Sync",
    "TinyDBStore",
    "TornTail",
]
