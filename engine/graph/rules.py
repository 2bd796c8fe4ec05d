"""Whether a graph hangs together: every rule between nodes, all problems at once."""

from __future__ import annotations

import itertools
import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import comb

from msgspec import Struct
from msgspec.structs import replace

from ..errors import KeyPath, Problem, closest, listed
from ..prompts.library import Prompts
from .edges import RESERVED, wire
from .fields import Join
from .kinds import Broken
from .node import Node
from .plan import Cycle, Edge, Plan
from .reachability import Scenarios
from .template_types import Names, contracts

Place = Callable[[Edge], str]
_SETS_AT_MOST = 256  # of a router's labels: eight labels in every combination
_ID = re.compile(r"[a-z][a-z0-9_]*")
_JINJA_WORDS = frozenset(
    """and or not in is if elif else for recursive break continue true false none with without
    context ignore missing import from include extends block scoped required macro call filter set
    raw autoescape trans namespace range dict lipsum cycler joiner self super varargs kwargs caller
    loop system user assistant messages""".split()  # noqa: SIM905  words read better so
)


class Checked(Struct, frozen=True):
    """What the check found out: the plan is None where the edges do not hold."""

    problems: tuple[Problem, ...]
    plan: Plan | None
    output: tuple[str, ...]


def check(
    nodes: Mapping[str, Node],
    output: Sequence[str],
    templates: Mapping[str, str],
    prompts: Prompts,
    place: Place,
    names: Names,
) -> Checked:
    """Hold every rule against the nodes.

    `place` says where an edge is written, for messages; `names` what templates may read.
    """
    used = [*templates.items(), *_named_by_kinds(nodes)]
    problems = [*_ids(nodes), *_templates(nodes, used, prompts)]
    broken = any(isinstance(node, Broken) for node in nodes.values())
    answering = _output(nodes, output, problems)
    readable = [(node_id, name) for node_id, name in used if not prompts.problems(name)]
    wiring = wire(nodes, readable, prompts, answering)
    problems += wiring.problems
    problems += contracts(names, nodes, readable, prompts)
    plan, cycles = _plan(nodes, wiring.edges)
    if cycles:
        problems += [_cycle(cycle, place) for cycle in cycles]
        return Checked(tuple(problems), None, answering)
    if not broken:
        choices, partial = _choices(nodes)
        scenarios = Scenarios(plan, choices, _optional(nodes), partial)
        problems += _never(scenarios)
        problems += _guards(wiring.unguarded, scenarios, nodes)
        problems += _bypassed(plan, nodes, scenarios)
        if answering and len(readable) == len(used):
            problems += _unused(plan, nodes, answering)
    return Checked(tuple(problems), plan, answering)


def _plan(nodes: Mapping[str, Node], edges: Sequence[Edge]) -> tuple[Plan, list[Cycle]]:
    """The order of the nodes, without the edges of the cycles that were found."""
    joins: dict[str, Join] = {node_id: node.join for node_id, node in nodes.items()}
    cycles: list[Cycle] = []
    while True:
        try:
            return Plan(joins, edges), cycles
        except Cycle as cycle:
            cycles.append(cycle)
            round_it = {(edge.source, edge.target) for edge in cycle.edges}
            edges = [edge for edge in edges if (edge.source, edge.target) not in round_it]


def _ids(nodes: Mapping[str, Node]) -> Iterator[Problem]:
    for node_id, node in nodes.items():
        path: KeyPath = ("nodes", node_id)
        if node_id == "history":
            if node.loads_history or isinstance(node, Broken):
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
        return "is a name that templates already have; choose another"
    if node_id in _JINJA_WORDS or keyword.iskeyword(node_id):
        return "is a word of the template language; choose another"
    return None


def _named_by_kinds(nodes: Mapping[str, Node]) -> Iterator[tuple[str, str]]:
    for node_id, node in nodes.items():
        yield from ((node_id, name) for name in type(node).templates)


def _templates(
    nodes: Mapping[str, Node], used: Iterable[tuple[str, str]], prompts: Prompts
) -> Iterator[Problem]:
    seen: set[Problem] = set()
    for node_id, name in used:
        for problem in prompts.problems(name):
            at_home = problem.file is None
            path = ("nodes", node_id, nodes[node_id].template_field)
            found = replace(problem, path=path) if at_home else problem
            if found not in seen:
                seen.add(found)
                yield found


