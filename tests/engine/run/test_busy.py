"""Two turns of one session at once: wait, refuse, or go on side by side."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event as ThreadEvent
from typing import Any

import pytest

from teamgraph import (
    Chunk,
    Graph,
    MemoryStore,
    Reply,
    Request,
    Run,
    Runner,
    ScriptedModel,
    SessionKey,
    Store,
    TinyDBStore,
)
from teamgraph.errors import InputError, NodeError, NotFound, SessionBusy
from teamgraph.kinds import Result
from teamgraph.nodes import HistoryLoader, Member, Python, Summarizer
from tests.teams import alone, wait_for, words_of

ROOT = Path(__file__).parents[3]
KEY = SessionKey(None, "s")


class Held:
    """A model that says when it was asked, and answers when it may."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.requests: list[Request] = []

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        self.requests.append(request)
        self.asked.set()
        await self.go.wait()
        if request.schema is not None:
            yield Reply('{"summary": "of the slow one", "topics": []}')
        else:
            yield Reply("slow")


class Quick:
    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        yield Reply('{"summary": "of the quick one", "topics": []}' if request.schema else "quick")


async def beside(store: Store, graph: Graph, busy: Any) -> tuple[Held, Run | Exception, Run]:
    """A slow turn, and a quick one that comes while it is under way and does as `busy` says."""
    held = Held()
    slow = asyncio.create_task(Runner(graph, store=store, model=held).arun("one", session_id="s"))
    await held.asked.wait()
    runner = Runner(graph, store=store, model=Quick(), busy=busy)
    second = asyncio.create_task(runner.arun("two", session_id="s"))
    if busy == "serialize":
        held.go.set()
    (result,) = await asyncio.gather(second, return_exceptions=True)
    assert not isinstance(result, BaseException) or isinstance(result, Exception)
    held.go.set()
    return held, result, await slow


def test_one_that_is_to_wait_comes_after(store: Store) -> None:
    _, second, first = wait_for(beside(store, alone(), "serialize"))
    assert isinstance(second, Run)
    assert (first.turn.number, second.turn.number) == (1, 2)


def test_one_that_is_to_be_refused_is_and_leaves_nothing_behind(store: Store) -> None:
    _, second, first = wait_for(beside(store, alone(), "reject"))
    assert isinstance(second, SessionBusy)
    assert "another run is in progress" in str(second)
    assert first.turn.number == 1
    assert len(wait_for(store.runs(KEY))) == 1
    again = Runner(alone(), store=store, model=Quick(), busy="reject").run("two", session_id="s")
    assert again.turn.number == 2, "a session that is free refuses nobody"


def test_one_that_goes_on_beside_is_done_first_and_counts_first(store: Store) -> None:
    _, second, first = wait_for(beside(store, alone(), "fork"))
    assert isinstance(second, Run)
    assert (second.turn.number, first.turn.number) == (1, 2)
    assert [turn.input for turn in wait_for(store.turns(KEY))] == ["two", "one"]


def test_each_of_two_side_by_side_keeps_the_keys_that_it_sets(store: Store) -> None:
    def note(message: str) -> Result:
        return Result(message, session_state={message: True, "last": message})

    nodes = {"note": Python(call=note), "member": Member(needs="note")}
    wait_for(beside(store, Graph(name="g", model="m", nodes=nodes, output="member"), "fork"))
    head = wait_for(store.head(KEY))
    assert head is not None
    assert head.state == {"one": True, "two": True, "last": "one"}, "who is done last has it"


def test_one_that_runs_beside_another_sees_the_session_as_it_was(store: Store) -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(message: str) -> str:
        if message == "late":
            entered.set()
            await go.wait()
        return message

    nodes = {
        "slow": Python(call=slow),
        "history": HistoryLoader(runs=2, needs="slow"),
        "member": Member(needs="slow"),
    }
    graph = Graph(name="g", model="m", nodes=nodes, output="member")

    async def scenario() -> Held:
        quick, held = Runner(graph, store=store, model=Quick(), busy="fork"), Held()
        held.go.set()
        for number in range(3):
            await quick.arun(f"before {number}", session_id="s")
        late = Runner(graph, store=store, model=held).arun("late", session_id="s")
        task = asyncio.create_task(late)
        await entered.wait()
        await quick.arun("meanwhile", session_id="s")
        go.set()
        assert (await task).turn.number == 5
        return held

    words = words_of(wait_for(scenario()).requests[0])
    assert "meanwhile" not in words
    assert "before 1" in words
    assert "before 2" in words
    assert "before 0" not in words


def test_a_summary_that_does_not_know_of_the_turn_before_it_does_not_count(store: Store) -> None:
    nodes = {"member": Member(), "summary": Summarizer(needs="member")}
    graph = Graph(name="g", model="m", nodes=nodes)
    wait_for(beside(store, graph, "fork"))
    head = wait_for(store.head(KEY))
    assert head is not None
    assert head.turns == 2
    assert head.summary is not None
    assert (head.summary.text, head.summary.covers) == ("of the quick one", 1)
    model = Held()
    model.go.set()
    Runner(graph, store=store, model=model).run("three", session_id="s")
    summed = words_of(model.requests[-1])
    assert "of the quick one" in summed
    assert "one" in summed, "the turn that no summary knows is summed up with the next"


