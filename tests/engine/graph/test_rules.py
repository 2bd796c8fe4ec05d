"""Rules between nodes that no other test has at its centre."""

from __future__ import annotations

from pathlib import Path

import pytest

from teamgraph import Graph
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Node
from teamgraph.nodes import Leader, Member, Route, Router, Summarizer


def test_one_missing_template_of_two_nodes_is_told_for_each() -> None:
    nodes = {"a": Member(prompt="gone.jinja"), "b": Member(prompt="gone.jinja")}
    with pytest.raises(DefinitionError) as caught:
        Graph(name="x", nodes=nodes, output=["a", "b"])
    assert [problem.path for problem in caught.value.problems] == [
        ("nodes", "a", "prompt"),
        ("nodes", "b", "prompt"),
    ]


def test_a_mistake_in_a_template_of_two_nodes_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("{% if %}\n", encoding="utf-8")
    nodes = {"a": Member(prompt="own.jinja"), "b": Member(prompt="own.jinja")}
    with pytest.raises(DefinitionError) as caught:
        Graph(name="x", nodes=nodes, output=["a", "b"], prompt_dirs=[tmp_path])
    (problem,) = caught.value.problems
    assert problem.file == str(tmp_path / "own.jinja")


def test_a_target_that_needs_only_what_the_same_choice_opens_is_no_surprise() -> None:
    routes: dict[str, str | Route] = {"deep": Route(to=["first", "second"]), "other": "x"}
    nodes: dict[str, Node] = {
        "router": Router(routes=routes),
        "first": Member(),
        "second": Member(needs="first"),
        "other": Member(),
    }
    assert Graph(name="x", nodes=nodes, output=["second", "other"]).warnings == ()


def test_only_what_nothing_but_summarizers_needs_is_the_answer() -> None:
    nodes: dict[str, Node] = {
        "router": Router(routes={"a": "x", "b": "y"}),
        "a": Member(),
        "b": Member(),
        "last": Leader(needs=["a", "b"]),
        "summary": Summarizer(needs=["last"]),
    }
    graph = Graph(name="x", nodes=nodes)
    assert graph.answering == ("last",)
    assert graph.output == ()


def test_where_a_node_is_broken_its_neighbours_are_not_suspected() -> None:
    nodes = {
        "a": {"rol": "x"},
        "b": Member(prompt="Say\n{{ a.output }}\n"),
        "c": Member(needs=["a"], join="all"),
    }
    with pytest.raises(DefinitionError) as caught:
        Graph(name="x", nodes=nodes)  # type: ignore[arg-type]  # as YAML has it
    assert [problem.code for problem in caught.value.problems] == ["G001"]
