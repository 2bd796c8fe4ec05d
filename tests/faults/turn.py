"""A whole turn of a team on a store that fails at one place: everywhere, one after the other.

Afterwards the run is taken up where it stopped: no node that was kept may be run again.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from teamgraph import Lease, Record, Runner, Store
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import InputError, NotFound, RunError, StoreError
from teamgraph.events import NodeStarted

from .disks import CALLS, CHANGES, DYING, FAILING, FailingDisk, Mishap, Places
from .judge import Counts, Open, at_peace
from .process import Child
from .said import KEY, Tell
from .team import Repeating, team

IDS = {"user_id": "ann", "session_id": "s"}


def crashes(open_store: Open, trials: int, seed: int) -> Counts:
    """Die before, after and in the midst of every call that changes something."""
    return _everywhere(open_store, Places(DYING, CHANGES, trials, seed))


def calls(open_store: Open, trials: int, seed: int) -> Counts:
    """Let every call of a turn fail once, in each way."""
    return _everywhere(open_store, Places(FAILING, frozenset(CALLS), trials, seed))


def parts(open_store: Open, trials: int, seed: int) -> Counts:
    """Let the system write only a part of what it is given, once."""
    return _everywhere(open_store, Places(("partly",), frozenset(("write",)), trials, seed))


def _everywhere(open_store: Open, places: Places) -> Counts:
    counts = Counts()
    team()  # once, and not in every child
    with tempfile.TemporaryDirectory() as folder:
        before, place = Path(folder) / "before", Path(folder) / "place"
        before.mkdir()
        Child(lambda tell: _turns(open_store, before, tell)).end()

        def one(mishap: Mishap) -> list[list[str]]:
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(before, place)
            child = Child(lambda tell: _turn(open_store, place, mishap, tell))
            return [json.loads(line) for line in child.end()]

        for mishap in places.mishaps(int(one(places.none())[-1][1])):
            told = one(mishap)
            _take_up(open_store, place, told, counts, str(mishap))
    return counts


class Telling:
    """A store that tells what it acknowledged; all else is the store's own."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self._store = store
        self._tell = tell

    def __getattr__(self, name: str) -> Callable[..., object]:
        found: Callable[..., object] = getattr(self._store, name)
        return found

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        await self._store.put(lease, records)
        for record in records:
            if record.is_final:
                self._tell(json.dumps(["put", record.node]) + "\n")


def runner_on(store: Store) -> Runner:
    """The team; its model answers at once."""
    return Runner(team(), store=store, model=Repeating())


def _turns(open_store: Open, place: Path, tell: Tell) -> None:
    async def run() -> None:
        store = open_store(place, DISK)
        for number in range(3):
            await runner_on(store).arun(f"message {number}", run_id=f"r{number}", **IDS)
        await store.close()

    asyncio.run(run())
    tell("\n")


def _turn(open_store: Open, place: Path, mishap: Mishap, tell: Tell) -> None:
    """One more turn, which may die or fail."""

    async def run() -> None:
        store = open_store(place, FailingDisk(mishap))
        telling = runner_on(Telling(store, tell))  # type: ignore[arg-type]
        try:
            run = await telling.arun("the message", run_id="r3", **IDS)
            tell(json.dumps(["done", run.answer]) + "\n")
        except (StoreError, RunError) as error:
            tell(json.dumps(["failed", str(error)]) + "\n")
        except OSError as error:
            tell(json.dumps(["uncaught", repr(error)]) + "\n")
        try:
            await store.close()
        except OSError as error:
            tell(json.dumps(["uncaught", repr(error)]) + "\n")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(run())
    tell(json.dumps(["end", str(mishap.count)]) + "\n")


def _take_up(
    open_store: Open, place: Path, told: list[list[str]], counts: Counts, where: str
) -> None:
    kept = {what for verb, what, *_ in told if verb == "put"}
    is_done = any(verb == "done" for verb, *_ in told)
    counts.trials += 1
    counts.acknowledged += len(kept) + is_done
    for verb, what, *_ in told:
        if verb in ("uncaught", "error"):
            counts.note(f"{where}: {what}", "unreadable")

    async def look() -> None:
        store = open_store(place, DISK)
        try:
            await _resume(store, kept, counts, where, is_done=is_done)
        except (StoreError, RunError) as error:
            counts.note(f"{where}: {type(error).__name__}: {error}", "unreadable")
        finally:
            await store.close()

    at_peace(look)


async def _resume(
    store: Store, kept: set[str], counts: Counts, where: str, *, is_done: bool
) -> None:
    runner = runner_on(store)
    before = [turn.run_id for turn in await store.turns(KEY)]
    if before[:3] != ["r0", "r1", "r2"] or (is_done and before[3:] != ["r3"]):
        counts.note(f"{where}: the turns are {before}", "lost")
    try:
        async for event in runner.aresume_stream("r3", **IDS):
            if isinstance(event, NodeStarted) and event.node in kept:
                counts.note(f"{where}: node {event.node}", "again")
    except NotFound:
        if kept:
            counts.note(f"{where}: the run", "lost")
        await runner.arun("the message", run_id="r3", **IDS)
    except InputError:
        pass  # it is done already
    await _see_the_end(store, counts, where)


async def _see_the_end(store: Store, counts: Counts, where: str) -> None:
    run = await store.run(KEY, "r3")
    if run is None or run.status != "done":
        counts.note(f"{where}: the run that was taken up", "lost")
    elif "left" not in run.records:
        counts.note(f"{where}: the record that has the answer", "lost")
    elif run.records["left"].output != run.answer:
        counts.note(f"{where}: the answer is not the member's", "wrong")
