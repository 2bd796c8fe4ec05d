"""The adapter for litellm: sends a request to any provider that litellm knows.

This is the only module that imports litellm (two to three CPU seconds), when the first request is
made. Retries, fallbacks and budgets are the engine's own, so litellm's are switched off. Its
exceptions are translated into `ModelError`s here: it tells faults apart by class, status and
text, each with gaps.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import cache, partial, wraps
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from msgspec import Struct, field
from pydantic import BaseModel

from ..errors import ModelError, NoModelError
from ..messages import NO_USAGE, Message, ToolCall, Usage
from ..os_fork import FORKS
from . import http_guard
from .endpoints import check_endpoint, is_trusted, key_of
from .http_guard import CURRENT, HttpExchange
from .protocol import Chunk, Reply, Request

if TYPE_CHECKING:
    from ..messages import JSON

_ENGINE_PARAMETERS = frozenset(("id", "fallback", "api_key_env"))
"""Keys of a graph's `model` that are the engine's, not the provider's."""
_WITH_CACHE_MARKS = ("anthropic/", "bedrock/", "claude", "gemini/", "openrouter/", "vertex_ai/")
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_SHORTEST_KEY = 8

Awaited = TypeVar("Awaited")


class LiteLLM:
    """Model that sends each request to the provider in its id (`openai/gpt-5-mini`).

    The first request imports litellm, in a worker thread. Keys are read from the provider's own
    environment variables, or from the one that the parameter `api_key_env` names.
    """

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Stream the answer; `NoModelError` if there is no such provider or no key for it."""
        check_endpoint(request.model, request.parameters, request.allow_api_base)
        key = None if "api_key" in request.parameters else key_of(request)
        litellm = await _loaded(request.model)
        await _CLIENTS.close_with_loop(litellm)
        answer = StreamedReply(request.model)
        exchange = HttpExchange(is_trusted=is_trusted(request))
        stream: _Stream | None = None
        try:
            opened = litellm.acompletion(**_arguments(request, key))
            stream = await _guarded(opened, exchange, request.idle)
            while (
                chunk := await _guarded(anext(stream, None), exchange, request.idle)
            ) is not None:
                if text := answer.add(chunk):
                    yield Chunk(text)
        except Exception as error:
            failure = _failure(litellm, error, request, key, exchange)
            failure.interrupted = bool(answer.texts)
            raise failure from error
        finally:
            await _close(stream)
        reason = getattr(stream, "received_finish_reason", answer.finish_reason)
        if exchange.is_cut or reason is None:
            answer.end_without_reason(is_done=exchange.is_done)
        yield answer.reply(_cost(litellm, answer))


class FunctionDelta(Protocol):
    """The function in a part of a tool call."""

    name: str | None
    arguments: str | None


class ToolCallDelta(Protocol):
    """A part of a tool call; parts of one call have the same index."""

    index: int
    id: str | None
    function: FunctionDelta


class Delta(Protocol):
    """What a chunk adds to the answer."""

    content: str | None
    tool_calls: Sequence[ToolCallDelta] | None


class ChunkChoice(Protocol):
    """The part of a chunk for one of the answers; only one answer is requested."""

    delta: Delta
    finish_reason: str | None


class StreamChunk(Protocol):
    """A chunk of litellm's stream; the last one may also have a `usage`."""

    model: str | None
    choices: Sequence[ChunkChoice]


class _Stream(Protocol):
    def __aiter__(self) -> _Stream: ...
    async def __anext__(self) -> StreamChunk: ...
    async def aclose(self) -> None: ...


class _Client(Protocol):
    """One of litellm's HTTP clients, or of those of its providers' packages."""

    async def close(self) -> None: ...


class _ClientCache(Protocol):
    """litellm's clients; each key ends with the `id` of the event loop that its client is for."""

    cache_dict: dict[str, _Client]
    ttl_dict: dict[str, float]


class _LiteLLMModule(Protocol):
    """What is used of litellm; its own types are too loose to be of help."""

    suppress_debug_info: bool
    in_memory_llm_clients_cache: _ClientCache

    async def acompletion(self, **arguments: object) -> _Stream: ...
    def cost_per_token(self, **arguments: object) -> tuple[float, float]: ...
    def validate_environment(self, model: str) -> Mapping[str, Sequence[str]]: ...


