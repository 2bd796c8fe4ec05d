"""A run that was cut short is taken up where it stopped: nothing twice, nothing lost."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import pytest

from teamgraph import (
    Graph,
    MemoryStore,
    Record,
    Request,
    Retry,
    Runner,
    ScriptedModel,
    SessionKey,
    Store,
    Timeout,
    TinyDBStore,
    Turn,
)
from teamgraph.engine.run.prepared import prepare
from teamgraph.errors import BudgetExceeded, Changed, InputError, ModelError, NodeError, NotFound
from teamgraph.events import NodeFinished, NodeSkipped, RunStarted
from teamgraph.kinds import Node, Result
from teamgraph.nodes import Member, Python, Summarizer
from tests.teams import (
    alone,
    desk,
    desk_model,
    heard_again,
    holds_together,
    of,
    shout,
    timeless,
    wait_for,
)

ROOT = Path(__file__).parents[3]
KEY = SessionKey("ann", "s")
POINTS = [
    (method, number, when)
    for method, calls in (("put", 4), ("finish", 1), ("put_prompt", 3))
    for number in range(1, calls + 1)
    for when in ("before", "after")
]


class Crash(BaseException):
    """The process is gone: nobody is to catch this."""


class Crashing:
    """A store that crashes at the `number`-th call of a method, before or after it was done."""

    def __init__(self, store: Store, method: str, number: int, when: str) -> None:
        self._store, self._method, self._left, self._when = store, method, number, when

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name != self._method:
            return method

        async def counted(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if not self._left and self._when == "before":
                raise Crash
            result = await method(*args, **options)
            if not self._left:
                raise Crash
            return result

        return counted


def finished(store: Store, run_id: str) -> Mapping[str, Record]:
    run = wait_for(store.run(KEY, run_id))
    return {} if run is None else {n: r for n, r in run.records.items() if r.is_final}


@pytest.mark.parametrize(("method", "number", "when"), POINTS)
def test_a_crash_at_any_point_loses_nothing_and_runs_nothing_twice(
    store: Store, method: str, number: int, when: str
) -> None:
    whole = Runner(desk(), model=desk_model(), store=MemoryStore())
    ids: dict[str, Any] = {"user_id": "ann", "session_id": "s"}
    for runner in (whole, Runner(desk(), model=desk_model(), store=store)):
        runner.run("hello", run_id="r1", **ids)
    expected = whole.run("again", run_id="r2", **ids)

    with pytest.raises(Crash):
        Runner(desk(), model=desk_model(), store=Crashing(store, method, number, when)).run(
            "again", run_id="r2", **ids
        )
    kept = finished(store, "r2")
    if (method, when) == ("finish", "after"):
        with pytest.raises(InputError, match="nothing to resume"):
            Runner(desk(), model=desk_model(), store=store).resume("r2", **ids)
        return
    model = desk_model()
    run = Runner(desk(), model=model, store=store).resume("r2", **ids)
    assert timeless(run) == timeless(expected)
    assert (run.answer, run.usage, run.turn.number) == (expected.answer, expected.usage, 2)
    asking = {"router", "french", "summary"} - set(kept)
    assert len(model.requests) == len(asking)
    head = wait_for(store.head(KEY))
    assert head is not None
    assert head.turns == 2
    assert head.summary is not None
    assert head.summary.covers == 2, "a summary that was written before the crash counts"
    again = wait_for(store.run(KEY, "r2"))
    assert again is not None
    assert timeless(again) == timeless(expected)


def test_what_was_done_before_is_told_as_replayed() -> None:
    store = MemoryStore()
    broken = desk_model(said=ModelError("down", model="m"))
    with pytest.raises(NodeError) as caught:
        Runner(desk(), model=broken, store=store).run("hello", session_id="s")
    assert caught.value.run is not None
    runner = Runner(desk(), model=desk_model(), store=store)
    events = heard_again(runner, caught.value.run.run_id)
    holds_together(events)
    assert of(events, RunStarted)[0].resumed
    replayed = {
        event.node: event.replayed
        for event in of(events, NodeFinished) + of(events, NodeSkipped)  # type: ignore[operator]  two kinds of events
    }
    assert replayed == {
        "history": True,
        "router": True,
        "english": True,
        "french": False,
        "summary": False,
    }


def test_an_answer_that_was_kept_is_told_again() -> None:
    store = MemoryStore()
    crashing: Any = Crashing(store, "finish", 1, "before")
    with pytest.raises(Crash):
        Runner(desk(), model=desk_model(), store=crashing).run("hello", run_id="r")
    events = heard_again(Runner(desk(), model=desk_model(), store=store), "r")
    holds_together(events)


def test_attempts_count_on_and_what_they_cost_is_not_forgotten() -> None:
    store = MemoryStore()
    down = ScriptedModel([{"lang": 1}, {"lang": 2}])
    nodes = {"member": Member(returns={"lang": "str"}, retry=Retry(times=1, wait=0.001), repair=0)}
    graph = Graph(name="g", model="m", nodes=nodes)
    with pytest.raises(NodeError) as caught:
        Runner(graph, model=down, store=store).run("hello", run_id="r")
    assert caught.value.run is not None
    assert caught.value.run.usage.calls == 2
    run = Runner(graph, model=ScriptedModel([{"lang": "fr"}]), store=store).resume("r")
    assert run.usage.calls == 3
    assert run.records["member"].attempt == 3
    assert (run.status, run.turn.error) == ("done", None)


def test_a_summary_of_a_turn_that_is_not_the_next_any_more_is_left_out() -> None:
    store = MemoryStore()
    graph = desk()
    crashing: Any = Crashing(store, "finish", 1, "before")
    ids: dict[str, Any] = {"user_id": "ann", "session_id": "s"}
    with pytest.raises(Crash):
        Runner(graph, model=desk_model(), store=crashing).run("late", run_id="late", **ids)
    Runner(graph, model=desk_model(summary={"summary": "of one", "topics": []}), store=store).run(
        "hello", **ids
    )
    run = Runner(graph, model=desk_model(), store=store).resume("late", **ids)
    assert run.turn.number == 2
    head = wait_for(store.head(KEY))
    assert head is not None
    assert head.summary is not None
    assert (head.summary.text, head.summary.covers) == ("of one", 1)


def test_a_changed_graph_is_refused_and_says_what_changed() -> None:
    store = MemoryStore()
    broken = desk_model(said=ModelError("down", model="m"))
    with pytest.raises(NodeError):
        Runner(desk(), model=broken, store=store).run("hello", run_id="r")
    nodes: dict[str, Any] = dict(desk().nodes)
    changed = nodes | {"english": Member(role="You speak Welsh")}
    with pytest.raises(Changed) as caught:
        Runner(desk(nodes=changed), model=desk_model(), store=store).resume("r")
    told = """node 'english': role: "You speak English" -> "You speak Welsh\""""
    assert caught.value.differences == (told,)
    assert "reuse_unchanged" in str(caught.value)
    assert caught.value.run is not None
    without = {node_id: node for node_id, node in nodes.items() if node_id != "history"}
    with pytest.raises(Changed, match="node 'history': the graph no longer has it"):
        Runner(desk(nodes=without), model=desk_model(), store=store).resume("r")
    unfinished = nodes | {"french": Member(role="You speak Breton")}
    run = Runner(desk(nodes=unfinished), model=desk_model(), store=store).resume("r")
    assert run.status == "done", "a node that has not run may be mended"


