"""Everything that can happen in a graph: which nodes run together, for all that is left open.

A router may choose any of its labels, a node with `when` or `on_error: skip` may drop out. Each
way to settle these is a scenario. All scenarios are worked out in one pass: a node is a number
whose n-th bit says whether it runs in the n-th of them. Where there are too many, they are drawn
with a fixed seed, so a node said to be missing somewhere truly can be.
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
class Scenarios:
    """What can happen: `choices` lists, for each router, the sets of labels it may take.

    `partial` are the routers that may take other sets too. `optional` are the nodes that may drop
    out although their edges let them run.
    """

    plan: Plan
    choices: Mapping[str, Sequence[frozenset[str]]]
    optional: frozenset[str]
    partial: frozenset[str] = frozenset()
    _ran_before: dict[str, Mapping[str, int]] = field(
        default_factory=dict[str, "Mapping[str, int]"], compare=False
    )
    _drawn: dict[tuple[str, int], list[int]] = field(
        default_factory=dict["tuple[str, int]", "list[int]"], compare=False
    )

    def never_runs(self, node_id: str) -> bool:
        """Whether no choice of the routers lets the node run; False where that is not certain."""
        if self._anywhere[node_id]:
            return False
        opened = self._open(self._up_to(node_id))
        return opened.is_all and not opened.ran(self.plan)[node_id]

    def without(self, source: str, reader: str) -> bool:
        """Whether `reader` can run in a turn in which `source` does not."""
        if source in self._always:
            return False
        if reader not in self._ran_before:
            opened = self._open(self._up_to(reader), self.optional - {reader})
            self._ran_before[reader] = opened.ran(self.plan)
        ran = self._ran_before[reader]
        return bool(ran[reader] & ~ran[source])

    def runs_unchosen(self, target: str, router: str) -> bool:
        """Whether `target` can run in a turn in which `router` ran and did not choose it."""
        opened = self._open(self._up_to(target))
        ran = opened.ran(self.plan)
        labels = dict(self.plan.stop(target).needs)[router]
        return bool(ran[target] & ran[router] & ~opened.chosen(router, labels))

    @cached_property
    def _anywhere(self) -> Mapping[str, int]:
        return self._open(self.plan.order).ran(self.plan)

    @cached_property
    def _always(self) -> frozenset[str]:
        """Nodes that run whatever happens, as far as their edges alone tell."""
        always: set[str] = set()
        for node_id in self.plan.order:
            stop = self.plan.stop(node_id)
            votes = [labels is None and source in always for source, labels in stop.needs]
            if _joined(stop, votes, every=True) and node_id not in self.optional:
                always.add(node_id)
        return frozenset(always)

    def _up_to(self, node_id: str) -> Sequence[str]:
        """A node and all before it, in order: what decides whether it runs."""
        before = self.plan.before(node_id) | {node_id}
        return sorted(before, key=lambda each: self.plan.stop(each).index)

    def _draw(self, nodes: Sequence[str], sizes: Sequence[int]) -> list[list[int]]:
        """The same as `_every` for combinations that are drawn, for each node once."""
        for key in zip(nodes, sizes, strict=True):
            if key not in self._drawn:
                self._drawn[key] = _drawn(key[1], seed=len(self._drawn))
        return [self._drawn[key] for key in zip(nodes, sizes, strict=True)]

    def _open(self, nodes: Sequence[str], dropping: frozenset[str] = frozenset()) -> _Open:
        """What is left open among nodes, of which those in `dropping` may drop out."""
        routers = [node_id for node_id in nodes if node_id in self.choices]
        switches = [node_id for node_id in nodes if node_id in dropping]
        sizes = [*(len(self.choices[router]) for router in routers), *(_SWITCH for _ in switches)]
        count = prod(sizes)
        bits = _every(sizes) if count <= LIMIT else self._draw([*routers, *switches], sizes)
        taken = {
            router: list(zip(self.choices[router], ways, strict=True))
            for router, ways in zip(routers, bits, strict=False)
        }
        dropped = zip(switches, bits[len(routers) :], strict=True)
        return _Open(
            nodes=nodes,
            every=(1 << min(count, LIMIT)) - 1,
            taken=taken,
            out={node_id: ways[1] for node_id, ways in dropped},
            is_all=count <= LIMIT and self.partial.isdisjoint(routers),
        )


class _Open(Struct, frozen=True):
    """What is open among `nodes`, in scenarios that are the bits of `every`.

    `taken` has each choice of each router with its bits; `out` the bits in which a node drops out.
    `is_all` says whether these are all scenarios that there are.
    """

    nodes: Sequence[str]
    every: int
    taken: Mapping[str, Sequence[tuple[frozenset[str], int]]]
    out: Mapping[str, int]
    is_all: bool

    def chosen(self, router: str, labels: frozenset[str] | None) -> int:
        """The bits of the scenarios in which the router, if it runs, takes one of the labels."""
        if labels is None:
            return self.every
        bits = 0
        for choice, taken in self.taken[router]:
            if not labels.isdisjoint(choice):
                bits |= taken
        return bits

    def ran(self, plan: Plan) -> dict[str, int]:
        """For each node the bits of the scenarios in which it runs."""
        ran: dict[str, int] = {}
        for node_id in self.nodes:
            stop = plan.stop(node_id)
            votes = [ran[source] & self.chosen(source, labels) for source, labels in stop.needs]
            ran[node_id] = _joined(stop, votes, self.every) & ~self.out.get(node_id, 0)
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


def _drawn(size: int, seed: int) -> list[int]:
    """The bits of each way of a choice; the first scenarios take each way in turn."""
    chance = random.Random(seed)  # noqa: S311  the same draw each time, nothing secret about it
    if size == _SWITCH:
        drawn = chance.getrandbits(LIMIT) & ~1
        return [((1 << LIMIT) - 1) & ~drawn, drawn]
    ways = [0] * size
    for scenario in range(LIMIT):
        way = scenario if scenario < size else chance.randrange(size)
        ways[way] |= 1 << scenario
    return ways
