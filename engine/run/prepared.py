"""A graph prepared for its runs: the models of its nodes, their fingerprints, their template names.

A record has the fingerprint of the node that made it. A turn has the hash of all facts of its
graph, and the store has these facts under that hash, beside the sources of the templates: from them
it can be said what was changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Self, cast, get_args, get_origin

from msgspec import Struct
from pydantic import BaseModel

from ..errors import NoModelError
from ..graph.fields import ModelSpec, Timeout
from ..graph.graph import Graph
from ..graph.node import (
    Node,
    asks_model,
    feedback_templates,
    further_templates,
    graph_in,
    items_of,
    summarizes,
    tools_of,
    visited_field,
)
from ..graph.plan import Plan
from ..messages import JSON
from ..models.protocol import Model, ServesIds, WarmsUp
from ..models.registry import NO_TOOLS, AnyModel
from ..node_path import NodePath, put_inside
from ..returns.inline import InlineValidator
from ..returns.shape import Shape
from ..tools.toolbox import ServerTools, Toolbox, ToolObject
from .template_scope import GraphScope

GRAPH = ""
"""The key of the facts of the graph itself; those of an inner graph are at `node/`."""
_INSIDE = "/"
"""Stands between the fingerprint of a node itself and that of the graph inside it."""


class PreparedNode(Struct, frozen=True):
    """What each attempt of a node reads of its declaration: a struct is faster than the model.

    `timeout` are the seconds that an attempt may take, `idle` those that its provider may be
    silent; None if neither the node nor the graph says it.
    """

    kind: str
    when: str | None
    timeout: float | None
    idle: float | None
    repairs: int

    @classmethod
    def all_of(cls, graph: Graph) -> dict[str, Self]:
        """The nodes of a graph, by id."""
        found: dict[str, Self] = {}
        for node_id, node in graph.nodes.items():
            limit = node.timeout or graph.timeout
            timeout = limit.total if isinstance(limit, Timeout) else limit
            idle = limit.idle if isinstance(limit, Timeout) else None
            found[node_id] = cls(node.kind, node.when, timeout, idle, node.repair)
        return found


class PreparedGraph(Struct, frozen=True):
    """What outlives the runs of a graph: made once by a runner, shared by all its runs.

    `models` lists the models of each node that asks one, the first choice first. `facts` are what
    decides what each node does, as JSON, and `fingerprints` their hashes; both also of the nodes of
    inner graphs, by their paths. The facts of a graph itself have the key `GRAPH`, or end in it:
    what else its templates read. `facts_hash` is the key that a store has the facts under.
    `toolboxes` are the tools of the nodes that have any, and `nodes` what is read of each often.
    `summarizes` says whether a node writes the session's summary, `warms_up` whether the model has
    a `warm_up` to await. `inner` are the graphs inside nodes, by node id.
    """

    graph: Graph
    plan: Plan
    scope: GraphScope
    model: Model
    models: Mapping[str, Sequence[ModelSpec]]
    facts: Mapping[str, str]
    facts_hash: str
    fingerprints: Mapping[str, str]
    toolboxes: Mapping[str, Toolbox]
    nodes: Mapping[str, PreparedNode]
    summarizes: bool = False
    warms_up: bool = False
    inner: Mapping[str, PreparedGraph] = {}

    @property
    def identity(self) -> str:
        """The hash of the facts of all nodes, and of what the graph declares beside its nodes."""
        graph, declared = self.graph, type(self.graph).model_fields
        names = {name for name, field in declared.items() if not field.exclude} - {"nodes"}
        beside = {name: _normalized(value) for name, value in graph if name in names}
        return _hash({"nodes": self.facts_hash, "graph": json.dumps(beside, sort_keys=True)})

    def first_models(self) -> Iterator[ModelSpec]:
        """The first choices of all nodes that ask a model, also of those in inner graphs."""
        for specs in self.models.values():
            yield specs[0]
        for inner in self.inner.values():
            yield from inner.first_models()

    def all_models(self) -> Iterator[ModelSpec]:
        """All choices of all nodes that ask a model, also of those in inner graphs."""
        for specs in self.models.values():
            yield from specs
        for inner in self.inner.values():
            yield from inner.all_models()

    def check_ready(self, environ: Mapping[str, str]) -> None:
        """Raise `NoModelError` if no run can succeed: none of the models of a node can answer.

        Only of a node that runs in every run, and whose failure is one of the run.
        """
        policy = self.graph.on_error
        for node_id in self.graph.always_running:
            node = self.graph.nodes[node_id]
            if (node.on_error or policy or "fail") == "fail":
                self._check_ready(node_id, environ)
                if node_id in self.inner and items_of(node) is None and not visited_field(node):
                    self.inner[node_id].check_ready(environ)

    def _check_ready(self, node_id: str, environ: Mapping[str, str]) -> None:
        first: NoModelError | None = None
        for spec in self.models.get(node_id, ()):
            try:
                check_ready(self.model, spec, environ, with_tools=node_id in self.toolboxes)
            except NoModelError as error:
                first = first or error
            else:
                return
        if first is not None:
            raise first

    def in_order(self, paths: Collection[str]) -> list[str]:
        """Those of the paths that are of this graph's nodes, in topological order.

        Each node is followed by those of the graph inside it, round by round and item by item.
        """
        if not self.inner:
            return [node_id for node_id in self.plan.order if node_id in paths]
        places = {path: self._place(path) for path in paths}
        return sorted((path for path in paths if places[path]), key=places.__getitem__)

    def _place(self, path: str) -> tuple[int, ...]:
        """What orders paths; empty if the graph has no such node."""
        place: list[int] = []
        graph: PreparedGraph | None = self
        for step in path.split("/"):
            node_id, _, number = step.partition("[")
            if graph is None or (stop := graph.plan.stops.get(node_id)) is None:
                return ()
            place += (stop.index, int(number[:-1]) if number else 0)
            graph = graph.inner.get(node_id)
        return tuple(place)

    def owner(self, path: str) -> PreparedGraph:
        """The graph, this one or one inside it, that the node of this path belongs to."""
        owner = self
        if self.inner:
            for step in NodePath(path).parent.steps:
                owner = owner.inner[NodePath(step).node_id]
        return owner


def prepare(
    graph: Graph, model: Model | str | None, *, allow_api_base: Collection[str] = ()
) -> PreparedGraph:
    """Prepare a graph, with `model` in place of those it names.

    Raises `NoModelError` if a node asks a model and none is named anywhere, or if a model's
    `api_base` is not among those that may be used, and `DefinitionError` if the graph can only
    run inside of another one.
    """
    graph.check_alone()
    has_summarizer = any(summarizes(node) for node in graph.nodes.values())
    if model is None or isinstance(model, str):
        model = AnyModel(allow_api_base=allow_api_base, override=model)
    override = model.override if isinstance(model, ServesIds) else None
    return _prepare(graph, graph.model, model, override, summarizes=has_summarizer)


def _prepare(
    graph: Graph,
    default: str | ModelSpec | None,
    model: Model,
    override: str | None,
    *,
    summarizes: bool,
) -> PreparedGraph:
    """Prepare a graph and those inside it, which ask the outer graph's model if they name none.

    `override` is the id to use instead of all that are named.
    """
    inner: dict[str, PreparedGraph] = {}
    for node_id, node in graph.nodes.items():
        within = graph_in(node)
        if isinstance(within, Graph):
            inner_default = within.model or default
            inner[node_id] = _prepare(within, inner_default, model, override, summarizes=summarizes)
    models = {
        node_id: _models(override or graph.nodes[node_id].model or default, model)
        for node_id in graph.templates
        if asks_model(graph.nodes[node_id])
    }
    facts = {GRAPH: _graph_facts(graph)}
    facts |= {id_: _facts(graph, id_, models.get(id_, ())) for id_ in graph.nodes}
    fingerprints: dict[str, str] = {}
    for node_id in graph.nodes:
        fingerprints[node_id] = _hash(facts[node_id])
        if node_id in inner:
            within_node = inner[node_id].fingerprints
            fingerprints[node_id] += f"{_INSIDE}{_hash(within_node)}"
            fingerprints |= put_inside(within_node, node_id)
            facts |= put_inside(inner[node_id].facts, node_id)
    return PreparedGraph(
        graph=graph,
        plan=graph.plan,
        scope=GraphScope(graph),
        model=model,
        models=models,
        facts=facts,
        facts_hash=_hash(facts),
        fingerprints=fingerprints,
        toolboxes={
            node_id: toolbox
            for node_id, node in graph.nodes.items()
            if (toolbox := tools_of(node)) is not None
        },
        nodes=PreparedNode.all_of(graph),
        summarizes=summarizes,
        warms_up=isinstance(model, WarmsUp),
        inner=inner,
    )


def check_ready(
    model: Model, spec: ModelSpec, environ: Mapping[str, str], *, with_tools: bool
) -> None:
    """Raise `NoModelError` if it is certain that the model cannot answer; see `ServesIds`."""
    if isinstance(model, ServesIds):
        model.check_ready(spec.id, spec.parameters, environ, with_tools=with_tools)
    elif with_tools and not getattr(model, "calls_tools", True):
        raise NoModelError(f"model {spec.id}: {NO_TOOLS}", model=spec.id)


def named_specs(graph: Graph, default: str | ModelSpec = "") -> Iterator[ModelSpec]:
    """The models that the nodes of the graph, and of those inside it, would ask, or `default`."""
    usual = graph.model or default
    for node_id, node in graph.nodes.items():
        within = graph_in(node)
        named = node.model or usual
        if isinstance(within, Graph):
            yield from named_specs(within, named)
        elif named and node_id in graph.templates and asks_model(node):
            yield named if isinstance(named, ModelSpec) else ModelSpec(id=named)


def own_fingerprint(fingerprint: str) -> str:
    """The part of a fingerprint that is of the node itself: the hash of its facts."""
    return fingerprint.partition(_INSIDE)[0]


def _models(named: str | ModelSpec | None, model: Model) -> tuple[ModelSpec, ...]:
    if named is None:
        named = type(model).__name__
        if isinstance(model, ServesIds):
            named = model.default_id(os.environ)
    spec = named if isinstance(named, ModelSpec) else ModelSpec(id=named)
    specs = spec.in_order()
    if isinstance(model, ServesIds):
        for each in specs:
            model.check(each.id, each.parameters)
    return specs


def _facts(graph: Graph, node_id: str, models: Sequence[ModelSpec]) -> str:
    """The facts of a node as JSON: its fields, its templates' hashes, its models, its edges."""
    node, stop = graph.nodes[node_id], graph.plan.stops[node_id]
    own_template = graph.templates.get(node_id)
    templates = [*([own_template] if own_template else []), *further_templates(node)]
    templates += feedback_templates(node) if own_template else ()
    routes = {source: sorted(labels) for source, labels in stop.needs if labels is not None}
    facts = {
        "kind": node.kind,
        "node": normalized_fields(node),
        "templates": {name: graph.prompts.prompt_hash(name) for name in templates},
        "schema": _schema_elsewhere(graph.shapes.get(node_id)),
        "models": [_normalized(spec) for spec in models],
        "after": {source: routes.get(source) for source in stop.sources},
    }
    return json.dumps(facts, sort_keys=True)


