"""Templates that many others include are walked once, whichever way leads there."""

from __future__ import annotations

import pytest

from teamgraph.engine.prompts.library import Prompts

DEPTH = 40
"""Each template names the next one twice: 2 ** 40 ways lead to the last."""


@pytest.mark.parametrize(
    "ways",
    [
        "{% include 'NEXT' %}{% include 'NEXT' %}",
        "{% if x %}{% include 'NEXT' %}{% else %}{% include 'NEXT' %}{% endif %}",
        "{% for i in [x] %}{% include 'NEXT' %}{% else %}{% include 'NEXT' %}{% endfor %}",
        "{% include 'NEXT' %}{% import 'NEXT' as a with context %}",
        "{% block b %}{% include 'NEXT' %}{% include 'NEXT' %}{% endblock %}",
        "{% set y = x %}{% include 'left NEXT' %}{% include 'right NEXT' %}",
        "{% macro m(y) %}{% include 'NEXT' %}{% endmacro %}{{ m(x) }}{{ m(x) }}",
    ],
)
def test_what_is_wrong_in_a_part_is_found_however_many_ways_lead_there(ways: str) -> None:
    def naming(following: str) -> str:
        return ways.replace("NEXT", f"{following}.inline")

    last = "{% macro m() %}{{ x.wrong }}{{ name }}{% endmacro %}{{ m() }}"
    chain = {f"t{number}": naming(f"t{number + 1}") for number in range(DEPTH)}
    sides = {
        f"{side} t{number}": f"{{% include 't{number}.inline' %}}"
        for number in range(1, DEPTH + 1)
        for side in ("left", "right")
    }
    prompts = Prompts(inline={**chain, **sides, f"t{DEPTH}": last})
    assert prompts.problems("t0.inline") == []
    assert {read.path for read in prompts.reads("t0.inline")} >= {"x.wrong", "name"}
    (problem,) = prompts.type_problems("t0.inline", {"x": str, "name": str})
    assert problem.message.startswith("x is a text")


def test_a_part_that_goes_round_is_still_walked_from_every_side() -> None:
    prompts = Prompts(
        inline={
            "a": "{% include 'b.inline' %}{% include 'c.inline' %}",
            "b": "{{ b }}{% include 'c.inline' %}",
            "c": "{{ c }}{% include 'b.inline' %}",
        }
    )
    assert {read.name for read in prompts.reads("a.inline")} == {"b", "c"}
    assert {read.name for read in prompts.reads("b.inline")} == {"b", "c"}


def test_loose_text_is_told_at_each_tag_that_includes_it() -> None:
    include = "{% include 'part.inline' %}"
    prompts = Prompts(
        inline={"a": f"{{% user %}}hi{{% enduser %}}{include}\n{include}", "part": "text"}
    )
    assert [(problem.line, problem.column) for problem in prompts.problems("a.inline")] == [
        (1, 37),
        (2, 12),
    ]
