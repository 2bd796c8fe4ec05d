"""Lists, searches and finds: by activity, and cheap however many sessions there are."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teamgraph import Change, SessionKey, TinyDBStore, Turn
from teamgraph.engine.session.store import FinishedRun, mentions
from teamgraph.engine.stores.codec import encode_turn
from teamgraph.engine.stores.journal.disk import Disk, Named
from teamgraph.engine.stores.journal.journal_file import JournalSettings
from teamgraph.engine.stores.journal.line import dump_json
from teamgraph.engine.stores.tinydb.activity import ACTIVITY
from teamgraph.engine.stores.tinydb.directory import StoreLayout, may_mention
from teamgraph.errors import StoreError

LINE = 33


class Counting(Disk):
    """Counts its calls, and lets those fail that open the activity file."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.refuses = False
        self.broken = "none"
        self.before_lock: Callable[[], None] | None = None

    def open(self, path: Named, flags: int) -> int:
        self.calls["open"] += 1
        if self.refuses and str(path).endswith(ACTIVITY):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().open(path, flags)

    def close(self, file: int) -> None:
        self.calls["close"] += 1
        super().close(file)

    def status(self, file: int | Named) -> os.stat_result:
        self.calls["status"] += 1
        if str(file).endswith(self.broken):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().status(file)

    def read(self, file: int, length: int, offset: int) -> bytes:
        self.calls["read"] += 1
        return super().read(file, length, offset)

    def lock(self, file: int) -> bool:
        if self.before_lock and _name_of(file) == ACTIVITY:
            act, self.before_lock = self.before_lock, None
            act()
        return super().lock(file)


def _name_of(file: int) -> str:
    return Path(f"/proc/self/fd/{file}").readlink().name


def key(number: int) -> SessionKey:
    """One of the sessions of a user."""
    return SessionKey("ann", f"s{number}")


async def turn(store: TinyDBStore, number: int, run_id: str = "r", text: str = "hello") -> None:
    """A turn of a session."""
    lease = await store.begin(key(number), Turn(run_id, text))
    await store.finish(lease, Turn(run_id, text, status="done", answer="hi"), Change())


async def listed(store: TinyDBStore, *, limit: int = 20, offset: int = 0) -> list[int]:
    """The numbers of the sessions in a page."""
    page = await store.sessions("ann", limit=limit, offset=offset)
    return [int(info.key.session_id[1:]) for info in page]


def activity(root: Path) -> Path:
    """The file with the order of the sessions."""
    (path,) = root.glob(f"users/*/*/{ACTIVITY}")
    return path


def _users(root: Path) -> list[Path]:
    """The directories of all users."""
    return list(root.glob("users/*/*"))


async def fill(root: Path, count: int, **settings: Disk) -> TinyDBStore:
    """A store with so many sessions, of one turn each."""
    store = TinyDBStore(root, sync="never", **settings)
    for number in range(count):
        await turn(store, number, f"r{number}")
    return store


def test_sessions_are_listed_by_their_latest_activity_in_whichever_process(tmp_path: Path) -> None:
    async def test() -> None:
        one, two = await fill(tmp_path, 4), TinyDBStore(tmp_path, sync="never")
        assert await listed(one) == [3, 2, 1, 0]
        await turn(two, 1, "again")
        assert await listed(one) == await listed(two) == [1, 3, 2, 0]
        waiting = await one.begin(key(0), Turn("begun", "x"))
        assert await listed(two) == [0, 1, 3, 2]
        await turn(two, 2, "again")
        await one.finish(waiting, Turn("begun", "x", status="failed"), Change())
        assert await listed(two, limit=2, offset=1) == [2, 1]
        await one.create(key(9), [FinishedRun(Turn("new", "x", status="done"), (), Change())])
        assert await listed(two, limit=1) == [9]
        await one.rename(key(3), "named")
        await one.delete_session(key(9))
        assert await listed(two) == [0, 2, 1, 3]
        assert await one.delete_user("ann") == 4
        assert _users(tmp_path) == []
        await one.close()
        await two.close()

    asyncio.run(test())