def normalized_fields(node: Node) -> dict[str, object]:
    """The fields of a node in a form that is the same in any process."""
    return {name: _normalized(value) for name, value in node}


def _orders(node: Node) -> dict[str, list[str]]:
    """The order of the keys of mappings in a node's fields, where it is not that of the facts."""
    orders = {
        name: [str(key) for key in cast("Mapping[object, object]", value)]
        for name, value in node
        if isinstance(value, Mapping)
    }
    return {name: keys for name, keys in orders.items() if keys != sorted(keys)}


def _graph_facts(graph: Graph) -> str:
    """What templates read of the graph, the order of its nodes, and templates that are not sent.

    The store has those of model calls for themselves.
    """
    unsent = (name for id_, name in graph.templates.items() if not asks_model(graph.nodes[id_]))
    facts = {
        "name": graph.name,
        "description": graph.description,
        "state": _normalized(graph.state),
        "nodes": list(graph.nodes),
        "orders": {id_: orders for id_, node in graph.nodes.items() if (orders := _orders(node))},
        "output": list(graph.answering),
        "sources": {
            name: text for each in unsent for name, text in graph.prompts.sources(each).items()
        },
    }
    return json.dumps(facts, sort_keys=True)


def _schema_elsewhere(wanted: Shape | None) -> Mapping[str, JSON] | None:
    """The schema of an answer whose type the graph only names: a class, or a file."""
    if wanted is None or isinstance(wanted.validator, InlineValidator):
        return None
    return wanted.schema


