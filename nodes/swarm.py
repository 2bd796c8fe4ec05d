"""The kind `swarm`: members that hand the conversation over to each other within a turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from msgspec.structs import replace
from pydantic import Field, PrivateAttr, model_validator

from teamgraph import JSON, Graph
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import (
    Context,
    Handover,
    Node,
    Result,
    Visit,
    closest,
    handovers_of,
    written_node,
)

_MEMBERS = "members"
_TOOL = "transfer.jinja"
"""The template of what a model reads of the tool that hands over."""


class Swarm(Node):
    """Members of whom one speaks at a time; each hands over by a tool, the last one answers.

    `start` begins. A member with `hands_to` may call the tool `transfer_to_NAME` with a reason,
    and then that member goes on, which reads who handed over and why as `node.handover`. What a
    member answers without that is the output. Records have paths such as `node[2]/member`.
    """

    kind: ClassVar[str] = "swarm"
    runs_again: ClassVar[bool] = True
    streams: ClassVar[bool] = True
    text_field: ClassVar[str | None] = "input"
    nodes_field: ClassVar[str] = _MEMBERS
    templates: ClassVar[tuple[str, ...]] = (_TOOL,)
    variables: ClassVar[Mapping[str, object]] = {"member": str, "description": str, "role": str}
    provides: ClassVar[Mapping[str, object]] = {
        "output": object,
        "speaker": str,
        "speakers": list[str],
    }

    role: str = Field(
        default="",
        description="What the swarm is for; part of the prompts of other nodes.",
        examples=["The desk of an airline"],
    )
    members: Mapping[str, Any] = Field(  # Any: mappings, or in Python nodes
        min_length=1,
        description="The members by name, each one node; `hands_to` says whom it may hand over to.",
        examples=[
            {"desk": {"role": "You greet", "hands_to": "sales"}, "sales": {"role": "You sell"}}
        ],
    )
    start: str = Field(min_length=1, description="The member that begins.", examples=["desk"])
    max: Annotated[int, Field(ge=1, strict=True)] = Field(
        default=5,
        description="The most handovers of one turn; whoever speaks then can hand over no more.",
        examples=[3],
    )
    sticky: bool = Field(
        default=True,
        strict=True,
        description="Whether the next turn of the session begins with the last speaker.",
        examples=[False],
    )
    input: str | None = Field(
        default=None,
        description="A template for the message that the members read; if left out, it is the task "
        "from a router, or the message of this run.",
        examples=["{{ translation.output }}"],
    )
    _within: Graph | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[Problem] = []
        if self.input is not None and self.prompt is not None:
            text = "input and prompt are both templates for the members' message; remove one"
            problems.append(Problem("G007", text, path=("prompt",), on_key=True))
        if self.start not in self.members:
            text = f"start names {self.start!r}, and there is no such member"
            near = closest(self.start, self.members)
            text += "" if near else f"; the members are {', '.join(self.members)}"
            problems.append(Problem("G012", text, path=("start",), suggestion=near))
        if problems:
            raise DefinitionError(problems)
        return self

    def within(self) -> Graph | None:
        """The members as the nodes of one graph; None until they have been read."""
        return self._within

    def opened(self, read: Callable[[Mapping[str, Any]], Any]) -> Self:
        """The swarm with its members read."""
        if self._within is not None:
            return self
        try:
            within = cast("Graph", read({"nodes": self.members}))
        except DefinitionError as error:
            raise DefinitionError(
                [replace(each, path=(_MEMBERS, *each.path[1:])) for each in error.problems]
            ) from error
        if unreached := [*within.nodes.keys() - self._reached(within.nodes)]:
            text = "is not `start`, and no member that can speak hands over to it; name it in the "
            text += "`hands_to` of one, or leave it out"
            raise DefinitionError(
                [
                    Problem("G014", f"member {name!r} {text}", path=(_MEMBERS, name), on_key=True)
                    for name in sorted(unreached)
                ]
            )
        opened = self.model_copy(update={_MEMBERS: dict(within.nodes)})
        opened._within = within
        return opened

    def asks(self) -> bool:
        """Its templates make the message and describe tools; the members ask models."""
        return False

    def shown(self) -> Mapping[str, object]:
        """`node.members` are their names."""
        return {_MEMBERS: list(self.members)}

    def written(self) -> dict[str, JSON]:
        """The members in place."""
        bare = self.model_copy(update={_MEMBERS: {}})
        members = {
            name: written_node(node) if isinstance(node, Node) else cast("JSON", node)
            for name, node in self.members.items()
        }
        return {**super(Swarm, bare).written(), _MEMBERS: cast("JSON", members)}

    async def run(self, context: Context) -> Result:
        """Visit members until one answers; visits that an earlier try has finished are kept."""
        message, speakers = context.render(), list[str]()
        visit = self._visit(context, self._first(context))
        while True:
            speakers.append(visit.node)
            inner = await context.run_graph(message, number=len(speakers), visit=visit)
            said: Any = inner.nodes[visit.node]
            if not hasattr(said, "handed_to"):
                return self._result(inner.output, speakers)
            handover = Handover(by=visit.node, reason=said.reason)
            is_last = len(speakers) >= self.max
            visit = self._visit(context, said.handed_to, handover, is_last=is_last)

    async def rehearse(self, context: Context) -> Result:
        """Visit the first member, and then each other as if one had handed over to it."""
        message, first = context.render(), self._first(context)
        others = [name for name in self.members if name != first]
        outputs: list[object] = []
        for number, name in enumerate([first, *others], 1):
            by = next(
                (each for each in self.members if name in handovers_of(self.members[each])), first
            )
            handover = Handover(by=by, reason=f"«{context.node_id}.reason»")
            visit = self._visit(context, name, None if name == first else handover)
            tokens: Literal["events", "output"] = "events" if outputs else "output"
            inner = await context.run_graph(message, number=number, visit=visit, tokens=tokens)
            outputs.append(inner.output)
        return self._result(outputs[0], [first])

    def _first(self, context: Context) -> str:
        """Who began in an earlier try of this run; else the last speaker of the turn before."""
        last = context.visited.get(1) or (context.state.get("speaker") if self.sticky else None)
        return last if isinstance(last, str) and last in self.members else self.start

    def _visit(
        self,
        context: Context,
        name: str,
        handover: Handover | None = None,
        *,
        is_last: bool = False,
    ) -> Visit:
        names = () if is_last else handovers_of(self.members[name])
        tools = {each: self._tool(context, each) for each in names}
        return Visit(name, tools, handover)

    def _tool(self, context: Context, name: str) -> str:
        """What a model reads of the tool that hands over to a member."""
        node = self.members[name]
        role: object = getattr(node, "role", "")
        return context.render(_TOOL, member=name, description=node.description, role=role)

    def _result(self, output: object, speakers: Sequence[str]) -> Result:
        speaker = speakers[-1]
        fields: dict[str, JSON] = {"speaker": speaker, "speakers": list[JSON](speakers)}
        return Result(output, fields=fields, state={"speaker": speaker} if self.sticky else None)

    def _reached(self, nodes: Mapping[str, Node]) -> set[str]:
        """The members that can speak, since they begin or somebody hands over to them."""
        reached, todo = set[str](), [self.start]
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += handovers_of(nodes[name])
        return reached
