"""The rules about the models that a graph names: their ids, their tools and their prices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from ..errors import KeyPath, Problem, Severity, listed
from ..models.endpoints import id_problem
from ..models.registry import LOCAL, NO_TOOLS, has_unknown_price, unknown_id
from .fields import ModelSpec
from .node import Node, asks_model, graph_in, tools_of

if TYPE_CHECKING:
    from .graph import Budget, Declaration, Graph

DeclaredModel: TypeAlias = "str | ModelSpec | None"


class _Asker(NamedTuple):
    """A node that asks a model, with the id of the node of the outermost graph that it is in.

    `is_reported` says that a graph inside has reported already what is wrong with the two.
    """

    node_id: str
    node: Node
    model: DeclaredModel
    is_reported: bool = False


def model_problems(
    graph: Declaration, nodes: Mapping[str, Node], templates: Collection[str]
) -> Iterator[Problem]:
    """What is wrong with the models of a graph and its nodes; `templates` have a prompt."""
    problems = _id_problems(graph.model, nodes)
    yield from (each for each in problems if each.severity == "error")
    askers = list(_askers(nodes, templates, graph.model))
    for asker in askers:
        has_tools = tools_of(asker.node) is not None and not asker.is_reported
        if has_tools and LOCAL in _ids(asker.model):
            text = f"node {asker.node_id!r}: model local: {NO_TOOLS}"
            yield Problem("G018", text, path=("nodes", asker.node_id))
    for path, budget in _budgets(graph.budget):
        if budget.usd is not None:
            yield from _price_problems(askers, (*path, "usd"))


def unlike_ids(model: DeclaredModel, nodes: Mapping[str, Node]) -> Iterator[Problem]:
    """Warnings of single words that are like no id, which only a `Model` object can serve."""
    return (each for each in _id_problems(model, nodes) if each.severity == "warning")


def _id_problems(model: DeclaredModel, nodes: Mapping[str, Node]) -> Iterator[Problem]:
    """Ids that no adapter would serve."""
    named = [*_named(model, ("model",))]
    for node_id, node in nodes.items():
        named += _named(node.model, ("nodes", node_id, "model"))
    for path, model_id, api_base in named:
        if (problem := id_problem(model_id)) is not None:
            yield Problem("G004", problem, path=path)
            continue
        unknown = unknown_id(model_id, api_base=api_base)
        if unknown is not None:
            is_error = unknown.is_certain and not unknown.is_name
            severity: Severity = "error" if is_error else "warning"
            yield Problem("G018", unknown.text, severity, path=path, suggestion=unknown.meant)


def _budgets(declared: Budget | Sequence[Budget] | None) -> Iterator[tuple[KeyPath, Budget]]:
    """The limits of a graph, with their paths."""
    if isinstance(declared, Sequence):
        yield from ((("budget", index), each) for index, each in enumerate(declared))
    elif declared is not None:
        yield ("budget",), declared


def _price_problems(askers: Iterable[_Asker], path: KeyPath) -> Iterator[Problem]:
    """Models whose calls a limit in dollars cannot count."""
    models = {model_id: None for asker in askers for model_id in _ids(asker.model)}
    unknown = [each for each in models if has_unknown_price(each)]
    if unknown:
        text = f"the price of {listed(unknown)} is unknown, so a limit in usd does not count its "
        text += "calls; add `calls` or `tokens` to the budget, or name a model with a known price"
        yield Problem("G115", text, "warning", path=path)


def _askers(
    nodes: Mapping[str, Node], templates: Collection[str], default: DeclaredModel
) -> Iterator[_Asker]:
    """The nodes that ask a model, also those in inner graphs, which inherit its model."""
    for node_id, node in nodes.items():
        if node_id in templates and asks_model(node):
            yield _Asker(node_id, node, node.model or default)
        if (inner := cast("Graph | None", graph_in(node))) is not None:
            for asker in _askers(inner.nodes, inner.templates, inner.model or default):
                is_reported = bool(inner.model or asker.node.model)
                yield asker._replace(node_id=node_id, is_reported=is_reported)


def _ids(model: DeclaredModel) -> list[str]:
    return [model_id for _, model_id, _ in _named(model, ())]


def _named(model: DeclaredModel, path: KeyPath) -> Iterator[tuple[KeyPath, str, str | None]]:
    """The ids of a model and its fallbacks, with their paths and addresses."""
    if isinstance(model, str):
        yield path, model, None
    elif model is not None:
        yield (*path, "id"), model.id, model.api_base
        for index, other in enumerate(model.fallback):
            yield from _named(other, (*path, "fallback", index))
