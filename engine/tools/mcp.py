"""The tools of MCP servers as a graph sees them: from its lock file, without any server.

`mcp_lock.json`, beside the graph, has the name, description and JSON Schema of each tool of each
server. What a model is offered, what is rendered and what a fingerprint covers come from there, so
that a tool which changed is a visible difference; the server itself is started at the first call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace

from ..errors import DefinitionError, InputError, Problem, closest, listed
from ..files import write_atomically
from ..messages import JSON
from ..returns.schema_file import SchemaValidator, schema_validator
from ..values import parse_json
from .mcp_client import MCPAddress, ServerTool, diff
from .tool import BadArguments, Tool, ToolOptions
from .toolbox import MCPServer, ServerTools

CODE = "G016"
_VERSION = 1
_LONGEST_NAME = 64
"""Characters of a tool's name that providers take."""

Locked: TypeAlias = Mapping[str, Mapping[str, JSON]]
"""The tools of one server: `{description, parameters}` by name."""


class Servers(Struct, frozen=True):
    """The MCP servers of one graph, with their locked tools.

    `declared` are those whose declaration is valid and that the caller allows; of a server that is
    in `named` only, a problem is reported already. `lock` is the file, `folder` that of the graph.
    """

    named: Collection[str]
    declared: Mapping[str, MCPServer]
    tools: Mapping[str, Locked]
    lock: Path
    folder: Path

    @classmethod
    def of(
        cls, declared: Mapping[str, object], allow: Collection[str] | None, lock: Path
    ) -> tuple[Servers, list[Problem]]:
        """The servers of a graph in the folder of its lock, and what is wrong with them.

        `allow` are the names that the caller allows, None for all.
        """
        problems: list[Problem] = []
        valid: dict[str, MCPServer] = {}
        for name, fields in declared.items():
            if allow is not None and name not in allow:
                problems.append(_not_allowed(name, allow))
                continue
            with suppress(DefinitionError):  # reported with the other fields of the graph
                valid[name] = _server(fields)
        try:
            tools = read_lock(lock)
        except InputError as error:
            problems += (Problem(CODE, str(error), path=("mcp",)) for _ in valid)
            return cls([*declared], {}, {}, lock, lock.parent), problems[:1]
        for name in [each for each in valid if each not in tools]:
            text = f"{lock.name} beside the graph has no tools of the server {name!r}; write them "
            text += f"into it: teamgraph mcp lock GRAPH --allow-mcp {name}"
            problems.append(Problem(CODE, text, path=("mcp", name), on_key=True))
            del valid[name]
        return cls([*declared], valid, tools, lock, lock.parent), problems

    def find(self, reference: str) -> ServerTools:
        """The tools that `server.tool` or `server.*` names; raises `DefinitionError`."""
        name, _, tool = reference.partition(".")
        if name not in self.named:
            raise _no_server(reference, name, self.named)
        if name not in self.declared:
            return ServerTools(reference, (), None)
        locked = self.tools[name]
        if tool != "*" and tool not in locked:
            near = closest(tool, locked)
            text = f"the server {name!r} has no tool {tool!r}"
            text += "" if near else f"; it has {listed(locked)}"
            text += f", by {self.lock.name}; if it is new, run `teamgraph mcp lock` again"
            raise DefinitionError([Problem(CODE, text, suggestion=near and f"{name}.{near}")])
        names = [*locked] if tool == "*" else [tool]
        server = self.declared[name]
        tools = tuple(_tool(name, server, each, locked[each], self.folder) for each in names)
        facts: JSON = {each: dict(locked[each]) for each in names}
        return ServerTools(reference, tools, facts)


def parsed(declared: Mapping[str, object]) -> dict[str, MCPServer]:
    """The servers of a graph's data; raises `DefinitionError` with all problems."""
    found: dict[str, MCPServer] = {}
    problems: list[Problem] = []
    for name, fields in declared.items():
        try:
            found[name] = _server(fields)
        except DefinitionError as error:
            problems += (replace(each, path=("mcp", name, *each.path)) for each in error.problems)
    if problems:
        raise DefinitionError(problems)
    return found


def not_allowed(declared: Mapping[str, object], allow: Collection[str]) -> list[Problem]:
    """The problems of servers that the caller does not allow."""
    return [_not_allowed(name, allow) for name in declared if name not in allow]


def no_servers(reference: str) -> DefinitionError:
    """The error for a tool of a server in a graph that declares none."""
    return _no_server(reference, reference.partition(".")[0], ())


def read_lock(lock: Path) -> Mapping[str, Locked]:
    """The tools by server; none if there is no file. Raises `InputError` if it is damaged."""
    try:
        data: dict[str, object] = json.loads(lock.read_text(encoding="utf-8"))
        if data["version"] != _VERSION:
            raise ValueError(f"its version is not {_VERSION}")
        servers = cast("dict[str, dict[str, dict[str, JSON]]]", data["servers"])
        return {
            name: {
                tool: {"description": str(each["description"]), "parameters": _schema(each)}
                for tool, each in tools.items()
            }
            for name, tools in servers.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        )
        text = f"{lock.name} beside the graph cannot be read: {reason}; delete it and write it "
        raise InputError(f"{text}again: teamgraph mcp lock GRAPH") from error


