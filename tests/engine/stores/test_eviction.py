"""Evicted sessions: their files are closed, their indexes are kept as long as they are true."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from teamgraph import Change, Record, SessionKey, TinyDBStore, Turn
from teamgraph.engine.stores.journal.compaction import compact
from teamgraph.engine.stores.journal.disk import Disk, Named, OpenFile
from teamgraph.engine.stores.journal.journal_file import JournalFile, JournalSettings
from teamgraph.engine.stores.journal.line import Operation
from teamgraph.engine.stores.tinydb.directory import SessionCache, StoreLayout
from teamgraph.engine.stores.tinydb.session_file import SessionFile
from teamgraph.errors import StoreError

KEY = SessionKey("ann", "s")


class Counting(Disk):
    """Counts the bytes that are read, and the journals that are open."""

    def __init__(self) -> None:
        self.read_bytes = 0
        self.open_journals: set[int] = set()

    def open(self, path: Named, flags: int) -> int:
        file = super().open(path, flags)
        if str(path).endswith(".jsonl"):
            self.open_journals.add(file)
        return file

    def close(self, file: int) -> None:
        self.open_journals.discard(file)
        super().close(file)

    def read(self, file: int, length: int, offset: int) -> bytes:
        data = super().read(file, length, offset)
        self.read_bytes += len(data)
        return data


def journal(root: Path, key: SessionKey = KEY) -> Path:
    """The file of a session."""
    return StoreLayout(root, JournalSettings()).journal(key)


async def turn(store: TinyDBStore, run_id: str, key: SessionKey = KEY) -> None:
    """One whole turn."""
    lease = await store.begin(key, Turn(run_id, run_id))
    await store.put(lease, [Record("n", "done", output=run_id * 500)])
    done = Turn(run_id, run_id, status="done", answer=run_id)
    await store.finish(lease, done, Change({"last": run_id}))


async def run_ids(store: TinyDBStore) -> list[str]:
    """The turns of the session, oldest first."""
    return [turn.run_id for turn in await store.turns(KEY)]


@pytest.mark.parametrize("handles", [0, 3])
def test_a_turn_of_an_evicted_session_reads_no_more_of_a_longer_session(
    tmp_path: Path, handles: int
) -> None:
    async def test() -> None:
        disk = Counting()
        store = TinyDBStore(tmp_path, sync="never", handles=handles, disk=disk)
        others = [SessionKey("ann", f"other{number}") for number in range(handles)]
        read: list[int] = []
        for number in range(60):
            for other in others:
                await turn(store, f"r{number}", other)
            before = disk.read_bytes
            await turn(store, f"r{number}")
            read.append(disk.read_bytes - before)
            assert len(disk.open_journals) == handles
        assert max(read[50:]) < max(read[2:10]) + 100
        await store.close()
        assert not disk.open_journals

    asyncio.run(test())


async def _append(root: Path) -> None:
    other = TinyDBStore(root, sync="never")
    await turn(other, "theirs")
    await other.close()


async def _delete_run(root: Path) -> None:
    other = TinyDBStore(root, sync="never")
    await other.delete_run(KEY, "r1")
    await other.close()


async def _delete_session(root: Path) -> None:
    other = TinyDBStore(root, sync="never")
    await other.delete_session(KEY)
    await other.close()


async def _replace_session(root: Path) -> None:
    await _delete_session(root)
    await _append(root)


async def _same_size(root: Path) -> None:
    """Delete a run, and name the session so that the file is as long as before."""
    path = journal(root)
    before = path.stat().st_size
    await _delete_run(root)
    other, after = TinyDBStore(root, sync="never"), path.stat().st_size
    await other.rename(KEY, "")
    named = path.stat().st_size
    await other.rename(KEY, "x" * (before - named - (named - after)))
    await other.close()
    assert path.stat().st_size == before


async def _same_inode(root: Path) -> None:
    """The same, and put the result into the old file, as if the system had used it again."""
    path = journal(root)
    old = path.with_suffix(".old")
    os.link(path, old)
    await _same_size(root)
    old.write_bytes(path.read_bytes())
    old.rename(path)


async def _tear(root: Path) -> None:
    with journal(root).open("ab") as file:
        file.write(b'{"c":"0000')


async def _compact(root: Path) -> None:
    settings = JournalSettings(sync="never")
    file = JournalFile(journal(root), settings, owner=KEY._asdict(), create=False)
    compact(file)
    file.close()


FOUND: dict[str, tuple[Callable[[Path], Awaitable[None]], list[str]]] = {
    "nothing": (lambda _: asyncio.sleep(0), ["r0", "r1", "r2"]),
    "appended": (_append, ["r0", "r1", "r2", "theirs"]),
    "compacted": (_compact, ["r0", "r1", "r2"]),
    "a run deleted": (_delete_run, ["r0", "r2"]),
    "a run deleted, same size": (_same_size, ["r0", "r2"]),
    "a run deleted, same size and inode": (_same_inode, ["r0", "r2"]),
    "deleted": (_delete_session, []),
    "deleted and created": (_replace_session, ["theirs"]),
    "torn": (_tear, ["r0", "r1", "r2"]),
}


@pytest.mark.parametrize("what", FOUND)
@pytest.mark.parametrize("reads_first", [False, True])
@pytest.mark.filterwarnings("ignore::teamgraph.engine.stores.journal.journal_file.TornTail")
def test_the_kept_index_is_not_trusted_where_others_changed_the_file(
    tmp_path: Path, what: str, *, reads_first: bool
) -> None:
    change, expected = FOUND[what]

    async def test() -> None:
        store = TinyDBStore(tmp_path, sync="never", handles=0)
        for number in range(3):
            await turn(store, f"r{number}")
        await change(tmp_path)
        if reads_first:
            assert await run_ids(store) == expected
        await turn(store, "last")
        assert await run_ids(store) == [*expected, "last"]
        again = TinyDBStore(tmp_path, sync="never")
        assert await run_ids(again) == [*expected, "last"]
        await again.close()
        await store.close()

    asyncio.run(test())


def test_the_oldest_indexes_are_forgotten_when_they_take_too_much_memory(tmp_path: Path) -> None:
    settings = JournalSettings(disk=Counting(), sync="never")

    def opened(number: int) -> SessionFile:
        path, key = tmp_path / f"s{number}.jsonl", SessionKey("ann", f"s{number}")
        activity = StoreLayout(tmp_path, settings).activity(tmp_path)
        return SessionFile(path, key, settings, create=True, activity=activity)

    size = opened(0).journal.index.size
    cache = SessionCache(0, kept_bytes=2 * size)
    for number in range(3):
        cache.release(cache.add(opened(number)))
    cached = [cache.acquire(SessionKey("ann", f"s{number}")) for number in range(3)]
    assert [session is not None for session in cached] == [False, True, True]
    again = cache.add(opened(0))
    cache.release(again)
    assert cache.add(opened(0)) is again
    cache.close()


@pytest.mark.parametrize("sync", ["always", "turn", "never"])
def test_files_are_closed_in_the_middle_of_a_turn_where_others_need_them(
    tmp_path: Path, sync: str
) -> None:
    async def test() -> None:
        disk = Counting()
        store = TinyDBStore(tmp_path, sync=sync, disk=disk)  # type: ignore[arg-type]  # of three
        cache = store._directory.cache
        for number in range(3):
            lease = await store.begin(KEY, Turn(f"r{number}", "x"))
            cache.close_idle()
            assert not disk.open_journals
            await store.put(lease, [Record("n", "done", output="x")])
            cache.close_idle()
            await store.finish(lease, Turn(lease.run_id, "x", status="done"), Change())
            cache.close_idle()
        assert await run_ids(store) == ["r0", "r1", "r2"]
        await store.close()

    asyncio.run(test())


class ClosedOnce(JournalFile):
    """Another thread closes the file when it is about to be synced, once."""

    is_closing = True

    def _awake(self) -> OpenFile:
        file = super()._awake()
        if self.is_closing:
            self.is_closing = False
            self.rest()
        return file


def test_what_was_written_is_synced_also_if_the_file_was_closed_in_between(
    tmp_path: Path,
) -> None:
    class Syncing(Disk):
        synced = 0

        def sync(self, file: int) -> None:
            self.synced += 1
            super().sync(file)

    disk = Syncing()
    owner = KEY._asdict()
    journal = ClosedOnce(tmp_path / "s.jsonl", JournalSettings(disk), owner=owner, create=True)
    with journal.exclusive():
        journal.commit([Operation("e", "table")])
    journal.flush()
    assert disk.synced == 1
    journal.close()


def test_a_file_that_cannot_be_read_when_it_is_opened_again_is_closed(tmp_path: Path) -> None:
    class Unreadable(Counting):
        is_readable = True

        def read(self, file: int, length: int, offset: int) -> bytes:
            if not self.is_readable:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(file, length, offset)

    async def test() -> None:
        disk = Unreadable()
        store = TinyDBStore(tmp_path, sync="never", handles=0, disk=disk)
        await turn(store, "r0")
        disk.is_readable = False
        with pytest.raises(StoreError, match="check the disk"):
            await store.head(KEY)
        assert not disk.open_journals
        disk.is_readable = True
        assert await run_ids(store) == ["r0"]
        await store.close()

    asyncio.run(test())


def test_a_file_is_not_closed_while_it_is_locked(tmp_path: Path) -> None:
    settings = JournalSettings(Counting(), "never")
    activity = StoreLayout(tmp_path, settings).activity(tmp_path)
    session = SessionFile(tmp_path / "s.jsonl", KEY, settings, create=True, activity=activity)
    with session.journal.exclusive():
        session.rest()
        assert not session.journal.is_closed
        session.rename("x")
        with ThreadPoolExecutor() as threads:
            threads.submit(session.rest).result()
        assert session.head().name == "x"
    session.close()
