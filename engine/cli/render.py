"""`teamgraph render`: the prompts of a run as they would be sent, with no model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from ..errors import InputError, NotFound, closest, listed
from ..graph.graph import MESSAGE, Graph
from ..messages import JSON
from ..run.dry_run.rehearsal import Scene, render_next
from ..run.dry_run.rehearsal import render as rendered
from ..run.dry_run.rendering import Rendering
from ..testing.snapshot_text import nodes_as_text
from .as_json import rendering_as_json
from .command import command
from .options import AsJson, GraphFile, Reading, SessionOption, Storing, User
from .run import said
from .screen import print_json, print_pages

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Assuming:
    """What is assumed of the run."""

    assume: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE=VALUE",
            help="What a node gives: router=french, or JSON where it is no text; repeatable.",
            show_default=False,
        ),
    ] = None
    user: User = None
    session: SessionOption = None


@dataclass(frozen=True, slots=True)
class Showing:
    """What of it is shown, and how."""

    node: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this node; repeatable.", show_default=False),
    ] = None
    came_from: Annotated[
        bool, typer.Option("--came-from", help="Also where each of the words came from.")
    ] = False
    json: AsJson = False


@command(app)
def render(
    graph: GraphFile,
    reading: Reading,
    assuming: Assuming,
    storing: Storing,
    showing: Showing,
    *,
    message: Annotated[
        str,
        typer.Argument(
            metavar="MESSAGE",
            help="What the user says; - reads standard input.",
            show_default=False,
        ),
    ] = MESSAGE,
) -> None:
    """Render every prompt of a run as it would be sent, without asking a model.

    With --session they are those of the next turn of a stored session, which is only read.
    """
    declared = reading.graph(graph)
    scene = Scene(said(message), assume=_assumed(declared, assuming), user_id=assuming.user)
    if assuming.session is None:
        rendering = rendered(declared, scene)
    else:
        rendering = asyncio.run(_next(declared, scene, storing, assuming.session))
    nodes = _wanted(rendering, showing.node or [])
    if showing.json:
        print_json(rendering_as_json(rendering, nodes, came_from=showing.came_from))
    else:
        shown = (rendering[node_id] for node_id in nodes)
        print_pages(nodes_as_text(shown, came_from=showing.came_from))


async def _next(graph: Graph, scene: Scene, storing: Storing, session_id: str) -> Rendering:
    if not storing.folder.is_dir():
        raise NotFound(f"there is no store in {storing.folder}; name it with --store")
    async with storing.open() as store:
        return await render_next(graph, scene, store, session_id)


def _wanted(rendering: Rendering, node_ids: Sequence[str]) -> Sequence[str]:
    for node_id in node_ids:
        if node_id not in rendering:
            near = closest(node_id, rendering)
            meant = f"did you mean {near!r}?" if near else f"it has {listed(rendering)}"
            raise InputError(f"--node: graph {rendering.graph!r} has no node {node_id!r}; {meant}")
    return [node_id for node_id in rendering if node_id in node_ids] if node_ids else [*rendering]


def _assumed(graph: Graph, assuming: Assuming) -> dict[str, JSON]:
    assume: dict[str, JSON] = {}
    for setting in assuming.assume or ():
        node_id, sign, text = setting.partition("=")
        if not node_id or not sign:
            raise InputError(f"--assume {setting!r}: write it as NODE=VALUE, as in router=french")
        assume[node_id] = _value(graph, node_id, text)
    return assume


def _value(graph: Graph, node_id: str, text: str) -> JSON:
    """A router's label, or labels with commas; JSON where a node gives something else than text."""
    node = graph.nodes.get(node_id)
    if node is not None and (branches := node.branches()):
        return text if text in branches else [one.strip() for one in text.split(",") if one.strip()]
    if node_id not in graph.shapes and (node is None or node_id in graph.templates):
        return text
    try:
        value: JSON = json.loads(text)
    except ValueError:
        return text
    return value
