"""What the store does when the system refuses, or does half of what it was asked for."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from teamgraph import Change, Record, SessionKey, TinyDBStore, Turn
from teamgraph.engine.session.store import FinishedRun
from teamgraph.engine.stores.journal.disk import (
    DISK,
    Disk,
    Named,
    OpenFile,
    lock_file,
    replace_file,
)
from teamgraph.engine.stores.journal.journal_file import Sync, TornTail
from teamgraph.engine.stores.tinydb.directory import SkippedSession
from teamgraph.engine.stores.tinydb.repair import Survey
from teamgraph.errors import StoreError
from tests.children import child, output

KEY = SessionKey("ann", "s")


class Broken(Disk):
    """A disk whose calls fail as often as they are told to, by their names."""

    def __init__(self, **left: int) -> None:
        self.left = left
        self.number = errno.EIO

    def _may_fail(self, name: str) -> None:
        if self.left.get(name, 0) > 0:
            self.left[name] -= 1
            raise OSError(self.number, os.strerror(self.number))

    def read(self, file: int, length: int, offset: int) -> bytes:
        self._may_fail("read")
        return super().read(file, length, offset)

    def names(self, directory: Named) -> list[str]:
        self._may_fail("names")
        return super().names(directory)

    def sync(self, file: int) -> None:
        self._may_fail("sync")
        super().sync(file)

    def truncate(self, file: int, length: int) -> None:
        self._may_fail("truncate")
        super().truncate(file, length)

    def status(self, file: int | Named) -> os.stat_result:
        self._may_fail("status")
        return super().status(file)

    def write(self, file: int, data: bytes, offset: int) -> int:
        if self.left.get("write", 0) > 0:
            super().write(file, data[: len(data) // 2], offset)
            self._may_fail("write")
        if self.left.get("half", 0) > 0:
            self.left["half"] -= 1
            return super().write(file, data[: len(data) // 2], offset)
        if self.left.get("nothing", 0) > 0:
            self.left["nothing"] -= 1
            return 0
        return super().write(file, data, offset)


class Closed(Disk):
    """A disk that makes no directory, though those above are there, as /proc does."""

    def make_directory(self, path: Named) -> None:
        if Path(path).is_dir():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


async def tell(store: TinyDBStore, run_id: str) -> None:
    """One whole turn that is done."""
    lease = await store.begin(KEY, Turn(run_id, "hello"))
    try:
        await store.put(lease, [Record("n", "done", output=run_id)])
        await store.finish(lease, Turn(run_id, "hello", status="done"), Change())
    finally:
        await store.release(lease)


def journal_of(root: Path) -> Path:
    """The one journal of a store."""
    (path,) = root.glob("users/*/*/*.jsonl")
    return path


def test_where_no_directory_can_be_made_the_place_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        store = TinyDBStore(tmp_path / "store", disk=Closed())
        with pytest.raises(StoreError, match=r"/store: no such file or directory; .*another store"):
            await tell(store, "r1")
        await store.close()

    asyncio.run(test())


def test_a_session_whose_sync_failed_is_rewritten(tmp_path: Path) -> None:
    async def test() -> None:
        disk = Broken()
        store = TinyDBStore(tmp_path, disk=disk)
        await tell(store, "r1")
        before = journal_of(tmp_path).stat().st_ino
        disk.left["sync"] = 1
        with pytest.raises(StoreError, match="check the disk"):
            await tell(store, "r2")
        disk.left["sync"] = 1
        with pytest.raises(StoreError, match="check the disk"):
            await tell(store, "r3")
        assert journal_of(tmp_path).stat().st_ino == before
        assert not journal_of(tmp_path).with_suffix(".tmp").exists()
        await tell(store, "r4")
        assert journal_of(tmp_path).stat().st_ino != before
        assert [turn.run_id for turn in await store.turns(KEY)] == ["r1", "r2", "r4"]
        await store.close()

    asyncio.run(test())


def test_after_a_failed_sync_a_run_in_progress_cannot_write(tmp_path: Path) -> None:
    async def test() -> None:
        disk = Broken()
        store = TinyDBStore(tmp_path, sync="always", disk=disk)
        lease = await store.begin(KEY, Turn("r1", "x"))
        disk.left["sync"] = 1
        with pytest.raises(StoreError, match="check the disk"):
            await store.put(lease, [Record("a", "done")])
        with pytest.raises(StoreError, match=r"did not reach the disk; .* begin the run again"):
            await store.put(lease, [Record("b", "done")])
        await store.release(lease)
        lease = await store.begin(KEY, Turn("r1", "x"))
        await store.put(lease, [Record("b", "done")])
        run = await store.run(KEY, "r1")
        assert run is not None
        assert "b" in run.records
        await store.close()

    asyncio.run(test())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EINTR])
def test_a_write_that_fails_halfway_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    async def test() -> None:
        disk = Broken()
        disk.number = number
        store = TinyDBStore(tmp_path, disk=disk)
        await tell(store, "r1")
        before = journal_of(tmp_path).read_bytes()
        disk.left["write"] = 1
        with pytest.raises(StoreError, match=r"make room|check the disk|try again"):
            await tell(store, "r2")
        assert journal_of(tmp_path).read_bytes() == before
        await tell(store, "r3")
        assert [turn.run_id for turn in await store.turns(KEY)] == ["r1", "r3"]
        await store.close()

    asyncio.run(test())


def test_torn_bytes_that_could_not_be_undone_are_cut_before_the_next_write(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        disk = Broken()
        store = TinyDBStore(tmp_path, disk=disk)
        await tell(store, "r1")
        before = journal_of(tmp_path).read_bytes()
        disk.left.update(write=1, truncate=1)
        with pytest.raises(StoreError):
            await tell(store, "r2")
        torn = journal_of(tmp_path).read_bytes()
        assert len(torn) > len(before)
        with pytest.warns(TornTail):
            await tell(store, "r3")
        aside = journal_of(tmp_path).with_suffix(".torn")
        assert before + aside.read_bytes() == torn
        other = TinyDBStore(tmp_path)
        assert [turn.run_id for turn in await other.turns(KEY)] == ["r1", "r3"]
        await other.close()
        await store.close()

    asyncio.run(test())


def test_a_write_in_two_parts_is_whole_and_one_that_writes_nothing_fails(tmp_path: Path) -> None:
    async def test() -> None:
        disk = Broken(half=2)
        store = TinyDBStore(tmp_path, disk=disk)
        await tell(store, "r1")
        disk.left.update(half=1, nothing=1)
        with pytest.raises(StoreError, match="check the disk"):
            await tell(store, "r2")
        await tell(store, "r3")
        assert [turn.run_id for turn in await store.turns(KEY)] == ["r1", "r3"]
        await store.close()

    asyncio.run(test())


READER = """
async def main():
    os.seteuid(65534 if os.geteuid() == 0 else os.geteuid())
    store = TinyDBStore(root)
    say(str([turn.run_id for turn in await store.turns(KEY)]))
    say(str((await store.run(KEY, "r1")).records["n"].output))
    say(str([info.turns for info in await store.sessions("ann")]))
    say(str(len(await store.search("ann", "hello", last=3))))
    for act in (
        lambda: store.begin(KEY, Turn("r2", "x")),
        lambda: store.begin(SessionKey("bob", "new"), Turn("r2", "x")),
        lambda: store.rename(KEY, "name"),
        lambda: store.delete_run(KEY, "r1"),
        lambda: store.delete_session(KEY),
        lambda: store.put_prompt("0" * 16, {}),
    ):
        try:
            await act()
            say("done")
        except StoreError as error:
            say(str(error))
    await store.close()
    os.seteuid(os.getuid())
