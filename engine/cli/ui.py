"""`teamgraph ui`: the pages of graphs and a store, in a browser on this machine."""

from __future__ import annotations

import asyncio
import os
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..graph.settings import settings_of
from .command import command, make_app
from .options import GraphOptions, RunnerOptions
from .output import Style, print_note
from .serve import AccessOptions, ListenOptions, serve_graphs

_PORT = 8701
_GRACE = 2.0
_DISPLAYS = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")

app = make_app()


@command(app)
def ui(
    graphs: Annotated[
        list[Path],
        typer.Argument(metavar="GRAPH...", help="The graph files.", show_default=False),
    ],
    graph_options: GraphOptions,
    runner_options: RunnerOptions,
    *,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse everything that changes something.")
    ] = False,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="0 is any free port.")
    ] = _PORT,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Whether to open a browser.")
    ] = True,
) -> None:
    """Look at graphs, chats, runs, sessions and prompts in a browser (docs/debugger.md).

    The server listens on this machine only. The address that is printed logs in one browser, once;
    later ones need the token. Graphs and templates that were changed are loaded again with the next
    page; a graph that cannot be loaded is shown with its problems. SIGTERM or Ctrl-C stops it.

    $ teamgraph ui team.yaml
    $ teamgraph ui team.yaml --read-only --no-open
    """
    from ..server.reloading import WatchedGraphs

    files = WatchedGraphs(graphs, graph_options.load)
    for graph in files.graphs:
        runner_options.begin_import(graph)
    access, opening = AccessOptions(read_only=read_only), set[asyncio.Task[bool]]()

    def announce(address: str, token: str | None, login_path: Callable[[], str]) -> None:
        url = address + login_path()
        print_note(access.note(token), Style.DIM)
        print_note(f"open {url} (good once, for ten minutes)")
        if browser and _has_browser():
            opening.add(asyncio.create_task(asyncio.to_thread(webbrowser.open, url)))

    listening = ListenOptions(port=port, grace=_GRACE)
    project = settings_of(Path.cwd()).folder or Path.cwd()
    work = serve_graphs(
        files.graphs,
        runner_options,
        access,
        listening,
        announce=announce,
        files=files,
        project=project,
    )
    asyncio.run(work)


def _has_browser() -> bool:
    """Whether there is a browser that opens a window, and none that would take the terminal."""
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, _DISPLAYS))
