"""Any provider, through litellm: the only module that imports it, and only when it is used.

Retrying, falling back and counting are the engine's own, so litellm is told to do none of it.

What went wrong at a provider, in words that help: one `ModelError` for every way to fail.

litellm tells faults apart by class, status and text, in that order of reliability and each with
gaps; this is the one place that knows them. It looks at attributes only and imports nothing.

Whether a JSON Schema may be sent as `strict`, so that the provider itself holds to it.

The pieces in which a provider's answer comes in, and the answer that grows from them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import time
import warnings
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol, cast

from msgspec import Struct, field

from ..errors import ModelError, NoModelError
from ..messages import NO_USAGE, Message, ToolCall, Usage
from .protocol import Chunk, Reply, Request

if TYPE_CHECKING:
    from ..messages import JSON


_KEY_LIKE = r"\b(?:sk|pk|rk|key|gsk|xai|AIza)[-_A-Za-z0-9*.]{12,}"
_PREFIX = r"^(?:litellm\.)?\w*(?:Error|Exception|Timeout)\w*(?: Error)?: ?|^\w+Exception - "
_DETAIL = 200
_NOISE = (" Original exception", ". To drop these", ": <")
_HIDDEN = "[key]"

_SAY = {
    400: "the provider refused the request",
    401: "the provider refused the key",
    403: "the provider does not allow this key to use it",
    404: "the provider knows no such model",
    408: "the provider did not answer in time",
    413: "the prompt is too large for the provider",
    422: "the provider refused the request",
    429: "the provider is asked too often, or the quota is used up",
    529: "the provider is overloaded",
}
_DO = {
    400: "change the prompt or the node's model parameters",
    403: "use a key of an account that may, or name another model",
    404: "look up its id at the provider; ids are written as provider/model",
    408: "ask again, or raise the node's timeout",
    413: "shorten it (fewer runs of history, shorter texts) or name another model",
    422: "change the prompt or the node's model parameters",
    429: "ask again later, or lower max_parallel",
}
_RETRYABLE = frozenset((408, 409, 425, 429))
_SERVER_ERROR = 500


def explain(
    error: Exception, *, model: str, secrets: Iterable[str] = (), missing: Iterable[str] = ()
) -> ModelError:
    """The error to raise for one of litellm's; `missing` are key variables that are not set.

    `secrets` are removed from all texts, also from those of `error` and its causes, which end up
    in tracebacks.
    """
    hide = [secret for secret in secrets if secret]
    for one in _causes(error):
        _scrub(one, hide)
    status, text = _status(error), _scrubbed(str(error), hide)
    named = f"model {model}:"
    if "LLM Provider NOT provided" in text:
        return NoModelError(
            f"{named} no provider of this name is known; write the id as provider/model, such as "
            "openai/gpt-5-mini, or use local or echo",
            model=model,
        )
    if missing and _came_from_here(error) and "missing" in text.lower():
        return NoModelError(
            f"{named} there is no key for it; set {' or '.join(missing)}, name the variable that "
            "holds it with api_key_env, or use another model (local, echo)",
            model=model,
        )
    what, retryable, told = _what(error, status, text)
    return ModelError(
        f"{named} {what}",
        model=model,
        retryable=retryable,
        status=status if told else None,
        retry_after=_retry_after(error),
    )


def _what(error: Exception, status: int | None, text: str) -> tuple[str, bool, bool]:
    """What to say, whether to ask again, and whether the status is the provider's own."""
    name = type(error).__name__
    detail = _detail(text)
    if name == "ContextWindowExceededError":
        how = "shorten it (fewer runs of history, shorter texts) or name a model that reads more"
        return f"the prompt is longer than the model reads ({detail}); {how}", False, True
    if name == "MidStreamFallbackError":
        return f"the answer broke off ({detail}); ask again", True, False
    if "Connection error" in text or name == "APIConnectionError":
        how = "look at the network and at api_base, then ask again"
        return f"the provider cannot be reached, or it hung up; {how}", True, False
    if status is None or (status >= _SERVER_ERROR and _came_from_here(error)):
        return f"it could not be asked ({detail}); look at its parameters", False, False
    retryable = status in _RETRYABLE or status >= _SERVER_ERROR
    return _by_status(status, detail), retryable, not _came_from_here(error)


