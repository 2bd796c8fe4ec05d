"""The names that a template may read: those of the graph, of the run, and of the node's sources.

`GraphScope` has what is the same in every run; `TemplateScope` is one run's, and grows with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from types import SimpleNamespace
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from ..errors import StateConflict
from ..graph.context import (
    NO_HISTORY,
    NO_NAMES,
    Handover,
    History,
    Input,
    ItemInput,
    SessionView,
    Upstream,
)
from ..graph.graph import Graph
from ..graph.node import Node, can_stream, loads_history, template_fields, tools_of
from ..graph.plan import bits_of, is_live
from ..messages import JSON
from ..records import Record
from ..returns.shape import Shape, shape
from ..values import NO_VALUE, merge_changes
from .node_execution import NodeExecution


class TemplateScope(Struct):
    """The template names of one run of one graph.

    `state` is the session's state as the run began. `outputs` are the outputs of its finished nodes
    as Python values, `patches` the keys of the session's state that they set, both by node id;
    `patched` is the bit set of the nodes that set any. `newest` are the newest values of these
    keys, and `writers` the nodes that set them. `given` are further names that the graph around
    this one gives. `history` is what nodes without a history-loader read, and `handover` what led
    to the node, if the graph's nodes run one at a time.
    """

    graph: GraphScope
    input: Input
    user_id: str | None
    session: SessionView
    run: RunView
    now: datetime
    state: Mapping[str, JSON] = {}
    node_states: Mapping[str, Mapping[str, JSON]] = {}
    outputs: dict[str, object] = {}
    patches: dict[str, Mapping[str, JSON]] = {}
    patched: int = 0
    newest: dict[str, JSON] = {}
    writers: dict[str, str] = {}
    given: Mapping[str, object] = NO_NAMES
    history: History = NO_HISTORY
    handover: Handover | None = None

    def names(self, node: NodeExecution) -> dict[str, object]:
        """Every name that a template of the node may read now."""
        stop, outputs = self.graph.plan.stops[node.node_id], self.outputs
        view = self.graph.node_view(
            node.node_id, self.node_states.get(node.node_id, {}), self.task(node)
        )
        view.reads = [_upstream_view(one) for one in self._reads(node.node_id)]
        view.handover = self.handover
        return self.bind(
            view,
            [_upstream_view(one) for one in self.upstream(node)],
            {
                source: output_view(node.records[source], outputs[source])
                for source in stop.sources
                if source in outputs
            },
            self.state_now(node),
        )

    def bind(
        self,
        node: SimpleNamespace,
        upstream: Sequence[Upstream],
        outputs: Mapping[str, object],
        state: Mapping[str, JSON],
    ) -> dict[str, object]:
        """Every name, given what is the node's own: its view, its sources and the state."""
        session = self.session
        if state is not self.state:
            session = replace(session, state=JSONView(state))
        return {
            "input": self.input,
            "user_id": self.user_id,
            "session": session,
            "history": self.history_of(node.id, outputs),
            "graph": self.graph.view,
            "node": node,
            "run": self.run,
            "now": self.now,
            "upstream": upstream,
            **self.given,
            **outputs,
        }

    def history_of(self, node_id: str, outputs: Mapping[str, object]) -> History:
        """What `history` means for a node with these outputs of its sources."""
        loader = self.graph.loaders[node_id]
        history = outputs.get(loader) if loader else None
        return history if isinstance(history, History) else self.history

    def upstream(self, node: NodeExecution) -> list[Upstream]:
        """The sources in `needs` whose edge is live, in declared order."""
        if node.upstream is None:
            node.upstream = []
            for source, labels in self.graph.needs[node.node_id]:
                # A node that has an output was not skipped, so only a router's choice is open.
                if source in self.outputs and (
                    labels is None or is_live(node.records[source], labels)
                ):
                    node.upstream.append(self._described(source))
        return node.upstream

    def state_read(self, node: NodeExecution) -> Mapping[str, JSON]:
        """The session's state with the keys that the nodes before this one set in this run.

        An attempt that repeats another also reads what nodes that run at the same time have set;
        not one that continues tool calls which have set keys themselves.
        """
        if node.state is None:
            before = self.graph.plan.stops[node.node_id].before
            if not self.patched:
                node.state = self.state
            elif (node.attempt > 1 and not node.tool_changes) or not self.patched & ~before:
                node.state = {**self.state, **self.newest}
            else:
                order, state = self.graph.plan.order, dict(self.state)
                for index in bits_of(self.patched & before):
                    state.update(self.patches[order[index]])
                node.state = state
        return node.state

    def state_now(self, node: NodeExecution) -> Mapping[str, JSON]:
        """The same with the keys that the earlier rounds of the node have set."""
        state = self.state_read(node)
        return {**state, **node.inside.set_by_rounds} if node.inside is not None else state

    def patch(self, node_id: str, values: Mapping[str, JSON]) -> None:
        """Set keys of the session's state, in the name of a node that is done."""
        self.patched |= 1 << self.graph.plan.stops[node_id].index
        self.patches[node_id] = {**self.patches.get(node_id, {}), **values}
        self.newest.update(values)
        self.writers.update(dict.fromkeys(values, node_id))

    def merge(
        self, node: NodeExecution, values: Mapping[str, JSON]
    ) -> tuple[dict[str, JSON], dict[str, dict[str, JSON]]]:
        """What a node sets, merged with what others have set since its attempt began.

        Also the merged keys by the ids of these others, so that it does not matter whose are
        applied last. Raises `StateConflict` if two changes of one key contradict each other.
        """
        merged = dict(values)
        others: dict[str, dict[str, JSON]] = {}
        read = self.state_read(node)
        order, before = self.graph.plan.order, self.graph.plan.stops[node.node_id].before
        at_once = [order[index] for index in bits_of(self.patched & ~before)]
        for key in values.keys() & self.newest.keys():
            base, theirs = read.get(key, NO_VALUE), self.newest[key]
            if theirs is not base:
                try:
                    merged[key] = cast("JSON", merge_changes(base, theirs, values[key]))
                except ValueError as error:
                    raise StateConflict(key, (self.writers[key], node.node_id)) from error
            for other in at_once:
                if key in self.patches[other]:
                    others.setdefault(other, {})[key] = merged[key]
        return merged, others

    def task(self, node: NodeExecution) -> str | None:
        """What routers before the node wrote for it to do, by whatever labels lead here."""
        tasks = [
            task
            for source, labels in self.graph.plan.stops[node.node_id].needs
            if labels and (record := node.records.get(source)) is not None
            for label, task in record.tasks.items()
            if label in labels
        ]
        return "\n".join(dict.fromkeys(tasks)) or None

    def _reads(self, node_id: str) -> list[Upstream]:
        """The nodes in `reads` that ran, in declared order."""
        reads = self.graph.nodes[node_id].reads
        return [self._described(source) for source in reads if source in self.outputs]

    def _described(self, source: str) -> Upstream:
        scope, output = self.graph, self.outputs[source]
        if isinstance(output, History):  # `.output` of a history-loader is its text
            output = output.output
        return Upstream(source, scope.nodes[source].kind, scope.roles[source], output)


