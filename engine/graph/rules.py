"""Every rule between the nodes of a graph, checked so that all problems are reported at once.

The models that they name are looked at last: their ids, their tools and their prices.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import keyword
import random
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from math import comb, prod
from textwrap import dedent
from types import CodeType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace

from ..errors import KeyPath, Problem, Severity, closest, listed
from ..models.registry import LOCAL, NO_TOOLS, has_unknown_price, unknown_id
from ..prompts.library import Prompts
from ..values import model_id_problem
from .edges import NOT_IDS, UnguardedRead, edges_to_last, find_edges
from .fields import Join, ModelSpec
from .kinds import InvalidNode
from .node import (
    FEEDBACK,
    FORM,
    Node,
    asks_in_form,
    asks_model,
    branches_of,
    functions_of,
    graph_in,
    handovers_of,
    loads_history,
    runs_last,
    takes_of,
    template_field,
    tools_of,
)
from .plan import Cycle, Cyclic, Edge, Plan, Stop, bits_of
from .template_types import TemplateTypes, check_templates

if TYPE_CHECKING:
    from .graph import Budget, Declaration, Graph

DeclaredModel: TypeAlias = "str | ModelSpec | None"

UNUSED = "G108"
"""Code of the warning that the output of a node is not used."""
LIMIT = 4096
_SWITCH = 2  # a choice of two: most are, and one call draws all its bits


@dataclass(frozen=True)
class Reachability:
    """Answers which nodes can run, and run without one another.

    `choices` lists, for each router, the sets of labels that it may choose; `partial` are the
    routers that may choose other sets too. `optional` are the nodes that may be skipped although
    their edges let them run.

    A question is answered by scenarios of the whole graph first: if they show what is asked for,
    it is possible. Only if they do not, and are a sample, are all scenarios of the nodes before
    the one in question looked at, as far as these are not too many themselves.
    """

    plan: Plan
    choices: Mapping[str, Sequence[frozenset[str]]]
    optional: frozenset[str]
    partial: frozenset[str] = frozenset()
    _scenarios: dict[tuple[int, bool], _Scenarios] = field(
        default_factory=dict["tuple[int, bool]", "_Scenarios"], compare=False
    )
    _samples: dict[tuple[str, int], list[int]] = field(
        default_factory=dict["tuple[str, int]", "list[int]"], compare=False
    )

    def never_runs(self, node_id: str) -> bool:
        """Whether the node runs in no scenario; False if that is not certain."""
        if self._everywhere(skips=False).ran(node_id):
            return False
        scenarios = self._before(node_id, skips=False)
        is_certain = scenarios.is_complete and not self.plan.stops[node_id].before & self._partial
        return is_certain and not scenarios.ran(node_id)

    def runs_without(self, reader: str, sources: Collection[str]) -> bool:
        """Whether `reader` can run when none of `sources` does."""
        if not self.always.isdisjoint(sources):
            return False

        def is_shown(by: _Scenarios) -> bool:
            shown = by.admitted(reader)
            for source in sources:
                shown &= ~by.ran(source)
            return bool(shown)

        return is_shown(self._everywhere(skips=True)) or is_shown(self._before(reader, skips=True))

    def runs_unchosen(self, target: str, router: str) -> bool:
        """Whether `target` can run when `router` ran and did not choose it."""
        labels = dict(self.plan.stops[target].needs)[router]

        def is_shown(by: _Scenarios) -> bool:
            return bool(by.ran(target) & by.ran(router) & ~by.chosen(router, labels))

        return is_shown(self._everywhere(skips=False)) or is_shown(
            self._before(target, skips=False)
        )

    def run_together(self, one: str, other: str) -> bool:
        """Whether a run is known in which both nodes run."""
        ran = self._everywhere(skips=False).ran
        return bool(ran(one) & ran(other))

    @cached_property
    def always(self) -> frozenset[str]:
        """Nodes that run in every scenario, as far as their edges alone show."""
        always: set[str] = set()
        for node_id in self.plan.order:
            stop = self.plan.stops[node_id]
            votes = [labels is None and source in always for source, labels in stop.needs]
            if _joined(stop, votes, every=True) and node_id not in self.optional:
                always.add(node_id)
        return frozenset(always)

    @cached_property
    def _routers(self) -> int:
        """The bit set of the nodes that have a choice."""
        return self._bits(router for router, ways in self.choices.items() if len(ways) > 1)

    @cached_property
    def _switches(self) -> int:
        return self._bits(self.optional)

    @cached_property
    def _partial(self) -> int:
        return self._bits(self.partial)

    def _bits(self, node_ids: Iterable[str]) -> int:
        return sum(1 << self.plan.stops[node_id].index for node_id in node_ids)

    def _everywhere(self, *, skips: bool) -> _Scenarios:
        """Scenarios of the whole graph; with `skips` the optional nodes are skipped in some."""
        return self._of((1 << len(self.plan.order)) - 1, skips=skips)

    def _before(self, node_id: str, *, skips: bool) -> _Scenarios:
        """Scenarios of the nodes before one: these alone decide whether its edges let it run."""
        return self._of(self.plan.stops[node_id].before, skips=skips)

    def _of(self, nodes: int, *, skips: bool) -> _Scenarios:
        """Scenarios of a bit set of nodes, which are all before any of them.

        All nodes whose choices are the same ones share them. They are a sample, the same for all
        nodes, if there are more than `LIMIT`.
        """
        routers = nodes & self._routers
        switches = nodes & self._switches if skips else 0
        sizes = list(islice(self._sizes(routers, switches), LIMIT.bit_length()))
        is_complete = prod(sizes) <= LIMIT
        key = (routers << len(self.plan.order) | switches if is_complete else -1, skips)
        if key not in self._scenarios:
            self._scenarios[key] = (
                self._enumerated(routers, switches, sizes) if is_complete else self._sampled(skips)
            )
        return self._scenarios[key]

    def _sizes(self, routers: int, switches: int) -> Iterator[int]:
        for index in bits_of(routers):
            yield len(self.choices[self.plan.order[index]])
        for _ in bits_of(switches):
            yield _SWITCH

    def _enumerated(self, routers: int, switches: int, sizes: Sequence[int]) -> _Scenarios:
        """All scenarios of these choices."""
        order, bits = self.plan.order, iter(_every(sizes))
        taken = {order[index]: next(bits) for index in bits_of(routers)}
        skipped = {order[index]: next(bits)[1] for index in bits_of(switches)}
        return _Scenarios(self, prod(sizes), taken, skipped, is_complete=True)

    def _sampled(self, skips: bool) -> _Scenarios:
        """A sample of the scenarios of the whole graph."""
        order = self.plan.order
        taken = {
            order[index]: self._sample(order[index], len(self.choices[order[index]]))
            for index in bits_of(self._routers)
        }
        switches = (order[index] for index in bits_of(self._switches if skips else 0))
        skipped = {node_id: self._sample(node_id, _SWITCH)[1] for node_id in switches}
        return _Scenarios(self, LIMIT, taken, skipped, is_complete=False)

    def _sample(self, node_id: str, size: int) -> list[int]:
        """Random bits for each way of a choice, drawn once."""
        return self._samples.setdefault((node_id, size), _sampled(size, seed=len(self._samples)))


class _Scenarios:
    """Scenarios of some nodes, one for each bit: which nodes run in them, worked out when asked.

    `taken` has the bits of each choice of each router; `skipped` those in which an optional node
    is skipped. `is_complete` says whether there are no other scenarios.
    """

    def __init__(
        self,
        of: Reachability,
        count: int,
        taken: Mapping[str, Sequence[int]],
        skipped: Mapping[str, int],
        *,
        is_complete: bool,
    ) -> None:
        self.is_complete = is_complete
        self._plan = of.plan
        self._choices = of.choices
        self._every = (1 << count) - 1
        self._taken = taken
        self._skipped = skipped
        self._admitted: dict[str, int] = {}
        self._done = 0
        self._chosen: dict[tuple[str, frozenset[str]], int] = {}

    def admitted(self, node_id: str) -> int:
        """The bits in which the edges of the node let it run."""
        if node_id not in self._admitted:
            stop = self._plan.stops[node_id]
            for index in bits_of((stop.before | 1 << stop.index) & ~self._done):
                self._admitted[self._plan.order[index]] = self._joined(self._plan.order[index])
            self._done |= stop.before | 1 << stop.index
        return self._admitted[node_id]

    def ran(self, node_id: str) -> int:
        """The bits in which the node runs."""
        return self.admitted(node_id) & ~self._skipped.get(node_id, 0)

    def chosen(self, router: str, labels: frozenset[str] | None) -> int:
        """The bits in which the router, if it runs, chooses one of the labels."""
        if labels is None:
            return self._every
        if (router, labels) not in self._chosen:
            bits = 0
            ways = self._taken.get(router, (self._every,))
            for choice, taken in zip(self._choices[router], ways, strict=True):
                if not labels.isdisjoint(choice):
                    bits |= taken
            self._chosen[router, labels] = bits
        return self._chosen[router, labels]

    def _joined(self, node_id: str) -> int:
        stop = self._plan.stops[node_id]
        votes = [self.ran(source) & self.chosen(source, labels) for source, labels in stop.needs]
        return _joined(stop, votes, self._every)


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
    drawn = [*range(min(size, LIMIT)), *chance.choices(range(size), k=max(0, LIMIT - size))]
    ways = [bytearray(LIMIT // 8) for _ in range(size)]
    for scenario, way in enumerate(drawn):
        ways[way][scenario // 8] |= 1 << scenario % 8
    return [int.from_bytes(bits, "little") for bits in ways]


_MAX_LABEL_SETS = 256  # of a router's labels: eight labels in every combination
_ID = re.compile(r"[a-z][a-z0-9_]*")
_JINJA_WORDS = frozenset(
    """and or not in is if elif else for recursive break continue true false none with
    import from include extends block macro call filter set raw autoescape trans namespace range
    dict lipsum cycler joiner self super varargs kwargs caller loop system user assistant
    messages""".split()  # noqa: SIM905  words read better so
)


class RuleResults(Struct, frozen=True):
    """What the rules found; `plan` is None if the edges have a cycle.

    `alone` are errors only where no graph around this one gives the names that it reads. `always`
    are the nodes that are never skipped.
    """

    problems: tuple[Problem, ...]
    plan: Plan | None
    output: tuple[str, ...]
    alone: tuple[Problem, ...] = ()
    always: frozenset[str] = frozenset()


def apply_rules(
    nodes: Mapping[str, Node],
    output: Sequence[str],
    prompts: Prompts,
    origin: Callable[[Edge], str],
    types: TemplateTypes,
    *,
    is_visited: bool = False,
) -> RuleResults:
    """Apply every rule to the nodes.

    `origin` says where an edge is written, for messages; `types` are those of template names.
    `is_visited` says that the nodes run one at a time (`RunsVisits`).
    """
    used = types.templates
    problems = [*_check_ids(nodes), *_check_syntax(nodes, used, prompts)]
    any_invalid = any(isinstance(node, InvalidNode) for node in nodes.values())
    problems += [*_check_output(nodes, output), *_check_handovers(nodes, is_visited=is_visited)]
    valid = {name for name in {name for _, name in used} if not prompts.problems(name)}
    readable = [(node_id, name) for node_id, name in used if name in valid]
    found = find_edges(nodes, readable, prompts)
    problems += found.problems
    problems += _not_alone(nodes, found.edges) if is_visited else ()
    type_problems, alone = _type_problems(types)
    problems += [*type_problems, *_formless(nodes, readable, prompts)]
    answering, unclear = _answering(nodes, output or (nodes if is_visited else ()), found.edges)
    plan, cycles = _plan(nodes, [*found.edges, *edges_to_last(nodes, answering)])
    if cycles:
        problems += [_cycle(cycle, origin, in_round=types.reads_round) for cycle in cycles]
        return RuleResults(tuple(problems), None, answering)
    # Nobody knows which nodes an invalid node or template would have used.
    is_complete = len(readable) == len(used) and not found.problems
    always = frozenset[str]()
    if not any_invalid:
        choices, partial = _choices(nodes)
        reachability = Reachability(plan, choices, _optional(nodes), partial)
        always = reachability.always
        problems += _never(reachability)
        problems += _guards(found.unguarded, reachability, nodes)
        problems += _bypassed(plan, nodes, reachability)
        problems += () if is_visited else _set_at_once(nodes, reachability)
        problems += [*_undescribed(nodes), *_literal_braces(nodes)]
        problems += unclear if is_complete else []
        if answering and is_complete:
            problems += _unused(
                plan, nodes, {*answering, *_read_in_later_rounds(readable, prompts)}
            )
    return RuleResults(tuple(problems), plan, answering, alone, always)


def _formless(
    nodes: Mapping[str, Node], templates: Sequence[tuple[str, str]], prompts: Prompts
) -> Iterator[Problem]:
    """Nodes whose answer a program reads, and none of whose templates says in which form.

    A template says it if it, or one that it includes, prints the form; or by a block `form` with
    words of its own.
    """
    says: dict[str, bool] = {}
    for _, name in templates:
        if name not in says:
            says[name] = _prints_form(prompts, name) or prompts.fills_block(
                name, "form", beside=FORM
            )
    said: dict[str, bool] = {}
    for node_id, name in templates:
        if name not in FEEDBACK:
            said[node_id] = said.get(node_id, False) or says[name]
    for node_id, is_said in said.items():
        if not is_said and asks_in_form(nodes[node_id]):
            text = f"node {node_id!r}: a program reads the answer, and the template does not say "
            text += "in which form; "
            if not _prints_form(prompts, FORM):
                text += f"write {{{{ node.form.text }}}} into your {FORM}, and "
            text += f'end it with {{% include "{FORM}" %}}, in the system message '
            text += "if it has one, or say it in a block `form`"
            path = ("nodes", node_id, template_field(nodes[node_id]))
            yield Problem("G114", text, "warning", path=path)


def _prints_form(prompts: Prompts, name: str) -> bool:
    """Whether a template, or one that it includes, reads the words of the form."""
    return any(read.path.startswith(_FORM_IN_WORDS) for read in prompts.reads(name))


_FORM_IN_WORDS = ("node.form.text", "node.form.labels")


def _type_problems(types: TemplateTypes) -> tuple[list[Problem], tuple[Problem, ...]]:
    """The problems of templates, and those that are none inside of a loop or map."""
    problems = list(check_templates(types))
    if not types.reads_round and all(each.severity != "error" for each in problems):
        return problems, ()
    anywhere = list(check_templates(types.anywhere()))
    wrong = {_place(each) for each in anywhere}
    return anywhere, tuple(each for each in problems if _place(each) not in wrong)


def _place(problem: Problem) -> tuple[object, ...]:
    return (problem.severity, problem.file, problem.path, problem.line, problem.column)


def _plan(nodes: Mapping[str, Node], edges: Sequence[Edge]) -> tuple[Plan, list[Cycle]]:
    """The order of the nodes, without the edges of the cycles that were found.

    Each attempt finds one cycle of every strongly connected component; only components with several
    cycles need more.
    """
    joins: dict[str, Join] = {node_id: node.join for node_id, node in nodes.items()}
    cycles: list[Cycle] = []
    while True:
        try:
            return Plan(joins, edges), cycles
        except Cyclic as error:
            cycles += error.cycles
            in_cycle = {(edge.source, edge.target) for cycle in error.cycles for edge in cycle}
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
            near = re.sub(r"[^a-z0-9]+", "_", node_id.lower()).strip("_")
            meant = near if near != node_id and misnamed(near) is None else None
            text = f"node id {node_id!r} {why}"
            yield Problem("G010", text, path=path, suggestion=meant, on_key=True)


def misnamed(node_id: str) -> str | None:
    """Why no node may have this id (`history`: none but a history-loader); None if one may."""
    if not _ID.fullmatch(node_id):
        return "must be lower-case letters, digits and _, letter first"
    if node_id in NOT_IDS:
        return "is a name that templates already have; choose another"
    if node_id in _JINJA_WORDS or keyword.iskeyword(node_id):
        return "is a word of the template language; choose another"
    return None


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


def _check_output(nodes: Mapping[str, Node], output: Sequence[str]) -> Iterator[Problem]:
    for index, node_id in enumerate(output):
        if node_id not in nodes:
            text = f"output names {node_id!r}, and there is no such node"
            near = closest(node_id, nodes)
            text += "" if near else f"; nodes: {listed(nodes)}"
            yield Problem("G012", text, path=("output", index), suggestion=near)
        elif not (nodes[node_id].answers or isinstance(nodes[node_id], InvalidNode)):
            text = f"output names {node_id!r}, and a {nodes[node_id].kind} gives no answer"
            yield Problem("G015", text, path=("output", index))


def _check_handovers(nodes: Mapping[str, Node], *, is_visited: bool) -> Iterator[Problem]:
    for node_id, node in nodes.items():
        path: KeyPath = ("nodes", node_id, "hands_to")
        if handovers_of(node) and not is_visited:
            text = f"node {node_id!r}: hands_to is for the members of a swarm; a router chooses "
            text += "among the nodes of a graph"
            yield Problem("G007", text, path=path, on_key=True)
        elif node_id in handovers_of(node):
            index = handovers_of(node).index(node_id)
            text = f"node {node_id!r} cannot hand over to itself; leave it out"
            yield Problem("G007", text, path=(*path, index))


def _not_alone(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> Iterator[Problem]:
    """What is wrong with nodes that run one at a time: edges between them, and conditions."""
    pairs = {(edge.source, edge.target): edge for edge in reversed([*edges])}
    for edge in (each for each in pairs.values() if nodes[each.source].answers):
        text = f"node {edge.target!r} uses {edge.source!r}, but the members of a swarm run only "
        text += "when the conversation is handed over to them, and read nothing of each other; "
        text += "put what they all read before the swarm"
        place = Problem("G007", text, file=edge.file, line=edge.line, column=edge.column)
        yield replace(place, path=edge.path)
    for node_id, node in nodes.items():
        if not node.answers:
            text = f"node {node_id!r}: a {node.kind} gives no answer, so it cannot be a member of "
            yield Problem("G015", f"{text}a swarm", path=("nodes", node_id), on_key=True)
        if node.when is not None:
            text = f"node {node_id!r}: a member of a swarm has no `when`: it runs when the "
            text += "conversation is handed over to it; remove it"
            yield Problem("G007", text, path=("nodes", node_id, "when"), on_key=True)


def _answering(
    nodes: Mapping[str, Node], output: Collection[str], edges: Sequence[Edge]
) -> tuple[tuple[str, ...], list[Problem]]:
    """The nodes that may answer: those of `output`, or the only one whose output no node uses.

    A node that runs once the answer is known, such as a summarizer, is no use of it.
    """
    if output:
        return tuple(node_id for node_id in output if node_id in nodes), []
    used = {edge.source for edge in edges if not runs_last(nodes[edge.target])}
    leaves = [node_id for node_id, node in nodes.items() if node.answers and node_id not in used]
    if len(leaves) == 1 or not nodes:
        return tuple(leaves), []
    which, one, several = "no node is left to answer", "ID", "ID, OTHER"
    if leaves:
        which = f"{listed(leaves)} could all answer"
        one, several = leaves[-1], ", ".join(leaves[:2])
    routed = {edge.target for edge in edges if edge.kind == "route"}
    if leaves and routed.issuperset(leaves):  # the others are skipped, so one alone is too few
        text = f"{which}, and a router chooses; name them in order of preference: "
        text += f"`output: [{', '.join(leaves)}]`"
    else:
        text = f"{which}; name the one that does: `output: {one}`, or several in order of "
        text += f"preference: `output: [{several}]`"
    return (), [Problem("G015", text, path=("output",))]


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
    unguarded: Sequence[UnguardedRead],
    reachability: Reachability,
    nodes: Mapping[str, Node],
) -> Iterator[Problem]:
    missing: dict[tuple[str, frozenset[str]], bool] = {}
    for reader, source, place, absent in unguarded:
        without = frozenset((source, *(each for each in absent if each in nodes)))
        if (reader, without) not in missing:
            missing[reader, without] = not loads_history(nodes[source]) and (
                reachability.runs_without(reader, without)
            )
        if missing[reader, without]:
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


def _set_at_once(nodes: Mapping[str, Node], reachability: Reachability) -> Iterator[Problem]:
    """Nodes that set a key of the session's state which another sets at the same time.

    At most one warning for a node: with the first node that is not before it, both in plan order.
    """
    plan, seen = reachability.plan, dict[str, _Pairs]()
    setters = 0
    for node_id, pairs in _setters(plan.order, nodes):
        stop = plan.stops[node_id]
        for index in bits_of(setters & ~stop.before):
            other = plan.order[index]
            keys = sorted(_contradicting(seen[other], pairs))
            if keys and reachability.run_together(other, node_id):
                text = f"{other!r} and {node_id!r} can run at the same time, and both set "
                text += f"{listed(map(repr, keys))} of the session's state; if the values differ, "
                text += f"the second of them fails: let {node_id!r} need or read {other!r}, or let "
                text += "each set a key of its own"
                yield Problem("G110", text, "warning", path=("nodes", node_id), on_key=True)
                break
        seen[node_id] = pairs
        setters |= 1 << stop.index


def _undescribed(nodes: Mapping[str, Node]) -> Iterator[Problem]:
    """Tools without a description; of a server, no text of this project could help."""
    for node_id, node in nodes.items():
        if (toolbox := tools_of(node)) is None:
            continue
        for name, index in toolbox.places.items():
            if not toolbox.tools[name].description:
                text = f"the tool {name!r} has no docstring, so the model is not told what it is "
                text += "for; give the function one"
                yield Problem("G111", text, "warning", path=("nodes", node_id, "tools", index))


_Pairs: TypeAlias = frozenset[tuple[str, str]]


def _setters(order: Iterable[str], nodes: Mapping[str, Node]) -> Iterator[tuple[str, _Pairs]]:
    """The nodes whose functions set keys of the session's state, with these."""
    of_functions: dict[int, _Pairs] = {}
    for node_id in order:
        pairs: _Pairs = frozenset()
        for function in functions_of(nodes[node_id]):
            if id(function) not in of_functions:
                of_functions[id(function)] = _keys_set(function)
            pairs |= of_functions[id(function)]
        if pairs:
            yield node_id, pairs


