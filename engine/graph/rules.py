"""Every rule between the nodes of a graph, checked so that all problems are reported at once."""

from __future__ import annotations

import itertools
import keyword
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import comb, prod

from msgspec import Struct
from msgspec.structs import replace

from ..errors import KeyPath, Problem, closest, listed
from ..prompts.library import Prompts
from .edges import RESERVED, find_edges
from .fields import Join
from .kinds import InvalidNode
from .node import (
    Node,
    branches_of,
    further_templates,
    loads_history,
    runs_last,
    takes_of,
    template_field,
)
from .plan import Cycle, Edge, Plan, Stop
from .template_types import TemplateTypes, check_templates

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
        labels = dict(self.plan.stops[target].needs)[router]
        return bool(ran[target] & ran[router] & ~scenarios.chosen(router, labels))

    @cached_property
    def _anywhere(self) -> Mapping[str, int]:
        return self._scenarios(self.plan.order).runs(self.plan)

    @cached_property
    def _always(self) -> frozenset[str]:
        """Nodes that run in every scenario, as far as their edges alone show."""
        always: set[str] = set()
        for node_id in self.plan.order:
            stop = self.plan.stops[node_id]
            votes = [labels is None and source in always for source, labels in stop.needs]
            if _joined(stop, votes, every=True) and node_id not in self.optional:
                always.add(node_id)
        return frozenset(always)

    def _up_to(self, node_id: str) -> Sequence[str]:
        """A node and all before it, in topological order: these decide whether it runs."""
        before = self.plan.before(node_id) | {node_id}
        return sorted(before, key=lambda each: self.plan.stops[each].index)

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
            stop = plan.stops[node_id]
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


_MAX_LABEL_SETS = 256  # of a router's labels: eight labels in every combination
_ID = re.compile(r"[a-z][a-z0-9_]*")
_JINJA_WORDS = frozenset(
    """and or not in is if elif else for recursive break continue true false none with
    import from include extends block macro call filter set raw autoescape trans namespace range
    dict lipsum cycler joiner self super varargs kwargs caller loop system user assistant
    messages""".split()  # noqa: SIM905  words read better so
)


class RuleResults(Struct, frozen=True):
    """What the rules found; `plan` is None if the edges have a cycle."""

    problems: tuple[Problem, ...]
    plan: Plan | None
    output: tuple[str, ...]


def apply_rules(
    nodes: Mapping[str, Node],
    output: Sequence[str],
    templates: Mapping[str, str],
    prompts: Prompts,
    origin: Callable[[Edge], str],
    types: TemplateTypes,
) -> RuleResults:
    """Apply every rule to the nodes.

    `origin` says where an edge is written, for messages; `types` are those of template names.
    """
    used = [*templates.items(), *_further_templates(nodes)]
    problems = [*_check_ids(nodes), *_check_syntax(nodes, used, prompts)]
    any_invalid = any(isinstance(node, InvalidNode) for node in nodes.values())
    answering = _answering(nodes, output, problems)
    readable = [(node_id, name) for node_id, name in used if not prompts.problems(name)]
    found = find_edges(nodes, readable, prompts, answering)
    problems += found.problems
    problems += check_templates(types, nodes, readable, prompts)
    plan, cycles = _plan(nodes, found.edges)
    if cycles:
        problems += [_cycle(cycle, origin) for cycle in cycles]
        return RuleResults(tuple(problems), None, answering)
    if not any_invalid:
        choices, partial = _choices(nodes)
        reachability = Reachability(plan, choices, _optional(nodes), partial)
        problems += _never(reachability)
        problems += _guards(found.unguarded, reachability, nodes)
        problems += _bypassed(plan, nodes, reachability)
        # A name that is unknown may be the missing use.
        if answering and len(readable) == len(used) and not found.problems:
            problems += _unused(plan, nodes, answering)
    return RuleResults(tuple(problems), plan, answering)


def _plan(nodes: Mapping[str, Node], edges: Sequence[Edge]) -> tuple[Plan, list[Cycle]]:
    """The order of the nodes, without the edges of the cycles that were found."""
    joins: dict[str, Join] = {node_id: node.join for node_id, node in nodes.items()}
    cycles: list[Cycle] = []
    while True:
        try:
            return Plan(joins, edges), cycles
        except Cycle as cycle:
            cycles.append(cycle)
            in_cycle = {(edge.source, edge.target) for edge in cycle.edges}
            edges = [edge for edge in edges if (edge.source, edge.target) not in in_cycle]


def _check_ids(nodes: Mapping[str, Node]) -> Iterator[Problem]:
    for node_id, node in nodes.items():
        path: KeyPath = ("nodes", node_id)
        if node_id == "history":
            if loads_history(node) or isinstance(node, InvalidNode):
                continue
            text = "node id 'history' is for a history-loader only; choose another"
            yield Problem("G010", text, path=path, on_key=True)
            continue
        if (why := misnamed(node_id)) is not None:
            yield Problem("G010", f"node id {node_id!r} {why}", path=path, on_key=True)


def misnamed(node_id: str) -> str | None:
    """Why no node may have this id (`history`: none but a history-loader); None if one may."""
    if not _ID.fullmatch(node_id):
        return "must be lower-case letters, digits and _, letter first"
    if node_id in RESERVED or node_id == "builtin":
        return "is a name that every template already has; choose another"
    if node_id in _JINJA_WORDS or keyword.iskeyword(node_id):
        return "is a word of the template language; choose another"
    return None


def _further_templates(nodes: Mapping[str, Node]) -> Iterator[tuple[str, str]]:
    for node_id, node in nodes.items():
        yield from ((node_id, name) for name in further_templates(node))


