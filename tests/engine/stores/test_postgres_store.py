"""The store in PostgreSQL, on a real server; skipped where PostgreSQL is not installed."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.sql import SQL, Identifier

from teamgraph import (
    Change,
    Graph,
    MemoryStore,
    Message,
    PostgresStore,
    Record,
    Runner,
    ScriptedModel,
    SessionKey,
    Store,
    Turn,
)
from teamgraph.engine.messages import Quote
from teamgraph.engine.stores.postgres.connections import Owner
from teamgraph.engine.stores.postgres.rows import CACHED, TurnCache
from teamgraph.engine.testing.conformance.store_tests import asked, replayed
from teamgraph.errors import Conflict, InputError, SessionBusy, StoreError
from teamgraph.nodes import HistoryLoader, Member, Summarizer
from teamgraph.testing import StoreConformance
from tests.postgres import Server, postgres

KEY = SessionKey("ann", "trip")
SUMMARY = Record("sum", "done", output="about it", fields={"covers": 1, "topics": []})


class TestPostgresStore(StoreConformance):
    examples = 3

    @pytest.fixture(autouse=True)
    def _server(self, server: Server) -> None:
        self.dsn = server.dsn

    def open_store(self, place: Path) -> Store:
        return PostgresStore(self.dsn, schema=schema_of(place), connections=4)


def schema_of(place: object) -> str:
    return "t" + sha256(str(place).encode()).hexdigest()[:30]


def done(run_id: str, text: str = "hello") -> Turn:
    return Turn(run_id, text, status="done", answer=f"{text}!")


def test_a_team_with_history_and_summary_tells_the_same_as_in_memory(
    server: Server, tmp_path: Path
) -> None:
    graph = Graph(
        name="club",
        nodes={
            "history": HistoryLoader(runs=3),
            "writer": Member(role="You write"),
            "summary": Summarizer(needs=["writer"]),
        },
    )

    def run_of(store: Store) -> list[tuple[object, ...]]:
        model = ScriptedModel(["A", '{"summary": "S", "topics": []}'] * 3)
        runner = Runner(graph, store=store, model=model)
        runs = [runner.run(text, user_id="ann", session_id="s") for text in ("one", "two", "three")]
        session = runner.session("s", user_id="ann")
        loaded = [session.run(run.run_id) for run in runs]
        return [
            (node, [message.content for one in record.exchanges for message in one.messages])
            for run in loaded
            for node, record in run.records.items()
        ]

    assert run_of(PostgresStore(server.dsn, schema=schema_of(tmp_path))) == run_of(MemoryStore())


def test_the_address_alone_opens_it_for_a_runner(server: Server) -> None:
    graph = Graph(name="echo", nodes={"a": Member()}, model="echo")
    run = Runner(graph, store=server.dsn).run("hi", session_id="s")
    assert run.answer == "echo: hi"


@pytest.mark.parametrize(
    ("dsn", "options", "expected"),
    [
        ("", {}, "dsn: it is no text"),
        ("postgresql://[", {}, "dsn: it is no address of a database"),
        ("postgresql://ann:s3/cret@h/d", {}, "%2F for /"),
        ("postgresql://ann:s3@cret@h/d", {}, "%40 for @"),
        ("postgresql://ann:s3%cret@h/d", {}, "%25 for %"),
        ("postgresql://h/d", {"schema": "a-b"}, "schema: 'a-b' is no name"),
        ("postgresql://h/d", {"lease_timeout": 0}, "lease_timeout: 0 is not positive"),
        ("postgresql://h/d", {"timeout": -1}, "timeout: -1 is not positive"),
    ],
)
def test_what_cannot_be_an_address_is_refused(
    dsn: str, options: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError, match=expected.replace("[", r"\[")) as error:
        PostgresStore(dsn, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert "cret" not in "".join(traceback.format_exception(error.value))


def test_a_database_that_is_not_there_is_an_error_that_names_it_without_the_password() -> None:
    store = PostgresStore("postgresql://ann:secret@127.0.0.1:1/shop", timeout=0.5)
    with pytest.raises(
        StoreError, match=r"127.0.0.1:1/shop: no connection within 0.5 s: .*refused"
    ) as e:
        asyncio.run(store.head(KEY))
    assert "secret" not in str(e.value)


def test_whoever_waits_in_vain_for_a_connection_is_told_that_all_are_in_use(
    server: Server, tmp_path: Path
) -> None:
    async def play() -> None:
        dsn = f"{server.dsn}?connect_timeout=1"
        store = PostgresStore(dsn, schema=schema_of(tmp_path), connections=1)
        async with store._connections.connection():
            with pytest.raises(StoreError, match=r"within 1 s: all 1 of this process were in use"):
                await store.head(KEY)
        await store.close()

    asyncio.run(play())


def test_a_schema_of_a_newer_version_is_refused(server: Server, tmp_path: Path) -> None:
    schema = schema_of(tmp_path)
    asyncio.run(PostgresStore(server.dsn, schema=schema).head(KEY))
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(SQL("UPDATE {}.version SET number = 99").format(Identifier(schema)))
    with pytest.raises(StoreError, match="has version 99"):
        asyncio.run(PostgresStore(server.dsn, schema=schema).head(KEY))


def test_a_user_without_rights_is_told_so(server: Server) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute("REVOKE CREATE ON DATABASE postgres FROM public")
    store = PostgresStore(server.dsn.replace("teamgraph@", "guest@"), schema="guests")
    with pytest.raises(StoreError, match="permission denied"):
        asyncio.run(store.head(KEY))


def test_whoever_is_silent_for_too_long_loses_its_lease_and_writes_nothing_more(
    server: Server, tmp_path: Path
) -> None:
    async def play() -> None:
        options = {"schema": schema_of(tmp_path), "connections": 2}
        slow = PostgresStore(server.dsn, lease_timeout=600, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        lease = await slow.begin(KEY, Turn("r1", "x"))
        await slow.put(lease, [Record("a", "done", output="stored")])
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            older = SQL("UPDATE {}.owners SET seen = now() - interval '1 hour'")  # as if suspended
            connection.execute(older.format(Identifier(schema_of(tmp_path))))
        quick = PostgresStore(server.dsn, lease_timeout=600, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        taken = await quick.begin(KEY, Turn("r1", "x"), policy="reject", is_stored=True)
        with pytest.raises(Conflict, match="suspended"):
            await slow.put(lease, [Record("b", "done")])
        with pytest.raises(Conflict, match="suspended"):
            await slow.finish(lease, done("r1", "x"), Change())
        assert (await quick.finish(taken, done("r1", "x"), Change())).number == 1
        run = await quick.run(KEY, "r1")
        assert run is not None
        assert [*run.records] == ["a"]
        await slow.close()
        await quick.close()

    asyncio.run(play())


def test_whoever_is_cancelled_leaves_the_queue_or_gives_its_lease_back(
    server: Server, tmp_path: Path
) -> None:
    async def play() -> None:
        one = PostgresStore(server.dsn, schema=schema_of(tmp_path))
        two = PostgresStore(server.dsn, schema=schema_of(tmp_path))
        lease = await one.begin(KEY, Turn("r1", "x"))
        waiting = asyncio.create_task(two.begin(KEY, Turn("r2", "x")))
        await until_leases(server, tmp_path, 2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        releasing = asyncio.create_task(one.release(lease))
        await asyncio.sleep(0)
        releasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await releasing
        await until_leases(server, tmp_path, 0)  # with the next beat
        await two.release(await two.begin(KEY, Turn("r3", "x"), policy="reject"))
        await one.close()
        await two.close()

    asyncio.run(play())


def test_whoever_was_taken_for_dead_while_it_waited_queues_again(
    server: Server, tmp_path: Path
) -> None:
    async def play() -> None:
        one = PostgresStore(server.dsn, schema=schema_of(tmp_path))
        two = PostgresStore(server.dsn, schema=schema_of(tmp_path))
        lease = await one.begin(KEY, Turn("r1", "x"))
        waiting = asyncio.create_task(two.begin(KEY, Turn("r2", "x")))
        await until_leases(server, tmp_path, 2)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            gone = SQL("DELETE FROM {}.leases WHERE NOT is_granted")
            connection.execute(gone.format(Identifier(schema_of(tmp_path))))
        await one.release(lease)
        await two.release(await waiting)
        await one.close()
        await two.close()

    asyncio.run(play())


def test_a_queued_lease_is_called_when_the_one_before_it_ends(
    server: Server, tmp_path: Path
) -> None:
    async def play() -> None:
        schema = Identifier(schema_of(tmp_path))
        one = PostgresStore(server.dsn, schema=schema_of(tmp_path))
        lease = await one.begin(KEY, Turn("r1", "x"))
        forked = await one.begin(KEY, Turn("r2", "x"), policy="fork")
        owner = Owner(server.dsn, schema_of(tmp_path), patience=8, cancel=one._interrupt)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute(
                SQL("INSERT INTO {}.owners (id, seen) VALUES (%s, 'epoch')").format(schema),
                [owner.id],
            )
            queued = SQL(
                "INSERT INTO {0}.leases (session, run, owner, request, is_exclusive, is_granted) "
                "SELECT session, 'r3', %s, %s, true, false FROM {0}.leases LIMIT 1 RETURNING token"
            ).format(schema)
            [[token]] = connection.execute(queued, [owner.id, owner.id]).fetchall()
            bell = owner.enqueue(token)
            beats = SQL("SELECT count(*) FROM {}.owners WHERE seen > 'epoch'").format(schema)
            while connection.execute(beats).fetchall() != [(2,)]:  # noqa: ASYNC110  of its thread
                await asyncio.sleep(0)
        await one.release(forked)
        await one.release(lease)
        await bell.wait(60)
        assert bell.has_rung
        owner.remove(token)
        await one.close()

    asyncio.run(play())


async def until_leases(server: Server, place: Path, expected: int) -> None:
    """Wait until the database has so many leases."""
    count = SQL("SELECT count(*) FROM {}.leases").format(Identifier(schema_of(place)))
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        while connection.execute(count).fetchall() != [(expected,)]:  # noqa: ASYNC110  of other processes too
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "dropped"])
def test_a_store_that_is_closed_or_dropped_keeps_no_connection(
    server: Server, tmp_path: Path, *, is_closed: bool
) -> None:
    name = f"of {schema_of(tmp_path)}"
    graph = Graph(name="echo", nodes={"a": Member()}, model="echo")

    async def play() -> None:
        dsn = f"{server.dsn}?application_name={name.replace(' ', '%20')}"
        store = PostgresStore(dsn, schema=schema_of(tmp_path), lease_timeout=3600)
        await Runner(graph, store=store).arun("hi", session_id="s")
        if is_closed:
            await store.close()
        del store
        gc.collect()
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            async with asyncio.timeout(60):
                while connection.execute(count, [name]).fetchall() != [(0,)]:  # noqa: ASYNC110  of other tasks and threads
                    await asyncio.sleep(0)

    asyncio.run(play())


def test_the_cache_of_turns_is_bounded() -> None:
    cache = TurnCache()
    cache.add(b"s", (done(str(number)) for number in range(CACHED + 1)))
    assert [*cache.get(b"s", ["0", "1", str(CACHED)])] == ["1", str(CACHED)]


def test_a_server_that_was_killed_is_used_again_and_has_what_was_stored(tmp_path: Path) -> None:
    async def play(server: Server) -> None:
        store = PostgresStore(server.dsn, schema=schema_of(tmp_path), timeout=5)
        lease = await store.begin(KEY, Turn("r1", "x"))
        await store.put(lease, [Record("a", "done", output="stored")])
        server.kill()
        with pytest.raises(StoreError):
            await store.put(lease, [Record("b", "done")])
        server.start()
        await store.put(lease, [Record("b", "done")])
        await store.finish(lease, done("r1", "x"), Change())
        run = await store.run(KEY, "r1")
        assert run is not None
        assert [*run.records] == ["a", "b"]
        await store.close()

    with postgres() as server:
        asyncio.run(play(server))


def test_a_lease_that_cannot_be_given_back_is_once_the_server_is_there_again(
    tmp_path: Path,
) -> None:
    async def play(server: Server) -> None:
        store = PostgresStore(server.dsn, schema=schema_of(tmp_path), timeout=1, lease_timeout=8)
        lease = await store.begin(KEY, Turn("r1", "x"))
        server.kill()
        await store.release(lease)
        with pytest.raises(StoreError):
            await store.begin(KEY, Turn("r2", "x"))
        server.start()
        other = PostgresStore(server.dsn, schema=schema_of(tmp_path))
        await other.release(await other.begin(KEY, Turn("r3", "x")))
        await store.close()
        await other.close()

    with postgres() as server:
        asyncio.run(play(server))


def test_threads_with_loops_of_their_own_share_a_store(server: Server, tmp_path: Path) -> None:
    store = PostgresStore(server.dsn, schema=schema_of(tmp_path))
    graph = Graph(name="echo", nodes={"a": Member()}, model="echo")
    runner = Runner(graph, store=store)

    def turns(user: str) -> None:
        async def three() -> None:
            for text in "abc":
                await runner.arun(text, user_id=user, session_id="s")
            await store.close()

        asyncio.run(three())

    threads = [threading.Thread(target=turns, args=[f"u{n}"]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [info.turns for n in range(4) for info in runner.sessions(user_id=f"u{n}")] == [3] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no os.fork")
def test_a_forked_child_has_connections_of_its_own(server: Server, tmp_path: Path) -> None:
    program = f"""
