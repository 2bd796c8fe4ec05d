"""Finds the edges of a graph: in `needs` and `reads`, in routes, and in what templates read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple, cast

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import DefinitionError, KeyPath, Problem, closest, listed
from ..prompts.library import Prompts
from ..prompts.static.walk import VariableRead
from .kinds import InvalidNode
from .node import (
    Node,
    branches_of,
    call_conditions_of,
    ends_of,
    expressions_of,
    loads_history,
    nodes_inside,
    nodes_mentioned_by,
    nodes_read_by,
    other_inputs,
    runs_last,
    template_field,
    variables_of,
    visited_field,
)
from .plan import Edge

RESERVED = frozenset(
    ("input", "user_id", "session", "history", "graph", "node", "run", "now", "upstream")
)
"""The names that every template may read."""
INSIDE = frozenset(("round",))
"""The names that only the templates of a loop may read, and those inside it."""
NOT_IDS = RESERVED | INSIDE | {"builtin", "item"}
"""The names that no node may have as its id."""


ARGUMENTS = "arguments"
"""The name that only the condition of a tool to be confirmed may read."""


class UnguardedRead(NamedTuple):
    """A read that needs its source to have run, where the nodes `absent` have not."""

    reader: str
    source: str
    place: Problem
    absent: frozenset[str] = frozenset()


class FoundEdges(Struct):
    """The edges of a graph, and the problems met while they were looked for.

    `unguarded` are the reads that need their source to have run.
    """

    edges: list[Edge] = field(default_factory=list["Edge"])
    problems: list[Problem] = field(default_factory=list["Problem"])
    unguarded: list[UnguardedRead] = field(default_factory=list["UnguardedRead"])


def find_edges(
    nodes: Mapping[str, Node],
    templates: Sequence[tuple[str, str]],
    prompts: Prompts,
) -> FoundEdges:
    """Find all edges but those of the output; `templates` pairs nodes with names of templates."""
    found = FoundEdges()
    loaders = [node_id for node_id, node in nodes.items() if loads_history(node)]
    reads_of: dict[str, list[VariableRead]] = {}
    templates_of: dict[str, list[str]] = {}
    for user, name in templates:
        templates_of.setdefault(user, []).append(name)
    for node_id, node in nodes.items():
        _add_declared(node_id, node, nodes, found)
        _check_mentions(node_id, node, nodes, loaders, found)
        if isinstance(node, InvalidNode):
            continue
        _add_routes(node_id, node, nodes, found)
        _add_inputs(node_id, node, nodes, found)
        if visited_field(node) is not None:
            _add_history(node_id, nodes, loaders, found)
        for template in templates_of.get(node_id, ()):
            own = variables_of(node, template)  # what is passed hides a node of the same name
            if template not in reads_of:  # many nodes share one
                reads_of[template] = [
                    each for each in prompts.reads(template) if _may_be_node(each.name, nodes)
                ]
            placed = template_reads(template, reads_of[template], node_id, node)
            _add_reads(node_id, nodes, loaders, placed, found, own)
        at_end = {"output": str, **nodes_inside(node)}
        calls = call_conditions_of(node)
        for field_path, source in expressions_of(node).items():
            reads = _condition_reads(node_id, field_path, source, prompts, found)
            own = at_end if field_path in ends_of(node) else {}
            own = {ARGUMENTS: object} if field_path in calls else own
            _add_reads(node_id, nodes, loaders, reads, found, own)
    found.edges = list(dict.fromkeys(found.edges))
    return found


def edges_to_last(nodes: Mapping[str, Node], output: Sequence[str]) -> list[Edge]:
    """The edges from the nodes that may answer to those that run once the answer is known."""
    return [
        Edge(source, node_id, "reads", path=("output",))
        for node_id, node in nodes.items()
        if runs_last(node)
        for source in output
        if source != node_id
    ]


def _add_declared(node_id: str, node: Node, nodes: Mapping[str, Node], found: FoundEdges) -> None:
    for kind, sources in (("needs", node.needs), ("reads", node.reads)):
        for index, source in enumerate(sources):
            path: KeyPath = ("nodes", node_id, kind, index)
            if source in nodes:
                found.edges.append(
                    Edge(source, node_id, "needs" if kind == "needs" else "reads", path=path)
                )
            else:
                text = f"node {node_id!r} {kind} {source!r}, and there is no such node"
                found.problems.append(_unknown_node(text, source, path, nodes))


def _check_mentions(
    node_id: str,
    node: Node,
    nodes: Mapping[str, Node],
    loaders: Sequence[str],
    found: FoundEdges,
) -> None:
    for field_path, name in nodes_mentioned_by(node).items():
        if name not in nodes:
            text = f"node {node_id!r} names {name!r}, and there is no such node"
            path: KeyPath = ("nodes", node_id, *field_path)
            found.problems.append(_unknown_node(text, name, path, nodes))
    loader = node.history
    if loader is not None and loader not in ("none", *loaders):
        text = f"node {node_id!r}: history names {loader!r}, which is not a history-loader"
        found.problems.append(_unknown_node(text, loader, ("nodes", node_id, "history"), loaders))


def _add_routes(node_id: str, node: Node, nodes: Mapping[str, Node], found: FoundEdges) -> None:
    labels: dict[str, list[str]] = {}
    paths: dict[str, KeyPath] = {}
    for label, targets in branches_of(node).items():
        for index, target in enumerate(targets):
            path: KeyPath = ("nodes", node_id, "routes", label, "to", index)
            if target not in nodes:
                text = f"node {node_id!r}: the route {label!r} leads to {target!r}"
                text += ", and there is no such node"
                problem = _unknown_node(text, target, path, nodes)
                if target == label and (about := _about_route(node, label)) in nodes:
                    text += f"; to lead to {about!r}, write `{label}: {{to: {about}}}`"
                    problem = replace(problem, message=text, suggestion=None)
                # In the short form of a route its label is the target.
                found.problems.append(replace(problem, on_key=target == label))
            else:
                labels.setdefault(target, []).append(label)
                paths.setdefault(target, path)
    for target, leading in labels.items():
        found.edges.append(Edge(node_id, target, "route", tuple(leading), path=paths[target]))


def _about_route(node: Node, label: str) -> str:
    """What a route is for, where people may have meant the node that it leads to."""
    routes: object = getattr(node, "routes", None)
    route = cast("Mapping[str, object]", routes).get(label) if isinstance(routes, Mapping) else None
    return str(getattr(route, "about", ""))


def _add_inputs(node_id: str, node: Node, nodes: Mapping[str, Node], found: FoundEdges) -> None:
    path: KeyPath = ("nodes", node_id, "call")
    others = other_inputs(node)
    for source, optional in nodes_read_by(node).items():
        if source in nodes:
            found.edges.append(Edge(source, node_id, "reads", path=path))
            if not optional:
                remedy = f"give the parameter {source!r} a default"
                place = Problem("P004", remedy, path=path)
                found.unguarded.append(UnguardedRead(node_id, source, place))
        elif not optional:
            text = f"node {node_id!r}: its function has a parameter {source!r}, which is no node, "
            text += f"no param and none of {listed(others)}"
            near = closest(source, (*nodes, *others))
            text += "" if near else f"; nodes: {listed(nodes)}"
            found.problems.append(Problem("G012", text, path=path, suggestion=near))


def _add_history(
    node_id: str, nodes: Mapping[str, Node], loaders: Sequence[str], found: FoundEdges
) -> None:
    """The history that the nodes read which this one visits."""
    place = Problem("P002", "", path=("nodes", node_id))
    loader = _history(node_id, nodes, loaders, place, found)
    if loader in loaders:
        found.edges.append(Edge(str(loader), node_id, "reads", path=place.path))


def _unknown_node(text: str, name: str, path: KeyPath, nodes: Iterable[str]) -> Problem:
    near = closest(name, nodes)
    if near is None:
        text += f"; nodes: {listed(nodes)}"
    return Problem("G012", text, path=path, suggestion=near)


def _may_be_node(name: str, nodes: Mapping[str, Node]) -> bool:
    """Whether a name that is read may mean a node, or is unknown."""
    return name == "history" or name not in RESERVED or name in nodes


def template_reads(
    template: str, reads: Iterable[VariableRead], node_id: str, node: Node
) -> Iterator[tuple[VariableRead, Problem]]:
    """What a template reads, each with a problem that has its place."""
    for read in reads:
        place = Problem("P002", "", file=read.file, line=read.line, column=read.column)
        if read.file == template == f"{node_id}.inline":
            place = replace(place, file=None, path=("nodes", node_id, template_field(node)))
        yield read, place


def _condition_reads(
    node_id: str, field_path: KeyPath, source: str, prompts: Prompts, found: FoundEdges
) -> Iterator[tuple[VariableRead, Problem]]:
    path: KeyPath = ("nodes", node_id, *field_path)
    try:
        expression = prompts.expression(source)
    except DefinitionError as error:
        found.problems += [replace(problem, path=path) for problem in error.problems]
        return
    for read in expression.reads:
        yield read, Problem("P002", "", line=read.line, column=read.column, path=path)


def _add_reads(
    node_id: str,
    nodes: Mapping[str, Node],
    loaders: Sequence[str],
    reads: Iterable[tuple[VariableRead, Problem]],
    found: FoundEdges,
    own: Collection[str],
) -> None:
    """Add the edges of what is read; `own` are names that hide a node of the same id."""
    for read, place in reads:
        if read.name in own or read.name in INSIDE:
            continue
        source: str | None = read.name
        if source == "history":
            source = _history(node_id, nodes, loaders, place, found)
        if source is None:
            continue
        if source in nodes and (source not in RESERVED or loads_history(nodes[source])):
            found.edges.append(_edge_of(read, place, source, node_id))
            if not read.guarded:
                found.unguarded.append(UnguardedRead(node_id, source, place, read.absent))
        elif source not in RESERVED:
            meant = _meant(read.name, nodes[node_id])
            found.problems.append(_unknown_name(read, place, {*nodes, *own}, meant))


def _history(
    node_id: str,
    nodes: Mapping[str, Node],
    loaders: Sequence[str],
    place: Problem,
    found: FoundEdges,
) -> str | None:
    """The node that `history` means for a node, or the name itself; None if it means none."""
    loader = nodes[node_id].history
    if loader is None:
        return _loader(loaders, place, found) or "history"
    return loader if loader in nodes and loads_history(nodes[loader]) else None


def _loader(loaders: Sequence[str], place: Problem, found: FoundEdges) -> str | None:
    """The node that the name `history` means, if the graph has just one."""
    if "history" in loaders:
        return "history"
    if len(loaders) > 1:
        text = f"'history' could be any of {', '.join(loaders)}; read one by its id, "
        text += "or rename the one that is meant to 'history'"
        found.problems.append(replace(place, message=text))
    return loaders[0] if len(loaders) == 1 else None


def _edge_of(read: VariableRead, place: Problem, source: str, node_id: str) -> Edge:
    return Edge(
        source,
        node_id,
        "reads",
        path=place.path,
        file=place.file,
        line=read.line,
        column=read.column,
    )


_MEANT: Mapping[str, str] = {
    **dict.fromkeys(("message", "question", "query", "user_input"), "input.message"),
    **dict.fromkeys(("user_message", "user_query", "text", "prompt"), "input.message"),
    **{name: f"node.{name}" for name in ("role", "instructions", "params", "task", "tools")},
    **{name: f"session.{name}" for name in ("state", "summary", "turns")},
    **dict.fromkeys(("messages", "chat_history", "conversation"), "history.messages"),
    **dict.fromkeys(("session_state", "memory"), "session.state"),
    **dict.fromkeys(("current_date", "current_datetime", "date", "today"), "now"),
    "session_id": "session.id",
    "run_id": "run.id",
}
"""Names that other frameworks' templates have, or that stand inside of ours."""


