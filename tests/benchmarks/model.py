"""Calls of models through litellm, and what the engine adds to them."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from teamgraph import Chunk, Graph, Message, Model, ModelSpec, Reply, Request, Runner
from teamgraph.engine.models.litellm import IMPORTER, LiteLLM, _arguments
from teamgraph.nodes import Member, Router, Summarizer

from .parts import Forgetful, Writer
from .row import Row, cpu_of, median

_TOKENS = 200
_STREAMED = "openai/stub?chunk_size=5"
_WORDS = "".join(f"w{number:03} " for number in range(_TOKENS))
"""The stub repeats what a user says, in pieces of as many letters as a word has."""


def rows(*, short: bool) -> Iterator[Row]:
    """A turn and a call, compared with the same requests made with litellm by hand."""
    with _server() as base:
        model = IMPORTER.module()
        yield from asyncio.run(_calls(model, base, 2 if short else 40))
    count = 1000 if short else 10_000
    each = asyncio.run(_own_tokens(count, 1 if short else 7))
    yield Row(f"a token of {count}, of a model of one's own, through stream()", each, "CPU µs", 15)


async def _calls(litellm: object, base: str, rounds: int) -> list[Row]:
    options = {"api_base": base, "api_key": "k", "max_retries": 0, "num_retries": 0}

    async def ask(**arguments: object) -> object:
        return await litellm.acompletion(**options, **arguments)  # type: ignore[attr-defined]  # untyped

    same = await _requests(base)

    async def by_hand() -> None:
        for request in same:
            await ask(**request)

    async def streamed_by_hand() -> None:
        said, usage = [{"role": "user", "content": _WORDS}], {"include_usage": True}
        arguments = {"model": _STREAMED, "messages": said, "stream_options": usage}
        async for _ in await ask(stream=True, **arguments):  # type: ignore[attr-defined]  # as above
            pass

    turn, bare = await _medians(_team(base), by_hand, rounds=rounds)
    streamed, plain = await _medians(_streamed(base), streamed_by_hand, rounds=rounds)
    return [
        Row("a turn of three calls that nobody reads meanwhile", turn * 1e3, "CPU ms"),
        Row(
            "  the same, in units of its requests made with litellm",
            turn / bare,
            "x",
            1.2,
        ),
        Row(f"a streamed answer of {_TOKENS} tokens", streamed * 1e3, "CPU ms"),
        Row("  the same, in units of litellm's stream", streamed / plain, "x", 1.05),
    ]


async def _requests(base: str) -> list[dict[str, object]]:
    """What the team asks in a turn, as arguments of litellm."""
    asked: list[Request] = []

    class Recorder(LiteLLM):
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            asked.append(request)
            async for piece in super().ask(request):
                yield piece

    await _team(base, Recorder())()
    kept = ("model", "messages", "response_format")
    arguments = [_arguments(request, None) for request in asked]
    return [{name: one[name] for name in kept if name in one} for one in arguments]


def _team(base: str, model: Model | None = None) -> Callable[[], Awaitable[object]]:
    """A turn: router, member, summarizer."""
    nodes = {
        "router": Router(routes={"english": "English", "french": "French"}),
        "english": Member(role="You speak English"),
        "french": Member(role="You speak French"),
        "summary": Summarizer(needs=["english", "french"]),
    }
    spec = ModelSpec(id="openai/stub", api_base=base)
    graph = Graph(name="team", model=spec, nodes=nodes, output=["english", "french"])
    runner = Runner(graph, store=Forgetful(), model=model)
    return lambda: runner.arun("hello")


def _streamed(base: str) -> Callable[[], Awaitable[object]]:
    request = Request(
        _STREAMED,
        (Message(role="user", content=_WORDS),),
        parameters={"api_base": base, "api_key": "k"},
    )
    model = LiteLLM()

    async def ask() -> None:
        async for _ in model.ask(request):
            pass

    return ask


async def _medians(*works: Callable[[], Awaitable[object]], rounds: int) -> list[float]:
    """The CPU seconds of each, measured in turns, after one round that does not count."""
    measured = [[await cpu_of(work) for work in works] for _ in range(rounds + 1)]
    return [median(each) for each in zip(*measured[1:], strict=True)]


async def _own_tokens(count: int, rounds: int) -> float:
    """CPU microseconds of each token."""
    graph = Graph(name="one", nodes={"member": Member()})
    runner = Runner(graph, store=Forgetful(), model=Writer(count))

    async def read() -> None:
        async for _ in runner.astream("hello"):
            pass

    await read()
    return median([await cpu_of(read) for _ in range(rounds)]) / count * 1e6


@contextmanager
def _server() -> Iterator[str]:
    """The stub provider in a process of its own, so that its CPU time is not counted."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.stub", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ})
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
