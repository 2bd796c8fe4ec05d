"""Requests read and responses written: JSON in, JSON or an event stream out, never markup."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Mapping
from typing import TypeVar, cast

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError
from sse_starlette import EventSourceResponse
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import InputError
from ..messages import JSON
from ..terminal import escape_json
from ..validation import problems_of
from ..values import parse_json

T = TypeVar("T")
AnyBody = TypeVar("AnyBody", bound=BaseModel)
SAFE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""Headers of every response: it is what it says it is, and nobody keeps a copy."""

_AT_ONCE = 0.05
"""Seconds after which it is watched whether a client has left: what is done by then needs none."""
_SEPARATORS = tuple((chr(code).encode(), b"\\u%04x" % code) for code in (0x85, 0x2028, 0x2029))


class Body(BaseModel):
    """Base class of what requests bring: frozen, and no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


async def read_json(request: Request, form: type[AnyBody]) -> AnyBody:
    """The body of a request; raises `InputError` that names what is wrong, and where."""
    return validated(_parsed(await request.body()), form, "the body")


def read_query(request: Request, form: type[AnyBody]) -> AnyBody:
    """The parameters of a request's query string; raises `InputError` as `read_json` does."""
    return validated(dict(request.query_params), form, "the query")


def encode(value: JSON) -> bytes:
    """JSON in UTF-8, on one line for every reader.

    The line separators of Unicode are written as escapes, and so is half a surrogate pair, which
    UTF-8 cannot have.
    """
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:
        data = escape_json(json.dumps(value, ensure_ascii=False)).encode()
    for separator, escape in _SEPARATORS:
        data = data.replace(separator, escape)
    return data


def json_response(
    value: JSON, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A response of JSON."""
    return Response(
        encode(value), status, {**SAFE, **(headers or {})}, media_type="application/json"
    )


def event_frame(event: str, data: JSON, event_id: str | None = None) -> bytes:
    """One event of an event stream."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {event}\ndata: ".encode() + encode(data) + b"\n\n"


def data_frame(data: JSON) -> bytes:
    """An event without a name."""
    return b"data: " + encode(data) + b"\n\n"


def event_response(
    frames: AsyncGenerator[bytes], headers: Mapping[str, str] | None = None
) -> Response:
    """A response of server-sent events, with a comment every 15 seconds of silence.

    `frames` is closed when the client has left, or the server stops.
    """
    return EventSourceResponse(frames, headers={**SAFE, **(headers or {})}, sep="\n")


async def until_disconnect(request: Request, work: Awaitable[T]) -> T:
    """Await work, and cancel it if the client leaves before it is done: `ClientDisconnect`."""
    task = cast("asyncio.Task[object]", asyncio.current_task())
    watching: asyncio.Task[None] | None = None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        await _disconnected(request)
        has_left = True
        task.cancel()

    def begin() -> None:
        nonlocal watching
        watching = asyncio.create_task(watch())

    timer = asyncio.get_running_loop().call_later(_AT_ONCE, begin)
    try:
        return await work
    except asyncio.CancelledError as error:
        if not has_left or task.uncancel():
            raise
        raise ClientDisconnect from error
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _parsed(body: bytes) -> JSON:
    try:
        return parse_json(body.decode() or "{}", "the body")
    except UnicodeDecodeError as error:
        raise InputError("the body is not UTF-8; send JSON in UTF-8") from error
    except ValueError as error:
        raise InputError(f"{error}; send one JSON object") from error


def validated(value: JSON, form: type[AnyBody], name: str) -> AnyBody:
    """A value as a form; raises `InputError` that begins with `name`."""
    try:
        return form.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(str(problem) for problem in problems_of(error, form))
        raise InputError(f"{name}: {problems}") from error


def path_parameter(request: Request, name: str) -> str:
    """A part of the path, decoded."""
    return cast("str", request.path_params[name])
