"""The adapter for the demo model of this machine: text, schemas by grammar, labels by scoring.

A router's label is not generated: a model of this size would nearly always write the same one.
Instead each label is scored by how much more probable it is after this message than after one
without content.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias, cast

from ...errors import ModelError, NoModelError
from ...messages import JSON, Message, Usage
from ..protocol import Chunk, Reply, Request
from ..samples import choose
from .server import SERVER, LocalServer, ServerAddress, http_request

LOCAL_NOTICE = "98 MB demo model (SmolLM2-135M); its answers can be wrong"

_NAME = "SmolLM2-135M-Instruct"
_MAX_TOKENS = 200  # it is prone to loop, and says nothing new after that
_MAX_TOKENS_SCHEMA = 400
_LONGEST_TEXT, _LONGEST_ITEM, _MOST_ITEMS = 300, 40, 4
"""Bounds in an answer with a schema: characters of a text, of a text in a list, items of a list."""
_BOUNDING_KEYS = {"enum", "const", "pattern", "format", "minLength", "minItems"}
_NEUTRAL = "N/A"  # the best of six contents without meaning, and the only one in no language
_SMALLEST_PROBABILITY = 1e-30
_LOGIT_BIAS = 100  # for the candidates: no other token can be sampled then

TokenIds: TypeAlias = tuple[int, ...]


class LocalModel:
    """Model that asks the demo model in its server process; user interfaces show `LOCAL_NOTICE`.

    It is good at one thing, which label fits a message, and vague about all others. It cannot
    call tools. The same request has the same answer, and costs nothing.
    """

    calls_tools = False

    def __init__(self, server: LocalServer = SERVER) -> None:
        self._server = server

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Stream the answer; `NoModelError` if the model is not installed."""
        _check(request)
        address = await asyncio.to_thread(self._server.address)
        answer = _choose if request.choices else _generate
        has_begun = False
        try:
            async with aclosing(answer(request, address)) as parts:
                async for part in parts:
                    has_begun = True
                    yield part
        except (OSError, EOFError, ValueError) as error:
            raise _failure(error, interrupted=has_begun) from error


def _check(request: Request) -> None:
    if request.model != "local":
        raise NoModelError(
            f"model {request.model}: the demo model has no other id than local; name that, or "
            "write the id as provider/model",
            model=request.model,
        )
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


async def _choose(request: Request, address: ServerAddress) -> AsyncGenerator[Chunk | Reply]:
    """The most probable label; with `many`, also those more probable than chance."""
    labels = request.choices
    scorer = LabelScorer(address, idle=request.idle)
    scores = await scorer.score(_without_markers(request.messages), labels)
    best = max(labels, key=lambda label: scores[label])
    chance = 1 / len(labels)
    chosen = [label for label in labels if label == best or scores[label] > chance]
    text = choose(request, chosen if request.many else [best])
    yield Chunk(text)
    yield Reply(
        text,
        usage=Usage(input_tokens=scorer.input_tokens, calls=1, cost=0.0),
        finish_reason="stop",
        model=_NAME,
    )


async def _generate(request: Request, address: ServerAddress) -> AsyncGenerator[Chunk | Reply]:
    """The text as it is generated, token by token."""
    text, usage, finish_reason = "", Usage(calls=1, cost=0.0), None
    path, body = "/v1/chat/completions", _body(request)
    async with http_request(address, path, body, idle=request.idle) as response:
        while (line := await response.line()) is not None:
            event = _event(line)
            for choice in event.get("choices", ()):
                finish_reason = choice.get("finish_reason") or finish_reason
                if added := choice["delta"].get("content"):
                    text += added
                    yield Chunk(added)
            if counts := event.get("usage"):
                usage = _usage(counts)
    if finish_reason is None:
        raise EOFError("the answer was cut off")
    if not text:
        raise ModelError(
            "model local: its answer to this prompt is empty; ask in short English sentences, "
            "or name another model",
            model="local",
        )
    yield Reply(text, usage=usage, finish_reason=finish_reason, model=_NAME)


