"""What the caller of a dry run assumes of the nodes, and the model that answers accordingly."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import TypeAlias, cast

from msgspec import Struct, field
from msgspec.structs import replace

from ...errors import InputError, closest, listed
from ...graph.context import Context, Result
from ...graph.graph import Graph
from ...graph.node import (
    Node,
    asks_model,
    branches_of,
    graph_in,
    loads_history,
    rehearsed,
    takes_of,
)
from ...messages import JSON
from ...models.protocol import Chunk, Reply, Request
from ...models.samples import placeholder, sample

JSONs: TypeAlias = Mapping[str, object]


class Assumptions(Struct):
    """Plays the nodes of a dry run: implements `engine.models.Model` and `Cast.play`.

    `labels` are the labels that routers take, `values` what other nodes give, both by node id. A
    node that nothing is assumed of gives what stands in for its answer; a router its first label.
    The model of each node is called like the node, so that a request says who asks. `requests`
    gathers them by node id.
    """

    graph: Graph
    labels: Mapping[str, tuple[str, ...]]
    values: Mapping[str, JSON]
    is_full: bool = True
    requests: dict[str, list[Request]] = field(default_factory=dict[str, list[Request]])
    _said: set[str] = field(default_factory=set[str])

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Answer with what is assumed of the node, or with what stands in for its answer."""
        self.requests.setdefault(request.model, []).append(request)
        yield Reply(self._text(request.model, request))

    async def play(self, under: str, node: Node, context: Context) -> Result:
        """What a node gives back, without an effect on the world.

        `under` is the path of the node whose graph it belongs to, empty for the outer graph.
        """
        node_id = f"{under}{context.node_id}"
        if branches_of(node):
            return await self._routed(node_id, node, context)
        if node_id not in self.values:
            return await rehearsed(node, context)
        value = self.values[node_id]
        if not self._asks(node_id, node):
            return Result(value)
        result = await rehearsed(node, context)
        return result if node_id in self._said else replace(result, output=value, stored=None)

    def _asks(self, path: str, node: Node) -> bool:
        """Whether the node asks its model, so that its prompt is rendered."""
        graph, _ = found_at(self.graph, path)
        return asks_model(node) and path.rpartition("/")[2] in graph.templates

    async def _routed(self, node_id: str, node: Node, context: Context) -> Result:
        labels = self.labels.get(node_id)
        asks = self._asks(node_id, node)
        result = await rehearsed(node, context) if labels is None or asks else None
        if result is not None and (labels is None or result.choices == labels):
            return result
        return Result(
            output=list(labels or ()) if takes_of(node)[1] > 1 else "".join(labels or ()),
            fields={"reason": placeholder(f"{node_id}.reason")},
            choices=labels,
        )

    def _text(self, node_id: str, request: Request) -> str:
        if request.schema is None:
            text = self.values.get(node_id, placeholder(node_id))
            if not isinstance(text, str) or not text.strip():
                raise InputError(
                    f"assume: node {node_id!r} answers with text, not with {text!r}; write a text"
                )
            self._said.add(node_id)
            return text
        if request.choices:
            return self._choice(node_id, request)
        graph, _ = found_at(self.graph, node_id)
        wanted = graph.shapes.get(node_id.rpartition("/")[2])
        value = self.values.get(node_id)
        if wanted is not None or isinstance(value, dict):
            self._said.add(node_id)
        if node_id not in self._said or node_id not in self.values:
            value = (
                sample(request.schema, name=node_id)
                if self.is_full
                else sample(request.schema, placeholder(node_id))
            )
        text = json.dumps(value, ensure_ascii=False)
        try:
            if wanted is not None:
                wanted.parse(text)
        except ValueError as error:
            raise InputError(
                f"node {node_id!r}: nothing stands in for what it returns: {error}; say what it "
                f"gives: assume={{{node_id!r}: ...}}"
            ) from error
        return text

    def _choice(self, node_id: str, request: Request) -> str:
        taken = self.labels.get(node_id, request.choices[:1])
        offered = [label for label in taken if label in request.choices]
        labels = offered if offered or not taken else list(request.choices[:1])
        answer = cast("dict[str, JSON]", sample(request.schema or {}, name=node_id))
        if request.many:
            answer["choices"] = list[JSON](labels)
        else:
            answer["choice"] = labels[0]
        if "tasks" in answer:
            task = placeholder(f"{node_id}.task")
            answer["tasks"] = [{"label": label, "task": task} for label in labels]
        return json.dumps(answer, ensure_ascii=False)


def assumed(graph: Graph, assume: JSONs, *, is_full: bool = True) -> Assumptions:
    """What holds of the assumptions; raises `InputError` for the first that does not."""
    labels: dict[str, tuple[str, ...]] = {}
    values: dict[str, JSON] = {}
    for node_id, value in assume.items():
        owner, node = found_at(graph, node_id)
        if loads_history(node):
            raise InputError(
                f"assume: what {node_id!r} loads is the session's past; give it as `history`"
            )
        if branches_of(node):
            labels[node_id] = _labels(node_id, node, value)
        else:
            values[node_id] = _value(owner, node_id, value)
    return Assumptions(graph, labels, values, is_full)


def found_at(graph: Graph, path: str) -> tuple[Graph, Node]:
    """The node of a path (`node`, or `node/inner_node`) and the graph that it belongs to.

    Raises `InputError` if there is none.
    """
    node_id, slash, rest = path.partition("/")
    node = graph.nodes.get(node_id)
    if node is None:
        near = closest(node_id, graph.nodes)
        meant = f"did you mean {near!r}?" if near else f"it has {listed(graph.nodes)}"
        raise InputError(f"assume: graph {graph.name!r} has no node {node_id!r}; {meant}")
    if not slash:
        return graph, node
    within = graph_in(node)
    if not isinstance(within, Graph):
        raise InputError(f"assume: node {node_id!r} has no graph inside, so it has no {rest!r}")
    return found_at(within, rest)


def _labels(node_id: str, node: Node, value: object) -> tuple[str, ...]:
    known, (fewest, most) = branches_of(node), takes_of(node)
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list | tuple):
        raise InputError(f"assume: node {node_id!r} routes; name a label of it: {listed(known)}")
    for label in cast("list[object]", named):
        if not isinstance(label, str) or label not in known:
            near = closest(str(label), known)
            meant = f"did you mean {near!r}?" if near else f"it has {listed(known)}"
            raise InputError(f"assume: node {node_id!r} has no route {label!r}; {meant}")
    taken = tuple(label for label in known if label in named)
    if not fewest <= len(taken) <= most:
        count = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise InputError(
            f"assume: node {node_id!r} takes {count} of its labels at once, not {len(taken)}"
        )
    return taken


def _value(graph: Graph, node_id: str, value: object) -> JSON:
    if (wanted := graph.shapes.get(node_id.rpartition("/")[2])) is None:
        return cast("JSON", value)
    try:
        return wanted.validate(value)
    except ValueError as error:
        raise InputError(
            f"assume: what node {node_id!r} gives does not fit what it returns: {error}"
        ) from error
