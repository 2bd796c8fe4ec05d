"""Ready-made graphs: YAML files to run as they are, or to start from."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
