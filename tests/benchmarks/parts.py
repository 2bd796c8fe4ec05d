"""What the benchmarks run: nodes that do nothing, a model that answers at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from teamgraph import (
    Change,
    Chunk,
    Graph,
    Head,
    Lease,
    MemoryStore,
    Record,
    Reply,
    Request,
    SessionKey,
    Summary,
    Turn,
    Usage,
)
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import Loop, Map, Member, Python

POLYGLOT = Path(__file__).parents[2] / "graphs" / "polyglot.yaml"


class Nothing(Node):
    """Does nothing."""

    prompts: ClassVar[bool] = False

    async def run(self, context: Context) -> Result:
        return Result("x")


class Nap(Node):
    """Waits 20 ms, as a fast model does."""

    prompts: ClassVar[bool] = False

    async def run(self, context: Context) -> Result:
        await asyncio.sleep(0.02)
        return Result("x")


class Counts(Node):
    """Sets a key of the session's state."""

    prompts: ClassVar[bool] = False

    async def run(self, context: Context) -> Result:
        return Result("x", session_state={"last": context.node_id})


async def nothing(message: str) -> str:
    """Does nothing."""
    return message


def chain(length: int) -> Graph:
    """One node after the other."""
    return _chain(length, Nothing)


def python_chain(length: int) -> Graph:
    """One function after the other."""
    return _chain(length, partial(Python, call=nothing))


def state_chain(length: int) -> Graph:
    """One node after the other, each of which sets the same key of the state."""
    return _chain(length, Counts)


def _chain(length: int, kind: Callable[..., Node]) -> Graph:
    nodes = {f"n{index}": kind(needs=[f"n{index - 1}"] * bool(index)) for index in range(length)}
    return Graph(name="chain", nodes=nodes, output=f"n{length - 1}")


def members(length: int) -> Graph:
    """One member after the other."""
    nodes = {
        f"n{index}": Member(prompt="{{ input.message }}\n", needs=[f"n{index - 1}"] * bool(index))
        for index in range(length)
    }
    return Graph(name="members", model="m", nodes=nodes, output=f"n{length - 1}")


def items(length: int) -> Graph:
    """A map over as many texts, 50 at a time, with one member for each."""
    each = Map(
        over=f"range({length}) | map('string')",
        max_items=length,
        max_parallel=50,
        graph=Member(prompt="{{ input.item }}\n"),
    )
    return Graph(name="items", model="m", nodes={"each": each})


def rounds(length: int) -> Graph:
    """A loop of as many rounds, with one member in each."""
    loop = Loop(until="false", max=length, graph=Member(prompt="{{ round.number }}\n"))
    return Graph(name="rounds", model="m", nodes={"all": loop})


def fan(width: int) -> Graph:
    """One node, then many concurrent ones, then a join."""
    many = {f"n{index}": Nap(needs=["first"]) for index in range(width)}
    return Graph(
        name="fan",
        nodes={"first": Nap(), **many, "join": Nap(needs=list(many))},
        output="join",
    )


class Instant:
    """A model that answers at once, or after `latency` seconds."""

    def __init__(self, latency: float = 0.0) -> None:
        self._latency = latency

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        if self._latency:
            await asyncio.sleep(self._latency)
        text = "This is the answer to your question, in two sentences. I hope that it helps you."
        if request.choices:
            text = '{"reason": "The user writes English", "choice": "english"}'
        elif request.schema:
            text = '{"summary": "They talked about the weather at the sea.", "topics": ["weather"]}'
        yield Chunk(text)
        yield Reply(text, usage=Usage(input_tokens=200, output_tokens=30, calls=1, cost=0.001))


class Writer:
    """A model that answers with many words, one piece each."""

    def __init__(self, count: int) -> None:
        self._words = ["word "] * count

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        for word in self._words:
            yield Chunk(word)
        yield Reply("".join(self._words))


class Forgetful(MemoryStore):
    """A store that saves nothing, to measure the engine's own cost."""

    async def begin(self, key: SessionKey, turn: Turn, **_: object) -> Lease:  # type: ignore[override]  # whatever the policy
        return Lease(key, turn.run_id, Head())

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        return None

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        return turn

    async def release(self, lease: Lease) -> None:
        return None

    async def put_prompt(self, prompt_hash: str, sources: Mapping[str, str]) -> None:
        return None

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        return []

    async def summary(self, key: SessionKey, *, until: int) -> Summary | None:
        return None
