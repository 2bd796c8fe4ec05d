"""What the engine adds to a node, without a store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from teamgraph import Runner

from .parts import Forgetful, Instant, chain, fan
from .row import Row, cpu_of, median, wall_of


def rows(*, short: bool) -> Iterator[Row]:
    """Chains of nodes that do nothing, compared with a bare task; a fan of short waits."""
    for length in (100, 1000):
        node, task = asyncio.run(_chain(length, 3 if short else 3000 // length + 5))
        yield Row(f"a node in a chain of {length}", node * 1e6, "CPU µs", 15)
        yield Row("  the same, in units of creating and awaiting a task", node / task, "x")
    ratio = asyncio.run(_fan(2 if short else 9))
    yield Row("1 -> 100 nodes of 20 ms -> 1, in units of the ideal 60 ms", ratio, "x", 1.15)


async def _chain(length: int, rounds: int) -> tuple[float, float]:
    runner = Runner(chain(length), store=Forgetful(), model=Instant())
    await runner.arun("hi")
    nodes: list[float] = []
    tasks: list[float] = []
    for _ in range(rounds):
        nodes.append(await cpu_of(lambda: runner.arun("hi")) / length)
        tasks.append(await cpu_of(lambda: _tasks(length)) / length)
    return median(nodes), median(tasks)


async def _tasks(count: int) -> None:
    for _ in range(count):
        await asyncio.create_task(_nothing())


async def _nothing() -> None:
    return None


async def _fan(rounds: int) -> float:
    runner = Runner(fan(100), store=Forgetful(), model=Instant())
    await runner.arun("hi")
    return median([await wall_of(lambda: runner.arun("hi")) for _ in range(rounds)]) / 0.06
