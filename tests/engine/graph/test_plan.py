"""The order of a graph, and the decision about each node."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teamgraph import Edge, Plan, Record
from teamgraph.engine.graph.plan import Cyclic, RunProgress, Skip


def test_nodes_that_could_come_next_come_as_declared() -> None:
    edges = [Edge("c", "a", "needs"), Edge("b", "a", "reads")]
    assert Plan(dict.fromkeys("abcd", "any"), edges).order == ("b", "c", "a", "d")


def test_nodes_that_are_declared_in_an_order_stay_in_it_without_a_search() -> None:
    edges = "[Edge('a', 'c', 'needs'), Edge('b', 'c', 'reads'), Edge('a', 'd', 'needs')]"
    code = "import sys; from teamgraph import Edge, Plan\n"
    code += f"print(*Plan(dict.fromkeys('abcde', 'any'), {edges}).order, 'networkx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a b c d e False\n"


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16))
def test_of_the_nodes_whose_sources_came_the_first_declared_comes_next(
    pairs: list[tuple[int, int]],
) -> None:
    edges = [Edge(str(low), str(high), "reads") for low, high in map(sorted, pairs) if low != high]
    for ids in ("01234567", "76543210", "20461375"):
        left, expected = list(ids), list[str]()
        while left:
            waiting = {edge.target for edge in edges if edge.source in left}
            expected.append(next(each for each in left if each not in waiting))
            left.remove(expected[-1])
        assert Plan(dict.fromkeys(ids, "any"), edges).order == tuple(expected)


def test_edges_that_go_round_are_named_in_order() -> None:
    edges = [
        Edge("a", "b", "needs"),
        Edge("b", "c", "reads"),
        Edge("c", "b", "needs"),
        Edge("c", "b", "reads"),
    ]
    with pytest.raises(Cyclic) as caught:
        Plan(dict.fromkeys("abc", "any"), edges)
    assert [(edge.source, edge.target) for edge in caught.value.cycles[0]] == [
        ("b", "c"),
        ("c", "b"),
    ]
    assert str(caught.value) == "b -> c -> b"


def test_one_look_finds_a_cycle_of_every_group_of_nodes() -> None:
    pairs = ("ba", "ab", "bc", "cd", "dc", "da", "ee", "fe", "gh", "hg")
    edges = [Edge(pair[0], pair[1], "needs") for pair in pairs]
    with pytest.raises(Cyclic) as caught:
        Plan(dict.fromkeys("abcdefgh", "any"), edges)
    found = [{edge.source for edge in cycle} for cycle in caught.value.cycles]
    assert found == [{"a", "b"}, {"e"}, {"g", "h"}]
    assert str(caught.value) == "a -> b -> a; e -> e; g -> h -> g"


def test_two_labels_to_one_node_are_one_vote() -> None:
    edges = [Edge("r", "a", "route", ("x",)), Edge("r", "a", "route", ("y",))]
    plan = Plan({"r": "any", "a": "all"}, edges)
    assert plan.stops["a"].needs == (("r", frozenset({"x", "y"})),)
    chosen = {"r": Record("r", "done", choices=("y",))}
    assert plan.decide("a", chosen) == "run"


def test_a_skip_tells_every_reason_once() -> None:
    edges = [
        Edge("r", "d", "route", ("x",)),
        Edge("a", "d", "needs"),
        Edge("s", "d", "route", ("x",)),
    ]
    plan = Plan({"r": "any", "a": "any", "s": "any", "d": "any"}, edges)
    records = {
        "r": Record("r", "done", choices=("y", "z")),
        "a": Record("a", "skipped", because="r chose y"),
        "s": Record("s", "done", choices=()),
    }
    assert plan.decide("d", records) == Skip("r chose y, z; a was skipped; s chose nothing")
    assert plan.decide("d", {"r": records["r"]}) is None


def test_what_comes_before_and_after_reaches_through_others() -> None:
    plan = Plan(
        dict.fromkeys("abcde", "any"),
        [Edge("a", "b", "needs"), Edge("b", "c", "reads"), Edge("a", "c", "needs")],
    )
    assert plan.before("c") == {"a", "b"}
    assert plan.after(["a"]) == {"b", "c"}
    assert plan.after([]) == plan.before("e") == frozenset()


def test_progress_goes_on_from_final_records_only() -> None:
    plan = Plan(dict.fromkeys("abc", "any"), [Edge("a", "b", "needs"), Edge("b", "c", "needs")])
    records = {"a": Record("a", "done"), "b": Record("b", "failed"), "gone": Record("gone", "done")}
    progress = RunProgress(plan, records)
    assert list(progress.records) == ["a"]
    decidable = progress.decidable()
    assert decidable == [1]
    progress.finish(Record("b", "done"), decidable)
    assert decidable == [1, 2]


def test_a_thousand_nodes_are_put_in_order() -> None:
    ids = [f"n{index}" for index in range(1000)]
    chain = Plan(
        dict.fromkeys(reversed(ids), "any"),
        [Edge(a, b, "needs") for a, b in itertools.pairwise(ids)],
    )
    assert chain.order == tuple(ids)
    fan = Plan(dict.fromkeys(ids, "any"), [Edge("n0", each, "needs") for each in ids[1:]])
    assert fan.stops["n0"].followers == tuple(ids[1:])
