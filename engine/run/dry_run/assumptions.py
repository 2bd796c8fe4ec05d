"""The outputs that a dry run assumes: the model that gives them, and the execution that uses it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import TypeAlias, cast

from msgspec import Struct, field
from msgspec.structs import replace

from ...errors import InputError, closest, listed
from ...graph.context import Context, Result
from ...graph.fields import ModelSpec
from ...graph.graph import Graph
from ...graph.node import (
    Node,
    asks_model,
    asks_person,
    branches_of,
    graph_in,
    loads_history,
    rehearsed,
    takes_of,
)
from ...messages import JSON, Part
from ...models.protocol import Chunk, Reply, Request
from ...models.samples import placeholder, sample
from ...node_path import NodePath
from ...records import Question
from ..execution import RunExecution
from ..model_call import ModelCall
from ..node_execution import NodeExecution
from ..questions import checked_answer

JSONs: TypeAlias = Mapping[str, object]


class DryRunExecution(RunExecution):
    """Executes a run whose model is `Assumptions`: no node's own `run` is called."""

    def run_node(self, node: Node, context: Context) -> Coroutine[object, object, Result]:
        """The result that is assumed of the node."""
        assumptions = cast("Assumptions", self.prepared.model)
        return assumptions.result(self.path.child(context.node_id), node, context)

    def _model_call(self, node: NodeExecution, spec: ModelSpec) -> ModelCall:
        """A call whose model has the path of the node as its id, and a person who answers."""
        call = super()._model_call(node, ModelSpec(id=str(self.path.child(node.node_id))))
        call.person = cast("Assumptions", self.prepared.model).response
        call.repairs = 0
        return call


