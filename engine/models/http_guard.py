"""Guards on litellm's HTTP clients, by hooks of httpx: servers of models are not trusted.

Redirects are refused: they would send the prompt, or a request from inside the network, to where
the server likes. Bodies are decoded and cut here, with bounds, before litellm searches them (about
four CPU seconds for each MB of an error). It is seen how a stream ended, and what litellm would
drop of OpenAI's chat format is kept: a content that is a list of parts, refusals, and thoughts.

The hooks act only on requests of an adapter that has set `CURRENT`; all others pass unchanged.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

from msgspec import Struct, field

from ..messages import JSON
from .partial_reply import PartialCalls, PartialReasoning, get, text_in, thoughts_in

LONGEST_ERROR = 16_384
"""Bytes of an error that are passed on."""
LONGEST_EVENT = 4 * 2**20
LONGEST_BODY = 32 * 2**20
END_AFTER_DONE = 0.5
"""Seconds that a response may take to end after its `[DONE]`."""

_PIECE = 65_536
_ERROR_STATUS = 400
_REDIRECTS = range(300, 400)
_GZIP_OR_ZLIB = 47
_SEPARATOR_LENGTH = 4
_DONE = re.compile(rb"(^data: ?\[DONE\])|\[DONE\]", re.MULTILINE)
_CHAT_CHUNK = re.compile(rb'[{,\s]"choices"\s*:')
# A pattern that begins with plain text is searched ten times as fast as one that does not.
_FINISH_REASON = re.compile(rb'"finish_reason"(?<=[{,\s]"finish_reason")\s*:\s*"([^"]*)"')
_USAGE = re.compile(rb'"usage"(?<=[{,\s]"usage")\s*:\s*\{')
_DROPPED = re.compile(
    rb'"(?:content"\s*:\s*\[|refusal"\s*:\s*"|thinking_blocks"\s*:\s*\[|reasoning_details"\s*:\s*\[)'
)
"""Fields of a message that litellm drops, all of them or in some chunks."""
_EVENT_ENDINGS = (b"\n\n", b"\n\r\n")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_ACCOUNT_HEADERS = ("openai-organization", "openai-project")


class HttpExchange(Struct):
    """What the hooks observe of one request, and why they refused the response, if they did.

    Headers that name the caller's account go to trusted servers only. `is_streamed` says whether
    a stream was asked for. `is_chat` says that the answer is in OpenAI's chat format; only then
    are `finish_reason` and `has_usage` known, and `reasoning` has blocks.
    """

    is_trusted: bool = True
    is_streamed: bool = True
    refusal: str | None = None
    is_done: bool = False
    has_answered: bool = False
    is_chat: bool = False
    finish_reason: str | None = None
    has_usage: bool = False
    reasoning: PartialReasoning = field(default_factory=PartialReasoning)

    @property
    def is_cut(self) -> bool:
        """Whether a stream of OpenAI's chat format had neither a finish reason nor `[DONE]`."""
        return self.is_chat and not (self.is_done or self.finish_reason is not None)

    def refuse(self, reason: str) -> ResponseRefusedError:
        """Record the reason, since litellm replaces the error; returns the error to raise."""
        self.refusal = reason
        return ResponseRefusedError(reason)


class ResponseRefusedError(Exception):
    """The server's response is not read any further."""


CURRENT: ContextVar[HttpExchange | None] = ContextVar("http_exchange", default=None)


def install(handlers: Any, openai_base: Any) -> None:  # noqa: ANN401  litellm's module and class
    """Add the hooks to every HTTP client that litellm makes from now on."""
    httpx = handlers.httpx
    guard_async = partial(_add_hooks, on_request=_on_request, on_response=_async_hook(httpx))
    guard_sync = partial(_add_hooks, on_request=_prepare, on_response=_sync_hook(httpx))
    _wrap(handlers.AsyncHTTPHandler, "create_client", guard_async)
    _wrap(handlers.HTTPHandler, "create_client", guard_sync)
    original = openai_base._get_async_http_client
    openai_base._get_async_http_client = staticmethod(
        lambda *args, **named: guard_async(original(*args, **named))
    )