def _contradicting(some: _Pairs, others: _Pairs) -> set[str]:
    return {
        key
        for key, value in some
        for same, other in others
        if key == same and _contradict(value, other)
    }


_BRACES = re.compile(
    r"\{\{[^{}]{1,200}\}\}|\{%[^{}]{1,200}%\}"
    r"|(?<![\w\\}$])\{(?:(?:user|app|temp):)?(?P<name>[A-Za-z_]\w*)\??\}"
)
"""What a template would fill in, or Agno from the session's state; no group of LaTeX."""


def _literal_braces(nodes: Mapping[str, Node]) -> Iterator[Problem]:
    """Texts that look like templates and are none: the first such place of each text."""
    for node_id, node in nodes.items():
        for path, text in _texts_of(node):
            if (found := _BRACES.search(text)) is None:
                continue
            begin = text.rfind("\n", 0, found.start()) + 1
            message = (
                f"node {node_id!r}: {' '.join(found[0].split())} is sent as it is: only templates "
            )
            message += "are filled in; move the text to one (`prompt: NAME.jinja`)"
            if found["name"]:
                message += f", and write {{{{ session.state.{found['name']} }}}}"
            yield Problem(
                "G112",
                message,
                "warning",
                path=("nodes", node_id, *path),
                line=text.count("\n", 0, begin) + 1,
                column=found.start() - begin + 1,
            )


