"""The HTTP server as an app of your own process: `create_app`, and the `Limits` of its requests.

`mcp_server` makes its graphs tools of an MCP server, and needs the extra `mcp` too.

It needs the extra `serve`: `pip install "teamgraph[serve]"`. `teamgraph serve` runs it.
"""

from __future__ import annotations

try:
    from .engine.server.app import create_app, mcp_server
    from .engine.server.limits import Limits
except ModuleNotFoundError as error:
    raise ImportError(
        f"teamgraph.server needs the package {error.name!r}; install the extra: "
        'pip install "teamgraph[serve]"'
    ) from error

__all__ = ["Limits", "create_app", "mcp_server"]
