"""The tools of a node, and the session tools, which read earlier turns of the user.

Session tools have access to the user and the session of the run and to nothing else. They return
plain JSON of messages and answers: no prompts, no ids, no metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Self, TypeAlias, cast

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from ..errors import DefinitionError, InputError, KeyPath, Problem, closest, listed
from ..imports import reference
from ..messages import JSON
from ..records import PastToolCall, Turn
from ..session.history import shorten
from ..validation import Declared, as_tuple
from ..values import parse_json
from .context import ToolContext
from .tool import Tool, handover_tool

TURNS_OF_OTHER_SESSION = 3
"""Turns of each session in the result of `search_sessions`."""
MAX_TURNS_BACK = 100
"""Turns that `read_tool_call_history` looks at, at most."""

Count = Annotated[int, Field(ge=1, le=50)]


async def read_chat_history(context: ToolContext, limit: Count = 3) -> list[JSON]:
    """Read the last exchanges of this conversation, oldest first.

    Args:
        context: Whose conversation it is.
        limit: How many exchanges to read.
    """
    return [_exchange(turn) for turn in await context.past.turns(last=limit)]


async def read_tool_call_history(context: ToolContext, limit: Count = 3) -> list[JSON]:
    """Read the last tool calls of this conversation with their results, newest first.

    Args:
        context: Whose conversation it is.
        limit: How many calls to read.
    """
    found: list[JSON] = []
    for turn in reversed(await context.past.turns(last=MAX_TURNS_BACK)):
        calls = reversed(await context.past.calls(turn.run_id))
        # Without its own calls, whose results would nest, turn after turn.
        found += [_call(call) for call in calls if call.tool != read_tool_call_history.__name__]
        if len(found) >= limit:
            break
    return found[:limit]


async def search_sessions(context: ToolContext, query: str = "", limit: Count = 2) -> list[JSON]:
    """Read what the user talked about in earlier conversations, the latest conversation first.

    Args:
        context: Whose conversation it is.
        query: Words that an exchange must contain; leave it out to read the last exchanges.
        limit: How many conversations to look at.
    """
    others = await context.past.other_sessions(
        sessions=limit, runs=TURNS_OF_OTHER_SESSION, text=query.strip()
    )
    return [
        {"conversation": [{"user": run.input, "assistant": run.answer} for run in other.runs]}
        for other in others
    ]


SESSION_TOOLS: Mapping[str, Callable[..., object]] = {
    function.__name__: function
    for function in (read_chat_history, read_tool_call_history, search_sessions)
}


def _exchange(turn: Turn) -> JSON:
    return {"user": turn.input, "assistant": turn.answer or ""}


def _call(call: PastToolCall) -> JSON:
    try:
        arguments = parse_json(call.arguments or "{}")
    except ValueError:
        arguments = call.arguments
    return {"tool": call.tool, "arguments": arguments, "result": shorten(call.result)}


def _one_or_many(value: object) -> object:
    if isinstance(value, str | Mapping | ConfirmedTool | GraphTool) or callable(value):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("must be a tool or a list of tools")
    return cast("Sequence[object]", value)


class ConfirmedTool(Declared):
    """A tool whose calls a person confirms: each, or those for which an expression is true."""

    model_config = ConfigDict(defer_build=False)

    call: str | Callable[..., Any] = Field(  # Any: a user's function
        description="The function: `package.module:name`, a session tool, or itself in Python.",
        examples=["myapp.shop:refund"],
    )
    confirm: bool | Annotated[str, Field(min_length=1)] = Field(
        default=True,
        description="Whether a person confirms each call, or a Jinja expression over `arguments` "
        "that says which.",
        examples=["arguments.amount > 100"],
    )


class CallCondition(NamedTuple):
    """The expression that says which calls are to be confirmed, and the schema of `arguments`.

    The schema is None where the function is not resolved.
    """

    expression: str
    arguments: Mapping[str, JSON] | None


class GraphTool(Declared):
    """A graph that a model may call as a tool, with a message."""

    model_config = ConfigDict(defer_build=False)

    graph: Any = Field(  # a path, a mapping, or in Python a Graph or a Node
        description="The graph: a file, relative to this one, the graph itself, or one node.",
        examples=["research.yaml"],
        json_schema_extra={"anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}]},
    )
    name: str = Field(
        pattern="^[a-z][a-z0-9_]*$",
        description="The name by which the model calls it, and its step in the paths of records.",
        examples=["research"],
    )
    about: str = Field(
        min_length=1,
        description="What it is for; the model reads this.",
        examples=["Finds out what others have written"],
    )


ToolName: TypeAlias = str | Callable[..., object]
DeclaredTool: TypeAlias = ToolName | ConfirmedTool | GraphTool
Tools: TypeAlias = Annotated[
    Sequence[DeclaredTool],
    BeforeValidator(
        _one_or_many,
        json_schema_input_type=str
        | ConfirmedTool
        | GraphTool
        | Sequence[str | ConfirmedTool | GraphTool],
    ),
    AfterValidator(as_tuple),
]
"""Type of a field that declares tools: functions, `package.module:function`, session tools.

