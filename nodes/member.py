"""The kind `member`: one role, one prompt, one answer, with tools; and `leader`, one kind of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Self, TypeAlias, cast

from msgspec.structs import replace
from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from teamgraph import JSON, Graph
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import (
    Context,
    GraphTool,
    Ids,
    KeyPath,
    Node,
    Result,
    Texts,
    Toolbox,
    Tools,
    handover_name,
)


def _graphs_as_tools(value: object) -> object:
    """The tools of a node with each `Graph` as the tool of its name."""
    if not isinstance(value, list | tuple):
        return _named(value)
    return [_named(each) for each in cast("Sequence[object]", value)]


def _named(tool: object) -> object:
    """A `Graph` as the tool of its name; anything else as it is."""
    if not isinstance(tool, Graph):
        return tool
    if not tool.description:
        text = f"the graph {tool.name!r} has no description for the model that calls it; give it "
        text += "one, or write {'graph': ..., 'name': ..., 'about': ...}"
        raise DefinitionError([Problem("G008", text)])
    name = re.sub(r"[^a-z0-9]+", "_", tool.name.lower()).strip("_")
    return GraphTool(graph=tool, name=name, about=tool.description)


MemberTools: TypeAlias = Annotated[Tools, BeforeValidator(_graphs_as_tools)]
"""`Tools`, where a `Graph` with a description is a tool too."""


class Member(Node):
    """Answers the message in its role, with the help of tools if it has any."""

    streams: ClassVar[bool] = True
    runs_again: ClassVar[bool] = True

    role: str = Field(
        default="",
        description="Who the member is and what it does; part of its prompt.",
        examples=["You answer questions in English"],
    )
    prompt: str | None = Field(
        default="member.jinja", description="Its template.", examples=["member.jinja"]
    )

    instructions: Texts = Field(
        default=(),
        description="Rules that it follows, one or several.",
        examples=[["Answer in one sentence."]],
    )
    tools: MemberTools = Field(
        default=(),
        description="What its model may call: functions or objects (`package.module:name`), "
        "session tools, tools of MCP servers (`server.tool`); `{call, ...}` has options, and "
        "`{graph, name, about}` is a graph.",
        examples=[["read_chat_history", {"call": "myapp.orders:cancel", "confirm": True}]],
    )
    max_tool_rounds: int = Field(
        default=5,
        ge=1,
        strict=True,
        description="How many replies of one answer may call tools.",
        examples=[5],
    )
    hands_to: Ids = Field(
        default=(),
        description="In a swarm: the members that it may hand the conversation over to.",
        examples=[["billing"]],
    )
    _toolbox: Toolbox | None = PrivateAttr(default=None)
    _within: Graph | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _make_tools(self) -> Self:
        if self.tools or self.hands_to:
            self._toolbox = box = Toolbox.of(self.tools, rounds=self.max_tool_rounds)
            taken = [each for each in self.hands_to if handover_name(each) in box.tools]
            if taken:
                text = f"the tool {handover_name(taken[0])!r} is called like the one that hands "
                text += f"over to {taken[0]!r}; rename the function"
                raise DefinitionError([Problem("G008", text, path=("tools",))])
        return self

    def mentions(self) -> Mapping[KeyPath, str]:
        """The members that it may hand over to."""
        return {("hands_to", index): name for index, name in enumerate(self.hands_to)}

    def bound(self, resolve: Callable[[str], object]) -> Self:
        """The member with the functions of its tools."""
        if self._toolbox is None or not self._toolbox.missing:
            return self
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        fields["tools"] = Toolbox.resolved(self.tools, resolve)
        return type(self)(**fields)

    def toolbox(self) -> Toolbox | None:
        """The tools that it declares."""
        return self._toolbox

    def within(self) -> Graph | None:
        """The graphs that are tools, as the nodes of one graph; None until they have been read."""
        return self._within

    def opened(self, read: Callable[..., Any]) -> Self:
        """The member with the graphs of its tools read."""
        if not any(isinstance(tool, GraphTool) for tool in self.tools):
            return self
        from .graph import SubGraph  # noqa: PLC0415  few members have such tools

        tools, nodes = list(self.tools), dict[str, Node]()
        problems: list[Problem] = []
        for index, tool in enumerate(tools):
            if not isinstance(tool, GraphTool):
                continue
            try:
                node = SubGraph(graph=tool.graph, role=tool.about)
                nodes[tool.name] = node = node.opened(partial(read, name=tool.name))
                tools[index] = tool.model_copy(update={"graph": node.graph})
            except DefinitionError as error:
                path = ("tools", index)
                problems += (replace(each, path=(*path, *each.path)) for each in error.problems)
        if problems:
            raise DefinitionError(problems)
        opened = self.model_copy(update={"tools": tuple(tools)})
        opened._within = Graph(name="tools", nodes=nodes, output=list(nodes))
        return opened

    def written(self) -> dict[str, JSON]:
        """The tools by name; a function without an importable name raises `DefinitionError`."""
        if not self.tools:
            return super().written()
        from .graph import written_graph  # noqa: PLC0415  few members have such tools

        bare = self.model_copy(update={"tools": ()})
        tools: list[JSON] = []
        for tool in self.tools:
            if isinstance(tool, GraphTool):
                graph = written_graph(tool.graph)
                tools.append({"graph": graph, "name": tool.name, "about": tool.about})
            else:
                tools += Toolbox.written([tool])
        return {**super(Member, bare).written(), "tools": tools}

    async def run(self, context: Context) -> Result:
        """Ask the model once; with `returns` the answer is a value of that shape."""
        return Result(await context.reply())

    async def rehearse(self, context: Context) -> Result:
        """Ask, and run each graph that is a tool once."""
        result = await self.run(context)
        for tool in self.tools:
            if isinstance(tool, GraphTool):
                await context.rehearse_tool(tool.name, f"«{context.node_id}.{tool.name}»")
        return result


class Leader(Member):
    """Answers the message from the outputs of the nodes that it needs."""

    prompt: str | None = Field(
        default="leader.jinja", description="Its template.", examples=["leader.jinja"]
    )
