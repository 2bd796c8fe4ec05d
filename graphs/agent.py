"""An agent: one role, alone with its sessions or a member of a team."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine import DefinitionError, Graph, ModelSpec, Node, Problem
from nodes import Member

from .assistant import Assistant
from .naming import named


class Agent(Assistant):
    """One assistant. Alone it is a graph of a member with its history and summary.

    In a team its name, role, description, instructions, model, tools and its own history count;
    store, session, summaries and searches are the team's.
    """

    def as_member(
        self,
        node_id: str,
        *,
        history: str | None = None,
        reads: Sequence[str] = (),
        tools: Iterable[str] = (),
        rules: Iterable[str] = (),
    ) -> Member:
        """The agent as a node; `history`, `reads`, `tools` and `rules` are the graph's for it."""
        model = self.model
        if model is not None and not isinstance(model, str | ModelSpec):
            text = f"the model of {node_id!r} is an object, which no graph file could name; give "
            text += "the id of a model, or give the object to the team"
            raise DefinitionError([Problem("G007", text, path=("model",), on_key=True)])
        about = self.role or self.description
        own_tools = [*self.tools, *self._session_tools]
        return Member(
            role=about.rstrip("."),
            description=self.description or self.role,
            instructions=[
                *([self.description] if self.role and self.description else ()),
                *self._rules,
                *rules,
            ],
            model=model,
            tools=[*own_tools, *(tool for tool in tools if tool not in own_tools)],
            history=history,
            reads=reads,
        )

    def _declared(self) -> Graph:
        loaders = self._loaders()
        node_id = named(self.name) or "agent"
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
            model=self._named_model,
            state=self.session_state,
            nodes=nodes,
            output=node_id,
        )
