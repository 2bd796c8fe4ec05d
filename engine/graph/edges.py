"""Finds the edges of a graph: in `needs` and `reads`, in routes, and in what templates read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import DefinitionError, KeyPath, Problem, closest, listed
from ..prompts.library import Prompts
from ..prompts.static.walk import VariableRead
from .kinds import InvalidNode
from .node import (
    Node,
    branches_of,
    conditions_of,
    loads_history,
    nodes_mentioned_by,
    nodes_read_by,
    other_inputs,
    runs_last,
    template_field,
    variables_of,
)
from .plan import Edge

RESERVED = frozenset(
    ("input", "user_id", "session", "history", "graph", "node", "run", "now", "upstream")
)
"""The names that every template may read; no node may have one as its id (nor `builtin`)."""


class FoundEdges(Struct):
    """The edges of a graph, and the problems met while they were looked for.

    `unguarded` are reads `(reader, source, place)` that need the source to have run.
    """

    edges: list[Edge] = field(default_factory=list["Edge"])
    problems: list[Problem] = field(default_factory=list["Problem"])
    unguarded: list[tuple[str, str, Problem]] = field(
        default_factory=list["tuple[str, str, Problem]"]
    )


def find_edges(
    nodes: Mapping[str, Node],
    templates: Sequence[tuple[str, str]],
    prompts: Prompts,
) -> FoundEdges:
    """Find all edges but those of the output; `templates` pairs nodes with names of templates."""
    found = FoundEdges()
    for node_id, node in nodes.items():
        _add_declared(node_id, node, nodes, found)
        _check_mentions(node_id, node, nodes, found)
        if isinstance(node, InvalidNode):
            continue
        _add_routes(node_id, node, nodes, found)
        _add_inputs(node_id, node, nodes, found)
        for template in (name for user, name in templates if user == node_id):
            reads = _template_reads(template, prompts, node_id, node)
            own = variables_of(node)  # what the kind passes hides a node of the same name
            _add_reads(node_id, nodes, (each for each in reads if each[0].name not in own), found)
        _add_reads(node_id, nodes, _condition_reads(node_id, node, prompts, found), found)
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


def _check_mentions(node_id: str, node: Node, nodes: Mapping[str, Node], found: FoundEdges) -> None:
    for field_path, name in nodes_mentioned_by(node).items():
        if name not in nodes:
            text = f"node {node_id!r} names {name!r}, and there is no such node"
            path: KeyPath = ("nodes", node_id, *field_path)
            found.problems.append(_unknown_node(text, name, path, nodes))
    loader = node.history
    if loader not in (None, "none") and not (loader in nodes and loads_history(nodes[loader])):
        loaders = [other for other, each in nodes.items() if loads_history(each)]
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
                # In the short form of a route its label is the target.
                found.problems.append(replace(problem, on_key=target == label))
            else:
                labels.setdefault(target, []).append(label)
                paths.setdefault(target, path)
    for target, leading in labels.items():
        found.edges.append(Edge(node_id, target, "route", tuple(leading), path=paths[target]))


def _add_inputs(node_id: str, node: Node, nodes: Mapping[str, Node], found: FoundEdges) -> None:
    path: KeyPath = ("nodes", node_id, "call")
    others = other_inputs(node)
    for source, optional in nodes_read_by(node).items():
        if source in nodes:
            found.edges.append(Edge(source, node_id, "reads", path=path))
            if not optional:
                remedy = f"give the parameter {source!r} a default"
                found.unguarded.append((node_id, source, Problem("P004", remedy, path=path)))
        elif not optional:
            text = f"node {node_id!r}: its function has a parameter {source!r}, which is no node, "
            text += f"no param and none of {listed(others)}"
            near = closest(source, (*nodes, *others))
            text += "" if near else f"; nodes: {listed(nodes)}"
            found.problems.append(Problem("G012", text, path=path, suggestion=near))


def _unknown_node(text: str, name: str, path: KeyPath, nodes: Iterable[str]) -> Problem:
    near = closest(name, nodes)
    if near is None:
        text += f"; nodes: {listed(nodes)}"
    return Problem("G012", text, path=path, suggestion=near)


def _template_reads(
    template: str, prompts: Prompts, node_id: str, node: Node
) -> Iterator[tuple[VariableRead, Problem]]:
    """What a template reads, each with a problem that has its place."""
    for read in prompts.reads(template):
        place = Problem("P002", "", file=read.file, line=read.line, column=read.column)
        if read.file == template == f"{node_id}.inline":
            place = replace(place, file=None, path=("nodes", node_id, template_field(node)))
        yield read, place


def _condition_reads(
    node_id: str, node: Node, prompts: Prompts, found: FoundEdges
) -> Iterator[tuple[VariableRead, Problem]]:
    for field_path, source in conditions_of(node).items():
        path: KeyPath = ("nodes", node_id, *field_path)
        try:
            expression = prompts.expression(source)
        except DefinitionError as error:
            found.problems += [replace(problem, path=path) for problem in error.problems]
            continue
        for read in expression.reads:
            yield (
                read,
                Problem("P002", "", line=read.line, column=read.column, path=path),
            )


def _add_reads(
    node_id: str,
    nodes: Mapping[str, Node],
    reads: Iterable[tuple[VariableRead, Problem]],
    found: FoundEdges,
) -> None:
    for read, place in reads:
        source = read.name
        if source == "history":
            loader = nodes[node_id].history
            if loader is not None:
                if loader not in nodes or not loads_history(nodes[loader]):
                    continue
                source = loader
            else:
                source = _loader(nodes, place, found) or source
        if source in nodes and (source not in RESERVED or loads_history(nodes[source])):
            found.edges.append(_edge_of(read, place, source, node_id))
            if not read.guarded:
                found.unguarded.append((node_id, source, place))
        elif source not in RESERVED:
            found.problems.append(_unknown_name(read, place, nodes, nodes[node_id]))


def _loader(nodes: Mapping[str, Node], place: Problem, found: FoundEdges) -> str | None:
    """The node that the name `history` means, if the graph has just one."""
    loaders = [node_id for node_id, node in nodes.items() if loads_history(node)]
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


def _unknown_name(read: VariableRead, place: Problem, nodes: Iterable[str], node: Node) -> Problem:
    if read.assigned:
        text = f"{read.name!r} is set in one branch only; set it before the branch"
        return replace(place, code="P004", message=text)
    known = {*RESERVED, *nodes, *variables_of(node)}
    near = closest(read.name, known | ({read.local_name} if read.local_name else set()))
    text = f"unknown name {read.name!r}"
    if near is None:
        text += f"; this template may read: {listed(sorted(known), 30)}"
    return replace(place, message=text, suggestion=near)