asyncio.run(main())
"""


@pytest.mark.parametrize("tail", [b"", b"torn"])
def test_a_session_that_is_read_only_can_be_read(tail: bytes) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        store = TinyDBStore(root)
        asyncio.run(tell(store, "r1"))
        asyncio.run(store.close())
        with journal_of(root).open("ab") as file:
            file.write(tail)
        before = journal_of(root).read_bytes()
        for path in [root, *root.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        said = output(child(root, READER)).splitlines()
        assert said[:4] == ["['r1']", "r1", "[1]", "1"]
        assert len(said) == 10
        for text in said[4:]:
            assert "permission denied; give this user the right to read and write" in text
        assert journal_of(root).read_bytes() == before
        assert not list(root.rglob("*.torn"))
    finally:
        for path in [root, *root.rglob("*")]:
            path.chmod(0o700)
        shutil.rmtree(root)


def test_a_session_that_may_be_written_again_is_written_again(tmp_path: Path) -> None:
    class Guarded(Disk):
        may_write = True

        def open(self, path: Named, flags: int) -> int:
            if not self.may_write and flags & os.O_RDWR and str(path).endswith(".jsonl"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return super().open(path, flags)

    async def test() -> None:
        disk = Guarded()
        store = TinyDBStore(tmp_path, disk=disk)
        await tell(store, "r1")
        await store.close()
        disk.may_write = False
        assert len(await store.turns(KEY)) == 1
        with pytest.raises(StoreError, match="permission denied"):
            await tell(store, "r2")
        disk.may_write = True
        await tell(store, "r3")
        assert [turn.run_id for turn in await store.turns(KEY)] == ["r1", "r3"]
        await store.close()

    asyncio.run(test())


def test_what_a_killed_process_left_of_a_file_is_removed_once_it_is_old(tmp_path: Path) -> None:
    old, young = (tmp_path / f"file.{number}-1.tmp" for number in (1, 2))
    for path in (old, young, tmp_path / "other.1-1.tmp"):
        path.touch()
    os.utime(old, (0, 0))
    replace_file(DISK, tmp_path / "file", b"x", sync=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "file",
        "file.2-1.tmp",
        "other.1-1.tmp",
    ]


def test_a_file_that_is_locked_for_a_minute_raises(tmp_path: Path) -> None:
    class Patient(Disk):
        paused = 0.0

        def pause(self, seconds: float) -> None:
            self.paused += seconds

    disk = Patient()
    path = tmp_path / "file"
    one, two = (OpenFile(disk, path, create=True) for _ in range(2))
    lock_file(disk, one.descriptor, path)
    with pytest.raises(
        StoreError, match="had it locked for 60 seconds; wake that process or end it"
    ):
        lock_file(disk, two.descriptor, path)
    assert 60 <= disk.paused < 61


def test_a_file_whose_state_cannot_be_read_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(OSError, match="error"):
        OpenFile(Broken(status=1), path, create=True)
    assert path not in [entry.resolve() for entry in Path("/proc/self/fd").iterdir()]


def test_a_file_that_is_closed_while_it_is_synced_stays_open_until_then(tmp_path: Path) -> None:
    class Slow(Disk):
        def __init__(self) -> None:
            self.began, self.may_end = threading.Event(), threading.Event()
            self.closed: list[int] = []

        def sync(self, file: int) -> None:
            self.began.set()
            assert self.may_end.wait(30)
            super().sync(file)

        def close(self, file: int) -> None:
            self.closed.append(file)
            super().close(file)

    disk = Slow()
    file = OpenFile(disk, tmp_path / "file", create=True)
    thread = threading.Thread(target=file.sync)
    thread.start()
    assert disk.began.wait(30)
    file.close()
    file.close()
    assert disk.closed == []
    disk.may_end.set()
    thread.join()
    assert disk.closed == [file.descriptor]
    file.sync()


def test_what_cannot_be_read_raises_and_is_read_later(tmp_path: Path) -> None:
    async def test() -> None:
        disk = Broken()
        store = TinyDBStore(tmp_path, disk=disk)
        for number in range(20):  # more turns than are kept in memory
            await tell(store, f"r{number}")
        disk.left["read"] = 1
        with pytest.raises(StoreError, match="check the disk"):
            await store.turns(KEY)
        disk.left["read"] = 1
        with pytest.raises(StoreError, match="check the disk"):
            await store.find("ann", "r1")
        assert len(await store.turns(KEY)) == 20
        assert await store.find("ann", "r1") == KEY
        await store.close()

    asyncio.run(test())


@pytest.mark.parametrize("place", ["users", "users/*", "users/*/*"])
def test_a_file_in_the_place_of_a_directory_is_passed_over_by_a_survey(
    tmp_path: Path, place: str
) -> None:
    async def test() -> None:
        store = TinyDBStore(tmp_path)
        await tell(store, "r1")
        await store.close()

    asyncio.run(test())
    replace_by_file(tmp_path, place)
    assert Survey(tmp_path).journals == []


def replace_by_file(root: Path, place: str) -> None:
    """Put a file where a directory was."""
    (directory,) = root.glob(place)
    shutil.rmtree(directory)
    directory.touch()


def test_a_damaged_session_that_may_only_be_read_is_refused(tmp_path: Path) -> None:
    class Guarded(Disk):
        def open(self, path: Named, flags: int) -> int:
            if flags & os.O_RDWR and str(path).endswith(".jsonl"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return super().open(path, flags)

    async def test() -> None:
        store = TinyDBStore(tmp_path)
        await tell(store, "r1")
        await store.close()
        data = bytearray(journal_of(tmp_path).read_bytes())
        data[len(data) // 2] ^= 1
        journal_of(tmp_path).write_bytes(bytes(data))
        reader = TinyDBStore(tmp_path, disk=Guarded())
        with pytest.raises(StoreError, match="damaged at byte"):
            await reader.turns(KEY)
        with pytest.warns(SkippedSession):
            assert await reader.sessions("ann") == []
        await reader.close()

    asyncio.run(test())


def journals_of(root: Path) -> set[Path]:
    """All journals of a store."""
    return {*root.glob("users/*/*/*.jsonl")}


def test_a_user_is_listed_if_any_session_can_be_read(tmp_path: Path) -> None:
    async def test() -> None:
        store = TinyDBStore(tmp_path / "store")
        assert await store.users() == []
        assert not store.path.exists(), "reading makes no store"
        await tell(store, "r1")
        first = journal_of(store.path)
        await store.finish(
            await store.begin(SessionKey("ann", "t"), Turn("r2", "hi")),
            Turn("r2", "hi", status="done", answer="yes"),
            Change(),
        )
        await store.close()
        newest = TinyDBStore(store.path)
        (path,) = journals_of(store.path) - {first}
        path.write_bytes(path.read_bytes().replace(b"hi", b"ho"))
        with pytest.warns(SkippedSession) as caught:
            assert await newest.users() == ["ann"]
        assert caught[0].filename == __file__
        assert await newest.delete_session(KEY)
        with pytest.warns(SkippedSession):
            assert await newest.users() == []
        await newest.close()

    asyncio.run(test())


class Fleeting(Disk):
    """A disk on which somebody deletes a journal just before it is opened for the n-th time."""

    def __init__(self, left: int) -> None:
        self.left = left

    def open(self, path: Named, flags: int) -> int:
        if str(path).endswith(".jsonl"):
            self.left -= 1
            if self.left == 0:
                self.remove(path)
        return super().open(path, flags)


@pytest.mark.parametrize(
    ("look", "opening"),
    [
        *(("sessions", 1), ("sessions", 2), ("search", 1), ("search", 2)),
        *(("find", 1), ("find", 2), ("find", 3)),
    ],
)
def test_a_session_that_is_deleted_while_it_is_looked_at_is_not_there(
    tmp_path: Path, look: str, opening: int
) -> None:
    async def test() -> None:
        store = TinyDBStore(tmp_path)
        await tell(store, "r1")
        await store.close()
        reader = TinyDBStore(tmp_path, disk=Fleeting(opening))
        looks = {
            "sessions": lambda: reader.sessions("ann"),
            "search": lambda: reader.search("ann", "hello", last=3),
            "find": lambda: reader.find("ann", "r1"),
        }
        assert not await looks[look]()
        await reader.close()

    asyncio.run(test())
    assert not list(tmp_path.glob("users/*/*/*.jsonl")), "it was deleted in time"


def test_a_directory_that_cannot_be_listed_raises(tmp_path: Path) -> None:
    async def test() -> None:
        disk = Broken()
        store = TinyDBStore(tmp_path, disk=disk)
        await store.put_prompt("ab" * 8, {"a": "b"})
        disk.left["names"] = 1
        with pytest.raises(StoreError, match=r"prompts: .*; check the disk"):
            await store.prompt_hashes()
        assert await store.prompt_hashes() == ["ab" * 8]
        await store.close()

    asyncio.run(test())


def test_a_session_that_cannot_be_unlocked_is_opened_again(tmp_path: Path) -> None:
    class Stuck(Disk):
        is_stuck = False

        def open(self, path: Named, flags: int) -> int:
            if self.is_stuck and str(path).endswith(".jsonl"):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().open(path, flags)

        def unlock(self, file: int) -> None:
            if self.is_stuck:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().unlock(file)

    async def test() -> None:
        disk = Stuck()
        store = TinyDBStore(tmp_path, disk=disk)
        await tell(store, "r1")
        disk.is_stuck = True
        with pytest.raises(StoreError, match="allow this process more open files"):
            await tell(store, "r2")
        disk.is_stuck = False
        await tell(store, "r3")
        assert [turn.run_id for turn in await store.turns(KEY)] == ["r1", "r3"]
        await store.close()

    asyncio.run(test())


CALLS = (
    "open close read write truncate sync sync_directory lock unlock status touch rename remove "
    "make_directory remove_directory names"
)


@pytest.mark.parametrize(("failing", "way"), [("rename", "check the disk"), ("lock", "check the")])
def test_a_session_that_cannot_be_created_raises_and_leaves_nothing(
    tmp_path: Path, failing: str, way: str
) -> None:
    class Refusing(Disk):
        """A disk that does not rename a new session, or locks no file."""

        def rename(self, path: Named, target: Named) -> None:
            if failing == "rename" and str(path).endswith(".import"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().rename(path, target)

        def lock(self, file: int) -> bool:
            if failing == "lock":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().lock(file)

    async def test() -> None:
        store = TinyDBStore(tmp_path, disk=Refusing())
        with pytest.raises(StoreError, match=way):
            await store.create(KEY, [FinishedRun(Turn("r1", "x", status="done"), [], Change())])
        assert await store.head(KEY) is None
        await store.close()

    asyncio.run(test())
    assert not list(tmp_path.glob("users/*/*/*.import"))


def test_a_run_that_cannot_be_marked_as_cancelled_raises(tmp_path: Path) -> None:
    class Full(Disk):
        """A disk that has no room for another file."""

        is_full = False

        def open(self, path: Named, flags: int) -> int:
            if self.is_full and flags & os.O_CREAT:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().open(path, flags)

    async def test() -> None:
        disk = Full()
        store, other = TinyDBStore(tmp_path, disk=disk), TinyDBStore(tmp_path)
        lease = await other.begin(KEY, Turn("r1", "x"))
        disk.is_full = True
        with pytest.raises(StoreError, match="space"):
            await store.cancel(KEY, "r1")
        await other.release(lease)
        await store.close()
        await other.close()

    asyncio.run(test())


def test_a_session_is_created_while_its_directory_is_deleted(tmp_path: Path) -> None:
    class Emptied(Disk):
        """A disk on which somebody deletes the session's file just after it was opened."""

        armed = True

        def open(self, path: Named, flags: int) -> int:
            file = super().open(path, flags)
            if self.armed and str(path).endswith(".jsonl"):
                self.armed = False
                self.remove(path)
            return file

    async def test() -> None:
        store = TinyDBStore(tmp_path, disk=Emptied())
        await store.create(KEY, [FinishedRun(Turn("r1", "x", status="done"), [], Change())])
        assert [turn.run_id for turn in await store.turns(KEY)] == ["r1"]
        await store.close()

    asyncio.run(test())


