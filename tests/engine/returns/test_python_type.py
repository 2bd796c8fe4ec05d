"""Shapes that Python classes say."""

from __future__ import annotations

import datetime as dt
import json
import sys
import typing
from dataclasses import dataclass
from typing import Any, NotRequired, Required, cast

import jsonschema
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field, field_validator
from typing_extensions import TypedDict

from teamgraph import JSON
from teamgraph.errors import DefinitionError
from teamgraph.kinds import shape


class Line(BaseModel):
    text: str
    count: int = 1


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    day: dt.date
    lines: list[Line]
    note: str | None = None
    sent_by: str = Field(default="post", alias="sentBy")
    prices: dict[str, float] = {}

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's own documentation has it
    @property
    def size(self) -> int:
        return len(self.lines)

    @field_validator("note")
    @classmethod
    def _be_polite(cls, note: str | None) -> str | None:
        if note == "rude":
            raise ValueError("must be\npolite.")
        return note


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


@dataclass
class Point:
    x: int
    y: int = 0


class Named(TypedDict):
    name: str


class Page(typing.TypedDict):
    url: str
    title: NotRequired[str]


class Found(typing.TypedDict, total=False):
    pages: Required[list[Page]]
    first: Page | None
    by_url: dict[str, Page]


class Thread(typing.TypedDict):
    text: str
    replies: list[Thread]


class Site(typing.TypedDict):
    pages: list[Page]
    found: typing.Annotated[Page | None, "the best"]
    rank: typing.Literal["high", "low"]


ORDER: dict[str, JSON] = {"day": "2026-11-22", "lines": [{"text": "tea"}]}
KEPT: dict[str, JSON] = {
    "day": "2026-11-22",
    "lines": [{"text": "tea", "count": 1}],
    "note": None,
    "sent_by": "post",
    "prices": {},
    "size": 1,
}


def refusal(returns: object, value: object) -> str:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        shape(returns, name="node").parse(json.dumps(value))
    return str(caught.value)


def test_a_pydantic_model_says_a_shape() -> None:
    made = shape(Order, name="order")
    assert made.type is Order
    assert made.parse(f"```json\n{json.dumps(ORDER)}\n```") == KEPT
    assert made.validate(ORDER) == KEPT
    assert made.validate(Order(day=dt.date(2026, 11, 22), lines=[Line(text="tea")])) == KEPT


def test_its_schema_is_made_strict() -> None:
    schema = cast("dict[str, Any]", shape(Order, name="order").schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["required"] == list(schema["properties"])
    assert schema["additionalProperties"] is False
    assert schema["properties"]["prices"]["anyOf"][0]["additionalProperties"] == {"type": "number"}
    line = schema["$defs"]["Line"]
    assert line["required"] == ["text", "count"]
    assert line["additionalProperties"] is False
    assert line["properties"]["count"]["anyOf"] == [
        {"title": "Count", "type": "integer"},
        {"type": "null"},
    ]
    assert schema["properties"]["note"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert "default" not in json.dumps(schema)


def test_null_for_what_may_be_left_out_counts_as_left_out() -> None:
    nulls: dict[str, JSON] = {
        **ORDER,
        "lines": [{"text": "tea", "count": None}],
        "sentBy": None,
        "prices": None,
    }
    made = shape(Order, name="order")
    assert jsonschema.Draft202012Validator(dict(made.schema)).is_valid({**nulls, "note": None})
    assert made.parse(json.dumps(nulls)) == KEPT


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"day": None}, "'day': input should be a valid date, not null"),
        ({"lines": [{}]}, "'lines[0].text' is missing"),
        ({"lines": [{"text": "a", "count": "x"}]}, "'lines[0].count': input should be a valid int"),
        ({"nite": 1}, "'nite' is not asked for"),
        ({"note": "rude"}, "'note': must be polite, not \"rude\""),
    ],
)
def test_a_misfit_names_the_field_and_what_is_wrong(change: dict[str, JSON], told: str) -> None:
    assert told in refusal(Order, ORDER | change)


