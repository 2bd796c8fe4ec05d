"""A session is created with many runs, by a process that is killed before each of its changes."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

from teamgraph import Change, Record, Store, Turn
from teamgraph.engine.session.store import FinishedRun
from teamgraph.engine.stores.journal.disk import DISK, Disk
from teamgraph.engine.stores.tinydb.repair import Survey

from .disks import CHANGES
from .judge import Counts, Open, at_peace
from .process import Child
from .said import KEY, Tell

RUNS = 12


class Killing(Disk):
    """Kills the process before the call number `at` of those that change something."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401  it stands before any method
        if name in CHANGES or name in ("sync", "sync_directory"):
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)


def imports(open_store: Open, trials: int, seed: int) -> Counts:
    """After a kill at each change, all runs of the session are there or none."""
    counts = Counts()
    for trial in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            at = trial if trials > 60 else (7 * trial + seed) % 64
            child = Child(lambda tell, p=place, at=at: _create(open_store(p, Killing(at)), tell))
            lines = child.end()
            at_peace(lambda p=place, li=lines: _look(open_store(p, DISK), p, li, counts))
            counts.trials += 1
        if lines:
            counts.acknowledged += RUNS
            if trials > 60:
                break  # there are no more calls
    return counts


def _create(store: Store, tell: Tell) -> None:
    runs: list[FinishedRun] = []
    for number in range(RUNS):
        turn = Turn(f"r{number}", "x", status="done", answer="y")
        runs.append(FinishedRun(turn, [Record("n", "done", output=number)], Change({"n": number})))
    asyncio.run(store.create(KEY, runs))
    tell("created\n")


async def _look(store: Store, place: Path, lines: list[str], counts: Counts) -> None:
    turns = await store.turns(KEY)
    if len(turns) != RUNS and (turns or lines):
        counts.note(f"{len(turns)} turns of {RUNS}, acknowledged: {bool(lines)}", "lost")
    if not turns:
        lease = await store.begin(KEY, Turn("again", "x"), policy="reject")
        await store.release(lease)
    await store.close()
    survey = Survey(place)
    for path in survey.journals:
        for finding in survey.read(path).findings:
            counts.note(finding.message, "wrong")
