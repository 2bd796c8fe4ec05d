"""Shapes written into the graph: what they say, what fits them, how a misfit is told."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args, get_type_hints, is_typeddict

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from teamgraph import JSON
from teamgraph.engine.returns.shape import Shape
from teamgraph.kinds import shape

TRIAGE = {
    "lang": "english|french",
    "confidence": "float",
    "tags": "list[str]",
    "note": "str?",
    "place": {"city": "str", "zip": "str?"},
}
ANSWER: dict[str, JSON] = {
    "lang": "french",
    "confidence": 0.5,
    "tags": ["a"],
    "note": None,
    "place": {"city": "Lyon", "zip": None},
}


def of(returns: object) -> Shape:
    return shape(returns, name="triage")


def refusal(returns: object, text: str) -> str:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        of(returns).parse(text)
    return str(caught.value)


def accepts(schema: object, value: object) -> bool:
    return jsonschema.Draft202012Validator(cast("dict[str, Any]", schema)).is_valid(value)


@dataclass
class Case:
    """A declared type with values that fit it and values that do not."""

    declared: object
    fits: st.SearchStrategy[Any]
    breaks: st.SearchStrategy[Any]


def simple_cases() -> st.SearchStrategy[Case]:
    texts = st.text(st.characters(exclude_categories=["Cs"]))
    floats = st.floats(allow_nan=False, allow_infinity=False)
    return st.sampled_from(
        [
            Case("str", texts, st.sampled_from([1, None, ["a"], {}])),
            Case("int", st.integers(), st.sampled_from(["1", 1.5, True, None])),
            Case("float", floats | st.integers(-(2**53), 2**53), st.sampled_from(["1", False, []])),
            Case("bool", st.booleans(), st.sampled_from(["true", 0, None])),
            Case("yes|no", st.sampled_from(["yes", "no"]), st.sampled_from(["nein", 1, None])),
            Case("so so|c++", st.sampled_from(["so so", "c++"]), st.sampled_from(["so", None])),
        ]
    )


def list_of(case: Case) -> Case:
    broken = st.builds(lambda good, bad: [*good, bad], st.lists(case.fits), case.breaks)
    return Case(f"list[{case.declared}]", st.lists(case.fits), broken | st.just("no list"))


def native_list_of(case: Case) -> Case:
    return replace(list_of(case), declared=[case.declared])


def record_of(case: Case) -> Case:
    record = st.builds(lambda good, note: {"it": good, "note": note}, case.fits, st.none())
    broken = st.builds(lambda bad: {"it": bad, "note": "x"}, case.breaks)
    return Case(f"{{it: {case.declared}, note: str?}}", record, broken | st.just({}))


def optional(case: Case) -> Case:
    wrong = case.breaks.filter(lambda value: value is not None)
    return Case(f"{case.declared}?", st.none() | case.fits, wrong)


@st.composite
def mappings(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    cases = draw(st.dictionaries(st.from_regex(r"\A[a-z]{1,6}\Z"), inner, min_size=1, max_size=4))
    fits = st.fixed_dictionaries({key: case.fits for key, case in cases.items()})
    key = draw(st.sampled_from(sorted(cases)))
    wrong = st.builds(lambda good, bad: {**good, key: bad}, fits, cases[key].breaks)
    extra = st.builds(lambda good: {**good, "not_there": 1}, fits)
    declared = {key: case.declared for key, case in cases.items()}
    return Case(declared, fits, wrong | extra | st.just([]))


TEXTS = st.recursive(
    simple_cases(), lambda inner: inner.map(list_of) | inner.map(record_of), max_leaves=2
)
VALUES = TEXTS | TEXTS.map(optional)
NESTED = mappings(VALUES)
SHAPES = mappings(VALUES | NESTED | NESTED.map(native_list_of) | VALUES.map(native_list_of))


@given(st.data(), SHAPES)
def test_a_value_that_fits_is_kept_and_accepted_by_the_schema(
    data: st.DataObject, case: Case
) -> None:
    value, made = data.draw(case.fits), of(case.declared)
    assert accepts(made.schema, value)
    assert made.parse(json.dumps(value)) == value
    assert made.validate(value) == value


@given(st.data(), SHAPES)
def test_a_value_broken_at_one_place_is_refused_as_by_the_schema(
    data: st.DataObject, case: Case
) -> None:
    value, made = data.draw(case.breaks), of(case.declared)
    assert not accepts(made.schema, value)
    with pytest.raises(ValueError, match=r"must be|not asked for|is missing"):
        made.parse(json.dumps(value))


@given(st.data(), VALUES.filter(lambda case: not str(case.declared).endswith("}")))
def test_a_value_alone_is_asked_for_in_an_object_and_taken_with_and_without(
    data: st.DataObject, case: Case
) -> None:
    value, made = data.draw(case.fits), of(case.declared)
    assert accepts(made.schema, {"value": value})
    assert made.parse(json.dumps({"value": value})) == value
    assert made.parse(json.dumps(value)) == value
    assert not accepts(made.schema, value)


def test_the_schema_is_strict_and_has_the_title_of_the_node() -> None:
    assert of({"lang": "a|b", "note": "str?", "at": {"city": "str"}}).schema == {
        "title": "triage",
        "type": "object",
        "properties": {
            "lang": {"type": "string", "enum": ["a", "b"]},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "at": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
        "required": ["lang", "note", "at"],
        "additionalProperties": False,
    }


def test_the_type_is_what_templates_read() -> None:
    made = of(TRIAGE).type
    assert is_typeddict(made)
    hints = get_type_hints(made)
    assert hints["lang"] == Literal["english", "french"]
    assert (hints["confidence"], hints["tags"]) == (float, list[str])
    assert hints["note"] == str | None
    assert get_type_hints(hints["place"]) == {"city": str, "zip": str | None}
    assert of("list[int]?").type == list[int] | None


def test_a_list_of_records_is_the_same_as_a_text_and_in_yaml() -> None:
    made = of({"steps": "list[{reason: str, query: str}]"})
    assert made.schema == of({"steps": [{"reason": "str", "query": "str"}]}).schema
    hints = get_type_hints(made.type)
    (item,) = get_args(hints["steps"])
    assert get_type_hints(item) == {"reason": str, "query": str}
    assert of([["int"]]).type == list[list[int]]
    assert of("{at: {city: str}}?").parse('{"value": {"at": {"city": "Lyon"}}}') == {
        "at": {"city": "Lyon"}
    }


def test_words_with_spaces_are_named_in_quotes() -> None:
    grade = of({"grade": "very good|bad"})
    assert grade.parse('{"grade": "very good"}') == {"grade": "very good"}
    with pytest.raises(ValueError, match="must be 'very good' or 'bad', not \"good\""):
        grade.parse('{"grade": "good"}')
    assert of("not  at\n all|yes").parse("not at all") == "not at all"


@pytest.mark.parametrize(
    "text",
    ["{}", "\n  {} \n", "```json\n{}\n```", "```JSON {}```", "\n```\r\n{}\r\n```\n"],
)
def test_whitespace_and_one_fence_are_tolerated(text: str) -> None:
    assert of(TRIAGE).parse(text.replace("{}", json.dumps(ANSWER))) == ANSWER


def test_an_optional_key_may_be_left_out_and_is_null() -> None:
    answer = {key: value for key, value in ANSWER.items() if key != "note"} | {
        "place": {"city": "Lyon"}
    }
    assert of(TRIAGE).parse(json.dumps(answer)) == ANSWER


def test_whole_numbers_and_floats_are_kept_as_declared() -> None:
    made = of({"count": "int", "part": "float"}).parse('{"count": 2.0, "part": 1}')
    assert repr(made) == "{'count': 2, 'part': 1.0}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"lang": "frensh"},
            "'lang' must be english or french, not \"frensh\"; did you mean 'french'?",
        ),
        ({"lang": 7}, "'lang' must be english or french, not 7"),
        ({"confidence": "0.9"}, "'confidence' must be a number, not \"0.9\""),
        ({"confidence": 10**400}, "'confidence' is too large, 1000"),
        ({"tags": ["a", 2]}, "'tags[1]' must be text, not 2"),
        ({"tags": None}, "'tags' must be a list, not null"),
        ({"place": {"city": True}}, "'place.city' must be text, not true"),
        ({"place": "x" * 99}, "'place' must be an object with the keys city, zip, not \"xxx"),
        ({"place": {}}, "'place.city' is missing"),
        ({"nothing": 1}, "'nothing' is not asked for"),
        ({"place": {"citi": "Lyon"}}, "'place.citi' is not asked for; did you mean 'city'?"),
        ({"lang": 1, "confidence": "", "tags": [1, 2, 3, 4]}, "; and 1 more"),
    ],
)
def test_a_misfit_names_the_field_and_what_is_wrong(change: dict[str, JSON], told: str) -> None:
    assert told in refusal(TRIAGE, json.dumps(ANSWER | change))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the answer is empty"),
        ("```json\n```", "the answer is not JSON"),
        ("Sure!", "the answer is not JSON: expecting value at line 1, column 1"),
        ("Sure! {}", "'part' is missing"),
        ('{"part": 1', "the answer is not JSON: expecting"),
        ('{"part": NaN}', "NaN is not a number in JSON"),
        ('{"part": -Infinity}', "-Infinity is not a number in JSON"),
        ('{"part": 1e999}', "1e999 is too large a number"),
        ('{"part": 1, "part": 2}', "'part' is a duplicate key in one object"),
        ('{"part": ' + "9" * 5000 + "}", "a number in the answer is too long"),
        ("[" * 100_000, "the answer is nested too deeply"),
        ("[]", "the answer must be an object with the keys part, not []"),
    ],
)
def test_what_is_not_strictly_json_is_refused(text: str, told: str) -> None:
    assert told in refusal({"part": "float"}, text)


@pytest.mark.parametrize(
    ("returns", "text", "value"),
    [
        ("yes|no", " yes\n", "yes"),
        ("yes|no?", "null", None),
        ("1|2", "1", "1"),
        ("str", "Hello, {you}", "Hello, {you}"),
        ("str", "42", "42"),
        ("str", '{"a": 1}', '{"a": 1}'),
        ("str", '"quoted"', "quoted"),
        ("str?", "```python\npass\n```", "```python\npass\n```"),
    ],
)
def test_text_and_words_may_stand_without_quotes(returns: str, text: str, value: JSON) -> None:
    assert of(returns).parse(text) == value


def test_a_bare_word_that_was_not_offered_is_refused() -> None:
    assert 'must be yes or no, not "maybe"' in refusal("yes|no", "maybe")
    assert refusal("yes|no", "  ") == "the answer is empty"


class Place(BaseModel):
    city: str
    zip: str | None = None


@dataclass
class Triage:
    lang: str
    confidence: float
    tags: tuple[str, ...]
    note: str | None
    place: Place


def test_a_python_value_is_checked_as_the_json_that_it_is_written_as() -> None:
    assert of(TRIAGE).validate(Triage("french", 0.5, ("a",), None, Place(city="Lyon"))) == ANSWER
    with pytest.raises(ValueError, match="'lang' must be english or french"):
        of(TRIAGE).validate(Triage("german", 0.5, (), None, Place(city="Lyon")))


def test_a_python_value_that_json_cannot_say_is_refused() -> None:
    circle: list[object] = []
    circle.append(circle)
    for value in (object(), circle):
        with pytest.raises(ValueError, match=r"\Athe answer cannot be written as JSON: .+\Z"):
            of("list[str]").validate(value)
    with pytest.raises(ValueError, match="NaN is not a number in JSON"):
        of("float").validate(float("nan"))
