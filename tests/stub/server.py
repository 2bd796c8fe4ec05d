"""The stub provider: its life, its connections, and how it answers or fails."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Self

from . import http1
from .answer import (
    StubAnswer,
    StubRequest,
    deltas,
    fill_in,
    finish_reason,
    ordered_by_name,
    tool_calls,
    usage,
)

_FOREVER = 3600.0
_IN_STREAM = ("cut", "stall", "sse_error", "malformed")


class _HangUp(Exception):
    """Close the connection without finishing the answer."""


class StubProvider:
    """An OpenAI-compatible server on a free port of loopback.

    A context manager in a thread of its own, or an async one in the running loop. `requests` are
    all that came in, `in_flight` how many are under way: a client that hangs up is noticed.
    `connections` counts all that were ever opened.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        latency: float = 0.0,
        pause: float = 0.0,
        handler: Callable[[StubRequest], StubAnswer | str | None] | None = None,
    ) -> None:
        self.port = port
        self.requests: list[StubRequest] = []
        self.connections = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self._latency = latency
        self._pause = pause
        self._handler = handler
        self._pushed: deque[StubAnswer] = deque()
        self._calls: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._thread: _ServerThread | None = None

    @property
    def base_url(self) -> str:
        """What a client takes for `api_base`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def open_connections(self) -> int:
        """How many clients are connected, with or without a request."""
        return len(self._tasks)

    def push(self, *answers: StubAnswer | str) -> None:
        """Answer the next requests like this, in this order."""
        self._pushed.extend(
            StubAnswer(answer) if isinstance(answer, str) else answer for answer in answers
        )

    def reset(self) -> None:
        """Forget what came in and what was pushed, for the next test; connections stay."""
        self.requests = []
        self.max_in_flight = 0
        self._handler = None
        self._pushed.clear()
        self._calls.clear()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._on_connection, "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __enter__(self) -> Self:
        self._thread = _ServerThread(self)
        self._thread.begin()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        self._thread.end()

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while (request := await http1.read_request(reader)) is not None:
                self.in_flight += 1
                self.max_in_flight = max(self.max_in_flight, self.in_flight)
                try:
                    await self._respond(request, reader, writer)
                finally:
                    self.in_flight -= 1
        except (_HangUp, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _respond(
        self, request: StubRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.requests.append(request)
        is_exact = bool(self._pushed) and self._pushed[0].is_exact
        if not is_exact and (request.method, request.path) != ("POST", "/v1/chat/completions"):
            error = http1.error_body(404, f"no route {request.method} {request.path}")
            return await http1.send_json(writer, 404, error)
        answer = self._choose(request)
        await _wait(reader, self._latency if answer.latency is None else answer.latency)
        if answer.fault == "timeout":
            await _wait(reader, _FOREVER)
        if answer.fault == "reset":
            raise _HangUp
        if answer.raw is not None:
            writer.write(answer.raw)
            await writer.drain()
            raise _HangUp
        if answer.events is not None:
            return await _send_events(answer.events, writer)
        if answer.fault is not None and (answer.fault.isdigit() or answer.fault == "context"):
            return await _refuse(answer, writer)
        if request.body.get("stream"):
            return await self._stream(request, answer, reader, writer)
        return await _complete(request, answer, reader, writer)

    def _choose(self, request: StubRequest) -> StubAnswer:
        answer: StubAnswer | str | None = self._pushed.popleft() if self._pushed else None
        if answer is None and self._handler is not None:
            answer = self._handler(request)
        if answer is None:
            answer = ordered_by_name(request, self._calls[request.model])
            self._calls[request.model] += 1
        return fill_in(StubAnswer(answer) if isinstance(answer, str) else answer, request)

    async def _stream(
        self,
        request: StubRequest,
        answer: StubAnswer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        head = _head(request, "chat.completion.chunk")
        http1.start_stream(writer)
        if answer.fault == "badschema":
            await http1.send_event(writer, {"unexpected": True})
            return await http1.end_stream(writer)
        for sent, delta in enumerate(deltas(answer, request)):
            if answer.fault in _IN_STREAM and sent >= answer.after:
                await _break_off(answer, reader, writer)
            while answer.until is not None and sent == answer.after and not answer.until():
                await _wait(reader, 0.005)
            piece = {"index": 0, "delta": delta, "finish_reason": None}
            await http1.send_event(writer, {**head, "choices": [piece]})
            await _wait(reader, self._pause if answer.pause is None else answer.pause)
        last = {"index": 0, "delta": {}, "finish_reason": finish_reason(answer)}
        await http1.send_event(writer, {**head, "choices": [last]})
        if (request.body.get("stream_options") or {}).get("include_usage"):
            counts = {**head, "choices": [], "usage": usage(answer, request)}
            await http1.send_event(writer, counts)
        return await http1.end_stream(writer)


class _ServerThread:
    """A loop of its own for a provider that is used from sync code."""

    def __init__(self, stub: StubProvider) -> None:
        self._stub = stub
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)

    def begin(self) -> None:
        self._thread.start()
        self._ready.wait()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._stub:
            self._ready.set()
            await self._stop.wait()


async def _wait(reader: asyncio.StreamReader, seconds: float) -> None:
    """Pause, but notice a client that hangs up meanwhile."""
    clock = asyncio.get_running_loop()
    end = clock.time() + seconds
    while (left := end - clock.time()) > 0:
        await asyncio.sleep(min(left, 0.02))
        if reader.at_eof():
            raise _HangUp


async def _send_events(events: tuple[Any, ...], writer: asyncio.StreamWriter) -> None:
    http1.start_stream(writer)
    for event in events:
        await http1.send_event(writer, event)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _refuse(answer: StubAnswer, writer: asyncio.StreamWriter) -> None:
    headers = {} if answer.retry_after is None else {"retry-after": str(answer.retry_after)}
    if answer.fault == "context":
        words = "This model's maximum context length is 4096 tokens."
        error = http1.error_body(400, words, "context_length_exceeded")
        return await http1.send_json(writer, 400, error, headers)
    status = int(answer.fault or "")
    error = http1.error_body(status, answer.message or f"stub fault {status}")
    return await http1.send_json(writer, status, error, headers)


async def _complete(
    request: StubRequest,
    answer: StubAnswer,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    message = {"role": "assistant", "content": answer.text}
    if answer.tool_calls:
        message["tool_calls"] = tool_calls(answer, request)  # type: ignore[assignment]  # JSON
    choice = {"index": 0, "message": message, "finish_reason": finish_reason(answer)}
    body = {
        **_head(request, "chat.completion"),
        "choices": [choice],
        "usage": usage(answer, request),
    }
    if answer.fault in ("badschema", "sse_error"):
        body = {"unexpected": True} if answer.fault == "badschema" else _error_event(answer)
    elif answer.fault is not None:
        await http1.send_half(writer, body, is_all=answer.fault == "malformed")
        if answer.fault == "stall":
            await _wait(reader, _FOREVER)
        raise _HangUp
    await http1.send_json(writer, 200, body)


async def _break_off(
    answer: StubAnswer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    if answer.fault == "malformed":
        await http1.send_event(writer, '{"choices": [{"delta": {"content": "x"')
    elif answer.fault == "sse_error":
        await http1.send_event(writer, _error_event(answer))
    elif answer.fault == "stall":
        await _wait(reader, _FOREVER)
    raise _HangUp


def _error_event(answer: StubAnswer) -> dict[str, Any]:
    return http1.error_body(500, answer.message or "an error inside the stream")


def _head(request: StubRequest, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(request.body, sort_keys=True).encode()).hexdigest()
    return {
        "id": f"chatcmpl-{digest[:16]}",
        "object": kind,
        "created": 1_700_000_000,
        "model": request.model,
    }
