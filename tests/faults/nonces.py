"""Many sessions at once while the model fails: no word of one may ever be seen in another."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from teamgraph import Runner, SessionKey, Store
from teamgraph.engine.messages import as_plain
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import RunError
from teamgraph.events import NodeStarted

from .judge import Counts, Open, at_peace
from .team import NONCE, Repeating, team

TURNS, AT_ONCE, FAULTS = 10, 100, 0.3


def nonces(open_store: Open, trials: int, seed: int) -> Counts:
    """Tell each session its own words, take up what fails until it is done, and look."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        at_peace(lambda: _all(open_store(Path(folder), DISK), trials // TURNS, seed, counts))
    return counts


def key_of(number: int) -> SessionKey:
    """A session; users have several, and their names are those of others' sessions."""
    return SessionKey(f"s{number // 5}" if number % 7 else None, f"s{number}")


async def _all(store: Store, sessions: int, seed: int, counts: Counts) -> None:
    runner = Runner(team(), store=store, model=Repeating(faults=FAULTS, seed=seed))
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with at_once:
            for turn in range(TURNS):
                await _tell(runner, number, turn, counts)
                counts.trials += 1

    await asyncio.gather(*(one(number) for number in range(sessions)))
    for number in range(sessions):
        await _look(store, number, counts)
    await store.close()


async def _tell(runner: Runner, number: int, turn: int, counts: Counts) -> None:
    """One turn, taken up where it failed until it is done."""
    user_id, session_id = key_of(number)
    run_id = f"r{number}-{turn}"
    text = f"Say nonce-{number}-{turn}, please."
    try:
        await runner.arun(text, user_id=user_id, session_id=session_id, run_id=run_id)
    except RunError as error:
        failed = error
    else:
        return
    while True:
        kept = {node for node, record in failed.run.records.items() if record.is_final}
        counts.acknowledged += len(kept)
        try:
            async for event in runner.aresume_stream(
                run_id, user_id=user_id, session_id=session_id
            ):
                if isinstance(event, NodeStarted) and event.node in kept:
                    counts.note(f"run {run_id}, node {event.node}", "again")
        except RunError as error:
            failed = error
        else:
            return


async def _look(store: Store, number: int, counts: Counts) -> None:
    key = key_of(number)
    turns = await store.turns(key)
    counts.acknowledged += TURNS
    if len(turns) != TURNS:
        counts.note(f"session {number} has {len(turns)} turns", "lost")
    for at, turn in enumerate(turns):
        run = await store.run(key, turn.run_id)
        assert run is not None
        records = [as_plain(record) for record in run.records.values()]
        everything = json.dumps([as_plain(run.turn), records])
        said = {(int(session), int(when)) for session, when in NONCE.findall(everything)}
        if any(session != number or when > at for session, when in said):
            counts.note(f"session {number}, turn {at}: {sorted(said)}", "wrong")
        if turn.answer != f"I heard nonce-{number}-{at}.":
            counts.note(f"session {number}, turn {at}: {turn.answer}", "wrong")
    head = await store.head(key)
    told = NONCE.findall(str(head and head.summary))
    if not told or {int(session) for session, _ in told} != {number}:
        counts.note(f"session {number}: {head and head.summary}", "wrong")
