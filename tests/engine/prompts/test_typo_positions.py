"""What is said against a template stands where the fault is: over random templates with one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

import pytest

from teamgraph.engine.prompts.library import Prompts
from teamgraph.errors import Problem
from tests.soundness.world import KNOWN
from tests.soundness.writer import NAMES, Writer

_CODE = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_FIELD = re.compile(r"\.([a-z_]+)\b(?!\()")
_TOKEN = re.compile(r"[A-Za-z_]\w*|\d|['\"(\[{+-]|\{%|$")
TEMPLATES = 50


def mutations(source: str) -> Iterator[tuple[str, int, str]]:
    """The source with the name of one field changed, where, and the new name."""
    for code in _CODE.finditer(source):
        if "loop" in code.group() or "ns" in code.group():
            continue
        for found in _FIELD.finditer(code.group()):
            at = code.start() + found.start(1)
            wrong = f"{found[1]}q"
            yield source[:at] + wrong + source[at + len(found[1]) :], at, wrong


def told(source: str) -> list[Problem]:
    """The errors of a template."""
    prompts = Prompts(inline={"t": source})
    return prompts.problems("t.inline") or [
        each for each in prompts.type_problems("t.inline", KNOWN) if each.severity == "error"
    ]


def standing(problem: Problem, source: str) -> str:
    """The source from where a problem is said to stand."""
    assert problem.line is not None
    assert problem.column is not None
    return source.split("\n")[problem.line - 1][problem.column - 1 :]


@pytest.mark.parametrize("part", range(3))
def test_a_wrong_field_is_told_at_the_field(part: int) -> None:
    exact = missed = elsewhere = 0
    for seed in range(part * TEMPLATES, (part + 1) * TEMPLATES):
        chance = Random(f"exact {seed}")
        source = Writer(chance).body_alone()
        if told(source):
            continue
        for text, at, wrong in chance.sample(every := [*mutations(source)], min(3, len(every))):
            problems = told(text)
            named = [each for each in problems if f"'{wrong}'" in each.message]
            exact += any(standing(each, text).startswith(wrong) for each in named)
            missed += not problems
            elsewhere += any(not standing(each, text).startswith(wrong) for each in named)
            assert all(_TOKEN.match(standing(each, text)) for each in problems), (text, problems)
            assert text[at:].startswith(wrong)
    print(f"{exact} at the field, {missed} missed, {elsewhere} elsewhere")  # noqa: T201
    assert exact > 30
    assert (missed, elsewhere) == (0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_name_is_told_at_the_name(name: str) -> None:
    for before in ("", "é\n  ", "{# a #}\n\t", "{% if 1 %}\r\n"):
        source = f"{before}{{{{ {name}.nothing_like_it }}}}" + "{% endif %}" * ("if" in before)
        prompts = Prompts(inline={"t": source})
        (read,) = prompts.reads("t.inline")
        text = source.replace("\r\n", "\n")
        line = text.split("\n")[read.line - 1]
        assert line[read.column - 1 :].startswith(f"{name}.")
        for each in prompts.type_problems("t.inline", KNOWN):
            assert standing(each, text).startswith((name, "nothing_like_it"))
