"""The static types of the names that templates read, and the check of templates against them.

At run time `engine.run.template_scope` makes the values. Their types follow from what the graph
declares: the fields and params of its nodes, the shapes of their outputs, its state.

A graph inside a loop or a map reads names that the graph around it gives: `round`, `input.item`.
So it is checked by itself first, and again, with the exact types, as a part of the graph around it
(docs/decisions/0020-loops-and-maps.md).
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from datetime import datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from ..errors import DefinitionError, KeyPath, Problem
from ..messages import Message
from ..prompts.library import Prompts
from ..prompts.static.types import (
    ABSENT,
    ANY,
    BOOLEAN,
    INTEGER,
    NONE,
    NOUNS,
    TEXT,
    USER_TEXT,
    Accepts,
    ListType,
    MappingType,
    ScalarType,
    StaticType,
    constant_type,
    declared_type,
    item_type,
    python_type,
    record_type,
    rejected_category,
    stored_type,
    union,
)
from ..prompts.static.walk import VariableRead
from ..returns.shape import Shape
from .edges import ARGUMENTS, INSIDE, template_reads
from .fields import Instead
from .kinds import InvalidNode
from .node import (
    ItemSource,
    Node,
    branches_of,
    call_conditions_of,
    ends_of,
    expressions_of,
    graph_in,
    items_of,
    loads_history,
    path_inside,
    provided_by,
    runs_rounds,
    template_field,
    template_fields,
    variables_of,
)

if TYPE_CHECKING:
    from .graph import Graph

_OPTIONAL_TEXT = union(TEXT, NONE)
_ATTACHMENTS = ListType(
    record_type("attachment", {"name": USER_TEXT, "media_type": TEXT, "size": INTEGER})
)
_INPUT_PARTS: Mapping[str, StaticType] = {
    "message": USER_TEXT,
    "system": union(USER_TEXT, NONE),
    "attachments": _ATTACHMENTS,
}
_INPUT = record_type("input", _INPUT_PARTS)
_EXCHANGED = record_type(
    "run",
    {
        "input": USER_TEXT,
        "answer": TEXT,
        "speaker": _OPTIONAL_TEXT,
        "attachments": _ATTACHMENTS,
    },
)
_HISTORY = record_type(
    "history",
    {
        "messages": ListType(python_type(Message)),
        "runs": ListType(_EXCHANGED),
        "summary": _OPTIONAL_TEXT,
        "output": USER_TEXT,
    },
)
_MEMBER = record_type("member", {"id": TEXT, "kind": TEXT, "role": TEXT, "description": TEXT})
_GRAPH = record_type("graph", {"name": TEXT, "description": TEXT, "members": ListType(_MEMBER)})
_TOOL = record_type("tool", {"name": TEXT, "description": TEXT})
_HANDOVER = union(record_type("handover", {"by": TEXT, "reason": TEXT}), NONE)
_RUN = record_type("run", {"id": TEXT})
_FORM = record_type(
    "form",
    {
        "text": TEXT,
        "is_simple": BOOLEAN,
        "labels": ListType(TEXT),
        "many": BOOLEAN,
        "allow_none": BOOLEAN,
    },
)


def _round(output: StaticType, nodes: StaticType) -> StaticType:
    parts = {
        "number": INTEGER,
        "previous": union(output, NONE),
        "outputs": ListType(output),
        "nodes": union(nodes, NONE),
    }
    return record_type("round", parts)


def _item_input(item: StaticType) -> StaticType:
    return record_type("input", {**_INPUT_PARTS, "item": item, "number": INTEGER})


_ANYWHERE: Mapping[str, StaticType] = {"input": _item_input(ANY), "round": _round(ANY, ANY)}
"""What the graph around one may give, if that is not known."""
_ITEMS = Accepts(frozenset(("list", "tuple", "stream")), "a list")


class TemplateTypes:
    """The types of the names that the templates of a graph may read.

    `declared` are the graph's own fields, of which `state` and `on_error` count. `templates` pairs
    each node with a template that it uses. `given` are the names that the graph around this one
    gives, with `input` if that has more than a message.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        shapes: Mapping[str, Shape],
        declared: Mapping[str, object],
        prompts: Prompts,
        templates: Sequence[tuple[str, str]],
    ) -> None:
        self.nodes = nodes
        self.prompts = prompts
        self.templates = templates
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
        self.outcomes = {node_id: self._outcome(node_id) for node_id in nodes}
        self.given: Mapping[str, StaticType] = {}
        self._shared: dict[str, StaticType] = {
            **self.outcomes,
            "input": _INPUT,
            "user_id": _OPTIONAL_TEXT,
            "session": _session(declared.get("state")),
            "history": _HISTORY,
            "graph": _GRAPH,
            "run": _RUN,
            "now": ScalarType(datetime),
        }

    def within(self, given: Mapping[str, StaticType]) -> TemplateTypes:
        """The same with what the graph around this one gives."""
        types = copy(self)
        types.given = given
        types._shared = {**self._shared, **given}
        return types

    def anywhere(self) -> TemplateTypes:
        """The same with all that any graph around this one may give."""
        return self.within(_ANYWHERE)

    @cached_property
    def reads_round(self) -> bool:
        """Whether a template or an expression of the graph reads `round`."""
        return any(read.name in INSIDE for read in self._reads(ends=False))

    def reads_input(self, field: str) -> bool:
        """Whether a template or an expression of the graph reads this field of `input`."""
        read = {each.path for each in self._reads(ends=True) if each.name == "input"}
        return any(path == "input" or path.startswith(f"input.{field}") for path in read)

    def answer(self, answering: Iterable[str]) -> StaticType:
        """The type of the graph's answer."""
        outputs = [self._outputs[node_id] for node_id in answering]
        return union(*outputs) if outputs else ANY

    def for_condition(self, node_id: str) -> ChainMap[str, StaticType]:
        """The types of the names that a condition of the node may read."""
        node = self.nodes[node_id]
        known = _node(node, self._outputs_of("node in `reads`", node.reads))
        upstream = self._outputs_of("node in `needs`", node.needs, least=self._always_ran(node_id))
        return ChainMap({"node": known, "upstream": upstream}, self._shared)

    def for_template(self, node_id: str, template: str) -> ChainMap[str, StaticType]:
        """The types of the names that a template of the node may read."""
        variables = variables_of(self.nodes[node_id], template)
        own = {name: declared_type(each) for name, each in variables.items()}
        return self.for_condition(node_id).new_child({**self.inside(node_id), **own})

    def at_end(self, node_id: str, inner: Graph) -> ChainMap[str, StaticType]:
        """The types of the names that the node's expressions may read after a round."""
        inside = {**self.inside(node_id), **inner.node_types, "output": inner.answer_type}
        return self.for_condition(node_id).new_child(inside)

    def inside(self, node_id: str) -> Mapping[str, StaticType]:
        """What the node gives to the graph inside it, and to its own template."""
        node, given = self.nodes[node_id], dict(self.given)
        if (source := items_of(node)) is not None:
            given["input"] = _item_input(item_type(self.item_source(node_id, source)))
        inner = _graph_in(node)
        if runs_rounds(node) and inner is not None:
            nodes = record_type("nodes", _outcomes_in_round(inner))
            given["round"] = _round(inner.answer_type, nodes)
        return given

    def item_source(self, node_id: str, source: ItemSource) -> StaticType:
        """The type of the list that the node runs its graph for each item of."""
        try:
            return self.prompts.expression_type(source.expression, self.for_condition(node_id))
        except DefinitionError:  # reported by `find_edges`
            return ANY

    def _reads(self, *, ends: bool) -> Iterator[VariableRead]:
        """What all templates and expressions read; with `ends` those that end a loop, too."""
        for name in {name for _, name in self.templates if not self.prompts.problems(name)}:
            yield from self.prompts.reads(name)
        for node in self.nodes.values():
            left_out = () if ends else ends_of(node)
            for path, source in expressions_of(node).items():
                with suppress(DefinitionError):  # reported by `find_edges`
                    yield from self.prompts.expression(source).reads if path not in left_out else ()

    def _outcome(self, node_id: str) -> StaticType:
        node = self.nodes[node_id]
        if isinstance(node, InvalidNode):
            return ANY
        if loads_history(node):
            return _HISTORY
        provided = self._provided[node_id]
        parts = {name: self._stored_type(declared) for name, declared in provided.items()}
        return record_type("node", {**parts, "output": self._outputs[node_id]})

    def _output(self, node_id: str, shape: Shape | None) -> StaticType:
        node = self.nodes[node_id]
        declared = self._stored_type(self._provided[node_id].get("output", object))
        if isinstance(node, InvalidNode) or (node.returns is not None and shape is None):
            declared = ANY
        elif shape is not None and declared == TEXT:
            declared = stored_type(shape.schema if shape.type is None else shape.type)
        elif (inner := _graph_in(node)) is not None and declared == ANY:
            declared = inner.answer_type
            if (source := items_of(node)) is not None:
                declared = ListType(union(declared, *map(constant_type, source.instead)))
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
        node = self.nodes[node_id]
        if node.join == "all":
            return len(node.needs)
        is_routed = node_id in self._routed
        return 1 if node.join == "any" and node.needs and not is_routed else 0

    def _outputs_of(self, name: str, sources: Iterable[str], least: int = 0) -> StaticType:
        """A list of nodes with their outputs; `kind` discriminates their types."""
        parts = {"id": TEXT, "kind": TEXT, "role": TEXT}
        known = {source: self.nodes[source] for source in sources if source in self.nodes}
        found = [
            record_type(name, {**parts, "output": self._outputs[source]}, kind=node.kind)
            for source, node in known.items()
        ]
        return ListType(
            union(*(found or [record_type(name, {**parts, "output": ANY})])), min_items=least
        )