def _check_syntax(
    nodes: Mapping[str, Node], used: Iterable[tuple[str, str]], prompts: Prompts
) -> Iterator[Problem]:
    seen: set[Problem] = set()
    for node_id, name in used:
        for problem in prompts.problems(name):
            path = ("nodes", node_id, template_field(nodes[node_id]))
            found = replace(problem, path=path) if problem.file is None else problem
            if found not in seen:
                seen.add(found)
                yield found


def _answering(
    nodes: Mapping[str, Node], output: Sequence[str], problems: list[Problem]
) -> tuple[str, ...]:
    """The nodes that may answer: those of `output`, or the only candidate."""
    for index, node_id in enumerate(output):
        if node_id not in nodes:
            text = f"output names {node_id!r}, and there is no such node"
            problems.append(
                Problem("G012", text, path=("output", index), suggestion=closest(node_id, nodes))
            )
        elif not (nodes[node_id].answers or isinstance(nodes[node_id], InvalidNode)):
            text = f"output names {node_id!r}, and a {nodes[node_id].kind} gives no answer"
            problems.append(Problem("G015", text, path=("output", index)))
    if output:
        return tuple(node_id for node_id in output if node_id in nodes)
    needed = {
        source
        for node in nodes.values()
        if not runs_last(node)
        for source in (*node.needs, *itertools.chain(*branches_of(node).values()))
    }
    last = [n for n, node in nodes.items() if node.answers and n not in needed]
    if len(last) == 1:
        return tuple(last)
    if nodes and not any(isinstance(node, InvalidNode) for node in nodes.values()):
        which = f"{listed(last)} could all answer" if last else "no node is left to answer"
        text = f"{which}; name the one that does: `output: ID`, or several in order of preference"
        problems.append(Problem("G015", text, path=("output",)))
    return ()


def _choices(
    nodes: Mapping[str, Node],
) -> tuple[dict[str, list[frozenset[str]]], frozenset[str]]:
    """For each router the sets of labels that it may choose; and the routers that have more."""
    choices: dict[str, list[frozenset[str]]] = {}
    partial: set[str] = set()
    for node_id, node in nodes.items():
        labels = list(branches_of(node))
        if not labels:
            continue
        fewest, most = takes_of(node)
        sizes: Sequence[int] = range(fewest, min(most, len(labels)) + 1)
        if sum(comb(len(labels), size) for size in sizes) > _MAX_LABEL_SETS:
            partial.add(node_id)
            sizes = sorted({fewest, 1, len(labels) - 1, min(most, len(labels))} & {*sizes})
        choices[node_id] = [
            frozenset(chosen) for size in sizes for chosen in itertools.combinations(labels, size)
        ]
    return choices, frozenset(partial)


def _optional(nodes: Mapping[str, Node]) -> frozenset[str]:
    return frozenset(
        node_id
        for node_id, node in nodes.items()
        if node.when is not None or node.on_error == "skip"
    )


def _never(reachability: Reachability) -> Iterator[Problem]:
    for node_id in reachability.plan.order:
        if reachability.never_runs(node_id):
            text = f"node {node_id!r} can never run: whatever the routers choose, it is skipped"
            yield Problem("G014", text, path=("nodes", node_id), on_key=True)


def _guards(
    unguarded: Sequence[tuple[str, str, Problem]],
    reachability: Reachability,
    nodes: Mapping[str, Node],
) -> Iterator[Problem]:
    missing: dict[tuple[str, str], bool] = {}
    for reader, source, place in unguarded:
        if (reader, source) not in missing:
            missing[reader, source] = not loads_history(nodes[source]) and (
                reachability.runs_without(reader, source)
            )
        if missing[reader, source]:
            text = f"{source!r} may have been skipped when {reader!r} runs; "
            text += place.message or f"guard it with {{% if {source} is defined %}}"
            yield replace(place, code="P004", message=text)


def _bypassed(
    plan: Plan, nodes: Mapping[str, Node], reachability: Reachability
) -> Iterator[Problem]:
    """A route's target that also needs others runs even when the router did not choose it."""
    for node_id, node in nodes.items():
        routers = [source for source, labels in plan.stops[node_id].needs if labels is not None]
        if node.join != "any" or not routers or not set(node.needs) - set(routers):
            continue
        for router in routers:
            if reachability.runs_unchosen(node_id, router):
                text = f"{node_id!r} runs even when {router!r} does not choose it, because of its "
                text += "`needs`; if that is not meant, use `reads` for these, or `join: all`"
                yield Problem(
                    "G107", text, "warning", path=("nodes", node_id, "needs"), on_key=True
                )


def _unused(plan: Plan, nodes: Mapping[str, Node], output: Sequence[str]) -> Iterator[Problem]:
    for node_id, node in nodes.items():
        if node_id in output or plan.stops[node_id].followers or runs_last(node):
            continue
        text = f"the output of node {node_id!r} is not used"
        yield Problem("G108", text, "warning", path=("nodes", node_id), on_key=True)


def _cycle(cycle: Cycle, origin: Callable[[Edge], str]) -> Problem:
    steps = [
        f"{edge.target} {'is a route of' if edge.kind == 'route' else edge.kind} {edge.source}"
        + (f" ({where})" if (where := origin(edge)) else "")
        for edge in cycle.edges
    ]
    first = cycle.edges[0]
    return Problem(
        "G013",
        f"the nodes form a cycle: {'; '.join(steps)}",
        file=first.file,
        line=first.line,
        column=first.column,
        path=first.path,
        on_key=first.target in first.labels[:1],  # the label of a short route
    )
