"""Any provider, through litellm: the only module that imports it, and only when it is used.

Retrying, falling back and counting are the engine's own, so litellm is told to do none of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, cast

from engine.errors import ModelError, NoModelError
from engine.messages import Message

from .failure import explain
from .pieces import Answer, Piece
from .protocol import Chunk, Reply, Request
from .strict import is_strict

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
