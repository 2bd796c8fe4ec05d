"""Runs cancelled by somebody else: in this process, in another one, or with no process at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from teamgraph import (
    Chunk,
    Event,
    Graph,
    MemoryStore,
    Reply,
    Request,
    Runner,
    ScriptedModel,
    TinyDBStore,
)
from teamgraph.errors import Cancelled, InputError, NotFound, SessionBusy
from teamgraph.nodes import Human, Member

GRAPH = Graph(name="one", model="echo", nodes={"m": Member(role="Say")})
ASKS = Graph(
    name="asks",
    model="echo",
    nodes={"ok": Human(prompt="May I?\n"), "m": Member(role="Say", needs=["ok"])},
    output=["m"],
)


class Silent:
    """A model that never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        del request
        self.asked.set()
        await asyncio.Event().wait()
        yield Reply("", model="never")


async def _cancelled_by(canceller: Runner, runner: Runner, model: Silent) -> list[Event]:
    events: list[Event] = []

    async def read() -> None:
        async for event in runner.astream("hi", session_id="s", run_id="r"):
            events.append(event)  # noqa: PERF401  it is cancelled

    reading = asyncio.create_task(read())
    await model.asked.wait()
    assert (await canceller.acancel("r", session_id="s")).status == "running"
    with pytest.raises(Cancelled, match="resume it"):
        await reading
    return events


def test_a_run_is_cancelled_from_another_task_and_ends_once() -> None:
    async def scenario() -> None:
        store, model = MemoryStore(), Silent()
        runner = Runner(GRAPH, store=store, model=model)
        events = await _cancelled_by(Runner(GRAPH, store=store), runner, model)
        names = [type(event).__name__ for event in events]
        assert names.count("RunCancelled") == 1
        assert names[-1] == "RunCancelled"
        again = await runner.acancel("r")
        assert again.status == "cancelled"
        resumed = await Runner(GRAPH, store=store, model=ScriptedModel("done")).aresume("r")
        assert resumed.answer == "done"
        with pytest.raises(InputError, match="nothing to cancel"):
            await runner.acancel("r")
        with pytest.raises(NotFound):
            await runner.acancel("none")

    asyncio.run(scenario())


def test_a_run_of_another_process_is_cancelled_by_a_mark(tmp_path: Path) -> None:
    """Two stores of one folder behave as two processes do."""

    async def scenario() -> None:
        here = TinyDBStore(tmp_path, lease_timeout=0.3)
        there = TinyDBStore(tmp_path, lease_timeout=0.3)
        model = Silent()
        runner = Runner(GRAPH, store=here, model=model)
        await _cancelled_by(Runner(GRAPH, store=there), runner, model)
        assert (await there.run(runner.session("s").key, "r")).status == "cancelled"  # type: ignore[union-attr]  it is there
        await there.cancel(runner.session("s").key, "r")  # too late: it has ended
        resumed = await Runner(GRAPH, store=there, model=ScriptedModel("done")).aresume("r")
        assert resumed.status == "done"
        for store in (here, there):
            await store.close()

    asyncio.run(scenario())


def test_a_run_that_nobody_executes_is_cancelled_at_once() -> None:
    store = MemoryStore()
    runner = Runner(ASKS, store=store)
    run = runner.run("go", session_id="s")
    assert run.status == "waiting"
    cancelled = runner.cancel(run.run_id)
    assert (cancelled.status, cancelled.turn.waiting) == ("cancelled", ())
    assert runner.waiting() == []
    assert runner.run("go on", session_id="s").status == "waiting"  # the session is free


def test_a_store_that_cannot_tell_other_processes_says_that_the_run_is_in_progress() -> None:
    class Elsewhere(MemoryStore):
        """A store whose run another process has."""

    async def scenario() -> None:
        store, model = MemoryStore(), Silent()
        runner = Runner(GRAPH, store=store, model=model)
        reading = asyncio.create_task(runner.arun("hi", session_id="s", run_id="r"))
        await model.asked.wait()
        other = Elsewhere(store._sessions)  # the same sessions, as another process sees them
        other._leases, other._queue = store._leases, store._queue
        with pytest.raises(SessionBusy):
            await Runner(GRAPH, store=other).acancel("r", session_id="s")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(scenario())


def test_a_run_that_its_own_caller_cancels_too_ends_as_the_caller_wants() -> None:
    async def scenario() -> None:
        store, model = MemoryStore(), Silent()
        runner = Runner(GRAPH, store=store, model=model)
        running = asyncio.create_task(runner.arun("hi", session_id="s", run_id="r"))
        await model.asked.wait()
        await asyncio.gather(runner.acancel("r"), runner.acancel("r"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
