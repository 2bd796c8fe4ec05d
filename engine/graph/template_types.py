"""What each template of a graph may read, and whether it keeps to that.

The names are those that `engine.views` makes at run time; here they are known by what the graph
declares: the fields and params of its nodes, the shapes of their outputs, its state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import cast

from msgspec.structs import replace

from ..errors import DefinitionError, KeyPath, Problem
from ..messages import Message
from ..prompts.library import Prompts
from ..prompts.static.types import (
    ABSENT,
    ANY,
    INTEGER,
    NONE,
    TEXT,
    USER_TEXT,
    ListType,
    MappingType,
    ScalarType,
    StaticType,
    constant_type,
    declared_type,
    python_type,
    record_type,
    stored_type,
    union,
)
from ..returns.shape import Shape
from .fields import Instead
from .kinds import Broken
from .node import Node

_OPTIONAL_TEXT = union(TEXT, NONE)
_INPUT = record_type("input", {"message": USER_TEXT, "item": ANY})
_HISTORY = record_type(
    "history",
    {
        "messages": ListType(python_type(Message)),
        "runs": ListType(record_type("run", {"input": USER_TEXT, "answer": TEXT})),
        "summary": _OPTIONAL_TEXT,
        "output": USER_TEXT,
    },
)
_MEMBER = record_type("member", {"id": TEXT, "kind": TEXT, "role": TEXT, "description": TEXT})
_GRAPH = record_type("graph", {"name": TEXT, "description": TEXT, "members": ListType(_MEMBER)})
_TOOL = record_type("tool", {"name": TEXT, "description": TEXT})
_RUN = record_type("run", {"id": TEXT})


class Names:
    """What the templates of a graph may read, and what is known of each name.

    `declared` is what the graph says of itself, its `state` and `on_error` among it.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        shapes: Mapping[str, Shape],
        declared: Mapping[str, object],
    ) -> None:
        self._nodes = nodes
        self._instead = declared.get("on_error")
        self._outputs = {node_id: self._output(node_id, shapes.get(node_id)) for node_id in nodes}
        self._shared: Mapping[str, StaticType] = {
            **{node_id: self._outcome(node_id) for node_id in nodes},
            "input": _INPUT,
            "user_id": _OPTIONAL_TEXT,
            "session": _session(declared.get("state")),
            "history": _HISTORY,
            "graph": _GRAPH,
            "run": _RUN,
            "now": ScalarType(datetime),
        }

    def of_condition(self, node_id: str) -> dict[str, StaticType]:
        """What a condition of a node may read."""
        node = self._nodes[node_id]
        known = _node(node, self._brought("node in `reads`", node.reads))
        upstream = self._brought("node in `needs`", node.needs, least=self._sure(node_id))
        return {**self._shared, "node": known, "upstream": upstream}

    def of_template(self, node_id: str) -> dict[str, StaticType]:
        """What the template of a node may read."""
        variables = self._nodes[node_id].variables
        return self.of_condition(node_id) | {
            name: declared_type(each) for name, each in variables.items()
        }

    def _outcome(self, node_id: str) -> StaticType:
        node = self._nodes[node_id]
        if isinstance(node, Broken):
            return ANY
        if node.loads_history:
            return _HISTORY
        parts = {name: stored_type(declared) for name, declared in node.gives().items()}
        return record_type("node", {**parts, "output": self._outputs[node_id]})

    def _output(self, node_id: str, shape: Shape | None) -> StaticType:
        node = self._nodes[node_id]
        declared = stored_type(node.gives().get("output", object))
        if isinstance(node, Broken) or (node.returns is not None and shape is None):
            declared = ANY
        elif shape is not None and declared == TEXT:
            declared = stored_type(shape.schema if shape.type is None else shape.type)
        instead = self._instead if node.on_error is None else node.on_error
        if isinstance(instead, Mapping):
            value = cast("Mapping[str, object]", instead).get("value")
            return union(declared, constant_type(value))
        return (
            union(declared, constant_type(instead.value))
            if isinstance(instead, Instead)
            else declared
        )

    def _sure(self, node_id: str) -> int:
        """How many of the nodes that it needs have run whenever it runs."""
        node = self._nodes[node_id]
        if node.join == "all":
            return len(node.needs)
        routed = any(
            node_id in ids for each in self._nodes.values() for ids in each.branches().values()
        )
        return 1 if node.join == "any" and node.needs and not routed else 0

    def _brought(self, name: str, sources: Iterable[str], least: int = 0) -> StaticType:
        """A list of what other nodes gave; `kind` tells their outputs apart."""
        parts = {"id": TEXT, "kind": TEXT, "role": TEXT}
        known = {source: self._nodes[source] for source in sources if source in self._nodes}
        found = [
            record_type(name, {**parts, "output": self._outputs[source]}, kind=node.kind)
            for source, node in known.items()
        ]
        return ListType(
            union(*(found or [record_type(name, {**parts, "output": ANY})])), min_items=least
        )


