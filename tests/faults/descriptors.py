"""A process with few descriptors uses many more sessions than it can have open."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import tempfile
from contextlib import suppress
from pathlib import Path

from teamgraph import Change, Record, SessionKey, Turn
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import StoreError

from .judge import Counts, Open, at_peace
from .process import Child
from .said import Tell

SESSIONS = 120
BESIDE, TAKEN = 200, 176
"""Descriptors that the process may have more, and how many of them others take in the midst."""


def descriptors(open_store: Open, trials: int, seed: int) -> Counts:
    """A turn of each session, twice, some of them at once: none fails, all are there."""
    counts = Counts()
    for trial in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            child = Child(lambda tell, p=place, at=trial + seed: _use(open_store, p, at, tell))
            told = [json.loads(line) for line in child.end()]
            for verb, what in told:
                if verb == "error":
                    counts.note(what, "unreadable")
            kept = {what for verb, what in told if verb == "done"}
            counts.trials += 1
            counts.acknowledged += len(kept)
            at_peace(lambda p=place, k=kept: _look(open_store, p, k, counts))
    return counts


def _use(open_store: Open, place: Path, seed: int, tell: Tell) -> None:
    probe = os.dup(0)  # the lowest that is free: the next ones are above it
    os.close(probe)
    limit = probe + BESIDE
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    async def run() -> None:
        store = open_store(place, DISK)

        async def turn(number: int, run_id: str) -> None:
            try:
                key = SessionKey("ann", f"s{number}")
                lease = await store.begin(key, Turn(run_id, "x"))
                await store.put(lease, [Record("a", "done", output=number)])
                await store.finish(lease, Turn(run_id, "x", status="done"), Change())
                tell(json.dumps(["done", f"s{number} {run_id}"]) + "\n")
            except StoreError as error:
                tell(json.dumps(["error", str(error)]) + "\n")

        together = 1 + seed % 4
        for run_id in ("one", "two"):
            for first in range(0, SESSIONS, together):
                if run_id == "one" and SESSIONS // 2 <= first < SESSIONS // 2 + together:
                    _take(TAKEN)
                numbers = range(first, min(first + together, SESSIONS))
                await asyncio.gather(*(turn(number, run_id) for number in numbers))
        await store.close()

    asyncio.run(run())


def _take(number: int) -> None:
    """What the rest of the process opens: connections, say; as many as it gets."""
    for _ in range(number):
        with suppress(OSError):
            os.dup(0)


async def _look(open_store: Open, place: Path, kept: set[str], counts: Counts) -> None:
    store = open_store(place, DISK)
    for number in range(SESSIONS):
        turns = await store.turns(SessionKey("ann", f"s{number}"))
        there = {f"s{number} {turn.run_id}" for turn in turns}
        needed = {each for each in kept if each.startswith(f"s{number} ")}
        if needed - there:
            counts.note(f"{needed - there}", "lost")
    await store.close()
