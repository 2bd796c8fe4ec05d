"""kill -9 at random moments, over a stream of turns, inside compaction too."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from pathlib import Path

from teamgraph.engine.stores.journal.disk import DISK

from .disks import CHANGES, DYING, FailingDisk, Mishap, Places
from .judge import Counts, Open, judge
from .process import Child
from .said import Said, Tell, stream

_ON_ONE_STORE = 8


def kills(open_store: Open, trials: int, seed: int) -> Counts:
    """Kill one process after the other, some on the store that the one before has left."""
    chosen = random.Random(seed)
    counts = Counts()
    while counts.trials < trials:
        with tempfile.TemporaryDirectory() as folder:
            said = Said()
            for _ in range(min(_ON_ONE_STORE, trials - counts.trials)):
                before = said.acknowledged
                place, name = Path(folder), f"k{counts.trials}"
                child = Child(lambda tell, n=name, p=place: _run(open_store, p, n, tell))
                child.wait_for(chosen.randint(0, 20))
                said.take(child.kill(after=chosen.uniform(0, 0.003)))
                judge(open_store, place, said, counts)
                counts.acknowledged -= before  # each is counted once
    return counts


def everywhere(open_store: Open, trials: int, seed: int) -> Counts:
    """Die before, after and in the midst of every write of some turns and a compaction."""
    counts = Counts()
    places = Places(DYING, CHANGES, trials, seed)
    with tempfile.TemporaryDirectory() as folder:

        def one(mishap: Mishap) -> tuple[Path, list[str]]:
            place = Path(folder) / str(mishap)
            place.mkdir()
            return place, Child(lambda tell: _some(open_store, place, mishap, tell)).end()

        for mishap in places.mishaps(int(one(places.none())[1][-1])):
            place, told = one(mishap)
            said = Said()
            said.take(told)
            judge(open_store, place, said, counts)
            shutil.rmtree(place)
    return counts


def _some(open_store: Open, place: Path, mishap: Mishap, tell: Tell) -> None:
    async def run() -> None:
        store = open_store(place, FailingDisk(mishap))
        await stream(store, tell, random.Random(1), "e", turns=7)
        await store.close()

    asyncio.run(run())
    tell(f"{mishap.count}\n")


def _run(open_store: Open, place: Path, name: str, tell: Tell) -> None:
    asyncio.run(stream(open_store(place, DISK), tell, random.Random(name), name))