def check_templates(types: TemplateTypes) -> Iterator[Problem]:
    """Check templates and expressions against the types; each problem once, notes included.

    Templates with syntax errors, which are reported elsewhere, are passed over.
    """
    nodes, prompts = types.nodes, types.prompts
    templates = [(user, name) for user, name in types.templates if not prompts.problems(name)]
    users = Counter(name for _, name in templates)
    read_by = {name: sorted({each.name for each in prompts.reads(name)}) for name in users}
    read_inside = {
        name: [each for each in prompts.reads(name) if each.name in INSIDE] for name in users
    }
    found: dict[tuple[str, Problem], list[str]] = {}
    for node_id, template in templates:
        read = read_by[template]
        types_here = types.for_template(node_id, template)
        known = {name: types_here[name] for name in read if name in types_here}
        problems = [
            replace(place, code="P004", message=text)
            for each, place in template_reads(
                template, read_inside[template], node_id, nodes[node_id]
            )
            if (text := _missing(each, known)) is not None
        ]
        for problem in [*problems, *prompts.type_problems(template, known)]:
            place = ("nodes", node_id, template_field(nodes[node_id]))
            is_placed = problem.file or problem.path
            located = problem if is_placed else replace(problem, path=place)
            found.setdefault((template, located), []).append(node_id)
    for (template, problem), node_ids in found.items():
        only_some = len(node_ids) < users[template] and problem.severity == "error"
        yield _for_nodes(node_ids, problem) if only_some else problem
    for node_id, node in nodes.items():
        yield from _check_conditions(node_id, node, types)
        yield from _check_list(node_id, node, types)
        yield from _check_inside(node_id, node, types)


