"""Ten times as much: what may grow with it, and what may not."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from teamgraph import Graph, Runner, TinyDBStore
from teamgraph.kinds import Node
from teamgraph.nodes import HistoryLoader, Human, Member

from .parts import Forgetful, Instant, Writer
from .row import Row, cpu_of, median

LINEAR, FLAT = 11.0, 1.3
Work = Callable[[], Awaitable[object]]


def rows(*, short: bool) -> Iterator[Row]:
    """Users, waiting runs, lengths of messages and windows, tokens: many, and a tenth of them."""
    rounds, scale = (2, 20) if short else (30, 1)
    with _folders() as folders:
        yield from asyncio.run(_users(folders, 2000 // scale, rounds))
    with _folders() as folders:
        yield from asyncio.run(_waiting(folders, 1000 // scale, rounds))
    with _folders() as folders:
        yield from asyncio.run(_lengths(folders, 100_000 // scale, rounds))
    with _folders() as folders:
        yield from asyncio.run(_windows(folders, 100 // min(scale, 5), rounds))
    yield from asyncio.run(_tokens(10_000 // scale, min(rounds, 7)))


async def _users(folders: list[Path], many: int, rounds: int) -> Iterator[Row]:
    """The first turn of one more user."""
    runners = [_runner(folder) for folder in folders]
    for runner, users in zip(runners, (many // 10, many), strict=True):
        for number in range(users):
            await runner.arun("hello", user_id=f"u{number}", session_id="s")
    numbers = count()
    works = [
        lambda runner=runner: runner.arun("hello", user_id=f"new{next(numbers)}", session_id="s")
        for runner in runners
    ]
    found = await _ratio(works, rounds)
    await _close(runners)
    return _rows(f"a first turn of a user, after {many} others", found, many // 10, FLAT)


async def _waiting(folders: list[Path], many: int, rounds: int) -> Iterator[Row]:
    """The list of a user's runs that wait for a person, and the answer to one of them."""
    nodes: dict[str, Node] = {"ask": Human(prompt="May I?\n", options=["yes", "no"])}
    graph = Graph(name="ask", nodes=nodes)
    runners = [Runner(graph, store=TinyDBStore(each, sync="never")) for each in folders]
    for runner, runs in zip(runners, (many // 10, many), strict=True):
        for number in range(runs):
            await runner.arun("hello", user_id="u", session_id=f"s{number}", run_id=f"r{number}")
        assert len(await runner.awaiting("u")) == min(runs, 20)
    listed = await _ratio([lambda r=each: r.awaiting("u") for each in runners], rounds)
    answered = [count(), count()]

    def respond(runner: Runner, numbers: Iterator[int]) -> Awaitable[object]:
        number = next(numbers)
        return runner.arespond(f"r{number}", {"ask": "yes"}, user_id="u", session_id=f"s{number}")

    pairs = zip(runners, answered, strict=True)
    works = [lambda r=runner, n=numbers: respond(r, n) for runner, numbers in pairs]
    responded = await _ratio(works, min(rounds, many // 10 - 1))
    await _close(runners)
    what = f"of {many} runs that wait"
    return iter(
        (
            *_rows(f"the list of the newest 20 {what}", listed, many // 10, FLAT),
            *_rows(f"the answer to a question of one {what}", responded, many // 10, FLAT),
        )
    )


async def _lengths(folders: list[Path], many: int, rounds: int) -> Iterator[Row]:
    """A turn whose message is long."""
    runners, numbers = [_runner(folder) for folder in folders], count()
    texts = ["sea " * (length // 4) for length in (many // 10, many)]
    works = [
        lambda r=runner, t=text: r.arun(t, user_id="u", session_id=f"s{next(numbers)}")
        for runner, text in zip(runners, texts, strict=True)
    ]
    found = await _ratio(works, rounds)
    await _close(runners)
    return _rows(f"a turn with a message of {many} characters", found, many // 10, LINEAR)


async def _windows(folders: list[Path], many: int, rounds: int) -> Iterator[Row]:
    """A turn whose prompt has many earlier turns."""
    runners = [
        _runner(folder, window=window)
        for folder, window in zip(folders, (many // 10, many), strict=True)
    ]
    works = [lambda r=each: r.arun("hello", user_id="u", session_id="s") for each in runners]
    for work in works:
        for _ in range(many):
            await work()
    found = await _ratio(works, rounds)
    await _close(runners)
    return _rows(f"a turn with {many} earlier ones in the prompt", found, many // 10, LINEAR)


async def _tokens(many: int, rounds: int) -> Iterator[Row]:
    """An answer in many pieces."""
    graph = Graph(name="one", nodes={"member": Member()})
    runners = [
        Runner(graph, store=Forgetful(), model=Writer(tokens)) for tokens in (many // 10, many)
    ]

    async def read(runner: Runner) -> None:
        async for _ in runner.astream("hello"):
            pass

    found = await _ratio([lambda r=each: read(r) for each in runners], rounds)
    return _rows(f"a streamed answer of {many} tokens", found, many // 10, LINEAR)


async def _ratio(works: list[Work], rounds: int) -> list[float]:
    """The CPU seconds of few and of many, measured alternately after a round that is dropped."""
    found = [[await cpu_of(work) for work in works] for _ in range(rounds + 1)]
    return [median(costs) for costs in zip(*found[1:], strict=True)]


def _rows(what: str, found: list[float], few: int, bar: float) -> Iterator[Row]:
    yield Row(what, found[1] * 1e3, "CPU ms")
    yield Row(f"  in units of that with {few}", found[1] / found[0], "x", bar)


def _runner(folder: Path, window: int = 1) -> Runner:
    """A history and a member, stored in files."""
    nodes: dict[str, Node] = {"past": HistoryLoader(runs=window), "answer": Member()}
    graph = Graph(name="g", model="m", nodes=nodes)
    return Runner(graph, store=TinyDBStore(folder, sync="never"), model=Instant())


async def _close(runners: list[Runner]) -> None:
    for runner in runners:
        await runner.store.close()


@contextmanager
def _folders() -> Iterator[list[Path]]:
    """Two empty folders."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        yield [Path(one), Path(two)]
