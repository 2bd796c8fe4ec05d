"""Graph files that are loaded again when they have changed on disk, for `teamgraph ui`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ..errors import DefinitionError, InputError, Problem, TeamgraphError
from ..graph.graph import Graph
from ..graph.node import graph_in
from ..prompts.sources import SUFFIXES

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..run.runner import Runner
    from .server import Server

Stamps: TypeAlias = Mapping[str, tuple[int, int]]
"""When files were changed (ns), and their sizes, by path."""
_DECLARING = (".yaml", ".yml", ".json")
"""The ends of the names of graph files, and of the schemas and locks beside them."""


class WatchedGraph(Struct):
    """A graph file: the graph as it could be loaded last, and its problems as it is now.

    `stamps` are those of the files that it is made of.
    """

    path: Path
    graph: Graph | None = None
    problems: Sequence[Problem] = ()
    stamps: Stamps = {}

    def load(self, load: Callable[[Path], Graph]) -> None:
        """Load the graph; if that is not possible, the last one that could be loaded stays."""
        before = self._stamps()
        try:
            self.graph, self.problems = load(self.path), ()
        except DefinitionError as error:
            self.problems = error.problems
        finally:  # what was changed in the meantime is seen the next time
            self.stamps = {**self._stamps(), **before}

    def has_changed(self) -> bool:
        """Whether anything that the graph is made of was changed since it was loaded."""
        return self.stamps != self._stamps()

    def _stamps(self) -> Stamps:
        """Those of all graph files in the folders of this one, and of all their templates."""
        graphs = list(_nested(self.graph)) if self.graph is not None else []
        files = [self.path, *(Path(each.file) for each in graphs if each.file)]
        files += [Path(each.file) for each in self.problems if each.file]
        folders = {file.parent for file in files}
        found = {path: stamp for folder in folders for path, stamp in _stamped(folder, _DECLARING)}
        prompts = {folder / "prompts" for folder in folders}
        prompts |= {Path(each) for graph in graphs for each in graph.prompt_dirs}
        for folder in prompts:
            for inner, _, _ in os.walk(folder):
                found |= _stamped(Path(inner), SUFFIXES)
        return found


class WatchedGraphs:
    """The graph files of a server, loaded by `load`."""

    def __init__(self, paths: Iterable[Path], load: Callable[[Path], Graph]) -> None:
        self._files = [WatchedGraph(path) for path in paths]
        self._load = load
        for each in self._files:
            each.load(load)

    @property
    def graphs(self) -> list[Graph]:
        """The graphs as they could be loaded last."""
        return [each.graph for each in self._files if each.graph is not None]

    @property
    def broken(self) -> dict[str, Sequence[Problem]]:
        """The problems of what cannot be loaded now: by name, or by file if it never could be."""
        return {
            each.graph.name if each.graph is not None else str(each.path): each.problems
            for each in self._files
            if each.problems
        }

    def refreshed(self, server: Server, make: Callable[[Graph], Runner]) -> Server:
        """The server with what the files are now; `make` makes the runner of a graph."""
        changed = [each for each in self._files if each.has_changed()]
        if not changed:
            return server
        runners = dict(server.runners)
        for each in changed:
            runners = self._reloaded(each, runners, make)
        return replace(server, runners=runners, broken=self.broken, drawings={})

    def _reloaded(
        self, file: WatchedGraph, runners: dict[str, Runner], make: Callable[[Graph], Runner]
    ) -> dict[str, Runner]:
        """The runners with that of a file that was changed; it stays where it is among them."""
        before = file.graph
        try:
            file.load(self._load)
            if file.graph is None or file.graph is before:
                return runners
            name = file.graph.name
            if [each.name for each in self.graphs].count(name) > 1:
                text = f"two graphs are called {name!r}; give one of them another name"
                raise InputError(text)
            runner = make(file.graph)
        except TeamgraphError as error:
            file.graph, file.problems = before, [Problem("G001", str(error), file=str(file.path))]
            return runners
        if before is None:
            return {**runners, name: runner}
        return dict(
            (name, runner) if known == before.name else (known, other)
            for known, other in runners.items()
        )


class Reloader:
    """ASGI middleware that looks at each request whether graph files were changed on disk."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        served: Starlette,
        files: WatchedGraphs,
        make: Callable[[Graph], Runner],
    ) -> None:
        self._app = app
        self._served = served
        self._files = files
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what the files are now; runs in progress go on as they began."""
        if scope["type"] == "http":
            state = self._served.state
            state.server = self._files.refreshed(state.server, self._make)
        await self._app(scope, receive, send)


def _nested(graph: Graph) -> Iterator[Graph]:
    """The graph and all graphs inside it."""
    yield graph
    for node in graph.nodes.values():
        if isinstance(inner := graph_in(node), Graph):
            yield from _nested(inner)


def _stamped(folder: Path, ends: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, int]]]:
    """The stamps of the files in a folder whose names end so; none if there is no folder."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith(ends):
            with suppress(OSError):  # it was removed meanwhile
                found = entry.stat()
                yield entry.path, (found.st_mtime_ns, found.st_size)