@pytest.mark.parametrize("user_id", [None, "bob", "ann"])
@pytest.mark.parametrize("session_id", [None, "s", "other"])
def test_a_run_of_somebody_else_looks_exactly_like_none(
    store: Store, user_id: str | None, session_id: str | None
) -> None:
    runner = Runner(desk(), model=desk_model(said=ModelError("down", model="m")), store=store)
    with pytest.raises(NodeError):
        runner.run("hello", user_id="ann", session_id="s", run_id="r")
    ids: dict[str, Any] = {"user_id": user_id, "session_id": session_id}
    with pytest.raises(NotFound) as unknown:
        runner.resume("nowhere", **ids)
    fixed = Runner(desk(), model=desk_model(), store=store)
    if user_id == "ann" and session_id != "other":
        assert fixed.resume("r", **ids).status == "done"
        with pytest.raises(InputError, match="run 'r' is done"):
            fixed.resume("r", **ids)
    else:
        with pytest.raises(NotFound) as hidden:
            fixed.resume("r", **ids)
        assert str(hidden.value) == str(unknown.value).replace("nowhere", "r")


@pytest.mark.parametrize("name", ["run_id", "user_id", "session_id"])
def test_empty_ids_are_refused(name: str) -> None:
    ids = {"run_id": "r", "user_id": "ann", "session_id": "s"} | {name: ""}
    with pytest.raises(InputError, match=f"{name} is empty"):
        Runner(desk(), model=desk_model()).resume(**ids)


