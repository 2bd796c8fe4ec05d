"""The static types of the names that templates read, and the check of templates against them.

At run time `engine.run.template_scope` makes the values. Their types follow from what the graph
declares: the fields and params of its nodes, the shapes of their outputs, its state.
"""

from __future__ import annotations

from collections import ChainMap, Counter
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
from .kinds import InvalidNode
from .node import (
    Node,
    branches_of,
    conditions_of,
    loads_history,
    provided_by,
    template_field,
    template_fields,
    variables_of,
)

_OPTIONAL_TEXT = union(TEXT, NONE)
_INPUT = record_type("input", {"message": USER_TEXT})
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


class TemplateTypes:
    """The types of the names that the templates of a graph may read.

    `declared` are the graph's own fields, of which `state` and `on_error` count.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        shapes: Mapping[str, Shape],
        declared: Mapping[str, object],
    ) -> None:
        self._nodes = nodes
        self._on_error = declared.get("on_error")
        self._routed = frozenset(
            target
            for node in nodes.values()
            for ids in branches_of(node).values()
            for target in ids
        )
        self._stored_types: dict[object, StaticType] = {}
        self._provided = {node_id: provided_by(node) for node_id, node in nodes.items()}
        self._outputs = {node_id: self._output(node_id, shapes.get(node_id)) for node_id in nodes}
        self._shared: dict[str, StaticType] = {
            **{node_id: self._outcome(node_id) for node_id in nodes},
            "input": _INPUT,
            "user_id": _OPTIONAL_TEXT,
            "session": _session(declared.get("state")),
            "history": _HISTORY,
            "graph": _GRAPH,
            "run": _RUN,
            "now": ScalarType(datetime),
        }

    def for_condition(self, node_id: str) -> ChainMap[str, StaticType]:
        """The types of the names that a condition of the node may read."""
        node = self._nodes[node_id]
        known = _node(node, self._outputs_of("node in `reads`", node.reads))
        upstream = self._outputs_of("node in `needs`", node.needs, least=self._always_ran(node_id))
        return ChainMap({"node": known, "upstream": upstream}, self._shared)

    def for_template(self, node_id: str) -> ChainMap[str, StaticType]:
        """The types of the names that the template of the node may read."""
        variables = variables_of(self._nodes[node_id])
        return self.for_condition(node_id).new_child(
            {name: declared_type(each) for name, each in variables.items()}
        )

    def _outcome(self, node_id: str) -> StaticType:
        node = self._nodes[node_id]
        if isinstance(node, InvalidNode):
            return ANY
        if loads_history(node):
            return _HISTORY
        provided = self._provided[node_id]
        parts = {name: self._stored_type(declared) for name, declared in provided.items()}
        return record_type("node", {**parts, "output": self._outputs[node_id]})

    def _output(self, node_id: str, shape: Shape | None) -> StaticType:
        node = self._nodes[node_id]
        declared = self._stored_type(self._provided[node_id].get("output", object))
        if isinstance(node, InvalidNode) or (node.returns is not None and shape is None):
            declared = ANY
        elif shape is not None and declared == TEXT:
            declared = stored_type(shape.schema if shape.type is None else shape.type)
        policy = self._on_error if node.on_error is None else node.on_error
        if isinstance(policy, Mapping):
            value = cast("Mapping[str, object]", policy).get("value")
            return union(declared, constant_type(value))
        return (
            union(declared, constant_type(policy.value))
            if isinstance(policy, Instead)
            else declared
        )

    def _stored_type(self, declared: object) -> StaticType:
        """`stored_type`, worked out once for each type; most nodes have one of a few."""
        try:
            if declared not in self._stored_types:
                self._stored_types[declared] = stored_type(declared)
            return self._stored_types[declared]
        except TypeError:  # unhashable: a JSON Schema
            return stored_type(declared)

    def _always_ran(self, node_id: str) -> int:
        """How many of the nodes that it needs have run whenever it runs, at least."""
        node = self._nodes[node_id]
        if node.join == "all":
            return len(node.needs)
        is_routed = node_id in self._routed
        return 1 if node.join == "any" and node.needs and not is_routed else 0

    def _outputs_of(self, name: str, sources: Iterable[str], least: int = 0) -> StaticType:
        """A list of nodes with their outputs; `kind` discriminates their types."""
        parts = {"id": TEXT, "kind": TEXT, "role": TEXT}
        known = {source: self._nodes[source] for source in sources if source in self._nodes}
        found = [
            record_type(name, {**parts, "output": self._outputs[source]}, kind=node.kind)
            for source, node in known.items()
        ]
        return ListType(
            union(*(found or [record_type(name, {**parts, "output": ANY})])), min_items=least
        )


def check_templates(
    types: TemplateTypes,
    nodes: Mapping[str, Node],
    templates: Sequence[tuple[str, str]],
    prompts: Prompts,
) -> Iterator[Problem]:
    """Check templates and conditions against the types; each problem once, notes included.

    `templates` pairs each node with a template that it uses and that has no syntax error.
    """
    users = Counter(name for _, name in templates)
    read_by = {name: sorted({each.name for each in prompts.reads(name)}) for name in users}
    found: dict[tuple[str, Problem], list[str]] = {}
    for node_id, template in templates:
        read = read_by[template]
        types_here = types.for_template(node_id)
        known = {name: types_here[name] for name in read if name in types_here}
        for problem in prompts.type_problems(template, known):
            place = ("nodes", node_id, template_field(nodes[node_id]))
            located = problem if problem.file else replace(problem, path=place)
            found.setdefault((template, located), []).append(node_id)
    for (template, problem), node_ids in found.items():
        only_some = len(node_ids) < users[template] and problem.severity == "error"
        yield _for_nodes(node_ids, problem) if only_some else problem
    for node_id, node in nodes.items():
        yield from _check_conditions(node_id, node, types, prompts)


def _check_conditions(
    node_id: str, node: Node, types: TemplateTypes, prompts: Prompts
) -> Iterator[Problem]:
    for field, source in conditions_of(node).items():
        path: KeyPath = ("nodes", node_id, *field)
        try:
            read = {each.name for each in prompts.expression(source).reads}
        except DefinitionError:  # reported by `find_edges`
            continue
        types_here = types.for_condition(node_id)
        known = {name: types_here[name] for name in sorted(read) if name in types_here}
        problems = prompts.condition_problems(source, known)
        yield from (replace(problem, path=path) for problem in problems)


def _for_nodes(node_ids: Iterable[str], problem: Problem) -> Problem:
    """A problem that only some of the nodes have which share a template."""
    return replace(problem, message=f"{problem.message} (as node {', '.join(node_ids)} uses it)")


def _session(state: object) -> StaticType:
    parts: dict[str, StaticType] = {
        "id": TEXT,
        "state": MappingType(union(ANY, ABSENT)),
        "summary": _OPTIONAL_TEXT,
    }
    if isinstance(state, Mapping) and state:
        keys = cast("Mapping[str, object]", state)
        types = {str(key): _default(value) for key, value in keys.items()}
        parts["state"] = record_type("session.state", types, is_loose=True)
    return record_type("session", {**parts, "turns": INTEGER})


def _default(value: object) -> StaticType:
    """The type of a key of the state: runs set other values, but of the type of the default."""
    if isinstance(value, Mapping):
        return MappingType(ANY)
    if isinstance(value, list | tuple):
        return ListType(ANY)
    return ANY if value is None else constant_type(value)


def _node(node: Node, read_nodes: StaticType) -> StaticType:
    params = record_type(
        "params", {key: constant_type(each) for key, each in node.params.items()}, is_loose=True
    )
    more = {name: constant_type(value) for name, value in template_fields(node).items()}
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
        "reads": read_nodes,
    }
    usual: dict[str, StaticType] = {"instructions": ListType(TEXT)}
    return record_type("node", {**usual, **_fields_of(type(node)), **own, **more, **always})


@cache
def _fields_of(kind: type[Node]) -> Mapping[str, StaticType]:
    return {name: python_type(field.annotation) for name, field in kind.model_fields.items()}
