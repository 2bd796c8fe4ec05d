"""Which model calls are streamed: those whose text a listener shows while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from teamgraph import AnyModel, Chunk, Graph, Reply, Request, Runner, ScriptedModel, Timeout
from teamgraph.errors import ModelError, NodeError
from teamgraph.events import Token
from teamgraph.nodes import Leader, Member, SubGraph
from tests.teams import desk, desk_model, heard, holds_together, of, told


def streamed(model: ScriptedModel) -> list[bool]:
    return [request.stream for request in model.requests]


def team() -> Graph:
    nodes = {"a": Member(), "b": Member(returns={"x": "str"}), "leader": Leader(needs=["a", "b"])}
    return Graph(name="team", nodes=nodes, output="leader")


def team_model() -> ScriptedModel:
    return ScriptedModel(lambda request: {"x": "y"} if request.schema else "one two")


def test_without_a_listener_none_is() -> None:
    model = desk_model()
    Runner(desk(), model=model).run("hello")
    assert streamed(model) == [False] * 3


def test_with_one_only_the_answer_is() -> None:
    model = desk_model()
    events = heard(Runner(desk(), model=model))
    assert streamed(model) == [False, True, False], "router, member, summary"
    holds_together(events)
    model = team_model()
    events = heard(Runner(team(), model=model))
    assert streamed(model) == [False, False, True]
    holds_together(events)


def test_with_one_that_shows_no_tokens_none_is() -> None:
    model = desk_model()
    events = heard(Runner(desk(), model=model), tokens=False)
    assert streamed(model) == [False] * 3
    assert not of(events, Token)


def test_an_idle_timeout_needs_signs_of_life() -> None:
    model = desk_model()
    Runner(desk(timeout=Timeout(idle=5)), model=model).run("hello")
    assert streamed(model) == [True] * 3


def inside(needs_answer: bool) -> Graph:
    inner = Graph(name="inner", nodes={"member": Member()})
    nodes = {"inner": SubGraph(graph=inner), "last": Leader(needs="inner")}
    return Graph(name="outer", nodes=nodes, output="inner" if needs_answer else "last")


@pytest.mark.parametrize("is_answer", [True, False])
def test_an_inner_graph_is_streamed_if_its_node_answers(is_answer: bool) -> None:
    model = ScriptedModel("one two")
    events = heard(Runner(inside(is_answer), model=model))
    assert streamed(model)[0] is is_answer
    assert told(events) == "one two"
    holds_together(events)


class WholeModel:
    """Answers without chunks."""

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        yield Reply("one two")


def test_what_comes_whole_is_one_token_and_of_an_answer_part_of_it() -> None:
    graph = Graph(name="t", nodes={"a": Member(), "b": Leader(needs="a")}, output="b")
    events = heard(Runner(graph, model=WholeModel()))
    holds_together(events)
    tokens = [(event.node, event.text, event.answer) for event in of(events, Token)]
    assert tokens == [("a", "one two", False), ("b", "one two", True)]


class SlowToBegin(ScriptedModel):
    """Takes longer to warm up than an attempt may."""

    def __init__(self) -> None:
        super().__init__("hello")
        self.warmed: list[str] = []

    async def warm_up(self, model_id: str) -> None:
        self.warmed.append(model_id)
        if model_id == "own/missing":
            raise ModelError("it is not there", model=model_id)
        if len(self.warmed) == 1:
            ready = asyncio.Event()
            asyncio.get_running_loop().call_later(0.1, ready.set)
            await ready.wait()


@pytest.mark.parametrize("within", [False, True])
def test_what_a_model_does_once_is_no_part_of_an_attempts_time(within: bool) -> None:
    model = SlowToBegin()
    graph = Graph(name="t", model="own/slow", timeout=0.05, nodes={"member": Member()})
    if within:
        nodes = {"inner": SubGraph(graph=graph.model_copy(update={"timeout": None}))}
        graph = Graph(name="outer", timeout=0.05, nodes=nodes)
    own = AnyModel({"own/slow": model, "own/quick": ScriptedModel("x")})
    assert Runner(graph, model=own).run("hi").answer == "hello"
    assert set(model.warmed) == {"own/slow"}
    assert Runner(graph.model_copy(), model=AnyModel({"own/slow": model}, others=model)).run("hi")


def test_a_model_that_cannot_warm_up_is_one_that_failed() -> None:
    own = AnyModel({"own/missing": SlowToBegin()})
    graph = Graph(name="t", model="own/missing", nodes={"member": Member()})
    with pytest.raises(NodeError, match="it is not there"):
        Runner(graph, model=own).run("hi")
    nodes = {"inner": SubGraph(graph=graph)}
    with pytest.raises(NodeError, match="node 'member' failed: it is not there"):
        Runner(Graph(name="outer", nodes=nodes), model=own).run("hi")
