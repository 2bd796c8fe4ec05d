"""Scripts, notebooks and impatient people at the door of something async."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from pathlib import Path
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest

from teamgraph import (
    Chunk,
    Event,
    MemoryStore,
    Reply,
    Request,
    Runner,
    ScriptedModel,
    SessionKey,
    TinyDBStore,
)
from teamgraph.engine.blocking import (
    _BackgroundLoop,
    _BlockingCall,
    _Workers,
    iterate_blocking,
    run_blocking,
)
from teamgraph.errors import BlockedLoopWarning, InputError, NodeError
from teamgraph.events import RunFinished
from tests.teams import alone, desk, desk_model, holds_together, wait_for

ROOT = Path(__file__).parents[2]
WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


@pytest.fixture
def in_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython as a notebook has it: imported, with a shell."""
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))


@pytest.mark.usefixtures("in_notebook")
def test_a_notebook_gets_the_same_as_a_script() -> None:
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


def test_whoever_blocks_an_event_loop_is_told_what_to_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where IPython is merely imported, without a shell."""
    runner = Runner(alone(), model=ScriptedModel("hello"))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))

    async def handler() -> str | None:
        return runner.run("hi").answer

    with pytest.warns(
        BlockedLoopWarning, match=r"`run` blocks .* `await arun\(\.\.\.\)`"
    ) as caught:
        assert asyncio.run(handler()) == "hello"
    assert [each.filename for each in caught] == [__file__]

    async def streams() -> int:
        return len(list(runner.stream("hi")))

    with pytest.warns(BlockedLoopWarning, match=r"`async for \.\.\. in astream\(\.\.\.\)`"):
        assert asyncio.run(streams()) > 0


@pytest.mark.usefixtures("in_notebook")
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


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot send SIGINT to a single process")
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


FAILING = """
import asyncio, sys
from teamgraph import Runner, ScriptedModel
from tests.teams import alone

runner = Runner(alone(), model=ScriptedModel([]))

async def notebook():
    runner.run("hi")

{
    "run": lambda: runner.run("hi"),
    "stream": lambda: list(runner.stream("hi")),
    "print_response": lambda: runner.print_response("hi"),
    "resume": lambda: runner.resume("no such run"),
    "notebook": lambda: asyncio.run(notebook()),
}[sys.argv[1]]()
"""


@pytest.mark.parametrize("call", ["run", "stream", "print_response", "resume", "notebook"])
def test_the_traceback_of_a_failing_script_begins_with_what_failed(call: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAILING, call],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    error = "NotFound: there is no run" if call == "resume" else "NodeError: node 'member' failed"
    assert ended.stderr.splitlines()[-1].startswith(f"teamgraph.engine.errors.{error}")
    assert "During handling of the above exception" not in ended.stderr
    assert "no running event loop" not in ended.stderr


class Echo:
    """A model of one's own."""

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        yield Reply(request.messages[-1].content)


FEW_DESCRIPTORS = """
import resource, threading
from teamgraph import Reply, Runner
from tests.teams import alone

class Echo:
    async def ask(self, request):
        yield Reply("echo")

resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
runner = Runner(alone(), model=Echo())
for _ in range(300):
    assert runner.run("hi").answer == "echo"
    assert len(list(runner.stream("hi"))) > 3
together = threading.Barrier(500)
answers = []

def script():
    together.wait()
    answers.append(runner.run("hi").answer)

threads = [threading.Thread(target=script) for _ in range(500)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert answers == ["echo"] * 500
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no RLIMIT_NOFILE to lower")
def test_thousands_of_calls_in_hundreds_of_threads_need_few_descriptors() -> None:
    subprocess.run([sys.executable, "-c", FEW_DESCRIPTORS], cwd=ROOT, check=True, timeout=120)


def test_a_call_from_within_a_call_has_a_loop_of_its_own() -> None:
    inner = Runner(alone(), model=ScriptedModel("inner"))

    class Nested:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            yield Reply(f"outer and {inner.run('hi').answer}")

    middle = Runner(alone(), model=Nested())

    class Deeper:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            yield Reply(f"{middle.run('hi').answer}, deep")

    with pytest.warns(BlockedLoopWarning):
        assert Runner(alone(), model=Deeper()).run("hi").answer == "outer and inner, deep"


def test_code_that_blocks_the_loop_holds_up_no_other_thread_for_good() -> None:
    inner = Runner(alone(), model=ScriptedModel("inner"))

    class Blocking:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            answers = list[str | None]()
            thread = threading.Thread(target=lambda: answers.append(inner.run("hi").answer))
            thread.start()
            thread.join()
            yield Reply(f"waited for {answers[0]}")

    assert Runner(alone(), model=Blocking()).run("hi").answer == "waited for inner"


def test_a_stream_that_is_dropped_anywhere_ends_its_run() -> None:
    store = MemoryStore()

    class Endless:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            yield Chunk("Once ")
            await asyncio.Event().wait()

    stream = Runner(alone(), model=Endless(), store=store).stream("hi", session_id="s")

    class Dropping:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            nonlocal stream
            stream = iter(())  # the last reference, on the thread of the loop itself
            gc.collect()
            yield Reply("dropped")

    next(stream)
    assert Runner(alone(), model=Dropping()).run("hi").answer == "dropped"
    again = Runner(alone(), model=Echo(), store=store).run("hi", session_id="s")
    assert again.status == "done"


EXITING = """
import sys, threading
from teamgraph import Chunk, Reply, Runner, ScriptedModel, TinyDBStore
from tests.teams import alone
begun = threading.Event()

