"""A turn of a team: history, router, member, summarizer, stored after each node."""

from __future__ import annotations

import asyncio
import gc
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

from teamgraph import Graph, MemoryStore, Run, Runner, Store, TinyDBStore

from .parts import POLYGLOT, Instant
from .row import Row, cpu_of, median


def rows(*, short: bool) -> Iterator[Row]:
    """One long session on each store, then many short ones."""
    last = 60 if short else 1010
    yield from _session("in memory", MemoryStore(), last)
    with tempfile.TemporaryDirectory() as folder:
        yield from _session("TinyDB journal, sync never", TinyDBStore(folder, sync="never"), last)
    with tempfile.TemporaryDirectory() as folder:
        yield from _session("TinyDB journal, sync at the turn's end", TinyDBStore(folder), last)
        size = _size(folder)
        yield Row("  bytes stored for a turn, with its texts", size / last, "bytes")
        run = asyncio.run(_one_more(TinyDBStore(folder)))
        rest = _size(folder) - size - _texts(run)
        yield Row("  of a turn's bytes, those that are not its texts", rest, "bytes", 1500)
    users = 50 if short else 1000
    with tempfile.TemporaryDirectory() as folder:
        cost, grown = asyncio.run(_many(TinyDBStore(folder), users, turns=5))
        yield Row(f"{users} sessions x 5 turns, 100 at a time, a turn", cost * 1e3, "CPU ms", 1.0)
        bar = None if short else 1.0  # the first half must fill the store's open files
        yield Row("  objects that stay for each session when it is closed", grown, "objects", bar)
    yield from asyncio.run(_in_turn(20 if short else 200, 3 if short else 20))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield Row("  memory of this process, all benchmarks so far included", memory, "MB")


def _session(name: str, store: Store, last: int) -> Iterator[Row]:
    costs = asyncio.run(_turns(store, last))
    early, late = median(costs[5:30]), median(costs[-30:])
    yield Row(f"a turn at turn 10, {name}", early * 1e3, "CPU ms", 1.0)
    yield Row(f"  at turn {last}, in units of turn 10", late / early, "x", 1.2)


def _size(folder: str) -> int:
    return sum(path.stat().st_size for path in Path(folder).rglob("*.jsonl"))


async def _one_more(store: Store) -> Run:
    runner = Runner(Graph.load(POLYGLOT), store=store, model=Instant())
    run = await runner.arun("And what about it tomorrow?", user_id="u", session_id="s")
    await store.close()
    return run


def _texts(run: Run) -> int:
    """Bytes of the messages, prompts and answers of a run, each counted once."""
    asked = [exchange for record in run.records.values() for exchange in record.exchanges]
    texts = [run.input, run.answer or "", *(exchange.reply for exchange in asked)]
    messages = (message for exchange in asked for message in exchange.messages)
    texts += [message.content for message in messages if message.origin is None]
    return sum(len(text.encode()) for text in texts)


async def _turns(store: Store, last: int) -> list[float]:
    runner = Runner(Graph.load(POLYGLOT), store=store, model=Instant())

    async def turn(number: int) -> None:
        text = f"What about the weather in place number {number}, and the sea?"
        await runner.arun(text, user_id="u", session_id="s")

    costs = [await cpu_of(lambda number=number: turn(number)) for number in range(last)]
    await store.close()
    return costs


async def _in_turn(sessions: int, turns: int) -> Iterator[Row]:
    """Turns of many sessions one after the other, beside those of sessions that stay open."""
    handles = sessions // 10
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        stores = [TinyDBStore(folder, sync="never", handles=handles) for folder in (one, two)]
        few, many = (Runner(Graph.load(POLYGLOT), store=store, model=Instant()) for store in stores)

        async def turn(runner: Runner, number: int) -> None:
            await runner.arun("What about the weather?", user_id="u", session_id=f"s{number}")

        for _ in range(turns):
            for number in range(handles // 2):
                await turn(few, number)
            for number in range(sessions):
                await turn(many, number)
        costs: list[float] = []
        others: list[float] = []
        for number in range(sessions):
            costs.append(await cpu_of(lambda: turn(few, number % (handles // 2))))  # noqa: B023  awaited here
            others.append(await cpu_of(lambda: turn(many, number)))  # noqa: B023  awaited here
        for store in stores:
            await store.close()
    what = f"a turn of {sessions} sessions in turn, {handles} of them open, in units of few"
    return iter((Row(what, median(others) / median(costs), "x", 1.15),))


async def _many(store: Store, users: int, *, turns: int) -> tuple[float, float]:
    """CPU seconds of a turn, and the objects that each session of the second half leaves."""
    runner = Runner(Graph.load(POLYGLOT), store=store, model=Instant(latency=0.02))
    at_once = asyncio.Semaphore(100)

    async def session(number: int) -> None:
        async with at_once:
            for turn in range(turns):
                await runner.arun(f"turn {turn}", user_id=f"u{number}", session_id="s")

    cost, alive, half = 0.0, 0, users // 2
    for first in (0, half):
        before = alive
        each = range(first, first + half)
        cost += await cpu_of(lambda: asyncio.gather(*map(session, each)))  # noqa: B023  awaited here
        await store.close()  # and keep no index
        gc.collect()
        alive = len(gc.get_objects())
    heads = [await store.sessions(f"u{number}") for number in range(users)]
    assert all(head[0].turns == turns for head in heads)
    await store.close()
    return cost / (users * turns), (alive - before) / half
