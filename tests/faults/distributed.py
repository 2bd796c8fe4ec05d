"""Workers over PostgreSQL are killed, suspended and cut off from their database amid turns.

`python -m tests.faults distributed` takes some minutes. Every turn has to end, each node that was
acknowledged is run once, the turns of a session run in their order, and no two at a time.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg

from teamgraph import SessionKey, TinyDBStore
from teamgraph.dispatch import DBOSDispatcher, Submission
from teamgraph.errors import NotFound, StoreError, TeamgraphError
from teamgraph.events import NodeFinished, RunFinished
from tests.engine.dispatch import every_place
from tests.postgres import Server, postgres
from tests.workers import forked_workers

from .judge import Counts, Open
from .team import SLOW_TEAM

ROOT = Path(__file__).parents[2]
POISON = """\
name: poison
model: echo
nodes:
  end: {kind: python, call: "slow:end", when: "'poison' in input.message"}
  last: {role: Say, needs: [end], join: always}
output: [last]
"""
SLOW = """\
import asyncio, json, os, time


async def work(context) -> str:
    with open("executions", "a") as log:
        log.write(json.dumps([context.run_id, context.node_id, time.time()]) + "\\n")
    await asyncio.sleep(float(os.environ["NODE_SECONDS"]))
    return "done"


def end() -> str:
    os._exit(1)