def test_two_that_resume_one_run_at_once_do_it_once() -> None:
    store = MemoryStore()
    broken = desk_model(said=ModelError("down", model="m"))
    with pytest.raises(NodeError):
        Runner(desk(), model=broken, store=store).run("hello", run_id="r")
    model = desk_model()
    runner = Runner(desk(), model=model, store=store)

    async def both() -> Sequence[Any]:
        return await asyncio.gather(
            runner.aresume("r"), runner.aresume("r"), return_exceptions=True
        )

    first, second = wait_for(both())
    assert first.status == "done"
    assert isinstance(second, InputError)
    assert len(model.requests) == 2


def test_one_that_waited_goes_on_from_where_the_other_stopped() -> None:
    store = MemoryStore()
    ran: list[str] = []
    failing = {"two", "three"}

    def node(name: str, needs: str | None = None) -> Node:
        def call() -> str:
            ran.append(name)
            if name in failing:
                failing.remove(name)
                raise ValueError(name)
            return name

        return Python(call=call, needs=needs or ())

    nodes = {"one": node("one"), "two": node("two", "one"), "three": node("three", "two")}
    runner = Runner(Graph(name="g", nodes=nodes, output="three"), store=store)
    with pytest.raises(NodeError):
        runner.run("hello", run_id="r")

    async def both() -> Sequence[Any]:
        return await asyncio.gather(
            runner.aresume("r"), runner.aresume("r"), return_exceptions=True
        )

    first, second = wait_for(both())
    assert isinstance(first, NodeError)
    assert second.status == "done"
    assert ran == ["one", "two", "two", "three", "three"]


def test_session_state_and_node_state_of_finished_nodes_count_after_a_resume() -> None:
    store = MemoryStore()
    fails = True

    def second(session_state: Any) -> Any:
        if fails:
            raise ValueError
        return session_state

    nodes = {
        "one": Python(call=lambda: Result("1", state={"n": 1}, session_state={"by": "one"})),
        "two": Python(call=second, needs="one"),
    }
    runner = Runner(Graph(name="g", nodes=nodes, output="two"), store=store)
    with pytest.raises(NodeError):
        runner.run("hello", session_id="s", run_id="r", state={"given": True})
    head = wait_for(store.head(SessionKey(None, "s")))
    assert head is None or not (head.state or head.node_states)
    fails = False
    run = runner.resume("r", session_id="s")
    assert run.records["two"].output == {"given": True, "by": "one"}
    head = wait_for(store.head(SessionKey(None, "s")))
    assert head is not None
    assert head.state == {"given": True, "by": "one"}
    assert head.node_states == {"one": {"n": 1}}


KILLED = """
import os, signal, sys
from teamgraph import Graph, Runner, TinyDBStore
from tests.engine.run.test_resume import killed_graph
from tests.teams import desk_model
model, calls = desk_model(), 0
answer = model._answer
def dying(request):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return answer(request)
model._answer = dying
Runner(killed_graph(), model=model, store=TinyDBStore(sys.argv[1])).run(
    "hello", user_id="ann", session_id="s", run_id="r"
)
"""


