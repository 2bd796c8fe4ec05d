"""Shapes that a file with a JSON Schema says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from teamgraph.engine.returns.shape import Shape
from teamgraph.errors import DefinitionError
from teamgraph.kinds import shape

ORDER = {
    "type": "object",
    "properties": {"item": {"$ref": "#/$defs/item"}, "count": {"type": "integer", "minimum": 1}},
    "required": ["item"],
    "$defs": {"item": {"$anchor": "item", "type": "string"}},
}


def written(folder: Path, schema: object) -> Shape:
    (folder / "order.json").write_text(json.dumps(schema), encoding="utf-8")
    return shape("order.json", name="order", folder=folder)


def refusal(folder: Path, schema: object) -> str:
    with pytest.raises(DefinitionError) as caught:
        written(folder, schema)
    assert {problem.code for problem in caught.value.problems} == {"G033"}
    return str(caught.value)


def test_the_schema_goes_to_the_model_as_it_stands(tmp_path: Path) -> None:
    made = written(tmp_path, ORDER)
    assert made.schema == {"title": "order", **ORDER}
    assert made.type is None
    assert made.parse('{"item": "tea", "count": 2}') == {"item": "tea", "count": 2}
    assert written(tmp_path, {"title": "Mine", **ORDER}).schema["title"] == "Mine"


def test_a_list_is_not_wrapped(tmp_path: Path) -> None:
    assert written(tmp_path, {"type": "array"}).parse("[1]") == [1]


def test_without_a_folder_the_file_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, ORDER)
    monkeypatch.chdir(tmp_path)
    assert shape("order.json", name="order").validate({"item": "tea"}) == {"item": "tea"}


def test_a_misfit_names_the_field_and_what_is_wrong(tmp_path: Path) -> None:
    made = written(tmp_path, ORDER)
    with pytest.raises(ValueError, match="'count': 0 is less than the minimum of 1"):
        made.parse('{"item": "tea", "count": 0}')
    with pytest.raises(ValueError, match="the answer: 'item' is a required property"):
        made.parse("{}")
    with pytest.raises(ValueError, match=r"\A'item': \[0, .{190,200}\.\.\.\Z"):
        made.validate({"item": list(range(999))})


@pytest.mark.parametrize(
    ("dialect", "fits"), [("draft-04", False), ("draft-06", True), ("draft-07", True)]
)
def test_the_draft_that_is_named_decides(tmp_path: Path, dialect: str, fits: bool) -> None:
    """Only in draft 4 a whole number may not be written as 1.0."""
    named = {"$schema": f"http://json-schema.org/{dialect}/schema#", "type": "integer"}
    made = written(tmp_path, named)
    if fits:
        assert made.parse("1.0") == 1
    else:
        with pytest.raises(ValueError, match="is not of type 'integer'"):
            made.parse("1.0")


@pytest.mark.parametrize("dialect", ["https://example.org/mine", 7, []])
def test_an_unknown_draft_is_refused(tmp_path: Path, dialect: object) -> None:
    assert f"$schema {dialect!r} is unknown" in refusal(tmp_path, {"$schema": dialect})


def test_what_is_no_json_schema_is_refused(tmp_path: Path) -> None:
    wrong = {"properties": {"item": {"type": "strng"}}}
    told = "'order.json': 'properties.item.type' is not a JSON Schema: 'strng' is not"
    assert told in refusal(tmp_path, wrong)
    assert "'order.json' is not a JSON Schema: it is not an object" in refusal(tmp_path, [1])


def test_all_references_must_be_in_the_file(tmp_path: Path) -> None:
    schema = {
        "properties": {
            "a": {"$ref": "https://example.org/a.json"},
            "b": {"anyOf": [{"$ref": "#/$defs/b"}, {"$ref": "#item"}]},
            "c": {"$ref": "#nowhere"},
            "d": {"$id": "https://example.org/d"},
            "$ref": {"type": "string"},
        },
        "$defs": {"item": {"$anchor": "item"}},
    }
    first, second, third, fourth = refusal(tmp_path, schema).splitlines()
    assert (
        "'properties.a.$ref' refers to 'https://example.org/a.json', outside of the file" in first
    )
    assert "'properties.b.anyOf[0].$ref' refers to '#/$defs/b', which is not in the file" in second
    assert "'properties.c.$ref' refers to '#nowhere', which is not in the file" in third
    assert "'properties.d.$id' refers to 'https://example.org/d', outside of the file" in fourth


def test_a_schema_that_leads_back_to_itself_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its JSON Schema refers to itself"):
        written(tmp_path, {"$ref": "#"}).parse("1")


def test_a_missing_file_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    written(tmp_path, ORDER)
    with pytest.raises(DefinitionError, match=r"no JSON Schema file 'ordr\.json'") as caught:
        shape("ordr.json", name="order", folder=tmp_path)
    assert caught.value.problems[0].suggestion == "order.json"
    with pytest.raises(DefinitionError) as caught:
        shape(f"{tmp_path.name}/ordr.json", name="order", folder=tmp_path.parent)
    assert caught.value.problems[0].suggestion == f"{tmp_path.name}/order.json"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_json_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "order.json").write_bytes(content)
    with pytest.raises(
        DefinitionError, match=r"the JSON Schema file 'order\.json' cannot be read: "
    ):
        shape("order.json", name="order", folder=tmp_path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "order.json").mkdir()
    with pytest.raises(DefinitionError, match="cannot be read: Is a directory"):
        shape("order.json", name="order", folder=tmp_path)


def test_a_pattern_is_matched_in_linear_time(tmp_path: Path) -> None:
    found = written(tmp_path, {"type": "string", "pattern": "^(a+)+$"})
    with pytest.raises(ValueError, match="aaa"):
        found.validate("a" * 5_000 + "!")
    assert found.validate("a" * 5_000)


def test_a_pattern_says_nothing_of_what_is_no_text(tmp_path: Path) -> None:
    found = written(tmp_path, {"pattern": "^a+$"})
    assert found.parse("3") == 3


@pytest.mark.parametrize("pattern", ["(?=a)a", "(?<!b)a", r"(a)\1"])
def test_a_pattern_without_a_bound_is_refused(tmp_path: Path, pattern: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    told = refusal(tmp_path, schema)
    assert "properties.a.pattern" in told
    assert "several patterns in `allOf` must all match" in told


def test_several_patterns_must_all_match_in_place_of_look_ahead(tmp_path: Path) -> None:
    made = written(
        tmp_path, {"type": "string", "allOf": [{"pattern": "[0-9]"}, {"pattern": "[a-z]"}]}
    )
    assert made.validate("a1") == "a1"
    for text in ("a", "1"):
        with pytest.raises(ValueError, match="does not match"):
            made.validate(text)


def test_parts_that_double_without_end_are_refused(tmp_path: Path) -> None:
    twice = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
    schema = {"$defs": {**twice, "a40": {"type": "string"}}, "$ref": "#/$defs/a0"}
    assert "so often that no check would end" in refusal(tmp_path, schema)


def test_parts_that_lead_back_to_themselves_are_fine(tmp_path: Path) -> None:
    tree = {"type": "object", "properties": {"inner": {"type": "array", "items": {"$ref": "#"}}}}
    assert written(tmp_path, tree).validate({"inner": [{"inner": []}]})


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "shape.json")
    with pytest.raises(DefinitionError, match="not a regular file"):
        shape("shape.json", name="order", folder=tmp_path)
