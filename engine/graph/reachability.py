"""Which nodes can run together: every scenario of a graph, evaluated as bit sets.

A router may choose any of its labels, a node with `when` or `on_error: skip` may be skipped. One
choice for each of these is a scenario. All scenarios are evaluated in one topological pass: a node
is an integer whose n-th bit says whether it runs in the n-th scenario. If there are more than
`LIMIT`, a sample with a fixed seed is used, so a node reported as possibly missing truly can be.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from msgspec import Struct

from .plan import Plan, Stop

LIMIT = 4096
_SWITCH = 2  # a choice of two: most are, and one call draws all its bits


@dataclass(frozen=True)
class Reachability:
    """Answers which nodes can run, and run without one another.

    `choices` lists, for each router, the sets of labels that it may choose; `partial` are the
    routers that may choose other sets too. `optional` are the nodes that may be skipped although
    their edges let them run.
    """

    plan: Plan
    choices: Mapping[str, Sequence[frozenset[str]]]
    optional: frozenset[str]
    partial: frozenset[str] = frozenset()
    _runs_of_reader: dict[str, Mapping[str, int]] = field(
        default_factory=dict[str, "Mapping[str, int]"], compare=False
    )
    _samples: dict[tuple[str, int], list[int]] = field(
        default_factory=dict["tuple[str, int]", "list[int]"], compare=False
    )

    def never_runs(self, node_id: str) -> bool:
        """Whether the node runs in no scenario; False if that is not certain."""
        if self._anywhere[node_id]:
            return False
        scenarios = self._scenarios(self._up_to(node_id))
        return scenarios.is_complete and not scenarios.runs(self.plan)[node_id]

    def runs_without(self, reader: str, source: str) -> bool:
        """Whether `reader` can run when `source` does not."""
        if source in self._always:
            return False
        if reader not in self._runs_of_reader:
            scenarios = self._scenarios(self._up_to(reader), self.optional - {reader})
            self._runs_of_reader[reader] = scenarios.runs(self.plan)
        ran = self._runs_of_reader[reader]
        return bool(ran[reader] & ~ran[source])

    def runs_unchosen(self, target: str, router: str) -> bool:
        """Whether `target` can run when `router` ran and did not choose it."""
        scenarios = self._scenarios(self._up_to(target))
        ran = scenarios.runs(self.plan)
        labels = dict(self.plan.stop(target).needs)[router]
        return bool(ran[target] & ran[router] & ~scenarios.chosen(router, labels))

    @cached_property
    def _anywhere(self) -> Mapping[str, int]:
        return self._scenarios(self.plan.order).runs(self.plan)

    @cached_property
    def _always(self) -> frozenset[str]:
        """Nodes that run in every scenario, as far as their edges alone show."""
        always: set[str] = set()
        for node_id in self.plan.order:
            stop = self.plan.stop(node_id)
            votes = [labels is None and source in always for source, labels in stop.needs]
            if _joined(stop, votes, every=True) and node_id not in self.optional:
                always.add(node_id)
        return frozenset(always)

    def _up_to(self, node_id: str) -> Sequence[str]:
        """A node and all before it, in topological order: these decide whether it runs."""
        before = self.plan.before(node_id) | {node_id}
        return sorted(before, key=lambda each: self.plan.stop(each).index)

    def _sample(self, nodes: Sequence[str], sizes: Sequence[int]) -> list[list[int]]:
        """Like `_every`, for a sample of the combinations; each node is sampled once."""
        for key in zip(nodes, sizes, strict=True):
            if key not in self._samples:
                self._samples[key] = _sampled(key[1], seed=len(self._samples))
        return [self._samples[key] for key in zip(nodes, sizes, strict=True)]

    def _scenarios(
        self, nodes: Sequence[str], skippable: frozenset[str] = frozenset()
    ) -> _Scenarios:
        """The scenarios of these nodes, of which those in `skippable` may be skipped."""
        routers = [node_id for node_id in nodes if node_id in self.choices]
        switches = [node_id for node_id in nodes if node_id in skippable]
        sizes = [*(len(self.choices[router]) for router in routers), *(_SWITCH for _ in switches)]
        count = prod(sizes)
        bits = _every(sizes) if count <= LIMIT else self._sample([*routers, *switches], sizes)
        taken = {
            router: list(zip(self.choices[router], ways, strict=True))
            for router, ways in zip(routers, bits, strict=False)
        }
        skipped = zip(switches, bits[len(routers) :], strict=True)
        return _Scenarios(
            nodes=nodes,
            every=(1 << min(count, LIMIT)) - 1,
            taken=taken,
            skipped={node_id: ways[1] for node_id, ways in skipped},
            is_complete=count <= LIMIT and self.partial.isdisjoint(routers),
        )


class _Scenarios(Struct, frozen=True):
    """Scenarios of `nodes`, one for each bit of `every`.

    `taken` has the bits of each choice of each router; `skipped` those in which an optional node
    is skipped. `is_complete` says whether there are no other scenarios.
    """

    nodes: Sequence[str]
    every: int
    taken: Mapping[str, Sequence[tuple[frozenset[str], int]]]
    skipped: Mapping[str, int]
    is_complete: bool

    def chosen(self, router: str, labels: frozenset[str] | None) -> int:
        """The bits in which the router, if it runs, chooses one of the labels."""
        if labels is None:
            return self.every
        bits = 0
        for choice, taken in self.taken[router]:
            if not labels.isdisjoint(choice):
                bits |= taken
        return bits

    def runs(self, plan: Plan) -> dict[str, int]:
        """The bits in which each node runs."""
        ran: dict[str, int] = {}
        for node_id in self.nodes:
            stop = plan.stop(node_id)
            votes = [ran[source] & self.chosen(source, labels) for source, labels in stop.needs]
            ran[node_id] = _joined(stop, votes, self.every) & ~self.skipped.get(node_id, 0)
        return ran


def _joined(stop: Stop, votes: Sequence[int], every: int) -> int:
    """The join of a node, bit by bit."""
    if not votes or stop.join == "always":
        return every
    joined = votes[0]
    for vote in votes[1:]:
        joined = joined & vote if stop.join == "all" else joined | vote
    return joined


def _every(sizes: Sequence[int]) -> list[list[int]]:
    """For each way of each choice its bits, so that every combination is one bit."""
    count = prod(sizes)
    block = 1
    bits: list[list[int]] = []
    for size in sizes:
        period = block * size
        repeat = ((1 << count) - 1) // ((1 << period) - 1)
        bits.append([(((1 << block) - 1) << (way * block)) * repeat for way in range(size)])
        block = period
    return bits


def _sampled(size: int, seed: int) -> list[int]:
    """Random bits for each way of a choice; the first scenarios take each way in turn."""
    chance = random.Random(seed)  # noqa: S311  the same draw each time, nothing secret about it
    if size == _SWITCH:
        sample = chance.getrandbits(LIMIT) & ~1
        return [((1 << LIMIT) - 1) & ~sample, sample]
    ways = [0] * size
    for scenario in range(LIMIT):
        way = scenario if scenario < size else chance.randrange(size)
        ways[way] |= 1 << scenario
    return ways
