"""Who plays which part: the model of each node, and what would make an old record another one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import cast

from pydantic import BaseModel

from .context import Context, Result
from .graph import Graph
from .models import AnyModel, Model
from .node import Node
from .plan import Plan
from .policy import ModelSpec
from .views import Views


@dataclass(frozen=True, slots=True)
class Cast:
    """A graph ready to be visited: what templates see of it, each node's models, fingerprints.

    `models` lists the models of each node that asks one, the first choice first. `summarizes` says
    whether a node keeps the session's summary. `kept_prompts` are the hashes whose sources the
    runner's store is known to have. `play` makes one attempt of a node: its `run`, but for a dry
    run. `inner` are the casts of the graphs inside nodes, by node; what is in them has its
    fingerprint here too, by its path.
    """

    graph: Graph
    plan: Plan
    views: Views
    model: Model
    models: Mapping[str, Sequence[ModelSpec]]
    fingerprints: Mapping[str, str]
    summarizes: bool = False
    kept_prompts: set[str] = field(default_factory=set[str])
    play: Callable[[Node, Context], Awaitable[Result]] = lambda node, context: node.run(context)
    inner: Mapping[str, Cast] = field(default_factory=dict[str, "Cast"])

    def paths(self) -> Iterator[str]:
        """Every node in order, each followed by those of the graph inside it, by their paths."""
        for node_id in self.plan.order:
            yield node_id
            if node_id in self.inner:
                yield from (f"{node_id}/{path}" for path in self.inner[node_id].paths())

    def at(self, path: str) -> Cast:
        """The cast that the node of this path belongs to."""
        outer, slash, rest = path.partition("/")
        return self.inner[outer].at(rest) if slash else self


def cast_of(graph: Graph, model: Model | str | None) -> Cast:
    """Make a graph ready to be visited, with `model` in place of those it names.

    Raises `NoModelError` if a node asks a model and none is named anywhere.
    """
    summarizes = any(node.summarizes for node in graph.nodes.values())
    named = model if isinstance(model, str) else None
    asked = AnyModel() if model is None or isinstance(model, str) else model
    return _cast(graph, graph.model, asked, named, summarizes=summarizes)


def _cast(
    graph: Graph,
    usual: str | ModelSpec | None,
    model: Model,
    named: str | None,
    *,
    summarizes: bool,
) -> Cast:
    """A graph, or one inside it: that asks the model of the outer one where it names none.

    `named` is the id that stands in for all that are named.
    """
    inner: dict[str, Cast] = {}
    for node_id, node in graph.nodes.items():
        within = node.within()
        if isinstance(within, Graph):
            of_inner = within.model or usual
            inner[node_id] = _cast(within, of_inner, model, named, summarizes=summarizes)
    models = {
        node_id: _models(named or graph.nodes[node_id].model or usual, model)
        for node_id in graph.templates
        if graph.nodes[node_id].asks()
    }
    return Cast(
        graph=graph,
        plan=graph.plan,
        views=Views(graph),
        model=model,
        models=models,
        fingerprints=_fingerprints(graph, models, inner),
        summarizes=summarizes,
        inner=inner,
    )


def _models(named: str | ModelSpec | None, model: Model) -> tuple[ModelSpec, ...]:
    if named is None:
        named = model.usual_id(os.environ) if isinstance(model, AnyModel) else type(model).__name__
    spec = named if isinstance(named, ModelSpec) else ModelSpec(id=named)
    return (spec, *(ModelSpec(id=other) for other in spec.fallback))


def _fingerprints(
    graph: Graph, models: Mapping[str, Sequence[ModelSpec]], inner: Mapping[str, Cast]
) -> dict[str, str]:
    """The fingerprint of each node, and of those in the graphs inside nodes by their paths."""
    fingerprints: dict[str, str] = {}
    for node_id in graph.nodes:
        inside = inner[node_id].fingerprints if node_id in inner else dict[str, str]()
        fingerprints[node_id] = _fingerprint(graph, node_id, models, inside)
        fingerprints |= {f"{node_id}/{path}": each for path, each in inside.items()}
    return fingerprints


def _fingerprint(
    graph: Graph,
    node_id: str,
    models: Mapping[str, Sequence[ModelSpec]],
    inside: Mapping[str, str],
) -> str:
    """A hash of all that decides what the node does: its fields, its template, its models."""
    node = graph.nodes[node_id]
    template = graph.templates.get(node_id)
    others = [graph.prompts.prompt_hash(name) for name in type(node).templates]
    facts = {
        "kind": node.kind,
        "node": _spelled(node),
        "template": graph.prompts.prompt_hash(template) if template else None,
        "models": [_spelled(spec) for spec in models.get(node_id, ())],
        **({"templates": others} if others else {}),
        **({"inside": inside} if inside else {}),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


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
        case _:  # a function or a class has a name, and its repr an address
            name: object = getattr(value, "__qualname__", None)
            spelled = f"{value.__module__}:{name}" if name else repr(value)
    return spelled
