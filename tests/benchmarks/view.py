"""The cost of the pages: 500 nodes, 2 000 turns and 2 000 sessions, against one of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from starlette.applications import Starlette

from teamgraph import Graph, Runner, TinyDBStore
from teamgraph.engine.view.drawing import graph_svg
from teamgraph.nodes import HistoryLoader, Member, Summarizer
from teamgraph.server import create_app

from .row import Row, cpu, median

BAR = 20.0
"""How much longer than the small one the large one may take."""
PAGES = {
    "a graph": ("/graph?graph=team", "team"),
    "a run": ("/run?run_id={run}&session_id=s", "team"),
    "a node of a run": ("/run?run_id={run}&session_id=s&node=n0", "team"),
    "prompts": ("/prompts?graph=team", "team"),
    "a chat": ("/chat?graph=chat&session_id=s", "chat"),
    "a session": ("/session?session_id=s", "chat"),
    "a run of a session": ("/run?run_id={run}&session_id=s&node=n0", "chat"),
    "the list of sessions": ("/sessions", "sessions"),
    "a search in sessions": ("/sessions?search=message", "sessions"),
}
"""The address of each page, and what there are many of."""
MANY = {"team": "nodes", "chat": "turns", "sessions": "sessions"}


class Site(NamedTuple):
    """An app, and the newest run in its store."""

    app: Starlette
    run_id: str


def rows(*, short: bool) -> Iterator[Row]:
    """The CPU of each page for one node, turn or session, and how many times that for many."""
    nodes, turns, repeats = (60, 40, 3) if short else (500, 2_000, 9)
    counts = {"team": nodes, "chat": turns, "sessions": turns}
    with TemporaryDirectory() as folder:
        small = {name: _site(Path(folder), name, 1) for name in counts}
        large = {name: _site(Path(folder), name, count) for name, count in counts.items()}
        for title, (path, name) in PAGES.items():
            one, many = _medians([small[name], large[name]], path, repeats)
            yield Row(f"the page of {title}, of one", one * 1000, "ms")
            yield Row(f"  of {counts[name]} {MANY[name]}, in units of that", many / one, "x", BAR)
    graph = _team(nodes)
    drawn = median([cpu(lambda: graph_svg(graph)) for _ in range(repeats)])
    yield Row(f"the drawing of {nodes} nodes, made once", drawn * 1000, "ms")


def _site(folder: Path, name: str, count: int) -> Site:
    graph = _team(count) if name == "team" else _chat()
    store = TinyDBStore(folder / f"{name}{count}", sync="never")
    runner = Runner(graph, store=store, model="echo")
    runs = [
        runner.run(f"message {number}", session_id=f"s{number}" if name == "sessions" else "s")
        for number in range(1 if name == "team" else count)
    ]
    return Site(create_app([runner], hosts=["localhost"]), runs[-1].run_id)


def _team(count: int) -> Graph:
    nodes = {f"n{number}": Member(role=f"You are {number}") for number in range(count)}
    return Graph(name="team", model="echo", nodes=nodes, output=[*nodes][-1])


def _chat() -> Graph:
    nodes = {
        "history": HistoryLoader(),
        "n0": Member(role="You talk"),
        "summary": Summarizer(needs="n0", every=5),
    }
    return Graph(name="chat", model="echo", state={"k": 0}, nodes=nodes, output="n0")


def _medians(sites: Sequence[Site], path: str, repeats: int) -> list[float]:
    """The CPU seconds that a page of each site takes, measured alternately."""
    spent: list[list[float]] = [[] for _ in sites]
    for number in range(repeats + 1):
        for site, seconds in zip(sites, spent, strict=True):
            took = cpu(partial(_ask, site.app, path.format(run=site.run_id)))
            if number:  # the first compiles the templates
                seconds.append(took)
    return list(map(median, spent))


def _ask(app: Starlette, address: str) -> None:
    asyncio.run(_open(app, address))


async def _open(app: Starlette, address: str) -> None:
    """Ask the app for a page, as a browser does."""
    path, _, query = address.partition("?")
    statuses: list[int] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), (b"accept", b"text/html")],
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:  # noqa: ANN401  of ASGI
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    assert statuses == [200], (address, statuses)
