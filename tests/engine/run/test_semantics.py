"""The rules of a run as properties: random graphs, completion orders and crashes.

`specification` says the rules once more, as one static pass with no scheduler. The plan alone and
the real scheduler must both end where it ends.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph import Edge, Plan, Record
from teamgraph.engine.graph.fields import Join
from teamgraph.engine.graph.plan import Cyclic
from teamgraph.engine.run.scheduler import Scheduler


@dataclass(frozen=True)
class Shape:
    """A random graph: what each node needs and reads, and which labels lead from it where."""

    needs: Mapping[str, Sequence[str]]
    reads: Mapping[str, Sequence[str]]
    joins: Mapping[str, Join]
    routes: Mapping[str, Mapping[str, Sequence[str]]]
    choices: Mapping[str, tuple[str, ...]]

    def plan(self) -> Plan:
        edges = [
            Edge(source, node_id, kind)
            for kind, by_node in (("needs", self.needs), ("reads", self.reads))
            for node_id, sources in by_node.items()
            for source in sources
        ]
        edges += [
            Edge(router, target, "route", (label,))
            for router, routes in self.routes.items()
            for label, targets in routes.items()
            for target in targets
        ]
        return Plan(self.joins, edges)


def shape(seed: int) -> Shape:
    chance = random.Random(seed)
    ids = [f"n{index:02d}" for index in range(chance.randint(3, 14))]
    needs: dict[str, list[str]] = {}
    reads: dict[str, list[str]] = {}
    for index, node_id in enumerate(ids):
        earlier = ids[:index]
        needs[node_id] = chance.sample(earlier, min(index, chance.choice([0, 1, 1, 2, 3])))
        others = [other for other in earlier if other not in needs[node_id]]
        reads[node_id] = chance.sample(others, min(len(others), chance.choice([0, 0, 1])))
    routes: dict[str, dict[str, list[str]]] = {}
    for node_id in ids:
        targets = [other for other in ids if node_id in needs[other]]
        if len(targets) >= 2 and chance.random() < 0.6:
            routes[node_id] = {f"to {target}": [target] for target in targets}
            routes[node_id]["all"] = targets
    join: list[Join] = ["any", "any", "any", "any", "all", "always"]
    return Shape(
        needs=needs,
        reads=reads,
        joins={node_id: chance.choice(join) for node_id in ids},
        routes=routes,
        choices={
            router: tuple(chance.sample(list(labels), chance.randint(0, len(labels))))
            for router, labels in routes.items()
        },
    )


def specification(shape: Shape) -> dict[str, str]:
    """`done` or `skipped` for each node, by the rules alone."""
    status: dict[str, str] = {}
    for node_id, needs in shape.needs.items():
        live = []
        for source in needs:
            routes = shape.routes.get(source)
            leads = routes is None or any(
                node_id in routes[label] for label in shape.choices[source]
            )
            live.append(status[source] == "done" and leads)
        runs = {"any": any(live), "all": all(live), "always": True}[shape.joins[node_id]]
        status[node_id] = "done" if runs or not live else "skipped"
    return status


class CrashError(BaseException):
    """The process dies: the effect is done, its record is not."""


@dataclass
class Worker:
    """Visits nodes in random time and keeps records, as a run does."""

    shape: Shape
    chance: random.Random
    crash_at: int | None = None
    fails: frozenset[str] = frozenset()
    visited: list[str] = field(default_factory=list)
    kept: dict[str, Record] = field(default_factory=dict)

    def skip_reason(self, node_id: str, records: Mapping[str, Record]) -> str | None:
        return None

    def skip(self, node_id: str, because: str) -> Record:
        assert because
        return Record(node_id, "skipped", because=because)

    async def visit(self, node_id: str, records: Mapping[str, Record]) -> Record:
        for source in (*self.shape.needs[node_id], *self.shape.reads[node_id]):
            assert records[source].is_final
        for _ in range(self.chance.randint(0, 3)):
            await asyncio.sleep(0)
        self.visited.append(node_id)
        if len(self.visited) == self.crash_at:
            raise CrashError
        if node_id in self.fails:
            return Record(node_id, "failed", error="broken")
        return Record(node_id, "done", choices=self.shape.choices.get(node_id))

    async def save(self, records: Sequence[Record]) -> None:
        for record in records:
            assert record.node not in self.kept
            self.kept[record.node] = record


def run(shape: Shape, worker: Worker, *, max_parallel: int | None = None) -> dict[str, str]:
    records = asyncio.run(
        Scheduler(shape.plan(), worker, worker.kept, max_parallel=max_parallel).run()
    )
    assert records == worker.kept
    return {node_id: record.status for node_id, record in records.items()}


SEEDS = st.integers(0, 2**32)


@settings(max_examples=200, deadline=None)
@given(SEEDS, SEEDS, st.integers(1, 4))
def test_every_completion_order_ends_as_the_specification_says(
    seed: int, order: int, parallel: int
) -> None:
    graph = shape(seed)
    worker = Worker(graph, random.Random(order))
    assert run(graph, worker, max_parallel=parallel) == specification(graph)
    assert sorted(worker.visited) == sorted(
        node_id for node_id, status in specification(graph).items() if status == "done"
    )


@settings(max_examples=200, deadline=None)
@given(SEEDS, SEEDS, st.data())
def test_a_crash_anywhere_repeats_only_the_node_in_flight(
    seed: int, order: int, data: st.DataObject
) -> None:
    graph = shape(seed)
    uncut = Worker(graph, random.Random(order))
    expected = run(graph, uncut, max_parallel=1)
    if not uncut.visited:
        return
    crash_at = data.draw(st.integers(1, len(uncut.visited)))
    worker = Worker(graph, random.Random(order), crash_at=crash_at)
    with pytest.raises(CrashError):
        run(graph, worker, max_parallel=1)
    worker.crash_at = None
    assert run(graph, worker, max_parallel=1) == expected
    assert len(worker.visited) == len(uncut.visited) + 1


@settings(max_examples=100, deadline=None)
@given(SEEDS, SEEDS)
def test_a_resumed_failure_ends_as_the_uninterrupted_run(seed: int, order: int) -> None:
    graph = shape(seed)
    done = [node_id for node_id, status in specification(graph).items() if status == "done"]
    if not done:
        return
    broken = random.Random(order).choice(done)
    worker = Worker(graph, random.Random(order), fails=frozenset([broken]))
    records = asyncio.run(Scheduler(graph.plan(), worker, {}).run())
    assert records[broken].status == "failed"
    assert not graph.plan().after([broken]) & set(records)
    del worker.kept[broken]
    worker.fails = frozenset()
    assert run(graph, worker) == specification(graph)
    assert worker.visited.count(broken) == 2
    assert len(worker.visited) == len(done) + 1


@given(SEEDS)
def test_the_order_respects_every_edge_and_then_the_declaration(seed: int) -> None:
    plan = shape(seed).plan()
    place = {node_id: index for index, node_id in enumerate(plan.order)}
    assert all(place[edge.source] < place[edge.target] for edge in plan.edges)
    for index, node_id in enumerate(plan.order[1:], start=1):
        earlier = plan.order[index - 1]
        if node_id < earlier:  # ids are declared in ascending order
            assert earlier in plan.before(node_id)


def test_a_cycle_names_its_edges() -> None:
    edges = [Edge("a", "b", "needs"), Edge("b", "c", "reads"), Edge("c", "a", "needs")]
    with pytest.raises(Cyclic) as caught:
        Plan({"a": "any", "b": "any", "c": "any"}, edges)
    assert {edge.source for edge in caught.value.cycles[0]} == {"a", "b", "c"}
    with pytest.raises(Cyclic, match="a -> a"):
        Plan({"a": "any"}, [Edge("a", "a", "needs")])


def test_nodes_that_do_not_wait_for_each_other_run_at_once() -> None:
    class Gate(Worker):
        async def visit(self, node_id: str, records: Mapping[str, Record]) -> Record:
            self.visited.append(node_id)
            if len(self.visited) == 3:
                opened.set()
            await opened.wait()
            return Record(node_id, "done")

    async def main() -> dict[str, Record]:
        return await Scheduler(Plan({"a": "any", "b": "any", "c": "any"}, []), gate, {}).run()

    opened = asyncio.Event()
    gate = Gate(shape(0), random.Random(0))
    assert set(asyncio.run(main())) == {"a", "b", "c"}


def test_a_cancelled_run_leaves_nothing_running() -> None:
    class Endless(Worker):
        async def visit(self, node_id: str, records: Mapping[str, Record]) -> Record:
            try:
                await asyncio.sleep(3600)
            finally:
                self.visited.append(node_id)
            raise AssertionError

    async def main() -> None:
        work = asyncio.create_task(Scheduler(Plan({"a": "any", "b": "any"}, []), endless, {}).run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    endless = Endless(shape(0), random.Random(0))
    asyncio.run(main())
    assert sorted(endless.visited) == ["a", "b"]
