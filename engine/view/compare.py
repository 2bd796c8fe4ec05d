"""The prompt of a node beside that of the turn before, another run, or today's templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from ..errors import InputError, NotFound
from ..graph.graph import Graph
from ..graph.node import graph_in
from ..models.scripted import EchoModel
from ..node_path import NodePath
from ..records import Run
from ..run.prepared import PreparedGraph, prepare
from ..run.render_again import earlier_runs, render_again
from ..session.store import Store
from .origins import CallOrigins, rendered_now, run_origins

Known: TypeAlias = Graph | PreparedGraph | None
_FARTHEST = 20
"""Turns that are looked through for the last one in which a node ran."""


class Comparison(Struct, frozen=True):
    """The model calls of a node before and after; `title` says what they are of, in words."""

    title: str
    before: Sequence[CallOrigins]
    after: Sequence[CallOrigins]

    def pairs(self) -> Sequence[tuple[CallOrigins | None, CallOrigins | None]]:
        """The calls side by side; None where there is none."""
        count = max(len(self.before), len(self.after))
        return [(_at(self.before, number), _at(self.after, number)) for number in range(count)]


async def compare_with_previous(
    run: Run, node: str, store: Store, graph: Known = None
) -> Comparison:
    """Beside the last turn before in which the node ran; raises `NotFound` if there is none."""
    async for earlier in earlier_runs(run, store, most=_FARTHEST):
        record = earlier.records.get(node)
        if record is not None and record.exchanges:
            return await compare_with_run(earlier, run, node, store, graph)
    raise NotFound(f"node {node!r} asked no model in the {_FARTHEST} turns before this one")


async def compare_with_run(
    before: Run, after: Run, node: str, store: Store, graph: Known = None
) -> Comparison:
    """Beside another run; raises `NotFound` if the node asked no model in one of them."""
    for run in (before, after):
        record = run.records.get(node)
        if record is None or not record.exchanges:
            raise NotFound(f"node {node!r} asked no model in run {run.run_id!r}")
    return Comparison(
        f"{_named(before)} and {_named(after)}",
        (await run_origins(before, store, graph, nodes=[node]))[node],
        (await run_origins(after, store, graph, nodes=[node]))[node],
    )


async def compare_with_today(run: Run, node: str, store: Store, graph: Graph) -> Comparison:
    """Beside what today's templates make of the values of then; of each request the first call.

    Raises `NotFound` if the node asked no model, `InputError` if the graph has no such node, and
    `PromptError` if a template of today cannot be rendered with these values.
    """
    record = run.records.get(node)
    if record is None or not record.exchanges:
        raise NotFound(f"node {node!r} asked no model in run {run.run_id!r}")
    owner = graph
    for step in NodePath(node).declared.parent.steps:
        inner = graph_in(owner.nodes[step]) if step in owner.nodes else None
        if not isinstance(inner, Graph):
            raise InputError(f"graph {graph.name!r} has no node {NodePath(node).declared!r} now")
        owner = inner
    again = (await render_again(run, store, prepare(graph, EchoModel()), [node]))[node]
    calls = (await run_origins(run, store, graph, nodes=[node]))[node]
    first = [at for at, each in enumerate(again) if each.prompt is not None and not each.before]
    return Comparison(
        f"{_named(run)} and the templates of today",
        [calls[at] for at in first],
        [rendered_now(again[at], owner.prompts) for at in first],
    )


def _at(calls: Sequence[CallOrigins], number: int) -> CallOrigins | None:
    return calls[number] if number < len(calls) else None


def _named(run: Run) -> str:
    return f"turn {run.turn.number}" if run.turn.number else f"run {run.run_id}"
