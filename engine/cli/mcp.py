"""`teamgraph mcp`: write the lock file of a graph's MCP servers, and list the tools in it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import cast

from ..errors import DefinitionError, InputError, NotFound
from ..graph.graph import locate
from ..graph.settings import settings_of
from ..graph.yaml.reader import Document, read_yaml
from ..messages import JSON
from ..tools.mcp import address_of, not_allowed, parsed, read_lock, write_lock
from ..tools.mcp_client import list_tools
from ..tools.toolbox import LOCK, MCPServer
from .command import command, command_group
from .options import GraphFile, JsonFlag, ServersOption
from .output import counted, print_json, print_note, print_table, print_text

app = command_group("Tools of MCP servers: write and show the lock file beside a graph.")


@command(app)
def lock(graph: GraphFile, allow_mcp: ServersOption = None) -> None:
    """Ask the MCP servers of a graph for their tools, and write them to mcp_lock.json beside it.

    Each server has to be allowed. What changed is printed: look at it before you use the new tools,
    as a model reads their descriptions.

    $ teamgraph mcp lock team.yaml --allow-mcp files
    """
    allowed = [*(allow_mcp or ()), *settings_of(Path.cwd()).allow_mcp]
    servers = _servers(graph, allowed)
    file = graph.parent / LOCK
    changes = write_lock(file, asyncio.run(_listed(servers, graph.parent)))
    for change in changes:
        print_text(change)
    counts = counted(len(servers), "server")
    print_note(f"{file}: {counts}, {counted(len(changes), 'change')}")


@command(app, "list")
def list_(graph: GraphFile, *, json: JsonFlag = False) -> None:
    """List the tools in mcp_lock.json beside a graph; no server is started."""
    file = graph.parent / LOCK
    servers = read_lock(file)
    if not servers:
        raise NotFound(f"{file}: there is no such file; write it with `teamgraph mcp lock {graph}`")
    if json:
        print_json(cast("JSON", servers))
        return
    print_table(
        ["tool", "description"],
        [
            [f"{server}.{name}", str(tool["description"]).partition("\n")[0]]
            for server, tools in servers.items()
            for name, tool in tools.items()
        ],
    )


async def _listed(
    servers: Mapping[str, MCPServer], folder: Path
) -> dict[str, dict[str, dict[str, JSON]]]:
    return {
        name: await list_tools(name, address_of(server, folder)) for name, server in servers.items()
    }


def _servers(graph: Path, allowed: Collection[str]) -> dict[str, MCPServer]:
    """The servers that a graph file declares; raises `DefinitionError` if one is not allowed."""
    document = read_yaml(graph)
    declared = document.data.get("mcp")
    if not isinstance(declared, dict) or not declared:
        text = f"{graph} declares no MCP servers; add `mcp: {{files: {{command: [...]}}}}`"
        raise InputError(text)
    try:
        if problems := not_allowed(declared, allowed):
            raise DefinitionError(problems)
        return parsed(declared)
    except DefinitionError as error:
        raise _located(error, document) from error


def _located(error: DefinitionError, document: Document) -> DefinitionError:
    return DefinitionError([locate(problem, document) for problem in error.problems])
