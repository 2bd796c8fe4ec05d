"""The process dies at every write of turns that have attachments, and of the deletion of one."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from functools import partial
from pathlib import Path

from teamgraph import Attachment, Graph, Runner, ScriptedModel, Store, Turn
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import RunError, StoreError
from teamgraph.nodes import Member

from .disks import CHANGES, DYING, FailingDisk, Mishap, Places
from .judge import Counts, Open, at_peace
from .process import Child
from .said import KEY, Tell

NAMES = ("one", "two")


def attached(open_store: Open, trials: int, seed: int) -> Counts:
    """Afterwards every stored turn has its bytes, and a deleted one none; a run is resumed."""
    counts = Counts()
    places = Places(DYING, CHANGES, trials, seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "place"

        def one(mishap: Mishap) -> list[str]:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            return Child(lambda tell: _turns(open_store, place, mishap, tell)).end()

        for mishap in places.mishaps(int(one(places.none())[-1])):
            told = [line.strip() for line in one(mishap)]
            counts.trials += 1
            counts.acknowledged += len(told)
            at_peace(partial(_judge, open_store, place, told, counts, str(mishap)))
    return counts


def _photo(name: str) -> bytes:
    return b"\x89PNG " + f"the photo {name} ".encode() * 500


def _runner(store: Store) -> Runner:
    graph = Graph(name="g", model="m", nodes={"member": Member()})
    return Runner(graph, store=store, model=ScriptedModel("seen"))


async def _look(runner: Runner, name: str) -> None:
    photo = Attachment(name=f"{name}.png", data=_photo(name))
    user, session = KEY
    await runner.arun("look", run_id=name, attachments=[photo], user_id=user, session_id=session)


def _turns(open_store: Open, place: Path, mishap: Mishap, tell: Tell) -> None:
    async def run() -> None:
        store = open_store(place, FailingDisk(mishap))
        for name in NAMES:
            await _look(_runner(store), name)
            tell(f"{name}\n")
        await store.delete_run(KEY, NAMES[0])
        tell("deleted\n")
        await store.close()

    asyncio.run(run())
    tell(f"{mishap.count}\n")


async def _judge(
    open_store: Open, place: Path, told: list[str], counts: Counts, where: str
) -> None:
    if "deleted" in told:
        _find_deleted(place, counts, where)
    store = open_store(place, DISK)
    try:
        runs = await store.runs(KEY)
        for turn in runs:
            await _see_bytes(store, turn, counts, where)
        if NAMES[1] in told and NAMES[1] not in {turn.run_id for turn in runs}:
            counts.note(f"{where}: run {NAMES[1]}", "lost")
        for turn in runs:
            if turn.status == "running":
                user, session = KEY
                await _runner(store).aresume(turn.run_id, user_id=user, session_id=session)
        await _look(_runner(store), "three")
    except (StoreError, RunError) as error:
        counts.note(f"{where}: {type(error).__name__}: {error}", "unreadable")
    finally:
        await store.close()


async def _see_bytes(store: Store, turn: Turn, counts: Counts, where: str) -> None:
    for part in turn.attachments:
        data = await store.get_attachment(KEY, part.sha256)  # type: ignore[attr-defined]  # it has room for them
        if data != _photo(turn.run_id):
            counts.note(f"{where}: the bytes of {turn.run_id}", "lost")


def _find_deleted(place: Path, counts: Counts, where: str) -> None:
    files = [path.read_bytes() for path in place.rglob("*") if path.is_file()]
    if any(b"the photo one" in data or b"one.png" in data for data in files):
        counts.note(f"{where}: what was deleted is on the disk", "wrong")