def _event(line: bytes) -> dict[str, Any]:
    """The JSON of a line of the event stream; empty for lines without data."""
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
            for message in _without_markers(request.messages)
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
    """The schema with a limit on every text and list: the model often does not stop by itself."""
    if isinstance(schema, list):
        return [_bounded(part, longest) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    limits: dict[str, JSON] = {}
    match schema.get("type"):
        case "string" if not _BOUNDING_KEYS & schema.keys():
            limits["maxLength"] = longest
        case "array" if not _BOUNDING_KEYS & schema.keys():
            limits["maxItems"] = _MOST_ITEMS
            longest = _LONGEST_ITEM
        case _:
            pass
    return {**limits, **{name: _bounded(part, longest) for name, part in schema.items()}}


def _without_markers(messages: Sequence[Message]) -> list[Message]:
    """The messages with the chat format's markers escaped, so that no text can forge a role."""
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
    reason = (
        "its server did not answer in time"
        if isinstance(error, TimeoutError)
        else "its server ended the answer early"
    )
    return ModelError(
        f"model local: {reason}; ask again; if that happens again, check the free memory",
        model="local",
        retryable=True,
        interrupted=interrupted,
    )


class LabelScorer:
    """Scores labels as answers to a chat, by log-probabilities; counts the `input_tokens` used."""

    def __init__(self, address: ServerAddress, *, idle: float | None = None) -> None:
        self._address = address
        self._idle = idle
        self.input_tokens = 0

    async def score(self, messages: Sequence[Message], labels: Iterable[str]) -> dict[str, float]:
        """How much more probable the last message makes each label; the scores add up to 1.

        It is the softmax over the differences to the log-probabilities after a neutral message.
        """
        tokens = await self._tokenize(labels)
        actual = await self._log_probabilities(messages, tokens)
        neutral_message = messages[-1].model_copy(update={"content": _NEUTRAL})
        neutral = await self._log_probabilities([*messages[:-1], neutral_message], tokens)
        gains = {label: actual[label] - neutral[label] for label in tokens}
        highest = max(gains.values())
        weights = {label: math.exp(gain - highest) for label, gain in gains.items()}
        return {label: weight / sum(weights.values()) for label, weight in weights.items()}

    async def _tokenize(self, labels: Iterable[str]) -> dict[str, TokenIds]:
        """The tokens of each label with the end token, so that no label is a prefix of another."""
        properties = await self._fetch("/props")
        tokens: dict[str, TokenIds] = {}
        for label in labels:
            body: dict[str, JSON] = {
                "content": label + cast(str, properties["eos_token"]),
                "parse_special": True,
            }
            tokens[label] = tuple((await self._fetch("/tokenize", body))["tokens"])
        return tokens

    async def _log_probabilities(
        self, messages: Sequence[Message], tokens_of: Mapping[str, TokenIds]
    ) -> dict[str, float]:
        """The log-probability of each label, given that the answer is one of them.

        The model is evaluated only where labels diverge; the other tokens are certain.
        """
        chat: list[JSON] = [{"role": one.role, "content": one.content} for one in messages]
        prompt = cast(str, (await self._fetch("/apply-template", {"messages": chat}))["prompt"])
        total = dict.fromkeys(tokens_of, 0.0)
        for prefix, candidates in _branches(tokens_of.values()).items():
            found = await self._next_token(prompt, prefix, candidates)
            for label, tokens in tokens_of.items():
                if tokens[: len(prefix)] == prefix:
                    total[label] += found[tokens[len(prefix)]]
        return total

    async def _next_token(
        self, prompt: str, prefix: TokenIds, candidates: Sequence[int]
    ) -> dict[int, float]:
        """The log-probabilities of the candidates, given that the next token is one of them."""
        answer = await self._fetch(
            "/completion",
            {
                "prompt": [prompt, *prefix],
                "n_predict": 1,
                "temperature": 1.0,
                "top_k": 0,
                "top_p": 1.0,
                "min_p": 0.0,
                "n_probs": len(candidates),
                "post_sampling_probs": True,
                "logit_bias": [[token, _LOGIT_BIAS] for token in candidates],
                "response_fields": ["completion_probabilities", "tokens_evaluated"],
            },
        )
        self.input_tokens += cast(int, answer["tokens_evaluated"])
        (position,) = answer["completion_probabilities"]
        found = {one["id"]: one["prob"] for one in position["top_probs"]}
        return {
            token: math.log(max(found.get(token, 0.0), _SMALLEST_PROBABILITY))
            for token in candidates
        }

    async def _fetch(self, path: str, body: Mapping[str, JSON] | None = None) -> dict[str, Any]:
        async with http_request(self._address, path, body, idle=self._idle) as response:
            return cast("dict[str, Any]", await response.json())


def _branches(labels: Iterable[TokenIds]) -> dict[TokenIds, list[int]]:
    """Each prefix after which labels diverge, with the tokens that follow it."""
    following: dict[TokenIds, set[int]] = {}
    for tokens in labels:
        for length, token in enumerate(tokens):
            following.setdefault(tokens[:length], set()).add(token)
    return {prefix: sorted(tokens) for prefix, tokens in following.items() if len(tokens) > 1}