class Assumptions(Struct):
    """The assumed outputs of a dry run, and a `Model` that replies with them.

    `labels` are the labels that routers choose, `values` the outputs of other nodes, both by path;
    a path without numbers is about every round and item. Without an assumption a node's output is
    a sample, and a router chooses its first label. The id of each node's model is the node's path,
    so a request says which node it is from. `requests` are collected by path. With `is_full`
    samples have every optional field.
    """

    graph: Graph
    labels: Mapping[str, tuple[str, ...]]
    values: Mapping[str, JSON]
    is_full: bool = True
    requests: dict[str, list[Request]] = field(default_factory=dict[str, list[Request]])
    _answered: set[str] = field(default_factory=set[str])

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Reply with what is assumed of the node, or with a sample."""
        self.requests.setdefault(request.model, []).append(request)
        yield Reply(self._text(NodePath(request.model), request))

    async def takes(self, request: Request, part: Part) -> bool:
        """See `TakesAttachments`: a dry run shows whatever would be attached."""
        del request, part
        return True

    async def result(self, path: NodePath, node: Node, context: Context) -> Result:
        """The result of a node, without effects outside of the process."""
        if branches_of(node):
            return await self._choice(path, node, context)
        given = _at(path, self.values)
        if given is None:
            return await rehearsed(node, context)
        value = self.values[given]
        if not self._asks(path, node):
            return Result(value)
        result = await rehearsed(node, context)
        return result if path in self._answered else replace(result, output=value, stored=None)

    def _asks(self, path: NodePath, node: Node) -> bool:
        """Whether the node asks its model or a person, so that its prompt is rendered."""
        graph, _ = find_node(self.graph, path)
        return (asks_model(node) or asks_person(node)) and path.node_id in graph.templates

    def response(self, question: Question) -> JSON:
        """The answer assumed of a person, or a sample; `InputError` if it is not valid."""
        path = NodePath(question.path)
        graph, _ = find_node(self.graph, path)
        wanted = graph.shapes.get(path.node_id)
        self._answered.add(path)
        if (label := _at(path, self.labels)) is not None:
            return self.labels[label][0]
        if (given := _at(path, self.values)) is not None:
            return checked_answer(question, self.values[given], shape=wanted)
        if question.options:
            return question.options[0]
        if wanted is None:
            return placeholder(path)
        return wanted.parse(
            json.dumps(
                sample(wanted.schema, name=path)
                if self.is_full
                else sample(wanted.schema, placeholder(path))
            )
        )

    async def _choice(self, path: NodePath, node: Node, context: Context) -> Result:
        given = _at(path, self.labels)
        labels = self.labels[given] if given is not None else None
        asks = self._asks(path, node)
        result = await rehearsed(node, context) if labels is None or asks else None
        if result is not None and (labels is None or result.choices == labels):
            return result
        return Result(
            output=list(labels or ()) if takes_of(node)[1] > 1 else "".join(labels or ()),
            fields={"reason": placeholder(f"{path}.reason")},
            choices=labels,
        )

    def _text(self, path: NodePath, request: Request) -> str:
        given = _at(path, self.values)
        value = self.values[given] if given is not None else None
        if request.schema is None:
            text = value if given is not None else placeholder(path)
            if not isinstance(text, str) or not text.strip():
                raise InputError(
                    f"assume: node {path!r} answers with text, not with {text!r}; write a text"
                )
            self._answered.add(path)
            return text
        if request.choices:
            return self._choice_text(path, request)
        graph, _ = find_node(self.graph, path)
        wanted = graph.shapes.get(path.node_id)
        if wanted is not None or isinstance(value, dict):
            self._answered.add(path)
        if path not in self._answered or given is None:
            value = (
                sample(request.schema, name=path)
                if self.is_full
                else sample(request.schema, placeholder(path))
            )
        text = json.dumps(value, ensure_ascii=False)
        try:
            if wanted is not None:
                wanted.parse(text)
        except ValueError as error:
            raise InputError(
                f"node {path!r}: no sample fits what it returns: {error}; give its output: "
                f"assume={{{path!r}: ...}}"
            ) from error
        return text

    def _choice_text(self, path: NodePath, request: Request) -> str:
        given = _at(path, self.labels)
        taken = self.labels[given] if given is not None else request.choices[:1]
        offered = [label for label in taken if label in request.choices]
        labels = offered if offered or not taken else list(request.choices[:1])
        answer = cast("dict[str, JSON]", sample(request.schema or {}, name=path))
        if request.many:
            answer["choices"] = list[JSON](labels)
        else:
            answer["choice"] = labels[0]
        if "tasks" in answer:
            task = placeholder(f"{path}.task")
            answer["tasks"] = [{"label": label, "task": task} for label in labels]
        return json.dumps(answer, ensure_ascii=False)


def _at(path: NodePath, assumed: Mapping[str, object]) -> NodePath | None:
    """The key of what is assumed of a node: its path, or that without numbers; None if nothing."""
    return next((each for each in (path, path.declared) if each in assumed), None)


def check_assumptions(graph: Graph, assume: JSONs, *, is_full: bool = True) -> Assumptions:
    """The assumptions, checked; raises `InputError` for the first that is not valid."""
    labels: dict[str, tuple[str, ...]] = {}
    values: dict[str, JSON] = {}
    for path, value in assume.items():
        owner, node = find_node(graph, path)
        if loads_history(node):
            raise InputError(
                f"assume: what {path!r} loads is the session's past; give it as `history`"
            )
        if branches_of(node):
            labels[path] = _labels(path, node, value)
        else:
            values[path] = _value(owner, path, value)
    return Assumptions(graph, labels, values, is_full)


def find_node(graph: Graph, path: str) -> tuple[Graph, Node]:
    """The node of a path and the graph that it belongs to; raises `InputError` if it has none."""
    node_path = NodePath(path)
    outer = node_path.outermost
    node = graph.nodes.get(outer)
    if node is None:
        near = closest(outer, graph.nodes)
        hint = f"did you mean {near!r}?" if near else f"it has {listed(graph.nodes)}"
        raise InputError(f"assume: graph {graph.name!r} has no node {outer!r}; {hint}")
    if len(node_path.steps) == 1:
        return graph, node
    rest = NodePath.from_steps(*node_path.steps[1:])
    within = graph_in(node)
    if not isinstance(within, Graph):
        raise InputError(f"assume: node {outer!r} has no inner graph, so it has no {rest!r}")
    return find_node(within, rest)


def _labels(path: str, node: Node, value: object) -> tuple[str, ...]:
    known, (fewest, most) = branches_of(node), takes_of(node)
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list | tuple):
        raise InputError(
            f"assume: node {path!r} is a router; give one of its labels: {listed(known)}"
        )
    for label in cast("list[object]", named):
        if not isinstance(label, str) or label not in known:
            near = closest(str(label), known)
            meant = f"did you mean {near!r}?" if near else f"it has {listed(known)}"
            raise InputError(f"assume: node {path!r} has no route {label!r}; {meant}")
    taken = tuple(label for label in known if label in named)
    if not fewest <= len(taken) <= most:
        count = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise InputError(
            f"assume: node {path!r} takes {count} of its labels at once, not {len(taken)}"
        )
    return taken


def _value(graph: Graph, path: str, value: object) -> JSON:
    if (wanted := graph.shapes.get(NodePath(path).node_id)) is None:
        return cast("JSON", value)
    try:
        return wanted.validate(value)
    except ValueError as error:
        raise InputError(
            f"assume: what node {path!r} gives does not fit what it returns: {error}"
        ) from error


def written_output(graph: Graph, node_id: str, text: str) -> JSON:
    """An output as people write it, for `assume`.

    A router's label, or several with commas; JSON if a node's output is not a text.
    """
    node = graph.nodes.get(node_id)
    if node is not None and (branches := branches_of(node)):
        return text if text in branches else [one.strip() for one in text.split(",") if one.strip()]
    if node_id not in graph.shapes and (node is None or node_id in graph.templates):
        return text
    try:
        value: JSON = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value
