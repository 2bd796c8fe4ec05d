"""Who plays which part: the model of each node, and what would make an old record another one.

What decides what a node does, in a form that is kept and compared.

A record has the fingerprint of the node that made it, and a turn the hash of all facts of its
graph, which are kept beside the sources of the templates: so it can be told what was changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from typing import cast

from msgspec import Struct, field
from pydantic import BaseModel

from ..graph.context import Context, Result
from ..graph.fields import ModelSpec
from ..graph.graph import Graph
from ..graph.node import Node, asks_model, further_templates, graph_in, summarizes
from ..graph.plan import Plan
from ..models.protocol import Model
from ..models.resolve import AnyModel
from .template_scope import Views

INSIDE = "/"
"""Stands between the fingerprint of a node itself and that of the graph inside it."""


def facts_of(graph: Graph, node_id: str, models: Sequence[ModelSpec]) -> str:
    """The facts of a node as JSON: its fields, its templates' hashes, its models, its edges."""
    node, stop = graph.nodes[node_id], graph.plan.stop(node_id)
    own_template = graph.templates.get(node_id)
    templates = [*([own_template] if own_template else []), *further_templates(node)]
    routes = {source: sorted(labels) for source, labels in stop.needs if labels is not None}
    facts = {
        "kind": node.kind,
        "node": _spelled(node),
        "templates": {name: graph.prompts.prompt_hash(name) for name in templates},
        "models": [_spelled(spec) for spec in models],
        "after": {source: routes.get(source) for source in stop.sources},
    }
    return json.dumps(facts, sort_keys=True)


def fingerprint_of(facts: str, inside: Mapping[str, str]) -> str:
    """The fingerprint of a node with these facts, and these fingerprints in the graph inside it."""
    return f"{hash_of(facts)}{INSIDE}{hash_of(inside)}" if inside else hash_of(facts)


def own(fingerprint: str) -> str:
    """The part of a fingerprint that is of the node itself: the hash of its facts."""
    return fingerprint.partition(INSIDE)[0]


def hash_of(facts: str | Mapping[str, str]) -> str:
    """The hash of one text, or of texts by their names."""
    text = facts if isinstance(facts, str) else json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _spelled(value: object) -> object:
    """A value of a declaration as any process spells it: without addresses, sets in order."""
    match value:
        case Graph():  # its nodes have fingerprints of their own
            spelled: object = [value.name, list(value.answering), _spelled(value.state)]
        case BaseModel():
            spelled = {name: _spelled(item) for name, item in value}
        case Mapping():
            pairs = cast("Mapping[object, object]", value).items()
            spelled = {str(key): _spelled(item) for key, item in pairs}
        case list() | tuple():
            spelled = [_spelled(item) for item in cast("Sequence[object]", value)]
        case set() | frozenset():
            spelled = sorted(json.dumps(_spelled(item)) for item in cast("Set[object]", value))
        case None | bool() | int() | float() | str():
            spelled = value
        case _:  # a function or a class has a name, and its repr an address
            name: object = getattr(value, "__qualname__", None)
            spelled = f"{value.__module__}:{name}" if name else repr(value)
    return spelled


class PreparedGraph(Struct, frozen=True):
    """A graph ready to be visited: what templates see of it, each node's models, fingerprints.

    `models` lists the models of each node that asks one, the first choice first. `summarizes` says
    whether a node keeps the session's summary. `kept_texts` are the hashes of templates and of
    facts that the runner's store is known to have. `play` makes one attempt of a node: its `run`,
    but for a dry run. `inner` are the casts of the graphs inside nodes, by node; what is in them
    has its facts and its fingerprint here too, by its path. `declared` is the hash under which a
    store keeps the facts.
    """

    graph: Graph
    plan: Plan
    views: Views
    model: Model
    models: Mapping[str, Sequence[ModelSpec]]
    facts: Mapping[str, str]
    declared: str
    fingerprints: Mapping[str, str]
    summarizes: bool = False
    kept_texts: set[str] = field(default_factory=set[str])
    play: Callable[[Node, Context], Awaitable[Result]] = lambda node, context: node.run(context)
    inner: Mapping[str, PreparedGraph] = field(default_factory=dict[str, "PreparedGraph"])

    def paths(self) -> Iterator[str]:
        """Every node in order, each followed by those of the graph inside it, by their paths."""
        for node_id in self.plan.order:
            yield node_id
            if node_id in self.inner:
                yield from (f"{node_id}/{path}" for path in self.inner[node_id].paths())

    def at(self, path: str) -> PreparedGraph:
        """The cast that the node of this path belongs to."""
        outer, slash, rest = path.partition("/")
        return self.inner[outer].at(rest) if slash else self


def prepare(graph: Graph, model: Model | str | None) -> PreparedGraph:
    """Make a graph ready to be visited, with `model` in place of those it names.

    Raises `NoModelError` if a node asks a model and none is named anywhere.
    """
    has_summary = any(summarizes(node) for node in graph.nodes.values())
    named = model if isinstance(model, str) else None
    asked = AnyModel() if model is None or isinstance(model, str) else model
    return _cast(graph, graph.model, asked, named, summarizes=has_summary)


def _cast(
    graph: Graph,
    usual: str | ModelSpec | None,
    model: Model,
    named: str | None,
    *,
    summarizes: bool,
) -> PreparedGraph:
    """A graph, or one inside it: that asks the model of the outer one where it names none.

    `named` is the id that stands in for all that are named.
    """
    inner: dict[str, PreparedGraph] = {}
    for node_id, node in graph.nodes.items():
        within = graph_in(node)
        if isinstance(within, Graph):
            of_inner = within.model or usual
            inner[node_id] = _cast(within, of_inner, model, named, summarizes=summarizes)
    models = {
        node_id: _models(named or graph.nodes[node_id].model or usual, model)
        for node_id in graph.templates
        if asks_model(graph.nodes[node_id])
    }
    facts = {id_: facts_of(graph, id_, models.get(id_, ())) for id_ in graph.nodes}
    fingerprints: dict[str, str] = {}
    for node_id in graph.nodes:
        inside = inner[node_id].fingerprints if node_id in inner else dict[str, str]()
        fingerprints[node_id] = fingerprint_of(facts[node_id], inside)
        if node_id in inner:
            fingerprints |= _under(node_id, inside)
            facts |= _under(node_id, inner[node_id].facts)
    return PreparedGraph(
        graph=graph,
        plan=graph.plan,
        views=Views(graph),
        model=model,
        models=models,
        facts=facts,
        declared=hash_of(facts),
        fingerprints=fingerprints,
        summarizes=summarizes,
        inner=inner,
    )


def _models(named: str | ModelSpec | None, model: Model) -> tuple[ModelSpec, ...]:
    if named is None:
        named = model.usual_id(os.environ) if isinstance(model, AnyModel) else type(model).__name__
    spec = named if isinstance(named, ModelSpec) else ModelSpec(id=named)
    return (spec, *(ModelSpec(id=other) for other in spec.fallback))


def _under(node_id: str, inside: Mapping[str, str]) -> dict[str, str]:
    """What is known of the nodes inside a node, by their paths."""
    return {f"{node_id}/{path}": each for path, each in inside.items()}
