"""Where sessions are kept: the protocol, and the stores that come with teamgraph."""

from __future__ import annotations

from .directory import SkippedSession
from .journal_file import Sync
from .memory import MemoryStore
from .protocol import Hit, Lease, Policy, Store
from .tinydb import TinyDBStore
from .torn import TornTail

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
