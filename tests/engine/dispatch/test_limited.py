"""Limits of model calls over all workers: who waits, in which order, and what lets them run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from msgspec import structs

from teamgraph import AnyModel, Graph, Message, PostgresStore, Reply, Request, Runner
from teamgraph.dispatch import LimitedModel, Worker
from teamgraph.engine.dispatch.limited import CallRows
from teamgraph.engine.dispatch.turns import CallRow, LimitedCalls, TurnTable
from teamgraph.errors import InputError, NodeError
from teamgraph.nodes import Member, SubGraph
from tests.engine.cli.conftest import Project
from tests.engine.dispatch.conftest import Gate, Told, duo, working
from tests.engine.dispatch.test_worker import submitting, turn

ROOT = Path(__file__).parents[3]
LOCK = b"SELECT pg_advisory_lock(%s, hashtext('other'))"


@pytest.fixture(scope="module")
def dsn(empty_dsn: str) -> str:
    return empty_dsn


async def until(table: TurnTable, *wanted: tuple[int, int]) -> None:
    """Wait until so many calls of each model run and wait."""
    while [(each.running, each.waiting) for each in await table.limited_calls()] != [*wanted]:
        await table.wait(table.bell(0), 0.05)


def command(project: Project, dsn: str) -> list[str]:
    words = ("queue", "calls", "--dsn", dsn)
    return [project.teamgraph(*words, *more).stdout for more in ((), ("--json",))]


def test_calls_beyond_the_limit_wait_until_one_has_ended_or_its_worker_is_dead(
    dsn: str, project: Project
) -> None:
    async def wait() -> None:
        gate, told = Gate(), Told()
        model = LimitedModel({"m": 2}, others=gate)
        async with submitting(dsn) as dispatcher, working(dsn, model, told, duo()) as worker:
            table = dispatcher.table
            await dispatcher.open()
            other = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
            await other.execute(LOCK, [0x776F726B])
            await table.register(structs.replace(worker.row, id="other", owner=uuid4()), {})
            held = CallRow(uuid4(), "m", 2)
            assert await table.write_calls("other", [held]) == {held.id}
            runs = [await dispatcher.submit(turn(f"limited {n}", "wait")) for n in range(3)]
            await gate.began.acquire()
            await until(table, (2, 2))
            (calls,) = await table.limited_calls()
            assert calls == LimitedCalls("m", 2, 2, 2, calls.oldest)
            rows = await asyncio.to_thread(command, project, dsn)
            assert "\nm\t2\t2\t2\t" in rows[0]
            assert json.loads(rows[1])["models"][0]["waiting"] == 2
            assert gate.began.locked()
            await other.close()
            await told.until("rescued")
            await gate.began.acquire()
            await until(table, (2, 1))
            assert gate.began.locked()
            gate.opened.set()
            for run in runs:
                assert (await dispatcher.result(run)).status == "done"
            await until(table)

    asyncio.run(wait())


def test_a_call_that_waits_is_cancelled_with_its_run_and_outlives_its_worker_s_row(
    dsn: str,
) -> None:
    async def cancel() -> None:
        gate, told = Gate(), Told()
        model = LimitedModel({"m": 1}, others=gate)
        async with submitting(dsn) as dispatcher, working(dsn, model, told, duo()) as worker:
            table = dispatcher.table
            await dispatcher.open()
            first = await dispatcher.submit(turn("limit 1", "wait"))
            await gate.began.acquire()
            second = await dispatcher.submit(turn("limit 2"))
            await until(table, (1, 1))
            await dispatcher.cancel(second)
            assert (await dispatcher.result(second)).status == "cancelled"
            await until(table, (1, 0))
            gate.opened.set()
            await dispatcher.result(first)
            await table.leave(worker.row.id)
            third = await dispatcher.submit(turn("limit 3"))
            assert (await dispatcher.result(third)).status == "done"
            assert told.named("taken_for_dead")
            request = Request("m", (Message(role="user", content="all"),))
            assert [piece.text async for piece in model.ask(request)] == [
                "said ",
                "all",
                "said all",
            ]
        with pytest.raises(InputError, match="no running Worker has this one"):
            await anext(model.ask(request))

    asyncio.run(cancel())


def test_why_calls_wait_is_logged(dsn: str) -> None:
    async def fail() -> None:
        told = Told()
        async with submitting(dsn) as dispatcher:
            await dispatcher.open()
            rows = CallRows(dispatcher.table, "nobody", told)

            async def call() -> None:
                async with rows.call("m", 1):
                    pass

            tasks = [asyncio.create_task(each) for each in (rows.synchronize(), call())]
            await told.until("calls_failed")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert "foreign key" in told.named("calls_failed")[0]["why"]

    asyncio.run(fail())


class Line:
    """A model on loopback: counts its open calls, which the test ends one by one."""

    def __init__(self) -> None:
        self.open: list[tuple[int, asyncio.StreamWriter]] = []
        self.most = 0
        self.changed = asyncio.Event()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = (int(await reader.readline()), writer)
        self.open.append(call)
        self.most = max(self.most, len(self.open))
        self.changed.set()
        await reader.read()
        self._close(call)
        writer.close()

    def end(self, call: tuple[int, asyncio.StreamWriter]) -> None:
        self._close(call)
        call[1].write(b"\n")
        call[1].write_eof()

    async def end_all(self) -> None:
        while True:
            await self.until(1)
            self.end(self.open[0])

    def _close(self, call: tuple[int, asyncio.StreamWriter]) -> None:
        if call in self.open:
            self.open.remove(call)
            self.changed.set()

    async def until(self, many: int) -> None:
        while len(self.open) < many:
            self.changed.clear()
            await self.changed.wait()


class Caller:
    """The model of the workers: a call is a connection to the line."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def ask(self, request: Request) -> AsyncGenerator[Reply]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(f"{os.getpid()}\n".encode())
            await reader.readline()
        finally:
            writer.close()
        yield Reply("said", model=request.model)