import asyncio, os
from teamgraph import Change, PostgresStore, SessionKey, Turn
store = PostgresStore({server.dsn!r}, schema={schema_of(tmp_path)!r})
key = SessionKey("ann", "trip")
async def turn(run_id):
    lease = await store.begin(key, Turn(run_id, "x"), policy="fork")
    await store.finish(lease, Turn(run_id, "x", status="done", answer="y"), Change())
async def parent():
    lease = await store.begin(key, Turn("r1", "x"), policy="fork")
    child = os.fork()
    if not child:
        asyncio.events._set_running_loop(None)
        asyncio.new_event_loop().run_until_complete(turn("r2"))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    await store.finish(lease, Turn("r1", "x", status="done", answer="y"), Change())
    print([turn.run_id for turn in await store.turns(key)])
    await store.close()
asyncio.run(parent())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("['r2', 'r1']\n", "")


def test_a_run_in_progress_elsewhere_is_refused_at_once(server: Server, tmp_path: Path) -> None:
    async def play() -> None:
        one = PostgresStore(server.dsn, schema=schema_of(tmp_path))
        two = PostgresStore(server.dsn, schema=schema_of(tmp_path))
        lease = await one.begin(KEY, Turn("r1", "x"))
        with pytest.raises(SessionBusy, match="another run is in progress"):
            await two.begin(KEY, Turn("r2", "x"), policy="reject")
        await one.release(lease)
        await one.close()
        await two.close()

    asyncio.run(play())


