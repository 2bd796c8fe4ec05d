"""Ready-made graphs: `Agent` and `Team`, and YAML files to run as they are, or to start from."""

from __future__ import annotations

from pathlib import Path

from .agent import Agent
from .team import Team

FOLDER = Path(__file__).parent

__all__ = ["FOLDER", "Agent", "Team"]
