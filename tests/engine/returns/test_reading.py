"""Shapes written into the graph that do not hold, and how that is told."""

from __future__ import annotations

import pytest

from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import shape


def problems(returns: object) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        shape(returns, name="triage")
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "told", "meant"),
    [
        ("strng", "unknown type 'strng'", "str"),
        ("String", "unknown type 'String'", "str"),
        ("STR", "unknown type 'STR'", "str"),
        ("integer", "unknown type 'integer'", "int"),
        ("boolean", "unknown type 'boolean'", "bool"),
        ("number", "unknown type 'number'", "float"),
        ("list[strng]?", "unknown type 'strng'", "str"),
        ("list", "a list of what?", "list[str]"),
        ("array", "a list of what?", "list[str]"),
        ("List[int]", "unknown type 'List[int]'", "list[int]"),
        (
            "dict",
            "'dict' does not say which keys",
            None,
        ),
        ("english", "unknown type 'english'; write str, int, float, bool, list[...]", None),
        ("list[str", "unknown type 'list[str'", None),
        ("", "a type is missing here; write str", None),
        ("list[]", "a type is missing here", None),
        ("str??", "'str??' is optional twice", None),
        ("oui|", "'' in 'oui|' is not a word", None),
        ("a, b|c", "'a, b' in 'a, b|c' is not a word or some words", None),
        ("yes?|no", "'yes?' in 'yes?|no' is not a word", None),
        ("yes|no|yes", "'yes|no|yes' names a word twice", None),
        ("str|int", "'str|int' is a choice of types", None),
        ("str | None", "a type that may be null has a ?", "str?"),
        ("int|str|null", "is a choice of types", None),
        ("list[str]|list[int]", "'list[str]' in 'list[str]|list[int]' is not a word", None),
        ("list[{a: str}", "unknown type 'list[{a: str}'", None),
        ("{a: str, b}", "'b' in '{a: str, b}' is no key with a type, such as reason: str", None),
        ("{}", "'' in '{}' is no key with a type", None),
        ("list[{a b: str}]", "the key 'a b' must be a name", "a_b"),
        ("{a: strng}", "unknown type 'strng'", "str"),
        ("{a: str, a: int}", "'{a: str, a: int}' has the key 'a' twice", None),
        ("{a: " * 20 + "str" + "}" * 20, "nested too deeply", None),
        (["good", "bad"], "a list has the type of its items, [str]", "good|bad"),
        ([], "a list has one item, the type of all that are in it, such as [str], not 0", None),
        ([{"a": "str"}, 7], "a list has one item", None),
        ([float], "write the type float as a text", "float"),
        ({"type": "object", "properties": {}}, "this is a JSON Schema; write it to a file", None),
        ("list[" * 99 + "str" + "]" * 99, "nested too deeply", None),
        ("str" + "?" * 9999, "nested too deeply", None),
        (7, "7 is not a type; write str, int", None),
        (None, "None is not a type", None),
        ({}, "a mapping needs at least one key", None),
        ("app.models:Order", "'app.models:Order' is a reference, which only a graph file", None),
    ],
)
def test_every_other_text_is_an_error(text: object, told: str, meant: str | None) -> None:
    (problem,) = problems(text)
    assert told in problem.message
    assert (problem.suggestion, problem.on_key) == (meant, False)
    assert problem.path == ((0,) if text == [float] else ())


def test_all_problems_are_told_at_once_each_at_its_place() -> None:
    found = problems(
        {"lang": "strng", "at": {"zip code": "str", "city": "flot"}, 3: "", "ok": "int"}
    )
    assert [problem.path for problem in found] == [
        ("lang",),
        ("at", "zip code"),
        ("at", "city"),
        ("3",),
        ("3",),
    ]
    assert [problem.suggestion for problem in found] == ["str", "zip_code", "float", None, None]
    assert [problem.on_key for problem in found] == [False, True, False, True, False]


def test_a_mapping_or_list_that_contains_itself_is_refused() -> None:
    mapping: dict[str, object] = {}
    mapping["again"] = mapping
    items: list[object] = []
    items.append(items)
    for returns in (mapping, items):
        (problem,) = problems(returns)
        assert problem.message.startswith("this is nested too deeply; ")