def _by_status(status: int, detail: str) -> str:
    what = _SAY.get(status, "the provider failed")
    how = _DO.get(status, "ask again later")
    if status == 401:  # noqa: PLR2004 - what a provider says about a key may contain it
        return f"{what} (401); set the provider's key variable, or api_key_env, to a valid key"
    return f"{what} ({status}: {detail}); {how}"


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _headers(error: Exception) -> Mapping[str, str]:
    """What the provider sent before its answer; empty if it never answered."""
    headers: Mapping[str, str] | None = getattr(error, "litellm_response_headers", None)
    return headers or {}


def _came_from_here(error: Exception) -> bool:
    """Whether the error was made on this machine: no answer of a provider is behind it."""
    return not _headers(error)


def _retry_after(error: Exception) -> float | None:
    """Seconds to wait, from a number of seconds or from a date."""
    text = _headers(error).get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _until(text)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(date: str) -> float | None:
    """Seconds from now to a date as HTTP writes it; None if it is none."""
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except ValueError:
        return None


def _detail(text: str) -> str:
    """The first line that says something, without the names of exceptions before it."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    for noise in _NOISE:
        line = line.partition(noise)[0]
    while (shorter := re.sub(_PREFIX, "", line)) != line:
        line = shorter
    line = line.rstrip(" .")
    return line if len(line) <= _DETAIL else f"{line[:_DETAIL]}..."


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]


def _scrub(error: BaseException, secrets: list[str]) -> None:
    error.args = tuple(
        _scrubbed(part, secrets) if isinstance(part, str) else part for part in error.args
    )
    if isinstance(message := getattr(error, "message", None), str):
        error.message = _scrubbed(message, secrets)  # type: ignore[attr-defined]  # litellm's own


def _scrubbed(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return re.sub(_KEY_LIKE, _HIDDEN, text)


def is_strict(schema: Mapping[str, JSON]) -> bool:
    """Whether every object in `schema` requires all its properties and allows no others."""
    return all(_is_closed(one) for one in _objects(dict(schema)))


def _objects(value: JSON) -> list[dict[str, JSON]]:
    """All schemas of objects in `value`, at any depth."""
    if isinstance(value, list):
        return [one for part in value for one in _objects(part)]
    if not isinstance(value, dict):
        return []
    inner = [one for part in value.values() for one in _objects(part)]
    return [value, *inner] if value.get("type") == "object" else inner


def _is_closed(schema: dict[str, JSON]) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return (
        schema.get("additionalProperties") is False
        and isinstance(properties, dict)
        and isinstance(required, list)
        and list(properties) == required
    )


class CallFunction(Protocol):
    """The function in a piece of a tool call."""

    name: str | None
    arguments: str | None


class CallPiece(Protocol):
    """A piece of a tool call; pieces of one call have the same index."""

    index: int
    id: str | None
    function: CallFunction


class Delta(Protocol):
    """What a piece adds."""

    content: str | None
    tool_calls: Sequence[CallPiece] | None


class PieceChoice(Protocol):
    """A piece of one of the answers; we ask for one."""

    delta: Delta
    finish_reason: str | None


class Piece(Protocol):
    """A piece of the stream as litellm gives it; the last one may also have a `usage`."""

    model: str | None
    choices: Sequence[PieceChoice]


class _Call(Struct):
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])


class Answer(Struct):
    """An answer while its pieces come in."""

    model: str
    texts: list[str] = field(default_factory=list[str])
    usage: Usage = NO_USAGE
    finish_reason: str | None = None
    answered_by: str = ""
    calls: dict[int, _Call] = field(default_factory=dict[int, _Call])

    def take(self, piece: Piece) -> str:
        """Add a piece, and give back the text in it."""
        self.answered_by = piece.model or self.answered_by
        self.usage = _usage(piece) or self.usage
        said = ""
        for choice in piece.choices[:1]:
            self.finish_reason = choice.finish_reason or self.finish_reason
            said = choice.delta.content or ""
            for part in choice.delta.tool_calls or ():
                self._take_call(part)
        if said:
            self.texts.append(said)
        return said

    def reply(self, cost: float | None) -> Reply:
        """The whole; `ModelError` if there is nothing in it."""
        if not self.texts and not self.calls:
            raise self._empty()
        calls = [self.calls[index] for index in sorted(self.calls)]
        return Reply(
            "".join(self.texts),
            tool_calls=tuple(
                ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments))
                for call in calls
            ),
            usage=Usage(
                input_tokens=self.usage.input_tokens,
                output_tokens=self.usage.output_tokens,
                cached_tokens=self.usage.cached_tokens,
                calls=1,
                cost=cost,
            ),
            finish_reason=self.finish_reason,
            model=self.answered_by,
        )

    def _take_call(self, part: CallPiece) -> None:
        call = self.calls.setdefault(part.index, _Call())
        call.id = part.id or call.id
        call.name = part.function.name or call.name
        call.arguments.append(part.function.arguments or "")

    def _empty(self) -> ModelError:
        match self.finish_reason:
            case "length":
                what = "max_tokens was used up before the answer began; raise it"
            case "content_filter":
                what = "the provider's content filter held the answer back; change the prompt"
            case _:
                what = "the answer is empty; ask again, or change the prompt"
        retryable = self.finish_reason not in ("length", "content_filter")
        return ModelError(f"model {self.model}: {what}", model=self.model, retryable=retryable)


def _usage(piece: Piece) -> Usage | None:
    counts: object = getattr(piece, "usage", None)
    if counts is None:
        return None
    details: object = getattr(counts, "prompt_tokens_details", None)
    return Usage(
        input_tokens=getattr(counts, "prompt_tokens", 0) or 0,
        output_tokens=getattr(counts, "completion_tokens", 0) or 0,
        cached_tokens=getattr(details, "cached_tokens", 0) or 0,
        calls=1,
    )


_OURS = frozenset(("id", "fallback", "api_key_env"))
_MARKS_CACHE = ("anthropic/", "bedrock/", "claude", "gemini/", "openrouter/", "vertex_ai/")
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_SHORTEST_KEY = 8


class _Stream(Protocol):
    def __aiter__(self) -> _Stream: ...
    async def __anext__(self) -> Piece: ...
    async def aclose(self) -> None: ...


class _Library(Protocol):
    """What we use of litellm; its own types are too loose to be of help."""

    suppress_debug_info: bool

    async def acompletion(self, **arguments: object) -> _Stream: ...
    def cost_per_token(self, **arguments: object) -> tuple[float, float]: ...
    def validate_environment(self, model: str) -> Mapping[str, Sequence[str]]: ...


class LiteLLM:
    """Asks any model that litellm knows, by its id (`openai/gpt-5-mini`).

    The first request imports litellm, in a thread of its own: that takes two to three seconds of
    processor time. Keys come from the provider's own environment variables, or from the one that
    the parameter `api_key_env` names.
    """

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Stream the answer; `NoModelError` if there is no such provider or no key for it."""
        key = _key(request)
        litellm = await asyncio.to_thread(_load, request.model)
        answer = Answer(request.model)
        stream: _Stream | None = None
        try:
            async with asyncio.timeout(request.idle):
                stream = await litellm.acompletion(**_arguments(request, key))
            while (piece := await _next(stream, request.idle)) is not None:
                if text := answer.take(piece):
                    yield Chunk(text)
        except Exception as error:
            failure = _failure(litellm, error, request, key)
            failure.interrupted = bool(answer.texts)
            raise failure from error
        finally:
            await _close(stream)
        yield answer.reply(_cost(litellm, answer))


