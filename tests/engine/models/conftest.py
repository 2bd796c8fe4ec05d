"""What the tests of models share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teamgraph.engine.imports import plugins
from tests.demo_model import demo_weights
from tests.stub import StubProvider
from tests.stub.client import SECRET


@pytest.fixture
def weights() -> Path:
    """The file of the demo model; the test is skipped where it is not installed."""
    return demo_weights()


@pytest.fixture(scope="session")
def shared_stub() -> Iterator[StubProvider]:
    with StubProvider() as running:
        yield running


@pytest.fixture
def stub(shared_stub: StubProvider) -> StubProvider:
    """A provider on loopback, whose key is in STUB_KEY; no other key is set.

    All tests have the same, since each server costs litellm a client of its own.
    """
    shared_stub.reset()
    return shared_stub


@pytest.fixture
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STUB_KEY", SECRET)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs, for this test only, a package with one entry point `prefix = module:Class`."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def add(entry: str) -> None:
        name = f"tg_models_{len(list(tmp_path.glob('*.dist-info')))}"
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[teamgraph.models]\n{entry}\n")
        plugins.cache_clear()

    yield add
    plugins.cache_clear()
    for module in set(sys.modules) - before:
        del sys.modules[module]
