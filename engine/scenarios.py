"""Everything that can happen in a graph: which nodes run together, for all that is left open.

A router may choose any of its labels, a node with `when` or `on_error: skip` may drop out. Each
way to settle these is a scenario. They are enumerated as far as that is feasible and drawn with a
fixed seed beyond, so a node said to be missing somewhere truly can be.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from .plan import Plan

LIMIT = 2048


@dataclass(frozen=True)
class Scenarios:
    """What can happen: `choices` lists, for each router, the sets of labels it may take.

    `optional` are the nodes that may drop out although their edges let them run.
    """

    plan: Plan
    choices: Mapping[str, Sequence[frozenset[str]]]
    optional: frozenset[str]

    @cached_property
    def certain(self) -> tuple[frozenset[str], ...]:
        """The sets of nodes that run, one for each scenario in which nothing drops out."""
        return tuple(self._sets(self.plan.order, frozenset()))

    def without(self, source: str, reader: str) -> bool:
        """Whether `reader` can run in a turn in which `source` does not."""
        before = self.plan.before(reader) | {reader}
        nodes = [node_id for node_id in self.plan.order if node_id in before]
        open_nodes = self.optional & before - {reader}
        return any(reader in ran and source not in ran for ran in self._sets(nodes, open_nodes))

    def runs_unchosen(self, target: str, router: str) -> bool:
        """Whether `target` can run in a turn in which `router` ran and did not choose it."""
        stop = self.plan.stop(target)
        labels = dict(stop.needs)[router] or frozenset[str]()
        nodes = [n for n in self.plan.order if n in self.plan.before(target) or n == target]
        return any(
            target in ran and router in ran
            for settled, ran in self._settled(nodes, frozenset())
            if labels.isdisjoint(settled.get(router, ()))
        )

    def _sets(self, nodes: Sequence[str], optional: frozenset[str]) -> Iterator[frozenset[str]]:
        return (ran for _, ran in self._settled(nodes, optional))

    def _settled(
        self, nodes: Sequence[str], optional: frozenset[str]
    ) -> Iterator[tuple[Mapping[str, frozenset[str]], frozenset[str]]]:
        routers = [node_id for node_id in nodes if node_id in self.choices]
        switches = [node_id for node_id in nodes if node_id in optional]
        ways = [self.choices[router] for router in routers]
        every = [*ways, *([frozenset({"run"}), frozenset[str]()] for _ in switches)]
        for settled in _product(every):
            chosen = dict(zip(routers, settled, strict=False))
            out = {
                node_id
                for node_id, way in zip(switches, settled[len(routers) :], strict=True)
                if not way
            }
            yield chosen, self._ran(nodes, chosen, out)

    def _ran(
        self, nodes: Sequence[str], chosen: Mapping[str, frozenset[str]], out: set[str]
    ) -> frozenset[str]:
        ran: set[str] = set()
        for node_id in nodes:
            stop = self.plan.stop(node_id)
            votes = [
                source in ran and (labels is None or not labels.isdisjoint(chosen.get(source, ())))
                for source, labels in stop.needs
            ]
            lets = {"any": any(votes), "all": all(votes), "always": True}[stop.join]
            if (lets or not votes) and node_id not in out:
                ran.add(node_id)
        return frozenset(ran)


def _product(ways: Sequence[Sequence[frozenset[str]]]) -> Iterator[tuple[frozenset[str], ...]]:
    if prod(len(way) for way in ways) <= LIMIT:
        yield from itertools.product(*ways)
        return
    chance = random.Random(0)  # noqa: S311  the same draw each time, nothing secret about it
    for _ in range(LIMIT):
        yield tuple(chance.choice(way) for way in ways)
