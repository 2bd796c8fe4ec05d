"""`teamgraph render`: the prompts of a run as they would be sent, without calling a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from ..errors import InputError, NotFound, closest, listed
from ..graph.graph import MESSAGE, Graph
from ..messages import JSON
from ..records import SessionKey
from ..run.dry_run.assumptions import written_output
from ..run.dry_run.rehearsal import Scene, render_next
from ..run.dry_run.rehearsal import render as render_scene
from ..run.dry_run.rendering import Rendering
from ..run.json_forms import rendering_as_json
from ..testing.snapshot_text import nodes_as_text
from .command import command, make_app
from .completion import complete_nodes
from .lookup import find_session
from .options import (
    GraphFile,
    GraphOptions,
    JsonFlag,
    SessionOption,
    StoreOptions,
    UserOption,
)
from .output import print_json, print_paged
from .run import read_message

app = make_app()


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """What is assumed about the run."""

    assume: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE=VALUE",
            help="Assume a node's output, such as router=french; JSON if not text; repeatable.",
            show_default=False,
        ),
    ] = None
    user: UserOption = None
    session: SessionOption = None
    attach: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A file that comes with the message, by its name; repeatable.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """Which prompts are printed, and how."""

    node: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Only this node; repeatable.",
            show_default=False,
            autocompletion=complete_nodes,
        ),
    ] = None
    came_from: Annotated[
        bool, typer.Option("--came-from", help="Also show where each piece of text comes from.")
    ] = False
    json: JsonFlag = False


@command(app)
def render(
    graph: GraphFile,
    graph_options: GraphOptions,
    scene_options: SceneOptions,
    store: StoreOptions,
    options: RenderOptions,
    *,
    message: Annotated[
        str,
        typer.Argument(
            metavar="MESSAGE",
            help="The user's message; - reads standard input.",
            show_default=False,
        ),
    ] = MESSAGE,
) -> None:
    """Render every prompt of a run as it would be sent, without calling a model.

    With --session, renders the next turn of a stored session, which is not changed.
    """
    loaded = graph_options.load(graph)
    assume = _parse_assumptions(loaded, scene_options.assume or ())
    scene = Scene(
        read_message(message),
        assume=assume,
        user_id=scene_options.user,
        attachments=scene_options.attach or (),
    )
    if scene_options.session is None:
        rendering = render_scene(loaded, scene)
    else:
        rendering = asyncio.run(_render_next(loaded, scene, store, scene_options.session))
    node_ids = _selected(rendering, options.node or [])
    if options.json:
        print_json(rendering_as_json(rendering, node_ids, came_from=options.came_from))
    else:
        nodes = (rendering[node_id] for node_id in node_ids)
        print_paged(nodes_as_text(nodes, came_from=options.came_from))


async def _render_next(
    graph: Graph, scene: Scene, options: StoreOptions, session_id: str
) -> Rendering:
    if not options.may_exist:
        raise NotFound(f"there is no store in {options.title}; name one with --store")
    async with options.open() as store:
        key = await find_session(SessionKey(scene.user_id, session_id), store)
        return await render_next(graph, scene, store, key.session_id)


def _selected(rendering: Rendering, node_ids: Sequence[str]) -> Sequence[str]:
    for node_id in node_ids:
        if node_id not in rendering:
            near = closest(node_id, rendering)
            meant = f"did you mean {near!r}?" if near else f"it has {listed(rendering)}"
            raise InputError(f"--node: graph {rendering.graph!r} has no node {node_id!r}; {meant}")
    return [node_id for node_id in rendering if node_id in node_ids] if node_ids else [*rendering]


def _parse_assumptions(graph: Graph, settings: Sequence[str]) -> dict[str, JSON]:
    assume: dict[str, JSON] = {}
    for setting in settings:
        node_id, sign, text = setting.partition("=")
        if not node_id or not sign:
            raise InputError(f"--assume {setting!r}: write it as NODE=VALUE, as in router=french")
        assume[node_id] = written_output(graph, node_id, text)
    return assume
