"""Large graphs: loading is linear, and graphs inside graphs go as deep as a run can."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from teamgraph import EchoModel, Graph, Runner
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Node
from teamgraph.nodes import Member, Python, Router, SubGraph

DEPTH = 32


def answer(message: str) -> str:
    return message


def members(count: int) -> Mapping[str, Node]:
    return {f"n{index}": Member(needs=[f"n{index - 1}"] * bool(index)) for index in range(count)}


def functions(count: int) -> Mapping[str, Node]:
    return {f"n{i}": Python(call=answer, needs=[f"n{i - 1}"] * bool(i)) for i in range(count)}


def routers(count: int) -> Mapping[str, Node]:
    """One after the other, each with two members."""
    nodes: dict[str, Node] = {"n": Member()}
    for index in range(count):
        before = [f"left{index - 1}", f"right{index - 1}"] if index else []
        routes = {f"left{index}": "left", f"right{index}": "right"}
        nodes |= {f"router{index}": Router(routes=routes, needs=before)}
        nodes |= {f"left{index}": Member(), f"right{index}": Member()}
    return nodes


def branches(count: int) -> Mapping[str, Node]:
    """One router with many routes, and members that read what may have been skipped."""
    nodes: dict[str, Node] = {
        "n": Member(),
        "router": Router(routes={f"n{index}": "a topic" for index in range(count)}),
        **{f"n{index}": Member() for index in range(count)},
    }
    prompt = "{{% user %}}{{{{ n{}.output }}}}{{% enduser %}}\n"
    for index in range(count):
        nodes[f"reader{index}"] = Member(needs=[f"n{index}"], prompt=prompt.format(index))
    return nodes


def conditions(count: int) -> Mapping[str, Node]:
    return {f"n{i}": Member(when=f"n{i - 1} is defined" if i else None) for i in range(count)}


def misspelt(count: int) -> Mapping[str, Node]:
    """Beside so many others that the names are compared in the fast way."""
    others = {f"other{index}": Member() for index in range(200)}
    return {**others, **{f"n{index}": Member(needs=[f"m{index}"]) for index in range(count)}}


def fan(count: int) -> Mapping[str, Node]:
    many = {f"n{index}": Member(needs=["n"]) for index in range(count)}
    return {"n": Member(), **many, "join": Member(needs=list(many))}


def calls_of(build: Callable[[int], Mapping[str, Node]], count: int) -> int:
    """How many functions are called while the graph is made; an invalid one too."""
    nodes, calls = build(count), 0

    def note(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(note)
    try:
        Graph(name="large", model="m", nodes=nodes, output=list(nodes)[-1:])
    except DefinitionError:
        pass
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    "build", [members, functions, routers, branches, conditions, misspelt, fan]
)
def test_each_further_node_takes_as_many_calls_as_those_before(
    build: Callable[[int], Mapping[str, Node]],
) -> None:
    calls_of(build, 1)  # what is loaded or worked out once
    few, more, most = (calls_of(build, count) for count in (40, 80, 120))
    assert most - more <= 1.1 * (more - few)


def nested(depth: int) -> Graph:
    graph = Graph(name="inmost", nodes={"answer": Member()})
    for _ in range(depth - 1):
        graph = Graph(name="outer", nodes={"inner": SubGraph(graph=graph)})
    return graph


def test_graphs_as_deep_as_allowed_are_run_and_rendered() -> None:
    graph = nested(DEPTH)
    assert Runner(graph, model=EchoModel()).run("hello").answer == "echo: hello"
    assert "/".join([*["inner"] * (DEPTH - 1), "answer"]) in graph.render("hello")


def test_deeper_ones_are_refused_where_they_are_made() -> None:
    with pytest.raises(DefinitionError) as caught:
        nested(DEPTH + 1)
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == ("G017", ("nodes", "inner", "graph"))
    assert "more than 32 graphs are inside one another; join some" in problem.message


def test_files_that_go_on_for_ever_are_refused(tmp_path: Path) -> None:
    for index in range(DEPTH + 200):
        text = f"name: g\nnodes:\n  inner: {{kind: graph, graph: {index + 1}.yaml}}\n"
        (tmp_path / f"{index}.yaml").write_text(text)
    with pytest.raises(DefinitionError) as caught:
        Graph.load(tmp_path / "0.yaml")
    assert [problem.code for problem in caught.value.problems] == ["G017"]
    assert "more than 32 graphs are inside one another" in str(caught.value)
