"""Evicted sessions: their files are closed, their indexes are kept as long as they are true."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from teamgraph import Change, Exchange, Message, Record, SessionKey, Summary, TinyDBStore, Turn
from teamgraph.engine.stores.journal.compaction import compact
from teamgraph.engine.stores.journal.disk import DISK, Disk, Named, OpenFile
from teamgraph.engine.stores.journal.journal_file import JournalFile, JournalSettings
from teamgraph.engine.stores.journal.line import Operation
from teamgraph.engine.stores.tinydb.directory import SessionCache, StoreLayout
from teamgraph.engine.stores.tinydb.repair import Survey
from teamgraph.engine.stores.tinydb.session_file import SessionFile
from teamgraph.errors import DamagedStore, StoreError

KEY = SessionKey("ann", "s")


class Counting(Disk):
    """Counts the bytes that are read of journals, and the journals that are open."""

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
        self.read_bytes += len(data) if file in self.open_journals else 0
        return data


def journal(root: Path, key: SessionKey = KEY) -> Path:
    """The file of a session."""
    return StoreLayout(root, JournalSettings()).journal(key)


async def turn(store: TinyDBStore, run_id: str, key: SessionKey = KEY) -> None:
    """One whole turn."""
    lease = await store.begin(key, Turn(run_id, run_id), while_waiting="allow")
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


def saving(root: Path, disk: Disk = DISK) -> TinyDBStore:
    """A store that saves the index of each journal, however short it is."""
    store = TinyDBStore(root, sync="never", disk=disk)
    store._settings = replace(store._settings, unsaved=0)
    store.reset_after_fork()
    return store


@pytest.mark.parametrize("what", FOUND)
@pytest.mark.parametrize("reads_first", [False, True])
@pytest.mark.parametrize("is_saved", [False, True])
@pytest.mark.filterwarnings("ignore::teamgraph.engine.stores.journal.journal_file.TornTail")
def test_an_index_is_not_trusted_where_others_changed_the_file(
    tmp_path: Path, what: str, *, reads_first: bool, is_saved: bool
) -> None:
    change, expected = FOUND[what]

    async def test() -> None:
        store = saving(tmp_path) if is_saved else TinyDBStore(tmp_path, sync="never", handles=0)
        for number in range(3):
            await turn(store, f"r{number}")
        if is_saved:
            await store.close()
            assert saved_index(tmp_path).exists()
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


def saved_index(root: Path) -> Path:
    """The saved index of the session."""
    return journal(root).with_suffix(".index")


async def everything(store: TinyDBStore) -> object:
    """What can be read of the session."""
    runs = await store.runs(KEY, limit=99)
    stored = [await store.run(KEY, turn.run_id) for turn in runs]
    summaries = [await store.summary(KEY, until=number) for number in range(9)]
    with store.database(KEY) as database:
        tables = {name: database.table(name).all() for name in database.tables()}
    waiting = await store.waiting("ann")
    return runs, stored, summaries, waiting, await store.head(KEY), tables


async def a_varied_session(store: TinyDBStore) -> None:
    """Turns, failed ones, repeated records, a name, a deletion, more of all."""
    for number in range(12):
        lease = await store.begin(KEY, Turn(f"r{number}", "x"), while_waiting="allow")
        first = Record("b", "done", output=number, fingerprint="f1")
        await store.put(lease, [Record("a", "failed", fingerprint="f2"), first])
        await store.put(lease, [Record("a", "done", attempt=2), Record("b", "done", output="b")])
        status = {5: "failed", 8: "waiting", 9: "waiting"}.get(number, "done")
        summary = Summary(f"until {number}", covers=lease.head.turns + 1)
        change = Change({"n": number}, {"a": {"n": number}}, summary)
        asked = ("b",) if status == "waiting" else ()
        turn = Turn(lease.run_id, "x", status=status, waiting=asked)  # type: ignore[arg-type]
        await store.finish(lease, turn, change)
        if number == 4:
            await store.rename(KEY, "named")
            await store.delete_run(KEY, "r2")


@pytest.mark.parametrize("more", [0, 40])  # that many newest runs are found without the others
def test_a_saved_index_is_the_one_that_is_read(tmp_path: Path, more: int) -> None:
    async def test() -> None:
        store = saving(tmp_path)
        await a_varied_session(store)
        for number in range(more):
            await turn(store, f"more{number}")
        expected = await everything(store)
        await store.close()
        disk = Counting()
        store = saving(tmp_path, disk)
        assert len(await store.turns(KEY, last=1)) == 1
        assert disk.read_bytes < journal(tmp_path).stat().st_size
        assert await everything(store) == expected
        await store.close()

    asyncio.run(test())


ASKED: tuple[Callable[[TinyDBStore], Awaitable[object]], ...] = (
    lambda store: store.run(KEY, "r0"),
    lambda store: store.run(KEY, "nobody's"),
    lambda store: store.turns(KEY),
    lambda store: store.turns(KEY, last=40),
    lambda store: store.runs(KEY, limit=3, offset=38),
    lambda store: store.summary(KEY, until=4),
    lambda store: store.summary(KEY, until=1),
    lambda store: store.sessions("ann"),
    lambda store: store.waiting("ann"),
    lambda store: store.head(KEY),
    lambda store: begun(store, "r5"),
    lambda store: deleted(store, "r1"),
    lambda store: quoting(store, "r0"),
)


async def begun(store: TinyDBStore, run_id: str) -> object:
    """What is stored of a run that is begun again and done."""
    await turn(store, run_id)
    return await everything(store)


async def deleted(store: TinyDBStore, run_id: str) -> object:
    """What is left without a run."""
    await store.delete_run(KEY, run_id)
    return await everything(store)


async def quoting(store: TinyDBStore, run_id: str) -> object:
    """What is stored of a record that repeats an old message."""
    lease = await store.begin(KEY, Turn("new", "x"), while_waiting="allow")
    message = Message(role="user", content="x", origin=run_id)
    await store.put(lease, [Record("n", "done", exchanges=(exchange(message),))])
    await store.release(lease)
    return await store.run(KEY, "new")


@pytest.mark.parametrize("ask", ASKED)
def test_what_is_asked_first_is_answered_as_well_from_a_saved_index(
    tmp_path: Path, ask: Callable[[TinyDBStore], Awaitable[object]]
) -> None:
    async def test() -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        store = saving(first)
        await a_varied_session(store)
        for number in range(40):
            await turn(store, f"more{number}")
        await store.close()
        shutil.copytree(first, second)
        saved_index(second).unlink()
        stores = [TinyDBStore(root, sync="never") for root in (first, second)]
        for store in stores:  # the index of the first is used although the file is short
            store._settings = replace(store._settings, unsaved=0 if store is stores[0] else 1 << 30)
            store.reset_after_fork()
        found = [without_times(await ask(store)) for store in stores]
        assert found[0] == found[1]
        for store in stores:
            await store.close()

    asyncio.run(test())


def test_a_saved_index_of_a_session_is_not_used_without_what_it_needs(tmp_path: Path) -> None:
    async def test() -> None:
        store = saving(tmp_path)
        await turn(store, "r0")
        await store.close()
        assert saved_index(tmp_path).exists()
        settings = JournalSettings(unsaved=0)
        with closing(
            JournalFile(journal(tmp_path), settings, owner={}, create=False)  # no session's index
        ) as file:
            assert file.index.tables.keys() == {"runs", "nodes", "state"}
            assert all(file.index.tables.values())

    asyncio.run(test())


def exchange(message: Message) -> Exchange:
    """A model call with one message."""
    return Exchange("p", "h", "m", (message,), "y")


def test_a_session_is_gone_on_with_as_well_from_a_saved_index(tmp_path: Path) -> None:
    async def go_on(root: Path) -> object:
        store = saving(root)
        lease = await store.begin(KEY, Turn("r5", "x"), while_waiting="allow")  # it failed
        again = Record("b", "done", output="again", fingerprint="f2")
        await store.put(lease, [again, Record("c", "done", fingerprint="f3")])
        await store.finish(lease, Turn("r5", "x", status="done"), Change({"n": 5}))
        await store.delete_run(KEY, "r6")
        assert not saved_index(root).exists()
        found = await everything(store)
        await store.close()
        return found

    async def test() -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        store = saving(first)
        await a_varied_session(store)
        await store.close()
        shutil.copytree(first, second)
        saved_index(second).unlink()
        assert without_times(await go_on(first)) == without_times(await go_on(second))

    asyncio.run(test())


def without_times(found: object) -> str:
    """The same, compared as text."""
    return re.sub(r"[\d.]{12,}", "", repr(found))


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _of_another_version(data: bytes) -> bytes:
    return data.replace(b"index 2", b"index 1", 1)


@pytest.mark.parametrize("change", [_cut, _flip, _of_another_version, lambda _: b""])
def test_a_saved_index_that_is_not_intact_is_ignored(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    async def test() -> None:
        store = saving(tmp_path)
        await a_varied_session(store)
        expected = await everything(store)
        await store.close()
        path = saved_index(tmp_path)
        path.write_bytes(change(path.read_bytes()))
        store = saving(tmp_path)
        assert await everything(store) == expected
        await store.close()

    asyncio.run(test())


def test_damage_that_a_saved_index_passes_over_is_found_when_it_is_read(tmp_path: Path) -> None:
    async def test() -> None:
        store = saving(tmp_path)
        for number in range(3):
            await turn(store, f"r{number}")
        await store.close()
        path = journal(tmp_path)
        data = path.read_bytes()
        for part in (b"r1r1r1", b'"c":"'):
            at = data.index(b"r1r1r1")
            at = data.rindex(part, 0, at + 6)
            path.write_bytes(data[: at + 5] + b"!" + data[at + 6 :])
            assert [turn.run_id for turn in await store.turns(KEY)] == ["r0", "r1", "r2"]
            with pytest.raises(DamagedStore, match=r"damaged at byte \d+; restore .*--salvage"):
                await store.run(KEY, "r1")
            await store.close()
        end = data.index(b"\n")
        path.write_bytes(data[: end - 1] + b"!" + data[end:])
        with pytest.raises(DamagedStore, match="damaged at byte 0"):
            await store.turns(KEY)
        await store.close()

    asyncio.run(test())


@pytest.mark.parametrize("what", ["no room", "locked"])
def test_an_index_that_cannot_be_saved_is_not_missed(tmp_path: Path, what: str) -> None:
    class Full(Disk):
        def open(self, path: Named, flags: int) -> int:
            if what == "no room" and str(path).endswith(".index"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().open(path, flags)

    async def test() -> None:
        store = saving(tmp_path, Full())
        await turn(store, "r0")
        with journal(tmp_path).open("rb") as file:
            if what == "locked":
                assert DISK.lock(file.fileno())
            await store.close()
        assert not saved_index(tmp_path).exists()
        assert await run_ids(store) == ["r0"]
        await store.close()

    asyncio.run(test())


def test_a_saved_index_is_deleted_with_its_session(tmp_path: Path) -> None:
    async def test() -> None:
        store = saving(tmp_path)
        await turn(store, "r0")
        await store.close()
        left = saved_index(tmp_path)
        data = left.read_bytes()
        await store.delete_session(KEY)
        assert not left.exists()
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(data)
        (finding,) = Survey(tmp_path).leftovers()
        assert (finding.code, finding.file) == ("stale", left)

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
