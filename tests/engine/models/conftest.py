"""What the tests of models share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo_model import demo_weights
from tests.stub import StubProvider
from tests.stub.wanted import SECRET


@pytest.fixture
def weights() -> Path:
    """The file of the demo model; the test is skipped where it is not installed."""
    return demo_weights()


@pytest.fixture
def stub() -> Iterator[StubProvider]:
    """A provider on loopback, whose key is in STUB_KEY; no other key is set."""
    with StubProvider() as running:
        yield running


@pytest.fixture
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STUB_KEY", SECRET)