def contracts(
    names: Names,
    nodes: Mapping[str, Node],
    templates: Sequence[tuple[str, str]],
    prompts: Prompts,
) -> Iterator[Problem]:
    """What cannot hold in the templates and conditions, each thing once; notes with it.

    `templates` are those that can be read, by the nodes that use them.
    """
    users = Counter(name for _, name in templates)
    found: dict[tuple[str, Problem], list[str]] = {}
    for node_id, template in templates:
        read = {each.name for each in prompts.reads(template)}
        given = names.of_template(node_id)
        known = {name: given[name] for name in sorted(read & given.keys())}
        for problem in prompts.type_problems(template, known):
            place = ("nodes", node_id, nodes[node_id].template_field)
            placed = problem if problem.file else replace(problem, path=place)
            found.setdefault((template, placed), []).append(node_id)
    for (template, problem), of_nodes in found.items():
        some = len(of_nodes) < users[template] and problem.severity == "error"
        yield _told_for(of_nodes, problem) if some else problem
    for node_id, node in nodes.items():
        yield from _of_conditions(node_id, node, names, prompts)


def _of_conditions(node_id: str, node: Node, names: Names, prompts: Prompts) -> Iterator[Problem]:
    for field, source in node.expressions().items():
        path: KeyPath = ("nodes", node_id, *field)
        try:
            problems = prompts.condition_problems(source, names.of_condition(node_id))
        except DefinitionError:  # it was told when its reads were gathered
            continue
        yield from (replace(problem, path=path) for problem in problems)


def _told_for(node_ids: Iterable[str], problem: Problem) -> Problem:
    """A problem that only some of the nodes have that share a template."""
    return replace(problem, message=f"{problem.message} (as node {', '.join(node_ids)} uses it)")


def _session(state: object) -> StaticType:
    parts: dict[str, StaticType] = {
        "id": TEXT,
        "state": MappingType(union(ANY, ABSENT)),
        "summary": _OPTIONAL_TEXT,
    }
    if isinstance(state, Mapping) and state:
        keys = cast("Mapping[str, object]", state)
        kept = {str(key): _default(value) for key, value in keys.items()}
        parts["state"] = record_type("session.state", kept, is_loose=True)
    return record_type("session", {**parts, "turns": INTEGER})


def _default(value: object) -> StaticType:
    """What a key of the state may hold: a run puts other values there, but of the same type."""
    if isinstance(value, Mapping):
        return MappingType(ANY)
    if isinstance(value, list | tuple):
        return ListType(ANY)
    return ANY if value is None else constant_type(value)


def _node(node: Node, heard: StaticType) -> StaticType:
    params = record_type(
        "params", {key: constant_type(each) for key, each in node.params.items()}, is_loose=True
    )
    shown = {name: constant_type(value) for name, value in node.shown().items()}
    own: dict[str, StaticType] = {
        "role": TEXT,
        "tools": ListType(_TOOL),
        "params": params,
        "returns": union(MappingType(ANY), NONE),
    }
    always: dict[str, StaticType] = {
        "id": TEXT,
        "kind": TEXT,
        "state": MappingType(ANY),
        "task": _OPTIONAL_TEXT,
        "heard": heard,
    }
    usual: dict[str, StaticType] = {"instructions": ListType(TEXT)}
    return record_type("node", {**usual, **_fields_of(type(node)), **own, **shown, **always})


@cache
def _fields_of(kind: type[Node]) -> Mapping[str, StaticType]:
    return {name: python_type(field.annotation) for name, field in kind.model_fields.items()}
