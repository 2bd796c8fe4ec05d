"""What can happen in a graph: worked out for all ways at once, the same as one by one."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence

import pytest

from teamgraph import Edge, Graph, Plan
from teamgraph.engine.graph.fields import Join
from teamgraph.engine.graph.rules import LIMIT, Reachability
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Node
from teamgraph.nodes import Member, Router

Choices = Mapping[str, Sequence[frozenset[str]]]


def team(seed: int) -> tuple[Plan, Choices, frozenset[str]]:
    """A random graph with a few routers and nodes that may drop out."""
    chance = random.Random(seed)
    ids = [f"n{index}" for index in range(chance.randint(3, 9))]
    edges: list[Edge] = []
    choices: dict[str, list[frozenset[str]]] = {}
    for index, node_id in enumerate(ids):
        later = ids[index + 1 :]
        if len(later) >= 2 and chance.random() < 0.4:
            left, right = chance.sample(later, 2)
            edges += [Edge(node_id, left, "route", ("l",)), Edge(node_id, right, "route", ("r",))]
            choices[node_id] = [frozenset("l"), frozenset("r")]
        edges += [
            Edge(node_id, other, chance.choice(["needs", "reads"]))
            for other in later
            if chance.random() < 0.25
        ]
    joins: Sequence[Join] = ("any", "any", "all", "always")
    plan = Plan({node_id: chance.choice(joins) for node_id in ids}, edges)
    optional = frozenset(node_id for node_id in ids if chance.random() < 0.2)
    return plan, choices, optional


def turns(
    plan: Plan, choices: Choices, optional: frozenset[str]
) -> list[dict[str, frozenset[str]]]:
    """Each turn that can happen: the nodes that run, with what they choose."""
    found: list[dict[str, frozenset[str]]] = []
    ways = [choices[router] for router in choices]
    drops = itertools.product(*[(False, True)] * len(optional))
    for chosen, out in itertools.product(list(itertools.product(*ways)), list(drops)):
        choice = dict(zip(choices, chosen, strict=True))
        dropped = {node_id for node_id, is_out in zip(sorted(optional), out, strict=True) if is_out}
        ran: dict[str, frozenset[str]] = {}
        for node_id in plan.order:
            stop = plan.stops[node_id]
            votes = [
                source in ran and (labels is None or not labels.isdisjoint(ran[source]))
                for source, labels in stop.needs
            ]
            lets = {"any": any(votes), "all": all(votes), "always": True}[stop.join] or not votes
            if lets and node_id not in dropped:
                ran[node_id] = choice.get(node_id, frozenset())
        found.append(ran)
    return found


@pytest.mark.parametrize("seed", range(150))
def test_all_at_once_is_the_same_as_one_by_one(seed: int) -> None:
    plan, choices, optional = team(seed)
    reachability = Reachability(plan, choices, optional)
    certain = turns(plan, choices, frozenset())
    for node_id in plan.order:
        assert reachability.never_runs(node_id) == (not any(node_id in ran for ran in certain))
        drops = turns(plan, choices, optional - {node_id})
        for source in plan.before(node_id):
            missing = any(node_id in ran and source not in ran for ran in drops)
            assert reachability.runs_without(node_id, [source]) == missing
        pair = sorted(plan.before(node_id))[:2]
        missing = any(node_id in ran and not any(each in ran for each in pair) for ran in drops)
        assert reachability.runs_without(node_id, pair) == missing
        for router, labels in plan.stops[node_id].needs:
            if labels is not None:
                unchosen = any(
                    node_id in ran and router in ran and labels.isdisjoint(ran[router])
                    for ran in certain
                )
                assert reachability.runs_unchosen(node_id, router) == unchosen


def crowd(count: int) -> tuple[Plan, Choices]:
    """Many routers, each with a way to `end`, which waits for all of them."""
    routers = [f"r{index}" for index in range(count)]
    edges = [Edge(router, "end", "route", ("yes",)) for router in routers]
    choices = {router: [frozenset({"yes"}), frozenset({"no"})] for router in routers}
    return Plan({**dict.fromkeys(routers, "any"), "end": "all"}, edges), choices


def test_where_there_are_too_many_ways_nothing_is_called_impossible() -> None:
    plan, choices = crowd(40)
    assert 2 ** len(choices) > LIMIT
    reachability = Reachability(plan, choices, frozenset())
    assert not reachability.never_runs("end")
    assert not reachability.runs_unchosen("end", "r0")


def test_where_choices_are_left_out_nothing_is_called_impossible() -> None:
    plan, choices = crowd(2)
    fewer = {**choices, "r0": [frozenset({"no"})]}
    assert Reachability(plan, fewer, frozenset()).never_runs("end")
    assert not Reachability(plan, fewer, frozenset(), frozenset({"r0"})).never_runs("end")


def test_what_is_missing_somewhere_is_found_in_a_crowd_too() -> None:
    routers = [f"r{index}" for index in range(30)]
    labels = ("a", "b", "c")
    edges = [Edge(router, f"{router}_a", "route", ("a",)) for router in routers]
    edges += [Edge(f"{router}_a", "end", "reads") for router in routers]
    joins: dict[str, Join] = dict.fromkeys([*routers, *(f"{r}_a" for r in routers), "end"], "any")
    choices = {router: [frozenset({label}) for label in labels] for router in routers}
    reachability = Reachability(Plan(joins, edges), choices, frozenset({"r0"}))
    assert all(reachability.runs_without("end", [f"{router}_a"]) for router in routers)
    assert reachability.runs_without("end", ["r0"])
    assert not reachability.runs_without("end", ["r1"])


def one_of_two(template: str) -> Graph:
    """A router leads to one of two members, and the last node reads them."""
    nodes: dict[str, Node] = {
        "router": Router(routes={"left": "left", "right": "right"}),
        "left": Member(),
        "right": Member(),
        "end": Member(needs=["left", "right"], join="any", prompt=f"{template}\n"),
    }
    return Graph(name="t", nodes=nodes)


@pytest.mark.parametrize(
    "template",
    [
        "{{ left.output if left is defined else right.output }}",
        "{% if left %}{{ left.output }}{% else %}{{ right.output }}{% endif %}",
        "{% if left is undefined %}{{ right.output }}{% endif %}",
        "{% if not (left or not right) %}{{ right.output }}{% endif %}",
        "{% if left %}{% elif right %}{% else %}{{ left.output }}{% endif %}",
    ],
)
def test_where_one_of_two_did_not_run_the_other_did(template: str) -> None:
    for label in ("left", "right"):
        assert one_of_two(template).render(assume={"router": label})["end"].messages


@pytest.mark.parametrize(
    "template",
    [
        "{{ right.output }}",
        "{% if left %}{{ right.output }}{% endif %}",
        "{% if left %}{% else %}{{ left.output }}{% endif %}",
        "{% if left and right %}{% else %}{{ right.output }}{% endif %}",
        "{% macro m() %}{{ right.output }}{% endmacro %}{% if not left %}{{ m() }}{% endif %}",
    ],
)
def test_what_may_not_have_run_needs_a_guard_of_its_own(template: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        one_of_two(template)
    assert [problem.code for problem in caught.value.problems] == ["P004"]
