"""What graphs inside nodes and tools use is counted and told, wherever they are."""

# ruff: noqa: ANN401  options of a graph, answers of a model

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from teamgraph import Graph, Reply, Request, Runner, ScriptedModel, ToolCall, Usage
from teamgraph.errors import ModelError
from teamgraph.events import ModelAnswered, RunFinished, Token
from teamgraph.kinds import Node
from teamgraph.nodes import Leader, Loop, Map, Member, SubGraph, Swarm
from tests.teams import heard, heard_again, holds_together, of


def helper(**options: Any) -> Graph:
    nodes: dict[str, Node] = {"finder": Member(), "writer": Leader(needs="finder")}
    return Graph(**({"name": "helper", "description": "helps", "nodes": nodes} | options))


def call(name: str, call_id: str, **arguments: str) -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=json.dumps(arguments))


INSIDE: dict[str, Node] = {
    "a graph": SubGraph(graph=helper()),
    "a graph in a graph": SubGraph(graph=helper(nodes={"deep": SubGraph(graph=helper())})),
    "a loop": Loop(graph=helper(), until="round.number == 2", max=3, stream="rounds"),
    "a map": Map(over="['a', 'b', 'c']", graph=helper()),
    "a swarm": Swarm(members={"desk": Member(hands_to="sales"), "sales": Member()}, start="desk"),
    "a tool": Member(tools=[helper()]),
    "a tool in a tool": Member(
        tools=[helper(nodes={"finder": Member(tools=[helper(name="deep helper")])})]
    ),
}


class Answering:
    """A model whose every answer costs something else; members with tools call each of them."""

    def __init__(self, failing_call: int = 0) -> None:
        self.calls = 0
        self._failing_call = failing_call

    def __call__(self, request: Request) -> Any:
        self.calls += 1
        if self.calls == self._failing_call:
            return ModelError("no", model="m")
        usage = Usage(10 * self.calls, self.calls, calls=1, cost=self.calls / 8)
        if request.tools and request.messages[-1].role != "tool":
            name = request.tools[0]["function"]["name"]
            argument = "reason" if name.startswith("transfer_to_") else "message"
            calls = (call(name, "1", **{argument: "so"}), call(name, "2", **{argument: "so"}))
            return Reply("", tool_calls=calls, usage=usage)
        return Reply(f"answer {self.calls}.", usage=usage)


def graph(node: Node) -> Graph:
    return Graph(name="g", model="m", nodes={"first": node, "end": Leader(needs="first")})


@pytest.mark.parametrize("what", INSIDE)
def test_what_a_graph_inside_uses_is_counted_once_and_each_call_is_told(what: str) -> None:
    model = Answering()
    events = heard(Runner(graph(INSIDE[what]), model=ScriptedModel(model)))
    holds_together(events)
    run = of(events, RunFinished)[0].run
    told = [event.usage for event in of(events, ModelAnswered)]
    assert len(told) == model.calls > 2
    assert sum(told[1:], told[0]) == run.usage
    assert sum((each.usage for each in run.records.values()), Usage()) == run.usage
    assert run.usage.calls == model.calls


def is_around(outer: str, node: str) -> bool:
    """Whether a path is this node, or that of one around it."""
    return node == outer or node.startswith((f"{outer}/", f"{outer}["))


@pytest.mark.parametrize("what", INSIDE)
def test_every_text_of_a_model_inside_is_told_as_tokens_of_its_node(what: str) -> None:
    """The answer of a graph inside a node is told as that node's."""
    events = heard(Runner(graph(INSIDE[what]), model=ScriptedModel(Answering())))
    tokens = defaultdict[str, str](str)
    for token in of(events, Token):
        tokens[token.node or ""] += token.text
    for event in of(events, ModelAnswered):
        told = [text for node, text in tokens.items() if is_around(node, event.node or "")]
        assert "".join(told).count(event.text) == 1 or not event.text, event.node


@pytest.mark.parametrize("what", INSIDE)
def test_a_resumed_run_counts_what_both_tries_have_used(what: str) -> None:
    whole = Answering()
    Runner(graph(INSIDE[what]), model=ScriptedModel(whole)).run("hello")
    model = Answering(failing_call=whole.calls)
    runner = Runner(graph(INSIDE[what]), model=ScriptedModel(model))
    first = heard(runner, session_id="s")
    assert type(first[-1]).__name__ == "RunFailed"
    second = heard_again(runner, first[0].run_id, session_id="s")
    run = of(second, RunFinished)[0].run
    told = [event.usage for event in of([*first, *second], ModelAnswered)]
    assert sum(told[1:], told[0]) == run.usage
    assert run.usage.calls == model.calls - 1 == whole.calls
