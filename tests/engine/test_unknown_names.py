"""Mistakes at the Python doors: what was meant is named, in the words of other frameworks too."""

# ruff: noqa: ANN401, E501  wrong calls are what this is about; a table reads better in lines
from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from teamgraph import Graph, Runner, TinyDBStore
from teamgraph.errors import InputError
from teamgraph.graphs import Agent
from teamgraph.nodes import Member

GRAPH: Any = Graph(name="g", model="echo", nodes={"a": Member()})
RUNNER: Any = Runner(GRAPH)
AGENT: Any = Agent(name="a", model="echo")
RUN: Any = RUNNER.run("hi")


@pytest.mark.parametrize(
    ("owner", "name", "told"),
    [
        (GRAPH, "run", "Graph has no 'run'; a graph is run by a Runner: Runner(graph).run('...')"),
        (GRAPH, "invoke", "Runner(graph).run('...')"),
        (GRAPH, "ainvoke", "Runner(graph).arun('...')"),
        (GRAPH, "astream", "Runner(graph).stream('...') yields events"),
        (GRAPH, "compile", "pass it to a Runner: Runner(graph)"),
        (GRAPH, "add_node", "pass all nodes to Graph(name=..., nodes={...})"),
        (GRAPH, "nods", "Graph has no 'nods'; did you mean 'nodes'?"),
        (RUNNER, "invoke", "Runner has no 'invoke'; use run"),
        (RUNNER, "kickoff", "use run"),
        (RUNNER, "sesion", "did you mean 'session'?"),
        (RUNNER, "_secret", "Runner has no '_secret'"),
        (RUN, "content", "Run has no 'content'; use answer"),
        (RUN, "raw", "use answer"),
        (RUN, "messages", "use records[node].exchanges"),
        (RUN, "metrics", "use usage"),
        (RUN, "anwser", "did you mean 'answer'?"),
    ],
)
def test_an_attribute_that_is_not_there_names_what_is_meant(
    owner: object, name: str, told: str
) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(owner, name)
    assert str(caught.value).endswith(told)
    assert not hasattr(owner, name)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: RUNNER.run("hi", session="s"), "Runner.run() has no argument 'session'; did you mean 'session_id'?"),
        (lambda: RUNNER.run("hi", thread_id="s"), "did you mean 'session_id'?"),
        (lambda: RUNNER.run(inputs="hi"), "did you mean 'message'?"),
        (lambda: RUNNER.run("hi", user_i="s"), "did you mean 'user_id'?"),
        (lambda: RUNNER.run("hi", config={}), "LangGraph's `thread_id` is session_id='...'"),
        (lambda: RUNNER.run("hi", stream=True), "call `stream`, or `astream` in async code, which yield events"),
        (lambda: RUNNER.run("hi", zzz=1), "it has message, user_id, session_id, state, run_id"),
        (lambda: RUNNER.run("hi", "s"), "Runner.run() takes these by name only: user_id=..., session_id=..., state=..., run_id=..."),
        (RUNNER.run, "Runner.run() needs 'message'; give it"),
        (lambda: list(RUNNER.stream("hi", session="s")), "Runner.stream() has no argument 'session'; did you mean 'session_id'?"),
        (RUNNER.resume, "Runner.resume() needs 'run_id'; give it"),
        (lambda: AGENT.run("hi", session="s"), "Agent.run() has no argument 'session'; did you mean 'session_id'?"),
        (lambda: Runner(GRAPH, db="x"), "Runner() has no argument 'db'; did you mean 'store'?"),  # type: ignore[call-arg]  # as others call it
        (lambda: Runner(GRAPH, config={}), "it has graph, store, model, busy, while_waiting, allow_api_base"),  # type: ignore[call-arg]  # as above
    ],
)  # fmt: skip
def test_an_argument_that_is_not_there_names_what_is_meant(call: Any, told: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value).endswith(told)
    assert "arun" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: RUNNER.run({"question": "x"}), "and other values as state={...}, which prompts read"),
        (lambda: RUNNER.run([{"role": "user"}]), "the turns before it are those of the session_id"),
        (lambda: RUNNER.run(5), "the message is a int, and only text can be sent; pass a text"),
        (lambda: Runner(5), "a Runner takes a Graph or the path of a graph file, not a int"),  # type: ignore[arg-type]  # wrong
        (lambda: Runner(AGENT), "not a Agent; call its own `run`, or pass its `.graph`"),
        (lambda: Runner(GRAPH, store=3), "store is a int; give a store, such as TinyDBStore('folder')"),  # type: ignore[arg-type]  # wrong
        (lambda: Runner(GRAPH, model=3), "model is 3; give a Model, or the id of one"),  # type: ignore[arg-type]  # wrong
    ],
)  # fmt: skip
def test_a_wrong_type_says_what_is_meant(call: Any, told: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert told in str(caught.value)


def test_a_type_error_of_anything_else_stays_as_it_is() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        Runner(GRAPH, allow_api_base=3)  # type: ignore[arg-type]  # wrong


def test_a_path_is_a_graph_or_a_store(tmp_path: Path) -> None:
    GRAPH.dump(tmp_path / "g.yaml")
    for file in (tmp_path / "g.yaml", str(tmp_path / "g.yaml")):
        runner = Runner(file, store=tmp_path / "store")
        assert runner.graph == GRAPH
        assert isinstance(runner.store, TinyDBStore)
    assert runner.run("hi", session_id="s").answer == "echo: hi"
    assert Runner(GRAPH, store=str(tmp_path / "store")).session("s").runs()


def test_a_graph_cannot_be_changed() -> None:
    changes: list[Any] = [
        lambda: GRAPH.nodes.__setitem__("b", Member()),
        lambda: GRAPH.nodes.update(b=Member()),
        lambda: GRAPH.nodes.pop("a"),
        GRAPH.nodes.clear,
    ]
    for change in changes:
        with pytest.raises(TypeError, match=r"a graph is immutable; make another one: Graph\("):
            change()
    with pytest.raises(AttributeError, match="'model' cannot be set; make another one") as caught:
        GRAPH.model = "x"
    assert "pydantic" not in str(caught.value)
    assert list(GRAPH.nodes) == ["a"]
    assert copy.deepcopy(GRAPH.nodes) == GRAPH.nodes