def _output(
    nodes: Mapping[str, Node], output: Sequence[str], problems: list[Problem]
) -> tuple[str, ...]:
    """The nodes that may answer: those that are named, or the only one that can be meant."""
    for index, node_id in enumerate(output):
        if node_id not in nodes:
            text = f"output names {node_id!r}, and there is no such node"
            problems.append(
                Problem("G012", text, path=("output", index), suggestion=closest(node_id, nodes))
            )
        elif not (nodes[node_id].answers or isinstance(nodes[node_id], Broken)):
            text = f"output names {node_id!r}, and a {nodes[node_id].kind} gives no answer"
            problems.append(Problem("G015", text, path=("output", index)))
    if output:
        return tuple(node_id for node_id in output if node_id in nodes)
    needed = {
        source
        for node in nodes.values()
        if not node.comes_last
        for source in (*node.needs, *itertools.chain(*node.branches().values()))
    }
    last = [n for n, node in nodes.items() if node.answers and n not in needed]
    if len(last) == 1:
        return tuple(last)
    if nodes and not any(isinstance(node, Broken) for node in nodes.values()):
        which = f"{listed(last)} could all answer" if last else "no node is left to answer"
        text = f"{which}; name the one that does: `output: ID`, or several in order of preference"
        problems.append(Problem("G015", text, path=("output",)))
    return ()


def _choices(
    nodes: Mapping[str, Node],
) -> tuple[dict[str, list[frozenset[str]]], frozenset[str]]:
    """For each router the sets of labels that it may take, and the routers with yet more sets."""
    choices: dict[str, list[frozenset[str]]] = {}
    partial: set[str] = set()
    for node_id, node in nodes.items():
        labels = list(node.branches())
        if not labels:
            continue
        fewest, most = node.takes()
        sizes: Sequence[int] = range(fewest, min(most, len(labels)) + 1)
        if sum(comb(len(labels), size) for size in sizes) > _SETS_AT_MOST:
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


def _never(scenarios: Scenarios) -> Iterator[Problem]:
    for node_id in scenarios.plan.order:
        if scenarios.never_runs(node_id):
            text = f"node {node_id!r} can never run: no choice of the routers opens what it needs"
            yield Problem("G014", text, path=("nodes", node_id), on_key=True)


def _guards(
    unguarded: Sequence[tuple[str, str, Problem]], scenarios: Scenarios, nodes: Mapping[str, Node]
) -> Iterator[Problem]:
    missing: dict[tuple[str, str], bool] = {}
    for reader, source, place in unguarded:
        if (reader, source) not in missing:
            missing[reader, source] = not nodes[source].loads_history and scenarios.without(
                source, reader
            )
        if missing[reader, source]:
            text = f"{source!r} may have been skipped when {reader!r} runs; "
            text += place.message or f"guard it with {{% if {source} is defined %}}"
            yield replace(place, code="P004", message=text)


def _bypassed(plan: Plan, nodes: Mapping[str, Node], scenarios: Scenarios) -> Iterator[Problem]:
    """A route's target that also needs others runs even when the router did not choose it."""
    for node_id, node in nodes.items():
        routers = [source for source, labels in plan.stop(node_id).needs if labels is not None]
        if node.join != "any" or not routers or not set(node.needs) - set(routers):
            continue
        for router in routers:
            if scenarios.runs_unchosen(node_id, router):
                text = f"{node_id!r} runs even when {router!r} does not choose it, because of its "
                text += "`needs`; if that is not meant, use `reads` for these, or `join: all`"
                yield Problem(
                    "G107", text, "warning", path=("nodes", node_id, "needs"), on_key=True
                )


def _unused(plan: Plan, nodes: Mapping[str, Node], output: Sequence[str]) -> Iterator[Problem]:
    for node_id, node in nodes.items():
        if node_id in output or plan.stop(node_id).followers or node.comes_last:
            continue
        text = f"nobody uses the output of node {node_id!r}"
        yield Problem("G108", text, "warning", path=("nodes", node_id), on_key=True)


def _cycle(cycle: Cycle, place: Place) -> Problem:
    told = [
        f"{edge.target} {'is a route of' if edge.kind == 'route' else edge.kind} {edge.source}"
        + (f" ({where})" if (where := place(edge)) else "")
        for edge in cycle.edges
    ]
    first = cycle.edges[0]
    return Problem(
        "G013",
        f"the nodes go round: {'; '.join(told)}",
        file=first.file,
        line=first.line,
        column=first.column,
        path=first.path,
    )