class GraphScope:
    """The template names that depend on the graph alone; made once for each prepared graph.

    `needs` are the control edges into each node from the nodes in its field `needs`, in declared
    order. `loaders` are the history-loaders whose output is a node's `history`, and `streaming` the
    nodes whose output can be streamed as their model writes it.
    """

    __slots__ = (
        "_constants",
        "_graph",
        "_node_fields",
        "_shapes",
        "loaders",
        "needs",
        "nodes",
        "plan",
        "roles",
        "streaming",
        "view",
    )

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.nodes = graph.nodes
        self.plan = graph.plan
        self.streaming = {node_id for node_id, node in graph.nodes.items() if can_stream(node)}
        self.roles = {node_id: _role(node) for node_id, node in graph.nodes.items()}
        members = tuple(
            MemberView(node_id, node.kind, self.roles[node_id], node.description)
            for node_id, node in graph.nodes.items()
            if node.answers
        )
        self.view = GraphView(graph.name, graph.description, members)
        self._node_fields: dict[str, dict[str, object]] = {}
        self._shapes: dict[str, tuple[object, object, Shape]] = {}
        self._constants: dict[str, str | None] = {}
        self.needs: dict[str, list[tuple[str, frozenset[str] | None]]] = {}
        for node_id, node in graph.nodes.items():
            labels = dict(graph.plan.stops[node_id].needs)
            self.needs[node_id] = [(source, labels[source]) for source in node.needs]
        loaders = [node_id for node_id, node in graph.nodes.items() if loads_history(node)]
        default = "history" if "history" in loaders else next(iter(loaders), None)
        self.loaders = {node_id: node.history or default for node_id, node in graph.nodes.items()}

    def node_view(
        self, node_id: str, state: Mapping[str, JSON], task: str | None
    ) -> SimpleNamespace:
        """`node` in a template: its id, kind and fields, its state, and the task it was given.

        `form` is set for each request; it is None where the answer is free text.
        """
        fields = self._node_fields.get(node_id)
        if fields is None:
            fields = self._node_fields[node_id] = self._fields(node_id)
        return SimpleNamespace(**fields, state=JSONView(state), task=task, form=None)

    def constant_text(self, template: str) -> str | None:
        """What a template that reads nothing renders to; None if it reads something."""
        if template not in self._constants:
            prompts = self._graph.prompts
            messages = () if prompts.reads(template) else prompts.render(template, {})
            text = "\n".join(each.content for each in messages)
            self._constants[template] = text if messages else None
        return self._constants[template]

    def shape_of(self, node_id: str, returns: object) -> Shape:
        """The shape of what the kind of a node asks its model for; made again when that changes."""
        asked, copied, found = self._shapes.get(node_id, (None, None, None))
        if found is None or asked is not returns or copied != returns:
            copied = deepcopy(returns) if isinstance(returns, dict | list) else returns
            found = shape(returns, name=node_id)
            self._shapes[node_id] = (returns, copied, found)
        return found

    def _fields(self, node_id: str) -> dict[str, object]:
        node = self._graph.nodes[node_id]
        fields = {name: json_view(getattr(node, name)) for name in type(node).model_fields}
        shape = self._graph.shapes.get(node_id)
        toolbox = tools_of(node)
        return {
            "instructions": (),
            **fields,
            "tools": toolbox.shown() if toolbox else (),
            "role": self.roles[node_id],
            "params": JSONView(node.params),
            "returns": shape.schema if shape else None,
            **template_fields(node),
            "id": node_id,
            "kind": node.kind,
            "reads": (),  # in a prompt: those that ran, see `names`
        }


