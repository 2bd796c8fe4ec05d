"""What `reads` tells holds when a template is rendered: over random templates and variables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from teamgraph.engine.prompts.library import Prompts
from teamgraph.engine.prompts.static.walk import VariableRead
from teamgraph.errors import PromptError

NAMES = st.sampled_from("abcde")


def expressions() -> st.SearchStrategy[str]:
    leaves = NAMES | st.just("'text'")
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds("({} ~ {})".format, inner, inner),
            st.builds("({} and {})".format, inner, inner),
            st.builds("({} or {})".format, inner, inner),
            st.builds("(not {})".format, inner),
            st.builds("({} if {} else {})".format, inner, conditions(), inner),
            st.builds("({} | default({}))".format, inner, inner),
            st.builds("({} | upper)".format, inner),
            st.builds("[{}, {}]".format, inner, inner),
        ),
        max_leaves=4,
    )


def conditions() -> st.SearchStrategy[str]:
    leaves = st.one_of(
        NAMES,
        st.builds("{} is defined".format, NAMES),
        st.builds("{} is not defined".format, NAMES),
        st.builds("{} is undefined".format, NAMES),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds("({} and {})".format, inner, inner),
            st.builds("({} or {})".format, inner, inner),
            st.builds("(not {})".format, inner),
        ),
        max_leaves=3,
    )


def bodies() -> st.SearchStrategy[str]:
    statements = st.one_of(
        st.builds("{{{{ {} }}}}".format, expressions()),
        st.builds("{{% set {} = {} %}}".format, NAMES, expressions()),
        st.builds("{{{{ m({}) }}}}".format, expressions()),
        st.just("{% include 'part.inline' %}"),
        st.just("{% from 'module.inline' import m with context %}"),
    )
    return st.recursive(
        st.lists(statements, max_size=3).map("".join),
        lambda inner: st.one_of(
            st.builds("{{% if {} %}}{}{{% endif %}}{}".format, conditions(), inner, inner),
            st.builds(
                "{{% if {} %}}{}{{% elif {} %}}{}{{% else %}}{}{{% endif %}}".format,
                *(conditions(), inner, conditions(), inner, inner),
            ),
            st.builds(
                "{{% for {} in {} | string if {} %}}{}{{% else %}}{}{{% endfor %}}{}".format,
                *(NAMES, expressions(), conditions(), inner, inner, inner),
            ),
            st.builds("{{% set {} %}}{}{{% endset %}}{}".format, NAMES, inner, inner),
            st.builds(
                "{{% with {} = {} %}}{}{{% endwith %}}{}".format,
                *(NAMES, expressions(), inner, inner),
            ),
            st.builds("{{% macro m({}) %}}{}{{% endmacro %}}{}".format, NAMES, inner, inner),
            st.builds("{{% filter upper %}}{}{{% endfilter %}}{}".format, inner, inner),
        ),
        max_leaves=5,
    )


@settings(max_examples=100, deadline=None)
@given(bodies(), bodies(), bodies(), st.frozensets(NAMES))
def test_a_template_that_is_given_what_it_reads_is_rendered(
    body: str, part: str, macro: str, given_too: frozenset[str]
) -> None:
    macro = macro.replace("{% from 'module.inline' import m with context %}", "")  # itself
    module = f"{{% macro m(x) %}}{macro.replace('m(', 'n(')}{{% endmacro %}}"
    prompts = Prompts(
        inline={
            "t": "{% macro m(x) %}{% endmacro %}" + body,
            "part": part.replace("'part.inline'", "'none.jinja' ignore missing"),
            "module": module.replace("'part.inline'", "'none.jinja' ignore missing"),
        }
    )
    if problems := prompts.problems("t.inline"):
        assert {"set only later" in problem.message for problem in problems} == {True}
        return
    reads = prompts.reads("t.inline")
    needed = {read.name for read in reads if not read.guarded}
    variables = {name: f"<{name}>" for name in needed | given_too if name in "abcde"}
    if needed <= set("abcde"):
        assert failure(prompts, variables) is None


def failure(prompts: Prompts, variables: dict[str, str]) -> str | None:
    """What was missing; that a template calls itself without end, or grows, is no matter here."""
    try:
        prompts.render("t.inline", variables)
    except PromptError as error:
        return str(error) if "undefined" in str(error) else None
    return None


def test_reads_are_values() -> None:
    read = VariableRead("a", "a.b", "t", 1, 2, guarded=True)
    assert replace(read, guarded=False) != read
    with pytest.raises(AttributeError):
        read.name = "b"  # type: ignore[misc]  # that it cannot be set is the point