_FUNCTIONS: Mapping[str, str] = {
    "raise_exception": "the graph is checked before it runs; remove it",
    "strftime_now": 'write now.strftime("%Y-%m-%d")',
}
"""Functions that chat templates call elsewhere, and how to go on."""


def _meant(name: str, node: Node) -> str | None:
    """What a name means in the template of a node, if it is one of elsewhere or stands deeper."""
    return f"node.params.{name}" if name in node.params else _MEANT.get(name)


def _nearly_meant(name: str) -> str | None:
    """The same for a name with a slip of the pen: `mesage` is `input.message`."""
    near = get_close_matches(name, _MEANT, n=1, cutoff=0.85)
    return _MEANT[near[0]] if near else None


def _unknown_name(
    read: VariableRead, place: Problem, names: Iterable[str], meant: str | None
) -> Problem:
    if read.assigned:
        text = f"{read.name!r} is set in one branch only; set it before the branch"
        return replace(place, code="P004", message=text)
    known = {*RESERVED, *names}
    if read.name in _FUNCTIONS:
        return replace(place, message=f"unknown name {read.name!r}; {_FUNCTIONS[read.name]}")
    near_by = known | INSIDE | ({read.local_name} if read.local_name else set())
    near = meant or closest(read.name, near_by) or _nearly_meant(read.name)
    text = f"unknown name {read.name!r}"
    if near is None:
        text += f"; this template may read: {listed(sorted(known), 30)}; a value of yours is a "
        text += (
            f"param of the node (`params: {{{read.name}: ...}}`, read as node.params.{read.name})"
        )
        text += f" or of the session (session.state.{read.name})"
    return replace(place, message=text, suggestion=near)
