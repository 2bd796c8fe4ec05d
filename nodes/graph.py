"""A graph as a node of another: a team that is a member."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, cast

from msgspec.structs import replace
from pydantic import Field, PrivateAttr, model_validator

from teamgraph import JSON, Graph
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import Context, Node, Result


class SubGraph(Node):
    """Runs a graph as a part of this run; its answer is the output.

    `graph` is a file, relative to the one that names it, or a graph in place. The inner graph sees
    the session that the run belongs to, and names the model only where it wants another one. Its
    records are kept with the run, by their paths: `node/inner_node`.
    """

    kind: ClassVar[str] = "graph"
    streams: ClassVar[bool] = True
    text_field: ClassVar[str | None] = "input"
    provides: ClassVar[Mapping[str, object]] = {"output": object}

    role: str = Field(
        default="",
        description="What the graph is for, as other nodes are told.",
        examples=["You research what others have found"],
    )
    graph: Any = Field(  # a path, a mapping or a Graph: `_look_at_graph` says which hold
        description="The graph: a file, relative to this one, or the graph itself.",
        examples=["research.yaml"],
        json_schema_extra={"anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}]},
    )
    input: str | None = Field(
        default=None,
        description="A template for the message that the graph gets, if it is not the task of "
        "a router or this run's own message.",
        examples=["{{ research.output }}"],
    )
    _within: Graph | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _look_at_graph(self) -> Self:
        if self.input is not None and self.prompt is not None:
            text = "input and prompt are both templates for the inner message; keep one"
            raise DefinitionError([Problem("G007", text, path=("prompt",), on_key=True)])
        graph: object = self.graph
        if isinstance(graph, Graph):
            self._within = graph
        elif not isinstance(graph, str | Mapping) or not self.graph:
            text = "graph must be a file's path, a graph in place, or a Graph"
            raise DefinitionError([Problem("G002", text, path=("graph",))])
        return self

    def within(self) -> Graph | None:
        """The graph, once it has been read."""
        return self._within

    def opened(self, read: Callable[[str | Mapping[str, Any]], Any]) -> Self:
        """The node with its graph read."""
        if self._within is not None:
            return self
        try:
            within = read(cast("str | Mapping[str, Any]", self.graph))
        except DefinitionError as error:
            raise DefinitionError(
                [replace(problem, path=("graph", *problem.path)) for problem in error.problems]
            ) from error
        is_file = isinstance(self.graph, str)
        opened = self.model_copy(update={} if is_file else {"graph": within})
        opened._within = within
        return opened

    def asks(self) -> bool:
        """The nodes inside ask; its own template only makes their message."""
        return False

    def shown(self) -> Mapping[str, object]:
        """`node.graph` is the name of the graph."""
        return {"graph": self._within.name if self._within else self.graph}

    def written(self) -> dict[str, JSON]:
        """The file by its path, any other graph in place."""
        within = self.graph.written() if isinstance(self.graph, Graph) else self.graph
        data = self.model_copy(update={"graph": "-"}).written() if within is not self.graph else {}
        return {**(data or super().written()), "graph": cast("JSON", within)}

    async def run(self, context: Context) -> Result:
        """Run the graph on the message that the template makes."""
        return await context.run_graph(context.render())
