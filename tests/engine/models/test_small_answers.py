"""Instances of schemas: whatever is made satisfies the schema that it was made for."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from teamgraph import JSON, Request
from teamgraph.engine.models.samples import choose, sample

WORDS = st.text("abc", min_size=1, max_size=3)
LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda n: {"type": "string", "minLength": n}, st.integers(0, 5)),
    st.builds(lambda n: {"type": "string", "maxLength": n}, st.integers(0, 5)),
    st.builds(lambda n: {"type": "integer", "minimum": n}, st.integers(-5, 5)),
    st.builds(lambda n: {"type": "integer", "maximum": n}, st.integers(-5, 5)),
    st.builds(lambda n: {"type": "integer", "exclusiveMinimum": n}, st.integers(-5, 5)),
    st.builds(lambda n: {"type": "number", "exclusiveMaximum": n}, st.integers(-5, 5)),
    st.builds(lambda n: {"type": "number", "minimum": n}, st.floats(-5, 5)),
    st.builds(lambda words: {"enum": words}, st.lists(WORDS, min_size=1)),
    st.builds(lambda word: {"const": word}, WORDS),
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"type": ["integer", "null"]}, {"type": "string"}]
    ),
)


def test_a_default_is_a_sample_unless_a_full_one_says_more() -> None:
    schema: dict[str, JSON] = {"type": "string", "default": "x"}
    assert sample(schema) == "x"


def _composed(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(WORDS, inner, max_size=3)
    return st.one_of(
        fields.map(lambda p: {"type": "object", "properties": p, "required": list(p)}),
        fields.map(lambda p: {"properties": p}),
        st.builds(
            lambda item, n: {"type": "array", "items": item, "minItems": n},
            inner,
            st.integers(0, 2),
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
        inner.map(lambda one: {"oneOf": [one]}),
    )


@settings(deadline=None)
@given(st.recursive(LEAVES, _composed, max_leaves=8), st.sampled_from(["", "echo"]))
def test_an_instance_satisfies_its_schema(schema: dict[str, Any], text: str) -> None:
    jsonschema.validate(sample(schema, text), schema)


class Inner(BaseModel):
    words: list[str]


class Outer(BaseModel):
    inner: Inner
    other: Inner | None
    next: Outer | None
    score: float
    kind: str = "plain"


def test_a_model_of_pydantic_takes_its_instance() -> None:
    schema = Outer.model_json_schema()
    made = Outer.model_validate(sample(schema))
    assert made.inner == Inner(words=[])


def test_a_schema_that_leads_back_to_itself_ends() -> None:
    schema: dict[str, JSON] = {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"left": {"$ref": "#/$defs/tree"}},
                "required": ["left"],
            }
        },
    }
    assert sample(schema) == {"left": None}


def test_all_parts_of_an_intersection_are_filled() -> None:
    part: JSON = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    other: JSON = {"type": "object", "properties": {"b": {"const": 1}}, "required": ["b"]}
    assert sample({"allOf": [part, other]}) == {"a": 0, "b": 1}
    assert sample({"allOf": [{"type": "integer"}]}) == 0


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": "string", "minLength": 2}, "xx"),
        ({"type": "number", "exclusiveMinimum": 0.5, "multipleOf": 0.25}, 0.75),
        ({"type": ["integer", "null"], "maximum": -2}, -2),
        ({"type": "array", "items": {"const": 1}, "minItems": 2}, [1, 1]),
        ({"enum": ["b", "a"]}, "b"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
    ],
)
def test_it_is_the_smallest_one(schema: dict[str, Any], made: object) -> None:
    assert sample(schema) == made


def test_a_bound_that_is_no_number_is_left_out() -> None:
    assert sample({"type": "integer", "minimum": "many"}) == 0


@pytest.mark.parametrize("schema", [None, {"type": "string"}])
def test_a_choice_needs_no_schema(schema: dict[str, Any] | None) -> None:
    request = Request("m", (), schema=schema, choices=("a",))
    assert json.loads(choose(request, ["a"])) == {"choice": "a", "reason": ""}
