"""Turns of a team over 1, 2 and 3 workers and PostgreSQL, with a model that takes 50 ms.

As many clients as keep all workers busy each send a message, wait for the answer, and send the next
one, for some seconds. CPU is that of each kind of process in these seconds, in a turn: the workers,
the clients (which stand for servers), PostgreSQL.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import monotonic, sleep

import psycopg
from msgspec import Struct

from teamgraph import Graph, PostgresStore, Runner
from teamgraph.dispatch import DBOSDispatcher, Submission
from tests.postgres import Server, postgres
from tests.workers import Workers, forked_workers

from .parts import POLYGLOT, Instant
from .row import Row, cpu_of_processes

AT_ONCE = 8
"""Turns that a worker runs at once, as it comes."""
_WARM = 3.0
_HERE = "tests.benchmarks.distributed"
_TABLES = {
    "store": ("teamgraph",),
    "queue": ("teamgraph_turns", "teamgraph_dbos"),
}


def graph() -> Graph:
    """The team: a history, a router, one of three members, a summary."""
    return Graph.load(POLYGLOT)


def model() -> Instant:
    """Answers after 50 ms."""
    return Instant(latency=0.05)


class Load(Struct, frozen=True):
    """What happened in some seconds: turns that ended, and CPU seconds of each kind of process."""

    seconds: float
    turns: int
    workers: float
    clients: float
    database: float
    commits: int
    wal: int

    @property
    def rate(self) -> float:
        """Turns a second."""
        return self.turns / self.seconds

    def each(self, what: float) -> float:
        """Milliseconds in a turn."""
        return 1000 * what / self.turns

    @property
    def cores(self) -> float:
        """Cores that all processes kept busy."""
        return (self.workers + self.clients + self.database) / self.seconds


def rows(*, short: bool) -> Iterator[Row]:
    """Idle workers, then one, two and three that run turns; then parts of what that costs."""
    seconds = 0.4 if short else 10.0
    with postgres(fsync=True) as server, forked_workers() as workers:
        yield from _workers(server, workers, seconds)
        alone = asyncio.run(_alone(server, seconds))
        yield Row("CPU of a turn in one process, without a queue", alone.each(alone.clients), "ms")
        yield Row("  of PostgreSQL", alone.each(alone.database), "ms")
        yield from asyncio.run(_empty(server, workers, 4 if short else 200))
        yield from _commits(server, seconds / 4)


def _workers(server: Server, fleet: Workers, seconds: float) -> Iterator[Row]:
    """One worker more each time."""
    processes: list[int] = []
    loads: list[Load] = []
    left: list[Row] = []
    idle: list[Row] = []
    for _ in range(3):
        processes += fleet.start(server.dsn, _HERE, concurrency=AT_ONCE)
        idle = idle or _idle(server, processes, seconds)
        load, rest = asyncio.run(_dispatched(server, processes, seconds))
        loads.append(load)
        left = left or rest
    fleet.stop(processes)
    yield from _rates(loads)
    yield from left
    yield from idle


def _rates(loads: Sequence[Load]) -> Iterator[Row]:
    one, last = loads[0], loads[-1]
    yield Row(f"turns of 1 worker, {AT_ONCE} at once", one.rate, "a second")
    for many, load in enumerate(loads[1:], 2):
        yield Row(f"  of {many} workers, in units of that", load.rate / one.rate, "x")
    yield Row("cores that all processes keep busy with 1 worker", one.cores, "cores")
    yield Row(f"  with {len(loads)} workers", last.cores, "cores")
    yield Row("CPU of a turn, worker", last.each(last.workers), "ms")
    yield Row("  of the clients, which submit and wait", last.each(last.clients), "ms")
    yield Row("  of PostgreSQL", last.each(last.database), "ms")
    yield Row("commits of a turn", last.commits / last.turns, "commits")
    yield Row("bytes of the write-ahead log of a turn", last.wal / last.turns, "B")


async def _dispatched(
    server: Server, processes: Sequence[int], seconds: float
) -> tuple[Load, list[Row]]:
    """Turns by workers, and what each has left in the tables."""
    many = len(processes)

    async with _dispatcher(server.dsn) as dispatcher:
        before = await asyncio.to_thread(_sizes, server)

        async def turn(client: int, number: int) -> None:
            submitted = Submission(
                graph="polyglot",
                message="What about the weather?",
                run_id=f"r{many}-{number}",
                session_id=f"s{client}",
                user_id=f"u{client}",
            )
            await dispatcher.result(await dispatcher.submit(submitted))

        load, turns = await _loaded(server, processes, turn, 2 * AT_ONCE * many, seconds)
        after = await asyncio.to_thread(_sizes, server)
    left = [
        Row(f"{what} that a turn leaves in the {name}", (after[key] - before[key]) / turns, unit)
        for name in _TABLES
        for what, unit in (("rows", "rows"), ("bytes", "B"))
        for key in ((name, what),)
    ]
    batches = ("events", "rows")
    many_batches = (after[batches] - before[batches]) / turns
    left.append(Row("batches of events of a turn", many_batches, "batches"))
    return load, left


async def _alone(server: Server, seconds: float) -> Load:
    """The same turns in this process, as many at once as one worker runs."""
    store = PostgresStore(server.dsn, schema="alone")
    runner = Runner(graph(), store=store, model=model())

    async def turn(client: int, number: int) -> None:
        del number
        await runner.arun("What about the weather?", user_id=f"u{client}", session_id=f"s{client}")

    load, _ = await _loaded(server, [], turn, AT_ONCE, seconds)
    await store.close()
    return load


async def _loaded(
    server: Server,
    workers: Sequence[int],
    turn: Callable[[int, int], Awaitable[None]],
    clients: int,
    seconds: float,
) -> tuple[Load, int]:
    """What happens in some seconds while clients talk; and how many turns ended in all."""
    ended = 0
    is_over = False

    async def client(number: int) -> None:
        nonlocal ended
        turns = 0
        while not is_over:
            await turn(number, turns)
            turns += 1
            ended += 1

    talking = [asyncio.create_task(client(number)) for number in range(clients)]
    await asyncio.sleep(min(_WARM, seconds))
    first, began = ended, monotonic()
    before = await asyncio.to_thread(_spent, server, workers)
    await asyncio.sleep(seconds)
    after = await asyncio.to_thread(_spent, server, workers)
    turns, took = ended - first, monotonic() - began
    is_over = True
    await asyncio.gather(*talking)
    spent = [new - old for new, old in zip(after, before, strict=True)]
    load = Load(took, max(1, turns), *spent[:3], int(spent[3]), int(spent[4]))
    return load, ended


def _spent(server: Server, workers: Sequence[int]) -> tuple[float, ...]:
    """CPU seconds of workers, of this process and of the server; commits, and bytes of WAL."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        found = connection.execute(
            "SELECT sum(xact_commit), pg_current_wal_lsn() - '0/0' FROM pg_stat_database"
        ).fetchone()
    assert found is not None
    times = os.times()
    return (
        cpu_of_processes(workers),
        times.user + times.system,
        cpu_of_processes(server.processes),
        float(found[0]),
        float(found[1]),
    )