async def state_in(store: Store) -> tuple[object, object]:
    head = await store.head(KEY)
    assert head is not None
    return head.state, head.node_states


def test_what_was_deleted_meanwhile_is_not_stored_by_a_run_that_had_read_it(
    server: Server, tmp_path: Path
) -> None:
    async def play() -> None:
        store = PostgresStore(server.dsn, schema=schema_of(tmp_path))
        for run_id in ("r1", "r2"):
            lease = await store.begin(KEY, Turn(run_id, f"secret of {run_id}"))
            state = {"by": run_id}
            await store.put(lease, [replace(SUMMARY, session_state=state, state=state)])
            change = Change(state, node_states={"sum": state})
            await store.finish(lease, done(run_id, f"secret of {run_id}"), change)
        lease = await store.begin(KEY, Turn("r3", "x"))
        turns = await store.turns(KEY)
        quoting = replace(
            asked(*replayed(turns[0])), quotes=(Quote("r1", "input", turns[0].input),)
        )
        failed = await store.begin(KEY, Turn("r4", "y"), policy="fork")
        await store.put(failed, [Record("sum", "done", output="s", fields={"covers": 2})])
        await store.finish(failed, Turn("r4", "y", status="failed", error="oh"), Change())
        assert await store.delete_run(KEY, "r1")
        await store.put(lease, [quoting, replace(SUMMARY, node="late")])
        await store.release(lease)
        await store.release(lease)
        run = await store.run(KEY, "r3")
        assert run is not None
        texts = [one.content for one in run.records["writer"].exchanges[0].messages]
        assert texts == ["(deleted)", "(deleted)"]
        assert run.records["late"].output == "(deleted)"
        left = await store.run(KEY, "r4")
        assert left is not None
        assert not left.records
        assert await state_in(store) == ({"by": "r2"}, {"sum": {"by": "r2"}})
        assert await store.delete_run(KEY, "r2")
        assert await state_in(store) == ({}, {})
        await store.close()

    asyncio.run(play())


