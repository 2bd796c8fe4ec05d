"""The graphs as tools of an MCP server: over standard input and output, or at `/mcp` of the app.

Each graph is a tool that takes a message and gives the answer. With `session_id` a call is a turn
of that session, and answers the question with which it waits. It needs the extra `mcp`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, cast

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request

from ..errors import InputError, TeamgraphError
from ..run.runner import Runner
from .access import caller
from .answers import answer_of, waiting_run
from .errors import info_of

_NO_TOOL_NAME = re.compile(r"[^A-Za-z0-9_-]+")
MessageArgument = Annotated[str, Field(description="What the team is asked.")]
SessionArgument = Annotated[
    str | None,
    Field(description="A conversation to go on with; one of any new name begins it."),
]


def mcp_server(runners: Mapping[str, Runner]) -> MCPServer:
    """The MCP server with a tool for each graph; raises `InputError` if two have one name."""
    server = MCPServer("teamgraph")
    names: dict[str, str] = {}
    for graph, runner in runners.items():
        name = _NO_TOOL_NAME.sub("_", graph)
        if name in names:
            raise InputError(
                f"the graphs {names[name]!r} and {graph!r} would be one tool, {name!r}; give one "
                "of them another name"
            )
        names[name] = graph
        about = runner.graph.description or f"Asks the team {graph!r}, and returns its answer."
        server.add_tool(_tool(runner), name, description=about, structured_output=False)
    return server


def mcp_app(runners: Mapping[str, Runner]) -> Starlette:
    """The same over HTTP, as an app with the one path `/mcp`; hosts are checked around it."""
    return mcp_server(runners).streamable_http_app(
        stateless_http=True,
        json_response=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )


def _tool(runner: Runner) -> Callable[..., Awaitable[str]]:
    async def ask(
        message: MessageArgument, context: Context, session_id: SessionArgument = None
    ) -> str:
        request = cast("Request | None", context.request_context.request)
        user_id = caller(request).user(None) if request is not None else None
        try:
            return await _answer(runner, message, user_id, session_id)
        except TeamgraphError as error:
            raise ToolError(info_of(error).message) from error

    return ask


async def _answer(runner: Runner, message: str, user_id: str | None, session_id: str | None) -> str:
    if session_id is None:
        return answer_of(await runner.arun(message, user_id=user_id, history=()))
    waiting = await waiting_run(runner, user_id, session_id)
    if waiting is None:
        return answer_of(await runner.arun(message, user_id=user_id, session_id=session_id))
    question = waiting.questions[0]
    answers = {question.path: question.parse(message)}
    return answer_of(
        await runner.arespond(waiting.run_id, answers, user_id=user_id, session_id=session_id)
    )
