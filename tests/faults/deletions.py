"""A run, its session or its user is deleted while a resume of the run waits for the session."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from teamgraph import Change, Record, Store, Turn
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import Conflict, NotFound

from .judge import Counts, Open, at_peace
from .said import KEY, word

DELETIONS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "run": lambda store: store.delete_run(KEY, "old"),
    "session": lambda store: store.delete_session(KEY),
    "user": lambda store: store.delete_user(KEY.user_id),
}
MOMENTS = 40
"""Steps of the event loop before the deletion, and before the session is given back."""


def deletions(open_store: Open, trials: int, seed: int) -> Counts:
    """Each deletion, by the store that waits or by another one, at any moments of the resume."""
    counts = Counts()
    chosen = random.Random(seed)
    table = list(product(DELETIONS, (False, True)))
    for trial in range(trials):
        case = Case(
            *table[trial % len(table)], chosen.randrange(MOMENTS), chosen.randrange(MOMENTS)
        )
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            at_peace(lambda p=place, c=case: _try(open_store, p, c, counts))
            counts.trials += 1
            texts = [path.read_bytes() for path in place.rglob("*") if path.is_file()]
            if any(word("old").encode() in text for text in texts):
                counts.note(f"{case}: the deleted words are there", "wrong")
    return counts


@dataclass(frozen=True)
class Case:
    """What is deleted, whether by another store, and so many steps before and after that."""

    what: str
    is_other: bool
    before: int
    after: int


async def _try(open_store: Open, place: Path, case: Case, counts: Counts) -> None:
    store = open_store(place, DISK)
    deleting = open_store(place, DISK) if case.is_other else store
    old = Turn("old", word("old"))
    lease = await store.begin(KEY, old)
    await store.put(lease, [Record("a", "done", output=word("old"))])
    await store.release(lease)
    holder = await deleting.begin(KEY, Turn("holder", "x"))
    resume = asyncio.create_task(_resume(store, old, counts))
    await _let_run(case.before)
    await DELETIONS[case.what](deleting)
    counts.acknowledged += 1
    await _let_run(case.after)
    with suppress(Conflict):  # its session was deleted
        await deleting.finish(holder, Turn("holder", "x", status="done"), Change())
    await resume
    if await store.run(KEY, "old") is not None:
        counts.note(f"{case}: the run is back", "wrong")
    await store.close()
    await deleting.close()


async def _resume(store: Store, turn: Turn, counts: Counts) -> None:
    try:
        lease = await store.begin(KEY, turn, is_stored=True)
    except NotFound:
        return
    counts.note("the deleted run was begun", "again")
    await store.put(lease, [Record("b", "done", output=word("old"))])
    await store.release(lease)


async def _let_run(steps: int) -> None:
    for _ in range(steps):
        await asyncio.sleep(0)
