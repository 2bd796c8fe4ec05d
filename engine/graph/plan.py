"""The plan: edges, topological order, and the decision whether a node runs.

There are two kinds of edges. `needs` and routes are control: they decide, by `join`, whether the
target runs. `reads` only order and carry data. The state of an edge is never stored; it is a pure
function of the records:

    UNKNOWN  the source has no final record
    DEAD     the source was skipped, or is a router that did not choose the target
    LIVE     otherwise

Once no edge into a node is UNKNOWN it is decided: without `needs` it runs; `join: any` requires
one LIVE edge, `all` all of them, `always` none; otherwise it is skipped. Skips propagate in one
pass in topological order. This is the rule of Airflow's `none_failed_min_one_success` and of Dify's
graph engine, over a static order, with control and data separated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappush
from typing import Literal, TypeAlias, cast

from msgspec import Struct

from ..errors import KeyPath
from ..records import FINAL, Record
from .fields import Join

EdgeKind: TypeAlias = Literal["needs", "route", "reads"]


class Edge(Struct, frozen=True):
    """An edge from `source` to `target`, and the place in the definition that it follows from.

    `labels` are the router's labels that lead to the target, empty for other edges. `path` are
    the keys in the graph file; an edge from a template has the template's place instead.
    """

    source: str
    target: str
    kind: EdgeKind
    labels: tuple[str, ...] = ()
    path: KeyPath = ()
    file: str | None = None
    line: int | None = None
    column: int | None = None


class Stop(Struct, frozen=True):
    """A node in the plan: the nodes that it waits for, and those that wait for it.

    `needs` pairs each control source with the labels that lead here, None if the source does not
    route to this node. `sources` are the sources of its edges, `followers` the targets, each once.
    `before` is a bit set, by `index`, of all nodes before it, directly or through others.
    """

    id: str
    index: int
    join: Join
    needs: tuple[tuple[str, frozenset[str] | None], ...]
    sources: tuple[str, ...]
    followers: tuple[str, ...]
    before: int


class Skip(Struct, frozen=True):
    """The decision to skip a node, and the reason."""

    because: str


Cycle: TypeAlias = tuple[Edge, ...]
"""Edges of which each begins where the one before ends, and the first where the last ends."""


class Cyclic(Exception):
    """The edges have cycles; `cycles` has one of each strongly connected component."""

    def __init__(self, cycles: Sequence[Cycle]) -> None:
        names = ([*(edge.source for edge in edges), edges[0].source] for edges in cycles)
        super().__init__("; ".join(" -> ".join(each) for each in names))
        self.cycles = tuple(cycles)


class Plan:
    """The edges of a graph, its topological order, and the decision about each node.

    `stops` has the nodes in that order, by id; `waits` says how many sources each has.
    """

    __slots__ = ("edges", "order", "stops", "waits")

    def __init__(self, joins: Mapping[str, Join], edges: Iterable[Edge]) -> None:
        """Order the nodes (`joins` maps each id to its join, in declared order).

        Ties are broken by declared order. Raises `Cyclic`.
        """
        self.edges = tuple(edges)
        self.order = _in_order(list(joins), self.edges)
        place = {node_id: index for index, node_id in enumerate(self.order)}
        incoming: dict[str, list[Edge]] = {node_id: [] for node_id in self.order}
        followers: dict[str, dict[str, None]] = {node_id: {} for node_id in self.order}
        for edge in self.edges:
            incoming[edge.target].append(edge)
            followers[edge.source][edge.target] = None
        stops: dict[str, Stop] = {}
        for node_id in self.order:
            sources = tuple(dict.fromkeys(edge.source for edge in incoming[node_id]))
            before = 0
            for source in sources:
                before |= stops[source].before | 1 << place[source]
            stops[node_id] = Stop(
                id=node_id,
                index=place[node_id],
                join=joins[node_id],
                needs=_needs(incoming[node_id]),
                sources=sources,
                followers=tuple(sorted(followers[node_id], key=place.__getitem__)),
                before=before,
            )
        self.stops: Mapping[str, Stop] = stops
        self.waits = {node_id: len(stop.sources) for node_id, stop in stops.items()}

    def decide(self, node_id: str, records: Mapping[str, Record]) -> Literal["run"] | Skip | None:
        """Whether the node runs, is skipped, or cannot be decided yet (None)."""
        stop = self.stops[node_id]
        for source in stop.sources:
            record = records.get(source)
            if record is None or record.status not in FINAL:
                return None
        if not stop.needs or stop.join == "always":
            return "run"
        live = 0
        for source, labels in stop.needs:
            live += is_live(records[source], labels)
        if live == len(stop.needs) or (live and stop.join == "any"):
            return "run"
        return Skip(_because(stop, records))

    def before(self, node_id: str) -> frozenset[str]:
        """All nodes that come before, directly or through others."""
        return frozenset(self.order[index] for index in bits_of(self.stops[node_id].before))

    def after(self, node_ids: Iterable[str]) -> frozenset[str]:
        """All nodes that come after any of these, directly or through others."""
        found: set[str] = set()
        todo = list(node_ids)
        while todo:
            for follower in self.stops[todo.pop()].followers:
                if follower not in found:
                    found.add(follower)
                    todo.append(follower)
        return frozenset(found)


class RunProgress:
    """Counts how many sources each node still waits for: the pure part of the scheduler.

    A finished node costs only its followers.
    """

    __slots__ = ("_plan", "_waits", "records")

    def __init__(self, plan: Plan, records: Mapping[str, Record]) -> None:
        """Start from the final ones of `records`; others are ignored."""
        self._plan = plan
        self.records = {
            node_id: records[node_id]
            for node_id in plan.order
            if node_id in records and records[node_id].is_final
        }
        self._waits = dict(plan.waits)
        for node_id in self.records:
            for follower in plan.stops[node_id].followers:
                self._waits[follower] -= 1

    def decidable(self) -> list[int]:
        """The indices, ascending and so a heap, of the nodes that can be decided now."""
        return [
            index
            for index, node_id in enumerate(self._plan.order)
            if not self._waits[node_id] and node_id not in self.records
        ]

    def finish(self, record: Record, decidable: list[int]) -> None:
        """Add a final record, and to the heap the indices of what can be decided because of it."""
        self.records[record.node] = record
        stops, waits = self._plan.stops, self._waits
        for follower in stops[record.node].followers:
            waits[follower] -= 1
            if not waits[follower]:
                heappush(decidable, stops[follower].index)


def bits_of(bit_set: int) -> Iterator[int]:
    """The numbers of the bits that are set, ascending."""
    while bit_set:
        lowest = bit_set & -bit_set
        yield lowest.bit_length() - 1
        bit_set ^= lowest


def is_live(record: Record, labels: frozenset[str] | None) -> bool:
    """Whether an edge is LIVE, from the final record of its source."""
    if record.status == "skipped":
        return False
    return labels is None or not labels.isdisjoint(record.choices or ())


def _because(stop: Stop, records: Mapping[str, Record]) -> str:
    reasons: dict[str, None] = {}
    for source, labels in stop.needs:
        record = records[source]
        if record.status == "skipped":
            reasons[f"{source} was skipped"] = None
        elif not is_live(record, labels):
            chosen = ", ".join(record.choices or ()) or "nothing"
            reasons[f"{source} chose {chosen}"] = None
    return "; ".join(reasons)


def _in_order(node_ids: Sequence[str], edges: Sequence[Edge]) -> tuple[str, ...]:
    declared = {node_id: index for index, node_id in enumerate(node_ids)}
    if all(declared[edge.source] < declared[edge.target] for edge in edges):
        return tuple(node_ids)  # what sorting would give, as the first declared comes first
    import networkx as nx  # noqa: PLC0415  0.1 s of CPU, only for what has to be sorted

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(node_ids)
    between: dict[tuple[str, str], Edge] = {}
    for edge in edges:
        between.setdefault((edge.source, edge.target), edge)
    graph.add_edges_from(between)
    try:
        return tuple(nx.lexicographical_topological_sort(graph, key=declared.__getitem__))
    except nx.NetworkXUnfeasible:
        components = enumerate(nx.strongly_connected_components(graph))
        component_of = {node_id: number for number, nodes in components for node_id in nodes}
        inside: dict[int, list[tuple[str, str]]] = {}
        for source, target in sorted(between, key=lambda pair: declared[pair[0]]):
            if component_of[source] == component_of[target]:
                inside.setdefault(component_of[source], []).append((source, target))
        cycles = [nx.find_cycle(nx.DiGraph(pairs)) for pairs in inside.values()]  # pyright: ignore  # noqa: PGH003  the stubs leave it open
        found = cast("list[list[tuple[str, str]]]", cycles)
        raise Cyclic([tuple(between[pair] for pair in pairs) for pairs in found]) from None


def _needs(incoming: Iterable[Edge]) -> tuple[tuple[str, frozenset[str] | None], ...]:
    needs: dict[str, frozenset[str] | None] = {}
    for edge in incoming:
        if edge.kind == "route":
            needs[edge.source] = (needs.get(edge.source) or frozenset()) | set(edge.labels)
        elif edge.kind == "needs":
            needs.setdefault(edge.source, None)
    return tuple(needs.items())
