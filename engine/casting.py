"""Who plays which part: the model of each node, and what would make an old record another one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import cast

from pydantic import BaseModel

from .graph import Graph
from .models import AnyModel, Model, default_model_id
from .plan import Plan
from .policy import ModelSpec
from .views import Views


@dataclass(frozen=True, slots=True)
class Cast:
    """A graph ready to be visited: what templates see of it, each node's models, fingerprints.

    `models` lists the models of each node that asks one, the first choice first. `summarizes` says
    whether a node keeps the session's summary. `kept_prompts` are the hashes whose sources the
    runner's store is known to have.
    """

    graph: Graph
    plan: Plan
    views: Views
    model: Model
    models: Mapping[str, Sequence[ModelSpec]]
    fingerprints: Mapping[str, str]
    summarizes: bool = False
    kept_prompts: set[str] = field(default_factory=set[str])


def cast_of(graph: Graph, model: Model | str | None) -> Cast:
    """Make a graph ready to be visited, with `model` in place of those it names.

    Raises `NoModelError` if a node asks a model and none is named anywhere.
    """
    models = {
        node_id: _models(graph, node_id, model)
        for node_id in graph.templates
        if graph.nodes[node_id].asks()
    }
    return Cast(
        graph=graph,
        plan=graph.plan,
        views=Views(graph),
        model=AnyModel() if model is None or isinstance(model, str) else model,
        models=models,
        fingerprints={node_id: _fingerprint(graph, node_id, models) for node_id in graph.nodes},
        summarizes=any(node.summarizes for node in graph.nodes.values()),
    )


def _models(graph: Graph, node_id: str, model: Model | str | None) -> tuple[ModelSpec, ...]:
    if isinstance(model, str):
        return (ModelSpec(id=model),)
    named = graph.nodes[node_id].model or graph.model
    if named is None:
        named = default_model_id(os.environ) if model is None else type(model).__name__
    spec = named if isinstance(named, ModelSpec) else ModelSpec(id=named)
    return (spec, *(ModelSpec(id=other) for other in spec.fallback))


def _fingerprint(graph: Graph, node_id: str, models: Mapping[str, Sequence[ModelSpec]]) -> str:
    """A hash of all that decides what the node does: its fields, its template, its models."""
    node = graph.nodes[node_id]
    template = graph.templates.get(node_id)
    facts = {
        "kind": node.kind,
        "node": _spelled(node),
        "template": graph.prompts.prompt_hash(template) if template else None,
        "models": [_spelled(spec) for spec in models.get(node_id, ())],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _spelled(value: object) -> object:
    """A value of a declaration as any process spells it: without addresses, sets in order."""
    match value:
        case BaseModel():
            spelled: object = {name: _spelled(item) for name, item in value}
        case Mapping():
            pairs = cast("Mapping[object, object]", value).items()
            spelled = {str(key): _spelled(item) for key, item in pairs}
        case list() | tuple():
            spelled = [_spelled(item) for item in cast("Sequence[object]", value)]
        case set() | frozenset():
            spelled = sorted(json.dumps(_spelled(item)) for item in cast("Set[object]", value))
        case _:  # a function or a class has a name, and its repr an address
            name: object = getattr(value, "__qualname__", None)
            spelled = f"{value.__module__}:{name}" if name else repr(value)
    return spelled
