"""Many sessions at once while the model fails: no word of one may ever be seen in another."""

from __future__ import annotations

import asyncio
import json
import random
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

from engine import Chunk, Graph, ModelError, NodeStarted, Reply, Request, Runner, Usage
from engine.errors import RunError
from engine.session import SessionKey
from engine.stores import Store
from engine.stores.disk import DISK
from nodes import HistoryLoader, Member, Router, Summarizer

from .judge import Counts, Open, at_peace

TURNS, AT_ONCE, FAULTS = 10, 100, 0.3
_NONCE = re.compile(r"nonce-(\d+)-(\d+)")


class Faulty:
    """A model that says the last nonce it was sent, and fails three times in ten."""

    def __init__(self, seed: int) -> None:
        self._chosen = random.Random(seed)

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        await asyncio.sleep(0)
        if self._chosen.random() < FAULTS:
            raise ModelError("the provider is busy", model="faulty", retryable=True)
        said = [found for message in request.messages for found in _NONCE.findall(message.content)]
        text = "I heard nonce-{}-{}.".format(*said[-1]) if said else "I heard nothing."
        if request.choices:
            text = json.dumps({"reason": text, "choice": "left"})
        elif request.schema:
            text = json.dumps({"summary": text, "topics": []})
        yield Chunk(text)
        yield Reply(text, usage=Usage(calls=1))


@cache
def team() -> Graph:
    """History, router, two members, a summary; each node tries once more."""
    return Graph(
        name="nonces",
        model="faulty",
        retry={"times": 1, "wait": 0.001, "max_wait": 0.001},
        nodes={
            "history": HistoryLoader(runs=3),
            "router": Router(routes={"left": "Anything", "right": "Nothing"}),
            "left": Member(role="You repeat"),
            "right": Member(role="You repeat"),
            "summary": Summarizer(needs=["left", "right"]),
        },
        output=["left", "right"],
    )


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
    runner = Runner(team(), store=store, model=Faulty(seed))
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
        everything = json.dumps(
            [asdict(run.turn), [asdict(r) for r in run.records.values()]], default=str
        )
        said = {(int(session), int(when)) for session, when in _NONCE.findall(everything)}
        if any(session != number or when > at for session, when in said):
            counts.note(f"session {number}, turn {at}: {sorted(said)}", "wrong")
        if turn.answer != f"I heard nonce-{number}-{at}.":
            counts.note(f"session {number}, turn {at}: {turn.answer}", "wrong")
    head = await store.head(key)
    if head is None or str(head.summary).count(f"nonce-{number}-") != len(
        _NONCE.findall(str(head.summary))
    ):
        counts.note(f"session {number}: {head and head.summary}", "wrong")
