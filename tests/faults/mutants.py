"""Stores that are broken on purpose, each in a way that one of the faults is there to find."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from teamgraph import Change, Lease, Policy, Record, Run, SessionKey, Store, TinyDBStore, Turn
from teamgraph.engine.session.store import FinishedRun
from teamgraph.engine.stores.journal.disk import Disk, Named, opened
from teamgraph.engine.stores.tinydb.repair import Salvage, _encoded
from teamgraph.errors import Conflict, StoreError

from .judge import Open
from .log_store import LogStore
from .stores import PATIENCE, ours


class OtherDisk(Disk):
    """A disk in front of another; what is not overridden is the other's."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401  it stands before any method
        is_mine = name.startswith("_") or name in type(self).__dict__
        return super().__getattribute__(name) if is_mine else getattr(self._disk, name)


class NeverSyncs(OtherDisk):
    def sync(self, file: int) -> None:
        """Say that it is done."""


class ForgetsDirectories(OtherDisk):
    def sync_directory(self, path: Named) -> None:
        """Say that it is done."""


class TakesPartsForAll(OtherDisk):
    def write(self, file: int, data: bytes, offset: int) -> int:
        self._disk.write(file, data, offset)
        return len(data)


class LocksNothing(OtherDisk):
    def lock(self, file: int) -> bool:
        del file
        return True


class LosesMarks(OtherDisk):
    def write(self, file: int, data: bytes, offset: int) -> int:
        if b'"o":"m"' in data:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._disk.write(file, data, offset)


class SyncsWhatItRenames(OtherDisk):
    def rename(self, path: Named, new: Named) -> None:
        with opened(self._disk, Path(path)) as file:
            self._disk.sync(file)
        self._disk.rename(path, new)
        self._disk.sync_directory(Path(new).parent)


class KeepsBackups(OtherDisk):
    def rename(self, path: Named, new: Named) -> None:
        if Path(new).exists():
            shutil.copy(new, f"{new}.bak")
        self._disk.rename(path, new)


class OpensFilesItself(OtherDisk):
    """Opens files that nobody closes in a forked child, nor where descriptors are few."""

    def open(self, path: Named, flags: int) -> int:
        return os.open(path, flags, 0o600)

    def close(self, file: int) -> None:
        os.close(file)


class LeavesStoresToChildren(TinyDBStore):
    def reset_after_fork(self) -> None:
        """Do it when it is made, and never again."""
        if not hasattr(self, "_queue"):
            super().reset_after_fork()


