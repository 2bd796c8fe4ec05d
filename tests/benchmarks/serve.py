"""Turns over HTTP beside the same turns without it, open event streams, and what stays of requests.

Run as a module this is the server, in a process of its own, so that the CPU of clients is not
counted. It says what it has spent when its standard input asks.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import process_time

from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamgraph import Chunk, Graph, MemoryStore, Reply, Request, Runner
from teamgraph.engine.server.listen import bind, server_for
from teamgraph.nodes import Member
from teamgraph.server import Limits, create_app

from .parts import Instant
from .row import Row, cpu_of, median, wall_of

_CLIENTS = 8
"""Connections that ask at the same time, where it is about requests a second."""
_TURN = {"graph": "team", "message": "hi"}
_STREAMS = {"watched": "one run", "talk": "a run each"}
"""The graphs whose events are told to many clients, and what their clients read."""


def rows(*, short: bool) -> Iterator[Row]:
    """Turns, streams and many requests; the streams have a server of their own."""
    rounds, turns, requests = (1, 10, 80) if short else (7, 100, 50_000)
    streams, words = (20, 2) if short else (1000, 20)
    _allow_descriptors(3 * streams)
    with _server() as server, _server() as talking:
        yield from asyncio.run(_turns(server, rounds, turns))
        yield from asyncio.run(_streams(talking, streams, words))
        yield from asyncio.run(_requests(server, requests, is_full=not short))


class _Server:
    """The process, its ports, and what it says of itself."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port, self.bare = map(int, self._line())

    def cpu(self) -> float:
        """Seconds of CPU that it has spent."""
        self.tell("cpu")
        return self._line()[0]

    def memory(self) -> tuple[float, float]:
        """Its resident memory in bytes, and its objects."""
        self.tell("memory")
        size, objects = self._line()
        return size, objects

    def tell(self, command: str) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def _line(self) -> list[float]:
        assert self._process.stdout is not None
        return [float(number) for number in self._process.stdout.readline().split()]


class _Client:
    """A connection that sends one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @staticmethod
    async def connect(port: int) -> _Client:
        return _Client(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, method: str, path: str, body: object = None) -> bytes:
        """Send a request; the head of its response."""
        content = "" if body is None else json.dumps(body)
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}"
        self._writer.write(f"{head}\r\n\r\n{content}".encode())
        answer = await self.reader.readuntil(b"\r\n\r\n")
        assert b" 20" in answer[:13], answer
        return answer

    async def ask(self, count: int) -> None:
        """Run as many turns; of a bare endpoint as many requests."""
        for _ in range(count):
            head = await self.send("POST", "/api/runs", _TURN)
            found = re.search(rb"content-length: (\d+)", head)
            assert found is not None
            await self.reader.readexactly(int(found[1]))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def _team() -> Graph:
    """Three members, one after the other."""
    members = {"a": Member(role="A"), "b": Member(role="B", needs=["a"])}
    members["c"] = Member(role="C", needs=["b"])
    return Graph(name="team", model="m", nodes=members, output="c")


async def _turns(server: _Server, rounds: int, turns: int) -> list[Row]:
    """The CPU of a turn by one client, and turns a second by several."""
    runner = Runner(_team(), store=MemoryStore(), model=_Speaker())  # that of the server

    async def without_http() -> None:
        for _ in range(turns):
            await runner.arun("hi")

    async def over_http(client: _Client) -> float:
        before = server.cpu()
        await client.ask(turns)
        return server.cpu() - before

    served, bare = await _Client.connect(server.port), await _Client.connect(server.bare)
    taken = [
        (await cpu_of(without_http), await over_http(bare), await over_http(served))
        for _ in range(rounds + 1)
    ]
    turn, endpoint, whole = (median(each) / turns for each in zip(*taken[1:], strict=True))
    await served.close()
    await bare.close()
    seconds = [
        (await _crowd(server.port, turns), await _crowd(server.bare, turns)) for _ in range(rounds)
    ]
    many, bare_many = (median(each) for each in zip(*seconds, strict=True))
    return [
        Row("a turn of three nodes over HTTP", whole * 1e3, "CPU ms"),
        Row("  the same without HTTP", turn * 1e3, "CPU ms"),
        Row("  a request to a bare endpoint", endpoint * 1e3, "CPU ms"),
        Row("  the first, in units of the sum of these two", whole / (turn + endpoint), "x", 1.5),
        Row(f"turns of {_CLIENTS} clients", many, "a second"),
        Row("  their requests to a bare endpoint", bare_many, "a second"),
    ]


async def _crowd(port: int, count: int) -> float:
    """Answers a second, by the wall clock, of clients that ask so often each."""
    clients = [await _Client.connect(port) for _ in range(_CLIENTS)]
    seconds = await wall_of(lambda: asyncio.gather(*(each.ask(count) for each in clients)))
    for each in clients:
        await each.close()
    return _CLIENTS * count / seconds


async def _streams(server: _Server, count: int, words: int) -> list[Row]:
    """Clients of one run, then as many more that have a run each."""
    found: list[Row] = []
    first = await _Client.connect(server.port)
    await first.send("POST", "/api/runs", _talk("watched") | {"run_id": "r", "detach": True})
    clients: list[_Client] = []  # all stay open, so that none gets the memory of another
    for graph, what in _STREAMS.items():
        before, _ = server.memory()
        readers = [await _Client.connect(server.port) for _ in range(count)]
        clients += readers
        for each in readers:
            if graph == "watched":
                await each.send("GET", "/api/runs/r/events")
            else:
                await each.send("POST", "/api/runs", _talk(graph) | {"stream": True})
            await each.reader.readuntil(b"node_started")
        after, _ = server.memory()
        await _say(server, graph, "warm", readers)
        began = server.cpu()
        for number in range(words):
            await _say(server, graph, f"w{number:03}", readers)
        spent = (server.cpu() - began) / words
        size = (after - before) / count / 1e3
        found += [
            Row(f"a stream of {count} that are open, of {what}", size, "kB"),
            Row("  an event told to all of them", spent * 1e3, "CPU ms"),
        ]
    for each in [first, *clients]:
        await each.close()
    return found


def _talk(graph: str) -> dict[str, object]:
    return {"graph": graph, "message": "hi"}


async def _say(server: _Server, graph: str, word: str, readers: list[_Client]) -> None:
    """Let the runs of a graph say a word, and wait until all readers have it."""
    server.tell(f"say {graph} {word}")
    for each in readers:
        await each.reader.readuntil(word.encode())


async def _requests(server: _Server, count: int, *, is_full: bool) -> list[Row]:
    """What the second half of so many requests leaves; the first fills what is bounded."""
    half = count // 2
    await _crowd(server.port, half // _CLIENTS)
    before, objects = server.memory()
    await _crowd(server.port, half // _CLIENTS)
    after, more = server.memory()
    each = max(0.0, more - objects) / half
    bar = 1.02 if is_full else None
    return [
        Row(f"memory of the server after {count} turns over HTTP", after / 1e6, "MB"),
        Row("  in units of that after half of them", after / before, "x", bar),
        Row("  objects that stay for each", each, "objects", 0.1 if is_full else None),
    ]


def _allow_descriptors(count: int) -> None:
    """Raise the soft limit of open files, which the server inherits, if it is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@contextmanager