def _hash(facts: str | Mapping[str, str]) -> str:
    """The hash of one text, or of texts by their names."""
    text = facts if isinstance(facts, str) else json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _normalized(value: object) -> object:
    """A declared value in a form that is the same in any process: no addresses, sets sorted."""
    match value:
        case Graph():  # its nodes have fingerprints of their own
            normalized: object = [value.name, list(value.answering), _normalized(value.state)]
        case Node():  # likewise, in place of a graph
            normalized = value.kind
        case BaseModel():
            # Not what is computed from them and cached, which is there only once it was used.
            declared = {*type(value).model_fields, *(value.model_extra or {})}
            normalized = {name: _normalized(item) for name, item in value if name in declared}
        case Mapping():
            pairs = cast("Mapping[object, object]", value).items()
            normalized = {str(key): _normalized(item) for key, item in pairs}
        case list() | tuple():
            normalized = [_normalized(item) for item in cast("Sequence[object]", value)]
        case set() | frozenset():
            items = cast("Set[object]", value)
            normalized = sorted(json.dumps(_normalized(item)) for item in items)
        case None | bool() | int() | float() | str():
            normalized = value
        case _:
            normalized = _normalized_object(value)
    return normalized


def _normalized_object(value: object) -> object:
    """A function, class or type by its name: its repr may be an address."""
    if isinstance(value, ToolObject | ServerTools):
        return value.facts
    if parts := get_args(value):  # `list[A]`, which has the name of `list`
        return [_normalized_object(get_origin(value)), *map(_normalized, parts)]
    name: object = getattr(value, "__qualname__", None)
    return f"{value.__module__}:{name}" if name else repr(value)
