"""A team's turn over 1, 2 and 3 workers, with a model that takes 50 ms: turns a second, and CPU.

`python -m tests.benchmarks.distributed [TURNS]`. The CPU of PostgreSQL is that of its processes,
which end with their connections, so it is read before these are closed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from time import monotonic

from teamgraph import Chunk, Graph, PostgresStore, Reply, Request, Runner
from teamgraph.dispatch import DBOSDispatcher, Submission
from teamgraph.nodes import HistoryLoader, Leader, Member
from tests.faults.distributed import fleet_of
from tests.postgres import Server, postgres

GRAPH = """\
name: team
model: echo
nodes:
  history: {kind: history-loader, runs: 3}
  a: {kind: python, call: "slow:work"}
  b: {kind: python, call: "slow:work"}
  last: {role: Say, needs: [a, b]}
output: [last]
"""
_TICKS = os.sysconf("SC_CLK_TCK")
SESSIONS = 64


class Slow:
    """A model that answers after 50 ms."""

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        del request
        await asyncio.sleep(0.05)
        yield Reply("done", model="slow")


def cpu_of(processes: Iterable[int]) -> float:
    """The CPU seconds of processes so far, with those of children that have ended."""
    total = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


def backends(server: Server) -> list[int]:
    """The processes of a server."""
    first = server.process.pid
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    return [first, *map(int, children)]


async def over(workers: int, turns: int) -> None:
    """Print a row for so many workers."""
    async with fleet_of(workers, 0.05, fsync=True, graph=GRAPH) as (fleet, dispatcher):
        await _run(dispatcher, SESSIONS, "warm")
        processes = [each.pid for each in fleet.ready()]
        before = cpu_of(processes), cpu_of(backends(fleet.server))
        began = monotonic()
        await _run(dispatcher, turns, "r")
        seconds = monotonic() - began
        ours = cpu_of(processes) - before[0]
        theirs = cpu_of(backends(fleet.server)) - before[1]
        print(
            f"{workers} workers: {turns / seconds:6.1f} turns/s; CPU a turn: "
            f"workers {1000 * ours / turns:5.1f} ms, PostgreSQL {1000 * theirs / turns:5.1f} ms",
            flush=True,
        )


async def alone(turns: int) -> None:
    """Print what the same turns cost in one process on PostgreSQL, without a queue."""
    with postgres(fsync=True) as server:
        store = PostgresStore(server.dsn)
        nodes = {
            "history": HistoryLoader(runs=3),
            "a": Member(role="Say"),
            "b": Member(role="Say"),
            "last": Leader(role="Say", needs=["a", "b"]),
        }
        graph = Graph(name="team", model="m", nodes=nodes, output=["last"])
        runner = Runner(graph, store=store, model=Slow())
        await asyncio.gather(*(runner.arun("m", session_id=f"w{n}") for n in range(8)))
        before = cpu_of([os.getpid()]), cpu_of(backends(server))
        began = monotonic()
        for first in range(0, turns, 8):
            numbers = range(first, min(turns, first + 8))
            await asyncio.gather(
                *(runner.arun("m", session_id=f"s{n % SESSIONS}") for n in numbers)
            )
        seconds = monotonic() - began
        ours, theirs = cpu_of([os.getpid()]) - before[0], cpu_of(backends(server)) - before[1]
        print(
            f"in one process: {turns / seconds:6.1f} turns/s; CPU a turn: "
            f"ours {1000 * ours / turns:5.1f} ms, PostgreSQL {1000 * theirs / turns:5.1f} ms",
            flush=True,
        )
        await store.close()


async def _run(dispatcher: DBOSDispatcher, turns: int, name: str) -> None:
    runs = [
        await dispatcher.submit(
            Submission(
                graph="team", message="m", run_id=f"{name}{n}", session_id=f"s{n % SESSIONS}"
            )
        )
        for n in range(turns)
    ]
    for run in runs:
        await dispatcher.result(run)


def main(turns: int) -> None:
    """Print the table."""
    asyncio.run(alone(turns))
    for workers in (1, 2, 3):
        asyncio.run(over(workers, turns))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
