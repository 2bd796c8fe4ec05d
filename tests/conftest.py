"""Fixtures of all tests: our plug-in, a store of each kind, PostgreSQL, a Ctrl-C that arrives.

The plug-in is loaded here if the environment was installed before it existed. A shell starts
background jobs with SIGINT ignored, which their children inherit; the tests send it. No
hypothesis example has a deadline: the machine may be busy. Ten times as many examples, where a test
does not set their number: `make test ARGS="--hypothesis-profile=long"`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from hypothesis import settings

from teamgraph import Store
from tests.postgres import Server, postgres
from tests.teams import STORES, wait_for

PLUGIN = "teamgraph.engine.testing.plugin"
_installed = {point.value for point in entry_points(group="pytest11")}
pytest_plugins = ["tests.security"] if PLUGIN in _installed else ["tests.security", PLUGIN]

LONGEST = ("tests/faults", "tests/packaging", "tests/test_docs.py", "tests/test_examples.py")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("house", deadline=None, max_examples=50)
settings.register_profile("long", deadline=None, max_examples=500)
settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, so that no process is left with one at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server for all tests; skips them where it is not installed."""
    with postgres() as running:
        yield running


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of each kind."""
    store = STORES[request.param](tmp_path)
    yield store
    wait_for(store.close())