class Endless:
    async def ask(self, request):
        yield Chunk("Once ")
        begun.set()
        import asyncio
        await asyncio.sleep(3600)
        yield Reply("")

runner = Runner(alone(), model=Endless(), store=TinyDBStore(sys.argv[1]))
thread = threading.Thread(target=lambda: runner.run("hi", session_id="s", run_id="r"), daemon=True)
thread.start()
begun.wait()
"""


def test_a_process_that_ends_cancels_what_its_daemon_threads_run(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", EXITING, str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    store = TinyDBStore(tmp_path)
    kept = wait_for(store.run(SessionKey(None, "s"), "r"))
    wait_for(store.close())
    assert kept is not None
    assert (kept.status, kept.answer) == ("cancelled", "Once ")
    assert b"never awaited" not in ended.stderr
    assert b"unclosed" not in ended.stderr


FORKED = """
import os, sys
from teamgraph import Runner, ScriptedModel
from tests.teams import alone
runner = Runner(alone(), model=ScriptedModel(lambda request: "echo"))
assert runner.run("hi").answer == "echo"
child = os.fork()
answers = [runner.run("hi").answer for _ in range(3)]
if child == 0:
    os._exit(0 if answers == ["echo"] * 3 else 1)
assert answers == ["echo"] * 3
assert os.waitpid(child, 0)[1] == 0
assert runner.run("hi").answer == "echo"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no os.fork")
def test_a_forked_child_has_a_loop_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", FORKED], cwd=ROOT, check=True, timeout=60)


def test_what_the_door_does_not_explain_is_raised_as_python_says_it() -> None:
    runner: Any = Runner(alone(), model=ScriptedModel([]))
    for door in (runner.run, runner.stream):
        with pytest.raises(TypeError, match="multiple values for argument 'message'"):
            door("hi", message="hi")


def test_a_callback_of_a_loop_is_told_that_it_is_no_task() -> None:
    async def main() -> BaseException | None:
        told = asyncio.get_running_loop().create_future()

        def callback() -> None:
            try:
                Runner(alone(), model=Echo()).astream("hi").asend(None).send(None)
            except InputError as error:
                told.set_result(error)

        asyncio.get_running_loop().call_soon(callback)
        return await asyncio.wait_for(told, 30)  # type: ignore[no-any-return]  the error

    assert "call the synchronous method instead" in str(asyncio.run(main()))


def test_a_task_that_exits_the_process_gives_that_to_its_caller_and_leaves_the_loop() -> None:
    async def leave() -> None:
        sys.exit(3)

    async def give() -> int:
        return 1

    with pytest.raises(SystemExit):
        run_blocking(leave())
    assert run_blocking(give()) == 1


def test_a_background_loop_runs_on_after_a_callback_that_exits() -> None:
    async def give() -> int:
        return 1

    background = _BackgroundLoop()
    background.loop.call_soon_threadsafe(sys.exit, 3)
    assert asyncio.run_coroutine_threadsafe(give(), background.loop).result(30) == 1
    background.close()


def test_a_call_that_no_loop_has_begun_is_cancelled_at_once() -> None:
    begun, go = threading.Event(), threading.Event()

    async def block() -> None:
        begun.set()
        go.wait()

    async def never() -> None:
        raise AssertionError

    thread = threading.Thread(target=lambda: run_blocking(block()))
    thread.start()
    begun.wait()
    work = never()
    call = _BlockingCall(work)
    call.start()
    call.cancel()
    go.set()
    thread.join()
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


def test_a_thread_that_is_taken_when_it_was_idle_for_long_does_what_it_is_given() -> None:
    done = list[str]()

    class TakenLate:
        """Its wait ends without work, which then comes, the first time."""

        def get(self, timeout: float | None = None) -> Callable[[], None]:
            if timeout is not None:
                raise Empty
            return lambda: done.append("work")

    queue: Any = TakenLate()
    _Workers()._run(queue)
    assert done == ["work"], "after it, the thread ends"
