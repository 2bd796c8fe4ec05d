"""The built-in kinds as declarations: what they say of themselves, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from teamgraph import JSON, Graph, Instead, ModelSpec, Retry
from teamgraph.engine.graph.node import (
    asks_model,
    branches_of,
    conditions_of,
    graph_in,
    nodes_read_by,
    result_after,
    takes_of,
    template_fields,
    tools_of,
)
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Node
from teamgraph.nodes import HistoryLoader, Leader, Member, Python, Route, Router, Summarizer
from tests.builders import told, written


def test_a_short_route_leads_to_the_node_of_its_name() -> None:
    router = Router(routes={"a": "first", "other": Route(to=["b", "c"], about="second")})
    assert router.long_routes["a"] == Route(to="a", about="first")
    assert router.branches() == {"a": ("a",), "other": ("b", "c")}


def test_routes_are_written_in_their_shortest_form() -> None:
    routes: dict[str, str | Route] = {
        "a": Route(to=["a"], about="first"),
        "b": Route(to="b", when="input.message"),
        "both": Route(to=["a", "b"], about="x"),
    }
    assert Router(routes=routes).written()["routes"] == {
        "a": "first",
        "b": {"to": ["b"], "when": "input.message"},
        "both": {"to": ["a", "b"], "about": "x"},
    }


def test_a_router_shows_the_labels_that_a_model_chooses_among() -> None:
    router = Router(routes={"a": "first", "b": Route(to="b", when="input.message")})
    assert router.shown() == {"routes": [{"label": "a", "about": "first"}]}
    assert router.asks()
    assert router.expressions() == {("routes", "b", "when"): "input.message"}
    ruled = Router(routes={"b": Route(to="b", when="input.message")}, default="b", when="true")
    assert not ruled.asks()
    assert set(ruled.expressions()) == {("routes", "b", "when")}


@pytest.mark.parametrize(
    ("router", "takes"),
    [
        (Router(routes={"a": "x", "b": "y"}), (1, 1)),
        (Router(routes={"a": "x", "b": "y"}, select="many"), (1, 2)),
        (Router(routes={"a": "x", "b": "y"}, select="many", allow_none=True), (0, 2)),
    ],
)
def test_a_router_takes_as_many_labels_as_it_says(router: Router, takes: tuple[int, int]) -> None:
    assert router.takes() == takes


def test_a_router_tells_all_that_does_not_hold() -> None:
    with pytest.raises(DefinitionError) as caught:
        Router(routes={"a": Route(to="a", when="x")}, default="b", allow_none=True)
    assert [problem.path for problem in caught.value.problems] == [("default",), ("allow_none",)]


def test_one_id_may_stand_for_a_list() -> None:
    assert Member(needs="a").needs == Member(needs=["a"]).needs == ("a",)
    assert Member(needs="a") == Member(needs=("a",))


def test_a_node_is_written_without_its_defaults() -> None:
    assert Member().written() == {}
    assert Summarizer(on_error=None).written() == {"on_error": None}
    assert Leader(timeout=1.5, retry=Retry(times=1, wait=2)).written() == {
        "timeout": 1.5,
        "retry": {"times": 1, "wait": 2},
    }
    whole = Member(timeout=60, on_error=Instead(value=None), model=ModelSpec(id="m", seed=7))  # type: ignore[call-arg]  # any parameter
    assert repr(whole.written()["timeout"]) == "60"
    assert whole.written()["on_error"] == {"value": None}
    assert whole.written()["model"] == {"id": "m", "seed": 7}


class Answer:
    """A class that a node may return."""


def test_what_a_node_returns_is_written_by_its_name() -> None:
    assert Member(returns={"lang": "str"}).written() == {"returns": {"lang": "str"}}
    assert Member(returns="a|b").written() == {"returns": "a|b"}
    assert Member(returns=Answer).written() == {"returns": f"{Answer.__module__}:Answer"}


def lookup(message: str, first: str, second: str = "", *rest: str, **more: str) -> str:
    return message + first + second


def test_a_function_says_what_it_reads() -> None:
    node = Python(call=lookup)
    assert node.inputs() == {"first": False, "second": True}
    assert Python(call=lookup, params={"first": "x"}).inputs() == {"second": True}
    assert Python(call="myapp.orders:lookup").inputs() == {}
    assert Python(call=lookup).written() == {"call": f"{lookup.__module__}:lookup"}
    assert Python(call="myapp:find", params={"a": 1}).written() == {
        "params": {"a": 1},
        "call": "myapp:find",
    }


def positional(message: str, /) -> str:
    return message


def test_a_function_must_take_its_arguments_by_name() -> None:
    with pytest.raises(DefinitionError, match="'message' of the function is positional only"):
        Python(call=positional)
    with pytest.raises(DefinitionError, match="the parameters of <class 'dict'> cannot be read"):
        Python(call=dict)
    with pytest.raises(DefinitionError, match="call: must be text, or a function, not 3"):
        Python(call=3)  # type: ignore[arg-type]  # what this is about


def test_what_is_called_must_be_a_function(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nnodes: {a: {kind: python, call: 'tests.nodes:x'}}\n")
    with pytest.raises(DefinitionError, match=r"2:33: node 'a': .*has no 'x'|no module"):
        Graph.load(path, allow=["tests"])
    path = written(tmp_path, "name: x\nnodes: {a: {kind: python, call: 'string:digits'}}\n")
    with pytest.raises(DefinitionError, match="2:33: node 'a': 'string:digits' is not a function"):
        Graph.load(path, allow=["string"])


def test_what_a_node_returns_may_be_named_in_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nnodes: {a: {returns: 'teamgraph:Summary'}}\n")
    assert "'teamgraph' is not allowed here" in told(path)[0]
    graph = Graph.load(path, allow=["teamgraph"])
    assert graph.shapes["a"].type is graph.nodes["a"].returns


@pytest.mark.parametrize(
    ("parameters", "secret"),
    [
        ({"api_key": "x"}, "api_key"),
        ({"extra_headers": {"Authorization": "x"}}, "Authorization"),
        ({"vertex_credentials": "x"}, "vertex_credentials"),
        ({"azure_ad_token": "x"}, "azure_ad_token"),
    ],
)
def test_a_model_holds_no_secret(parameters: dict[str, object], secret: str) -> None:
    with pytest.raises(DefinitionError, match=f"{secret!r} would put a secret into the graph"):
        ModelSpec(id="m", **parameters)  # type: ignore[arg-type]  # any parameter


def test_an_address_holds_no_password() -> None:
    with pytest.raises(DefinitionError, match="api_base contains a password") as caught:
        ModelSpec(id="m", api_base="http://user:pass@localhost:8000")
    assert "pass@" not in str(caught.value)
    assert ModelSpec(id="m", api_base="http://localhost:8000/v1@x").api_base


def test_a_model_takes_any_parameter_that_is_no_slip() -> None:
    spec = ModelSpec(id="m", temperature=0, prompt_cache_key="x", max_completion_tokens=9)  # type: ignore[call-arg]  # any parameter
    assert spec.parameters == {
        "temperature": 0,
        "prompt_cache_key": "x",
        "max_completion_tokens": 9,
    }
    with pytest.raises(DefinitionError) as caught:
        ModelSpec(id="m", max_tokns=3)  # type: ignore[call-arg]  # what this is about
    (problem,) = caught.value.problems
    assert (problem.suggestion, problem.on_key) == ("max_tokens", True)


def test_every_field_is_described() -> None:
    for kind in (HistoryLoader, Leader, Member, Python, Router, Summarizer, ModelSpec, Route):
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name}"


def test_a_kind_that_only_runs_does_nothing_else() -> None:
    node = Node(when="true")
    assert not branches_of(node)
    assert not nodes_read_by(node)
    assert not template_fields(node)
    assert conditions_of(node) == {("when",): "true"}
    assert takes_of(node) == (1, 1)
    assert asks_model(node)
    assert result_after(ValueError(), node) is None
    assert tools_of(node) is None
    assert graph_in(node) is None


def test_a_function_that_is_there_is_not_looked_for() -> None:
    node = Python(call=lookup)
    assert node.bound(lambda name: pytest.fail(f"{name} was looked for")) is node


@pytest.mark.parametrize(
    "declared",
    [
        lambda value: Member(params={"x": value}),
        lambda value: Graph(name="g", nodes={"a": Member()}, state={"x": value}),
        lambda value: ModelSpec(id="openai/gpt-5-mini", x=value),
    ],
)
def test_values_that_no_store_could_read_again_are_refused(
    declared: Callable[[JSON], object],
) -> None:
    deep: JSON = []
    for _ in range(150):
        deep = [deep]
    with pytest.raises(DefinitionError, match=r"x\.0\.0.*: nested more than 100 levels") as caught:
        declared(deep)
    assert str(caught.value).count("x.0.0") == 1
