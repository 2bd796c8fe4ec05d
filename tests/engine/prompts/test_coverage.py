"""Every way that a template can take is counted, and the text stays what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from teamgraph.engine.prompts.branch_coverage import CURRENT_COVERAGE, Coverage
from teamgraph.engine.prompts.library import Prompts


@pytest.fixture
def coverage() -> Iterator[Coverage]:
    """What is measured while the test runs."""
    measured = Coverage()
    token = CURRENT_COVERAGE.set(measured)
    yield measured
    CURRENT_COVERAGE.reset(token)


def taken(coverage: Coverage) -> dict[str, int]:
    """How often each branch was taken, by its place and its words."""
    return {f"{one.line}:{one.column} {one.what}": n for one, n in coverage.counts.items()}


def rendered(text: str, *renderings: Mapping[str, object]) -> list[str]:
    prompts = Prompts(inline={"t": text})
    return [prompts.render("t.inline", variables)[0].content for variables in renderings]


def test_each_way_of_a_condition_is_counted(coverage: Coverage) -> None:
    text = "{% if a %}A{% elif b %}B{% else %}C{% endif %}\n{% if a %}D{% endif %}"
    said = rendered(text, {"a": 1, "b": 0}, {"a": 0, "b": 0})
    assert said == ["AD", "C"]
    assert taken(coverage) == {
        "1:1 template rendered": 2,
        "1:4 else taken": 1,
        "1:4 if taken": 1,
        "1:20 elif taken": 0,
        "2:4 if not taken": 1,
        "2:4 if taken": 1,
    }


def test_a_loop_runs_or_is_empty(coverage: Coverage) -> None:
    text = "{% for x in xs %}{{ x }}{{ loop.length }}{% endfor %}"
    assert rendered(text, {"xs": "ab"}, {"xs": ""}, {"xs": ()}) == ["a2b2", "", ""]
    assert taken(coverage)["1:4 for ran"] == 2
    assert taken(coverage)["1:4 for empty"] == 2


def test_a_loop_that_cannot_be_empty_is_not_asked_to_be(coverage: Coverage) -> None:
    text = """{% if xs %}- {% for x in xs %}{{ x }}{% endfor %}{% endif %}
{% for x in xs %}{# never empty #}{{ x }}{% endfor %}
{% if xs %}{% for x in xs if x %}{% endfor %}{% for y in ys %}{% endfor %}{% endif %}"""
    rendered(text, {"xs": [1], "ys": []})
    empty = {place: count for place, count in taken(coverage).items() if "for empty" in place}
    assert empty == {"3:15 for empty": 0, "3:49 for empty": 1}


def test_a_line_can_be_left_out_of_the_count(coverage: Coverage) -> None:
    rendered("{% if a %}{# no cover #}A{% endif %}", {"a": 0})
    assert all(taken(coverage).values())


def test_macros_and_inline_conditions_are_counted(coverage: Coverage) -> None:
    text = "{% macro m(x) %}{{ 'Y' if x else 'N' }}{{ 'y' if x }}{% endmacro %}{{ m(1) }}"
    text += "{% macro n() %}{% endmacro %}"
    assert rendered(text, {}) == ["Yy"]
    places = {place.partition(" ")[2]: count for place, count in taken(coverage).items()}
    assert places == {
        "macro m called": 1,
        "macro n called": 0,
        "inline if": 1,
        "inline else": 0,
        "template rendered": 1,
    }


def test_a_condition_at_the_top_of_a_child_is_counted(coverage: Coverage, tmp_path: Path) -> None:
    (tmp_path / "base.jinja").write_text("{% block b %}{% if a %}{% endif %}{% endblock %}")
    child = "{% extends 'base.jinja' %}{% if a %}{% set c = 1 %}{% endif %}"
    (tmp_path / "child.jinja").write_text(child)
    Prompts([tmp_path]).render("child.jinja", {"a": 1})
    counts = {(Path(one.template).name, one.what): n for one, n in coverage.counts.items()}
    assert counts["child.jinja", "if taken"] == 1
    assert counts["base.jinja", "if taken"] == 1
    assert counts["base.jinja", "template rendered"] == 1


def test_a_template_with_roles_stays_what_it_is(coverage: Coverage) -> None:
    text = "{% system %}{% if a %}A{% endif %}{% endsystem %}"
    text += "{% for x in xs %}{% user %}{{ x }}{% enduser %}{% endfor %}"
    messages = Prompts(inline={"t": text}).render("t.inline", {"a": 1, "xs": ["u", "v"]})
    assert [(one.role, one.content) for one in messages] == [
        ("system", "A"),
        ("user", "u"),
        ("user", "v"),
    ]
    assert sum(taken(coverage).values()) == 4


def test_templates_that_nobody_named_are_counted_too(coverage: Coverage, tmp_path: Path) -> None:
    (tmp_path / "unused.jinja").write_text("hello")
    (tmp_path / "broken.jinja").write_text("{% if %}")
    Prompts([tmp_path]).probe()
    names = {Path(one.template).name: n for one, n in coverage.counts.items()}
    assert names["unused.jinja"] == 0
    assert "broken.jinja" not in names


def test_where_nothing_is_measured_there_is_no_probe(coverage: Coverage) -> None:
    token = CURRENT_COVERAGE.set(None)
    prompts = Prompts(inline={"t": "{% if a %}A{% endif %}"})
    CURRENT_COVERAGE.reset(token)
    prompts.render("t.inline", {"a": 1})
    assert not coverage.counts
