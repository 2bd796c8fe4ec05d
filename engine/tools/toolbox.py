"""The tools of a node, and the session tools, which read earlier turns of the user.

Session tools have access to the user and the session of the run and to nothing else. They return
plain JSON of messages and answers: no prompts, no ids, no metrics.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Annotated, Any, NamedTuple, Self, TypeAlias, cast

from msgspec import Struct, field
from msgspec.structs import asdict, replace
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from ..errors import DefinitionError, InputError, KeyPath, Problem, closest, listed
from ..imports import reference
from ..messages import JSON
from ..models.endpoints import address_problem, key_variable_problem
from ..records import PastToolCall, Turn
from ..session.history import shorten
from ..validation import Declared, as_tuple
from ..values import parse_json
from .context import ToolContext
from .tool import FUNCTIONS, NO_OPTIONS, Tool, ToolOptions, handover_tool

TURNS_OF_OTHER_SESSION = 3
"""Turns of each session in the result of `search_sessions`."""
MAX_TURNS_BACK = 100
"""Turns that `read_tool_call_history` looks at, at most."""

LOCK = "mcp_lock.json"
"""The file beside a graph that has the tools of its MCP servers."""
SERVER = "mcp://"
"""What a reference to a tool of an MCP server begins with, where it is resolved."""

Count = Annotated[int, Field(ge=1, le=50)]


async def read_chat_history(
    context: ToolContext, limit: Count = 3, skip: Annotated[int, Field(ge=0)] = 0
) -> list[JSON]:
    """Read the last exchanges of this conversation, oldest first.

    Args:
        context: Whose conversation it is.
        limit: How many exchanges to read.
        skip: How many of the newest to leave out, to read those before them.
    """
    turns = await context.past.turns(last=limit + skip)
    return [_exchange(turn) for turn in turns[: max(0, len(turns) - skip)]]


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


class ToolObject(Struct, frozen=True, eq=False):
    """An object whose public methods are tools, or that is called; or a bound method.

    `reference` is the import string that it was found by, None if it was given in Python.
    """

    target: object
    reference: str | None = None

    def __eq__(self, other: object) -> bool:
        """Equal to the object itself, however it was found."""
        return self.target == (other.target if isinstance(other, ToolObject) else other)

    def __hash__(self) -> int:
        return hash(self.target)

    def tools_with(self, options: ToolOptions) -> list[Tool]:
        """The tools that it is; raises `DefinitionError`."""
        return Tool.of_object(self.target, options)

    @property
    def facts(self) -> JSON:
        """What a fingerprint has of it: its class, or the name of the method."""
        named = self.target if isinstance(self.target, MethodType) else type(self.target)
        return f"{named.__module__}:{named.__qualname__}"


class ServerTools(Struct, frozen=True, eq=False):
    """Tools of an MCP server, as `server.tool` or `server.*` names them; `facts` are their schemas.

    `facts` are None where the server cannot be used, which is reported elsewhere.
    """

    reference: str
    tools: tuple[Tool, ...]
    facts: JSON

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServerTools) and (self.reference, self.facts) == (
            other.reference,
            other.facts,
        )

    __hash__ = None  # type: ignore[assignment]  # it has mappings

    def tools_with(self, options: ToolOptions) -> list[Tool]:
        """The tools that it is."""
        return [tool.with_options(options) for tool in self.tools]


def _as_object(value: object) -> object:
    """An object that may be a toolkit, wrapped; anything else as it is."""
    known = (type, Declared, ToolObject, ServerTools, *FUNCTIONS)
    is_object = not isinstance(value, known) and type(value).__module__ != "builtins"
    return ToolObject(value) if is_object else value


def _is_tool(value: object) -> bool:
    known = (Declared, ToolObject, ServerTools)
    return callable(value) or isinstance(_as_object(value), known)


def _as_tool(value: object) -> object:
    """A mapping as the declaration that its keys are of, an object wrapped."""
    if not isinstance(value, Mapping):
        if not isinstance(value, str) and not _is_tool(value):
            text = "must be a function or an object with methods, their name, or a graph"
            raise DefinitionError([Problem("G002", text)])
        return _as_object(value)
    fields = {str(key): item for key, item in cast("Mapping[object, Any]", value).items()}
    return GraphTool(**fields) if "graph" in fields else FunctionTool(**fields)


def _as_called(value: object) -> object:
    """What `call` may be: a name, a function or an object."""
    if isinstance(value, Declared) or not (isinstance(value, str) or _is_tool(value)):
        raise ValueError("must be a function or an object with methods, or its name")
    return _as_object(value)


def _one_or_many(value: object) -> object:
    if isinstance(value, list | tuple):
        declared = cast("Sequence[object]", value)
    elif isinstance(value, str | Mapping) or _is_tool(value):
        declared = cast("Sequence[object]", [value])
    else:
        raise ValueError("must be a tool or a list of tools")
    problems: list[Problem] = []
    found: list[object] = []
    for index, each in enumerate(declared):
        try:
            found.append(_as_tool(each))
        except DefinitionError as error:
            problems += (
                replace(problem, path=(index, *problem.path)) for problem in error.problems
            )
    if problems:
        raise DefinitionError(problems)
    return found


class FunctionTool(Declared):
    """A function that a model may call, with options for its calls; or a toolkit, for all of it."""

    model_config = ConfigDict(defer_build=False)

    call: Annotated[
        Any,  # also a user's function or object
        BeforeValidator(_as_called, json_schema_input_type=str),
    ] = Field(
        description="The function: `package.module:name`, a session tool, a tool of an MCP server "
        "(`server.tool`), or itself in Python.",
        examples=["myapp.shop:refund"],
    )
    confirm: bool | Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Whether a person confirms each call, or a Jinja expression over `arguments` "
        "that says which.",
        examples=["arguments.amount > 100"],
    )
    timeout: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Timeout of a call in seconds; the model gets an error instead of a result.",
        examples=[5],
    )
    max_result: Annotated[int, Field(gt=0, strict=True)] | None = Field(
        default=None,
        description="Characters of a result that the model is sent; a longer one is truncated, "
        "and ends with a note that says so.",
        examples=[2000],
    )

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if self.options == NO_OPTIONS:
            text = "it has no option; add `confirm: true` if a person is to confirm each call, "
            text += "`timeout` or `max_result`, or write the name of the function alone"
            raise DefinitionError([Problem("G002", text)])
        return self

    @property
    def options(self) -> ToolOptions:
        """How its calls are executed."""
        return ToolOptions(self.confirm, self.timeout, self.max_result)

    def with_call(self, call: DeclaredFunction) -> FunctionTool:
        """The same options for the function that was found."""
        options = {name: getattr(self, name) for name in self.model_fields_set - {"call"}}
        return FunctionTool(call=call, **options)

    def written(self) -> JSON:
        """As a graph file has it; raises `DefinitionError` without an importable name."""
        options = {name: value for name, value in asdict(self.options).items() if value is not None}
        if (timeout := self.timeout) is not None and timeout.is_integer():
            options["timeout"] = int(timeout)
        return {"call": _name(self.call), **options}


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


def _words(value: object) -> object:
    """A text as a list of one word; a command line has to be split by who writes it."""
    if isinstance(value, str) and " " in value:
        text = f"must be a list of words: [{', '.join(value.split())}]"
        raise ValueError(text)
    return (value,) if isinstance(value, str) else value


Words: TypeAlias = Annotated[
    Sequence[Annotated[str, Field(min_length=1)]],
    BeforeValidator(_words, json_schema_input_type=str | Sequence[str]),
    AfterValidator(as_tuple),
]
"""Type of a field that takes one word or several; stored as a tuple."""


class MCPServer(Declared):
    """A server of tools (Model Context Protocol): a program to start, or an address.

    It is used only where the caller allows it by its name, and started at the first call.
    """

    command: Words = Field(
        default=(),
        description="The program and its arguments; it is started in the folder of the graph file.",
        examples=[["npx", "-y", "@modelcontextprotocol/server-filesystem", "."]],
    )
    env: Words = Field(
        default=(),
        description="Environment variables that the program gets, beside PATH, HOME and the like.",
        examples=[["FILES_TOKEN"]],
    )
    url: str | None = Field(
        default=None,
        description="The address of a server (streamable HTTP).",
        examples=["https://tools.example/mcp"],
    )
    headers_env: Mapping[str, str] = Field(
        default_factory=dict[str, str],
        description="HTTP headers by name: the environment variable that has the whole value.",
        examples=[{"Authorization": "TOOLS_TOKEN"}],
    )
    timeout: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] = Field(
        default=60.0, description="Seconds that its start, or a call, may take.", examples=[60]
    )
    max_result: Annotated[int, Field(gt=0, strict=True)] = Field(
        default=20_000,
        description="Characters of a result that the model is sent.",
        examples=[20_000],
    )

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if problems := [*self._problems()]:
            raise DefinitionError(problems)
        return self

    def _problems(self) -> Iterator[Problem]:
        if bool(self.command) == bool(self.url):
            text = "a server has either a `command`, which starts it, or the `url` of one that runs"
            yield Problem("G002", text)
        if self.url is not None and (problem := address_problem(self.url)):
            yield Problem("G004", problem.replace("api_base", "url"), path=("url",))
        for name, variable in self.headers_env.items():
            if problem := key_variable_problem(variable):
                text = problem.replace("api_key_env", "headers_env")
                yield Problem("G004", text, path=("headers_env", name))
        for index, variable in enumerate(self.env):
            if not re.fullmatch(r"[A-Za-z_]\w*", variable):
                text = "env names variables of the environment; their values are not in the graph"
                yield Problem("G004", text, path=("env", index))
        unused = (
            ("env", self.env, "url") if self.url else ("headers_env", self.headers_env, "command")
        )
        if unused[1]:
            text = f"a server with a `{unused[2]}` takes no {unused[0]}; leave it out"
            yield Problem("G002", text, path=(unused[0],))


DeclaredFunction: TypeAlias = str | Callable[..., object] | ToolObject | ServerTools
DeclaredTool: TypeAlias = DeclaredFunction | FunctionTool | GraphTool
Tools: TypeAlias = Annotated[
    Sequence[object],
    BeforeValidator(
        _one_or_many,
        json_schema_input_type=str
        | FunctionTool
        | GraphTool
        | Sequence[str | FunctionTool | GraphTool],
    ),
    AfterValidator(as_tuple),
]
"""Type of a field that declares tools: functions, `package.module:function`, session tools.

