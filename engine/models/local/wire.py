"""HTTP to our own server on loopback: one connection for each request, on bare asyncio streams.

A client library would cost an import or a dependency; the peer is one known program, and closing
the connection is how a request is ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import cast

from msgspec import Struct

from engine.errors import ModelError
from engine.messages import JSON

_HOST = "127.0.0.1"
_OK = 200
_SERVER_ERROR = 500


class Address(Struct, frozen=True):
    """Where the server listens, and the key that it wants to see."""

    port: int
    key: str


class Response:
    """A body that is still arriving."""

    def __init__(self, reader: asyncio.StreamReader, *, chunked: bool, idle: float | None) -> None:
        self._reader = reader
        self._chunked = chunked
        self._idle = idle
        self._left = b""
        self._ended = False

    async def line(self) -> bytes | None:
        """The next line without its end, or None when there is no more."""
        while b"\n" not in self._left:
            piece = await self._piece()
            if not piece:
                rest, self._left = self._left, b""
                return rest or None
            self._left += piece
        line, _, self._left = self._left.partition(b"\n")
        return line

    async def json(self) -> Mapping[str, JSON]:
        """The whole body as a JSON object; `ValueError` if it is none."""
        body = self._left
        while piece := await self._piece():
            body += piece
        return cast("Mapping[str, JSON]", json.loads(body))

    async def _piece(self) -> bytes:
        if self._ended:
            return b""
        if self._chunked:
            size = int(await _within(self._idle, self._reader.readuntil(b"\r\n")), 16)
            piece = (await _within(self._idle, self._reader.readexactly(size + 2)))[:-2]
        else:
            piece = await _within(self._idle, self._reader.read(65536))
        self._ended = not piece
        return piece


@asynccontextmanager
async def ask(
    address: Address, path: str, body: Mapping[str, JSON] | None, *, idle: float | None = None
) -> AsyncGenerator[Response]:
    """Post `body` (without one, get); leaving the block closes the connection, ends the request.

    Raises `ModelError` if the server refuses, `OSError` or `EOFError` if it is not there or hangs
    up, `TimeoutError` if it says nothing for `idle` seconds.
    """
    reader, writer = await asyncio.open_connection(_HOST, address.port)
    try:
        writer.write(_head(address, path, body))
        await writer.drain()
        head = (await _within(idle, reader.readuntil(b"\r\n\r\n"))).lower()
        response = Response(reader, chunked=b"\r\ntransfer-encoding: chunked" in head, idle=idle)
        status = int(head.split(maxsplit=2)[1])
        if status != _OK:
            raise _refusal(status, await response.json())
        yield response
    finally:
        writer.close()


def _head(address: Address, path: str, body: Mapping[str, JSON] | None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    lines = (
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
        f"Host: {_HOST}:{address.port}",
        f"Authorization: Bearer {address.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def _refusal(status: int, body: Mapping[str, JSON]) -> ModelError:
    error = cast("Mapping[str, JSON]", body.get("error", {}))
    if error.get("type") == "exceed_context_size_error":
        reason = (
            f"the prompt has {error.get('n_prompt_tokens')} tokens and the demo model reads at "
            f"most {error.get('n_ctx')}; shorten it (fewer runs of history, shorter texts) or "
            "name another model"
        )
    else:
        reason = f"its server refused the request: {error.get('message', 'it does not say why')}"
    return ModelError(
        f"model local: {reason}",
        model="local",
        status=status,
        retryable=status >= _SERVER_ERROR,
    )


async def _within(idle: float | None, answer: Awaitable[bytes]) -> bytes:
    """`answer`, or `TimeoutError` after `idle` seconds."""
    async with asyncio.timeout(idle):
        return await answer
