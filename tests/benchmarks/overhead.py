"""What the engine adds to a node, without a store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

from teamgraph import Graph, Runner

from .parts import Forgetful, Instant, chain, fan, items, members, python_chain, rounds, state_chain
from .row import Row, cpu_of, median, wall_of


def rows(*, short: bool) -> Iterator[Row]:
    """Chains of nodes that do nothing, compared with a bare task; a fan of short waits.

    Then chains as a user has them: with the runner's default store, of functions, with state.
    """
    for length in (100, 1000):
        node, task = asyncio.run(_chain(length, 3 if short else 3000 // length + 5))
        yield Row(f"a node in a chain of {length}", node * 1e6, "CPU µs", 15)
        yield Row("  the same, in units of creating and awaiting a task", node / task, "x")
    item, few, many = asyncio.run(_inside(100 if short else 1000, 1 if short else 9))
    yield Row("an item of a map, in units of a member in a chain", item, "x", 1.5)
    yield Row("a round of a loop of 100, in units of a member in a chain", few, "x")
    yield Row("a round of a loop of 1000, in units of one of 100", many / few, "x", 1.1)
    lengths = (100, 200 if short else 1000)
    for what, make, bar in (
        ("a node", chain, 13),
        ("a python node", python_chain, 16),
        ("a node that sets state", state_chain, None),
    ):
        costs = [asyncio.run(_in_memory(make(length), length, short)) for length in lengths]
        yield Row(f"{what} in a chain of 1000, in memory", costs[1] * 1e6, "CPU µs", bar)
        yield Row("  in units of one in a chain of 100", costs[1] / costs[0], "x", 1.3)
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


async def _inside(length: int, times: int) -> tuple[float, float, float]:
    """What an item costs, and a round of few and of many, in units of a member in a chain."""
    counts = (length, length, length // 10, length)
    graphs = (members(length), items(length), rounds(length // 10), rounds(length))
    runners = [Runner(graph, store=Forgetful(), model=Instant()) for graph in graphs]
    for runner in runners:
        await runner.arun("hi")
    found: list[list[float]] = [[] for _ in runners]
    for _ in range(times):
        for costs, runner, count in zip(found, runners, counts, strict=True):
            costs.append(await cpu_of(partial(runner.arun, "hi")) / count)
    member, item, few, many = map(median, found)
    return item / member, few / member, many / member


async def _in_memory(graph: Graph, length: int, short: bool) -> float:
    runner = Runner(graph, model=Instant())
    await runner.arun("hi")
    rounds = 3 if short else 3000 // length + 5
    return median([await cpu_of(lambda: runner.arun("hi")) / length for _ in range(rounds)])


async def _tasks(count: int) -> None:
    for _ in range(count):
        await asyncio.create_task(_nothing())


async def _nothing() -> None:
    return None


async def _fan(rounds: int) -> float:
    runner = Runner(fan(100), store=Forgetful(), model=Instant())
    await runner.arun("hi")
    return median([await wall_of(lambda: runner.arun("hi")) for _ in range(rounds)]) / 0.06
