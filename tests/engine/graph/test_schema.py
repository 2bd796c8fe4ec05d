"""The JSON Schema of graph files: shipped graphs hold, typical mistakes do not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from jsonschema import Draft202012Validator

from examples import own_kind
from teamgraph.engine.graph.kinds import installed
from teamgraph.engine.graph.schema import graph_schema
from teamgraph.engine.graph.yaml.reader import read_yaml
from teamgraph.kinds import Context, Node, Result

HERE = Path(__file__).parents[3]
SCHEMA = graph_schema(installed())
VALIDATOR = Draft202012Validator(SCHEMA)


def faults(nodes: Mapping[str, Any], **more: object) -> list[str]:
    graph = {"name": "t", "nodes": nodes, **more}
    return [fault.message for fault in VALIDATOR.iter_errors(graph)]


def objects(schema: object) -> Iterator[Mapping[str, Any]]:
    """Every part of the schema that describes a mapping with fields."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def test_it_is_a_schema_of_draft_2020_12() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "path", sorted((HERE / "graphs").glob("*.yaml")), ids=lambda path: path.name
)
def test_the_shipped_graphs_hold(path: Path) -> None:
    assert list(VALIDATOR.iter_errors(read_yaml(path).data)) == []


def test_returns_is_a_text_a_mapping_or_a_list_with_one_type() -> None:
    for returns in ("list[str]", {"a": "str"}, [{"a": "str"}]):
        assert faults({"a": {"returns": returns}}) == []
    for wrong in ("", {}, [], ["good", "bad"], 7):
        assert faults({"a": {"returns": wrong}})


def test_short_and_long_forms_hold() -> None:
    router = {
        "kind": "router",
        "routes": {
            "a": "for this",
            "both": {"to": ["a", "b"], "about": "for that", "when": "true"},
            "one": {"to": "b"},
        },
    }
    a = {
        "needs": "router",
        "retry": {"times": 2},
        "timeout": {"idle": 5},
        "on_error": {"value": 3},
        "model": {"id": "echo", "top_p": 1, "api_key_env": "X_KEY", "prompt_cache_key": "x"},
        "when": "session.turns > 0 and {'a': 1}",
        "returns": {"language": "en|fr"},
    }
    b = {"needs": ["router"], "retry": 1, "timeout": 3.5, "on_error": "skip", "model": "echo"}
    assert faults({"router": router, "a": a, "b": b}, output="a", retry=2) == []


@pytest.mark.parametrize(
    "node",
    [
        {"rol": "x"},
        {"kind": "membr"},
        {"kind": "router"},
        {"kind": "router", "routes": {}},
        {"kind": "router", "routes": {"a": {"about": "no target"}}},
        {"kind": "router", "routes": {"a": 3}},
        {"kind": "router", "routes": {"a": "x"}, "select": "few"},
        {"kind": "history-loader", "runs": -1},
        {"kind": "history-loader", "role": "x"},
        {"timeout": "30s"},
        {"timeout": 0},
        {"retry": -1},
        {"retry": {"time": 2}},
        {"on_error": "ignore"},
        {"join": "some"},
        {"needs": {"a": "b"}},
        {"model": {"temperature": 1}},
        {"returns": 3},
        {"returns": "string"},
        {"returns": {"lang": "string"}},
        {"when": "{{ session.turns }}"},
        {"model": {"id": "openai/x", "api_key": "sk"}},
        {"model": {"id": "openai/x", "auth_token": "sk"}},
        {"model": {"id": "openai/x", "client_secret_id": "sk"}},
        {"model": {"id": "openai/x", "credentials": "sk"}},
        {"model": {"id": "openai/x", "authorization": "sk"}},
        {"kind": "router", "routes": {"a": {"to": "b", "when": "{% if x %}"}}},
        "text",
    ],
)
def test_a_node_that_no_graph_could_have_does_not_hold(node: object) -> None:
    assert faults({"a": node})


@pytest.mark.parametrize("name", ["A", "9", "a-b", "input", "graph", "builtin", ""])
def test_a_name_that_no_node_may_have_does_not_hold(name: str) -> None:
    assert faults({name: {}})


def test_a_graph_needs_a_name_and_nodes_and_knows_its_keys() -> None:
    assert len(list(VALIDATOR.iter_errors({}))) == 2
    assert faults({})
    assert faults({"a": {}}, nods={})
    assert faults({"a": {}}, prompt_dirs=["x"])
    assert faults({"a": {}}, version=2)


def test_a_mistake_in_one_kind_is_told_in_its_words_alone() -> None:
    assert faults({"a": {"kind": "router", "routes": {"b": "x"}, "rol": "x"}}) == [
        "Additional properties are not allowed ('rol' was unexpected)"
    ]


def test_every_field_says_what_it_is_for_and_gives_an_example() -> None:
    for schema in objects(SCHEMA):
        for name, part in schema["properties"].items():
            assert part.get("description"), name
            assert part.get("examples"), name


def test_every_mapping_with_fields_is_closed_but_a_models() -> None:
    opened = [
        schema.get("title")
        for schema in objects(SCHEMA)
        if schema.get("additionalProperties") is not False
    ]
    assert opened == ["ModelSpec", None]  # a model's parameters, and the choice among the kinds


class Translator(Node):
    """Puts the message into another language."""

    language: str
    provides: ClassVar[Mapping[str, object]] = {"output": str}

    async def run(self, context: Context) -> Result:
        return Result(context.input.message)


def test_kinds_of_others_have_their_place_in_it() -> None:
    validator = Draft202012Validator(graph_schema({"translator": Translator}))
    graph = {"name": "t", "nodes": {"a": {"kind": "translator", "language": "fr"}}}
    assert list(validator.iter_errors(graph)) == []
    assert list(validator.iter_errors({"name": "t", "nodes": {"a": {"kind": "translator"}}}))
    assert list(validator.iter_errors({"name": "t", "nodes": {"a": {"kind": "member"}}}))


def test_the_schema_in_the_repository_is_this_one() -> None:
    kept = (HERE / ".schema/graph.v1.json").read_text(encoding="utf-8")
    schema = graph_schema(
        {**installed(), "translator": own_kind.Translator}
    )  # as in pyproject.toml
    assert json.loads(kept) == schema, "write it anew: teamgraph schema -o .schema/graph.v1.json"