def test_a_session_whose_first_write_was_torn_has_no_user(tmp_path: Path) -> None:
    async def test() -> None:
        store = TinyDBStore(tmp_path)
        await tell(store, "r1")
        await store.close()
        os.truncate(journal_of(tmp_path), 10)
        reader = TinyDBStore(tmp_path)
        assert await reader.users(limit=9) == []
        await reader.close()

    asyncio.run(test())


class Once(Disk):
    """A disk of whose calls one fails, the one whose turn it is."""

    def __init__(self, number: int) -> None:
        self.turn, self.number, self.calls, self.name = -1, number, 0, ""

    def __getattribute__(self, name: str) -> object:
        if name in CALLS.split():
            self.calls += 1
            if self.calls == self.turn:
                self.name = name
                return self.fail
        return super().__getattribute__(name)

    def sync(self, file: int) -> None:
        """Nothing: no power is cut here."""

    def sync_directory(self, path: Named) -> None:
        """Nothing."""

    def fail(self, *_: object) -> None:
        raise OSError(self.number, os.strerror(self.number))


async def do_everything(store: TinyDBStore, run_id: str) -> list[StoreError]:
    """Call what writes and what reads; only errors of ours come out."""
    told: list[StoreError] = []
    prompt_hash = run_id.rjust(16, "0")
    for act in (
        lambda: tell(store, run_id),
        lambda: store.search("ann", "hello", last=3),
        lambda: store.rename(KEY, run_id),
        lambda: store.put_prompt(prompt_hash, {"a": "b"}),
        lambda: store.prompt(prompt_hash),
        lambda: store.find(KEY.user_id, run_id),
        lambda: store.runs(KEY),
        lambda: store.delete_run(KEY, "none"),
        lambda: store.delete_session(SessionKey("ann", "none")),
        lambda: store.delete_user("bob"),
    ):
        try:
            await act()
        except StoreError as error:
            told.append(error)
    return told


