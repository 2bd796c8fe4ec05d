"""A dispatcher of each kind with the graphs that the tests submit turns to, and a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
import pytest

from teamgraph import Chunk, Graph, MemoryStore, Model, PostgresStore, Reply, Request, Runner
from teamgraph.dispatch import DBOSDispatcher, Dispatcher, InProcessDispatcher, Worker
from teamgraph.errors import ModelError
from teamgraph.nodes import HistoryLoader, Human, Member, Python
from tests.engine.cli.conftest import library, project
from tests.postgres import postgres

__all__ = ["library", "project"]

Value = TypeVar("Value")


class Told:
    """What a worker says, by the names of its events."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self._changed = asyncio.Event()

    def __call__(self, event: str, facts: Any) -> None:  # noqa: ANN401  a mapping
        self.lines.append((event, dict(facts)))
        self._changed.set()

    async def until(self, event: str, many: int = 1, without: str = "-") -> None:
        """Wait until so many events of a name were said whose facts lack one."""
        while sum(without not in facts for facts in self.named(event)) < many:
            self._changed.clear()
            await self._changed.wait()

    def named(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.lines if name == event]


class Gate:
    """A model that answers with the message; `wait` in it waits, `fail` in it fails.

    With `twice` it never ends.
    """

    def __init__(self) -> None:
        self.began = asyncio.Semaphore(0)
        self.opened = asyncio.Event()

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        text = request.messages[-1].content
        self.began.release()
        if "fail" in text:
            raise ModelError("it broke", model="gate")
        yield Chunk("said ")
        if "wait" in text:
            await self.opened.wait()
        if "twice" in text:
            yield Chunk("and ")
            await asyncio.Event().wait()
        yield Chunk(text)
        yield Reply(f"said {text}", model="gate")


def duo() -> Graph:
    nodes = {"history": HistoryLoader(runs=5), "first": Member(role="You talk")}
    return Graph(name="duo", model="m", nodes=nodes)


def asks() -> Graph:
    nodes = {
        "ok": Human(prompt="May I?\n", options=["yes", "no"]),
        "done": Member(role="Do it", needs=["ok"]),
    }
    return Graph(name="asks", model="m", nodes=nodes, output=["done"])


def steps() -> Graph:
    nodes = {"one": Python(call=lambda: "done"), "last": Member(role="End", needs=["one"])}
    return Graph(name="duo", model="m", nodes=nodes, output=["last"])


class Office:
    """A dispatcher and the model of its graphs; `run` runs a coroutine in their loop."""

    def __init__(self, dispatcher: Dispatcher, model: Gate, loop: asyncio.Runner) -> None:
        self.dispatcher = dispatcher
        self.model = model
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return self._loop.run(work)


@pytest.fixture(scope="module")
def empty_dsn() -> Generator[str]:
    """A database in which no worker was ever started."""
    with postgres() as server:
        yield server.dsn


@pytest.fixture(scope="module")
def dsn() -> Generator[str]:
    """A database in which workers have been, of the graphs that most tests submit turns to."""
    with postgres() as server:
        for graphs in ((duo(), asks()), (steps(),)):
            asyncio.run(_visit(server.dsn, *graphs))
        yield server.dsn


async def _visit(dsn: str, *graphs: Graph) -> None:
    async with working(dsn, Gate(), Told(), *graphs):
        pass


async def drop_turn(dsn: str, number: int) -> None:
    """Delete the row of a turn with its events, as time does."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(b"DELETE FROM teamgraph_turns.turns WHERE id = %s", [number])


@asynccontextmanager
async def working(
    dsn: str,
    model: Model,
    told: Told,
    *graphs: Graph,
    connections: int = 4,
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[Worker]:
    """A worker in this loop, until the end of the block."""
    store = PostgresStore(dsn, connections=connections)
    runners = [Runner(graph, store=store, model=model) for graph in graphs or (duo(), asks())]
    worker = Worker(runners, dsn, log=told, **options)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        ready = asyncio.create_task(told.until("ready"))
        await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
        yield worker
    finally:
        stop.set()
        await task
        await store.close()


@pytest.fixture(scope="module", params=["in process", "dbos"])
def office(request: pytest.FixtureRequest) -> Iterator[Office]:
    with asyncio.Runner() as loop:
        model = Gate()
        if request.param == "in process":
            store = MemoryStore()
            runners = [Runner(graph, store=store, model=model) for graph in (duo(), asks())]
            here = InProcessDispatcher(runners)
            yield Office(here, model, loop)
            loop.run(here.close())
            return
        dsn: str = request.getfixturevalue("dsn")
        block = working(dsn, model, Told(), grace=1)
        loop.run(block.__aenter__())
        elsewhere = DBOSDispatcher(dsn, connections=2)
        yield Office(elsewhere, model, loop)
        loop.run(elsewhere.close())
        loop.run(block.__aexit__(None, None, None))
