"""Journals that are made to outlast a power cut."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from teamgraph import Change, Record, SessionKey, TinyDBStore, Turn
from teamgraph.engine.stores.journal.disk import Disk, Named
from teamgraph.engine.stores.journal.journal_file import JournalFile, JournalSettings, Sync
from teamgraph.engine.stores.journal.syncing import Syncer
from teamgraph.engine.stores.tinydb.table import JournalDatabase
from teamgraph.errors import StoreError


class Started(threading.Semaphore):
    """Counts what has begun."""

    def __init__(self) -> None:
        super().__init__(0)

    def acquire_all(self, count: int) -> None:
        """Wait until so many have begun."""
        for _ in range(count):
            assert self.acquire(timeout=30)


class Counted(Disk):
    """Counts what it should sync, which waits until it may go on: `seconds` by the disk's clock."""

    def __init__(self) -> None:
        self.synced: list[str] = []
        self.threads: list[threading.Thread] = []
        self.began, self.may_go_on = Started(), threading.Event()
        self.time, self.seconds = 0.0, 0.0

    def now(self) -> float:
        return self.time

    def sync(self, file: int) -> None:
        self.began.release()
        assert self.may_go_on.wait(30)
        self.time += self.seconds
        self.threads.append(threading.current_thread())
        self.synced.append(Path(f"/proc/self/fd/{file}").resolve().name)

    def sync_directory(self, path: Named) -> None:
        self.synced.append(f"{Path(path).name}/")
        super().sync_directory(path)


