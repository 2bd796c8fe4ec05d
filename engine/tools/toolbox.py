"""The tools of a node: what is declared, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Self, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace
from pydantic import AfterValidator, BeforeValidator

from ..declared import as_tuple
from ..errors import DefinitionError, InputError, Problem, closest, listed
from ..imports import reference
from ..messages import JSON
from .session import SESSION_TOOLS
from .tool import Tool


def _one_or_many(value: object) -> object:
    if isinstance(value, str) or callable(value):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("must be a tool or a list of tools")
    return cast("Sequence[object]", value)


Named: TypeAlias = str | Callable[..., object]
Tools: TypeAlias = Annotated[
    Sequence[Named],
    BeforeValidator(_one_or_many, json_schema_input_type=str | Sequence[str]),
    AfterValidator(as_tuple),
]
"""A field of tools: functions, or texts `package.module:function` and names of session tools."""


class Toolbox(Struct, frozen=True):
    """The tools that the model of a node may call, by name.

    `rounds` is how many of its replies may ask for tools. `missing` are functions that are named
    by a text which nobody has resolved.
    """

    tools: Mapping[str, Tool]
    rounds: int
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, declared: Sequence[Named], *, rounds: int) -> Self:
        """Make the tools; raises `DefinitionError` with every one that does not hold."""
        problems: list[Problem] = []
        tools: dict[str, Tool] = {}
        missing: list[str] = []
        for index, named in enumerate(declared):
            try:
                tool = _tool(named)
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
        return cls(tools, rounds, tuple(missing))

    @staticmethod
    def resolved(declared: Sequence[Named], resolve: Callable[[str], object]) -> list[Named]:
        """The tools with the functions that a graph file names; raises `DefinitionError`."""
        problems: list[Problem] = []
        found: list[Named] = []
        for index, named in enumerate(declared):
            try:
                found.append(_found(named, resolve))
            except DefinitionError as error:
                problems += _at(index, error)
        if problems:
            raise DefinitionError(problems)
        return found

    @staticmethod
    def written(declared: Sequence[Named]) -> list[JSON]:
        """The tools as a graph file names them.

        Raises `DefinitionError` for a function that cannot be found again by a name.
        """
        try:
            return [named if isinstance(named, str) else reference(named) for named in declared]
        except DefinitionError as error:
            raise DefinitionError(
                [replace(problem, path=("tools",)) for problem in error.problems]
            ) from error

    def offered(self) -> tuple[Mapping[str, JSON], ...]:
        """The tools as a request to a model names them; raises `InputError` if one is missing."""
        if self.missing:
            raise InputError(
                f"the tool {self.missing[0]!r} was not found at load; give the function itself, "
                "or load the graph from a file and allow its package"
            )
        return tuple(tool.offered() for tool in self.tools.values())

    def shown(self) -> list[dict[str, str]]:
        """What templates read as `node.tools`: the name and the description of each."""
        return [
            {"name": tool.name, "description": tool.description} for tool in self.tools.values()
        ]


def _found(named: Named, resolve: Callable[[str], object]) -> Named:
    if not isinstance(named, str) or ":" not in named:
        return named
    function = resolve(named)
    if not callable(function):
        raise DefinitionError([Problem("G008", f"{named!r} is no function")])
    return function


def _tool(named: Named) -> Tool | None:
    if not isinstance(named, str):
        return Tool.of(named)
    if ":" in named:
        return None
    if named not in SESSION_TOOLS:
        near = closest(named, SESSION_TOOLS)
        text = f"there is no session tool {named!r}"
        if near is None:
            text += f"; there are {listed(SESSION_TOOLS)}, and functions of yours are named "
            text += "'package.module:function'"
        raise DefinitionError([Problem("G008", text, suggestion=near)])
    return Tool.of(SESSION_TOOLS[named])


def _at(index: int, error: DefinitionError) -> list[Problem]:
    return [replace(problem, path=("tools", index, *problem.path)) for problem in error.problems]
