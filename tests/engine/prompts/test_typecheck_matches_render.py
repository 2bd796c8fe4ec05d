"""A template that keeps its contract is rendered without a complaint, and prints no None."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph.engine.prompts.library import Prompts


@dataclass
class Leaf:
    word: Literal["one", "two"]
    note: str | None


@dataclass
class Branch:
    leaf: Leaf
    other: Leaf | None
    leaves: list[Leaf]
    names: dict[str, str]


LEAVES = st.builds(Leaf, st.sampled_from(("one", "two")), st.none() | st.just("note"))
BRANCHES = st.builds(
    Branch, LEAVES, st.none() | LEAVES, st.lists(LEAVES, max_size=2), st.just({"key": "name"})
)

PATHS = st.sampled_from(
    (
        *("b", "b.leaf", "b.leaf.word", "b.leaf.note", "b.other", "b.other.word", "b.other.note"),
        *("b.leaves", "b.leaves.word", "b.leaves[0:1]", "b.names.key", "b.names", "b.wrong"),
        *("t", "t.word", "x", "x.word", "x.note", "x.leaf.note", "b['other']['note']"),
    )
)
PASSED = st.sampled_from(("", " | upper", " | default('d')", " | default('d', true)", " | tojson"))
VALUES = st.builds("({}{})".format, PATHS, PASSED) | st.just("'text'")
TESTS = st.recursive(
    st.one_of(
        PATHS,
        st.builds("{} is defined".format, PATHS),
        st.builds("{} is not none".format, PATHS),
        st.builds("{} == none".format, PATHS),
        st.builds("{} != 'one'".format, PATHS),
    ),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("(not {})".format, inner),
    ),
    max_leaves=3,
)
SHOWN = st.one_of(
    VALUES,
    st.builds("({} if {} else {})".format, VALUES, TESTS, VALUES),
    st.builds("({} or {})".format, VALUES, VALUES),
    st.builds("({} and {})".format, VALUES, VALUES),
    st.builds("({} ~ {})".format, VALUES, VALUES),
)
BODIES = st.recursive(
    st.builds("{{{{ {} }}}}".format, SHOWN) | st.builds("{{% set x = {} %}}".format, SHOWN),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("{{% if {} %}}{}{{% else %}}{}{{% endif %}}".format, TESTS, inner, inner),
        st.builds("{{% for x in {} if {} %}}{}{{% endfor %}}".format, PATHS, TESTS, inner),
        st.builds("{{% with x = {} %}}{}{{% endwith %}}".format, SHOWN, inner),
        st.builds(
            "{{% macro m(x) %}}{}{{% endmacro %}}{{{{ m({}) }}}}{}".format, inner, VALUES, inner
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(BODIES, st.lists(BRANCHES, min_size=1, max_size=3))
def test_what_keeps_its_contract_is_rendered(body: str, branches: list[Branch]) -> None:
    prompts = Prompts(inline={"t": body})
    if prompts.problems("t.inline") or prompts.type_problems("t.inline", {"b": Branch, "t": Leaf}):
        return
    if any(read.name == "x" for read in prompts.reads("t.inline")):
        return
    for branch in branches:
        (message,) = prompts.render("t.inline", {"b": branch, "t": branch.leaf})
        assert "None" not in message.content
