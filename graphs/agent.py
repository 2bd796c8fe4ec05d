"""`Agent`: one role, on its own or as a member of a team."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from teamgraph import Graph
from teamgraph.kinds import Node

from ..nodes.member import Member
from .assistant import Assistant
from .options import model_id, node_id_of


class Agent(Assistant):
    """One assistant; on its own it is a graph of one member with its history and summary.

    In a team its name, role, description, instructions, model, tools, and its own history and
    search count; store, session and summaries are the team's.
    """

    def as_member(
        self,
        path: str,
        *,
        history: str | None = None,
        reads: Sequence[str] = (),
        tools: Iterable[str] = (),
        rules: Iterable[str] = (),
    ) -> Member:
        """The agent as a node; `history`, `reads`, `tools` and `rules` are the graph's for it.

        `path` leads to the node; a model that is an object is named after it.
        """
        about = self.role or self.description
        own_tools = list(dict.fromkeys([*self.tools, *self._session_tools]))
        return Member(
            role=about.rstrip("."),
            description=self.description or self.role,
            instructions=[
                *([self.description] if self.role and self.description else ()),
                *self._rules,
                *rules,
            ],
            model=model_id(self.model, path),
            tools=[*own_tools, *(tool for tool in tools if tool not in own_tools)],
            history=history,
            reads=reads,
        )

    def _declared(self) -> Graph:
        loaders = self._loaders()
        node_id = node_id_of(self.name) or "agent"
        alone = self.model_copy(update={"model": None})
        reads = ["search"] if "search" in loaders else []
        nodes: dict[str, Node] = {
            **loaders,
            node_id: alone.as_member(node_id, reads=reads),
            **self._summarizers(),
        }
        return Graph(
            name=self.name or "agent",
            description=self.description or self.role,
            model=model_id(self.model, ""),
            state=self.session_state,
            nodes=nodes,
            output=node_id,
        )
