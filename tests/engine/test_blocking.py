"""Scripts, notebooks and impatient people at the door of something async."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from teamgraph import Event, Runner, ScriptedModel, SessionKey, TinyDBStore
from teamgraph.engine.blocking import iterate_blocking, run_blocking
from teamgraph.errors import NodeError
from teamgraph.events import RunFinished
from tests.teams import alone, desk, desk_model, holds_together, wait_for

ROOT = Path(__file__).parents[2]
WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


def test_scripts_get_the_same_where_a_loop_is_running() -> None:
    runner = Runner(desk(), model=desk_model())

    async def notebook() -> tuple[Any, list[Event]]:
        assert runner.sessions() == []
        run = runner.run("hi", session_id="s", run_id="r")
        return run, list(runner.stream("hi", session_id="s"))

    Runner(desk(), model=desk_model()).run("hi")
    threads = threading.active_count()
    run, events = asyncio.run(notebook())
    assert run.answer == "Bonjour mon ami"
    holds_together(events)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].run.turn.number == 2
    assert threading.active_count() == threads


def test_an_error_comes_out_of_every_door() -> None:
    runner = Runner(alone(), model=ScriptedModel([]))

    async def notebook() -> None:
        with pytest.raises(NodeError, match="the script has 0 answers"):
            runner.run("hi")

    asyncio.run(notebook())
    with pytest.raises(NodeError):
        runner.run("hi")
    with pytest.raises(NodeError):
        list(runner.stream("hi"))
    with pytest.raises(NodeError):
        wait_for(runner.arun("hi"))


def test_what_comes_through_a_door_is_not_spelled_on_the_way() -> None:
    spelled: list[object] = []

    class Long:
        def __repr__(self) -> str:
            spelled.append(self)
            return "this may be as long as all that was said"

    async def give() -> Long:
        return Long()

    async def notebook() -> None:
        run_blocking(give())

    run_blocking(give())
    asyncio.run(notebook())
    assert spelled == []


def test_context_variables_of_the_caller_are_seen_in_the_thread() -> None:
    async def who() -> str:
        return WHO.get()

    async def notebook() -> str:
        return run_blocking(who())

    async def events() -> AsyncGenerator[Event]:
        yield WHO.get()  # type: ignore[misc]  any object will do

    token = WHO.set("ann")
    try:
        assert run_blocking(who()) == "ann"
        assert asyncio.run(notebook()) == "ann"
        assert list(iterate_blocking(events())) == ["ann"]
    finally:
        WHO.reset(token)


def test_whatever_ends_the_work_ends_the_loop_over_it() -> None:
    class Gone(BaseException):
        pass

    async def events() -> AsyncGenerator[Event]:
        yield 1  # type: ignore[misc]  any object will do
        raise Gone

    stream = iterate_blocking(events())
    assert next(stream) == 1
    with pytest.raises(Gone):
        next(stream)


NO_THREAD = """
import asyncio, threading
from teamgraph.engine.blocking import iterate_blocking, run_blocking

async def work():
    return 1

async def events():
    yield 1

async def notebook():
    run_blocking(work())

for use in (lambda: list(iterate_blocking(events())), lambda: asyncio.run(notebook())):
    threading.stack_size(1 << 46)  # more than any system has
    try:
        use()
    except RuntimeError as error:
        print(error)
"""


def test_where_no_thread_is_to_be_had_the_door_says_so() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", NO_THREAD], cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    assert ended.stdout.split(b"\n") == [b"can't start new thread"] * 2 + [b""]
    assert b"Traceback" not in ended.stderr


INTERRUPTED = """
import asyncio, os, signal, sys
from teamgraph import Chunk, Reply, Runner, TinyDBStore
from tests.teams import alone

class Slow:
    async def ask(self, request):
        yield Chunk("Once ")
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)
        yield Reply("Once upon")

loop = asyncio.new_event_loop()
runner = Runner(alone(), model=Slow(), store=TinyDBStore(sys.argv[1]))

def script():
    runner.run("hi", session_id="s", run_id="r")

async def notebook():
    script()

def stream():
    for event in runner.stream("hi", session_id="s", run_id="r"):
        pass

try:
    {
        "script": script,
        "stream": stream,
        "notebook": lambda: loop.run_until_complete(notebook()),
    }[sys.argv[2]]()
except KeyboardInterrupt:
    print("interrupted", runner.sessions()[0].turns)
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("door", ["script", "notebook", "stream"])
def test_ctrl_c_cancels_the_run_and_keeps_what_was_said(tmp_path: Path, door: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path), door],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.stdout == "interrupted 0\n", ended.stderr
    store = TinyDBStore(tmp_path)
    kept = wait_for(store.run(SessionKey(None, "s"), "r"))
    wait_for(store.close())
    assert kept is not None
    assert (kept.status, kept.answer) == ("cancelled", "Once ")
