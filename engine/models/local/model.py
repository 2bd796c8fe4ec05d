"""The small model that runs on this machine: it answers, chooses and fills a schema."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from engine.errors import ModelError
from engine.messages import JSON, Message, Usage
from engine.models.instance import choose
from engine.models.protocol import Chunk, Reply, Request

from .choice import Scorer
from .process import SERVER, Server
from .wire import Address, ask

LOCAL_NOTICE = "98 MB demo model (SmolLM2-135M); its answers can be wrong"

_NAME = "SmolLM2-135M-Instruct"
_MAX_TOKENS = 200  # it is prone to loop, and says nothing new after that
_MAX_TOKENS_SCHEMA = 400
_LONGEST_TEXT, _LONGEST_ITEM, _MOST_ITEMS = 300, 40, 4
"""In an answer of a declared shape: characters of a text, of one in a list, and parts of a list."""
_ENDS = {"enum", "const", "pattern", "format", "minLength", "minItems"}


class Local:
    """Asks the demo model that `make demo` installs; faces show `LOCAL_NOTICE` with its answers.

    It is good at one thing, which label fits a message, and vague about all others. It cannot
    call tools. The same request has the same answer, and costs nothing.
    """

    def __init__(self, server: Server = SERVER) -> None:
        self._server = server

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Stream the answer; `NoModelError` if the model is not installed."""
        _check(request)
        address = await asyncio.to_thread(self._server.address)
        answering = _choose if request.choices else _write
        shown = False
        try:
            async with aclosing(answering(request, address)) as pieces:
                async for piece in pieces:
                    shown = True
                    yield piece
        except (OSError, EOFError, ValueError) as error:
            raise _failure(error, interrupted=shown) from error


def _check(request: Request) -> None:
    if request.tools:
        raise ModelError(
            "model local: the local demo model cannot call tools; name another model for this "
            "node, or leave its tools out",
            model=request.model,
        )
    if not request.messages:
        raise ModelError(
            "model local: the prompt has no messages; let its template say something",
            model=request.model,
        )


async def _choose(request: Request, address: Address) -> AsyncGenerator[Chunk | Reply]:
    """The likeliest label; with `many`, also those that got more than an even share."""
    labels = request.choices
    scorer = Scorer(address, idle=request.idle)
    shares = await scorer.score(_plain(request.messages), labels)
    likeliest = max(labels, key=lambda label: shares[label])
    even = 1 / len(labels)
    chosen = [label for label in labels if label == likeliest or shares[label] > even]
    text = choose(request, chosen if request.many else [likeliest])
    yield Chunk(text)
    yield Reply(
        text,
        usage=Usage(input_tokens=scorer.input_tokens, calls=1, cost=0.0),
        finish_reason="stop",
        model=_NAME,
    )


async def _write(request: Request, address: Address) -> AsyncGenerator[Chunk | Reply]:
    """The text as it is made, token by token."""
    text, usage, finish_reason = "", Usage(calls=1, cost=0.0), None
    async with ask(address, "/v1/chat/completions", _body(request), idle=request.idle) as response:
        while (line := await response.line()) is not None:
            event = _event(line)
            for choice in event.get("choices", ()):
                finish_reason = choice.get("finish_reason") or finish_reason
                if piece := choice["delta"].get("content"):
                    text += piece
                    yield Chunk(piece)
            if counts := event.get("usage"):
                usage = _usage(counts)
    if finish_reason is None:
        raise EOFError("the answer was cut off")
    if not text:
        raise ModelError(
            "model local: it had nothing to say to this prompt; ask in short English sentences, "
            "or name another model",
            model="local",
        )
    yield Reply(text, usage=usage, finish_reason=finish_reason, model=_NAME)


def _event(line: bytes) -> dict[str, Any]:
    """What a line of the stream says; most lines say nothing."""
    if not line.startswith(b"data: {"):
        return {}
    return cast("dict[str, Any]", json.loads(line.removeprefix(b"data: ")))


def _body(request: Request) -> dict[str, JSON]:
    body: dict[str, JSON] = {
        "temperature": 0,
        "max_tokens": _MAX_TOKENS_SCHEMA if request.schema else _MAX_TOKENS,
        **request.parameters,
        "messages": [
            {"role": message.role, "content": message.content}
            for message in _plain(request.messages)
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": _bounded(request.schema)},
        }
    return body


def _bounded(schema: JSON | Mapping[str, JSON], longest: int = _LONGEST_TEXT) -> JSON:
    """The schema with an end to every text and list, since the model seldom finds one itself."""
    if isinstance(schema, list):
        return [_bounded(part, longest) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    ends: dict[str, JSON] = {}
    match schema.get("type"):
        case "string" if not _ENDS & schema.keys():
            ends["maxLength"] = longest
        case "array" if not _ENDS & schema.keys():
            ends["maxItems"] = _MOST_ITEMS
            longest = _LONGEST_ITEM
        case _:
            pass
    return {**ends, **{name: _bounded(part, longest) for name, part in schema.items()}}


def _plain(messages: Sequence[Message]) -> list[Message]:
    """The messages without the marks of the chat format, so that no text can forge a role."""
    return [
        message.model_copy(update={"content": message.content.replace("<|", "< |")})
        for message in messages
    ]


def _usage(counts: Mapping[str, Any]) -> Usage:
    details: Mapping[str, int] = counts.get("prompt_tokens_details") or {}
    return Usage(
        input_tokens=counts["prompt_tokens"],
        output_tokens=counts["completion_tokens"],
        cached_tokens=details.get("cached_tokens", 0),
        calls=1,
        cost=0.0,
    )


def _failure(error: Exception, *, interrupted: bool) -> ModelError:
    what = (
        "its server did not answer in time"
        if isinstance(error, TimeoutError)
        else "its server broke off the answer"
    )
    return ModelError(
        f"model local: {what}; ask again, and if it goes on, see whether memory is short",
        model="local",
        retryable=True,
        interrupted=interrupted,
    )