def _texts_of(node: Node) -> Iterator[tuple[KeyPath, str]]:
    """The texts of a node that its template prints: its role, its instructions and its params."""
    given = {name: getattr(node, name, None) for name in ("role", "instructions", "params")}
    todo: list[tuple[KeyPath, object]] = [((name,), value) for name, value in given.items()]
    while todo:
        path, value = todo.pop(0)
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, Mapping):
            todo += [
                ((*path, key), each) for key, each in cast("Mapping[str, object]", value).items()
            ]
        elif isinstance(value, list | tuple):
            items = cast("Sequence[object]", value)
            todo += [((*path, index), each) for index, each in enumerate(items)]


def _read_in_later_rounds(templates: Sequence[tuple[str, str]], prompts: Prompts) -> Iterator[str]:
    """The nodes that templates read as `round.nodes.ID`."""
    for name in {name for _, name in templates}:
        for read in prompts.reads(name):
            if read.path.startswith("round.nodes."):
                yield read.path.split(".")[2]


def _unused(plan: Plan, nodes: Mapping[str, Node], used: Collection[str]) -> Iterator[Problem]:
    for node_id, node in nodes.items():
        if node_id in used or plan.stops[node_id].followers or runs_last(node):
            continue
        text = f"the output of node {node_id!r} is not used; read it in a template, or remove it"
        yield Problem(UNUSED, text, "warning", path=("nodes", node_id), on_key=True)