"""


class Fleet:
    """Some workers, each of them started again when it has ended."""

    def __init__(self, place: Path, server: Server, seconds: float, graph: str) -> None:
        self.place = place
        self.server = server
        self._environment = {
            **{key: text for key, text in os.environ.items() if "COVERAGE" not in key},
            "NODE_SECONDS": str(seconds),
        }
        self._workers: dict[subprocess.Popen[bytes], Path] = {}
        self._number = 0
        (place / "team.yaml").write_text(graph)
        (place / "poison.yaml").write_text(POISON)
        (place / "slow.py").write_text(SLOW)

    def start(self) -> None:
        """Start one more worker."""
        log = self.place / f"worker{self._number}.log"
        self._number += 1
        words = ["team.yaml", "poison.yaml", "--allow", "slow", "--grace", "5"]
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "teamgraph", "worker", *words, "--dsn", self.server.dsn],
                cwd=self.place, env=self._environment, stderr=stderr,
            )  # fmt: skip
        self._workers[process] = log

    def replace_dead(self) -> None:
        """Start a worker for each that has ended."""
        for process in [each for each in self._workers if each.poll() is not None]:
            del self._workers[process]
            self.start()

    def ready(self) -> list[subprocess.Popen[bytes]]:
        """The workers that take turns."""
        return [
            process
            for process, log in self._workers.items()
            if process.poll() is None and b'"ready"' in log.read_bytes()
        ]

    def said(self, event: str) -> int:
        """How often any worker said so."""
        return sum(
            json.loads(line)["event"] == event
            for log in self.place.glob("worker*.log")
            for line in log.read_text().splitlines()
            if line.startswith('{"time"') and line.endswith("}")
        )

    def stop(self) -> list[int]:
        """Stop all of them with SIGTERM; their exit codes."""
        for process in self._workers:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        return [process.wait(60) for process in self._workers]


@asynccontextmanager
async def fleet_of(
    workers: int, seconds: float, *, fsync: bool, graph: str = SLOW_TEAM
) -> AsyncIterator[tuple[Fleet, DBOSDispatcher]]:
    """A database, some workers on it, and a dispatcher, once a turn was run."""
    with tempfile.TemporaryDirectory() as folder, postgres(fsync=fsync) as server:
        fleet = Fleet(Path(folder), server, seconds, graph)
        for _ in range(workers):
            fleet.start()
        dispatcher = DBOSDispatcher(server.dsn, connections=16)
        try:
            while len(fleet.ready()) < workers:
                await asyncio.sleep(0.1)
            yield fleet, dispatcher
        finally:
            fleet.stop()
            await dispatcher.close()


def distributed(open_store: Open, trials: int, seed: int) -> Counts:
    """`trials` turns over 20 sessions and 3 workers that are killed; with 300, all the rest too."""
    del open_store
    counts, is_long = Counts(), trials >= 300
    _equal(counts)
    asyncio.run(_kills(trials, seed, counts, is_long=is_long))
    if is_long:
        asyncio.run(_suspended(counts))
        asyncio.run(_without_database(counts))
        asyncio.run(_poison(counts))
        asyncio.run(_same_id(counts))
        asyncio.run(_cancelled(counts))
    return counts


def _equal(counts: Counts) -> None:
    """Three workers store what one process stores."""
    with tempfile.TemporaryDirectory() as folder, postgres() as server:
        alone = asyncio.run(every_place.in_process(TinyDBStore(folder)))
        with forked_workers() as workers:
            workers.start(server.dsn, every_place.__name__, 3, concurrency=1)
            together = asyncio.run(_together(server.dsn))
        with psycopg.connect(server.dsn) as connection:
            ran = connection.execute(
                "SELECT DISTINCT executor_id FROM teamgraph_dbos.workflow_status"
            ).fetchall()
        counts.trials += len(alone[0])
        if len(ran) < 2:
            counts.note(f"all turns of {len(alone[0])} sessions were run by one worker", "wrong")
        if together != alone:
            counts.note("the exports of three workers are not those of one process", "wrong")
        print(f"    equal exports: turns of {len(alone[0])} sessions by {len(ran)} of 3 workers")


async def _together(dsn: str) -> list[Any]:
    dispatcher = DBOSDispatcher(dsn)
    stored = await every_place.talk(dispatcher, dispatcher.store)
    await dispatcher.close()
    return stored


async def _kills(turns: int, seed: int, counts: Counts, *, is_long: bool) -> None:
    chosen, kills = random.Random(seed), 0
    sessions, wanted = (20, 20) if is_long else (4, 2)
    workers, seconds, every = (3, 0.6, 2.0) if is_long else (2, 0.3, 1.5)
    async with fleet_of(workers, seconds, fsync=is_long) as (fleet, dispatcher):
        runs = await _submit(dispatcher, turns, sessions)
        results = asyncio.gather(*(_patient(dispatcher, run) for run in runs))
        while not results.done() or kills < wanted:
            await asyncio.wait([results], timeout=every)
            ready = fleet.ready()
            if len(ready) > 1 or (ready and is_long):
                chosen.choice(ready).kill()
                kills += 1
                if results.done():
                    runs += await _submit(dispatcher, sessions, sessions, first=len(runs))
                    results = asyncio.gather(*(_patient(dispatcher, run) for run in runs))
            await asyncio.sleep(0.05)
            fleet.replace_dead()
        await results
        acknowledged = await _judge(dispatcher, runs, counts)
        many = _judge_executions(fleet.place, acknowledged, counts)
        print(
            f"    {len(runs)} turns, {kills} kills, {fleet.said('rescued')} rescues, "
            f"{many} executions of {3 * len(runs)} functions"
        )


async def _suspended(counts: Counts) -> None:
    """SIGSTOP a worker until the others take it for dead, then SIGCONT."""
    async with fleet_of(2, 1.0, fsync=False) as (fleet, dispatcher):
        runs = await _submit(dispatcher, 12, 12)
        await asyncio.sleep(1.5)
        process = fleet.ready()[0]
        process.send_signal(signal.SIGSTOP)
        while not fleet.said("rescued"):
            await asyncio.sleep(0.2)
        process.send_signal(signal.SIGCONT)
        await asyncio.gather(*(dispatcher.result(run.reference) for run in runs))
        began = monotonic()
        while not fleet.said("fenced") and monotonic() - began < 20:
            await asyncio.sleep(0.2)
        if not fleet.said("fenced"):
            counts.note("nothing was refused after SIGCONT", "wrong")
        await _judge(dispatcher, runs, counts)
        print(f"    suspended: {fleet.said('fenced')} turns refused by the fence")


async def _without_database(counts: Counts) -> None:
    """The database restarts at once in mid-run, then is away for ten seconds."""
    async with fleet_of(2, 0.5, fsync=True) as (fleet, dispatcher):
        runs = await _submit(dispatcher, 40, 10)
        for away in (0.0, 10.0):
            await asyncio.sleep(2)
            fleet.server.kill()
            await asyncio.sleep(away)
            await asyncio.to_thread(fleet.server.start)
        for run in runs:
            await _patient(dispatcher, run)
        await _judge(dispatcher, runs, counts)
        print(f"    database away: {fleet.said('store_error')} turns waited for it")


async def _poison(counts: Counts) -> None:
    """A node ends its process: a dead letter after five, and the session's next turn runs.

    Others that are begun with it, and have no node done when it ends, are no dead letters.
    """
    async with fleet_of(2, 1.0, fsync=False) as (fleet, dispatcher):
        first, second = [
            Submission(graph="poison", message=text, run_id=text, session_id="s")
            for text in ("poison", "next")
        ]
        for turn in (first, second):
            await dispatcher.submit(turn)
        beside = await _submit(dispatcher, 6, 6)
        runs = (second, *beside)
        ended = asyncio.gather(*(dispatcher.result(run.reference) for run in runs))
        while not ended.done():
            fleet.replace_dead()
            await asyncio.wait([ended], timeout=0.2)
        dead = await dispatcher.result(first.reference)
        if (dead.status, ended.result()[0].status) != ("failed", "done"):
            counts.note(f"poison {dead.status}, next {ended.result()[0].status}", "wrong")
        counts.trials += 2
        await _judge(dispatcher, beside, counts)
        print(f"    poison: {dead.turn.error}")


async def _same_id(counts: Counts) -> None:
    """Eight processes submit the same run."""
    program = (
        "import asyncio, sys\nfrom teamgraph.dispatch import DBOSDispatcher, Submission\n"
        "async def main():\n    d = DBOSDispatcher(sys.argv[1], connections=1)\n"
        "    run = await d.submit(Submission(graph='team', message='m', run_id='one'))\n"
        "    print((await d.result(run)).answer)\n    await d.close()\nasyncio.run(main())\n"
    )
    async with fleet_of(2, 0.1, fsync=False) as (fleet, dispatcher):
        many = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, fleet.server.dsn, stdout=subprocess.PIPE, cwd=ROOT
            )
            for _ in range(8)
        ]
        answers = {(await each.communicate())[0] for each in many}
        run = Submission(graph="team", message="m", run_id="one")
        await _judge(dispatcher, [run], counts)
        if answers != {b"echo: m\n"}:
            counts.note(f"eight processes were told {answers}", "wrong")


async def _cancelled(counts: Counts) -> None:
    """Cancel turns while they wait and while they run."""
    async with fleet_of(1, 1.0, fsync=False) as (_, dispatcher):
        runs = await _submit(dispatcher, 2, 1)
        while await dispatcher.status(runs[0].reference) != "running":
            await asyncio.sleep(0.05)
        for run in reversed(runs):
            await dispatcher.cancel(run.reference)
        found = [(await dispatcher.result(run.reference)).status for run in runs]
        after = (await _submit(dispatcher, 1, 1, first=2))[0]
        found.append((await dispatcher.result(after.reference)).status)
        if found != ["cancelled", "cancelled", "done"]:
            counts.note(f"cancelled runs and the next are {found}", "wrong")
        counts.trials += 3


async def _submit(
    dispatcher: DBOSDispatcher, turns: int, sessions: int, first: int = 0
) -> list[Submission]:
    runs = [
        Submission(
            graph="team",
            message=f"m{n}",
            run_id=f"r{n}",
            session_id=f"s{n % sessions}",
            user_id="u",
        )
        for n in range(first, first + turns)
    ]
    for run in runs:
        await dispatcher.submit(run)
    return runs


async def _patient(dispatcher: DBOSDispatcher, run: Submission) -> None:
    """Wait for a run, while the database comes and goes."""
    while True:
        try:
            await dispatcher.result(run.reference)
        except StoreError:
            await asyncio.sleep(0.5)
        else:
            return


async def _judge(
    dispatcher: DBOSDispatcher, runs: list[Submission], counts: Counts
) -> dict[tuple[str, str], float]:
    """Count what was lost, run again, out of order or at the same time.

    Returns when each node was acknowledged, by run and node.
    """
    acknowledged: dict[tuple[str, str], float] = {}
    starts: dict[str, float] = {}
    for run in runs:
        counts.trials += 1
        ends: Counter[str] = Counter()
        last: Any = None
        try:
            async for event in dispatcher.events(run.reference):
                last = event
                starts.setdefault(run.run_id, event.time)
                if isinstance(event, NodeFinished):
                    acknowledged.setdefault((run.run_id, event.node or ""), event.time)
                    ends[event.node or ""] += not event.replayed
        except (NotFound, TeamgraphError) as error:
            counts.note(f"{run.run_id}: {error}", "unreadable")
            continue
        counts.acknowledged += len(ends)
        if not isinstance(last, RunFinished):
            why = getattr(last, "error", "")
            counts.note(f"{run.run_id} ended with {type(last).__name__}: {why}", "lost")
        for node, times in ends.items():
            if times > 1:
                counts.note(f"{run.run_id}: {node} ended {times} times", "again")
    await _judge_order(dispatcher, runs, starts, counts)
    return acknowledged


def _judge_executions(
    place: Path, acknowledged: dict[tuple[str, str], float], counts: Counts
) -> int:
    """Compare the executions of functions with their records; returns how many there were.

    A function that was cut with its worker is executed again; one that was acknowledged is not.
    """
    began: dict[tuple[str, str], list[float]] = {}
    for line in (place / "executions").read_text().splitlines():
        run_id, node, time = json.loads(line)
        began.setdefault((run_id, node), []).append(time)
    for (run_id, node), times in began.items():
        if max(times) > acknowledged.get((run_id, node), inf):
            counts.note(f"{run_id}: {node} was executed after it was acknowledged", "again")
    for run_id, node in acknowledged.keys() - began.keys():
        if node != "last":  # which calls a model
            counts.note(f"{run_id}: {node} has a record, and was never executed", "wrong")
    return sum(map(len, began.values()))


async def _judge_order(
    dispatcher: DBOSDispatcher, runs: list[Submission], starts: dict[str, float], counts: Counts
) -> None:
    for key in {SessionKey(*run.key) for run in runs}:
        turns = await dispatcher.store.turns(key)
        wanted = [run.run_id for run in runs if run.key == key]
        if [turn.run_id for turn in turns] != wanted:
            counts.note(f"{key.session_id}: {[turn.run_id for turn in turns]}", "wrong")
        for before, after in pairwise(turns):
            if starts[after.run_id] < before.ended:
                counts.note(f"{after.run_id} began before {before.run_id} ended", "wrong")
