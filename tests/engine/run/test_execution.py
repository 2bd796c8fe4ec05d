"""A run from its first moment to its last: stores that fail, callers that walk away."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from teamgraph import Chunk, Event, MemoryStore, Reply, Request, Runner, SessionKey, Store
from teamgraph.engine.blocking import RunStart
from teamgraph.errors import Conflict, RunError, StoreError
from teamgraph.events import NodeFinished, RunCancelled, RunFailed, RunFinished, Token
from tests.teams import (
    alone,
    desk,
    desk_model,
    heard,
    holds_together,
    of,
    told,
    wait_for,
)

KEY = SessionKey(None, "s")


class Failing:
    """A store whose `method` fails from its `after`-th call on."""

    def __init__(self, store: Store, method: str, error: BaseException, after: int = 1) -> None:
        self._store, self._method, self._error, self._left = store, method, error, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name != self._method:
            return method

        async def fail(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left <= 0:
                raise self._error
            return await method(*args, **options)

        return fail


def failing(method: str, error: BaseException, after: int = 1) -> tuple[Any, MemoryStore]:
    inner = MemoryStore()
    return Failing(inner, method, error, after), inner


def test_a_store_that_cannot_begin_is_the_callers_to_see_and_no_run_is_told() -> None:
    store, _ = failing("begin", StoreError("the disk is gone"))
    runner = Runner(desk(), model=desk_model(), store=store)
    events: list[Event] = []
    with pytest.raises(StoreError, match="the disk is gone"):
        events.extend(runner.stream("hi"))
    assert events == []


@pytest.mark.parametrize("error", [StoreError("disk full"), Conflict("moved"), OSError("I/O")])
@pytest.mark.parametrize(
    ("method", "after"), [("put", 1), ("put", 3), ("put_prompt", 2), ("turns", 1), ("finish", 1)]
)
def test_a_store_that_fails_on_the_way_ends_the_run_with_one_last_event(
    method: str, after: int, error: Exception
) -> None:
    store, inner = failing(method, error, after)
    Runner(desk(), model=desk_model(), store=inner).run("before", session_id="s")
    runner = Runner(desk(), model=desk_model(), store=store)
    events = heard(runner, session_id="s", run_id="r")
    holds_together(events)
    last = events[-1]
    assert isinstance(last, RunFailed)
    assert str(error) in str(last.error)
    assert isinstance(last.error, RunError)
    assert last.error.run == last.run
    assert last.run.status == "failed"
    finished = {event.node for event in of(events, NodeFinished)}
    kept = wait_for(inner.run(KEY, "r"))
    assert kept is not None
    assert finished <= set(kept.records), "what was told is kept"
    assert kept.status == ("running" if method == "finish" else "failed")
    resumed = Runner(desk(), model=desk_model(), store=inner).resume("r", session_id="s")
    assert resumed.answer == "Bonjour mon ami", "the session is free and the run can go on"


def test_the_cause_of_a_failed_run_is_the_error_of_the_store() -> None:
    error = StoreError("disk full")
    store, _ = failing("put", error)
    with pytest.raises(RunError, match="disk full") as caught:
        Runner(desk(), model=desk_model(), store=store).run("hi")
    assert caught.value.__cause__ is error


class Telling:
    """A model that says a few words and then waits until it is let go."""

    def __init__(self) -> None:
        self.said = asyncio.Event()
        self.go = asyncio.Event()
        self.closed = 0

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        try:
            yield Chunk("Once ")
            yield Chunk("upon")
            self.said.set()
            await self.go.wait()
            yield Reply("Once upon a time")
        finally:
            self.closed += 1


@pytest.mark.parametrize("listening", [True, False])
def test_a_run_cancelled_in_the_middle_keeps_what_was_said(store: Store, listening: bool) -> None:
    events: list[Event] = []

    async def scenario() -> None:
        model = Telling()
        runner = Runner(alone(), model=model, store=store)

        async def run() -> None:
            if not listening:
                await runner.arun("hi", session_id="s", run_id="r")
            async for event in runner.astream("hi", session_id="s", run_id="r"):
                events.append(event)  # noqa: PERF401  what came before an error counts

        before = asyncio.all_tasks()
        task = asyncio.create_task(run())
        await model.said.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert model.closed == 1
        assert asyncio.all_tasks() == before, "nothing is left running"
        model.go.set()
        async with asyncio.timeout(10):
            again = await Runner(alone(), model=model, store=store).arun("hi", session_id="s")
        assert again.turn.number == 1

    wait_for(scenario())
    kept = wait_for(store.run(KEY, "r"))
    assert kept is not None
    assert (kept.status, kept.answer) == ("cancelled", "Once upon")
    assert kept.records == {}


def test_a_cancelled_run_can_be_taken_up() -> None:
    store = MemoryStore()

    async def scenario() -> Any:
        model = Telling()
        runner = Runner(alone(), model=model, store=store)
        task = asyncio.create_task(runner.arun("hi", run_id="r"))
        await model.said.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        model.go.set()
        return await runner.aresume("r")

    assert wait_for(scenario()).answer == "Once upon a time"


def test_closing_a_stream_early_ends_the_run_before_it_returns(store: Store) -> None:
    async def scenario() -> None:
        model = Telling()
        runner = Runner(alone(), model=model, store=store)
        stream = runner.astream("hi", session_id="s", run_id="r")
        async for event in stream:
            if isinstance(event, Token):
                break
        await stream.aclose()
        assert model.closed == 1
        kept = await store.run(KEY, "r")
        assert kept is not None
        assert kept.status == "cancelled"
        resumed = runner.aresume_stream("r", session_id="s")
        async for event in resumed:
            if isinstance(event, Token):
                break
        await resumed.aclose()
        assert model.closed == 2

    wait_for(scenario())


def test_leaving_a_loop_over_a_stream_ends_the_run() -> None:
    class Endless:
        closed = False

        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            try:
                while True:
                    yield Chunk("and ")
                    await asyncio.sleep(0)
            finally:
                self.closed = True
            yield Reply("")

    model, store = Endless(), MemoryStore()
    stream: Any = Runner(alone(), model=model, store=store).stream("hi", session_id="s", run_id="r")
    for event in stream:
        if isinstance(event, Token):
            break
    stream.close()
    assert model.closed
    kept = wait_for(store.run(KEY, "r"))
    assert kept is not None
    assert kept.status == "cancelled"
    assert (kept.answer or "").startswith("and ")


def test_a_run_cancelled_before_it_begins_leaves_nothing_behind() -> None:
    store = MemoryStore()

    async def scenario() -> None:
        model = Telling()
        runner = Runner(alone(), model=model, store=store)
        first = asyncio.create_task(runner.arun("hi", session_id="s"))
        await model.said.wait()
        waiting = asyncio.create_task(runner.arun("hi", session_id="s", run_id="never"))
        unborn = asyncio.create_task(runner.arun("hi", session_id="s", run_id="unborn"))
        unborn.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, unborn, return_exceptions=True)
        model.go.set()
        assert (await first).turn.number == 1
        assert (await runner.arun("hi", session_id="s")).turn.number == 2
        assert [turn.number for turn in await store.runs(KEY)] == [2, 1]

    wait_for(scenario())


class Slow:
    """A store that takes its time over `method`, and says when it has begun."""

    def __init__(self, store: Store, method: str) -> None:
        self._store, self._method = store, method
        self.begun = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name != self._method:
            return method

        async def slow(*args: Any, **options: Any) -> Any:
            self.begun.set()
            for _ in range(10):
                await asyncio.sleep(0)
            return await method(*args, **options)

        return slow


def test_a_cancellation_that_comes_when_all_is_done_comes_too_late() -> None:
    async def scenario() -> None:
        store: Any = Slow(MemoryStore(), "finish")
        runner = Runner(desk(), model=desk_model(), store=store)
        task = asyncio.create_task(runner.arun("hi", session_id="s"))
        await store.begun.wait()
        for _ in range(4):
            task.cancel()
            await asyncio.sleep(0)
        run = await task
        assert (run.status, run.turn.number) == ("done", 1)

    wait_for(scenario())


def test_one_who_cancels_again_and_again_cannot_leave_the_session_locked() -> None:
    events: list[Event] = []

    async def scenario() -> None:
        inner, model = MemoryStore(), Telling()
        store: Any = Slow(inner, "finish")
        start = _start(Runner(alone(), model=model, store=store))
        task = asyncio.create_task(start(listener=events.append))
        await model.said.wait()
        for _ in range(6):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(events[-1], RunCancelled)
        holds_together(events)
        assert events[-1].run.answer == told(events) == "Once upon"
        model.go.set()
        async with asyncio.timeout(10):
            await Runner(alone(), model=model, store=inner).arun("hi", session_id="s")

    wait_for(scenario())


def test_a_cancelled_run_whose_store_fails_is_cancelled_all_the_same() -> None:
    events: list[Event] = []

    async def scenario() -> None:
        store, _ = failing("finish", StoreError("gone"))
        model = Telling()
        start = _start(Runner(alone(), model=model, store=store))
        task = asyncio.create_task(start(listener=events.append))
        await model.said.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    wait_for(scenario())
    holds_together(events)
    assert isinstance(events[-1], RunCancelled)


def test_a_loop_that_is_torn_down_under_the_store_cancels_the_run() -> None:
    store, _ = failing("finish", asyncio.CancelledError())
    events: list[Event] = []

    async def scenario() -> None:
        start = _start(Runner(desk(), model=desk_model(), store=store))
        with pytest.raises(asyncio.CancelledError):
            await start(listener=events.append)

    wait_for(scenario())
    holds_together(events)
    assert isinstance(events[-1], RunCancelled)


def test_side_by_side_nodes_all_end_when_the_run_is_cancelled() -> None:
    async def scenario() -> None:
        model = Telling()
        graph = desk(nodes=dict(desk().nodes))
        nodes: Any = dict.fromkeys(("a", "b", "c"), graph.nodes["english"])
        team = type(graph)(name="g", model="m", nodes=nodes, output="a")
        task = asyncio.create_task(Runner(team, model=model).arun("hi"))
        await model.said.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert model.closed == 3

    wait_for(scenario())


def test_the_last_event_of_a_run_that_went_well_has_the_run() -> None:
    events = heard(Runner(desk(), model=desk_model()))
    assert isinstance(events[-1], RunFinished)
    assert events[-1].run.status == "done"


def test_a_run_leaves_nothing_that_only_the_garbage_collector_could_free(store: Store) -> None:
    runner = Runner(desk(), store=store, model=desk_model())

    async def left() -> list[str]:
        await runner.arun("hi", session_id="s")
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        await runner.arun("hi", session_id="s")
        gc.collect()
        return [
            kind for each in gc.garbage if (kind := type(each).__module__).startswith("teamgraph")
        ]

    try:
        assert asyncio.run(left()) == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _start(runner: Runner) -> RunStart:
    start: Callable[..., RunStart] = runner._start
    return start("hi", None, "s", None, "r", None, None, None)
