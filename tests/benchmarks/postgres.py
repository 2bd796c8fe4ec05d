"""The store in PostgreSQL: a turn beside one by hand with psycopg, long sessions, searches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count, product
from random import Random

import msgspec
import psycopg
from msgspec import Struct

from teamgraph import Change, Graph, PostgresStore, Runner, SessionKey, Turn
from teamgraph.engine.stores.copying import copy_session, is_same
from teamgraph.engine.stores.postgres.rows import (
    digest,
    needle,
    search_words,
    session_digest,
    turn_row,
    user_digest,
)
from tests.postgres import Server, postgres

from .parts import POLYGLOT, Instant
from .row import Row, cpu_of, cpu_of_processes, median
from .store import record_of

_NODES = 4
_KEY = SessionKey("u", "s")
_BLOCKS = 5
Connection = psycopg.AsyncConnection[tuple[object, ...]]
Cost = tuple[float, float]
"""CPU seconds of a turn: of this process, and of PostgreSQL."""


def rows(*, short: bool) -> Iterator[Row]:
    """A turn of four records, stored one by one; a team's turn, again and again; searches."""
    turns, rounds = (3, 1) if short else (100, 9)
    with postgres(fsync=True) as server:
        yield from asyncio.run(_beside(server, turns, rounds))
        yield from asyncio.run(_long(server, *((8, 2) if short else (1000, 100))))
        yield asyncio.run(_moved(server, 1 if short else 100))
        yield from asyncio.run(_searched(server, *((20, 5) if short else (1000, 100))))


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

    connection: Connection
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


async def _documents(connection: Connection, schema: str, table: str) -> list[dict[str, object]]:
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


async def _searched(server: Server, sessions: int, rounds: int) -> list[Row]:
    """A search as the store does it, and with an index of trigrams; what each turn pays for that.

    The sessions are inserted by SQL, as the store would; the index is no part of the store.
    """
    stores = {name: PostgresStore(server.dsn, schema=name) for name in ("plain", "trigrams")}
    for store in stores.values():
        await store.users()

    async def search(_: int) -> None:
        assert not await stores["plain"].search("u", _SOUGHT, last=sessions)

    async with await psycopg.AsyncConnection.connect(server.dsn, autocommit=True) as connection:
        await _fill(connection, sessions)
        mine, theirs = await _cost(server, search, range(rounds))
        found = [
            Row(
                f"a search without a hit, {sessions} sessions of 5 turns of 1 kB",
                mine * 1e3,
                "CPU ms",
            ),
            Row("  of PostgreSQL", theirs * 1e3, "CPU ms"),
        ]
        if await _index(connection):
            _, theirs = await _cost(server, lambda _: _search_by_index(connection), range(rounds))
            written = await _written(server, connection, stores, rounds)
            found += [
                Row("    with an index of trigrams", theirs * 1e3, "CPU ms"),
                Row("  a turn without nodes, of PostgreSQL", written["plain"] * 1e3, "CPU ms"),
                Row("    with that index", written["trigrams"] * 1e3, "CPU ms"),
                Row("  the index, in units of the texts", await _size(connection), "x"),
            ]
    for store in stores.values():
        await store.close()
    return found


async def _size(connection: Connection) -> float:
    sizes = await connection.execute(
        "SELECT pg_relation_size('trigrams.of_words'), sum(octet_length(words)) FROM trigrams.runs"
    )
    index, words = await sizes.fetchone() or (0, 1)
    return int(str(index)) / int(str(words))


async def _fill(connection: Connection, sessions: int) -> None:
    """The sessions of a user, of 5 turns of about 1 kB each, in both schemas."""
    chosen = Random(1)
    async with connection.cursor() as cursor:
        columns = "key, user_key, user_id, session_id, turns"
        async with cursor.copy(f"COPY plain.sessions ({columns}) FROM STDIN".encode()) as copy:
            for row in range(sessions):
                key = SessionKey("u", f"s{row}")
                words = key.session_id.encode()
                await copy.write_row((session_digest(key), user_digest("u"), b"u", words, 5))
        await cursor.execute(
            f"INSERT INTO trigrams.sessions ({columns}) "  # noqa: S608  constants
            f"SELECT {columns} FROM plain.sessions ORDER BY id".encode()
        )
        columns = "session, run, number, status, document, words"
        async with cursor.copy(f"COPY plain.runs ({columns}) FROM STDIN".encode()) as copy:
            for row, number in product(range(1, sessions + 1), range(1, 6)):
                turn = _turn(chosen, f"r{number}")
                run = digest(turn.run_id)
                await copy.write_row((row, run, number, "done", turn_row(turn), search_words(turn)))
        await cursor.execute(
            f"INSERT INTO trigrams.runs ({columns}) "  # noqa: S608  constants
            f"SELECT {columns} FROM plain.runs ORDER BY position".encode()
        )
        await cursor.execute("ANALYZE")


async def _index(connection: Connection) -> bool:
    """Make the index; false if PostgreSQL is installed without it."""
    try:
        await connection.execute("CREATE EXTENSION pg_trgm")
    except psycopg.errors.FeatureNotSupported:
        print("  (no index of trigrams: PostgreSQL is installed without pg_trgm)")
        return False
    await connection.execute(
        "CREATE INDEX of_words ON trigrams.runs USING gin (words gin_trgm_ops)"
    )
    await connection.execute("ANALYZE trigrams.runs")
    return True


async def _search_by_index(connection: Connection) -> None:
    """The statement of `PostgresStore.search` with a condition that the index knows."""
    rows = await connection.execute(
        "SELECT s.session_id, r.document, r.number FROM trigrams.sessions AS s "
        "JOIN trigrams.runs AS r ON r.session = s.id AND r.number > 0 WHERE s.user_key = %s "
        "AND r.words LIKE %s ORDER BY s.activity DESC, r.number DESC LIMIT 20",
        [user_digest("u"), f"%{needle(_SOUGHT)}%"],
    )
    assert not await rows.fetchall()


async def _written(
    server: Server, connection: Connection, stores: Mapping[str, PostgresStore], rounds: int
) -> dict[str, float]:
    """CPU seconds of PostgreSQL for a turn, with what the index puts off, over alternating ones."""
    chosen = Random(2)
    costs = dict.fromkeys(stores, 0.0)
    for block, (name, store) in product(range(_BLOCKS), stores.items()):

        async def turn(number: int, block: int = block, store: PostgresStore = store) -> None:
            done = _turn(chosen, f"w{number}")
            begun = Turn(done.run_id, done.input)
            lease = await store.begin(SessionKey("w", f"s{block}"), begun)
            await store.finish(lease, done, Change())
            if number == rounds - 1:
                await connection.execute("SELECT gin_clean_pending_list('trigrams.of_words')")

        costs[name] += (await _cost(server, turn, range(rounds)))[1] / _BLOCKS
    return costs


def _turn(chosen: Random, run_id: str) -> Turn:
    question, answer = (
        " ".join(_word(int(20_000 * chosen.random() ** 3)) for _ in range(many))
        for many in (30, 150)
    )
    return Turn(run_id, question, status="done", answer=answer)


def _word(place: int) -> str:
    """The word at a place of a vocabulary, the frequent ones first and short, as in languages."""
    place, rest = divmod(place, 60)
    syllable = "bdfgklmnrstv"[rest % 12] + "aeiou"[rest // 12]
    return syllable + (_word(place) if place else "")


_SOUGHT = " ".join(_word(place) for place in (700, 5000, 90))
"""Words that turns have, and none has in this order."""
