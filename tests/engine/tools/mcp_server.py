"""A real MCP server for the tests: over stdio, or over HTTP at the port that is given."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("shop")
LOG = Path(os.environ["CALLS"]) if "CALLS" in os.environ else None


@server.tool()
def price(item: str, count: int = 1) -> int:
    """Look up what something costs."""
    return {"tea": 3, "bread": 4}[item] * count


@server.tool()
def write(line: str, die: str = "") -> str:
    """Write a line; `die` is `before` or `after`: when the process kills itself."""
    if die == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    if LOG is not None:
        with LOG.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    if die == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return f"wrote {line}"


@server.tool()
async def wait() -> str:
    """Wait for ever."""
    await asyncio.Event().wait()
    return ""


@server.tool()
def fail(reason: str) -> str:
    """Fail."""
    raise ToolError(reason)


@server.tool()
def environment(name: str) -> str:
    """Read a variable of the environment."""
    return os.environ.get(name, "(not set)")


@server.tool()
def process() -> int:
    """The id of the process."""
    return os.getpid()


if len(sys.argv) > 1 and sys.argv[1] == "broken":
    print("no licence: set FILES_LICENCE", file=sys.stderr)  # noqa: T201  the user reads it
    sys.exit(3)
if len(sys.argv) > 1:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run()