def _sizes(server: Server) -> dict[tuple[str, str], float]:
    """Rows and bytes of the tables, with their indexes."""
    sizes: dict[tuple[str, str], float] = {}
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for name, schemas in _TABLES.items():
            tables = connection.execute(
                "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables "
                "WHERE schemaname = ANY(%s)",
                [[*schemas]],
            ).fetchall()
            for unit, of in (
                ("rows", "(SELECT count(*) FROM {})"),
                ("bytes", "pg_total_relation_size('{}')"),
            ):
                query = "SELECT " + " + ".join(of.format(table) for (table,) in tables)
                found = connection.execute(query.encode()).fetchone()
                assert found is not None
                sizes[name, unit] = float(found[0])
        batches = connection.execute("SELECT count(*) FROM teamgraph_turns.events").fetchone()
        assert batches is not None
        sizes["events", "rows"] = batches[0]
    return sizes


async def _empty(server: Server, fleet: Workers, turns: int) -> Iterator[Row]:
    """Turns that are submitted, taken from the queue and ended there: DBOS, and nothing of ours."""
    dsn = await asyncio.to_thread(server.new_database, "empty")
    processes = await asyncio.to_thread(fleet.start, dsn, "tests.benchmarks.empty_turns")
    async with _dispatcher(dsn) as dispatcher:
        before = await asyncio.to_thread(_spent, server, processes)
        for number in range(turns):
            submitted = Submission(graph="polyglot", message="m", run_id=f"r{number}")
            await dispatcher.submit(submitted)
        await asyncio.to_thread(_until_ended, dsn, turns)
        after = await asyncio.to_thread(_spent, server, processes)
    await asyncio.to_thread(fleet.stop, processes)
    worker, client, database = (
        1000 * (new - old) / turns for new, old in zip(after[:3], before[:3], strict=True)
    )
    return iter(
        (
            Row("CPU of a turn that a worker takes from the queue and ends", worker, "ms"),
            Row("  of the client that submits it", client, "ms"),
            Row("  of PostgreSQL", database, "ms"),
        )
    )


def _until_ended(dsn: str, turns: int) -> None:
    query = "SELECT count(*) FROM teamgraph_dbos.workflow_status WHERE status = 'SUCCESS'"
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(query).fetchone() != (turns,):
            sleep(0.1)


def _idle(server: Server, processes: Sequence[int], seconds: float) -> list[Row]:
    """A worker that looks for turns, of which there are none."""
    before = _spent(server, processes)
    sleep(seconds)
    after = _spent(server, processes)
    worker, _, database = (
        1000 * (new - old) / seconds for new, old in zip(after[:3], before[:3], strict=True)
    )
    return [
        Row("CPU of an idle worker in a second", worker, "ms"),
        Row("  of PostgreSQL", database, "ms"),
    ]


def _commits(server: Server, seconds: float) -> Iterator[Row]:
    """Rows that eight connections insert and commit, with a notification each and without."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE one (number int)")
    insert = "INSERT INTO one VALUES (1)"
    inside = f"WITH done AS ({insert}) SELECT pg_notify('bell', 'x')"
    yield Row("commits of 8 connections", _committed(server, seconds, insert), "a second")
    yield Row("  with a notification in each", _committed(server, seconds, inside), "a second")


def _committed(server: Server, seconds: float, statement: str) -> float:
    began = monotonic()

    def insert() -> int:
        done = 0
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            while monotonic() - began < seconds:
                connection.execute(statement.encode())
                done += 1
        return done

    with ThreadPoolExecutor(8) as threads:
        inserting = [threads.submit(insert) for _ in range(8)]
        return sum(each.result() for each in inserting) / (monotonic() - began)


@asynccontextmanager
async def _dispatcher(dsn: str) -> AsyncIterator[DBOSDispatcher]:
    dispatcher = DBOSDispatcher(dsn, connections=8)
    try:
        yield dispatcher
    finally:
        await dispatcher.close()
