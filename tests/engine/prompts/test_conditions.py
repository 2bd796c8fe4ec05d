"""Conditions: parsed once, their names known, their answer true or false."""

from __future__ import annotations

import pytest

from teamgraph.engine.prompts.library import Prompts
from teamgraph.errors import DefinitionError, PromptError

PROMPTS = Prompts()


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("router.output == 'french' and turns > 1", True),
        ("router.output in ['german']", False),
        ("turns", True),
        ("missing", False),
        ("not missing", True),
        ("missing is defined or turns == 2", True),
        ("'' ~ ''", False),
        ("[x for_ x] is defined" if False else "(turns\n  + 1) == 3", True),
        ("router.output | length > 3", True),
        ("turns if router else missing", True),
    ],
)
def test_a_condition_is_true_or_false(source: str, answer: bool) -> None:
    condition = PROMPTS.expression(source)
    assert condition.test({"router": {"output": "french"}, "turns": 2}) is answer
    assert condition.source == source


def test_a_condition_knows_what_it_reads() -> None:
    found = PROMPTS.expression("a.b.c == 1\n and é is defined and f").reads
    assert [(r.name, r.path, r.line, r.column, r.guarded, r.file) for r in found] == [
        ("a", "a.b.c", 1, 1, False, ""),
        ("é", "é", 2, 6, True, ""),
        ("f", "f", 2, 23, True, ""),
    ]


@pytest.mark.parametrize(
    ("source", "line", "column", "suggestion"),
    [
        ("", 1, 1, None),
        ("a b", 1, 3, None),
        ("a }} {{ b", 1, 6, None),
        ("a ==\n = b", 2, 2, None),
        ("a | uper", 1, 5, "upper"),
        ("a is defned", 1, 6, "defined"),
        ("(a", 1, 2, None),
        ("a ? b", 1, 3, None),
        ("a %} x", 1, 4, None),
        ("(" * 500 + "a" + ")" * 500, 1, 1, None),
        ("+".join("a" * 900), 1, 1, None),
        ("9" * 5000, 1, 1, None),
    ],
)
def test_a_condition_that_does_not_hold_is_told_at_its_place(
    source: str, line: int, column: int, suggestion: str | None
) -> None:
    with pytest.raises(DefinitionError) as caught:
        PROMPTS.expression(source)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == (None, line, column)
    assert problem.suggestion == suggestion


@pytest.mark.parametrize("source", ["a.b", "missing.x", "missing > 1", "a.b is defined and 1 / 0"])
def test_a_condition_that_cannot_be_told_is_an_error(source: str) -> None:
    with pytest.raises(PromptError) as caught:
        PROMPTS.expression(source).test({"a": []} if "is" not in source else {"a": {"b": 1}})
    assert caught.value.template == source


def test_a_condition_is_bounded_too() -> None:
    with pytest.raises(PromptError, match="longer than"):
        PROMPTS.expression("'x' * 10 ** 9").test({})
