"""`Agent`: one member with history and summary; a graph of its own, or a member of a team."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from teamgraph import Graph
from teamgraph.kinds import Node

from ..nodes.member import Member
from .assistant import Assistant
from .options import model_id, to_node_id


class Agent(Assistant):
    """One assistant. Alone it builds a graph of one member, its history and its summary.

    In a team its name, role, description, instructions, model, tools, history and search apply;
    store, session and summaries are those of the team.
    """

    def as_member(
        self,
        path: str,
        *,
        history: str | None = None,
        reads: Sequence[str] = (),
        tools: Iterable[str] = (),
        rules: Iterable[str] = (),
        returns: object = None,
    ) -> Member:
        """Return the agent as a node; the options are what the graph around it adds.

        `path` is the path of the node, from which the id of a model object is made. `returns` is
        the type of its answer, unless it has an output_schema.
        """
        about = self.role or self.description
        own_tools = [
            *self.tools,
            *(tool for tool in self._session_tools if tool not in self.tools),
        ]
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
            returns=returns if self.output_schema is None else self.output_schema,
        )

    def _declared(self) -> Graph:
        loaders = self._loaders()
        node_id = to_node_id(self.name) or "agent"
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