Each may also be `{call: ..., confirm: ...}`, or `{graph: ..., name: ..., about: ...}`.
"""


class Toolbox(Struct, frozen=True):
    """The tools that the model of a node may call, by name.

    `rounds` is how many of its replies may call tools. `missing` are references
    (`package.module:function`) that were not resolved. `conditions` say which calls are to be
    confirmed, by the path of the field.
    """

    tools: Mapping[str, Tool]
    rounds: int
    missing: tuple[str, ...] = ()
    conditions: Mapping[KeyPath, CallCondition] = field(
        default_factory=dict[KeyPath, CallCondition]
    )

    @classmethod
    def of(cls, declared: Sequence[DeclaredTool], *, rounds: int) -> Self:
        """Make the tools; raises `DefinitionError` with the problems of all that are invalid."""
        problems: list[Problem] = []
        tools: dict[str, Tool] = {}
        missing: list[str] = []
        conditions: dict[KeyPath, CallCondition] = {}
        for index, each in enumerate(declared):
            named, confirm, path = _parts(each, index)
            try:
                tool = _tool(named, confirm)
                condition = confirm if tool is None else tool.confirm
                if isinstance(condition, str):
                    conditions[path] = CallCondition(
                        condition, None if tool is None else tool.complete_schema()
                    )
                if tool is None:
                    missing.append(str(named))
                elif tool.name in tools:
                    text = f"two tools are called {tool.name!r}; rename one, or leave it out"
                    raise DefinitionError([Problem("G008", text)])
                else:
                    tools[tool.name] = tool
            except DefinitionError as error:
                problems += _at(index, error)
        if problems:
            raise DefinitionError(problems)
        return cls(tools, rounds, tuple(missing), conditions)

    @staticmethod
    def resolved(
        declared: Sequence[DeclaredTool], resolve: Callable[[str], object]
    ) -> list[DeclaredTool]:
        """Resolve references to functions; raises `DefinitionError` with all problems."""
        problems: list[Problem] = []
        found: list[DeclaredTool] = []
        for index, each in enumerate(declared):
            try:
                if isinstance(each, ConfirmedTool):
                    call = _found(each.call, resolve)
                    found.append(ConfirmedTool(call=call, confirm=each.confirm))
                else:
                    found.append(each if isinstance(each, GraphTool) else _found(each, resolve))
            except DefinitionError as error:
                problems += _at(index, error)
        if problems:
            raise DefinitionError(problems)
        return found

    @staticmethod
    def written(declared: Sequence[ToolName | ConfirmedTool]) -> list[JSON]:
        """The tools as a graph file has them, without graphs.

        Raises `DefinitionError` for a function without an importable name.
        """
        try:
            return [
                {"call": _name(each.call), "confirm": each.confirm}
                if isinstance(each, ConfirmedTool)
                else _name(each)
                for each in declared
            ]
        except DefinitionError as error:
            raise DefinitionError(
                [replace(problem, path=("tools",)) for problem in error.problems]
            ) from error

    def offered(self) -> tuple[Mapping[str, JSON], ...]:
        """The tools as requests describe them; raises `InputError` if one is missing."""
        if self.missing:
            raise InputError(
                f"the tool {self.missing[0]!r} was not resolved at load; give the function itself, "
                "or load the graph from a file and allow its package"
            )
        return tuple(tool.offered() for tool in self.tools.values())

    def hands_over(self, name: str) -> bool:
        """Whether a tool hands over to another node."""
        return name in self.tools and bool(self.tools[name].hands_to)

    def with_handovers(self, nodes: Mapping[str, str]) -> Self:
        """The same with the tools that hand over to these nodes, each with its description."""
        tools = [handover_tool(node_id, about) for node_id, about in nodes.items()]
        return replace(self, tools={**self.tools, **{tool.name: tool for tool in tools}})

    def shown(self) -> list[dict[str, str]]:
        """The value of `node.tools` in templates: the name and the description of each."""
        return [
            {"name": tool.name, "description": tool.description} for tool in self.tools.values()
        ]


def _found(named: ToolName, resolve: Callable[[str], object]) -> ToolName:
    if not isinstance(named, str) or ":" not in named:
        return named
    function = resolve(named)
    if not callable(function):
        raise DefinitionError([Problem("G008", f"{named!r} is not a function")])
    return function


def _parts(
    declared: DeclaredTool, index: int
) -> tuple[ToolName | GraphTool, bool | str | None, KeyPath]:
    """The function, its name or a graph, what is to be confirmed, and where that is said."""
    if isinstance(declared, ConfirmedTool):
        return declared.call, declared.confirm, ("tools", index, "confirm")
    return declared, None, ("tools", index)


def _name(named: ToolName) -> str:
    return named if isinstance(named, str) else reference(named)


def _tool(named: ToolName | GraphTool, confirm: bool | str | None) -> Tool | None:
    if isinstance(named, GraphTool):
        return Tool.of_graph(named.name, named.about)
    if not isinstance(named, str):
        return Tool.of(named, confirm=confirm)
    if ":" in named:
        return None
    if named not in SESSION_TOOLS:
        near = closest(named, SESSION_TOOLS)
        text = f"there is no session tool {named!r}"
        if near is None:
            text += f"; there are {listed(SESSION_TOOLS)}, and functions of yours are named "
            text += "'package.module:function'"
        raise DefinitionError([Problem("G008", text, suggestion=near)])
    return Tool.of(SESSION_TOOLS[named], confirm=confirm)


def _at(index: int, error: DefinitionError) -> list[Problem]:
    return [replace(problem, path=("tools", index, *problem.path)) for problem in error.problems]