def test_an_unknown_policy_is_refused() -> None:
    wrong: Any = "wait"
    with pytest.raises(InputError, match="busy: 'wait' is unknown; take one of serialize, reject"):
        Runner(alone(), busy=wrong)


def test_one_that_is_resumed_is_refused_or_waits_likewise() -> None:
    store = MemoryStore()

    async def scenario() -> None:
        broken = Runner(Graph(name="g", nodes={"n": Python(call=_fail)}), store=store)
        with pytest.raises(Exception, match="failed"):
            await broken.arun("hi", session_id="s", run_id="r")
        held = Held()
        task = asyncio.create_task(
            Runner(alone(), store=store, model=held).arun("one", session_id="s")
        )
        await held.asked.wait()
        with pytest.raises(SessionBusy):
            await Runner(broken.graph, store=store, busy="reject").aresume("r")
        held.go.set()
        await task

    wait_for(scenario())


def _fail() -> str:
    raise ValueError


@pytest.mark.parametrize("busy", ["serialize", "fork"])
def test_threads_that_talk_at_once_lose_no_turn_and_no_key(store: Store, busy: Any) -> None:
    def note(message: str) -> Result:
        return Result(message, session_state={message: True})

    runner = Runner(Graph(name="g", nodes={"n": Python(call=note)}), store=store, busy=busy)
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda n: runner.run(f"m{n}", session_id="s"), range(16)))
    assert sorted(run.turn.number for run in runs) == list(range(1, 17))
    head = wait_for(store.head(KEY))
    assert head is not None
    assert set(head.state) == {f"m{n}" for n in range(16)}


def test_a_thread_is_refused_while_another_talks(store: Store) -> None:
    entered, go = ThreadEvent(), ThreadEvent()

    def wait(message: str) -> str:
        entered.set()
        go.wait(30)
        return message

    runner = Runner(Graph(name="g", nodes={"n": Python(call=wait)}), store=store, busy="reject")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(runner.run, "one", session_id="s")
        assert entered.wait(30)
        with pytest.raises(SessionBusy):
            runner.run("two", session_id="s")
        go.set()
        assert first.result(30).turn.number == 1


PROCESS = """
import sys
from teamgraph import Graph, Runner, TinyDBStore
from teamgraph.nodes import Python

def wait(message):
    print("entered", flush=True)
    sys.stdin.readline()
    return message

graph = Graph(name="g", nodes={"n": Python(call=wait)})
print(Runner(graph, store=TinyDBStore(sys.argv[1])).run("one", session_id="s").turn.number)
"""


@pytest.mark.parametrize("busy", ["reject", "fork"])
def test_another_process_is_refused_or_goes_on_beside(tmp_path: Path, busy: Any) -> None:
    store = TinyDBStore(tmp_path)
    graph = Graph(name="g", nodes={"n": Python(call=lambda message: message)})
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "entered\n"
        runner = Runner(graph, store=store, busy=busy)
        if busy == "reject":
            with pytest.raises(SessionBusy):
                runner.run("two", session_id="s")
        else:
            assert runner.run("two", session_id="s").turn.number == 1
        told, _ = other.communicate("go\n", timeout=60)
    assert told == ("1\n" if busy == "reject" else "2\n")
    wait_for(store.close())


def test_a_run_id_of_a_run_that_failed_is_not_used_for_another_message(store: Store) -> None:
    failing = Runner(alone(), model=ScriptedModel([]), store=store)
    with pytest.raises(NodeError):
        failing.run("first", session_id="s", run_id="r")
    runner = Runner(alone(), model=ScriptedModel("fine"), store=store)
    with pytest.raises(InputError, match=r"'r': it exists already \(failed\); resume it with"):
        runner.run("second", session_id="s", run_id="r")
    run = runner.resume("r", session_id="s")
    assert (run.input, run.answer, run.records["member"].attempt) == ("first", "fine", 2)


@pytest.mark.parametrize("what", ["run", "session", "user"])
@pytest.mark.parametrize("reuse_unchanged", [True, False])
def test_a_resume_that_waits_while_its_run_is_deleted_ends_in_not_found(
    store: Store, what: str, reuse_unchanged: bool
) -> None:
    with pytest.raises(NodeError):
        Runner(alone(), model=ScriptedModel([]), store=store).run(
            "words to forget", user_id="ann", session_id="s", run_id="r"
        )

    async def scenario() -> None:
        asked, go = asyncio.Event(), asyncio.Event()

        class Slow:
            async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
                asked.set()
                await go.wait()
                yield Reply("late")

        runner = Runner(alone(), model=Slow(), store=store)
        first = asyncio.create_task(runner.arun("first", user_id="ann", session_id="s"))
        await asked.wait()
        waiting = asyncio.create_task(
            runner.aresume("r", user_id="ann", reuse_unchanged=reuse_unchanged)
        )
        for _ in range(50):
            await asyncio.sleep(0)
        session = runner.session("s", user_id="ann")
        if what == "run":
            await session.adelete_run("r")
        elif what == "session":
            await session.adelete()
        else:
            await runner.adelete_user("ann")
        go.set()
        await asyncio.gather(first, return_exceptions=True)
        with pytest.raises(NotFound):
            await waiting
        assert await store.find("ann", "r") is None
        assert await store.search("ann", "forget", last=9) == []

    wait_for(scenario())