@pytest.mark.parametrize(
    ("sync", "number"), [("turn", errno.EIO), ("always", errno.ENOSPC)], ids=["turn", "always"]
)
def test_whichever_call_fails_it_raises_and_nothing_acknowledged_is_lost(
    tmp_path: Path, sync: Sync, number: int
) -> None:
    async def test(turn: int) -> bool:
        """Let call number `turn` fail; whether there was one."""
        disk = Once(number)
        root = tmp_path / str(turn)
        store = TinyDBStore(root, sync=sync, disk=disk)
        await tell(store, "before")
        disk.calls, disk.turn = 0, turn
        told = await do_everything(store, "r1")
        disk.turn = -1
        for error in told:
            assert str(tmp_path) in str(error)
            assert "; " in str(error)
        is_lost = not any(turn.run_id == "r1" for turn in await store.turns(KEY))
        assert told or not is_lost, f"{disk.name} failed, and nobody was told"
        assert await do_everything(store, "r2") == []
        await store.close()
        other = TinyDBStore(root)
        done = [turn.run_id for turn in await other.turns(KEY)]
        assert done in (["before", "r1", "r2"], ["before", "r2"])
        assert is_lost or "r1" in done
        await other.close()
        shutil.rmtree(root)
        return bool(disk.name)

    turn = 1
    while asyncio.run(test(turn)):
        turn += 1
    assert turn > 80