def _check_conditions(node_id: str, node: Node, types: TemplateTypes) -> Iterator[Problem]:
    calls = call_conditions_of(node)
    for field, source in expressions_of(node).items():
        path: KeyPath = ("nodes", node_id, *field)
        inner = _graph_in(node) if field in ends_of(node) else None
        with suppress(DefinitionError):  # reported by `find_edges`
            reads = types.prompts.expression(source).reads
            here = types.for_condition(node_id) if inner is None else types.at_end(node_id, inner)
            if field in calls:
                here = here.new_child({ARGUMENTS: declared_type(calls[field].arguments or {})})
            known = {each.name: here[each.name] for each in reads if each.name in here}
            problems = types.prompts.condition_problems(source, known)
            for read in reads:
                if (text := _missing(read, known, inner)) is not None:
                    problems.append(Problem("P004", text, line=read.line, column=read.column))
            yield from (replace(problem, path=path) for problem in problems)


def _check_list(node_id: str, node: Node, types: TemplateTypes) -> Iterator[Problem]:
    """What is wrong with an expression that must give a list."""
    if (items := items_of(node)) is None:
        return
    wrong = rejected_category(types.item_source(node_id, items), _ITEMS)
    if wrong is None:
        return
    text = f"node {node_id!r}: {items.expression} is {NOUNS[wrong]}; a list is needed"
    if wrong in ("none", "absent"):
        text = f"node {node_id!r}: {items.expression} may be {NOUNS[wrong]}; write "
        text += f"`{items.expression} or []`"
    yield Problem("P007", text, path=("nodes", node_id, *items.path))


def _missing(
    read: VariableRead, known: Mapping[str, StaticType], inner: Graph | None = None
) -> str | None:
    """Why a name may be missing where it is read: outside of a loop, or after a round."""
    if read.guarded:
        return None
    if read.name in INSIDE and read.name not in known:
        return f"{read.name!r} is there only in a loop, and in what runs inside one"
    if inner is None or read.name not in inner.nodes or read.name in inner.always_running:
        return None
    return f"{read.name!r} may have been skipped; guard it: `{read.name} is defined and ...`"


def _check_inside(node_id: str, node: Node, types: TemplateTypes) -> Iterator[Problem]:
    """What is wrong in the graph inside a node with what the node gives to its templates."""
    inner = _graph_in(node)
    if inner is None:
        return
    for problem in inner.problems_given(types.inside(node_id)):
        text = f"node {node_id!r}: {problem.message}"
        path = ("nodes", node_id, *path_inside(node, problem.path))
        yield replace(problem, message=text, path=path)


def _for_nodes(node_ids: Iterable[str], problem: Problem) -> Problem:
    """A problem that only some of the nodes have which share a template."""
    return replace(problem, message=f"{problem.message} (as node {', '.join(node_ids)} uses it)")


def _graph_in(node: Node) -> Graph | None:
    return cast("Graph | None", graph_in(node))


def _outcomes_in_round(inner: Graph) -> dict[str, StaticType]:
    """What the nodes of a graph gave, of which some may have been skipped."""
    return {
        node_id: outcome if node_id in inner.always_running else union(outcome, ABSENT)
        for node_id, outcome in inner.node_types.items()
    }


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
        "handover": _HANDOVER,
        "reads": read_nodes,
        "form": union(_FORM, NONE),
    }
    usual: dict[str, StaticType] = {"instructions": ListType(TEXT)}
    return record_type("node", {**usual, **_fields_of(type(node)), **own, **more, **always})


@cache
def _fields_of(kind: type[Node]) -> Mapping[str, StaticType]:
    return {name: python_type(field.annotation) for name, field in kind.model_fields.items()}