class JSONView(Mapping[str, object]):
    """A JSON object that templates read by attribute: `value.key`, whatever the key is called.

    A key wins over a method of the same name, so a field may be called `items`.
    """

    __slots__ = ("_data",)

    def __init__(self, data: Mapping[str, object]) -> None:
        self._data = data

    def __getattribute__(self, name: str) -> object:
        if not name.startswith("_") and name in (data := self._data):
            return json_view(data[name])
        return super().__getattribute__(name)

    def __getitem__(self, key: str) -> object:
        return json_view(self._data[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        return self._data == (other._data if isinstance(other, JSONView) else other)

    __hash__ = None  # type: ignore[assignment]  # it is a mapping

    def __str__(self) -> str:
        return json.dumps(self._data, ensure_ascii=False)


class MemberView(Struct, frozen=True):
    """A node that answers, as `graph.members` lists it."""

    id: str
    kind: str
    role: str
    description: str


class GraphView(Struct, frozen=True):
    """`graph` in a template."""

    name: str
    description: str
    members: tuple[MemberView, ...]


class RunView(Struct, frozen=True):
    """`run` in a template."""

    id: str


def json_view(value: object) -> object:
    """A JSON value as templates read it: objects by attribute, also those in lists."""
    if isinstance(value, dict):
        return JSONView(cast("dict[str, object]", value))
    if isinstance(value, list):
        return [json_view(item) for item in cast("list[object]", value)]
    return replace(value, item=json_view(value.item)) if isinstance(value, ItemInput) else value


def json_views(values: Mapping[str, object]) -> dict[str, object]:
    """Several values as templates read them, by name."""
    return {name: json_view(value) for name, value in values.items()}


def plain_value(value: object) -> object:
    """The value that a view shows, also in lists."""
    if isinstance(value, JSONView):
        return value._data
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in cast("Sequence[object]", value)]
    return value


def output_view(record: Record, output: object) -> object:
    """`node_id` in a template: an object with `output` and the further names of the record."""
    if hasattr(output, "output"):
        return output
    fields = {name: json_view(value) for name, value in record.fields.items()}
    return SimpleNamespace(output=json_view(output), **fields)


def _upstream_view(source: Upstream) -> Upstream:
    return replace(source, output=json_view(source.output))


def _role(node: Node) -> str:
    """The role that the node was given, empty if its kind has none."""
    role = getattr(node, "role", "")
    return role if isinstance(role, str) else ""