async def _loaded(model: str) -> _LiteLLMModule:
    """litellm, imported in a worker thread if it is not yet; `NoModelError` if it is missing."""
    if _import_litellm.cache_info().currsize:
        return _import_litellm()
    try:
        return await asyncio.to_thread(_import_litellm)
    except ImportError as error:
        raise NoModelError(
            f"model {model}: litellm cannot be imported ({error}); pip install litellm, or use "
            "another model (local, echo)",
            model=model,
        ) from error


@cache
def _import_litellm() -> _LiteLLMModule:
    """Import and configure litellm: no network, no `.env` file, no prints, no log records.

    All that is set for a whole process is set here, once.
    """
    was_imported = "litellm" in sys.modules  # its clients were made without guards
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import litellm as imported  # noqa: PLC0415 - it costs seconds
    from litellm.llms.custom_httpx import http_handler  # noqa: PLC0415 - as above
    from litellm.llms.openai.common_utils import BaseOpenAILLM  # noqa: PLC0415 - as above
    from litellm.types import utils  # noqa: PLC0415 - as above

    if was_imported:
        cast(Any, imported).in_memory_llm_clients_cache.flush_cache()
    http_guard.install(http_handler, BaseOpenAILLM)
    _silence_dumps(cast(Any, utils).OpenAIObject)

    for model in (utils.Message, utils.Choices, utils.ModelResponse, utils.Usage):
        _settle(model)
    for part in (utils.Delta, utils.StreamingChoices, utils.ModelResponseStream):
        _settle(part)
    litellm = cast(_LiteLLMModule, imported)
    litellm.suppress_debug_info = True
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    FORKS.call_in_child(partial(_drop_clients, litellm, []))
    return litellm


def _drop_clients(litellm: _LiteLLMModule, inherited: list[object]) -> None:
    """Forget the HTTP clients of the parent in a forked child; litellm creates others when needed.

    They are kept in `inherited`: whoever closed them would end connections that the parent uses.
    """
    names = ("in_memory_llm_clients_cache", "module_level_aclient", "module_level_client")
    inherited.extend(vars(litellm).pop(name, None) for name in names)


class _LoopClients:
    """Closes litellm's HTTP clients with their event loop; litellm itself keeps them for an hour.

    A loop with clients is referenced until it is closed, so no other can get its `id`.
    """

    def __init__(self) -> None:
        self._closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None]] = {}

    async def close_with_loop(self, litellm: _LiteLLMModule) -> None:
        """Have the clients of the running loop closed when the loop shuts down its generators."""
        loop = asyncio.get_running_loop()
        if loop not in self._closers:
            self._closers[loop] = self._closer(litellm, loop)
            await anext(self._closers[loop])
            for closed in [each for each in list(self._closers) if each.is_closed()]:
                await self._close(litellm, closed)  # it was closed without `shutdown_asyncgens`

    async def _closer(
        self, litellm: _LiteLLMModule, loop: asyncio.AbstractEventLoop
    ) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self._close(litellm, loop)

    async def _close(self, litellm: _LiteLLMModule, loop: asyncio.AbstractEventLoop) -> None:
        cache = litellm.in_memory_llm_clients_cache
        keys = [key for key in list(cache.cache_dict) if key.endswith(f"-{id(loop)}")]
        clients = [cache.cache_dict.pop(key) for key in keys]
        for key in keys:
            cache.ttl_dict.pop(key, None)
        self._closers.pop(loop, None)
        shared = [*cache.cache_dict.values(), vars(litellm).get("module_level_aclient")]
        sessions = [each for each in map(_session_of, shared) if _loop_of(each) is loop]
        for each in (*clients, *sessions):
            with suppress(Exception):
                await each.close()


def _session_of(client: Any) -> Any:  # noqa: ANN401  aiohttp's
    """The connections of a client that all loops share; litellm makes others where they are closed.

    Gemini's and Vertex's clients are made when litellm is imported, where no loop is running.
    """
    return getattr(getattr(getattr(client, "client", None), "_transport", None), "client", None)


def _loop_of(session: Any) -> asyncio.AbstractEventLoop | None:  # noqa: ANN401  aiohttp's
    return getattr(session, "_loop", None)


_CLIENTS = _LoopClients()


