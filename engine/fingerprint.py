"""What decides what a node does, in a form that is kept and compared.

A record has the fingerprint of the node that made it, and a turn the hash of all facts of its
graph, which are kept beside the sources of the templates: so it can be told what was changed since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from typing import cast

from pydantic import BaseModel

from .graph import Graph
from .policy import ModelSpec

INSIDE = "/"
"""Stands between the fingerprint of a node itself and that of the graph inside it."""


def facts_of(graph: Graph, node_id: str, models: Sequence[ModelSpec]) -> str:
    """The facts of a node as JSON: its fields, its templates' hashes, its models, its edges."""
    node, stop = graph.nodes[node_id], graph.plan.stop(node_id)
    own_template = graph.templates.get(node_id)
    templates = [*([own_template] if own_template else []), *type(node).templates]
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
