"""The cost of a page's pieces: a run of 500 nodes and a session of 2 000 turns, against one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import TypeAlias

from teamgraph import Graph, MemoryStore, Run, Runner, Store
from teamgraph.engine.run.prepared import prepare
from teamgraph.engine.view.messages import messages_html
from teamgraph.engine.view.origins import run_origins
from teamgraph.engine.view.timeline import timeline_html
from teamgraph.nodes import HistoryLoader, Member, Summarizer

from .row import Row, cpu, median

Page: TypeAlias = Callable[[], Coroutine[object, object, None]]
BAR = 20.0
"""How much longer than the small one the large one may take."""


def rows(*, short: bool) -> Iterator[Row]:
    """The CPU of one page of each, and how many times the small one it is."""
    nodes, turns, repeats = (60, 40, 3) if short else (500, 2_000, 9)
    small = _median(_page(_team(1), MemoryStore(), 1), repeats)
    yield Row("page of a run of one node and one turn", small * 1000, "ms")
    large = _median(_page(_team(nodes), MemoryStore(), 1), repeats)
    yield Row(f"page of a run of {nodes} nodes, messages of one", large * 1000, "ms")
    yield Row("  times that of one node", large / small, "x", BAR)
    long = _median(_page(_chat(), MemoryStore(), turns), repeats)
    yield Row(f"page of a run in a session of {turns} turns", long * 1000, "ms")
    yield Row("  times that of one turn", long / small, "x", BAR)


def _team(count: int) -> Graph:
    nodes = {f"n{number}": Member(role=f"You are {number}") for number in range(count)}
    return Graph(name="team", model="m", nodes=nodes, output=[*nodes][-1])


def _chat() -> Graph:
    nodes = {
        "history": HistoryLoader(),
        "n0": Member(role="You talk"),
        "summary": Summarizer(needs="n0", every=5),
    }
    return Graph(name="chat", model="m", state={"k": 0}, nodes=nodes, output="n0")


def _page(graph: Graph, store: Store, turns: int) -> Page:
    """Shows the newest run of a session: its timeline, and the messages of one node."""
    runner = Runner(graph, store=store, model="echo")
    for number in range(turns):
        run = runner.run(f"message {number}", session_id="s")
    now = prepare(graph, "echo")

    async def page() -> None:
        stored = await store.run(run.key, run.run_id)
        assert isinstance(stored, Run)
        timeline_html(stored)
        origins = await run_origins(stored, store, now, nodes=["n0"])
        messages_html(origins["n0"][0])

    return page


def _median(page: Page, repeats: int) -> float:
    asyncio.run(page())  # compiles the templates
    return median([cpu(lambda: asyncio.run(page())) for _ in range(repeats)])
