"""Values that stand in for answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

import pytest
from pydantic import BaseModel

from teamgraph import JSON
from teamgraph.engine.models.samples import placeholder, sample
from teamgraph.kinds import shape, stand_in


class Tree(BaseModel):
    name: str
    children: list[Tree]
    parent: Tree | None


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (None, "«n»"),
        (object, "«n»"),
        (Any, "«n»"),
        (object(), "«n»"),
        (str, "«n»"),
        (int, 0),
        (bool, True),
        (list[str], ["«n[0]»"]),
        (Literal["a", "b"], "a"),
        (str | None, "«n»"),
        ({"a": "str?", "b": {"c": "list[int]"}}, {"a": "«n.a»", "b": {"c": [0]}}),
    ],
)
def test_it_has_the_shape_that_is_wanted(returns: object, value: JSON) -> None:
    assert stand_in(returns, "n") == value


class Page(TypedDict):
    url: str
    parts: NotRequired[dict[str, int]]


class Branch(TypedDict):
    name: str
    below: list[Branch]


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (Page, {"url": "«n.url»", "parts": {}}),
        (list[Page], [{"url": "«n[0].url»", "parts": {}}]),
        (tuple[Page, int], [{"url": "«n[0].url»", "parts": {}}, 0]),
        (Page | None, {"url": "«n.url»", "parts": {}}),
        (Mapping[str, Page], {}),
        (dict[str, Branch], {}),
    ],
)
def test_a_typed_dict_of_any_module_has_its_keys(returns: object, value: JSON) -> None:
    assert stand_in(returns, "n") == value


def test_a_typed_dict_that_contains_itself_ends() -> None:
    assert str(stand_in(Branch, "n")).count("name': '«") == 5


def test_what_contains_itself_ends() -> None:
    assert sample(shape(Tree, name="n").schema, name="n") == {
        "name": "«n.name»",
        "children": [{"name": "«n.children[0].name»", "children": [], "parent": None}],
        "parent": {"name": "«n.parent.name»", "children": [], "parent": None},
    }


def test_an_odd_schema_does_no_harm() -> None:
    odd: dict[str, JSON] = {
        "properties": {
            "two": {"type": "array", "minItems": 2},
            "none": {"type": "array", "maxItems": 0},
            "set": {"type": "string", "default": "x"},
        },
    }
    assert sample(odd, name="n") == {
        "two": ["«n.two[0]»", "«n.two[1]»"],
        "none": [],
        "set": "x",
    }
    assert sample({"properties": 3, "const": 4}, name="n") == 4
    assert sample({"anyOf": [{"type": "null"}]}, name="n") is None


def test_the_least_leaves_out_what_may_be() -> None:
    wanted = shape({"a": "str?", "b": "list[str]", "c": "str"}, name="n").schema
    least = sample(wanted, placeholder("n"))
    assert isinstance(least, dict)
    assert least["c"] == "«n»"
    assert least["b"] == []


def test_a_tuple_is_filled_part_by_part() -> None:
    assert stand_in(tuple[str, int, bool], "pair") == ["«pair[0]»", 0, True]
