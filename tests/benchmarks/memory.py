"""What stays in a process after many runs: objects and file descriptors."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from teamgraph import Graph, Runner, TinyDBStore
from teamgraph.nodes import Member

from .parts import Instant
from .row import Row

_DESCRIPTORS = Path("/proc/self/fd")


def rows(*, short: bool) -> Iterator[Row]:
    """Runs without a session in memory, then turns of many sessions in files."""
    runs, sessions = (60, 20) if short else (20_000, 5_000)
    graph = Graph(name="alone", model="m", nodes={"member": Member()})
    unnamed = Runner(graph, model=Instant())
    objects, descriptors = asyncio.run(_second_half(runs, lambda _: unnamed.arun("hello")))
    bar = None if short else 0.1  # the first half must fill what is bounded
    yield Row(f"objects that stay for each of {runs} runs, in memory", objects, "objects", bar)
    yield Row("  descriptors that stay of the second half", descriptors, "descriptors", 0)
    with tempfile.TemporaryDirectory() as folder:
        stored = Runner(graph, store=TinyDBStore(folder, sync="never"), model=Instant())

        async def session(number: int) -> None:
            for _ in range(4):
                await stored.arun("hello", session_id=f"s{number}")

        objects, descriptors = asyncio.run(_second_half(sessions, session))
        what = f"objects that stay for each of {sessions} sessions of 4 turns, in files"
        yield Row(what, objects, "objects")
        bar = None if short else 0
        yield Row("  descriptors that stay of the second half", descriptors, "descriptors", bar)


async def _second_half(count: int, act: Callable[[int], Awaitable[object]]) -> tuple[float, int]:
    """Objects for each of the second half of the acts, and descriptors of all of it."""
    half = count // 2
    for number in range(half):
        await act(number)
    gc.collect()
    objects, descriptors = len(gc.get_objects()), _open()
    for number in range(half, count):
        await act(number)
    gc.collect()
    return (len(gc.get_objects()) - objects) / half, _open() - descriptors


def _open() -> int:
    return len([*_DESCRIPTORS.iterdir()]) if _DESCRIPTORS.is_dir() else 0
