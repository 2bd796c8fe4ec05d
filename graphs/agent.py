"""`Agent`: one member with history and summary; a graph of its own, or a member of a team."""

from __future__ import annotations

from teamgraph import Graph

from .assistant import Assistant


class Agent(Assistant):
    """One assistant. Alone it builds a graph of one member, its history and its summary.

    In a team its name, role, description, instructions, model, tools, history and search apply;
    store, session and summaries are those of the team.
    """

    def _declared(self) -> Graph:
        return self._alone("", self.output_schema)