def test_a_misfit_in_a_union_is_told() -> None:
    class Either(BaseModel):
        part: Line | Point

    assert "'part.Line.text' is missing" in refusal(Either, {"part": {"z": None}})
    assert "'part.Line.text'" in refusal(Either, {"part": {"text": None}})


def test_the_answer_itself_may_be_the_misfit() -> None:
    assert refusal(Order, [None]).startswith("the answer: input should be an object, not [null]")


def test_dataclasses_and_typed_dicts_say_shapes() -> None:
    point = shape(Point, name="point")
    assert point.parse('{"x": 1}') == {"x": 1, "y": 0}
    assert point.validate(Point(1, 2)) == {"x": 1, "y": 2}
    assert shape(Named, name="named").parse('{"name": "Ada"}') == {"name": "Ada"}
    assert "'name' is missing" in refusal(Named, {})


def test_a_recursive_class_has_its_root_in_place() -> None:
    schema = shape(Tree, name="tree").schema
    assert schema["type"] == "object"
    value: JSON = {"name": "a", "children": [{"name": "b", "children": []}]}
    assert jsonschema.Draft202012Validator(dict(schema)).is_valid(value)
    assert shape(Tree, name="tree").parse(json.dumps(value)) == value


@pytest.mark.parametrize("returns", [list[Line], RootModel[list[Line]]])
def test_a_list_is_asked_for_in_an_object(returns: object) -> None:
    made = shape(returns, name="lines")
    kept = [{"text": "tea", "count": 2}]
    assert jsonschema.Draft202012Validator(dict(made.schema)).is_valid({"value": kept})
    assert made.parse(json.dumps({"value": kept})) == made.parse(json.dumps(kept)) == kept


def test_a_value_or_none_is_asked_for_in_an_object() -> None:
    assert shape(Line | None, name="line").parse('{"value": null}') is None


def test_a_number_that_is_not_finite_is_refused() -> None:
    class Part(BaseModel):
        size: float

    assert refusal(Part, {"size": "NaN"}) == "the answer has a number that is not finite"
    with pytest.raises(ValueError, match="Infinity is not a number in JSON"):
        shape(Part, name="part").validate(Part(size=float("inf")))


class NoShape:
    pass


class Unfinished(BaseModel):
    part: Missing  # type: ignore[name-defined]  # noqa: F821  # what this test is about


@pytest.mark.parametrize("returns", [NoShape, Unfinished, list[NoShape], BaseException])
def test_a_class_that_says_no_shape_is_refused(returns: object) -> None:
    with pytest.raises(DefinitionError, match="cannot be described as JSON Schema") as caught:
        shape(returns, name="node")
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == ("G032", ())
    assert "\n" not in problem.message


def test_the_typed_dicts_of_typing_are_read_at_any_depth() -> None:
    value = {"pages": [{"url": "/a"}], "found": {"url": "/b", "title": "B"}, "rank": "low"}
    for declared in (Site, list[Site], Site | None):
        made = shape(declared, name="node")
        assert made.type is declared or made.type == declared
        given = [value] if declared == list[Site] else value
        assert made.parse(json.dumps(given)) == given
    assert "'pages[0].url' is missing" in refusal(Site, {**value, "pages": [{"title": "A"}]})
    some = {"pages": [{"url": "/a"}], "by_url": {"/a": {"url": "/a"}}}
    assert shape(Found, name="node").parse(json.dumps(some)) == some
    assert "'pages' is missing" in refusal(Found, {})
    assert "'rank'" in refusal(Site, {**value, "rank": "middle"})


def test_a_typed_dict_that_contains_itself_is_refused_where_pydantic_cannot_read_it() -> None:
    if sys.version_info < (3, 12):
        with pytest.raises(DefinitionError, match="use a pydantic model"):
            shape(Thread, name="node")
    else:
        value = {"text": "a", "replies": [{"text": "b", "replies": []}]}
        assert shape(Thread, name="node").parse(json.dumps(value)) == value
