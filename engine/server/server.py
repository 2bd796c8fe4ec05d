"""`Server`: what all endpoints share, found from a request by `server_of`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from msgspec import Struct
from starlette.requests import Request

from ..errors import InputError, NotFound, Problem, closest, listed
from ..run.runner import Runner
from ..session.store import Store
from .limits import Limits
from .runs import Runs

if TYPE_CHECKING:
    from markupsafe import Markup

    from ..dispatch.dbos import DBOSDispatcher


class Server(Struct, frozen=True):
    """The runners by the names of their graphs, their one store, and the runs in progress.

    `broken` are the problems of graph files that cannot be served, by their names. `project` is the
    folder below which pages write case files. With a `dispatcher` workers run the turns. `drawings`
    are the SVG of the graphs that were looked at, by name: one of 500 nodes takes 20 ms.
    """

    runners: Mapping[str, Runner]
    store: Store
    runs: Runs
    limits: Limits
    is_read_only: bool = False
    broken: Mapping[str, Sequence[Problem]] = {}
    project: Path | None = None
    dispatcher: DBOSDispatcher | None = None
    drawings: dict[str, Markup] = {}

    def runner(self, graph: str) -> Runner:
        """The runner of a graph; raises `NotFound` with the name that was meant."""
        runner = self.runners.get(graph)
        if runner is None and graph in self.broken:
            raise NotFound(f"graph {graph!r} cannot be loaded: {self.broken[graph][0]}")
        if runner is None:
            near = closest(graph, self.runners)
            hint = f"did you mean {near!r}?" if near else f"there are {listed(self.runners)}"
            raise NotFound(f"there is no graph {graph!r} here; {hint}")
        return runner

    def named(self, graph: str | None) -> Runner:
        """The runner of a graph, which need not be named where there is one only."""
        names = [*self.runners] or [*self.broken]
        if graph is None and len(names) > 1:
            raise InputError(f"graph: name one of {listed(names)}")
        return self.runner(names[0] if graph is None else graph)


def server_of(request: Request) -> Server:
    """The server that a request came to."""
    return cast("Server", request.app.state.server)
