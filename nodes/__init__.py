"""The kinds of nodes that come with the engine; each uses only the public names of `teamgraph`.

A kind is imported when it is first asked for, so that a graph waits for none but its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import SubGraph
    from .history_loader import HistoryLoader
    from .human import Human
    from .loop import Loop
    from .map import Map
    from .member import Leader, Member
    from .python import Python
    from .router import Route, Router
    from .search import Search
    from .summarizer import Summarizer
    from .swarm import Swarm
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415  not a name of this package

        if name not in _HOMES:
            raise AttributeError(f"the package {__name__!r} has no {name!r}")
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


_HOMES = {
    "HistoryLoader": "history_loader",
    "Human": "human",
    "Leader": "member",
    "Loop": "loop",
    "Map": "map",
    "Member": "member",
    "Python": "python",
    "Route": "router",
    "Router": "router",
    "Search": "search",
    "SubGraph": "graph",
    "Summarizer": "summarizer",
    "Swarm": "swarm",
}

__all__ = [
    "HistoryLoader",
    "Human",
    "Leader",
    "Loop",
    "Map",
    "Member",
    "Python",
    "Route",
    "Router",
    "Search",
    "SubGraph",
    "Summarizer",
    "Swarm",
]
