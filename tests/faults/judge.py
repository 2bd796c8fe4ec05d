"""What is found in a store after a fault, against what it had acknowledged."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from teamgraph import Change, Record, Store, Turn
from teamgraph.engine.stores.journal.disk import DISK, Disk
from teamgraph.errors import StoreError

from .said import KEY, Said, word

Open: TypeAlias = Callable[[Path, Disk], Store]


@dataclass
class Counts:
    """What a fault did, over all trials. All but the first two must be nothing."""

    trials: int = 0
    acknowledged: int = 0
    lost: int = 0
    unreadable: int = 0
    again: int = 0
    wrong: int = 0
    notes: list[str] = field(default_factory=list[str])

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.unreadable or self.again or self.wrong)

    def __str__(self) -> str:
        return (
            f"{self.trials:6} trials, {self.acknowledged:6} acknowledged: {self.lost} lost, "
            f"{self.unreadable} unreadable, {self.again} run again, {self.wrong} wrong"
        )

    def note(self, what: str, count: str) -> None:
        """Count one thing that must not be; the first few are told in words."""
        setattr(self, count, getattr(self, count) + 1)
        if len(self.notes) < 5:
            self.notes.append(f"{count}: {what}")


def judge(open_store: Open, place: Path, said: Said, counts: Counts) -> None:
    """Open a store anew and count what is not as it was acknowledged."""
    counts.trials += 1
    counts.acknowledged += said.acknowledged
    for error in said.errors:
        counts.note(error, "unreadable")

    async def look() -> None:
        store = open_store(place, DISK)
        try:
            await _judge(store, said, counts)
        except StoreError as error:
            counts.note(f"{type(error).__name__}: {error}", "unreadable")
        finally:
            await store.close()

    at_peace(look)
    _find_deleted(place, said, counts)


def at_peace(look: Callable[[], Awaitable[None]]) -> None:
    """Run it; that a torn tail is cut is no news here."""

    async def run() -> None:
        await look()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(run())


async def _judge(store: Store, said: Said, counts: Counts) -> None:
    listed = [info.key for info in await store.sessions(KEY.user_id)]
    if said.done and KEY not in listed:
        counts.note("the session in the list", "lost")
    lease = await store.begin(KEY, Turn("probe", "x"), policy="reject")
    await store.put(lease, [Record("n", "done", output="x")])
    await store.finish(lease, Turn("probe", "x", status="failed"), Change())
    for run_id, node in said.kept:
        if run_id in said.deleting:
            continue
        run = await store.run(KEY, run_id)
        if run is None or node not in run.records:
            counts.note(f"run {run_id}, node {node}", "lost")
        elif run.records[node].output not in said.may_be(run_id, node):
            is_old = run.records[node].output in said.tried[run_id, node]
            counts.note(f"run {run_id}, node {node}: not as put", "lost" if is_old else "wrong")
    await _judge_turns(store, said, counts)
    await _judge_state(store, said, counts)


async def _judge_turns(store: Store, said: Said, counts: Counts) -> None:
    turns = {turn.run_id: turn for turn in await store.turns(KEY)}
    for run_id, number in said.done.items():
        turn = turns.get(run_id)
        if turn is None and run_id not in said.deleting:
            counts.note(f"turn {run_id}", "lost")
        elif turn is not None and (turn.number, turn.answer) != (number, word(run_id) * 2):
            counts.note(f"turn {run_id}: {turn}", "wrong")
    for _ in range(len(said.done) - len(set(said.done.values()))):
        counts.note("two turns of one number", "wrong")
    for run_id in turns.keys() - said.finishing:
        counts.note(f"turn {run_id} was never finished", "wrong")
    for run_id in said.deleted & turns.keys():
        counts.note(f"turn {run_id} was deleted", "wrong")


async def _judge_state(store: Store, said: Said, counts: Counts) -> None:
    head = await store.head(KEY)
    state = {} if head is None else head.state
    for run_id in said.done.keys() - state.keys():
        counts.note(f"the state of {run_id}", "lost")
    if said.done and state.get("last") not in said.finishing:
        counts.note(f"the state says {state.get('last')} was last", "wrong")


def _find_deleted(place: Path, said: Said, counts: Counts) -> None:
    """Not a byte of what was deleted is on the disk, if the session was written since."""
    kept = [path.read_bytes() for path in place.rglob("*") if path.is_file()]
    for run_id in said.deleted:
        if any(word(run_id).encode() in data for data in kept):
            counts.note(f"words of {run_id}, which was deleted", "wrong")
