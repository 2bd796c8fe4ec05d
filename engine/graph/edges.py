"""Where the edges of a graph come from: `needs`, routes, `reads`, and what templates read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import DefinitionError, KeyPath, Problem, closest, listed
from ..prompts.library import Prompts
from ..prompts.static.walk import VariableRead
from .kinds import Broken
from .node import Node
from .plan import Edge

RESERVED = frozenset(
    ("input", "user_id", "session", "history", "graph", "node", "run", "now", "upstream")
)
"""The names that every template may read; no node may be called so (nor `builtin`)."""


class Wiring(Struct):
    """The edges of a graph, what its templates read, and what does not hold on the way.

    `unguarded` are reads of other nodes, `(reader, source, place)`, that need the source to run.
    """

    edges: list[Edge] = field(default_factory=list["Edge"])
    problems: list[Problem] = field(default_factory=list["Problem"])
    unguarded: list[tuple[str, str, Problem]] = field(
        default_factory=list["tuple[str, str, Problem]"]
    )


def wire(
    nodes: Mapping[str, Node],
    templates: Sequence[tuple[str, str]],
    prompts: Prompts,
    output: Sequence[str],
) -> Wiring:
    """Find every edge. `templates` are the nodes that have templates, each with the name of one."""
    wiring = Wiring()
    for node_id, node in nodes.items():
        _declared(node_id, node, nodes, wiring)
        _mentioned(node_id, node, nodes, wiring)
        if isinstance(node, Broken):
            continue
        _routed(node_id, node, nodes, wiring)
        if node.comes_last:
            wiring.edges += [
                Edge(source, node_id, "reads", path=("output",))
                for source in output
                if source in nodes and source != node_id
            ]
        _called(node_id, node, nodes, wiring)
        for template in (name for user, name in templates if user == node_id):
            _templated(node_id, nodes, _template_reads(template, prompts, node_id, node), wiring)
        _templated(node_id, nodes, _expression_reads(node_id, node, prompts, wiring), wiring)
    wiring.edges = list(dict.fromkeys(wiring.edges))
    return wiring


def _declared(node_id: str, node: Node, nodes: Mapping[str, Node], wiring: Wiring) -> None:
    for kind, sources in (("needs", node.needs), ("reads", node.reads)):
        for index, source in enumerate(sources):
            path: KeyPath = ("nodes", node_id, kind, index)
            if source in nodes:
                wiring.edges.append(
                    Edge(source, node_id, "needs" if kind == "needs" else "reads", path=path)
                )
            else:
                text = f"node {node_id!r} {kind} {source!r}, and there is no such node"
                wiring.problems.append(_unknown_node(text, source, path, nodes))


def _mentioned(node_id: str, node: Node, nodes: Mapping[str, Node], wiring: Wiring) -> None:
    for field_path, name in node.mentions().items():
        if name not in nodes:
            text = f"node {node_id!r} names {name!r}, and there is no such node"
            path: KeyPath = ("nodes", node_id, *field_path)
            wiring.problems.append(_unknown_node(text, name, path, nodes))
    loader = node.history
    if loader not in (None, "none") and not (loader in nodes and nodes[loader].loads_history):
        loaders = [other for other, each in nodes.items() if each.loads_history]
        text = f"node {node_id!r}: history names {loader!r}, which is no history-loader here"
        wiring.problems.append(_unknown_node(text, loader, ("nodes", node_id, "history"), loaders))


def _routed(node_id: str, node: Node, nodes: Mapping[str, Node], wiring: Wiring) -> None:
    labels: dict[str, list[str]] = {}
    paths: dict[str, KeyPath] = {}
    for label, targets in node.branches().items():
        for index, target in enumerate(targets):
            path: KeyPath = ("nodes", node_id, "routes", label, "to", index)
            if target not in nodes:
                text = f"node {node_id!r}: the route {label!r} leads to {target!r}"
                text += ", and there is no such node"
                problem = _unknown_node(text, target, path, nodes)
                # In the short form of a route its label is the target.
                wiring.problems.append(replace(problem, on_key=target == label))
            else:
                labels.setdefault(target, []).append(label)
                paths.setdefault(target, path)
    for target, leading in labels.items():
        wiring.edges.append(Edge(node_id, target, "route", tuple(leading), path=paths[target]))


def _called(node_id: str, node: Node, nodes: Mapping[str, Node], wiring: Wiring) -> None:
    path: KeyPath = ("nodes", node_id, "call")
    for source, optional in node.inputs().items():
        if source in nodes:
            wiring.edges.append(Edge(source, node_id, "reads", path=path))
            if not optional:
                remedy = f"give the parameter {source!r} a default"
                wiring.unguarded.append((node_id, source, Problem("P004", remedy, path=path)))
        elif not optional:
            text = f"node {node_id!r}: its function wants {source!r}, which is no node, no param "
            text += f"and none of {listed(node.given)}"
            near = closest(source, (*nodes, *node.given))
            text += "" if near else f"; nodes: {listed(nodes)}"
            wiring.problems.append(Problem("G012", text, path=path, suggestion=near))


def _unknown_node(text: str, name: str, path: KeyPath, nodes: Iterable[str]) -> Problem:
    near = closest(name, nodes)
    if near is None:
        text += f"; nodes: {listed(nodes)}"
    return Problem("G012", text, path=path, suggestion=near)


def _template_reads(
    template: str, prompts: Prompts, node_id: str, node: Node
) -> Iterator[tuple[VariableRead, Problem]]:
    """What a template reads, each with a problem that stands at its place."""
    for read in prompts.reads(template):
        place = Problem("P002", "", file=read.file, line=read.line, column=read.column)
        if read.file == template == f"{node_id}.inline":
            place = replace(place, file=None, path=("nodes", node_id, node.template_field))
        yield read, place


def _expression_reads(
    node_id: str, node: Node, prompts: Prompts, wiring: Wiring
) -> Iterator[tuple[VariableRead, Problem]]:
    for field_path, source in node.expressions().items():
        path: KeyPath = ("nodes", node_id, *field_path)
        try:
            expression = prompts.expression(source)
        except DefinitionError as error:
            wiring.problems += [replace(problem, path=path) for problem in error.problems]
            continue
        for read in expression.reads:
            yield (
                read,
                Problem("P002", "", line=read.line, column=read.column, path=path),
            )


def _templated(
    node_id: str,
    nodes: Mapping[str, Node],
    reads: Iterable[tuple[VariableRead, Problem]],
    wiring: Wiring,
) -> None:
    for read, place in reads:
        source = read.name
        if source == "history":
            loader = nodes[node_id].history
            if loader is not None:
                if loader not in nodes or not nodes[loader].loads_history:
                    continue
                source = loader
            else:
                source = _loader(nodes, place, wiring) or source
        if source in nodes and (source not in RESERVED or nodes[source].loads_history):
            wiring.edges.append(_edge_of(read, place, source, node_id))
            if not read.guarded:
                wiring.unguarded.append((node_id, source, place))
        elif source not in RESERVED and source not in nodes[node_id].variables:
            wiring.problems.append(_unknown_name(read, place, nodes, nodes[node_id]))


def _loader(nodes: Mapping[str, Node], place: Problem, wiring: Wiring) -> str | None:
    """The node that the name `history` means, if the graph has just one."""
    loaders = [node_id for node_id, node in nodes.items() if node.loads_history]
    if "history" in loaders:
        return "history"
    if len(loaders) > 1:
        text = f"'history' could be any of {', '.join(loaders)}; read one by its id, "
        text += "or name the one that is meant 'history'"
        wiring.problems.append(replace(place, message=text))
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
        text = f"{read.name!r} is set on one way only; set it before the branch"
        return replace(place, code="P004", message=text)
    known = [*RESERVED, *nodes, *node.variables]
    near = closest(read.name, known)
    text = f"unknown name {read.name!r}"
    if near is None:
        text += f"; this template may read: {listed(sorted(known), 30)}"
    return replace(place, message=text, suggestion=near)