def _cycle(cycle: Cycle, origin: Callable[[Edge], str], *, in_round: bool) -> Problem:
    steps = [
        f"{edge.target} {'is a route of' if edge.kind == 'route' else edge.kind} {edge.source}"
        + (f" ({where})" if (where := origin(edge)) else "")
        for edge in cycle
    ]
    first, way = cycle[0], "repeat nodes in a `kind: loop`"
    if in_round:
        back = next((edge for edge in cycle if edge.kind == "reads"), first)
        way = f"read what a node gave in the round before: `round.nodes.{back.source}`"
    return Problem(
        "G013",
        f"the nodes form a cycle: {'; '.join(steps)}; remove one of these, or {way}",
        file=first.file,
        line=first.line,
        column=first.column,
        path=first.path,
        on_key=first.target in first.labels[:1],  # the label of a short route
    )


_STATE = "session_state"
_NOT_CONSTANT = "..."
_MERGED = (
    *(ast.List, ast.Dict, ast.Set, ast.Tuple),
    *(ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp),
)


def _keys_set(function: Callable[..., object]) -> frozenset[tuple[str, str]]:
    """Pairs of a key of the session's state and the expression that a function sets it to.

    Only what is certain in its source is found: a constant key that is assigned
    (`session_state["total"] = ...`, on a name or an attribute `session_state`) or given in
    `Result(session_state={"total": ...})`. Lists and mappings are left out, since changes of these
    are merged; so are keys made at run time.
    """
    while isinstance(function, partial):
        function = function.func
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    if not isinstance(code, CodeType) or not _mentions_state(code):
        return frozenset()
    try:
        tree = ast.parse(dedent(inspect.getsource(plain)))
    except (OSError, SyntaxError):  # no file, or a lambda in the midst of an expression
        return frozenset()
    return frozenset(
        (key, _value_text(value)) for key, value in _state_changes(tree) if not _is_merged(value)
    )


