"""Ready-made graphs: the classes `Agent` and `Team`, and YAML files in `FOLDER`.

The classes are imported on first access, so that loading a file does not wait for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .agent import Agent
    from .options import SessionSummaryManager
    from .team import Team
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415  not a name of this package

        if name in ELSEWHERE:  # of an AttributeError, `from` would drop the text
            text = f"{name!r} of Agno is {ELSEWHERE[name]} here; docs/from-agno.md has a table"
            raise ImportError(text, name=name)
        if name not in _HOMES:
            raise AttributeError(f"the package {__name__!r} has no {name!r}")
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


_HOMES = {"Agent": "agent", "SessionSummaryManager": "options", "Team": "team"}

ELSEWHERE = {
    "Condition": "`when` of a node",
    "InMemoryDb": "teamgraph.MemoryStore",
    "Loop": "teamgraph.nodes.Loop",
    "OpenAIChat": "the model's id as a text, 'openai/...',",
    "Parallel": "nodes that do not need each other, in a teamgraph.Graph,",
    "RunOutput": "teamgraph.Run",
    "Router": "teamgraph.nodes.Router",
    "SqliteDb": "teamgraph.TinyDBStore",
    "Step": "a node of a teamgraph.Graph",
    "Steps": "teamgraph.nodes.SubGraph",
    "Workflow": "teamgraph.Graph",
}
"""Classes of Agno, and what takes their place."""

FOLDER = Path(__file__).parent
"""The folder with the ready-made graph files, `FOLDER / "desk.yaml"`."""

__all__ = ["FOLDER", "Agent", "SessionSummaryManager", "Team"]