def journal(path: Path, disk: Disk) -> JournalFile:
    """A new journal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalFile(path, JournalSettings(disk), owner={}, create=True)


def slow(folder: Path, *, idle: float = 5.0) -> tuple[Counted, Syncer]:
    """A disk that was slow once, and a syncer that has seen it."""
    disk = Counted()
    disk.seconds = 0.01
    disk.may_go_on.set()
    syncer = Syncer(disk, idle=idle)
    asyncio.run(syncer.sync(journal(folder / "slow" / "s.jsonl", disk)))
    disk.began.acquire_all(1)
    disk.may_go_on.clear()
    disk.synced.clear()
    return disk, syncer


def test_the_slower_a_disk_is_the_less_often_a_loop_waits_for_it(tmp_path: Path) -> None:
    disk = Counted()
    disk.may_go_on.set()
    syncer, synced = Syncer(disk), journal(tmp_path / "s.jsonl", disk)

    async def where(*seconds: float) -> str:
        disk.threads.clear()
        for disk.seconds in seconds:
            await syncer.sync(synced)
        here = threading.current_thread()
        return "".join("." if thread is here else "T" for thread in disk.threads)

    async def test() -> None:
        assert await where(*[0.0] * 9, 0.004, 0.0, 0.0) == "." * 12
        assert await where(0.0105, *[0.0] * 110, 0.0105) == "." + "T" * 110 + "."
        assert await where(*[5.0] * 1112) == "T" * 110 + "." + "T" * 1000 + "."
        syncer.close()

    asyncio.run(test())


def test_what_is_asked_for_meanwhile_is_done_together(tmp_path: Path) -> None:
    disk, syncer = slow(tmp_path)

    async def test() -> None:
        users = tmp_path / "a" / "b" / "users" / "xx"
        busy = [journal(users / name / f"{name}.jsonl", disk) for name in ("1", "2", "3", "4")]
        last = journal(users / "last" / "last.jsonl", disk)
        waiting = [asyncio.create_task(syncer.sync(each)) for each in (*busy, last, last, last)]
        await asyncio.to_thread(disk.began.acquire_all, len(busy))
        waiting[-2].cancel()
        disk.may_go_on.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert sorted(name for name in disk.synced if name.endswith(".jsonl")) == [
            "1.jsonl", "2.jsonl", "3.jsonl", "4.jsonl", "last.jsonl",
        ]  # fmt: skip
        assert disk.synced.count("last/") == 1
        disk.synced.clear()
        await syncer.sync(last)
        new = journal(users / "new" / "new.jsonl", disk)
        await syncer.sync(new)
        assert disk.synced == ["last.jsonl", "new.jsonl", "new/", "xx/"]
        syncer.close()
        syncer.close()
        await syncer.sync(new)
        assert disk.synced[-1] == "new.jsonl"
        syncer.close()

    asyncio.run(test())


def test_waiters_get_the_error_of_the_sync(tmp_path: Path) -> None:
    disk, syncer = slow(tmp_path)

    async def test() -> None:
        closed = journal(tmp_path / "s.jsonl", disk)
        closed.close()
        with pytest.raises(StoreError, match="closed"):
            await syncer.sync(closed)
        syncer.close()

    asyncio.run(test())


def test_a_waiter_of_a_closed_loop_disturbs_nobody(tmp_path: Path) -> None:
    disk, syncer = slow(tmp_path)
    waited_for = journal(tmp_path / "s.jsonl", disk)
    dead = asyncio.new_event_loop()
    dead.set_exception_handler(lambda *_: None)
    waiting = dead.create_task(syncer.sync(waited_for))
    dead.run_until_complete(asyncio.sleep(0))
    dead.close()
    disk.may_go_on.set()
    asyncio.run(syncer.sync(waited_for))
    coroutine = waiting.get_coro()
    assert coroutine is not None
    coroutine.close()
    syncer.close()


def test_the_thread_ends_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    disk, syncer = slow(tmp_path, idle=0.01)
    disk.may_go_on.set()

    async def test() -> None:
        synced = journal(tmp_path / "s.jsonl", disk)
        for _ in range(3):
            before = set(threading.enumerate())
            await syncer.sync(synced)
            for thread in set(threading.enumerate()) - before:
                if thread.name == "teamgraph-sync":
                    await asyncio.to_thread(thread.join)
        syncer.close()

    asyncio.run(test())


def test_a_write_through_tinydb_is_forced_down_if_all_are(tmp_path: Path) -> None:
    disk = Counted()
    disk.may_go_on.set()
    for sync, expected in (("always", 1), ("turn", 0)):
        disk.synced.clear()
        with JournalDatabase(tmp_path / f"{sync}.jsonl", JournalSettings(disk, sync)) as database:
            database.insert({"a": 1})
        assert disk.synced.count(f"{sync}.jsonl") == expected


@pytest.mark.parametrize(("sync", "expected"), [("always", 3), ("turn", 1), ("never", 0)])
def test_the_policy_says_when_data_is_forced_down(
    tmp_path: Path, sync: Sync, expected: int
) -> None:
    async def test() -> None:
        disk = Counted()
        disk.may_go_on.set()
        store = TinyDBStore(tmp_path, sync=sync, disk=disk)
        for number in (1, 2):
            disk.synced.clear()
            lease = await store.begin(SessionKey("ann", "s"), Turn(f"r{number}", "x"))
            await store.put(lease, [Record("n", "done")])
            await store.finish(lease, Turn(lease.run_id, "x", status="done"), Change())
        assert len(disk.synced) == expected
        await store.close()

    asyncio.run(test())


def test_where_no_thread_is_to_be_had_a_journal_is_synced_on_the_spot(tmp_path: Path) -> None:
    disk, syncer = slow(tmp_path)
    disk.may_go_on.set()
    one = journal(tmp_path / "ann" / "s.jsonl", disk)
    size = threading.stack_size(1 << 46)  # more than any system has
    try:
        asyncio.run(syncer.sync(one))
    finally:
        threading.stack_size(size)
    assert disk.threads[-1] is threading.main_thread()
    asyncio.run(syncer.sync(one))
    assert disk.threads[-1] is not threading.main_thread()
    assert disk.synced.count("s.jsonl") == 2
    syncer.close()
    one.close()