def write_lock(lock: Path, servers: Mapping[str, Locked]) -> list[str]:
    """Write the tools of servers, in place of what it has of them; the changes, line by line.

    The file is written whole or not at all, and not touched if nothing changed.
    """
    old = read_lock(lock)
    new = {**old, **servers}
    changes = [*_changes(old, new)]
    if changes or not lock.exists():
        ordered = {name: dict(sorted(new[name].items())) for name in sorted(new)}
        text = json.dumps({"version": _VERSION, "servers": ordered}, indent=2, ensure_ascii=False)
        write_atomically(lock, f"{text}\n".encode())
    return changes


def _changes(old: Mapping[str, Locked], new: Mapping[str, Locked]) -> Iterator[str]:
    for server, tools in new.items():
        before = old.get(server, {})
        for name in sorted({*before, *tools}):
            if name not in before:
                yield f"+ {server}.{name}"
            elif name not in tools:
                yield f"- {server}.{name}"
            elif before[name] != tools[name]:
                yield f"~ {server}.{name}\n{diff(before[name], tools[name])}"


def _schema(tool: Mapping[str, JSON]) -> JSON:
    parameters = tool["parameters"]
    if not isinstance(parameters, dict):
        raise TypeError("parameters must be a JSON Schema")
    return parameters


def _server(fields: object) -> MCPServer:
    if isinstance(fields, MCPServer):
        return fields
    if not isinstance(fields, Mapping):
        text = "a server is a mapping: {command: [...]} or {url: ...}"
        raise DefinitionError([Problem("G002", text)])
    pairs = cast("Mapping[object, object]", fields)
    return MCPServer(**{str(key): value for key, value in pairs.items()})  # type: ignore[arg-type]  # it is checked


def _not_allowed(name: str, allow: Collection[str]) -> Problem:
    text = f"the MCP server {name!r} is not allowed here: it would be started, or sent to; look at "
    text += f"what it is, then pass allow_mcp=[{name!r}], --allow-mcp {name}, or set allow_mcp in "
    text += "pyproject.toml under [tool.teamgraph]"
    return Problem(CODE, text, path=("mcp", name), on_key=True, suggestion=closest(name, allow))


def _no_server(reference: str, name: str, named: Collection[str]) -> DefinitionError:
    text = f"{reference!r}: the graph has no server {name!r} under `mcp`"
    near = closest(name, named)
    if near is None:
        text += f"; it has {listed(named)}" if named else "; declare it: "
        text += "" if named else f"`mcp: {{{name}: {{command: [...]}}}}`"
        text += ". A function is named 'package.module:function'"
    suggestion = near and f"{near}.{reference.partition('.')[2]}"
    return DefinitionError([Problem(CODE, text, suggestion=suggestion)])


def _tool(
    name: str, server: MCPServer, tool: str, locked: Mapping[str, JSON], folder: Path
) -> Tool:
    """A tool of a server; the model calls it `server_tool`, in characters that providers take."""
    shown = re.sub(r"[^a-zA-Z0-9_-]", "_", f"{name}_{tool}")[:_LONGEST_NAME]
    schema = cast("Mapping[str, JSON]", locked["parameters"])
    schema = {"type": "object", "properties": {}, **schema}
    return Tool(
        ServerTool(name, address_of(server, folder), tool, locked),
        ToolOptions(timeout=server.timeout, max_result=server.max_result),
        shown,
        str(locked["description"]),
        schema,
        _SchemaArguments(schema),
        is_external=True,
    )


def address_of(server: MCPServer, folder: Path) -> MCPAddress:
    """How a declared server is reached; `folder` is that of the graph, where it is started."""
    if server.url:
        headers = tuple(server.headers_env.items())
        return MCPAddress(url=server.url, headers=headers, start=server.timeout)
    place = str(folder.absolute())
    return MCPAddress(tuple(server.command), tuple(server.env), place, start=server.timeout)


class _SchemaArguments:
    """The arguments of a server's tool, checked against its JSON Schema before they are sent.

    A schema that cannot be checked here (it refers to another file, or has patterns without a bound
    of time) is left to the server.
    """

    def __init__(self, schema: Mapping[str, JSON]) -> None:
        self._schema = schema

    def read(self, text: str) -> dict[str, object]:
        """The arguments as they are."""
        return {**self.complete(text)}

    def complete(self, text: str) -> dict[str, JSON]:
        """The arguments as they are: the server knows its defaults."""
        try:
            value = parse_json(text, "the JSON")
            if not isinstance(value, dict):
                raise ValueError("they must be a JSON object")
            if self._validator is not None:
                self._validator.validate(value)
        except ValueError as error:
            raise BadArguments(str(error).replace("the answer: ", "")) from error
        return value

    @cached_property
    def _validator(self) -> SchemaValidator | None:
        try:
            return schema_validator(self._schema)
        except DefinitionError:
            return None
