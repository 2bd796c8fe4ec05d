"""Servers in front of workers: they submit turns, and any of them tells the events."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest
from starlette.applications import Starlette

from teamgraph import dispatch
from teamgraph.dispatch import DBOSDispatcher, DispatchedRunner, Submission
from teamgraph.engine.dispatch.turns import TurnTable
from teamgraph.errors import Cancelled, InputError, ModelError, RunError
from teamgraph.events import Token
from teamgraph.server import create_app
from tests.engine.cli.conftest import Project
from tests.engine.dispatch.conftest import Gate, Told, asks, drop_turn, duo, working
from tests.engine.server.test_coming_back import Conversation

_DSN = ("--dsn", "postgresql://host/db")


@asynccontextmanager
async def served(dsn: str, **options: Any) -> AsyncIterator[Starlette]:  # noqa: ANN401
    """A server of its own, with a dispatcher of its own."""
    dispatcher = DBOSDispatcher(dsn, connections=2, **options)
    app = create_app([DispatchedRunner(graph, dispatcher) for graph in (duo(), asks())])
    async with app.router.lifespan_context(app):
        yield app
    await dispatcher.close()


async def answer(app: Starlette, method: str, path: str, **body: object) -> tuple[int, Any]:
    """A request that is answered with JSON."""
    asked = Conversation(app, method, path, **body)
    await asked.whole()
    return asked.status, json.loads(asked.text)


def test_another_server_goes_on_where_the_first_one_was_left(  # noqa: PLR0915  one story
    dsn: str,
) -> None:
    async def over() -> None:
        model = Gate()
        async with (
            working(dsn, model, Told(), grace=0),
            served(dsn) as first,
            served(dsn) as second,
        ):
            said: dict[str, Any] = {"graph": "duo", "message": "wait", "run_id": "over"}
            begun = Conversation(first, "POST", "/api/runs", stream=True, **said)
            seen = await begun.until("said ")
            await begun.leave()
            last = seen[-1].id
            again = Conversation(second, "GET", "/api/runs/over/events", after=last)
            model.opened.set()
            rest = await again.whole()
            numbers = [int(each.id.partition("-")[0]) for each in [*seen, *rest]]
            assert numbers == [*range(1, len(numbers) + 1)]
            assert rest[-1].event == "run_finished"
            status, run = await answer(second, "GET", "/api/runs/over")
            assert (status, run["answer"]) == (200, "said wait")
            gone = Conversation(first, "GET", "/api/runs/over/events", after=rest[-1].id)
            await gone.whole()
            assert gone.status == 204
            table = first.state.server.dispatcher.table
            await drop_turn(
                dsn, (await table.find(Submission(graph="", run_id="over").reference)).id
            )
            async with served(dsn) as third:  # never had it, so it reads what is stored
                stored = await Conversation(third, "GET", "/api/runs/over/events").whole()
            assert stored[-1].event == "run_finished"
            late = {**said, "message": "wait twice", "run_id": "late"}
            begun = Conversation(second, "POST", "/api/runs", stream=True, **late)
            await begun.until("said ")
            await begun.leave()
        table = TurnTable(dsn, connections=1)
        await drop_turn(dsn, (await table.find(Submission(graph="", run_id="late").reference)).id)
        await table.close()

    asyncio.run(over())


def test_a_run_that_asks_is_answered_over_another_server(dsn: str) -> None:
    async def asked() -> None:
        async with working(dsn, Gate(), Told()), served(dsn) as first, served(dsn) as second:
            said: dict[str, Any] = {"graph": "asks", "message": "do", "run_id": "ask"}
            status, run = await answer(first, "POST", "/api/runs", **said)
            assert (status, run["status"]) == (200, "waiting")
            for _ in range(2):
                waits = await Conversation(first, "GET", "/api/runs/ask/events").whole()
                assert waits[-1].event == "run_waiting"
            path = "/api/runs/ask/respond"
            told = await Conversation(
                second, "POST", path, answers={"ok": "yes"}, stream=True
            ).whole()
            assert told[-1].event == "run_finished"
            whole = await Conversation(first, "GET", "/api/runs/ask/events").whole()
            assert [each.event for each in whole].count("run_waiting") == 1
            assert whole[-1].event == "run_finished"
            status, error = await answer(first, "POST", "/api/runs/ask/resume")
            assert (status, error["error"]["code"]) == (400, "invalid_request")
            status, error = await answer(first, "POST", "/api/runs/ask/fork", node="ok")
            assert "workers do not fork" in error["error"]["message"]

    asyncio.run(asked())


def test_a_turn_in_the_queue_is_shown_cancelled_and_refused_where_too_many_wait(dsn: str) -> None:
    async def queued() -> None:
        async with working(dsn, Gate(), Told(), duo()):
            pass
        async with served(dsn, waiting=1) as app:
            said: dict[str, Any] = {"graph": "duo", "message": "m", "run_id": "q1"}
            waiting = Conversation(app, "POST", "/api/runs", **said)
            reference = Submission(graph="duo", run_id="q1").reference
            while not [None async for _ in _found(app.state.server.dispatcher, reference)]:
                pass
            shown = await answer(app, "GET", "/api/runs/q1")
            assert shown == (200, {"run_id": "q1", "session_id": "q1", "status": "queued"})
            full = Conversation(app, "POST", "/api/runs", **{**said, "run_id": "q2"})
            await full.whole()
            assert (full.status, json.loads(full.text)["error"]["code"]) == (429, "queue_full")
            assert full.headers["retry-after"] == "1"
            status, run = await answer(app, "POST", "/api/runs/q1/cancel")
            assert (status, run["status"]) == (200, "cancelled")
            await waiting.whole()
            assert waiting.status == 409

    asyncio.run(queued())


def test_a_dispatched_runner_is_used_as_any_other(dsn: str) -> None:
    async def used() -> None:
        dispatcher = DBOSDispatcher(dsn, connections=2)
        async with working(dsn, Gate(), Told()):
            runner = DispatchedRunner(duo(), dispatcher)
            run = await runner.arun("hello", session_id="as", user_id="ann")
            assert run.answer == "said hello"
            events = [event async for event in runner.astream("hello", session_id="as")]
            assert [event.text for event in events if isinstance(event, Token)] == ["said hello"]
            none = [event async for event in runner.astream("hi", tokens=False)]
            assert not any(isinstance(event, Token) for event in none)
            with pytest.raises(RunError, match="it broke"):
                await runner.arun("fail", run_id="f1", session_id="f1")
            with pytest.raises(RunError, match="it broke"):
                await runner.aresume("f1", session_id="f1")
            left = asyncio.create_task(runner.arun("wait", run_id="f2", session_id="f2"))
            reference = Submission(graph="duo", run_id="f2").reference
            while not [None async for _ in _found(dispatcher, reference)]:
                pass
            await dispatcher.cancel(reference)
            with pytest.raises(Cancelled):
                await left
            for options in ({"history": []}, {"attachments": ["a.txt"]}):
                with pytest.raises(InputError, match="no history and no attachments"):
                    await runner.arun("m", **options)  # type: ignore[arg-type]
            with pytest.raises(InputError, match="graph's own"):
                await runner.aresume("f1", budget={"calls": 1})
        await dispatcher.close()

    asyncio.run(used())


async def _found(dispatcher: DBOSDispatcher, run: Any) -> AsyncIterator[str]:  # noqa: ANN401
    try:
        yield await dispatcher.status(run)
    except (LookupError, ModelError):
        return


def test_the_command_line_shows_workers_and_the_queue(dsn: str, project: Project) -> None:
    async def waiting() -> None:
        async with working(dsn, Gate(), Told(), duo()) as worker:
            shown = await asyncio.to_thread(project.teamgraph, "workers", "--dsn", dsn)
            assert f"{worker.row.id}\tduo\t0 of 8\t" in shown.stdout
            assert shown.stdout.endswith(" s\tworks\n")
        dispatcher = DBOSDispatcher(dsn, connections=2)
        await dispatcher.submit(Submission(graph="duo", message="m", run_id="cli"))
        await dispatcher.close()

    asyncio.run(waiting())
    depth = project.teamgraph("queue", "depth", "--dsn", dsn)
    assert "\tduo\tno\t1\t0\t0\t" in depth.stdout
    rows = json.loads(project.teamgraph("queue", "list", "--dsn", dsn, "--json").stdout)["turns"]
    assert [row["run_id"] for row in rows] == ["cli"]
    assert (
        "\tcli\tcli\t\tduo\tqueued\t0\t" in project.teamgraph("queue", "list", "--dsn", dsn).stdout
    )
    assert project.teamgraph("queue", "list", "--dead", "--dsn", dsn).stderr == "there are none\n"
    assert project.teamgraph("queue", "depth", "--dsn", dsn, "--json").exit_code == 0
    calls = project.teamgraph("queue", "calls", "--dsn", dsn)
    assert calls.stderr == "no model that has a limit is being called\n"
    assert json.loads(project.teamgraph("workers", "--dsn", dsn, "--json").stdout) == {
        "workers": []
    }
    assert "start one" in project.teamgraph("workers", "--dsn", dsn).stderr
    refused = project.teamgraph("queue", "retry", "99", "--dsn", dsn)
    assert (refused.exit_code, "no dead letter 99" in refused.stderr) == (1, True)
    assert project.teamgraph("queue", "list", "--dead", "--dsn", dsn).exit_code == 0  # the advice


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["workers"], "no database is named; add --dsn"),
        (["serve", "desk.yaml", "--dsn", "postgresql://h/d"], "--dsn is for --dispatch"),
        (["serve", "desk.yaml", "--dispatch", "--mcp-stdio"], "leave one of them out"),
        (["serve", "desk.yaml", "--dispatch", "--trace", "t", "--model", "m"], "--model, --trace"),
        (["worker", "desk.yaml"], "no database is named"),
        (["queue", "retry", f"{2**63}", *_DSN], "9223372036854775807"),
        (["worker", "desk.yaml", "--dsn", "sqlite:///t.db", "--model", "echo"], "sqlite://"),
        (["worker", "desk.yaml", *_DSN, "--limit", "echo"], "'echo' is not the id of a model with"),
        (["worker", "desk.yaml", *_DSN, "--limit", "echo=0"], "the limit of 'echo' is 0"),
        (["worker", "desk.yaml", *_DSN, "--limit", f"echo={'9' * 5000}"], "is not the id of"),
        (
            ["worker", "desk.yaml", *_DSN, "--limit", "echo=2", "--limit", "echo=3"],
            "'echo' has two limits; leave one of them out",
        ),
        (
            ["worker", "desk.yaml", *_DSN, "--model", "echo", "--limit", "eco=2"],
            "a limit of 'eco', and no graph asks it; did you mean 'echo'?",
        ),
    ],
)
def test_a_database_is_named_where_one_is_needed(
    project: Project, words: list[str], text: str
) -> None:
    done = project.teamgraph(*words)
    assert (done.exit_code, text in done.stderr) == (2, True), done.stderr


def test_a_database_that_is_away_is_reported_once(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "psycopg.pool")
    away = "postgresql://127.0.0.1:1/d?connect_timeout=1"
    done = project.teamgraph("queue", "depth", "--dsn", away)
    assert (done.exit_code, "no connection within 1 s" in done.stderr) == (2, True), done.stderr
    assert caplog.records == []


def test_a_worker_and_a_server_run_until_they_are_told_to_stop(dsn: str, project: Project) -> None:
    project.write("talk.yaml", "name: talk\nmodel: echo\nnodes: {one: {role: You talk}}\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    commands = (
        (["worker", "talk.yaml", "--dsn", dsn], '"event": "ready"'),
        (["serve", "talk.yaml", "--dispatch", "--dsn", dsn, "--port", str(port)], "serving talk"),
    )
    try:
        for words, said in commands:
            stop = threading.Thread(target=stop_when_ready, args=(dsn, port))
            stop.start()
            done = project.teamgraph(*words)
            stop.join()
            assert (done.exit_code, said in done.stderr) == (0, True), done.stderr
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def stop_when_ready(dsn: str, port: int) -> None:
    """Send SIGINT to this process once a worker has entered, or a server listens."""
    query = b"SELECT count(*) FROM teamgraph_turns.workers WHERE pid = %s"
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(100_000):
            row = connection.execute(query, [os.getpid()]).fetchone()
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                row = (1,)
            if row != (0,):
                break
    os.kill(os.getpid(), signal.SIGINT)


def test_without_the_extra_it_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if ".engine.dispatch.d" in name or ".worker" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dbos", None)
    address = ["--dsn", "postgresql://h/d"]
    for words in (
        ["worker", "desk.yaml", "--model", "echo", *address],
        ["serve", "desk.yaml", "--dispatch", *address],
        ["workers", *address],
    ):
        done = project.teamgraph(*words)
        assert (done.exit_code, "teamgraph[distributed]" in done.stderr) == (2, True), done.stderr
    monkeypatch.delitem(vars(dispatch), "DBOSDispatcher", raising=False)
    with pytest.raises(ImportError, match=r"teamgraph\[distributed\]"):
        _ = dispatch.DBOSDispatcher
    with pytest.raises(AttributeError, match="no attribute 'Queue'"):
        _ = dispatch.Queue  # type: ignore[attr-defined]