def killed_graph() -> Graph:
    graph = desk()
    nodes: dict[str, Any] = {
        **graph.nodes,
        "english": Python(call=shout),
        "loud": Python(call=shout),
        "french": Member(
            needs="loud", model={"id": "m", "temperature": 0.5}, timeout=Timeout(total=9)
        ),
    }
    return desk(nodes=nodes)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_killed_process_leaves_a_run_that_another_process_finishes(
    tmp_path: Path, call: int
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(call)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert killed.returncode == -9, killed.stderr
    store, model = TinyDBStore(tmp_path), desk_model()
    kept = finished(store, "r")
    assert "history" in kept
    assert "loud" in kept or call == 1  # it runs in a thread while the router asks
    run = Runner(killed_graph(), model=model, store=store).resume("r", user_id="ann")
    assert run.status == "done"
    assert run.answer == "Bonjour mon ami"
    assert len(model.requests) == 4 - call
    wait_for(store.close())


class Verdict(TypedDict):
    ok: bool


class Opinion(TypedDict):
    ok: bool


def test_a_fingerprint_says_the_same_in_every_process_and_differs_for_what_matters() -> None:
    class Chosen(Node):
        prompts = False
        words: frozenset[str] = frozenset()
        thing: object = None

        async def run(self, context: object) -> Result:
            return Result("")

    def prints(node: Node, model: str = "m") -> str:
        graph = Graph(name="g", model=model, nodes={"it": node})
        return prepare(graph, ScriptedModel("x")).fingerprints["it"]

    many = [f"w{n}" for n in range(30)]
    assert prints(Chosen(words=frozenset(many))) == prints(Chosen(words=frozenset(many[::-1])))
    assert prints(Python(call=shout)) == prints(Python(call=shout))
    others = [
        Python(call=lambda message: message),
        Python(call=shout, params={"a": [1, {"b": None}]}),
        Chosen(words=frozenset(many[1:])),
        Chosen(thing=Result),
        Chosen(thing=1.5),
        Member(returns=list[Verdict]),
        Member(returns=list[Opinion]),
        Member(),
        Member(role="x"),
        Member(prompt="Hello\n"),
        Member(model={"id": "m", "temperature": 0.1}),
        Member(model={"id": "m", "fallback": ["n"]}),
        Member(retry=Retry(times=1)),
    ]
    assert len({prints(node) for node in others}) == len(others)
    assert prints(Member(), "m") != prints(Member(), "n")


def test_a_turn_that_is_taken_up_is_running_again() -> None:
    store = MemoryStore()
    broken = desk_model(said=ModelError("down", model="m"))
    with pytest.raises(NodeError):
        Runner(desk(), model=broken, store=store).run("hello", run_id="r", session_id="s")
    seen: list[Turn] = []

    def look(request: Request) -> str:
        seen.extend(wait_for_in_thread(store))
        return "text"

    def wait_for_in_thread(store: Store) -> list[Turn]:
        turns: list[Turn] = []

        async def ask() -> None:
            turns.extend(await store.runs(SessionKey(None, "s")))

        coroutine = ask()
        with pytest.raises(StopIteration):
            coroutine.send(None)  # the store in memory never waits
        return turns

    nodes: dict[str, Any] = dict(desk().nodes) | {"summary": Summarizer(needs="french")}
    model = ScriptedModel(look)
    Runner(desk(nodes=nodes), model=model, store=store).resume("r", session_id="s")
    assert {(turn.status, turn.error) for turn in seen} == {("running", None)}


def test_what_every_try_of_a_run_used_counts_for_it() -> None:
    runner = Runner(alone(), model=ScriptedModel(["", "", "at last"]))
    with pytest.raises(NodeError):
        runner.run("hi", session_id="s", run_id="r")
    with pytest.raises(NodeError):
        runner.resume("r", session_id="s")
    run = runner.resume("r", session_id="s")
    assert (run.answer, run.usage.calls) == ("at last", 3)


def test_a_budget_is_not_given_anew_to_each_try_of_a_run() -> None:
    runner = Runner(alone(budget={"calls": 2}), model=ScriptedModel(["", "", "too late"]))
    with pytest.raises(NodeError):
        runner.run("hi", session_id="s", run_id="r")
    with pytest.raises(NodeError):
        runner.resume("r", session_id="s")
    with pytest.raises(BudgetExceeded, match="used 2 calls, and its budget is 2"):
        runner.resume("r", session_id="s")
