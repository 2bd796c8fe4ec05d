"""Connections to MCP servers: one for each server and process, each owned by one task.

The official SDK binds a client to the task that enters it, and cancels that task if an HTTP server
dies. So a task of its own enters the client, on the loop of connections; calls reach it through a
queue, each with a future. A server is started at its first call, and again at the next call after
it died; a call that it may have executed is never sent again, and the model is told.

The SDK is imported when the first server is started, not with this module.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from difflib import unified_diff
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias, cast

from msgspec import Struct

from ..blocking import on_connection_loop
from ..errors import ToolError
from ..messages import JSON
from ..os_fork import FORKS
from .context import CallOutcome, ResultPart

if TYPE_CHECKING:
    from mcp import Client
    from mcp.client import Transport

_CLOSED = -32000
"""The SDK's code of a connection that was closed."""
_SHOWN = 20
"""Lines that are shown of a difference, or of what a server wrote before it ended."""


class MCPAddress(Struct, frozen=True):
    """How a server is reached: a command with variables and a folder, or a URL with headers.

    `env` are names of variables, `headers` pairs of a header and the variable with its value.
    `start` are the seconds that it may take to start and to list its tools.
    """

    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    folder: str = ""
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    start: float = 60.0


class ServerTool(Struct, frozen=True):
    """A tool of a server as a function: a call of it is a call of the server.

    `locked` is what the lock file says of it; a server whose tool is another is an error.
    """

    server: str
    address: MCPAddress
    tool: str
    locked: Mapping[str, JSON]

    async def prepare(self) -> None:
        """Start the server, if it does not run; raises `ToolError` if it cannot be used."""
        await on_connection_loop(CONNECTIONS.start(self))

    async def __call__(self, /, **arguments: object) -> str | CallOutcome:
        """The text of the result, or what became of the call if it is no plain text.

        Raises `ToolError` if the server cannot be used.
        """
        return await on_connection_loop(CONNECTIONS.call(self, arguments))


async def list_tools(server: str, address: MCPAddress) -> dict[str, dict[str, JSON]]:
    """The tools of a server as a lock file has them; it is started for that, and ended.

    Raises `ToolError`.
    """
    connection = MCPConnection(server, address)
    try:
        return await on_connection_loop(connection.tools())
    finally:
        await on_connection_loop(connection.close())


def diff(old: Mapping[str, JSON], new: Mapping[str, JSON]) -> str:
    """The lines in which two tools differ."""
    texts = [json.dumps(each, indent=2, sort_keys=True, ensure_ascii=False) for each in (old, new)]
    lines = [*unified_diff(texts[0].splitlines(), texts[1].splitlines(), lineterm="", n=0)][2:]
    changed = [line for line in lines if not line.startswith("@@")]
    return "\n".join([*changed[:_SHOWN], *(["..."] if changed[_SHOWN:] else [])])


class MCPConnections:
    """The connections of this process, by server; a forked child begins with none."""

    def __init__(self) -> None:
        self._connections: dict[MCPAddress, MCPConnection] = {}
        self._inherited: list[MCPConnection] = []
        FORKS.call_in_child(self._drop)

    async def start(self, tool: ServerTool) -> None:
        """Start the server of a tool; on the loop of connections."""
        await self._of(tool).tools()

    async def call(self, tool: ServerTool, arguments: Mapping[str, object]) -> str | CallOutcome:
        """Call a tool; on the loop of connections."""
        return await self._of(tool).call(tool, arguments)

    def _of(self, tool: ServerTool) -> MCPConnection:
        return self._connections.setdefault(tool.address, MCPConnection(tool.server, tool.address))

    def _drop(self) -> None:
        """Forget the parent's; they stay referenced, as closing one would end its server."""
        self._inherited += self._connections.values()
        self._connections = {}


CONNECTIONS = MCPConnections()


class _NotSentError(Exception):
    """The connection ended before a call was sent."""


class _Call(Struct, eq=False):
    """A call on its way to the owner of the client."""

    tool: str
    arguments: dict[str, object]
    answer: asyncio.Future[str | CallOutcome]


_Queue: TypeAlias = asyncio.Queue[_Call | None]
"""The calls on their way to the owner of a client; None is the end of the connection."""


