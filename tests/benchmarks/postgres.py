"""The store in PostgreSQL: a turn beside one by hand with psycopg, and in a long session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import sha256
from itertools import count

import msgspec
import psycopg
from msgspec import Struct

from teamgraph import Change, Graph, PostgresStore, Runner, SessionKey, Turn
from teamgraph.engine.stores.copying import copy_session, is_same
from tests.postgres import Server, postgres

from .parts import POLYGLOT, Instant
from .row import Row, cpu_of, cpu_of_processes, median
from .store import record_of

_NODES = 4
_KEY = SessionKey("u", "s")
Cost = tuple[float, float]
"""CPU seconds of a turn: of this process, and of PostgreSQL."""


def rows(*, short: bool) -> Iterator[Row]:
    """A turn of four records that are stored one by one; then a team's turn, again and again."""
    turns, rounds = (3, 1) if short else (100, 9)
    with postgres(fsync=True) as server:
        yield from asyncio.run(_beside(server, turns, rounds))
        yield from asyncio.run(_long(server, *((8, 2) if short else (1000, 100))))
        yield asyncio.run(_moved(server, 1 if short else 100))


async def _beside(server: Server, turns: int, rounds: int) -> Iterator[Row]:
    """Ours and by hand, alternating; the rows that both have left are compared."""
    store = PostgresStore(server.dsn)
    await _ours(store, 0)
    hand = await ByHand.open(server)
    await hand.turn(0)
    mine: list[Cost] = []
    theirs: list[Cost] = []
    numbers = count(1)
    for _ in range(rounds):
        some = [next(numbers) for _ in range(turns)]
        mine.append(await _cost(server, lambda n: _ours(store, n), some))
        theirs.append(await _cost(server, hand.turn, some))
    await hand.check_equal()
    await store.close()
    await hand.close()
    ours, others = _medians(mine), _medians(theirs)
    return iter(
        (
            Row(f"a turn of {_NODES} records stored one by one", ours[0] * 1e3, "CPU ms"),
            Row("  in units of psycopg by hand, equal rows", ours[0] / others[0], "x", 2),
            Row("  of PostgreSQL", ours[1] * 1e3, "CPU ms"),
            Row("    in units of that by hand", ours[1] / others[1], "x"),
        )
    )


class ByHand(Struct):
    """The rows of a turn, written as one would without a store: no lease, no checks, no pool."""

    connection: psycopg.AsyncConnection[tuple[object, ...]]
    session: int
    run: dict[str, object]
    records: Sequence[dict[str, object]]

    @classmethod
    async def open(cls, server: Server) -> ByHand:
        """Take the tables in a schema of its own, and the words of the turn of ours."""
        tables = PostgresStore(server.dsn, schema="hand")
        await tables.users()
        await tables.close()
        connection = await psycopg.AsyncConnection.connect(server.dsn, autocommit=True)
        (run,) = await _documents(connection, "teamgraph", "runs")
        made = await connection.execute(
            "INSERT INTO hand.sessions (key, user_key, user_id, session_id) "
            "VALUES ('k', 'u', 'u', 's') RETURNING id"
        )
        (session,) = await made.fetchone() or (0,)
        records = await _documents(connection, "teamgraph", "records")
        return cls(connection, int(str(session)), run, records)

    async def turn(self, number: int) -> None:
        """A run, its records one by one, and its end: one round trip each."""
        name = f"r{number}"
        run = sha256(name.encode()).digest()
        begun = {"run_id": name, "input": "question"}
        await self.connection.execute(
            "INSERT INTO hand.runs (session, run, status, document) VALUES (%s, %s, %s, %s)",
            [self.session, run, "running", dumped(begun)],
        )
        for record in self.records:
            node = sha256(str(record["node"]).encode()).digest()
            await self.connection.execute(
                "INSERT INTO hand.records (session, run, node, attempt, document) "
                "VALUES (%s, %s, %s, %s, %s)",
                [self.session, run, node, 1, dumped(record)],
            )
        await self.connection.execute(
            "WITH ended AS (UPDATE hand.runs SET status = %s, number = %s, document = %s, "
            "words = %s WHERE session = %s AND run = %s) UPDATE hand.sessions "
            "SET turns = %s, activity = nextval('hand.activity') WHERE id = %s",
            [
                "done",
                number + 1,
                dumped({**self.run, "run_id": name}),
                "question\x01answer",
                self.session,
                run,
                number + 1,
                self.session,
            ],
        )

    async def check_equal(self) -> None:
        """Both have stored the same runs and records."""
        for table in ("runs", "records"):
            mine = await _documents(self.connection, "teamgraph", table)
            assert mine == await _documents(self.connection, "hand", table)
        words = "SELECT number, status, words, waits_until FROM {}.runs ORDER BY position"
        each = [
            await (await self.connection.execute(words.format(schema).encode())).fetchall()
            for schema in ("teamgraph", "hand")
        ]
        assert each[0] == each[1]

    async def close(self) -> None:
        """Close the connection."""
        await self.connection.close()