Each may also be an object whose public methods are tools, `{call: ..., confirm: ...}`, or
`{graph: ..., name: ..., about: ...}`.
"""


class Toolbox(Struct, frozen=True):
    """The tools that the model of a node may call, by name.

    `rounds` is how many of its replies may call tools. `missing` are references
    (`package.module:function`) that were not resolved. `conditions` say which calls are to be
    confirmed, by the path of the field. `places` are the indexes in the list that declared each.
    """

    tools: Mapping[str, Tool]
    rounds: int
    missing: tuple[str, ...] = ()
    conditions: Mapping[KeyPath, CallCondition] = field(
        default_factory=dict[KeyPath, CallCondition]
    )
    places: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def of(cls, declared: Sequence[object], *, rounds: int) -> Self:
        """Make the tools; raises `DefinitionError` with the problems of all that are invalid."""
        problems: list[Problem] = []
        tools: dict[str, Tool] = {}
        missing: list[str] = []
        conditions: dict[KeyPath, CallCondition] = {}
        places: dict[str, int] = {}
        for index, each in enumerate(cast("Sequence[DeclaredTool]", declared)):
            named, options, path = _parts(each, index)
            try:
                found = _tools(named, options)
                for tool in found:
                    _add(tool, tools)
                    places[tool.name] = index
                if not found and isinstance(named, str):
                    missing.append(named)
                conditions |= _conditions(found, options, path)
            except DefinitionError as error:
                problems += _at(index, error)
        if problems:
            raise DefinitionError(problems)
        return cls(tools, rounds, tuple(missing), conditions, places)

    @staticmethod
    def resolved(
        declared: Sequence[object], resolve: Callable[[str], object]
    ) -> list[DeclaredTool]:
        """Resolve references to functions; raises `DefinitionError` with all problems."""
        problems: list[Problem] = []
        found: list[DeclaredTool] = []
        for index, each in enumerate(cast("Sequence[DeclaredTool]", declared)):
            try:
                if isinstance(each, FunctionTool):
                    found.append(each.with_call(_found(each.call, resolve)))
                else:
                    found.append(each if isinstance(each, GraphTool) else _found(each, resolve))
            except DefinitionError as error:
                problems += _at(index, error)
        if problems:
            raise DefinitionError(problems)
        return found

    @staticmethod
    def written(declared: Sequence[object]) -> list[JSON]:
        """The tools as a graph file has them, without graphs.

        Raises `DefinitionError` for a function without an importable name.
        """
        try:
            return [
                each.written() if isinstance(each, FunctionTool) else _name(each)
                for each in cast("Sequence[DeclaredFunction | FunctionTool]", declared)
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

    @property
    def can_hand_over(self) -> bool:
        """Whether any of the tools hands over to another node."""
        return any(tool.hands_to for tool in self.tools.values())

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


def _found(named: DeclaredFunction, resolve: Callable[[str], object]) -> DeclaredFunction:
    """What a reference names: a function, or an object together with its reference."""
    if not isinstance(named, str) or not _is_reference(named):
        return named
    found = resolve(named if ":" in named else f"{SERVER}{named}")
    if isinstance(found, str):  # left for who knows it
        return named
    if isinstance(found, ServerTools):
        return found
    if isinstance(found, FunctionType | BuiltinFunctionType | type):
        return found
    if not callable(found) and type(found).__module__ == "builtins":
        text = f"{named!r} is not a function, and no object whose methods could be tools"
        raise DefinitionError([Problem("G008", text)])
    return ToolObject(found, named)


def _parts(
    declared: DeclaredTool, index: int
) -> tuple[DeclaredFunction | GraphTool, ToolOptions, KeyPath]:
    """What is called, how, and where it is said which calls are to be confirmed."""
    if isinstance(declared, FunctionTool):
        return declared.call, declared.options, ("tools", index, "confirm")
    return declared, NO_OPTIONS, ("tools", index)


def _conditions(
    found: Sequence[Tool], options: ToolOptions, path: KeyPath
) -> dict[KeyPath, CallCondition]:
    """The expressions that say which calls are to be confirmed; of a toolkit, by its tools."""
    if not found and isinstance(options.confirm, str):
        return {path: CallCondition(options.confirm, None)}
    return {
        (*path, tool.name) if len(found) > 1 else path: CallCondition(
            tool.options.confirm, tool.complete_schema()
        )
        for tool in found
        if isinstance(tool.options.confirm, str)
    }


def _name(named: DeclaredFunction) -> str:
    if isinstance(named, ServerTools):
        return named.reference
    if isinstance(named, ToolObject):
        return named.reference or reference(named.target)
    return named if isinstance(named, str) else reference(named)


def _tools(named: DeclaredFunction | GraphTool, options: ToolOptions) -> list[Tool]:
    """The tools that are named; none if a reference is not resolved yet."""
    if isinstance(named, GraphTool):
        return [Tool.of_graph(named.name, named.about)]
    if isinstance(named, ToolObject | ServerTools):
        return named.tools_with(options)
    if not isinstance(named, str):
        return [Tool.of(named, options)]
    if _is_reference(named):
        return []
    if named not in SESSION_TOOLS:
        near = closest(named, SESSION_TOOLS)
        text = f"there is no session tool {named!r}"
        if near is None:
            text += f"; there are {listed(SESSION_TOOLS)}, and functions of yours are named "
            text += "'package.module:function'"
        raise DefinitionError([Problem("G008", text, suggestion=near)])
    return [Tool.of(SESSION_TOOLS[named], options)]


def _is_reference(named: str) -> bool:
    """Whether a name is one of a function (`module:name`) or of a server's tool (`server.tool`)."""
    return ":" in named or "." in named


def _add(tool: Tool, tools: dict[str, Tool]) -> None:
    if tool.name in tools:
        text = f"two tools are called {tool.name!r}; rename one, or leave it out"
        raise DefinitionError([Problem("G008", text)])
    tools[tool.name] = tool


def _at(index: int, error: DefinitionError) -> list[Problem]:
    return [replace(problem, path=("tools", index, *problem.path)) for problem in error.problems]