def test_quotes_of_another_session_are_read_and_vanish_with_it(
    server: Server, tmp_path: Path
) -> None:
    async def play() -> None:
        store = PostgresStore(server.dsn, schema=schema_of(tmp_path))
        other = SessionKey("ann", "other")
        lease = await store.begin(other, Turn("r1", "the blue bicycle"))
        await store.finish(lease, done("r1", "the blue bicycle"), Change())
        lease = await store.begin(KEY, Turn("r2", "x"))
        said = Message(role="user", content="You said: the blue bicycle")
        quote = Quote("r1", "input", "the blue bicycle", "other")
        await store.put(lease, [replace(asked(said), quotes=(quote,))])
        await store.finish(lease, done("r2", "x"), Change())

        async def text() -> str:
            run = await store.run(KEY, "r2")
            assert run is not None
            return run.records["writer"].exchanges[0].messages[0].content

        assert await text() == "You said: the blue bicycle"
        assert await store.delete_session(other)
        assert await text() == "You said: (deleted)"
        await store.close()

    asyncio.run(play())


def test_without_psycopg_the_store_names_the_extra() -> None:
    program = """
import sys
sys.modules["psycopg"] = None
from teamgraph import Runner, Graph
from teamgraph.errors import InputError
from teamgraph.nodes import Member
try:
    Runner(Graph(name="a", nodes={"a": Member()}), store="postgres://h/d")
except InputError as error:
    print(error)
try:
    from teamgraph import PostgresStore
except ImportError as error:
    print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    text = "a store in PostgreSQL needs the extra `postgres`: pip install 'teamgraph[postgres]'\n"
    assert ended.stdout == text * 2


def test_the_connections_of_a_store_that_is_dropped_are_closed_in_silence(
    server: Server, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async def play() -> None:
        store = PostgresStore(f"{server.dsn}?application_name=dropped", schema=schema_of(tmp_path))
        await store.head(KEY)
        del store
        gc.collect()
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            open_ones = "SELECT FROM pg_stat_activity WHERE application_name = 'dropped'"
            while connection.execute(open_ones).fetchall():  # noqa: ASYNC110  of the server
                await asyncio.sleep(0)

    asyncio.run(play())
    gc.collect()
    assert caplog.records == []


class Wire:
    """A proxy before a server that counts what clients wait for an answer to."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.round_trips = 0
        self.connections: list[asyncio.Task[None] | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        self.connections.append(asyncio.current_task())
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.gather(self._requests(reader, ours), _pass_on(theirs, writer))
        finally:
            writer.close()
            ours.close()

    async def _requests(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            length = await reader.readexactly(4)  # the first message has no type
            to.write(length + await reader.readexactly(int.from_bytes(length) - 4))
            while True:
                head = await reader.readexactly(5)
                to.write(head + await reader.readexactly(int.from_bytes(head[1:]) - 4))
                self.round_trips += head[:1] in (b"Q", b"S")  # Query, and Sync of the others
        to.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def wired(server: Server) -> AsyncIterator[tuple[Wire, str]]:
    """A proxy that counts, and the address of the database behind it."""
    wire = Wire(server.port)
    proxy = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    dsn = server.dsn.replace(str(server.port), str(port))
    yield wire, f"{dsn}?sslmode=disable&gssencmode=disable"
    proxy.close()
    await asyncio.gather(*filter(None, wire.connections))


def test_a_turn_is_a_round_trip_at_each_end_and_one_for_each_node_that_finishes_alone(
    server: Server, tmp_path: Path
) -> None:
    async def play() -> list[int]:
        nodes = {"a": Member(), "b": Member(needs=["a"]), "c": Member(needs=["a"])}
        graph = Graph(name="three", nodes=nodes, model="echo", output="b")
        counted: list[int] = []
        async with wired(server) as (wire, dsn):
            store = PostgresStore(dsn, schema=schema_of(tmp_path), lease_timeout=600)
            runner = Runner(graph, store=store)
            for number in range(12):
                before = wire.round_trips
                await runner.arun(f"m{number}", user_id="ann", session_id="s")
                counted.append(wire.round_trips - before)
            await store.close()
        return counted

    # Some have more: each connection prepares a statement that it has seen five times, and one that
    # was not used for a second, as on a busy machine, is asked whether it is alive.
    assert 4 <= min(asyncio.run(play())) <= 2 + 3


def test_a_run_is_read_in_as_many_round_trips_however_many_came_before_it(
    server: Server, tmp_path: Path
) -> None:
    nodes = {
        "history": HistoryLoader(runs=2),
        "writer": Member(role="You write"),
        "summary": Summarizer(needs=["writer"]),
    }
    graph = Graph(name="club", nodes=nodes, model="m")
    turns = 8

    async def play() -> list[int]:
        async with wired(server) as (wire, dsn):
            store = PostgresStore(dsn, schema=schema_of(tmp_path), lease_timeout=600)
            model = ScriptedModel(["A", '{"summary": "S", "topics": []}'] * turns)
            runner = Runner(graph, store=store, model=model)
            for number in range(turns):
                await runner.arun("m", user_id="ann", session_id="s", run_id=f"r{number}")
            counted: list[int] = []
            for number in (3, turns - 1):
                each: list[int] = []
                for _ in range(3):
                    before = wire.round_trips
                    assert await store.run(SessionKey("ann", "s"), f"r{number}")
                    each.append(wire.round_trips - before)
                counted.append(min(each))
            await store.close()
        return counted

    early, late = asyncio.run(play())
    assert early == late == 4  # the run and its records, and those of the run before it
