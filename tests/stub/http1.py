"""HTTP/1.1 for the stub provider: reading requests, writing JSON and event streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from .answer import StubRequest

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


async def read_request(reader: asyncio.StreamReader) -> StubRequest | None:
    """The next request of a connection, or None when the client has hung up."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip()
        for name, colon, value in (line.partition(":") for line in lines)
        if colon
    }
    if headers.get("transfer-encoding", "").lower() == "chunked":
        raw = await _read_chunks(reader)
    else:
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return StubRequest(method, path, headers, json.loads(raw) if raw else None)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


async def send_json(
    writer: asyncio.StreamWriter,
    status: int,
    body: object,
    headers: Mapping[str, str] | None = None,
) -> None:
    data = json.dumps(body, ensure_ascii=False).encode()
    lines = {"content-length": str(len(data)), **(headers or {})}
    writer.write(_head(status, "application/json", lines) + data)
    await writer.drain()


async def send_half(writer: asyncio.StreamWriter, body: object, *, is_all: bool) -> None:
    """The first half of a JSON body; `is_all` says that there is no more, else the rest is owed."""
    data = json.dumps(body, ensure_ascii=False).encode()
    half = data[: len(data) // 2]
    length = len(half if is_all else data)
    writer.write(_head(200, "application/json", {"content-length": str(length)}) + half)
    await writer.drain()


def start_stream(writer: asyncio.StreamWriter) -> None:
    writer.write(_head(200, "text/event-stream", {"transfer-encoding": "chunked"}))


async def send_event(writer: asyncio.StreamWriter, event: object) -> None:
    """One event, `event` as it is if it is text, else as JSON."""
    line = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    data = f"data: {line}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()


async def end_stream(writer: asyncio.StreamWriter) -> None:
    await send_event(writer, "[DONE]")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _head(status: int, content_type: str, headers: Mapping[str, str]) -> bytes:
    known = status in HTTPStatus._value2member_map_
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase if known else 'Overloaded'}",
        f"content-type: {content_type}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
