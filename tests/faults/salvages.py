"""A damaged session is salvaged while a process goes on to write to it."""

from __future__ import annotations

import asyncio
import random
import tempfile
import threading
from pathlib import Path

from teamgraph import Change, Record, Store, Turn
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.engine.stores.tinydb.repair import Salvage, Survey
from teamgraph.errors import StoreError

from .judge import Counts, Open, at_peace
from .said import KEY, word

EARLIER, MEANWHILE, LATER = 4, 5, 2


def salvages(open_store: Open, trials: int, seed: int) -> Counts:
    """What was acknowledged after the salvage was planned, in its midst and later, is there."""
    counts = Counts()
    chosen = random.Random(seed)
    for _ in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            at_peace(lambda p=place: _try(open_store(p, DISK), open_store, p, chosen, counts))
            counts.trials += 1
            for path in (survey := Survey(place)).journals:
                for finding in survey.read(path).findings:
                    counts.note(finding.message, "unreadable")
    return counts


async def _try(
    store: Store, open_store: Open, place: Path, chosen: random.Random, counts: Counts
) -> None:
    for number in range(EARLIER):
        await _turn(store, f"early.{number}")
    journal = _damage(place, word(f"early.{chosen.randrange(1, EARLIER)}"))
    salvage = getattr(store, "salvage", Salvage).read(journal)
    kept = [f"planned.{number}" for number in range(chosen.randrange(3))]
    for run_id in kept:
        await _turn(store, run_id)
    writing = threading.Thread(target=lambda: asyncio.run(_write_on(open_store, place, kept)))
    writing.start()
    salvage.write()
    writing.join()
    for number in range(LATER):
        await _turn(store, f"late.{number}")
        kept.append(f"late.{number}")
    there = {turn.run_id for turn in await store.turns(KEY)}
    await store.close()
    counts.acknowledged += len(kept)
    for run_id in set(kept) - there:
        counts.note(f"turn {run_id} of {kept}", "lost")


async def _write_on(open_store: Open, place: Path, kept: list[str]) -> None:
    """Turns of another store that was not open before; it may refuse a damaged session."""
    store = open_store(place, DISK)
    for number in range(MEANWHILE):
        try:
            await _turn(store, f"meanwhile.{number}")
        except StoreError:
            continue
        kept.append(f"meanwhile.{number}")
    await store.close()


async def _turn(store: Store, run_id: str) -> None:
    lease = await store.begin(KEY, Turn(run_id, word(run_id)))
    await store.put(lease, [Record("a", "done", output=run_id)])
    await store.finish(lease, Turn(run_id, word(run_id), status="done", answer="x"), Change())


def _damage(place: Path, text: str) -> Path:
    (journal,) = place.rglob("*.jsonl")
    data = journal.read_bytes()
    at = data.index(text.encode()) + 1
    with journal.open("r+b") as file:
        file.seek(at)
        file.write(b"#")
    return journal
