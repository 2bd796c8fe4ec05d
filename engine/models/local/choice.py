"""How the local model chooses: it is never asked to write a label, its wish for each is read off.

A model of this size would nearly always write the same label. What it knows shows in how much
likelier a label is after this message than after one that says nothing: that difference decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from engine.messages import JSON, Message

from .wire import Address, ask

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