class BodyFilter:
    """Decodes a body within bounds, and shortens errors; fed with bytes, piece by piece.

    An answer that was asked for whole is passed on when it is complete. If the server streams it
    all the same, it is put together.
    """

    def __init__(
        self, exchange: HttpExchange, *, encoding: str, is_sse: bool, is_error: bool
    ) -> None:
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise exchange.refuse(
                f"the server compressed its response ({encoding[:20]!r}), though it was asked not "
                "to; name another server"
            )
        self._exchange = exchange
        self._decoder = None if encoding in ("", "identity") else zlib.decompressobj(_GZIP_OR_ZLIB)
        self._separator = _BLANK_LINE if is_sse else re.compile(rb"\n")
        self._endings = _EVENT_ENDINGS if is_sse else (b"\n",)
        self._is_sse = is_sse
        self._is_error = is_error
        self._is_whole = not (is_error or exchange.is_streamed)
        self._length = 0
        self._pending = bytearray()

    @property
    def is_done(self) -> bool:
        """Whether `[DONE]` has been seen."""
        return self._exchange.is_done

    @property
    def is_full(self) -> bool:
        """Whether nothing of the rest would be passed on."""
        return self._is_error and self._length >= LONGEST_ERROR

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes that can be passed on; `ResponseRefusedError` beyond the bounds."""
        for piece in self._decoded(data):
            if self._is_error:
                yield piece[: max(0, LONGEST_ERROR - self._length)]
            self._length += len(piece)
            if self.is_full:
                return
            if self._length > LONGEST_BODY:
                raise self._exchange.refuse(f"its response is longer than {LONGEST_BODY} bytes")
            if self._is_whole:
                self._pending += piece
            elif not self._is_error:
                yield self._complete_events(piece)

    def finish(self) -> bytes:
        """The bytes after the last complete event, or the whole answer."""
        rest = bytes(self._pending)
        self._pending.clear()
        return self._whole(rest) if self._is_whole else self._checked(rest)

    def _whole(self, data: bytes) -> bytes:
        exchange = self._exchange
        if self._is_sse:
            data = json.dumps(self._merged(data), ensure_ascii=False).encode("utf-8", "replace")
        elif len(data) > LONGEST_ERROR:
            error = _error_in(self._parsed(data, "its response"))
            data = data if error is None else json.dumps(error).encode()
        if not self._is_sse and _DROPPED.search(data):
            data = self._mended(data)
        exchange.is_done = exchange.is_done or not self._is_sse
        self._observe(data)
        return data

    def _observe(self, data: bytes) -> None:
        """Note what complete events, or a whole answer, say of the answer."""
        exchange = self._exchange
        exchange.is_chat = exchange.is_chat or _CHAT_CHUNK.search(data) is not None
        if exchange.finish_reason is None and (found := _FINISH_REASON.search(data)):
            exchange.finish_reason = found.group(1).decode("utf-8", "replace")
        exchange.has_usage = exchange.has_usage or _USAGE.search(data) is not None

    def _mended(self, data: bytes) -> bytes:
        """A whole answer or an event of a stream, with what litellm would drop of its message."""
        try:
            content = json.loads(_fields(data) if self._is_sse else data)
        except (ValueError, RecursionError):
            return data
        choices = get(content, "choices") if isinstance(content, dict) else None
        if not isinstance(choices, list):
            return data
        for choice in cast("list[object]", choices)[:1]:
            _mended_message(choice, self._exchange.reasoning)
        mended = json.dumps(content).encode()
        return b"data: %b\n\n" % mended if self._is_sse else mended

    def _merged(self, data: bytes) -> object:
        """The answer in a stream that was not asked for."""
        found = [fields for event in self._separator.split(data) if (fields := _fields(event))]
        self._exchange.is_done = b"[DONE]" in found
        events = [
            self._parsed(fields, "an event of its stream")
            for fields in found
            if fields != b"[DONE]"
        ]
        whole = merged(events, self._exchange.reasoning)
        if len(events) == 1 and not _is_chunk(events[0]):
            whole = cast("dict[str, object]", events[0])
            if get(whole, "candidates"):  # Gemini's format, of which litellm insists on this key
                whole = {"usageMetadata": {}, **whole}
        if whole is None:
            raise self._exchange.refuse(
                "the server streams although it was asked not to; set `stream: true` in `model`"
            )
        return whole

    def _parsed(self, data: bytes, what: str) -> object:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise self._exchange.refuse(f"{what} is not JSON") from None

    def _decoded(self, data: bytes) -> Iterator[bytes]:
        if self._decoder is None:
            yield data
            return
        while data:
            try:
                piece = self._decoder.decompress(data, _PIECE)
            except zlib.error:
                raise self._exchange.refuse("its response is compressed and damaged") from None
            yield piece
            data = self._decoder.unconsumed_tail

    def _complete_events(self, data: bytes) -> bytes:
        """The events that are complete by now; the beginning of the next is held back."""
        searched = max(0, len(self._pending) - _SEPARATOR_LENGTH)
        self._pending += data
        end = 0
        for ending in self._endings:
            if (found := self._pending.rfind(ending, searched)) >= 0:
                end = max(end, found + len(ending))
        complete = bytes(self._pending[:end])
        del self._pending[:end]
        if len(self._pending) > LONGEST_EVENT:
            raise self._exchange.refuse(f"an event is longer than {LONGEST_EVENT} bytes")
        return self._checked(complete)

    def _checked(self, data: bytes) -> bytes:
        self._observe(data)
        if b"[DONE]" in data:
            data = _DONE.sub(self._marked, data)
        if self._is_sse and _DROPPED.search(data):
            data = self._each(data, self._mended)
        return data if len(data) <= LONGEST_ERROR else self._each(data, self._shortened)

    def _each(self, data: bytes, change: Callable[[bytes], bytes]) -> bytes:
        """The events of a stream, each changed."""
        events: list[bytes] = []
        start = 0
        for found in self._separator.finditer(data):
            events.append(change(data[start : found.end()]))
            start = found.end()
        return b"".join([*events, change(data[start:])])

    def _marked(self, found: re.Match[bytes]) -> bytes:
        """The mark of the end as it is; escaped inside a text, which litellm takes for the end."""
        is_mark = found.group(1) is not None
        self._exchange.is_done |= is_mark
        return found.group() if is_mark else b"\\u005bDONE]"

    def _shortened(self, event: bytes) -> bytes:
        """The event, or if it is a long error, that one cut."""
        if len(event) <= LONGEST_ERROR:
            return event
        error = _error_in(self._parsed(_fields(event), "a long event of its stream"))
        return event if error is None else b"data: %b\n\n" % json.dumps(error).encode()


def _mended_message(choice: object, reasoning: PartialReasoning) -> object:
    """The message of a choice, or the part of one, with a text as its content.

    The blocks of what the model thought are kept. Where it refuses to answer, what it says is its
    answer.
    """
    found = get(choice, "delta") or get(choice, "message")
    if not isinstance(found, dict):
        return found
    message = cast("dict[str, JSON]", found)
    content, refusal = message.get("content"), message.get("refusal")
    if isinstance(content, list):
        message["content"] = text_in(content)
        if thoughts := thoughts_in(content):
            message.setdefault("reasoning_content", thoughts)
    if isinstance(refusal, str) and not message.get("content"):
        message["content"] = refusal
    reasoning.add(message)
    return message


def merged(events: Sequence[object], reasoning: PartialReasoning) -> dict[str, object] | None:
    """The whole answer that the chunks of a chat stream make; None if they are something else."""
    whole: dict[str, object] = {}
    texts: dict[str, list[str]] = {"content": [], "reasoning_content": [], "reasoning": []}
    calls = PartialCalls()
    reason: object = None
    for event in events:
        if (error := _error_in(event)) is not None:
            return error
        if not _is_chunk(event):
            return None
        chunk = cast("dict[str, object]", event)
        whole |= {key: value for key, value in chunk.items() if value is not None}
        choices = chunk["choices"]
        choice = choices[0] if isinstance(choices, list) and choices else None
        reason = get(choice, "finish_reason") or reason
        delta = _mended_message(choice, reasoning)
        for name, pieces in texts.items():
            pieces.append(text_in(get(delta, name)))
        parts = get(delta, "tool_calls")
        for part in cast("list[object]", parts) if isinstance(parts, list) else []:
            calls.add(part)
    if not whole:
        return None
    message: dict[str, object] = {"role": "assistant"}
    message |= {name: "".join(pieces) for name, pieces in texts.items() if any(pieces)}
    message.setdefault("content", None)
    if calls.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in calls.complete()
        ]
    choice = {"index": 0, "message": message, "finish_reason": reason}
    # litellm insists on the last key for some providers.
    whole = {"service_tier": None} | whole
    return whole | {"object": "chat.completion", "choices": [choice]}


def _is_chunk(event: object) -> bool:
    return isinstance(event, dict) and "choices" in event


def _fields(event: bytes) -> bytes:
    """The data of an event, without the names of its fields, and without comments."""
    lines = [line.removeprefix(b"data:").strip() for line in event.splitlines()]
    return b"\n".join(
        line for line in lines if line and not line.startswith((b"event:", b"id:", b":"))
    )


def _error_in(content: object) -> dict[str, object] | None:
    """The error that a body or an event has, cut; None if it has none."""
    error = get(content, "error") if isinstance(content, dict) else None
    if not error:
        return None
    return {"error": {"message": json.dumps(error)[: LONGEST_ERROR // 2]}}


class _Guarded:
    """A stream of a response's bytes through a filter; the subclasses are httpx's streams."""

    def __init__(self, stream: Any, body: BodyFilter) -> None:  # noqa: ANN401  httpx's
        self._stream = stream
        self._body = body


class AsyncGuarded(_Guarded):
    """A stream for async clients; it is read to its end before `[DONE]` is passed on.

    Readers close it there, and a connection is used again only if nothing was left unread.
    """

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        async for data in chunks:
            for piece in self._body.feed(data):
                if self._body.is_done:
                    await _read_to_end(chunks)
                yield piece
            if self._body.is_full:
                return
        yield self._body.finish()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _read_to_end(chunks: AsyncIterator[bytes]) -> None:
    """Drop what comes within the time that a response has to end."""
    with suppress(Exception):
        async with asyncio.timeout(END_AFTER_DONE):
            async for _ in chunks:
                pass


class _SyncGuarded(_Guarded):
    def __iter__(self) -> Iterator[bytes]:
        for data in self._stream:
            yield from self._body.feed(data)
            if self._body.is_full:
                return
        yield self._body.finish()

    def close(self) -> None:
        self._stream.close()


def _async_hook(httpx: Any) -> Any:  # noqa: ANN401
    stream_type = type("AsyncGuardedStream", (AsyncGuarded, httpx.AsyncByteStream), {})

    async def on_response(response: Any) -> None:  # noqa: ANN401
        _guard(response, stream_type)

    return on_response


def _sync_hook(httpx: Any) -> Any:  # noqa: ANN401
    stream_type = type("SyncGuardedStream", (_SyncGuarded, httpx.SyncByteStream), {})

    def on_response(response: Any) -> None:  # noqa: ANN401
        _guard(response, stream_type)

    return on_response


async def _on_request(request: Any) -> None:  # noqa: ANN401  httpx's
    _prepare(request)


def _prepare(request: Any) -> None:  # noqa: ANN401  httpx's
    """Ask for an uncompressed response; withhold the names of accounts."""
    exchange = CURRENT.get()
    if exchange is None:
        return
    request.headers["accept-encoding"] = "identity"
    if not exchange.is_trusted:
        for name in _ACCOUNT_HEADERS:
            request.headers.pop(name, None)


def _guard(response: Any, stream_type: Any) -> None:  # noqa: ANN401  httpx's
    """Refuse a redirect; put the filter between the response and its reader."""
    exchange = CURRENT.get()
    if exchange is None:
        return
    if response.status_code in _REDIRECTS:
        raise exchange.refuse(
            f"the server redirects ({response.status_code}{_target(response)}), and redirects are "
            "not followed; set api_base to the final address"
        )
    encoding = str(response.headers.pop("content-encoding", "")).strip().lower()
    is_sse = "text/event-stream" in response.headers.get("content-type", "")
    is_error = response.status_code >= _ERROR_STATUS
    exchange.has_answered = not is_error
    body = BodyFilter(exchange, encoding=encoding, is_sse=is_sse, is_error=is_error)
    if is_sse and not (is_error or exchange.is_streamed):
        response.headers["content-type"] = "application/json"
        response.headers.pop("content-length", None)
    response.stream = stream_type(response.stream, body)


def _target(response: Any) -> str:  # noqa: ANN401  httpx's
    """Where a redirect leads: scheme and host only, since the rest may be anything."""
    try:
        url = urlsplit(urljoin(str(response.url), response.headers.get("location", "")))
        host, port = url.hostname, url.port
    except ValueError:
        return ""
    if host is None or not re.fullmatch(r"[A-Za-z0-9.:-]{1,100}", host):
        return ""
    return f" to {url.scheme}://{host}{f':{port}' if port else ''}"


def _wrap(owner: Any, name: str, guard: Any) -> None:  # noqa: ANN401
    original = getattr(owner, name)

    @wraps(original)
    def create(*args: object, **named: object) -> object:
        return guard(original(*args, **named))

    setattr(owner, name, create)


def _add_hooks(client: Any, *, on_request: Any, on_response: Any) -> Any:  # noqa: ANN401
    if client is not None and on_response not in client.event_hooks.get("response", ()):
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks.get("request", ()), on_request],
            "response": [on_response, *hooks.get("response", ())],
        }
    return client