async def work(dsn: str, port: int) -> None:
    """Another worker, until it is killed."""
    model = LimitedModel({"m": 3}, others=Caller(port))
    async with working(dsn, model, Told(), duo(), concurrency=4):
        await asyncio.Event().wait()


@asynccontextmanager
async def other_worker(dsn: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with another worker, killed at the end if it still runs."""
    program = "import sys, asyncio; from tests.engine.dispatch.test_limited import work; "
    program += "asyncio.run(work(sys.argv[1], int(sys.argv[2])))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, dsn, str(port), cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_two_workers_never_call_a_model_more_often_than_its_limit_and_a_killed_one_calls_no_more(
    dsn: str,
) -> None:
    async def count() -> None:
        line = Line()
        server = await asyncio.start_server(line.take, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        model, told = LimitedModel({"m": 3}, others=Caller(port)), Told()
        async with (
            other_worker(dsn, port) as other,
            submitting(dsn) as dispatcher,
            working(dsn, model, told, duo(), concurrency=4),
        ):
            table = dispatcher.table
            await dispatcher.open()
            while len(await table.workers()) < 2:
                await table.wait(table.bell(0), 0.05)
            runs = [await dispatcher.submit(turn(f"line {n}")) for n in range(8)]
            await until(table, (3, 5))
            while all(process != other.pid for process, _ in line.open):
                await line.until(3)
                line.end(line.open[0])
            other.send_signal(signal.SIGKILL)
            await other.wait()
            ending = asyncio.create_task(line.end_all())
            results = await asyncio.gather(*(dispatcher.result(run) for run in runs))
            assert {run.status for run in results} == {"done"}
            ending.cancel()
            assert told.named("rescued")
        assert line.most == 3
        server.close()

    asyncio.run(count())


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"m": 0}, "the limit of 'm' is 0; give a whole number from 1 to 2147483647"),
        ({"m": True}, "the limit of 'm' is True"),
        ({"m": 2**31}, "the limit of 'm' is 2147483648"),
        ({"m": "2"}, "the limit of 'm' is '2'"),
        ([("m", 1)], "limits is a list; give a mapping"),
    ],
)
def test_a_limit_is_a_whole_number(limits: dict[str, int], text: str) -> None:
    with pytest.raises(InputError, match=text):
        LimitedModel(limits)


def test_a_limit_is_of_a_model_that_a_graph_asks_and_for_workers() -> None:
    inner = Graph(name="inner", nodes={"one": Member(role="You talk", model="own/critic")})
    graph = Graph(
        name="outer",
        model="own/first",
        nodes={"sub": SubGraph(graph=inner), "talk": Member(role="You talk")},
        output=["talk"],
    )
    gate = Gate()
    own = {"own/first": gate, "own/critic": gate}

    def worker(limits: dict[str, int]) -> Worker:
        store = PostgresStore("postgresql://host/db")
        runner = Runner(graph, store=store, model=LimitedModel(limits, own))
        return Worker([runner], "postgresql://host/db", log=Told())

    worker({"own/critic": 1, "own/first": 2})
    with pytest.raises(InputError, match="did you mean 'own/critic'"):
        worker({"own/critics": 1})
    with pytest.raises(InputError, match="they ask own/critic, own/first"):
        worker({"zzz": 1})
    with pytest.raises(NodeError, match="no running Worker has this one; give it to the runners"):
        Runner(graph, model=LimitedModel({"own/first": 1}, own)).run("m", session_id="s")
    assert isinstance(LimitedModel({}), AnyModel)
