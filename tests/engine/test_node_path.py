"""The path of a node in nested graphs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teamgraph.engine.node_path import ROOT, NodePath, put_inside, select_inside

IDS = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
STEPS = st.tuples(IDS, st.none() | st.integers(1, 99)).map(
    lambda step: step[0] if step[1] is None else f"{step[0]}[{step[1]}]"
)
PATHS = st.lists(STEPS, min_size=1, max_size=4).map(lambda steps: NodePath.from_steps(*steps))


@given(PATHS)
def test_a_path_is_its_steps_in_order(path: NodePath) -> None:
    assert NodePath.parse(str(path)) == path
    assert NodePath.from_steps(*path.steps) == path
    assert path.parent.child(path.steps[-1]) == path
    assert path.node_id == path.steps[-1].partition("[")[0]
    assert path.outermost == path.steps[0].partition("[")[0]
    assert type(str(path)) is str


@given(PATHS, PATHS)
def test_what_is_inside_has_a_path_relative_to_what_is_around_it(
    outer: NodePath, inner: NodePath
) -> None:
    path = outer.child(inner)
    assert path.is_inside(outer)
    assert path.is_inside(ROOT)
    assert path.relative_to(outer) == inner
    assert path.relative_to(ROOT) == path
    assert not outer.is_inside(path)
    assert not outer.is_inside(outer)
    assert select_inside({path: 1, outer: 2}, outer) == {inner: 1}
    assert put_inside({inner: 1}, outer) == {path: 1}


@given(PATHS, st.integers(1, 9))
def test_a_numbered_round_is_inside_its_node_and_names_the_number(
    inner: NodePath, number: int
) -> None:
    path = NodePath("research").at(number)
    assert (path.node_id, path.number) == ("research", number)
    assert path.child(inner).is_inside("research")
    assert path.child(inner).is_inside(path)
    assert not NodePath("research_more").is_inside("research")
    with pytest.raises(ValueError, match="is not inside 'research'"):
        path.child(inner).relative_to("research")


def test_the_root_has_neither_steps_nor_parents() -> None:
    assert (ROOT.steps, ROOT.parent, ROOT.child("a")) == ((), ROOT, "a")
    assert NodePath("a").number is None
    assert {"a/b": 1}[NodePath("a").child("b")] == 1


@pytest.mark.parametrize(
    "text", ["", "/", "a/", "/a", "a//b", "A", "a[0]", "a[]", "a[1", "a]", "a b", "a[01]", "a\n"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not the path of a node"):
        NodePath.parse(text)