def _server() -> Generator[_Server]:
    # A child that is killed leaves half a file of coverage behind.
    environment = {key: text for key, text in os.environ.items() if "COVERAGE" not in key}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        try:
            yield _Server(process)
        finally:
            process.kill()


class _Speaker:
    """A model whose answers grow by a word whenever it is told; the team's are whole at once."""

    def __init__(self) -> None:
        self._word = ""
        self._said = {graph: asyncio.Event() for graph in _STREAMS}

    def say(self, graph: str, word: str) -> None:
        """Say a word in all runs of the graph."""
        self._word = word
        self._said[graph].set()
        self._said[graph] = asyncio.Event()

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        while request.model in self._said:
            await self._said[request.model].wait()
            yield Chunk(self._word)
        async for piece in Instant().ask(request):
            yield piece


async def _serve() -> None:
    speaker, store = _Speaker(), MemoryStore()
    talks = [Graph(name=name, model=name, nodes={"member": Member()}) for name in _STREAMS]
    limits = Limits(per_minute=0, at_once=0, idle=3600)
    app = create_app([_team(), *talks], store=store, model=speaker, limits=limits)
    bare = Starlette(routes=[Route("/api/runs", _answer, methods=["POST"])])
    with bind("127.0.0.1", 0) as one, bind("127.0.0.1", 0) as two:
        print(one.getsockname()[1], two.getsockname()[1], flush=True)
        loop = asyncio.get_running_loop()
        Thread(target=_listen, args=(loop, speaker), daemon=True).start()
        await asyncio.gather(
            server_for(app, limits=limits, grace=0).serve(sockets=[one]),
            server_for(bare, limits=limits, grace=0).serve(sockets=[two]),
        )


async def _answer(request: HTTPRequest) -> Response:
    return JSONResponse(await request.json())


def _listen(loop: asyncio.AbstractEventLoop, speaker: _Speaker) -> None:
    """Answer what the benchmark asks."""
    for line in sys.stdin:
        match line.split():
            case ["say", graph, word]:
                loop.call_soon_threadsafe(speaker.say, graph, word)
            case ["memory"]:
                gc.collect()
                pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
                print(pages * resource.getpagesize(), len(gc.get_objects()), flush=True)
            case _:
                print(process_time(), flush=True)
    os._exit(0)  # the benchmark has ended without killing it


if __name__ == "__main__":
    asyncio.run(_serve())
