"""A graph is written with its keys in the order in which they were given."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from teamgraph import Graph, ModelSpec, Retry
from teamgraph.engine.graph.yaml.reader import read_yaml
from teamgraph.nodes import HistoryLoader, Member, Python, Route, Router, SubGraph
from tests import shop
from tests.builders import written

INNER = {"version": 1, "nodes": {"w": {"role": "x"}}, "name": "inner"}
KEYS: dict[str, dict[str, Any]] = {
    "history": {"messages": 5, "kind": "history-loader", "runs": 2},
    "router": {
        "routes": {"b": {"about": "b", "to": ["b"], "when": "true"}, "a": "a"},
        "kind": "router",
        "needs": ["history"],
        "default": "a",
    },
    "a": {
        "tools": ["tests.shop:price", "read_chat_history"],
        "role": "x",
        "params": {"z": 1, "b": {"y": 2, "a": 3}},
        "model": {"temperature": 0, "id": "m", "top_p": 1},
        "retry": {"wait": 1, "times": 2},
        "on_error": {"value": {"q": 1, "p": 2}},
        "description": "d",
        "reads": ["history"],
    },
    "b": {"call": "tests.shop:price", "kind": "python", "params": {"item": "tea"}, "when": "true"},
    "c": {"returns": {"z": "str", "a": "int"}, "needs": ["a", "b"], "role": "y"},
    "d": {"role": "r", "graph": INNER, "kind": "graph", "needs": ["c"]},
}
GRAPH: dict[str, Any] = {
    "output": "d",
    "state": {"z": 1, "a": {"y": 1, "b": 2}},
    "name": "g",
    "nodes": KEYS,
    "budget": {"calls": 5, "tokens": 100},
    "model": "m",
    "version": 1,
    "timeout": {"idle": 3, "total": 5},
}


def shuffled(value: Any, random: Random) -> Any:  # noqa: ANN401  YAML data
    if not isinstance(value, dict):
        return value
    keys = sorted(value)
    random.shuffle(keys)
    return {key: shuffled(value[key], random) for key in keys}


def spelled(value: Any) -> Any:  # noqa: ANN401  YAML data
    """The value with its order visible."""
    if isinstance(value, dict):
        return [(key, spelled(each)) for key, each in value.items()]
    return value


@pytest.mark.parametrize("seed", range(40))
def test_the_order_of_all_keys_is_that_of_the_file(tmp_path: Path, seed: int) -> None:
    from teamgraph.engine.graph.yaml.writer import to_yaml  # noqa: PLC0415

    data = shuffled(GRAPH, Random(seed))
    path = written(tmp_path, "# a comment\n" + to_yaml(data))
    before = path.read_text()
    graph = Graph.load(path, allow=["tests"])
    assert spelled(graph.written()) == spelled(data)
    graph.dump(tmp_path / "other.yaml")
    assert spelled(read_yaml(tmp_path / "other.yaml").data) == spelled(data)
    assert Graph.load(tmp_path / "other.yaml", allow=["tests"]) == graph
    graph.dump(path)
    assert before in path.read_text()


def test_the_order_of_arguments_is_kept_and_does_not_count_as_a_difference() -> None:
    one = Member(tools=[shop.price], role="x", retry=Retry(wait=1, times=2))
    other = Member(retry=Retry(times=2, wait=1), role="x", tools=[shop.price])
    assert one == other
    nodes = {"a": one}
    graph = Graph(nodes=nodes, name="g", model=ModelSpec(temperature=0, id="m"))
    assert list(graph.written()) == ["version", "nodes", "name", "model"]
    assert spelled(graph.written()["nodes"]) == [
        (
            "a",
            [
                ("tools", ["tests.shop:price"]),
                ("role", "x"),
                ("retry", [("wait", 1), ("times", 2)]),
            ],
        )
    ]
    assert spelled(graph.written()["model"]) == [("temperature", 0), ("id", "m")]
    assert graph == Graph(name="g", model=ModelSpec(id="m", temperature=0), nodes={"a": other})


def test_what_is_made_from_other_kinds_keeps_its_order() -> None:
    router = Router(default="b", routes={"b": Route(about="x", to=["c"]), "c": "y"})
    assert list(router.written()) == ["default", "routes"]
    assert list(router.written()["routes"]["b"]) == ["about", "to"]  # type: ignore[call-overload, index]  a mapping
    loader = HistoryLoader(messages=3, runs=3)
    graph = Graph(name="g", nodes={"history": loader, "a": Member(role="x")})
    assert list(graph.written()["nodes"]["history"]) == ["kind", "messages", "runs"]  # type: ignore[call-overload, index]  a mapping
    inner = SubGraph(role="r", graph=Graph(nodes={"p": Python(params={"item": "tea"}, call=shop.price)}, name="i"))
    assert list(Graph(name="g", nodes={"a": inner}).written()["nodes"]["a"]["graph"]) == [  # type: ignore[call-overload, index]  a mapping
        "version",
        "nodes",
        "name",
    ]