def _key(request: Request) -> str | None:
    """The key in the variable that `api_key_env` names; None leaves it to litellm."""
    name = request.parameters.get("api_key_env")
    if name is None:
        return None
    key = os.environ.get(str(name))
    if not key:
        raise NoModelError(
            f"model {request.model}: the environment variable {name} is not set, and api_key_env "
            "names it; set it, or name another",
            model=request.model,
        )
    return key


def _load(model: str) -> _Library:
    """Import litellm as a guest: no network, no `.env` file, no prints, no logs, no warnings."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    # Each time, since a test run puts the filters back: where warnings are errors, its own and
    # those of the provider's types that it builds on the way would break every answer.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="litellm")
    warnings.filterwarnings("ignore", message=r"Item .* is using the `ReadOnly` qualifier")
    try:
        import litellm as imported  # noqa: PLC0415 - it costs seconds
    except ImportError as error:
        raise NoModelError(
            f"model {model}: litellm cannot be imported ({error}); pip install litellm, or use "
            "another model (local, echo)",
            model=model,
        ) from error
    litellm = cast(_Library, imported)
    litellm.suppress_debug_info = True
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return litellm


def _arguments(request: Request, key: str | None) -> dict[str, object]:
    arguments: dict[str, object] = {
        name: value for name, value in request.parameters.items() if name not in _OURS
    }
    if key is not None:
        arguments["api_key"] = key
    if request.tools:
        arguments["tools"] = [dict(tool) for tool in request.tools]
    if request.schema is not None:
        schema = dict(request.schema)
        form = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
        arguments["response_format"] = {"type": "json_schema", "json_schema": form}
    return arguments | {
        "model": request.model,
        "messages": [_message(message, request.model) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_retries": 0,
        "num_retries": 0,
        "_skip_mcp_handler": True,  # else tools need the mcp package
    }


def _message(message: Message, model: str) -> dict[str, object]:
    text = _sendable(message.content)
    content: object = text
    if message.cache and any(mark in model for mark in _MARKS_CACHE):
        mark = {"type": "ephemeral"}
        content = [{"type": "text", "text": text, "cache_control": mark}]
    sent: dict[str, object] = {"role": message.role, "content": content}
    if message.name is not None:
        sent["name"] = _sendable(message.name)
    if message.tool_call_id is not None:
        sent["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        sent["content"] = content or None
        sent["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _sendable(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return sent


def _sendable(text: str) -> str:
    """The text as UTF-8 can hold it: half a surrogate pair becomes `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


async def _next(stream: _Stream, idle: float | None) -> Piece | None:
    """The next piece, or None at the end; `TimeoutError` after `idle` seconds of silence."""
    async with asyncio.timeout(idle):
        return await anext(stream, None)


async def _close(stream: _Stream | None) -> None:
    """End the request, if there is one; what goes wrong in that matters to nobody any more."""
    if stream is not None:
        with suppress(Exception):
            await stream.aclose()


def _cost(litellm: _Library, answer: Answer) -> float | None:
    """US dollars, or None where litellm knows no price."""
    try:
        costs = litellm.cost_per_token(
            model=answer.model,
            prompt_tokens=answer.usage.input_tokens,
            completion_tokens=answer.usage.output_tokens,
            cache_read_input_tokens=answer.usage.cached_tokens,
        )
    except Exception:  # noqa: BLE001 - litellm raises whatever its tables lead to
        return None
    return sum(costs)


def _failure(litellm: _Library, error: Exception, request: Request, key: str | None) -> ModelError:
    if isinstance(error, TimeoutError) and request.idle is not None:
        return ModelError(
            f"model {request.model}: no sign of life for {request.idle:g} seconds; ask again, or "
            "raise the node's timeout",
            model=request.model,
            retryable=True,
        )
    missing: Sequence[str] = ()
    with suppress(Exception):
        missing = litellm.validate_environment(request.model)["missing_keys"]
    secrets = _secrets(request, key)
    return explain(error, model=request.model, secrets=secrets, missing=missing)


def _secrets(request: Request, key: str | None) -> list[str]:
    """All that must never be shown: the key given to us, and what litellm may have found."""
    given = request.parameters.get("api_key")
    found = [
        value
        for name, value in os.environ.items()
        if name.upper().endswith(("_KEY", "_TOKEN", "_SECRET")) and len(value) >= _SHORTEST_KEY
    ]
    return [key or "", given if isinstance(given, str) else "", *found]
