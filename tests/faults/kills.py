"""kill -9 at random moments, over a stream of turns, inside compaction too."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

from engine.stores.disk import DISK

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


def _run(open_store: Open, place: Path, name: str, tell: Tell) -> None:
    asyncio.run(stream(open_store(place, DISK), tell, random.Random(name), name))
