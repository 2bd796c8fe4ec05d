"""The kind `graph`: runs another graph as a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, cast

from msgspec.structs import replace
from pydantic import Field, PrivateAttr, model_validator

from teamgraph import JSON, Graph
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import Context, Node, Result, written_node


class SubGraph(Node):
    """Runs an inner graph as a part of this run; its answer is the output.

    `graph` is a file, relative to the one that names it, a graph in place, or one node in place:
    a mapping with `nodes` is a graph, any other is a node. The inner graph reads the same session,
    and uses the model of the outer graph unless it names one. Its records belong to the run, by
    their paths: `node/inner_node`.
    """

    kind: ClassVar[str] = "graph"
    streams: ClassVar[bool] = True
    text_field: ClassVar[str | None] = "input"
    provides: ClassVar[Mapping[str, object]] = {"output": object}

    role: str = Field(
        default="",
        description="What the graph is for; part of the prompts of other nodes.",
        examples=["You research what others have found"],
    )
    graph: Any = Field(  # a path, a mapping, a Graph or a Node; `_check_graph` validates it
        description="The graph: a file, relative to this one, the graph itself, or one node.",
        examples=["research.yaml"],
        json_schema_extra={"anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}]},
    )
    input: str | None = Field(
        default=None,
        description="A template for the message of the inner graph; if left out, it is the task "
        "from a router, or the message of this run.",
        examples=["{{ research.output }}"],
    )
    _within: Graph | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check_graph(self) -> Self:
        if self.input is not None and self.prompt is not None:
            text = "input and prompt are both templates for the inner message; remove one"
            raise DefinitionError([Problem("G007", text, path=("prompt",), on_key=True)])
        graph: object = self.graph
        if isinstance(graph, Graph):
            self._within = graph
        elif not isinstance(graph, str | Mapping | Node) or not graph:
            text = "graph must be a file's path, an inline graph, or a Graph; or one node"
            raise DefinitionError([Problem("G002", text, path=("graph",))])
        return self

    def within(self) -> Graph | None:
        """The inner graph, None until it has been read."""
        return self._within

    def opened(self, read: Callable[[str | Mapping[str, Any] | Node], Any]) -> Self:
        """The node with its inner graph read."""
        if self._within is not None:
            return self
        try:
            within = read(cast("str | Mapping[str, Any] | Node", self.graph))
        except DefinitionError as error:
            raise DefinitionError(
                [replace(problem, path=("graph", *problem.path)) for problem in error.problems]
            ) from error
        graph: object = self.graph
        if isinstance(graph, Mapping):
            graph = within if "nodes" in graph else next(iter(within.nodes.values()))
        opened = self.model_copy(update={"graph": graph})
        opened._within = within
        return opened

    def asks(self) -> bool:
        """Its template only makes the message; the inner nodes ask models."""
        return False

    def shown(self) -> Mapping[str, object]:
        """`node.graph` is the name of the graph."""
        return {"graph": self._within.name if self._within else self.graph}

    def written(self) -> dict[str, JSON]:
        """The file by its path, any other graph or node in place."""
        bare = self.model_copy(update={"graph": "-"})
        return {**super(SubGraph, bare).written(), "graph": written_graph(self.graph)}

    async def run(self, context: Context) -> Result:
        """Run the graph on the message that the template makes."""
        return await context.run_graph(context.render())


def written_graph(graph: object) -> JSON:
    """A graph, a node in its place, or the path of a file, as a graph file has it."""
    if isinstance(graph, Graph):
        return graph.written()
    return written_node(graph) if isinstance(graph, Node) else cast("JSON", graph)