class OtherStore:
    """A store in front of ours; what is not overridden is ours."""

    def __init__(self, store: TinyDBStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(self._store, name)
        return found


class AcknowledgesFirst(OtherStore):
    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        self._writing = asyncio.create_task(self._store.put(lease, records))

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        await self._writing
        return await self._store.finish(lease, turn, change)


class MarksNothing(OtherStore):
    """Syncs all that a turn has written, and says of nothing that it was synced."""

    def __init__(self, place: Path, disk: Disk) -> None:
        super().__init__(TinyDBStore(place, disk=SyncsWhatItRenames(disk), sync="never"))
        self._place, self._disk = place, disk

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        turn = await self._store.finish(lease, turn, change)
        for path in (self._place, *self._place.rglob("*")):
            if path.is_dir():
                self._disk.sync_directory(path)
                continue
            with opened(self._disk, path) as file:
                self._disk.sync(file)
        return turn


class ForgetsTheLastRecord(OtherStore):
    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        run = await self._store.run(key, run_id)
        return run and replace(run, records=dict(list(run.records.items())[:-1]))


class SwallowsErrors(OtherStore):
    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        try:
            await self._store.put(lease, records)
        except StoreError:
            return


class FencesNobodyOff(OtherStore):
    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        try:
            await self._store.put(lease, records)
        except Conflict:
            await self._store.release(lease)
            turn = Turn(lease.run_id, "x")
            again = await self._store.begin(lease.key, turn, policy="fork")
            await self._store.put(again, records)
            await self._store.release(again)
            raise


class CreatesRunByRun(OtherStore):
    async def create(self, key: SessionKey, runs: Sequence[FinishedRun], **_: str | None) -> None:
        for run in runs:
            lease = await self._store.begin(key, run.turn)
            await self._store.put(lease, run.records)
            await self._store.finish(lease, run.turn, run.change)


class ResumesWhatIsGone(OtherStore):
    async def begin(self, key: SessionKey, turn: Turn, **options: Any) -> Lease:  # noqa: ANN401
        options.pop("is_stored", None)
        return await self._store.begin(key, turn, **options)


class WritesWhatItPlanned:
    """A salvage that does not read the journal again before it replaces it."""

    def __init__(self, planned: Salvage) -> None:
        self._planned = planned

    @classmethod
    def read(cls, path: Path) -> WritesWhatItPlanned:
        return cls(Salvage.read(path))

    def write(self) -> None:
        path = self._planned.path
        written = path.with_suffix(".planned")  # not `.tmp`: the writer beside it may compact
        written.write_bytes(_encoded(self._planned.operations))
        written.rename(path)


class SalvagesWhatItPlanned(OtherStore):
    salvage = WritesWhatItPlanned


class ReleasesInItsLoopOnly(OtherStore):
    """Ends no lease for a loop that cannot: it is left to the heartbeat, which goes on."""

    async def begin(self, key: SessionKey, turn: Turn, **options: Any) -> Lease:  # noqa: ANN401
        self._loop = asyncio.get_running_loop()
        return await self._store.begin(key, turn, **options)

    async def release(self, lease: Lease) -> None:
        if asyncio.get_running_loop() is self._loop:
            await self._store.release(lease)


class MixesUsersUp(OtherStore):
    async def begin(
        self,
        key: SessionKey,
        turn: Turn,
        *,
        policy: Policy = "serialize",
        is_stored: bool | None = None,
    ) -> Lease:
        key = SessionKey("all", "one")
        return await self._store.begin(key, turn, policy=policy, is_stored=is_stored)

    async def turns(self, key: SessionKey, **page: int) -> list[Turn]:
        return await self._store.turns(SessionKey("all", "one"), **page)

    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        return await self._store.run(SessionKey("all", "one"), run_id)


@dataclass(frozen=True)
class Mutant:
    """A broken store, and the fault that must find it within so many trials."""

    title: str
    fault: str
    trials: int
    open_store: Open
    is_rare: bool = False
    """Whether fewer trials seldom find it."""

    @property
    def soon(self) -> int:
        """Trials in which it is mostly found: many faults find it at once."""
        return self.trials if self.is_rare else max(1, self.trials // 8)


def _on(disk_type: type[OtherDisk]) -> Open:
    return lambda place, disk: ours(place, disk_type(disk))


def _behind(store_type: type[OtherStore]) -> Open:
    def open_store(place: Path, disk: Disk) -> Store:
        store = TinyDBStore(place, disk=disk, lease_timeout=PATIENCE)
        return store_type(store)  # type: ignore[return-value]  # it passes on what it has not

    return open_store


def _unmarked(place: Path, disk: Disk) -> Store:
    return MarksNothing(place, disk)  # type: ignore[return-value]  # it passes on what it has not


MUTANTS = (
    Mutant("acknowledges before it writes", "crashes", 40, _behind(AcknowledgesFirst)),
    Mutant("acknowledges before it writes", "kills", 40, _behind(AcknowledgesFirst)),
    Mutant("never syncs", "power", 400, _on(NeverSyncs)),
    Mutant("syncs no directory", "power", 400, _on(ForgetsDirectories)),
    Mutant("marks nothing as synced", "power", 400, _unmarked),
    Mutant("loses marks", "flips", 400, _on(LosesMarks)),
    Mutant(
        "checks no line", "flips", 100, lambda place, _: LogStore(place, checks=False, cuts=True)
    ),
    Mutant(
        "cuts no torn tail", "cuts", 100, lambda place, _: LogStore(place, checks=True, cuts=False)
    ),
    Mutant("takes a part for the whole", "parts", 40, _on(TakesPartsForAll)),
    Mutant("swallows errors", "calls", 80, _behind(SwallowsErrors), is_rare=True),
    Mutant("runs finished nodes again", "crashes", 40, _behind(ForgetsTheLastRecord)),
    Mutant("keeps what was deleted", "crowd", 2976, _on(KeepsBackups)),
    Mutant("locks nothing", "crowd", 2976, _on(LocksNothing)),
    Mutant("mixes users up", "nonces", 160, _behind(MixesUsersUp)),
    Mutant("creates run by run", "imports", 40, _behind(CreatesRunByRun)),
    Mutant("resumes what is gone", "deletions", 48, _behind(ResumesWhatIsGone)),
    Mutant("salvages what it planned", "salvages", 16, _behind(SalvagesWhatItPlanned)),
    Mutant("releases in its loop only", "loops", 1, _behind(ReleasesInItsLoopOnly)),
    Mutant("keeps idle files open", "descriptors", 1, _on(OpensFilesItself)),
    Mutant("leaves files to children", "forks", 96, _on(OpensFilesItself)),
    Mutant(
        "leaves stores to children",
        "forks",
        16,
        lambda place, disk: LeavesStoresToChildren(place, disk=disk),
        is_rare=True,
    ),
    Mutant("fences nobody off", "suspended", 8, _behind(FencesNobodyOff)),
)
SOUND = (
    Mutant(
        "a log with every guard",
        "flips",
        200,
        lambda place, _: LogStore(place, checks=True, cuts=True),
    ),
    Mutant(
        "a log with every guard",
        "cuts",
        200,
        lambda place, _: LogStore(place, checks=True, cuts=True),
    ),
)