def dumped(document: object) -> bytes:
    """JSON by the fastest encoder there is."""
    return msgspec.json.encode(document)


async def _documents(
    connection: psycopg.AsyncConnection[tuple[object, ...]], schema: str, table: str
) -> list[dict[str, object]]:
    found = await connection.execute(
        f"SELECT document FROM {schema}.{table} ORDER BY position".encode()  # noqa: S608  constants
    )
    return [msgspec.json.decode(row[0]) for row in await found.fetchall()]  # type: ignore[arg-type]


async def _ours(store: PostgresStore, number: int) -> None:
    """The same turn by the store."""
    turn = Turn(f"r{number}", "question")
    lease = await store.begin(_KEY, turn)
    for node in range(_NODES):
        await store.put(lease, [record_of(0, node)])
    done = Turn(turn.run_id, turn.input, status="done", answer="answer")
    await store.finish(lease, done, Change())


async def _cost(
    server: Server, turn: Callable[[int], Awaitable[None]], numbers: Sequence[int]
) -> Cost:
    """What a turn costs, over some."""

    async def play() -> None:
        for number in numbers:
            await turn(number)

    before = cpu_of_processes(server.processes)
    ours = await cpu_of(play)
    theirs = cpu_of_processes(server.processes) - before
    return ours / len(numbers), max(theirs, 1e-9) / len(numbers)


def _medians(costs: Sequence[Cost]) -> Cost:
    """The medians."""
    mine, theirs = zip(*costs, strict=True)
    return median(mine), median(theirs)


async def _long(server: Server, last: int, window: int) -> Iterator[Row]:
    """A team's turn in a session of many, beside one in a session of few."""
    store = PostgresStore(server.dsn, schema="long")
    runner = Runner(Graph.load(POLYGLOT), store=store, model=Instant())

    async def turn(number: int) -> None:
        text = f"What about the weather in place number {number}, and the sea?"
        await runner.arun(text, user_id="u", session_id="s")

    first = min(10, window)
    await _cost(server, turn, range(first))
    few = await _cost(server, turn, range(first, first + window))
    await _cost(server, turn, range(first + window, last - window))
    many = await _cost(server, turn, range(last - window, last))
    await store.close()
    return iter(
        (
            Row("a turn of the team, from turn 10 on", few[0] * 1e3, "CPU ms"),
            Row(f"  up to turn {last}, in units of that", many[0] / few[0], "x", 1.1),
            Row("  of PostgreSQL, from turn 10 on", few[1] * 1e3, "CPU ms"),
            Row(f"    up to turn {last}, in units of that", many[1] / few[1], "x"),
        )
    )


async def _moved(server: Server, sessions: int) -> Row:
    """Sessions copied as `teamgraph store copy` does; the CPU of both sides."""
    source, target = [PostgresStore(server.dsn, schema=name) for name in ("moved", "there")]
    runner = Runner(Graph.load(POLYGLOT), store=source, model=Instant())
    keys = [SessionKey("u", f"s{number}") for number in range(sessions)]
    for key in keys:
        for turn in range(10):
            await runner.arun(f"turn {turn}", user_id="u", session_id=key.session_id)
    await target.users()

    async def move(number: int) -> None:
        assert await copy_session(source, target, keys[number], keys)
        assert await is_same(source, target, keys[number])

    mine, theirs = await _cost(server, move, range(sessions))
    await source.close()
    await target.close()
    what = "a session of 10 turns copied to another database, and compared"
    return Row(what, (mine + theirs) * 1e3, "CPU ms")
