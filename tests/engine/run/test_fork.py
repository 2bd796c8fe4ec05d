"""A run made again from one of its nodes on: what does not follow from it is taken over."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

from typing import Any

import pytest

from teamgraph import Graph, MemoryStore, Request, Runner, ScriptedModel, SessionKey, Store
from teamgraph.errors import InputError, ModelError, NodeError, NotFound
from teamgraph.events import NodeFinished
from teamgraph.kinds import Node, Result
from teamgraph.nodes import HistoryLoader, Member, Python, Router, SubGraph, Summarizer
from tests.teams import desk, desk_model, holds_together, of, wait_for, words_of

ANN: dict[str, Any] = {"user_id": "ann", "session_id": "s"}


def talked(store: Store, turns: int = 3) -> Runner:
    runner = Runner(desk(), store=store, model=desk_model())
    for number in range(1, turns + 1):
        runner.run(f"message {number}", run_id=f"r{number}", **ANN)
    return runner


def inputs(runner: Runner, session_id: str) -> list[str]:
    return [turn.input for turn in runner.session(session_id, user_id="ann").history()]


def test_it_reuses_what_came_before_the_node_and_makes_the_rest_anew(store: Store) -> None:
    talked(store)
    model = desk_model(said="Salut", summary={"summary": "anew", "topics": []})
    runner = Runner(desk(), store=store, model=model)
    run = runner.fork("r2", node="french", user_id="ann")
    assert (run.answer, run.input, run.turn.forked_from) == ("Salut", "message 2", "r2")
    assert (run.user_id, run.turn.number) == ("ann", 2)
    assert run.run_id not in ("r1", "r2", "r3")
    assert len(model.requests) == 2, "the member and the summary; the router is not asked again"
    assert inputs(runner, run.session_id) == ["message 1", "message 2"]
    assert inputs(runner, "s") == ["message 1", "message 2", "message 3"]
    kept = runner.session("s", user_id="ann").run("r2")
    assert kept.answer == "Bonjour mon ami", "the old run is as it was"


def test_what_was_spent_on_the_old_run_is_not_spent_again(store: Store) -> None:
    talked(store)
    runner = Runner(desk(), store=store, model=desk_model())
    run = runner.fork("r2", node="french", user_id="ann")
    assert run.usage.calls == 2
    assert run.records["router"].usage.calls == 0
    assert run.records["router"].exchanges, "how the choice was made can still be seen"
    kept = runner.session(run.session_id, user_id="ann").run(run.run_id)
    assert kept.records["router"].usage.calls == 0


def test_the_new_session_stands_as_the_old_one_stood_then(store: Store) -> None:
    def count(state: Any, session_state: Any, message: str) -> Result:
        return Result(message, state={"n": state.get("n", 0) + 1}, session_state={message: True})

    nodes = {"count": Python(call=count), "end": Python(call=lambda count: count)}
    graph = Graph(name="g", nodes=nodes, output="end")
    runner = Runner(graph, store=store)
    for name in ("one", "two", "three"):
        runner.run(name, run_id=name, state={f"given {name}": 1}, **ANN)
    run = runner.fork("two", node="end", user_id="ann", into="fork")
    session = runner.session("fork", user_id="ann")
    assert session.state() == {"given one": 1, "one": True, "given two": 1, "two": True}
    assert session.get_head().node_states == {"count": {"n": 2}}
    assert run.session_id == "fork"
    again = runner.run("four", user_id="ann", session_id="fork")
    assert again.turn.number == 3


def test_history_and_summary_of_the_new_session_are_those_of_then(store: Store) -> None:
    runner = talked(store, 4)
    model = desk_model()
    forked = Runner(desk(), store=store, model=model).fork("r4", node="router", user_id="ann")
    (asked,) = [request for request in model.requests if request.choices]
    assert "message 2" in words_of(asked)
    assert "message 3" in words_of(asked)
    summary = runner.session(forked.session_id, user_id="ann").summary()
    assert summary is not None
    assert summary.covers == 4


def test_turns_keep_their_numbers_where_one_was_deleted(store: Store) -> None:
    runner = talked(store, 4)
    runner.session("s", user_id="ann").delete_run("r2")
    model = desk_model()
    run = Runner(desk(), store=store, model=model).fork("r4", node="router", user_id="ann")
    session = runner.session(run.session_id, user_id="ann")
    assert [turn.number for turn in session.history()] == [1, 3, 4]
    assert [turn.run_id for turn in session.history()[:2]] == ["r1", "r3"]
    assert len(session.runs()) == 3
    (asked,) = [request for request in model.requests if request.choices]
    assert "message 3" in words_of(asked), "the history that was taken over is loaded as it was"


def test_another_message_reaches_every_node_that_may_have_read_the_old_one(store: Store) -> None:
    talked(store)
    model = desk_model(route="english", said="Hello")
    runner = Runner(desk(), store=store, model=model)
    events = list(runner.fork_stream("r2", message="in English", user_id="ann"))
    holds_together(events)
    replayed = [event.node for event in of(events, NodeFinished) if event.replayed]
    assert replayed == ["history"]
    assert "in English" in words_of(model.requests[0])
    assert all("message 2" not in words_of(request) for request in model.requests)
    run = events[-1].run  # type: ignore[union-attr]  the last event has one
    assert (run.input, run.answer, run.records["french"].status) == (
        "in English",
        "Hello",
        "skipped",
    )


def test_a_loader_with_a_condition_may_have_read_the_message_too() -> None:
    store = MemoryStore()
    nodes = {
        "history": HistoryLoader(when="input.message != 'no'"),
        "member": Member(prompt="{{ history.output if history is defined }}{{ input.message }}\n"),
    }
    graph = Graph(name="g", model="m", nodes=nodes)
    runner = Runner(graph, store=store, model=ScriptedModel(lambda _: "said"))
    runner.run("yes", run_id="r")
    run = runner.fork("r", message="no")
    assert run.records["history"].status == "skipped"


def test_a_run_that_failed_is_forked_from_the_turns_it_had_before_it(store: Store) -> None:
    talked(store, 1)
    down = Runner(desk(), store=store, model=desk_model(said=ModelError("down", model="m")))
    with pytest.raises(NodeError):
        down.run("broken", run_id="bad", **ANN)
    runner = Runner(desk(), store=store, model=desk_model())
    runner.run("later", run_id="later", **ANN)
    run = runner.fork("bad", node="french", user_id="ann")
    assert inputs(runner, run.session_id) == ["message 1", "broken"]
    empty = Runner(desk(), store=store, model=desk_model(said=ModelError("down", model="m")))
    with pytest.raises(NodeError):
        empty.run("first", run_id="first", user_id="ann", session_id="t")
    fresh = runner.fork("first", node="french", user_id="ann")
    assert fresh.turn.number == 1
    for number in range(120):
        runner.run(f"{number}", user_id="ann", session_id="t")
    assert runner.fork("first", node="french", user_id="ann").turn.number == 1


def test_what_the_graph_declares_in_another_way_now_is_made_anew() -> None:
    store = MemoryStore()
    talked(store, 1)
    nodes: dict[str, Any] = dict(desk().nodes)
    router = Router(routes={"english": "English only", "french": "French"})
    model = desk_model()
    Runner(desk(nodes={**nodes, "router": router}), store=store, model=model).fork(
        "r1", node="summary", user_id="ann"
    )
    assert len(model.requests) == 3


def test_a_node_inside_a_graph_can_be_named_by_its_path() -> None:
    ran: list[str] = []

    def node(name: str, *needs: str) -> Python:
        return Python(call=lambda: ran.append(name) or name, needs=needs)

    inner = Graph(name="i", nodes={"a": node("a"), "b": node("b", "a")}, output="b")
    nodes = {"before": node("before"), "team": SubGraph(graph=inner, needs="before")}
    runner = Runner(Graph(name="g", nodes={**nodes, "end": node("end", "team")}, output="end"))
    runner.run("hello", run_id="r")
    ran.clear()
    runner.fork("r", node="team/b")
    assert ran == ["b", "end"]
    ran.clear()
    runner.fork("r", node="team")
    assert ran == ["a", "b", "end"]


def test_a_fork_that_failed_can_be_resumed(store: Store) -> None:
    talked(store, 2)
    down = Runner(desk(), store=store, model=desk_model(said=ModelError("down", model="m")))
    with pytest.raises(NodeError) as caught:
        down.fork("r2", node="french", user_id="ann")
    failed = caught.value.run
    assert failed is not None
    model = desk_model()
    run = Runner(desk(), store=store, model=model).resume(failed.run_id, user_id="ann")
    assert (run.status, run.turn.forked_from, len(model.requests)) == ("done", "r2", 2)


def test_what_cannot_be_forked_is_refused_in_words() -> None:
    store = MemoryStore()
    runner = talked(store, 1)
    with pytest.raises(InputError, match="name the node to fork from"):
        runner.fork("r1", user_id="ann")
    with pytest.raises(InputError, match="no node 'frensh' to fork from; did you mean 'french'"):
        runner.fork("r1", node="frensh", user_id="ann")
    with pytest.raises(InputError, match="no node 'zzz' to fork from; it has history, router"):
        runner.fork("r1", node="zzz", user_id="ann")
    with pytest.raises(InputError, match="session 's' exists already"):
        runner.fork("r1", node="french", user_id="ann", into="s")
    with pytest.raises(InputError, match="the message is empty"):
        runner.fork("r1", message=" ", user_id="ann")
    with pytest.raises(InputError, match="into is empty"):
        runner.fork("r1", node="french", user_id="ann", into="")
    for whose in (None, "bob"):
        with pytest.raises(NotFound):
            runner.fork("r1", node="french", user_id=whose)
    assert [info.key.session_id for info in runner.sessions("ann")] == ["s"]


def test_a_summary_of_every_few_turns_is_copied_where_it_was_written(store: Store) -> None:
    nodes = {"member": Member(), "summary": Summarizer(needs="member", every=2)}
    graph = Graph(name="g", model="m", nodes=nodes)

    def answer(request: Request) -> object:
        return {"summary": "short", "topics": []} if request.schema else "said"

    runner = Runner(graph, store=store, model=ScriptedModel(answer))
    for number in range(1, 5):
        runner.run(f"{number}", run_id=f"r{number}", **ANN)
    run = runner.fork("r4", node="member", user_id="ann")
    key = SessionKey("ann", run.session_id)
    covered = [wait_for(store.summary(key, until=number)) for number in (1, 2, 3, 4)]
    assert [each and each.covers for each in covered] == [None, 2, 2, 4]


def test_earlier_turns_may_have_nodes_that_the_graph_no_longer_has() -> None:
    store = MemoryStore()

    def runner(**more: Node) -> Runner:
        inner = Graph(name="inner", nodes={"x": Python(call=lambda: "x")})
        nodes = {"inside": SubGraph(graph=inner), **more}
        return Runner(Graph(name="g", nodes=nodes, output="inside"), store=store)

    runner(gone=Python(call=lambda: "y")).run("one", run_id="r1", **ANN)
    runner().run("two", run_id="r2", **ANN)
    runner().fork("r2", node="inside", user_id="ann", into="fork")
    assert inputs(runner(), "fork") == ["one", "two"]
    copied, _ = runner().session("fork", user_id="ann").history()
    run = runner().session("fork", user_id="ann").run(copied.run_id)
    assert run is not None
    assert [*run.records] == ["inside", "inside/x", "gone"]