def test_a_page_a_recent_run_and_an_early_hit_cost_the_same_of_any_number_of_sessions(
    tmp_path: Path,
) -> None:
    async def cost(count: int) -> list[int]:
        disk = Counting()
        store = await fill(tmp_path / str(count), count, disk=disk)
        costs: list[int] = []
        for act in (
            lambda: store.sessions("ann", limit=5),
            lambda: store.find("ann", f"r{count - 2}"),
            lambda: store.search("ann", "hello", last=count, limit=1),
        ):
            disk.calls.clear()
            assert await act()
            costs.append(disk.calls.total())
        await store.close()
        return costs

    assert asyncio.run(cost(10)) == asyncio.run(cost(60))


def test_a_search_without_a_hit_reads_each_file_and_opens_no_session(tmp_path: Path) -> None:
    async def test() -> None:
        disk = Counting()
        store = await fill(tmp_path, 30, disk=disk)
        await store.delete_session(key(7))
        disk.calls.clear()
        assert await store.search("ann", "goodbye", last=99) == []
        assert disk.calls["open"] == 1 + 30
        assert disk.calls["status"] <= 2
        assert len(await store.search("ann", "HELLO", last=25, exclude="s29")) == 20
        assert len(await store.search("ann", "hello", last=25, limit=99, exclude="s29")) == 25
        await store.close()

    asyncio.run(test())


def _remove(path: Path) -> None:
    path.unlink()


def _leave_unfinished(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes(LINE) + data[LINE : 2 * LINE])


def _leave_empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [_remove, _leave_unfinished, _leave_empty])
@pytest.mark.parametrize("sync", ["turn", "never"])
def test_without_the_file_the_times_of_the_journals_count(
    tmp_path: Path, change: Callable[[Path], None], sync: str
) -> None:
    async def test() -> None:
        store = await fill(tmp_path, 3)
        layout = StoreLayout(tmp_path, JournalSettings())
        for age, number in enumerate((1, 0, 2)):
            os.utime(layout.journal(key(number)), (1000 - age, 1000 - age))
        change(activity(tmp_path))
        assert await listed(store) == [1, 0, 2]
        other = TinyDBStore(tmp_path, sync=sync)  # type: ignore[arg-type]  # of three
        await turn(other, 0, "again")
        assert await listed(store) == [0, 1, 2]
        assert activity(tmp_path).stat().st_size == 4 * LINE
        await store.close()
        await other.close()

    asyncio.run(test())


