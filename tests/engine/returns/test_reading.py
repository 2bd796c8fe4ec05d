"""Shapes written into the graph that do not hold, and how that is told."""

from __future__ import annotations

import pytest

from teamgraph.engine.returns.shape import shape
from teamgraph.errors import DefinitionError, Problem


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
        ("list", "a list of what? write list[str]", "list[str]"),
        ("english", "unknown type 'english'; write str, int, float, bool, list[...]", None),
        ("list[str", "unknown type 'list[str'", None),
        ("", "a type is missing here; write str", None),
        ("list[]", "a type is missing here", None),
        ("str??", "'str??' is optional twice", None),
        ("oui|", "'' in 'oui|' is not a word", None),
        ("not sure|yes", "'not sure' in 'not sure|yes' is not a word", None),
        ("yes?|no", "'yes?' in 'yes?|no' is not a word", None),
        ("yes|no|yes", "'yes|no|yes' names a word twice", None),
        ("str|int", "'str|int' is a choice of types", None),
        ("list[" * 99 + "str" + "]" * 99, "nested too deeply", None),
        ("str" + "?" * 9999, "nested too deeply", None),
        (7, "7 is not a type; write str, int", None),
        (["str"], "['str'] is not a type", None),
        (None, "None is not a type", None),
        ({}, "a mapping needs at least one key", None),
        ("app.models:Order", "'app.models:Order' is a reference, which only a graph file", None),
    ],
)
def test_every_other_text_is_an_error(text: object, told: str, meant: str | None) -> None:
    (problem,) = problems(text)
    assert told in problem.message
    assert (problem.suggestion, problem.path, problem.on_key) == (meant, (), False)


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


def test_a_mapping_that_contains_itself_is_refused() -> None:
    returns: dict[str, object] = {}
    returns["again"] = returns
    (problem,) = problems(returns)
    assert problem.message.startswith("this is nested too deeply; ")
