"""The graph that made a run, put together again from the facts that the store has under its hash.

It is for rendering the run's prompts again, after the graph or its templates were changed. It was
valid when it ran, so nothing is checked, and it can do no more than that: its nodes have the
fields and edges of then, and functions, classes and MCP servers only where the graph as it is now
still has the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

from ..errors import DefinitionError
from ..graph.graph import Graph, GraphParts
from ..graph.kinds import installed_kind, offered
from ..graph.node import HoldsGraph, Node, graph_in, path_inside, template_field, tools_of
from ..graph.plan import Edge, Plan
from ..graph.template_types import TemplateTypes
from ..messages import JSON
from ..models.scripted import EchoModel
from ..node_path import select_inside
from ..prompts.library import Prompts
from ..prompts.sources import INLINE
from ..returns.schema_file import SchemaValidator
from ..returns.shape import Shape, shape
from .prepared import GRAPH, PreparedGraph, PreparedNode, normalized_fields
from .template_scope import GraphScope

Facts: TypeAlias = Mapping[str, str]


class Unknown(Exception):
    """The graph cannot be put together: a kind of then is not installed, or facts are missing."""


def templates_of(facts: Facts) -> Mapping[str, Mapping[str, str]]:
    """The hashes of the templates that each node used, by name; also in graphs inside this one."""
    nodes = ((path, text) for path, text in facts.items() if not _is_graph(path))
    return {path: json.loads(text)["templates"] for path, text in nodes}


def recorded_graph(
    facts: Facts, sources: Mapping[str, Facts], now: PreparedGraph | None
) -> PreparedGraph:
    """The graph of these facts; `sources` are templates by hash, `now` is the graph of today.

    Raises `Unknown`.
    """
    if now is not None and now.facts == facts:
        return now
    own = {path: text for path, text in facts.items() if "/" not in path}
    head = _head(own.pop(GRAPH, None), own, now)
    known = {node_id: cast("dict[str, Any]", json.loads(text)) for node_id, text in own.items()}
    inner: dict[str, PreparedGraph] = {}
    nodes: dict[str, Node] = {}
    for node_id in sorted(known, key=head["nodes"].index):
        inside = select_inside(facts, node_id)
        present = now.graph.nodes.get(node_id) if now is not None else None
        if inside:
            inside_now = now.inner.get(node_id) if now is not None else None
            inner[node_id] = recorded_graph(inside, sources, inside_now)
        _restore_order(known[node_id]["node"], head["orders"].get(node_id, {}))
        nodes[node_id] = _node(known[node_id], present, inner.get(node_id))
    texts = dict(cast("Mapping[str, str]", head["sources"]))
    for fact in known.values():  # graphs inside have others of the same names
        for each in fact["templates"].values():
            texts |= sources.get(each, {})
    graph = _graph(head, nodes, known, dict(_shapes(nodes, known, now)), texts)
    return PreparedGraph(
        graph=graph,
        plan=graph.plan,
        scope=GraphScope(graph),
        model=EchoModel(),
        models={},
        facts=facts,
        facts_hash="",
        fingerprints=dict.fromkeys(nodes, ""),
        toolboxes={
            node_id: toolbox
            for node_id, node in nodes.items()
            if (toolbox := tools_of(node)) is not None
        },
        nodes=PreparedNode.all_of(graph),
        inner=inner,
    )


def _is_graph(path: str) -> bool:
    return path == GRAPH or path.endswith("/")


def _head(text: str | None, nodes: Facts, now: PreparedGraph | None) -> dict[str, Any]:
    """The facts of the graph itself; a store of an older version has none of them."""
    if text is not None:
        return cast("dict[str, Any]", json.loads(text))
    graph = now.graph if now is not None else None
    return {
        "name": graph.name if graph is not None else "",
        "description": graph.description if graph is not None else "",
        "state": graph.state if graph is not None else {},
        "nodes": list(nodes),
        "orders": {},
        "output": [],
        "sources": {},
    }


def _restore_order(fields: dict[str, Any], orders: Mapping[str, Sequence[str]]) -> None:
    """Give mappings in the fields of a node the order of their keys, which facts do not have."""
    for name, keys in orders.items():
        fields[name] = {key: fields[name][key] for key in keys}


def _node(fact: Mapping[str, Any], now: Node | None, inner: PreparedGraph | None) -> Node:
    """The node as it was: that of today if it has the same fields."""
    fields = cast("dict[str, Any]", fact["node"])
    kind = type(now) if now is not None and now.kind == fact["kind"] else _kind(fact["kind"])
    is_same = now is not None and type(now) is kind
    if is_same and (inner is None or graph_in(cast("Node", now)) is inner.graph):
        present = cast("Node", now)
        if json.loads(json.dumps(normalized_fields(present))) == fields:
            return present
    fields = {name: value for name, value in fields.items() if name in kind.model_fields}
    if inner is None or not issubclass(kind, HoldsGraph):
        return _made(kind, fields)
    field = str(path_inside(kind.model_construct(), ())[0])
    if field not in fields:  # the graphs are tools
        tools = cast("list[Any]", fields["tools"])
        fields["tools"] = [
            {**tool, "graph": "-"} if isinstance(tool, dict) and "graph" in tool else tool
            for tool in tools
        ]
        return _made(kind, fields)
    is_mapping = isinstance(fields[field], dict)
    fields[field] = dict(inner.graph.nodes) if is_mapping else "-"
    node = _made(kind, fields)

    def read(*_: object) -> Graph:
        return inner.graph

    return cast("Node", cast("HoldsGraph", node).opened(read))


def _made(kind: type[Node], fields: Mapping[str, Any]) -> Node:
    try:
        return kind(**fields)
    except DefinitionError:  # it names what the kind of today does not take
        return kind.model_construct(**fields)


def _kind(name: str) -> type[Node]:
    if name not in offered():
        raise Unknown(f"the kind {name!r} is not installed")
    return installed_kind(name)


def _graph(
    head: Mapping[str, Any],
    nodes: Mapping[str, Node],
    known: Mapping[str, Mapping[str, Any]],
    shapes: Mapping[str, Shape],
    sources: Mapping[str, str],
) -> Graph:
    prompts = Prompts(texts=sources)
    edges = [
        _edge(source, node_id, labels, nodes[node_id])
        for node_id, fact in known.items()
        for source, labels in fact["after"].items()
    ]
    parts = GraphParts(
        plan=Plan({node_id: node.join for node_id, node in nodes.items()}, edges),
        prompts=prompts,
        templates={
            node_id: template
            for node_id, node in nodes.items()
            if (template := _template(node_id, node, known[node_id]["templates"])) is not None
        },
        shapes=shapes,
        answering=tuple(head["output"]),
        warnings=(),
        document=None,
        depth=1,
        types=TemplateTypes({}, {}, {}, prompts, ()),
        alone=(),
        always=frozenset(),
        reads_given=False,
        only_node=None,
    )
    fields = {name: head[name] for name in ("name", "description", "state", "output")}
    return Graph.from_parts(parts, {**fields, "nodes": nodes})


def _edge(source: str, target: str, labels: list[str] | None, node: Node) -> Edge:
    if labels is not None:
        return Edge(source, target, "route", tuple(labels))
    return Edge(source, target, "needs" if source in node.needs else "reads")


def _template(node_id: str, node: Node, used: Mapping[str, str]) -> str | None:
    """The node's own template among those that it used."""
    text: object = getattr(node, template_field(node), None)
    names = (f"{node_id}{INLINE}", text, f"{node.kind}.jinja")
    return next((str(name) for name in names if name in used), None)


def _shapes(
    nodes: Mapping[str, Node], known: Mapping[str, Mapping[str, Any]], now: PreparedGraph | None
) -> Iterator[tuple[str, Shape]]:
    """The types of answers; those of today where they are the same."""
    for node_id, node in nodes.items():
        if node.returns is None:
            continue
        schema: Mapping[str, JSON] | None = known[node_id]["schema"]
        present = now.graph.shapes.get(node_id) if now is not None else None
        if schema is None:
            yield node_id, shape(node.returns, name=node_id)
        elif present is not None and present.schema == schema:
            yield node_id, present
        else:
            yield node_id, Shape(schema, SchemaValidator(schema, None, cast("Any", _Anything())))


class _Anything:
    """A JSON Schema validator that finds nothing wrong: whether a value fits, the record says."""

    def iter_errors(self, value: object) -> tuple[()]:
        """No errors."""
        del value
        return ()
