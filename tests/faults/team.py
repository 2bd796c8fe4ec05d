"""A team that is put through the faults, and a model that repeats what it was sent."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator
from functools import cache

from teamgraph import Chunk, Graph, Reply, Request, Usage
from teamgraph.errors import ModelError
from teamgraph.nodes import HistoryLoader, Member, Router, Summarizer

SLOW_TEAM = """\
name: team
model: echo
nodes:
  a: {kind: python, call: "slow:work"}
  b: {kind: python, call: "slow:work"}
  c: {kind: python, call: "slow:work", needs: [a, b]}
  last: {role: Say, needs: [c]}
output: [last]
"""
"""A graph whose functions, in a module beside it, take their time."""
NONCE = re.compile(r"nonce-(\d+)-(\d+)")


class Repeating:
    """Says the last nonce that it was sent; of its calls a part fails."""

    def __init__(self, *, faults: float = 0.0, seed: int = 0) -> None:
        self._faults = faults
        self._chosen = random.Random(seed)

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        await asyncio.sleep(0)
        if self._chosen.random() < self._faults:
            raise ModelError("the provider is busy", model="repeating", retryable=True)
        said = [found for message in request.messages for found in NONCE.findall(message.content)]
        text = "I heard nonce-{}-{}.".format(*said[-1]) if said else "I heard nothing."
        if request.choices:
            text = json.dumps({"reason": text, "choice": "left"})
        elif request.schema:
            text = json.dumps({"summary": text, "topics": []})
        yield Chunk(text)
        yield Reply(text, usage=Usage(calls=1))


@cache
def team() -> Graph:
    """History, router, two members, a summary; each node tries once more."""
    return Graph(
        name="faults",
        model="repeating",
        retry={"times": 1, "wait": 0.001, "max_wait": 0.001},
        nodes={
            "history": HistoryLoader(runs=3),
            "router": Router(routes={"left": "Anything", "right": "Nothing"}),
            "left": Member(role="You repeat"),
            "right": Member(role="You repeat"),
            "summary": Summarizer(needs=["left", "right"]),
        },
        output=["left", "right"],
    )