class MCPConnection:
    """One server: started by the first call, and by the first after it ended.

    `_owner` is the task that has the client, `_started` gets its tools, and `_queue` its calls.
    """

    def __init__(self, server: str, address: MCPAddress) -> None:
        self._server = server
        self._address = address
        self._owner: asyncio.Task[None] | None = None
        self._started: asyncio.Future[dict[str, dict[str, JSON]]] | None = None
        self._queue: _Queue = asyncio.Queue()

    async def tools(self) -> dict[str, dict[str, JSON]]:
        """The tools by name; starts the server if it does not run. Raises `ToolError`."""
        if self._owner is None or self._owner.done() or self._started is None:
            self._queue = asyncio.Queue()
            self._started = asyncio.get_running_loop().create_future()
            self._owner = asyncio.create_task(
                self._own(self._started, self._queue), name=f"MCP server {self._server}"
            )
            self._owner.add_done_callback(partial(_refuse_all, self._queue))
        return await asyncio.shield(self._started)

    async def call(self, tool: ServerTool, arguments: Mapping[str, object]) -> str | CallOutcome:
        """Call a tool, if it is the one that is locked; the result as `ServerTool` gives it."""
        while True:  # the time of a call is limited
            self._check(tool, await self.tools())
            answer: asyncio.Future[str | CallOutcome] = asyncio.get_running_loop().create_future()
            self._queue.put_nowait(_Call(tool.tool, dict(arguments), answer))
            with suppress(_NotSentError):
                return await answer

    async def close(self) -> None:
        """End the server."""
        owner = cast("asyncio.Task[None]", self._owner)
        owner.cancel()
        await asyncio.gather(owner, return_exceptions=True)

    def _check(self, tool: ServerTool, tools: Mapping[str, Mapping[str, JSON]]) -> None:
        now = tools.get(tool.tool)
        if now == tool.locked:
            return
        what = "has it no more" if now is None else f"changed it:\n{diff(tool.locked, now)}"
        raise ToolError(
            f"the tool {tool.tool!r} is not the one in the lock file: the MCP server "
            f"{self._server!r} {what}\nlook at the change, then write the lock file again: "
            f"teamgraph mcp lock GRAPH --allow-mcp {self._server}"
        )

    async def _own(
        self, started: asyncio.Future[dict[str, dict[str, JSON]]], queue: _Queue
    ) -> None:
        """Have the client from start to end; every call gets an answer or an error."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            try:
                await self._connect(started, queue, errors)
            except BaseException as error:
                if not started.done():
                    started.set_exception(self._not_started(error, errors))
                    started.exception()  # perhaps nobody waits any more
                if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                    raise

    async def _connect(
        self,
        started: asyncio.Future[dict[str, dict[str, JSON]]],
        queue: _Queue,
        errors: TextIO,
    ) -> None:
        try:
            from mcp import Client  # noqa: PLC0415  it takes a second
        except ImportError as error:
            text = "MCP servers need the extra `mcp`: pip install 'teamgraph[mcp]'"
            raise ToolError(text) from error
        async with asyncio.timeout(self._address.start) as limit:
            transport = _transport(self._address, errors, queue)
            async with Client(cast("Transport", transport), cache=None) as client:
                tools = await _all_tools(client)
                limit.reschedule(None)
                started.set_result(tools)
                await _serve(client, queue)

    def _not_started(self, error: BaseException, errors: TextIO) -> ToolError:
        if isinstance(error, ToolError):
            return error
        text = f"the MCP server {self._server!r} does not start: {_reason(error, self._address)}"
        errors.seek(0)
        written = [line.rstrip() for line in errors.read()[-10_000:].splitlines() if line.strip()]
        if written:
            text += "\nthe last lines that it wrote:\n  " + "\n  ".join(written[-_SHOWN:])
        return ToolError(text)


async def _serve(client: Client, queue: _Queue) -> None:
    """Send each call from the queue, side by side, until there is None in it."""
    tasks: dict[asyncio.Task[None], _Call] = {}
    try:
        while (call := await queue.get()) is not None:
            task = asyncio.create_task(_answer(client, call, queue))
            tasks[task] = call
            task.add_done_callback(tasks.pop)
    finally:
        calls = [*tasks.values()]
        for task in [*tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for call in calls:  # of a task that did not begin
            _refuse(call)


def _refuse_all(queue: _Queue, _: object) -> None:
    """Refuse what is left in the queue when its owner has ended."""
    while not queue.empty():
        if (call := queue.get_nowait()) is not None:
            _refuse(call)


def _refuse(call: _Call) -> None:
    """Tell who waits for a call that it was not sent."""
    if not call.answer.done():
        call.answer.set_exception(_NotSentError())


async def _answer(client: Client, call: _Call, queue: _Queue) -> None:
    """Send one call, and give its answer to who waits for it; if nobody does, cancel it."""
    from mcp import MCPError  # noqa: PLC0415  loaded by now

    task = cast("asyncio.Task[None]", asyncio.current_task())
    call.answer.add_done_callback(lambda answer: answer.cancelled() and task.cancel())
    found: str | CallOutcome = CallOutcome(call.tool, "lost")
    try:
        found = _read(call.tool, await client.call_tool(call.tool, call.arguments))
    except MCPError as error:
        if error.code == _CLOSED:
            queue.put_nowait(None)
        else:
            found = CallOutcome(call.tool, "declined", reason=error.message)
    except asyncio.CancelledError:
        raise  # the connection ended, or who waits did
    except Exception as error:  # noqa: BLE001  whatever the SDK raises, the model is told of it
        found = CallOutcome(call.tool, "malformed", reason=_first_line(error))
    finally:
        if not call.answer.done():
            call.answer.set_result(found)


def _read(name: str, result: Any) -> str | CallOutcome:  # noqa: ANN401  the SDK is not loaded here
    """The text of a result; its parts if it is an error, or if some are no text."""
    parts = [
        ResultPart(part.type, part.text if part.type == "text" else "") for part in result.content
    ]
    if not parts and result.structured_content is not None:
        parts = [ResultPart("text", json.dumps(result.structured_content, ensure_ascii=False))]
    text, is_text = "\n".join(part.text for part in parts), all(p.type == "text" for p in parts)
    if result.is_error:
        return CallOutcome(name, "error", parts=() if is_text and not text else tuple(parts))
    return text if is_text else CallOutcome(name, "parts", parts=tuple(parts))


async def _all_tools(client: Client) -> dict[str, dict[str, JSON]]:
    tools: dict[str, dict[str, JSON]] = {}
    cursor: str | None = None
    while True:  # the time of the start is limited
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            tools[tool.name] = {
                "description": (tool.description or tool.title or "").strip(),
                "parameters": cast("JSON", json.loads(json.dumps(tool.input_schema))),
            }
        cursor = page.next_cursor
        if cursor is None:
            return tools


@asynccontextmanager
async def _transport(
    address: MCPAddress, errors: TextIO, queue: _Queue
) -> AsyncGenerator[tuple[object, object]]:
    """The streams of a server; when it closes them, that is put into the queue."""
    streams: AbstractAsyncContextManager[tuple[Any, Any]]
    if address.url:
        streams = _http(address)
    else:
        from mcp.client.stdio import StdioServerParameters, stdio_client  # noqa: PLC0415

        program, *arguments = address.command
        parameters = StdioServerParameters(
            command=program,
            args=arguments,
            env={name: _variable(name) for name in address.env},
            cwd=address.folder or None,
        )
        streams = stdio_client(parameters, errlog=errors)
    async with streams as (read, write):
        yield _WatchedStream(read, queue), write


@asynccontextmanager
async def _http(address: MCPAddress) -> AsyncGenerator[tuple[object, object]]:
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415
    from mcp.shared._httpx_utils import create_mcp_http_client  # noqa: PLC0415

    headers = {header: _variable(name) for header, name in address.headers}
    async with (
        create_mcp_http_client(headers=headers) as http,
        streamable_http_client(address.url, http_client=http) as streams,
    ):
        yield streams


class _WatchedStream:
    """A stream of the SDK that says when it ends."""

    def __init__(self, stream: Any, queue: _Queue) -> None:  # noqa: ANN401  the SDK's
        self._stream = stream
        self._queue = queue

    def __aiter__(self) -> _WatchedStream:
        return self

    async def __anext__(self) -> object:
        try:
            return await self._stream.__anext__()
        except BaseException:
            self._queue.put_nowait(None)
            raise

    async def __aenter__(self) -> _WatchedStream:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stream.__aexit__(*error)


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ToolError(f"the environment variable {name} is not set, and an MCP server needs it")
    return value


def _is_cancelled() -> bool:
    return cast("asyncio.Task[None]", asyncio.current_task()).cancelling() > 0


def _reason(error: BaseException, address: MCPAddress) -> str:
    """Why a server does not start, in a line."""
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        inner = cast("BaseException", inner.exceptions[0])
    if isinstance(inner, FileNotFoundError):
        return f"there is no program {address.command[0]!r}; install it, or correct its path"
    if isinstance(inner, TimeoutError):
        return f"it did not answer within {address.start:g} seconds; give it a longer `timeout`"
    if address.url:
        return f"{address.url} gives no answer: {_first_line(inner)}"
    return f"it ended: {_first_line(inner)}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
