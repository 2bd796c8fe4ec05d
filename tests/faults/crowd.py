"""Many at once on one session: threads, tasks and processes."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import threading
from pathlib import Path

from teamgraph import Store
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import StoreError

from .judge import Counts, Open, at_peace, judge
from .process import Child, ends
from .said import Said, Tell, stream

THREADS, TASKS, PROCESSES = 8, 50, 4


def crowd(open_store: Open, trials: int, seed: int) -> Counts:
    """Let each of them have its turns on the session; every run and every key must be kept."""
    turns = max(1, trials // (THREADS + TASKS + PROCESSES))
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        place, said = Path(folder), Said()
        children = [
            Child(lambda tell, n=f"p{number}": _alone(open_store, place, tell, n, turns))
            for number in range(PROCESSES)
        ]
        for lines in ends(children):
            said.take(lines)
        told = _beside_each_other(open_store, place, turns, seed)
        for lines in told:
            said.take(lines)
        judge(open_store, place, said, counts)
        workers = THREADS + TASKS + PROCESSES
        counts.lost += workers * turns - len(said.done)
    counts.trials = workers * turns
    return counts


def _alone(open_store: Open, place: Path, tell: Tell, name: str, turns: int) -> None:
    async def run() -> None:
        store = open_store(place, DISK)
        await stream(store, tell, random.Random(name), name, turns=turns)
        await store.close()

    asyncio.run(run())


def _beside_each_other(open_store: Open, place: Path, turns: int, seed: int) -> list[list[str]]:
    """Threads and tasks on one store object; what each was told."""
    store = open_store(place, DISK)
    told: list[list[str]] = [[] for _ in range(THREADS + TASKS)]

    async def work(number: int) -> None:
        chosen, tell = random.Random(f"{seed} {number}"), told[number].append
        try:
            await stream(store, tell, chosen, f"w{number}", turns=turns)
        except StoreError as error:
            tell(json.dumps(["error", str(error)]))

    async def tasks(store: Store) -> None:
        await asyncio.gather(*(work(THREADS + number) for number in range(TASKS)))
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        await store.close()

    threads = [
        threading.Thread(target=asyncio.run, args=(work(number),)) for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    at_peace(lambda: tasks(store))
    return told
