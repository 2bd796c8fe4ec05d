"""Where edges come from: `needs`, routes, `reads`, templates, conditions and functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from teamgraph import Graph, Runner, ScriptedModel
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import HistoryLoader, Leader, Member, Python, Route, Router, Summarizer
from tests.builders import told, written


def edges(graph: Graph) -> set[str]:
    return {f"{edge.source} {edge.kind} {edge.target}" for edge in graph.plan.edges}


def wired(output: str, **nodes: Node) -> set[str]:
    return edges(Graph(name="x", nodes=nodes, output=output))


def test_needs_and_reads_are_edges() -> None:
    made = wired("c", a=Member(), b=Member(), c=Member(needs="a", reads=["b"]))
    assert made == {"a needs c", "b reads c"}


def test_a_route_is_an_edge_with_all_labels_that_lead_there() -> None:
    routes: dict[str, str | Route] = {"a": "x", "also": Route(to=["a", "b"])}
    graph = Graph(
        name="x",
        nodes={"router": Router(routes=routes), "a": Member(), "b": Member()},
        output=["a", "b"],
    )
    assert edges(graph) == {"router route a", "router route b"}
    assert {edge.target: edge.labels for edge in graph.plan.edges} == {
        "a": ("a", "also"),
        "b": ("also",),
    }


def test_a_template_that_reads_a_node_is_an_edge() -> None:
    text = "Say\n{% for word in a.output %}{{ word }}{% endfor %}\n"
    assert wired("b", a=Member(), b=Member(prompt=text)) == {"a reads b"}


def test_a_condition_that_reads_a_node_is_an_edge() -> None:
    made = wired("b", a=Member(), b=Member(when="a.output == 'yes'"))
    assert made == {"a reads b"}


def test_the_name_history_means_the_loader_whatever_its_id() -> None:
    assert wired("b", past=HistoryLoader(), b=Member()) == {"past reads b"}
    assert wired("b", b=Member()) == set()


def test_a_summarizer_comes_after_all_that_may_answer() -> None:
    nodes = {"a": Member(when="true"), "b": Member(), "s": Summarizer(needs="b")}
    graph = Graph(name="x", nodes=nodes, output=["a", "b"])
    assert graph.plan.before("s") == {"a", "b"}


def asked(message: str, a: str, other: str = "", nobody: str = "") -> str:
    return message + a + other + nobody


def test_a_function_that_names_a_node_is_an_edge() -> None:
    made = wired("f", a=Member(), other=Member(when="true"), f=Python(call=asked))
    assert made == {"a reads f", "other reads f"}


def test_a_kind_names_further_variables_of_its_template() -> None:
    assert wired("a", a=Leader(), s=Summarizer()) == {"a reads s"}
    with pytest.raises(DefinitionError, match=r"unknown name 'turns'"):
        Graph(name="x", nodes={"a": Member(prompt="Say\n{{ turns }}\n")})


class Drafting(Node):
    """Passes names of its own to its template, one of them a name that every template has."""

    variables: ClassVar[Mapping[str, object]] = {"draft": str, "history": str}

    async def run(self, context: Context) -> Result:
        return Result(await context.ask(draft="the draft", history="its history"))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ({"a": Member(), "turns": Summarizer(needs="a")}, {"a needs turns", "a reads turns"}),
        (
            {"a": Member(), "turns": Member(), "s": Summarizer(needs="a")},
            {"a needs s", "a reads s"},
        ),
        ({"past": HistoryLoader(), "a": Drafting(prompt="{{ draft }}\n{{ history }}\n")}, set()),
        ({"draft": Member(), "a": Drafting(prompt="{{ draft }}\n")}, set()),
        (
            {"draft": Member(), "a": Drafting(prompt="Say\n{{ draft }}\n", when="draft.output")},
            {"draft reads a"},
        ),
    ],
)
def test_a_variable_of_a_kind_is_no_edge_to_a_node_of_that_name(
    nodes: dict[str, Node], expected: set[str]
) -> None:
    graph = Graph(name="x", nodes=nodes, output="a", model="m")
    assert edges(graph) == expected
    model = ScriptedModel(lambda request: {"summary": "s", "topics": []} if request.schema else "x")
    run = Runner(graph, model=model).run("hello")
    assert {record.status for record in run.records.values()} == {"done"}
    drafting = [exchange.messages for exchange in run.records["a"].exchanges]
    assert not isinstance(nodes["a"], Drafting) or "the draft" in drafting[0][0].content


def test_a_condition_does_not_know_the_variables_of_a_kind() -> None:
    with pytest.raises(DefinitionError, match="unknown name 'draft'"):
        Graph(name="x", nodes={"a": Drafting(prompt="{{ draft }}\n", when="draft == 'x'")})


def test_a_name_that_is_near_no_other_lists_what_there_is() -> None:
    with pytest.raises(DefinitionError, match="unknown name 'zzz'; this template may read: a, "):
        Graph(name="x", nodes={"a": Member(prompt="Say\n{{ zzz }}\n")})
    with pytest.raises(DefinitionError, match="needs 'zzz', and there is no such node; nodes: a"):
        Graph(name="x", nodes={"a": Member(needs="zzz")}, output="a")


def test_a_template_with_an_error_is_no_reason_for_more_of_them() -> None:
    nodes = {"a": Member(), "b": Member(prompt="Say\n{{ a.output }}\n{% if %}\n")}
    with pytest.raises(DefinitionError) as caught:
        Graph(name="x", nodes=nodes, output="b")
    assert {problem.severity for problem in caught.value.problems} == {"error"}


def test_a_history_that_is_named_must_be_a_loader(tmp_path: Path) -> None:
    file = """
        name: x
        model: m
        nodes:
          mine: {kind: history-loader, of: %s}
          a: {role: x, history: %s}
        """
    assert told(written(tmp_path, file % ("b", "mine"))) == [
        "4:36: node 'mine' names 'b', and there is no such node; nodes: mine, a"
    ]
    assert told(written(tmp_path, file % ("a", "min")))[-1] == (
        "5:25: node 'a': history names 'min', which is not a history-loader; did you mean 'mine'?"
    )
    (problem,) = told(written(tmp_path, file % ("a", "a")))
    assert problem.startswith("5:25: node 'a': history names 'a', which is not a history-loader")


def test_a_node_reads_the_history_that_it_names_or_none(tmp_path: Path) -> None:
    text = """
        name: x
        model: m
        nodes:
          mine: {kind: history-loader}
          a: {role: x, %s}
        """
    edges = {
        option: [edge.source for edge in Graph.load(written(tmp_path, text % option)).plan.edges]
        for option in ("history: mine", "history: none")
    }
    assert edges == {"history: mine": ["mine"] * 3, "history: none": []}
