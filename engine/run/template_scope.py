"""What templates see: the names of a run, made from the graph and the records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import cast

from msgspec import Struct

from ..graph.context import NO_HISTORY, History, Input, SessionView, Upstream
from ..graph.graph import Graph
from ..graph.node import Node, loads_history, template_fields, tools_of
from ..messages import JSON
from ..records import Record


class Fields(Mapping[str, object]):
    """A JSON object as templates read it: `value.key`, whatever the key is called.

    A key wins over a method of the same name, so a field may be called `items`.
    """

    __slots__ = ("_data",)

    def __init__(self, data: Mapping[str, object]) -> None:
        self._data = data

    def __getattribute__(self, name: str) -> object:
        if not name.startswith("_") and name in (data := self._data):
            return shown(data[name])
        return super().__getattribute__(name)

    def __getitem__(self, key: str) -> object:
        return shown(self._data[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        return self._data == (other._data if isinstance(other, Fields) else other)

    __hash__ = None  # type: ignore[assignment]  # it is a mapping

    def __str__(self) -> str:
        return json.dumps(self._data, ensure_ascii=False)


def shown(value: object) -> object:
    """A JSON value as templates read it."""
    if isinstance(value, dict):
        return Fields(cast("dict[str, object]", value))
    if isinstance(value, list):
        return [shown(item) for item in cast("list[object]", value)]
    return value


class MemberView(Struct, frozen=True):
    """A node that answers, as `graph.members` lists it."""

    id: str
    kind: str
    role: str
    description: str


class GraphView(Struct, frozen=True):
    """The graph as templates read it."""

    name: str
    description: str
    members: tuple[MemberView, ...]


class RunView(Struct, frozen=True):
    """The run as templates read it."""

    id: str


class Views:
    """What templates see of a graph, whatever the run."""

    __slots__ = ("_graph", "_nodes", "graph", "loaders", "roles")

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.roles = {node_id: role_of(node) for node_id, node in graph.nodes.items()}
        members = tuple(
            MemberView(node_id, node.kind, self.roles[node_id], node.description)
            for node_id, node in graph.nodes.items()
            if node.answers
        )
        self.graph = GraphView(graph.name, graph.description, members)
        self._nodes: dict[str, dict[str, object]] = {}
        loaders = [node_id for node_id, node in graph.nodes.items() if loads_history(node)]
        usual = "history" if "history" in loaders else next(iter(loaders), None)
        self.loaders = {node_id: node.history or usual for node_id, node in graph.nodes.items()}

    def node(self, node_id: str, state: Mapping[str, JSON], task: str | None) -> SimpleNamespace:
        """The node itself: its id, kind and fields, and what it keeps and is to do."""
        facts = self._nodes.get(node_id)
        if facts is None:
            facts = self._nodes[node_id] = self._facts(node_id)
        return SimpleNamespace(**facts, state=Fields(state), task=task, heard=())

    def _facts(self, node_id: str) -> dict[str, object]:
        node = self._graph.nodes[node_id]
        fields = {name: shown(getattr(node, name)) for name in type(node).model_fields}
        shape = self._graph.shapes.get(node_id)
        toolbox = tools_of(node)
        return {
            "instructions": (),
            **fields,
            "tools": toolbox.shown() if toolbox else (),
            "role": self.roles[node_id],
            "params": Fields(node.params),
            "returns": shape.schema if shape else None,
            **template_fields(node),
            "id": node_id,
            "kind": node.kind,
        }


def role_of(node: Node) -> str:
    """The role that the node was given, empty if its kind has none."""
    role = getattr(node, "role", "")
    return role if isinstance(role, str) else ""


def outcome(record: Record, output: object) -> object:
    """What `node_id` means in a template: an object with `output` and further names."""
    if hasattr(output, "output"):
        return output
    fields = {name: shown(value) for name, value in record.fields.items()}
    return SimpleNamespace(output=shown(output), **fields)


class Scenery(Struct, frozen=True):
    """What every template of one run sees alike."""

    input: Input
    user_id: str | None
    session: SessionView
    run: RunView
    now: datetime


def variables(
    views: Views,
    scenery: Scenery,
    node: SimpleNamespace,
    upstream: Sequence[Upstream],
    outcomes: Mapping[str, object],
) -> dict[str, object]:
    """Every name that a template may read."""
    loader = views.loaders[node.id]
    history = outcomes.get(loader) if loader else None
    return {
        "input": scenery.input,
        "user_id": scenery.user_id,
        "session": scenery.session,
        "history": history if isinstance(history, History) else NO_HISTORY,
        "graph": views.graph,
        "node": node,
        "run": scenery.run,
        "now": scenery.now,
        "upstream": upstream,
        **outcomes,
    }
