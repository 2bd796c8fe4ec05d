"""Turns that a worker takes from the queue and ends without a run: what DBOS alone costs."""

from __future__ import annotations

from teamgraph import dispatch

from .distributed import graph, model

__all__ = ["Worker", "graph", "model"]


class Worker(dispatch.Worker):
    """Runs nothing."""

    async def execute(self, number: int) -> None:
        """End at once."""