def _silence_dumps(model: Any) -> None:  # noqa: ANN401  a class of the openai package
    """Let odd chunks be dumped without warnings of pydantic, in requests of ours."""
    original = model.model_dump

    @wraps(original)
    def model_dump(self: object, **options: object) -> object:
        quiet = options if CURRENT.get() is None else {**options, "warnings": False}
        return original(self, **quiet)

    model.model_dump = model_dump


def _settle(model: type[BaseModel]) -> None:
    """Do now what would warn at requests: litellm's filters for that may be gone then (pytest).

    Pydantic builds a type when it is first used; and litellm reads these attributes of a class
    through its objects, which is deprecated.
    """
    model.model_rebuild()
    for name in ("model_fields", "model_computed_fields"):
        setattr(model, name, getattr(model, name))


def _arguments(request: Request, key: str | None) -> dict[str, object]:
    """The keyword arguments for `acompletion`."""
    arguments: dict[str, object] = {
        name: value for name, value in request.parameters.items() if name not in _ENGINE_PARAMETERS
    }
    if key is not None:
        arguments["api_key"] = key
    if request.tools:
        arguments["tools"] = [dict(tool) for tool in request.tools]
    if request.schema is not None:
        schema = dict(request.schema)
        named_schema = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
        arguments["response_format"] = {"type": "json_schema", "json_schema": named_schema}
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
    text = _encodable(message.content)
    content: object = text
    if message.cache and any(mark in model for mark in _WITH_CACHE_MARKS):
        mark = {"type": "ephemeral"}
        content = [{"type": "text", "text": text, "cache_control": mark}]
    sent: dict[str, object] = {"role": message.role, "content": content}
    if message.name is not None:
        sent["name"] = _encodable(message.name)
    if message.tool_call_id is not None:
        sent["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        sent["content"] = content or None
        sent["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _encodable(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return sent


def _encodable(text: str) -> str:
    """The text with each unpaired surrogate, which UTF-8 cannot encode, replaced by `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def is_strict(schema: Mapping[str, JSON]) -> bool:
    """Whether `schema` can be sent as `strict`, so that the provider itself enforces it.

    It can if every object requires all its properties and allows no others.
    """
    return all(_is_closed(one) for one in _object_schemas(dict(schema)))


def _object_schemas(value: JSON) -> list[dict[str, JSON]]:
    """All schemas of objects in `value`, at any depth."""
    if isinstance(value, list):
        return [one for part in value for one in _object_schemas(part)]
    if not isinstance(value, dict):
        return []
    inner = [one for part in value.values() for one in _object_schemas(part)]
    return [value, *inner] if value.get("type") == "object" else inner


def _is_closed(schema: dict[str, JSON]) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return (
        schema.get("additionalProperties") is False
        and isinstance(properties, dict)
        and isinstance(required, list)
        and list(properties) == required
    )


async def _guarded(
    awaited: Awaitable[Awaited], exchange: HttpExchange, idle: float | None
) -> Awaited:
    """Await with the guards on HTTP responses; `TimeoutError` after `idle` seconds."""
    token = CURRENT.set(exchange)
    try:
        async with asyncio.timeout(idle):
            return await awaited
    finally:
        CURRENT.reset(token)


async def _close(stream: _Stream | None) -> None:
    """Cancel the request, if there is one; errors of closing are of no interest any more."""
    if stream is not None:
        with suppress(Exception):
            await stream.aclose()


class _PartialCall(Struct):
    """A tool call of which parts have arrived."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])


class StreamedReply(Struct):
    """A reply assembled from the chunks of a stream."""

    model: str
    texts: list[str] = field(default_factory=list[str])
    usage: Usage = NO_USAGE
    finish_reason: str | None = None
    answered_by: str = ""
    calls: dict[int, _PartialCall] = field(default_factory=dict[int, _PartialCall])

    def add(self, chunk: StreamChunk) -> str:
        """Add a chunk; returns the text in it."""
        self.answered_by = chunk.model or self.answered_by
        self.usage = _usage(chunk) or self.usage
        text = ""
        for choice in chunk.choices[:1]:
            self.finish_reason = choice.finish_reason or self.finish_reason
            text = choice.delta.content or ""
            for part in choice.delta.tool_calls or ():
                self._add_call(part)
        if text:
            self.texts.append(text)
        return text

    def reply(self, cost: float | None) -> Reply:
        """The complete reply; `ModelError` if it is empty."""
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

    def end_without_reason(self, *, is_done: bool) -> None:
        """Forget litellm's invented finish reason; `ModelError` if the stream just ended."""
        self.finish_reason = None
        if not is_done and (self.texts or self.calls):
            raise ModelError(
                f"model {self.model}: the answer ended early: its stream has no finish reason and "
                "no [DONE]; ask again",
                model=self.model,
                retryable=True,
                interrupted=bool(self.texts),
            )

    def _add_call(self, part: ToolCallDelta) -> None:
        call = self.calls.setdefault(part.index, _PartialCall())
        call.id = part.id or call.id
        call.name = part.function.name or call.name
        call.arguments.append(part.function.arguments or "")

    def _empty(self) -> ModelError:
        match self.finish_reason:
            case "length":
                reason = "max_tokens was used up before the answer began; raise it"
            case "content_filter":
                reason = "the provider's content filter blocked the answer; change the prompt"
            case _:
                reason = "the answer is empty; ask again, or change the prompt"
        retryable = self.finish_reason not in ("length", "content_filter")
        return ModelError(f"model {self.model}: {reason}", model=self.model, retryable=retryable)


def _usage(chunk: StreamChunk) -> Usage | None:
    counts: object = getattr(chunk, "usage", None)
    if counts is None:
        return None
    details: object = getattr(counts, "prompt_tokens_details", None)
    return Usage(
        input_tokens=_count(counts, "prompt_tokens"),
        output_tokens=_count(counts, "completion_tokens"),
        cached_tokens=_count(details, "cached_tokens"),
        calls=1,
    )


def _count(counts: object, name: str) -> int:
    """A number of tokens; what is negative or no number counts as 0."""
    count: object = getattr(counts, name, 0)
    return max(0, count) if isinstance(count, int) else 0


def _cost(litellm: _LiteLLMModule, answer: StreamedReply) -> float | None:
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


def _failure(
    litellm: _LiteLLMModule,
    error: Exception,
    request: Request,
    key: str | None,
    exchange: HttpExchange,
) -> ModelError:
    if exchange.refusal is not None:
        return ModelError(f"model {request.model}: {exchange.refusal}", model=request.model)
    if isinstance(error, TimeoutError) and request.idle is not None:
        return ModelError(
            f"model {request.model}: nothing arrived for {request.idle:g} seconds; ask again, or "
            "raise the node's timeout",
            model=request.model,
            retryable=True,
        )
    missing: Sequence[str] = ()
    with suppress(Exception):
        missing = litellm.validate_environment(request.model)["missing_keys"]
    secrets = _secrets(request, key)
    return translate_error(error, model=request.model, secrets=secrets, missing=missing)


def _secrets(request: Request, key: str | None) -> list[str]:
    """All that must never be shown: the key of the request, and those litellm may have read."""
    passed = request.parameters.get("api_key")
    found = [
        value
        for name, value in os.environ.items()
        if name.upper().endswith(("_KEY", "_TOKEN", "_SECRET")) and len(value) >= _SHORTEST_KEY
    ]
    return [key or "", passed if isinstance(passed, str) else "", *found]


_KEY_LIKE = r"\b(?:sk|pk|rk|key|gsk|xai|AIza)[-_A-Za-z0-9*.]{12,}"
_EXCEPTION_NAMES = (
    r"^(?:litellm\.)?\w*(?:Error|Exception|Timeout)\w*(?: Error)?: ?|^\w+Exception - "
)
_LONGEST_DETAIL = 200
_APPENDICES = (" Original exception", ". To drop these", ": <")
"""What litellm appends to messages without use to the reader: messages are cut before it."""
_REDACTED = "[key]"

_REASONS = {
    400: "the provider refused the request",
    401: "the provider refused the key",
    403: "the provider does not allow this key to use it",
    404: "the provider does not know this model",
    408: "the provider did not answer in time",
    413: "the prompt is too large for the provider",
    422: "the provider refused the request",
    429: "the rate limit is reached, or the quota is used up",
    529: "the provider is overloaded",
}
_ADVICE = {
    400: "change the prompt or the node's model parameters",
    403: "use a key that has access, or name another model",
    404: "look up its id at the provider; ids are written as provider/model",
    408: "ask again, or raise the node's timeout",
    413: "shorten it (fewer runs of history, shorter texts) or name another model",
    422: "change the prompt or the node's model parameters",
    429: "ask again later, or lower max_parallel",
}
_RETRYABLE = frozenset((408, 409, 425, 429))
_SERVER_ERROR = 500


def translate_error(
    error: Exception, *, model: str, secrets: Iterable[str] = (), missing: Iterable[str] = ()
) -> ModelError:
    """The `ModelError` for one of litellm's; `missing` are variables for keys that are not set.

    `secrets` are redacted in all texts, also in place in those of `error` and its causes, since
    tracebacks show them.
    """
    hidden = [secret for secret in secrets if secret]
    for one in _causes(error):
        _redact_in_place(one, hidden)
    status, text = _status(error), _redacted(str(error), hidden)
    if "LLM Provider NOT provided" in text:
        return NoModelError(
            f"model {model}: no provider of this name is known; write the id as provider/model, "
            "such as openai/gpt-5-mini, or use local or echo",
            model=model,
        )
    if missing and _is_local(error) and "missing" in text.lower():
        return NoModelError(
            f"model {model}: it has no API key; set {' or '.join(missing)}, name the variable "
            "that contains it with api_key_env, or use another model (local, echo)",
            model=model,
        )
    reason, retryable, is_from_provider = _diagnosis(error, status, text)
    return ModelError(
        f"model {model}: {reason}",
        model=model,
        retryable=retryable,
        status=status if is_from_provider else None,
        retry_after=_retry_after(error),
    )


def _diagnosis(error: Exception, status: int | None, text: str) -> tuple[str, bool, bool]:
    """Reason with advice, whether a retry may help, whether the status is the provider's own."""
    name = type(error).__name__
    detail = _detail(text)
    if name == "ContextWindowExceededError":
        reason = f"the prompt is longer than the model's context window ({detail})"
        advice = "shorten it (fewer runs of history, shorter texts) or name another model"
        return f"{reason}; {advice}", False, True
    if name == "MidStreamFallbackError":
        return f"the answer was cut off ({detail}); ask again", True, False
    if "Connection error" in text or name == "APIConnectionError":
        advice = "check the network and api_base, then ask again"
        return f"the provider cannot be reached, or it closed the connection; {advice}", True, False
    if status is None or (status >= _SERVER_ERROR and _is_local(error)):
        return f"the request could not be made ({detail}); look at its parameters", False, False
    retryable = status in _RETRYABLE or status >= _SERVER_ERROR
    return _by_status(status, detail), retryable, not _is_local(error)


def _by_status(status: int, detail: str) -> str:
    reason = _REASONS.get(status, "the provider failed")
    advice = _ADVICE.get(status, "ask again later")
    if status == 401:  # noqa: PLR2004 - what a provider says about a key may contain it
        return f"{reason} (401); set the provider's key variable, or api_key_env, to a valid key"
    return f"{reason} ({status}: {detail}); {advice}"


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _headers(error: Exception) -> Mapping[str, str]:
    """The headers of the provider's response; empty if there was none."""
    headers: Mapping[str, str] | None = getattr(error, "litellm_response_headers", None)
    return headers or {}


def _is_local(error: Exception) -> bool:
    """Whether the error was made on this machine, with no response of a provider behind it."""
    return not _headers(error)


def _retry_after(error: Exception) -> float | None:
    """Seconds to wait, from a number of seconds or from a date."""
    text = _headers(error).get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_until(text)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float | None:
    """Seconds from now to a date in HTTP's format; None if it is not one."""
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except ValueError:
        return None


def _detail(text: str) -> str:
    """The first line that is not empty, without the names of exceptions before it."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    for appendix in _APPENDICES:
        line = line.partition(appendix)[0]
    while (shorter := re.sub(_EXCEPTION_NAMES, "", line)) != line:
        line = shorter
    line = line.rstrip(" .")
    return line if len(line) <= _LONGEST_DETAIL else f"{line[:_LONGEST_DETAIL]}..."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes, contexts and the originals in litellm's own, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            original: object = getattr(one, "original_exception", None)
            waiting += [one.__cause__, one.__context__]
            waiting += [original] if isinstance(original, BaseException) else []


def _redact_in_place(error: BaseException, secrets: list[str]) -> None:
    error.args = tuple(
        _redacted(part, secrets) if isinstance(part, str) else part for part in error.args
    )
    for name, value in list(vars(error).items()):
        if isinstance(value, str):
            setattr(error, name, _redacted(value, secrets))


def _redacted(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _REDACTED)
    return re.sub(_KEY_LIKE, _REDACTED, text)
