"""The rules of a run as properties, with graphs, loops, maps, swarms and people inside each other.

Random trees of graphs are run by a `Runner` with a store, and must end as `specification` says, in
one pass with no scheduler: also in any order of completion, and after crashes and failures.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teamgraph import JSON, Graph, MemoryStore, Run, Runner
from teamgraph.engine.graph.fields import Join
from teamgraph.errors import NodeError
from teamgraph.kinds import Context, HandsOver, Ids, Node, Result
from teamgraph.nodes import Human, Loop, Map, SubGraph, Swarm

Kind = Literal["leaf", "human", "graph", "loop", "map", "swarm"]


@dataclass(frozen=True)
class Part:
    """A random node: what it needs, whether its `when` is true, and what is inside of it."""

    kind: Kind
    needs: Sequence[str]
    join: Join
    is_wanted: bool
    inside: Mapping[str, Part] = field(default_factory=dict)
    times: int = 1


def parts(chance: random.Random, depth: int, *, people: bool = False) -> dict[str, Part]:
    """The nodes of a random graph; the first one is a leaf that always runs."""
    found: dict[str, Part] = {}
    leaf: list[Kind] = ["leaf", "human"] if people else ["leaf", "leaf"]
    kinds: list[Kind] = [*leaf, "graph", "loop", "map", "swarm"] if depth else leaf
    joins: list[Join] = ["any", "any", "all", "always"]
    for index in range(chance.randint(1, 4 if depth == 2 else 2)):
        kind = chance.choice(kinds) if index else leaf[-1]
        inside = {} if kind in leaf else parts(chance, depth - 1, people=people)
        if kind == "swarm":
            inside = members(chance, inside)
        found[f"n{index}"] = Part(
            kind=kind,
            needs=chance.sample([*found], min(len(found), chance.choice([0, 1, 2]))),
            join=chance.choice(joins),
            is_wanted=not index or chance.random() < 0.8,
            inside=inside,
            times=chance.randint(0 if kind == "map" else 1, 3),
        )
    return found


def members(chance: random.Random, inside: Mapping[str, Part]) -> dict[str, Part]:
    """Leaves that hand over, each to the next, and a last member that answers."""
    last = replace([*inside.values()][-1], needs=(), is_wanted=True)
    found = {f"m{index}": Part("leaf", (), "any", True) for index in range(chance.randint(0, 2))}
    return {**found, "last": last}


def visits(path: str, part: Part) -> Iterator[tuple[str, Mapping[str, Part]]]:
    """The prefix of each visit, round or item of a node's graph, and what runs in it."""
    if part.kind == "swarm":
        for number, (name, member) in enumerate(part.inside.items(), 1):
            yield f"{path}[{number}]/", {name: member}
    else:
        for prefix in prefixes(path, part):
            yield f"{prefix}/", part.inside


def prefixes(path: str, part: Part) -> list[str]:
    """The paths of a node's rounds or items, or its own."""
    if part.kind == "graph":
        return [path]
    return [f"{path}[{number}]" for number in range(1, part.times + 1)]