def test_sessions_put_back_from_a_backup_are_listed_at_the_end_by_their_times(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        backup, store = await fill(tmp_path / "old", 3), await fill(tmp_path / "new", 0)
        await turn(store, 7)
        await turn(store, 8)
        journal = StoreLayout(tmp_path / "new", JournalSettings()).journal
        for age, number in enumerate((1, 0, 2)):
            copy = journal(key(number))
            shutil.copy(StoreLayout(tmp_path / "old", JournalSettings()).journal(key(number)), copy)
            os.utime(copy, (1000 - age, 1000 - age))
        assert await listed(store) == [8, 7, 1, 0, 2]
        assert await listed(store, limit=2, offset=2) == [1, 0]
        assert [hit.key for hit in await store.search("ann", "hello", last=9)] == [
            key(number) for number in (8, 7, 1, 0, 2)
        ]
        await turn(store, 0, "again")
        assert await listed(store) == [0, 8, 7, 1, 2]
        await store.close()
        await backup.close()

    asyncio.run(test())


def test_a_file_that_was_removed_is_written_again_by_whoever_remembers_it(tmp_path: Path) -> None:
    async def test() -> None:
        store = await fill(tmp_path, 3)
        activity(tmp_path).unlink()
        await turn(store, 2, "again")
        assert activity(tmp_path).exists()
        assert await listed(store) == [2, 1, 0]
        await store.close()

    asyncio.run(test())


def test_an_error_in_its_lock_or_of_a_journal_is_raised(
    tmp_path: Path,
) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def test() -> None:
        disk = Counting()
        store = await fill(tmp_path, 2, disk=disk)
        disk.before_lock = fail
        with pytest.raises(StoreError, match=rf"{ACTIVITY}: .*check the disk"):
            await turn(store, 0, "again")
        disk.broken = ".jsonl"
        with pytest.raises(StoreError, match=r"\.jsonl: .*check the disk"):
            await store.sessions("ann")
        disk.broken = "none"
        await store.close()

    asyncio.run(test())


@pytest.mark.parametrize("left", [b"0123", b"\0" * LINE, b"0123" + bytes(LINE)])
def test_what_a_killed_process_left_at_the_end_is_skipped(tmp_path: Path, left: bytes) -> None:
    async def test() -> None:
        store = await fill(tmp_path, 3)
        with activity(tmp_path).open("ab") as file:
            file.write(left)
        assert await listed(store) == [2, 1, 0]
        await turn(store, 0, "again")
        await turn(store, 1, "again")
        assert await listed(store) == [1, 0, 2]
        await store.close()

    asyncio.run(test())


def test_the_file_does_not_grow_with_the_number_of_turns(tmp_path: Path) -> None:
    async def test() -> None:
        store = await fill(tmp_path, 3)
        sizes: list[int] = []
        for number in range(300):
            await turn(store, number % 2, f"more{number}")
            sizes.append(activity(tmp_path).stat().st_size)
        assert max(sizes) < 256 * LINE
        assert await listed(store) == [1, 0, 2]
        await store.close()

    asyncio.run(test())


def test_a_file_that_has_each_name_once_is_not_rewritten(tmp_path: Path) -> None:
    layout = StoreLayout(tmp_path, JournalSettings(sync="never"))
    log = layout.activity(tmp_path)
    names = [f"{number:032x}" for number in range(300)]
    for name in names:
        log.append(name)
    assert log.path.stat().st_size == LINE * 301
    assert list(log.names()) == names[::-1]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_list_that_is_left_anywhere_leaves_no_file_open(
    tmp_path: Path, *, is_replaced: bool
) -> None:
    disk = Counting()
    log = StoreLayout(tmp_path, JournalSettings(disk, "never")).activity(tmp_path)
    names = [f"{number:032x}" for number in range(600)]
    for name in names:
        log.append(name)
    assert disk.calls["open"] == disk.calls["close"]
    listed = log.names()
    assert next(listed) == names[-1]
    assert disk.calls["open"] == disk.calls["close"]
    if is_replaced:
        log.path.rename(tmp_path / "copy")
        shutil.copy(tmp_path / "copy", log.path)
    assert [names[-1], *listed] == names[::-1]
    log.path.unlink()
    assert list(log.names()) == []


def test_a_file_that_was_replaced_meanwhile_is_opened_again(tmp_path: Path) -> None:
    async def test() -> None:
        disk = Counting()
        store = await fill(tmp_path, 2, disk=disk)
        path = activity(tmp_path)

        def replace() -> None:
            path.with_suffix(".new").write_bytes(path.read_bytes())
            path.with_suffix(".new").rename(path)

        disk.before_lock = replace
        await turn(store, 0, "again")
        assert disk.before_lock is None
        assert await listed(store) == [0, 1]
        await store.close()

    asyncio.run(test())


def test_a_file_that_cannot_be_written_fails_the_run_that_begins_and_none_that_ends(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        disk = Counting()
        store = await fill(tmp_path, 2, disk=disk)
        lease = await store.begin(key(0), Turn("again", "x"))
        await turn(store, 1, "again")
        disk.refuses = True
        await store.finish(lease, Turn("again", "x", status="done"), Change())
        with pytest.raises(StoreError, match=rf"{ACTIVITY}: .*check the disk"):
            await turn(store, 0, "third")
        with pytest.raises(StoreError, match="check the disk"):
            await store.sessions("ann")
        disk.refuses = False
        assert [turn.run_id for turn in await store.turns(key(0))] == ["r0", "again"]
        assert await store.run(key(0), "third") is None
        await store.close()

    asyncio.run(test())


@given(st.text(), st.text(), st.data())
def test_a_search_misses_nothing_that_it_does_not_read(
    asked: str, answer: str, data: st.DataObject
) -> None:
    turn = Turn("r", asked, answer=answer)
    whole = data.draw(st.sampled_from((asked, answer)))
    start = data.draw(st.integers(0, len(whole)))
    part = whole[start : data.draw(st.integers(start, len(whole)))]
    for text in (part, part.upper(), part.casefold(), asked[::-1]):
        if mentions(turn, text):
            assert may_mention(dump_json(encode_turn(turn)), text)