def _contradict(some: str, other: str) -> bool:
    """Whether one key set to both expressions may contradict: not one text, boolean or null."""
    return some != other or some == _NOT_CONSTANT


def _value_text(value: ast.expr) -> str:
    """A text, boolean or null as it is written; of anything else only that it is something else."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str | bool | None):
        return ascii(value.value)
    return _NOT_CONSTANT


def _mentions_state(code: CodeType) -> bool:
    """Whether the function uses the name, looked up in its bytecode: reading source takes long."""
    names = {*code.co_names, *code.co_varnames, *code.co_freevars}
    return _STATE in names or any(
        _mentions_state(each) if isinstance(each, CodeType) else each == _STATE or _has_state(each)
        for each in code.co_consts
    )


def _has_state(constant: object) -> bool:
    """Whether a constant has the name of a keyword argument: these are a tuple."""
    return isinstance(constant, tuple) and _STATE in constant


def _is_merged(value: ast.expr) -> bool:
    return any(isinstance(part, _MERGED) for part in ast.walk(value))


def _state_changes(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Each constant key that is set, with what it is set to; with `+=` only by a constant.

    Items that `+=` adds to a list are merged, and so are the keys that `|=` adds to a mapping.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _state_key(target, node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.value, ast.Constant):
            yield from _state_key(node.target, node.target)
        elif isinstance(node, ast.keyword) and node.arg == _STATE:
            yield from _state_items(node.value) if isinstance(node.value, ast.Dict) else ()


def _state_items(value: ast.Dict) -> Iterator[tuple[str, ast.expr]]:
    """The constant keys of a mapping that is written in place."""
    for key, item in zip(value.keys, value.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value, item


def _state_key(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if not (isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant)):
        return
    name = getattr(target.value, "attr", getattr(target.value, "id", None))
    if name == _STATE and isinstance(target.slice.value, str):
        yield target.slice.value, value


class _Asker(NamedTuple):
    """A node that asks a model, with the id of the node of the outermost graph that it is in.

    `is_reported` says that a graph inside has reported already what is wrong with the two.
    """

    node_id: str
    node: Node
    model: DeclaredModel
    is_reported: bool = False


def model_problems(
    graph: Declaration, nodes: Mapping[str, Node], templates: Collection[str]
) -> Iterator[Problem]:
    """What is wrong with the models of a graph and its nodes; `templates` have a prompt."""
    problems = _id_problems(graph.model, nodes)
    yield from (each for each in problems if each.severity == "error")
    askers = list(_askers(nodes, templates, graph.model))
    for asker in askers:
        has_tools = tools_of(asker.node) is not None and not asker.is_reported
        if has_tools and LOCAL in _ids(asker.model):
            text = f"node {asker.node_id!r}: model local: {NO_TOOLS}"
            yield Problem("G018", text, path=("nodes", asker.node_id))
    for path, budget in _budgets(graph.budget):
        if budget.usd is not None:
            yield from _price_problems(askers, (*path, "usd"))


def unlike_ids(model: DeclaredModel, nodes: Mapping[str, Node]) -> Iterator[Problem]:
    """Warnings of single words that are like no id, which only a `Model` object can serve."""
    return (each for each in _id_problems(model, nodes) if each.severity == "warning")


def _id_problems(model: DeclaredModel, nodes: Mapping[str, Node]) -> Iterator[Problem]:
    """Ids that no adapter would serve."""
    named = [*_named(model, ("model",))]
    for node_id, node in nodes.items():
        named += _named(node.model, ("nodes", node_id, "model"))
    for path, model_id, api_base in named:
        if (problem := model_id_problem(model_id)) is not None:
            yield Problem("G004", problem, path=path)
            continue
        unknown = unknown_id(model_id, api_base=api_base)
        if unknown is not None:
            is_error = unknown.is_certain and not unknown.is_name
            severity: Severity = "error" if is_error else "warning"
            yield Problem("G018", unknown.text, severity, path=path, suggestion=unknown.meant)


def _budgets(declared: Budget | Sequence[Budget] | None) -> Iterator[tuple[KeyPath, Budget]]:
    """The limits of a graph, with their paths."""
    if isinstance(declared, Sequence):
        yield from ((("budget", index), each) for index, each in enumerate(declared))
    elif declared is not None:
        yield ("budget",), declared


def _price_problems(askers: Iterable[_Asker], path: KeyPath) -> Iterator[Problem]:
    """Models whose calls a limit in dollars cannot count."""
    models = {model_id: None for asker in askers for model_id in _ids(asker.model)}
    unknown = [each for each in models if has_unknown_price(each)]
    if unknown:
        text = f"the price of {listed(unknown)} is unknown, so a limit in usd does not count its "
        text += "calls; add `calls` or `tokens` to the budget, or name a model with a known price"
        yield Problem("G115", text, "warning", path=path)


def _askers(
    nodes: Mapping[str, Node], templates: Collection[str], default: DeclaredModel
) -> Iterator[_Asker]:
    """The nodes that ask a model, also those in inner graphs, which inherit its model."""
    for node_id, node in nodes.items():
        if node_id in templates and asks_model(node):
            yield _Asker(node_id, node, node.model or default)
        if (inner := cast("Graph | None", graph_in(node))) is not None:
            for asker in _askers(inner.nodes, inner.templates, inner.model or default):
                is_reported = bool(inner.model or asker.node.model)
                yield asker._replace(node_id=node_id, is_reported=is_reported)


def _ids(model: DeclaredModel) -> list[str]:
    return [model_id for _, model_id, _ in _named(model, ())]


def _named(model: DeclaredModel, path: KeyPath) -> Iterator[tuple[KeyPath, str, str | None]]:
    """The ids of a model and its fallbacks, with their paths and addresses."""
    if isinstance(model, str):
        yield path, model, None
    elif model is not None:
        yield (*path, "id"), model.id, model.api_base
        for index, other in enumerate(model.fallback):
            yield from _named(other, (*path, "fallback", index))
