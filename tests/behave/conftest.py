"""A store of each sort for every behaviour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Store
from tests.teams import STORES, wait_for


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = STORES[request.param](tmp_path)
    yield store
    wait_for(store.close())
