"""Making and checking large graphs, and what a load and a turn pass through."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import networkx as nx

from teamgraph import Graph, Runner, TinyDBStore
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Node
from teamgraph.nodes import Member, Python, Router

from .crossing import ROOT, Crossing, crossing
from .row import Row, cpu, median

_TWO_NODES = """name: two
model: echo
nodes:
  history: {kind: history-loader, runs: 3}
  answer: {role: You answer}
"""
_LOADS = """
from teamgraph import Graph
from tests.benchmarks.crossing import crossing
for _ in range(2):
    with crossing() as crossed:
        Graph.load({file!r})
    print(len(crossed.modules))
"""

Nodes = Mapping[str, Node]


def rows(*, short: bool) -> Iterator[Row]:
    """Each graph, and one a tenth as large; then the way of a load and of a turn."""
    scale = 100 if short else 1
    rounds = 2 if short else 7
    for what, make, count, unit, bar in (
        ("members", _members, 5000, "CPU s", 0.5),
        ("python nodes", _functions, 1000, "CPU ms", 40),
        ("routers with two members each", _routers, 900, "CPU ms", None),
        ("members with a misspelt `needs`", _misspelt, 1500, "CPU ms", None),
    ):
        few, many = (_seconds(make(size), rounds) for size in (count // 10, count // scale))
        number = many if unit == "CPU s" else many * 1e3
        yield Row(f"a graph of {count} {what}", number, unit, bar)
        yield Row(f"  in units of one of {count // 10}", many / few, "x", 11)
        if make is _members:
            order = _order_alone(make(count // scale), rounds)
            yield Row("  in units of sorting it with networkx", many / order, "x")
    first, again = _loads()
    yield Row("modules that loading a graph of two nodes crosses", first, "modules", 30)
    yield Row("  when it is loaded again", again, "modules", 30)
    turn = asyncio.run(_turn())
    yield Row("modules that a turn of two nodes crosses", len(turn.modules), "modules", 35)
    yield Row("  own functions that it calls", turn.calls, "calls")
    yield Row("  own frames at its deepest point", turn.frames, "frames", 20)


def _members(count: int) -> Nodes:
    return {f"n{index}": Member(needs=[f"n{index - 1}"] * bool(index)) for index in range(count)}


def _functions(count: int) -> Nodes:
    return {f"n{i}": Python(call=_answer, needs=[f"n{i - 1}"] * bool(i)) for i in range(count)}


def _routers(count: int) -> Nodes:
    nodes: dict[str, Node] = {}
    for index in range(count):
        before = [f"left{index - 1}", f"right{index - 1}"] if index else []
        routes = {f"left{index}": "left", f"right{index}": "right"}
        nodes[f"router{index}"] = Router(routes=routes, needs=before)
        nodes |= {f"left{index}": Member(), f"right{index}": Member()}
    return nodes


def _misspelt(count: int) -> Nodes:
    return {f"n{index}": Member(needs=[f"m{index}"]) for index in range(count)}


def _answer(message: str) -> str:
    return message


def _seconds(nodes: Nodes, rounds: int) -> float:
    def make() -> None:
        try:
            Graph(name="large", model="m", nodes=nodes, output=list(nodes)[-1:])
        except DefinitionError as error:
            assert len(error.problems) >= len(nodes) - 1  # noqa: PT017  the misspelt ones

    make()
    return median([cpu(make) for _ in range(rounds)])


def _order_alone(nodes: Nodes, rounds: int) -> float:
    def order() -> None:
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(nodes)
        graph.add_edges_from(
            (source, node_id) for node_id in nodes for source in nodes[node_id].needs
        )
        declared = {node_id: index for index, node_id in enumerate(nodes)}
        list(nx.lexicographical_topological_sort(graph, key=declared.__getitem__))

    return median([cpu(order) for _ in range(rounds)])


def _loads() -> tuple[int, int]:
    """The modules of the first load in a process, with those that it imports, and of the second."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "two.yaml"
        file.write_text(_TWO_NODES)
        code = _LOADS.format(file=str(file))
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
    first, again = map(int, done.stdout.split())
    return first, again


async def _turn() -> Crossing:
    """The way of the second turn of a session, in this thread."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "two.yaml"
        file.write_text(_TWO_NODES)
        runner = Runner(Graph.load(file), store=TinyDBStore(Path(folder) / "store"))
        await runner.arun("one", session_id="s")
        with crossing() as turn:
            await runner.arun("two", session_id="s")
    return turn
