"""A process that is suspended in the midst of its turn, and revived after another has taken it."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from pathlib import Path

from teamgraph import Change, Record, Store, Turn
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import Conflict

from .disks import FailingDisk, Mishap
from .judge import Counts, Open, at_peace
from .process import Child
from .said import KEY, Tell

_CALLS = 8
_PATIENCE = 2.0


def suspended(open_store: Open, trials: int, seed: int) -> Counts:
    """Suspend it at every call of a write; what it writes late is refused, or was there in time.

    The stores must give a turn up within a part of a second. In the midst of a write nobody can
    take the turn; so there the writer is revived first.
    """
    del seed
    counts = Counts()
    for trial in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            child = Child(lambda tell, p=place, t=trial: _hold(open_store, p, 5 * t % _CALLS, tell))
            child.wait_for(1)
            child.stopped()
            at_peace(lambda c=child, p=place: take_over(open_store(p, DISK), c))
            child.send(signal.SIGCONT)
            told = [json.loads(line) for line in child.end()]
            at_peace(lambda p=place, t=told: look_after(open_store(p, DISK), t, counts))
    return counts


def _hold(open_store: Open, place: Path, at: int, tell: Tell) -> None:
    """Begin a turn, be suspended in its second write, and go on as if nothing had happened."""

    async def run() -> None:
        mishap = Mishap(-1, "stop")
        store = open_store(place, FailingDisk(mishap))
        lease = await store.begin(KEY, Turn("held", "x"))
        await store.put(lease, [Record("early", "done")])
        tell('["early"]\n')
        mishap.at = mishap.count + at
        for node in ("late", "later"):
            try:
                await store.put(lease, [Record(node, "done")])
                tell(json.dumps(["kept", node]) + "\n")
            except Conflict:
                tell(json.dumps(["refused", node]) + "\n")
        try:
            await store.finish(lease, Turn("held", "x", status="done"), Change({"held": 1}))
            tell('["kept", "finish"]\n')
        except Conflict:
            tell('["refused", "finish"]\n')
        await store.close()

    asyncio.run(run())


async def take_over(store: Store, child: Child) -> None:
    """Take the turn over; a child that nothing can be taken from is revived first."""
    taking = asyncio.create_task(store.begin(KEY, Turn("taker", "x")))
    await asyncio.wait([taking], timeout=_PATIENCE)
    if not taking.done():
        child.send(signal.SIGCONT)
    lease = await taking
    await store.put(lease, [Record("taken", "done")])
    await store.finish(lease, Turn("taker", "x", status="done"), Change({"taker": 1}))
    await store.close()


async def look_after(store: Store, told: list[list[str]], counts: Counts) -> None:
    """What was kept is there, and what was refused is not."""
    counts.trials += 1
    kept = {"early", *(what for verb, what in told[1:] if verb == "kept")}
    counts.acknowledged += len(kept) + 1
    run, turns = await store.run(KEY, "held"), await store.turns(KEY)
    there = set(run.records) if run else set[str]()
    order = [turn.run_id for turn in turns]
    head = await store.head(KEY)
    if run and run.status == "done":
        there.add("finish")
    for verb, what in told[1:]:
        if verb == "error":
            counts.note(what, "unreadable")
    if kept - there:
        counts.note(f"kept: {kept}, there: {there}", "lost")
    if there - kept:
        counts.note(f"refused and yet there: {there - kept}", "wrong")
    if order not in (["taker"], ["held", "taker"]):
        counts.note(f"the turns are {order}", "wrong")
    if (head and set(head.state)) != set(order):
        counts.note(f"the state is {head and head.state} after {order}", "wrong")
    await store.close()
