"""A timeout frees the caller, whatever the attempt is doing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from teamgraph import Graph, Reply, Request, Retry, Runner, ScriptedModel, Timeout, ToolCall
from teamgraph.engine.run.node_execution import DEFAULT_TIMEOUT, TimeLimit, Timeouts
from teamgraph.errors import NodeError
from teamgraph.kinds import call_in_thread
from teamgraph.nodes import Member, Python

ROOT = Path(__file__).parents[3]
WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Stuck:
    """A synchronous function that returns when it is let go, and not before."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def node(self) -> str:
        self.go.wait()
        return "late"

    def tool(self) -> str:
        """Take very long."""
        return self.node()


def stuck_node(stuck: Stuck, **options: Any) -> Runner:  # noqa: ANN401  fields of a node
    nodes = {"slow": Python(call=stuck.node, **options)}
    return Runner(Graph(name="g", nodes=nodes))


def stuck_tool(stuck: Stuck, **options: Any) -> Runner:  # noqa: ANN401  fields of a node
    def script(request: Request) -> Reply:
        if any(message.role == "tool" for message in request.messages):
            return Reply("done")
        return Reply("", tool_calls=(ToolCall(id="c", name="tool", arguments="{}"),))

    nodes = {"slow": Member(tools=[stuck.tool], **options)}
    return Runner(Graph(name="g", model="m", nodes=nodes), model=ScriptedModel(script))


DOORS: list[Callable[[Runner], object]] = [
    lambda runner: runner.run("hi"),
    lambda runner: list(runner.stream("hi")),
    lambda runner: asyncio.run(runner.arun("hi")),
]


@pytest.mark.parametrize("call", DOORS)
@pytest.mark.parametrize("make", [stuck_node, stuck_tool])
@pytest.mark.parametrize("timeout", [0.05, Timeout(total=0.05)])
def test_a_synchronous_function_that_is_stuck_holds_nobody(
    make: Callable[..., Runner], call: Callable[[Runner], object], timeout: float | Timeout
) -> None:
    stuck = Stuck()
    try:
        runner = make(stuck, timeout=timeout, retry=Retry(times=2, wait=0.001))
        with pytest.raises(NodeError, match=r"no answer within 0\.05 seconds"):
            call(runner)
        assert not stuck.go.is_set(), "the caller is free while the function goes on"
    finally:
        stuck.go.set()


SCRIPT = """
import asyncio, sys, threading
from teamgraph import Graph, Runner
from teamgraph.errors import NodeError
from teamgraph.nodes import Python

runner = Runner(Graph(name="g", nodes={"slow": Python(call=threading.Event().wait, timeout=0.05)}))
try:
    runner.run("hi") if sys.argv[1] == "run" else asyncio.run(runner.arun("hi"))
except NodeError:
    print("free")
"""


@pytest.mark.parametrize("call", ["run", "arun"])
def test_a_process_ends_though_a_function_is_stuck(call: str) -> None:
    script = SCRIPT.replace("threading.Event().wait", "lambda: threading.Event().wait()")
    ended = subprocess.run(
        [sys.executable, "-c", script, call], cwd=ROOT, check=True, capture_output=True, timeout=60
    )
    assert (ended.stdout, ended.stderr) == (b"free\n", b"")


def test_more_stuck_functions_than_any_pool_has_threads_hold_up_nobody_else() -> None:
    stuck = [Stuck() for _ in range(60)]
    try:
        for each in stuck:
            with pytest.raises(NodeError, match="no answer within"):
                stuck_node(each, timeout=0.001).run("hi")
        assert (
            Runner(Graph(name="g", nodes={"a": Python(call=lambda: "x")})).run("hi").answer == "x"
        )
    finally:
        for each in stuck:
            each.go.set()


def test_a_function_in_a_thread_returns_raises_and_sees_the_context() -> None:
    async def scenario() -> None:
        WHO.set("ann")
        assert await call_in_thread(WHO.get) == "ann"
        with pytest.raises(ZeroDivisionError):
            await call_in_thread(lambda: 1 / 0)
        with pytest.raises(RuntimeError, match="it raised StopIteration"):
            await call_in_thread(lambda: next(iter(())))
        assert await asyncio.gather(*(call_in_thread(lambda: 1) for _ in range(50))) == [1] * 50

    asyncio.run(scenario())


def test_what_a_cancelled_call_returns_later_is_dropped() -> None:
    stuck, ended = Stuck(), threading.Event()

    def work() -> None:
        stuck.go.wait()
        ended.set()

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call_in_thread(work), 0.01)
        stuck.go.set()
        await call_in_thread(ended.wait)
        await asyncio.sleep(0)

    asyncio.run(scenario())


class TestTimeouts:
    def test_an_attempt_that_takes_too_long_is_a_timeout_and_others_are_not(self) -> None:
        async def scenario() -> None:
            timeouts, never = Timeouts(), asyncio.Event()

            async def attempt(seconds: float | None, work: Awaitable[object]) -> object:
                with TimeLimit(timeouts, seconds):
                    return await work

            quick = partial(asyncio.sleep, 0, "quick")
            assert await attempt(None, quick()) == "quick"
            slow = [asyncio.create_task(attempt(0.02, never.wait())) for _ in range(3)]
            longer = asyncio.create_task(attempt(0.03, never.wait()))
            assert await attempt(None, quick()) == "quick"
            results = await asyncio.gather(*slow, return_exceptions=True)
            assert [repr(result) for result in results] == [
                "TimeoutError('no answer within 0.02 seconds')"
            ] * 3
            assert await attempt(0.02, quick()) == "quick", "the next attempt is timed as well"
            with pytest.raises(TimeoutError, match=r"0\.03"):
                await longer
            timeouts.close()

        asyncio.run(scenario())

    def test_the_default_says_how_to_set_another(self) -> None:
        async def scenario() -> None:
            with TimeLimit(Timeouts(default=0.01), None):
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError, match=r"0\.01 seconds, the default; give the node"):
            asyncio.run(scenario())

    def test_a_limit_around_another_ends_both(self) -> None:
        async def scenario() -> None:
            timeouts = Timeouts()
            with TimeLimit(timeouts, 0.01), TimeLimit(timeouts, 3600):
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError, match=r"0\.01"):
            asyncio.run(scenario())

    def test_an_error_at_the_deadline_stays_that_error(self) -> None:
        async def scenario() -> None:
            with TimeLimit(Timeouts(), 0.01):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise ValueError("of its own") from None

        with pytest.raises(ValueError, match="of its own"):
            asyncio.run(scenario())

    def test_a_cancellation_from_outside_stays_one(self) -> None:
        async def scenario() -> None:
            timeouts = Timeouts()

            async def attempt() -> None:
                with TimeLimit(timeouts, 3600):
                    await asyncio.Event().wait()

            task = asyncio.create_task(attempt())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            timeouts.close()

        asyncio.run(scenario())

    def test_it_is_ten_minutes_as_the_guide_says(self) -> None:
        guide = (ROOT / "docs" / "writing-graphs.md").read_text()
        assert DEFAULT_TIMEOUT == 600
        assert "600 seconds" in guide