def specification(nodes: Mapping[str, Part], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The status of each node by its path, by the rules alone, in topological order."""
    status: dict[str, str] = {}
    for node_id, part in nodes.items():
        live = [status[source] == "done" for source in part.needs]
        joined = {"any": any(live), "all": all(live), "always": True}[part.join]
        runs = (joined or not live) and part.is_wanted
        status[node_id] = "done" if runs else "skipped"
        yield prefix + node_id, status[node_id]
        if runs and part.inside:
            for inner, inside in visits(prefix + node_id, part):
                yield from specification(inside, inner)


class CrashError(BaseException):
    """The process dies: the effect is done, its record is not."""


class Step(Node):
    """Notes its path, which the messages of the graphs around it add up to, after a random time."""

    prompts: ClassVar[bool] = False
    chance: ClassVar[random.Random] = random.Random(0)
    visited: ClassVar[list[str]] = []
    ends_at: ClassVar[int] = 0
    error: ClassVar[type[BaseException]] = CrashError
    visit: str = ""

    async def run(self, context: Context) -> Result:
        for _ in range(self.chance.randint(0, 3)):
            await asyncio.sleep(0)
        around = f"{context.input.message.removeprefix('/')}{self.visit}"
        path = f"{around}/{context.node_id}".removeprefix("/")
        self.visited.append(path)
        if len(self.visited) == self.ends_at:
            raise self.error
        return Result(path)


class Passing(Step):
    """Notes its path too, and hands over."""

    hands_to: Ids = ()

    async def run(self, context: Context) -> Result:
        await super().run(context)
        raise HandsOver(self.hands_to[0], "it is your turn")


def graph_of(nodes: Mapping[str, Part], max_parallel: int | None) -> Graph:
    made = {node_id: node_of(node_id, part, max_parallel) for node_id, part in nodes.items()}
    return Graph(name="g", nodes=made, output=list(made), max_parallel=max_parallel)


def node_of(node_id: str, part: Part, max_parallel: int | None, visit: str = "") -> Node:
    """A node; `visit` is the number of the visit if it is a member of a swarm."""
    options: dict[str, Any] = {"needs": part.needs, "join": part.join}
    if not part.is_wanted:
        options["when"] = "false"
    if not part.inside:
        return Step(**options, visit=visit) if part.kind == "leaf" else Human(**options)
    options["input"] = message = f"{{{{ input.message }}}}{visit}/{node_id}"
    if part.kind == "swarm":
        return swarm_of(part, max_parallel, options)
    options["graph"] = graph_of(part.inside, max_parallel)
    if part.kind == "graph":
        return SubGraph(**options)
    if part.kind == "loop":
        options["input"] = f"{message}[{{{{ round.number }}}}]"
        return Loop(**options, until=f"round.number == {part.times}", max=4)
    options["input"] = f"{message}[{{{{ input.number }}}}]"
    return Map(**options, over=f"range({part.times}) | list", max_parallel=max_parallel)


def swarm_of(part: Part, max_parallel: int | None, options: dict[str, Any]) -> Swarm:
    names = [*part.inside]
    found: dict[str, Node] = {
        name: Passing(hands_to=[names[number]], visit=f"[{number}]")
        for number, name in enumerate(names[:-1], 1)
    }
    last = node_of(names[-1], part.inside[names[-1]], max_parallel, f"[{len(names)}]")
    return Swarm(**options, members={**found, names[-1]: last}, start=names[0], sticky=False)


def begin(order: int, *, ends_at: int = 0, error: type[BaseException] = CrashError) -> None:
    Step.chance = random.Random(order)
    Step.visited.clear()
    Step.ends_at, Step.error = ends_at, error


def agrees(run: Run, nodes: Mapping[str, Part]) -> None:
    expected = dict(specification(nodes))
    assert {path: record.status for path, record in run.records.items()} == expected
    assert list(run.records) == list(expected)
    for path, record in run.records.items():
        if record.kind in ("step", "human") and record.status == "done":
            assert record.output == path


def leaves(nodes: Mapping[str, Part], prefix: str = "") -> list[str]:
    """The paths of the leaves that run."""
    status, found = dict(specification(nodes, prefix)), list[str]()
    for node_id, part in nodes.items():
        if status[prefix + node_id] == "skipped":
            continue
        if not part.inside:
            found.append(prefix + node_id)
        else:
            for inner, inside in visits(prefix + node_id, part):
                found += leaves(inside, inner)
    return found


SEEDS = st.integers(0, 2**32)
SLOW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(SEEDS, SEEDS, st.sampled_from([1, 2, None]))
def test_every_completion_order_ends_as_the_specification_says(
    seed: int, order: int, parallel: int | None
) -> None:
    nodes = parts(random.Random(seed), 2)
    begin(order)
    agrees(Runner(graph_of(nodes, parallel)).run("/"), nodes)
    assert all(count == 1 for count in Counter(Step.visited).values())


@SLOW
@given(SEEDS, SEEDS, st.data())
def test_a_crash_anywhere_repeats_only_the_node_in_flight(
    seed: int, order: int, data: st.DataObject
) -> None:
    nodes = parts(random.Random(seed), 2)
    expected = leaves(nodes)
    runner = Runner(graph_of(nodes, 1), store=MemoryStore())
    begin(order, ends_at=data.draw(st.integers(1, len(expected))))
    with pytest.raises(CrashError):
        asyncio.run(runner.arun("/", session_id="s", run_id="r"))
    crashed = Step.visited[-1]
    agrees(runner.resume("r"), nodes)
    assert Counter(Step.visited) == Counter([*expected, crashed])


@SLOW
@given(SEEDS, SEEDS, st.data())
def test_a_resumed_failure_ends_as_the_uninterrupted_run(
    seed: int, order: int, data: st.DataObject
) -> None:
    nodes = parts(random.Random(seed), 2)
    expected = leaves(nodes)
    runner = Runner(graph_of(nodes, None), store=MemoryStore())
    begin(order, ends_at=data.draw(st.integers(1, len(expected))), error=ValueError)
    with pytest.raises(NodeError):
        runner.run("/", session_id="s", run_id="r")
    failed = Step.visited[Step.ends_at - 1]
    agrees(runner.resume("r"), nodes)
    assert Counter(Step.visited) == Counter([*expected, failed])


@SLOW
@given(SEEDS, SEEDS, st.sampled_from([1, 2, None]))
def test_people_anywhere_are_asked_once_and_answer_in_any_order(
    seed: int, order: int, parallel: int | None
) -> None:
    nodes = parts(random.Random(seed), 2, people=True)
    graph, store, chance = graph_of(nodes, parallel), MemoryStore(), random.Random(order)
    begin(order)
    run = Runner(graph, store=store).run("/", session_id="s", run_id="r")
    asked: dict[str, float] = {}
    while run.status == "waiting":
        for question in run.questions:
            assert asked.setdefault(question.path, question.asked) == question.asked
        some = chance.sample(run.questions, chance.randint(1, len(run.questions)))
        answers: dict[str, JSON] = {question.path: question.path for question in some}
        run = Runner(graph, store=store).respond("r", answers)
    agrees(run, nodes)
    assert sorted([*Step.visited, *asked]) == sorted(leaves(nodes))


@SLOW
@given(SEEDS, st.data())
def test_a_fork_repeats_a_leaf_and_what_follows_from_it(seed: int, data: st.DataObject) -> None:
    nodes = parts(random.Random(seed), 2)
    expected = leaves(nodes)
    runner = Runner(graph_of(nodes, None), store=MemoryStore())
    run = runner.run("/", session_id="s")
    node = data.draw(st.sampled_from(expected))
    begin(0)
    forked = runner.fork(run.run_id, node=node)
    agrees(forked, nodes)
    for path in expected:
        if (is_again := runs_again(path, node, nodes)) is not None:
            assert (path in Step.visited) is is_again, path


def runs_again(path: str, node: str, nodes: Mapping[str, Part]) -> bool | None:
    """Whether a leaf runs again after a fork from `node`; None if that depends on the edges.

    It does in a later round of a loop or visit of a swarm, and not in an earlier one, or in another
    item of a map.
    """
    if path == node:
        return True
    for mine, its in zip(path.split("/"), node.split("/"), strict=False):
        node_id = its.partition("[")[0]
        if mine != its:
            if mine.partition("[")[0] != node_id:
                return None
            number, other = (int(step.partition("[")[2][:-1]) for step in (mine, its))
            return nodes[node_id].kind in ("loop", "swarm") and number > other
        nodes = nodes[node_id].inside
    return None
