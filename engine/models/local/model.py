"""The small model that runs on this machine: it answers, chooses and fills a schema.

How the local model chooses: it is never asked to write a label, its wish for each is read off.

A model of this size would nearly always write the same label. What it knows shows in how much
likelier a label is after this message than after one that says nothing: that difference decides.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias, cast

from ...errors import ModelError
from ...messages import JSON, Message, Usage
from ..protocol import Chunk, Reply, Request
from ..samples import choose
from .process import SERVER, Address, Server, ask

_NEUTRAL = "N/A"  # of six ways to say nothing the best, and the only one in no language
_LEAST = 1e-30
_LIFT = 100  # added to the logits of the candidates: nothing else can come up then

Tokens: TypeAlias = tuple[int, ...]


class Scorer:
    """Scores labels as answers to a chat; `input_tokens` adds up what that took."""

    def __init__(self, address: Address, *, idle: float | None = None) -> None:
        self._address = address
        self._idle = idle
        self.input_tokens = 0

    async def score(self, messages: Sequence[Message], labels: Iterable[str]) -> dict[str, float]:
        """How much likelier the last message makes each label, as shares that add up to 1."""
        spelled = await self._spell(labels)
        said = await self._log_shares(messages, spelled)
        nothing = messages[-1].model_copy(update={"content": _NEUTRAL})
        neutral = await self._log_shares([*messages[:-1], nothing], spelled)
        gained = {label: said[label] - neutral[label] for label in spelled}
        most = max(gained.values())
        weights = {label: math.exp(gain - most) for label, gain in gained.items()}
        return {label: weight / sum(weights.values()) for label, weight in weights.items()}

    async def _spell(self, labels: Iterable[str]) -> dict[str, Tokens]:
        """The tokens of each label and of the end after it, so that no label begins another."""
        properties = await self._ask("/props")
        spelled: dict[str, Tokens] = {}
        for label in labels:
            body: dict[str, JSON] = {
                "content": label + cast(str, properties["eos_token"]),
                "parse_special": True,
            }
            spelled[label] = tuple((await self._ask("/tokenize", body))["tokens"])
        return spelled

    async def _log_shares(
        self, messages: Sequence[Message], spelled: Mapping[str, Tokens]
    ) -> dict[str, float]:
        """The log-probability of each label, given that the answer is one of them.

        The model is asked only where spellings part; what follows is certain then.
        """
        chat: list[JSON] = [{"role": one.role, "content": one.content} for one in messages]
        prompt = cast(str, (await self._ask("/apply-template", {"messages": chat}))["prompt"])
        shares = dict.fromkeys(spelled, 0.0)
        for beginning, following in _partings(spelled.values()).items():
            found = await self._next(prompt, beginning, following)
            for label, tokens in spelled.items():
                if tokens[: len(beginning)] == beginning:
                    shares[label] += found[tokens[len(beginning)]]
        return shares

    async def _next(
        self, prompt: str, beginning: Tokens, candidates: Sequence[int]
    ) -> dict[int, float]:
        """The log-probabilities of the candidates, as if nothing else could come next."""
        answer = await self._ask(
            "/completion",
            {
                "prompt": [prompt, *beginning],
                "n_predict": 1,
                "temperature": 1.0,
                "top_k": 0,
                "top_p": 1.0,
                "min_p": 0.0,
                "n_probs": len(candidates),
                "post_sampling_probs": True,
                "logit_bias": [[token, _LIFT] for token in candidates],
                "response_fields": ["completion_probabilities", "tokens_evaluated"],
            },
        )
        self.input_tokens += cast(int, answer["tokens_evaluated"])
        (place,) = answer["completion_probabilities"]
        found = {one["id"]: one["prob"] for one in place["top_probs"]}
        return {token: math.log(max(found.get(token, 0.0), _LEAST)) for token in candidates}

    async def _ask(self, path: str, body: Mapping[str, JSON] | None = None) -> dict[str, Any]:
        async with ask(self._address, path, body, idle=self._idle) as response:
            return cast("dict[str, Any]", await response.json())


def _partings(spellings: Iterable[Tokens]) -> dict[Tokens, list[int]]:
    """Where spellings part: the beginning that some share, and the tokens that may follow it."""
    following: dict[Tokens, set[int]] = {}
    for tokens in spellings:
        for length, token in enumerate(tokens):
            following.setdefault(tokens[:length], set()).add(token)
    return {beginning: sorted(tokens) for beginning, tokens in following.items() if len(tokens) > 1}


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
