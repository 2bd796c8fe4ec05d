"""Many calls, threads and streams in one process: it needs no more descriptors and memory."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from teamgraph import Graph, ModelSpec, Runner
from teamgraph.events import RunFinished
from teamgraph.nodes import Member
from tests.benchmarks.parts import Forgetful, Instant
from tests.stub import StubAnswer, StubProvider

from .judge import Counts, Open

MEMORY = 16 * 2**20
"""Bytes that litellm may still put into caches of its own after the first half."""
TEXT = "word " * 99 + "word"


def steady(open_store: Open, trials: int, seed: int) -> Counts:
    """`trials` calls of a model of one's own, and a fourth through litellm.

    Then threads, a fourth too, and streams, a fifth. All of this is done in two halves, and what
    the second one leaves is counted; the threads and streams of a half are there at the same time.
    """
    del open_store, seed
    counts = Counts()
    own = Runner(_graph("m"), store=Forgetful(), model=Instant())
    with StubProvider() as stub:
        spec = ModelSpec(id="openai/stub", api_base=stub.base_url)
        far = Runner(_graph(spec), store=Forgetful())

        def streams(number: int) -> None:
            asyncio.run(_streams(far, stub, number, counts))

        for what, number, act in (
            ("calls through litellm", trials // 4, lambda many: _calls(far, many, counts)),
            ("calls of an own model", trials, lambda many: _calls(own, many, counts)),
            ("threads", trials // 4, lambda many: _threads(own, many, counts)),
            ("streams at the same time", trials // 5, streams),
        ):
            _flat(what, number, act, counts)
    if counts.acknowledged != counts.trials:
        counts.note(f"{counts.trials - counts.acknowledged} are not answered", "wrong")
    return counts


def _graph(model: ModelSpec | str) -> Graph:
    return Graph(name="one", model=model, nodes={"member": Member()})


def _flat(what: str, number: int, act: Callable[[int], None], counts: Counts) -> None:
    """Count it if the second half leaves more descriptors than the first, or much memory."""
    half = number // 2
    act(half)
    descriptors, memory = _used()
    act(half)
    more_descriptors, more_memory = _settled(descriptors)
    counts.trials += 2 * half
    if more_descriptors > descriptors:
        counts.note(f"{what}: {more_descriptors - descriptors} more descriptors", "lost")
    if more_memory - memory > MEMORY:
        counts.note(f"{what}: {(more_memory - memory) // 2**20} MB more", "lost")


def _settled(most: int) -> tuple[int, int]:
    """What is in use once there are at most so many descriptors, or after ten seconds.

    The server is in this process, and closes its ends of connections when it gets to it.
    """
    end = time.monotonic() + 10
    while (used := _used())[0] > most and time.monotonic() < end:
        time.sleep(0.05)
    return used


def _used() -> tuple[int, int]:
    """Descriptors, and bytes of memory in use."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return len(list(Path("/proc/self/fd").iterdir())), pages * resource.getpagesize()


def _calls(runner: Runner, number: int, counts: Counts) -> None:
    for _ in range(number):
        is_answered = runner.run("hello").answer is not None
        counts.acknowledged += is_answered  # read after the call: other threads count, too


def _threads(runner: Runner, number: int, counts: Counts) -> None:
    threads = [Thread(target=_calls, args=(runner, 1, counts)) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _held(stub: StubProvider, number: int) -> StubAnswer:
    return StubAnswer(TEXT, chunk_size=5, until=lambda: stub.max_in_flight >= number)


async def _streams(runner: Runner, stub: StubProvider, number: int, counts: Counts) -> None:
    """Streams that are all open before any of them goes on."""
    stub.reset()
    stub.push(*(_held(stub, number) for _ in range(number)))

    async def read() -> None:
        async for event in runner.astream("hello"):
            if isinstance(event, RunFinished):
                counts.acknowledged += event.run.answer == TEXT

    await asyncio.gather(*(read() for _ in range(number)))
