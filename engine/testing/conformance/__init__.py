"""The conformance kit: what every store does, whatever it keeps its sessions in.

A store passes if a subclass of `StoreConformance` that opens it does. Each part is a class of
tests; `machine` puts the operations in any order and compares with `model`, a store so plain that
it can be read.
"""

from __future__ import annotations

from .any_order import AnyOrderTests
from .deletion import DeletionTests
from .isolation import IsolationTests
from .leases import LeaseTests
from .records import RecordTests
from .sessions import SessionTests


class StoreConformance(
    SessionTests, RecordTests, LeaseTests, DeletionTests, IsolationTests, AnyOrderTests
):
    """The tests of a store: subclass it in a test module, and define `open_store`."""


__all__ = ["StoreConformance"]
