"""Who has the turn of a session among processes, and who no longer."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as enumerate_threads

import pytest

from teamgraph import Change, Record, SessionKey, TinyDBStore, Turn
from teamgraph.engine.stores.journal.disk import DISK, Disk, Named
from teamgraph.engine.stores.tinydb.lock import SessionLock
from teamgraph.errors import Conflict, InputError, SessionBusy, StoreError
from tests.children import answer, child, line

KEY = SessionKey("ann", "s")


class Clocked(Disk):
    """A disk whose clock is moved by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time


def abandoned(waiter: SessionLock, disk: Clocked, *pauses: float) -> list[bool]:
    """What a waiter finds, who looks after each pause; the holder has ten seconds."""
    found: list[bool] = []
    for pause in pauses:
        disk.time += pause
        found.append(waiter.is_stale(10))
    return found


def test_the_turn_lock_notices_that_its_file_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "s.lock"
    one, two = SessionLock(path, DISK), SessionLock(path, DISK)
    one.release()
    assert not one.is_held()
    assert one.try_acquire()
    one.release()
    path.unlink()
    assert not one.is_held()
    assert two.try_acquire()
    assert not one.try_acquire()
    two.close()
    two.close()
    assert one.try_acquire()
    one.close()
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="is a directory"):
        one.try_acquire()


def test_a_lock_is_stale_when_it_was_not_refreshed_while_it_was_watched(tmp_path: Path) -> None:
    disk = Clocked()
    holder, waiter = (SessionLock(tmp_path / "s.lock", disk) for _ in range(2))
    assert holder.try_acquire()
    assert not waiter.try_acquire()
    assert abandoned(waiter, disk, 0, 3, 3, 3) == [False] * 4
    holder.refresh()
    assert abandoned(waiter, disk, 3, 3, 3, 3) == [False] * 4
    assert abandoned(waiter, disk, 1) == [True]
    holder.refresh()
    assert not waiter.take_over()
    assert holder.is_held()


def test_a_waiter_that_was_suspended_too_gives_the_holder_time(tmp_path: Path) -> None:
    disk = Clocked()
    holder, waiter = (SessionLock(tmp_path / "s.lock", disk) for _ in range(2))
    assert holder.try_acquire()
    assert abandoned(waiter, disk, 0, 3, 3600) == [False] * 3
    holder.refresh()
    assert abandoned(waiter, disk, 1, 3600, 3600) == [False] * 3
    assert abandoned(waiter, disk, 3600) == [True]


def test_the_next_holder_does_not_inherit_the_silence_of_the_last(tmp_path: Path) -> None:
    disk = Clocked()
    one, two, waiter = (SessionLock(tmp_path / "s.lock", disk) for _ in range(3))
    assert one.try_acquire()
    assert abandoned(waiter, disk, 0, 3, 3, 3) == [False] * 4
    one.release()
    assert two.try_acquire()
    assert abandoned(waiter, disk, 3) == [False]


def test_a_lock_that_was_taken_over_is_not_held_and_not_refreshed(tmp_path: Path) -> None:
    path, disk = tmp_path / "s.lock", Clocked()
    holder, waiter, third = (SessionLock(path, disk) for _ in range(3))
    assert holder.try_acquire()
    assert abandoned(waiter, disk, 0, 3, 3, 3, 3)[-1]
    assert waiter.take_over()
    assert (holder.is_held(), waiter.is_held()) == (False, True)
    shown = path.stat().st_mtime_ns
    holder.refresh()
    assert path.stat().st_mtime_ns == shown
    holder.release()
    assert not holder.try_acquire()
    assert not third.try_acquire()
    waiter.release()
    assert holder.try_acquire()
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.lock"]


def test_who_waited_for_the_suspended_one_waits_for_his_successor_now(tmp_path: Path) -> None:
    disk = Clocked()
    holder, waiter, other = (SessionLock(tmp_path / "s.lock", disk) for _ in range(3))
    assert holder.try_acquire()
    assert not other.try_acquire()
    assert abandoned(waiter, disk, 0, 3, 3, 3, 3)[-1]
    assert waiter.take_over()
    assert not other.try_acquire()
    waiter.release()
    assert other.try_acquire()


def test_a_lock_that_cannot_be_taken_over_raises(tmp_path: Path) -> None:
    path, disk = tmp_path / "s.lock", Clocked()
    holder, waiter = (SessionLock(path, disk) for _ in range(2))
    assert holder.try_acquire()
    assert abandoned(waiter, disk, 0, 3, 3, 3, 3)[-1]
    path.with_suffix(".seized").mkdir()
    with pytest.raises(StoreError, match="is a directory"):
        waiter.take_over()
    path.unlink()
    assert not waiter.take_over()
    holder.refresh()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="not a directory"):
        SessionLock(tmp_path / "file" / "s.lock", DISK).is_stale(1)
    assert holder.is_held() is False


def test_a_seizure_that_fails_halfway_lets_go_of_its_file(tmp_path: Path) -> None:
    class Renaming(Clocked):
        def rename(self, path: Named, new: Named) -> None:
            raise PermissionError(13, "permission denied")

    path, disk = tmp_path / "s.lock", Renaming()
    holder, waiter = (SessionLock(path, disk) for _ in range(2))
    assert holder.try_acquire()
    assert abandoned(waiter, disk, 0, 3, 3, 3, 3)[-1]
    with pytest.raises(StoreError, match="give this user the right"):
        waiter.take_over()
    assert holder.is_held()
    held = [entry.resolve() for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    assert path.with_suffix(".seized") not in held


def lock_of(root: Path) -> Path:
    """The one lock file of a store."""
    (path,) = root.glob("users/*/*/*.lock")
    return path


def showing() -> set[Thread]:
    """The threads that show that turns are held."""
    return {thread for thread in enumerate_threads() if thread.name == "teamgraph-heartbeat"}


HOLDER = """
async def main():
    store = TinyDBStore(root, sync="never", lease_timeout=float(argument))
    lease = await store.begin(KEY, Turn("late", "x"))
    await store.put(lease, [Record("first", "done")])
    say("holding")
    sys.stdin.readline()
    said = []
    for act in (
        lambda: store.put(lease, [Record("second", "done")]),
        lambda: store.finish(lease, Turn("late", "x", status="done"), Change({"late": True})),
        lambda: store.put(lease, [Record("third", "done")]),
    ):
        try:
            await act()
        except StoreError as error:
            said.append(f"{type(error).__name__}: {error}")
    say("|".join(said))
    sys.stdin.readline()
    lease = await store.begin(KEY, Turn("late", "x"))
    say(f"again after {lease.head.turns}")
    await store.finish(lease, Turn("late", "x", status="done"), Change())
    await store.close()
asyncio.run(main())
"""


def test_a_suspended_process_loses_its_turn_and_writes_nothing_more(tmp_path: Path) -> None:
    process = child(tmp_path, HOLDER, "0.3")
    assert line(process) == "holding"

    async def test() -> None:
        store = TinyDBStore(tmp_path, sync="never", lease_timeout=0.3)
        os.kill(process.pid, signal.SIGSTOP)
        lease = await store.begin(KEY, Turn("next", "x"))
        os.kill(process.pid, signal.SIGCONT)
        answer(process)
        said = line(process).split("|")
        assert len(said) == 3
        assert all(text.startswith("Conflict: run 'late': ") for text in said)
        assert "another one has taken over" in said[0]
        assert "resume the run" in said[0]
        late = await store.run(KEY, "late")
        assert late is not None
        assert (late.status, list(late.records)) == ("running", ["first"])
        await store.put(lease, [Record("n", "done")])
        turn = await store.finish(lease, Turn("next", "x", status="done"), Change({"next": True}))
        assert turn.number == 1
        answer(process)
        assert line(process) == "again after 1"
        process.communicate(timeout=30)
        head = await store.head(KEY)
        assert head is not None
        assert (head.turns, head.state) == (2, {"next": True})
        await store.close()

    asyncio.run(test())
    assert process.returncode == 0


def test_a_living_process_refreshes_its_lock_while_it_waits_for_a_model(tmp_path: Path) -> None:
    class Watched(Disk):
        def __init__(self) -> None:
            self.touched = 0
            self.shown = Event()

        def touch(self, path: Named, moment: int | None = None) -> None:
            super().touch(path, moment)
            if str(path).endswith(".lock"):
                self.touched += 1
                if self.touched == 3:
                    self.shown.set()

    async def test() -> None:
        disk = Watched()
        store = TinyDBStore(tmp_path, sync="never", lease_timeout=0.06, disk=disk)
        lease = await store.begin(KEY, Turn("r1", "x"))
        assert await asyncio.to_thread(disk.shown.wait, 30)
        await store.put(lease, [Record("n", "done")])
        await store.release(lease)
        await store.close()

    asyncio.run(test())


def test_the_heartbeat_stops_when_no_lock_is_held(tmp_path: Path) -> None:
    others = showing()

    async def test() -> None:
        store = TinyDBStore(tmp_path, sync="never", lease_timeout=0.03)
        for number in range(2):
            lease = await store.begin(KEY, Turn(f"r{number}", "x"))
            (thread,) = showing() - others
            await store.release(lease)
            await asyncio.to_thread(thread.join, 30)
            assert not thread.is_alive()
        await store.begin(KEY, Turn("r2", "x"))
        (thread,) = showing() - others
        await store.close()
        await asyncio.to_thread(thread.join, 30)

    asyncio.run(test())


def test_a_lock_that_is_taken_over_before_its_run_begins_is_acquired_again(tmp_path: Path) -> None:
    class Stolen(Disk):
        """Puts another lock file in place, just when the journal is about to be locked."""

        armed = False

        def lock(self, file: int) -> bool:
            if self.armed and Path(f"/proc/self/fd/{file}").resolve().suffix == ".jsonl":
                self.armed = False
                lock_of(tmp_path).unlink()
            return super().lock(file)

    async def test() -> None:
        disk = Stolen()
        store = TinyDBStore(tmp_path, sync="never", disk=disk)
        await store.release(await store.begin(KEY, Turn("r1", "x")))
        disk.armed = True
        lease = await store.begin(KEY, Turn("r2", "x"))
        assert not disk.armed
        await store.put(lease, [Record("n", "done")])
        fork = await store.begin(KEY, Turn("r3", "x"), policy="fork")
        lock_of(tmp_path).unlink()
        with pytest.raises(Conflict, match="taken over"):
            await store.put(lease, [Record("n", "done")])
        await store.put(fork, [Record("n", "done")])
        await store.close()

    asyncio.run(test())


def test_a_rejecting_waiter_may_take_over_too(tmp_path: Path) -> None:
    async def test() -> None:
        disk = Clocked()
        store = TinyDBStore(tmp_path, sync="never")
        waiter = TinyDBStore(tmp_path, sync="never", disk=disk, lease_timeout=9)
        await store.begin(KEY, Turn("r1", "x"))
        for _ in range(3):
            with pytest.raises(SessionBusy):
                await waiter.begin(KEY, Turn("r2", "x"), policy="reject")
            disk.time += 3600
        lease = await waiter.begin(KEY, Turn("r2", "x"), policy="reject")
        await waiter.put(lease, [Record("n", "done")])
        await store.close()
        await waiter.close()

    asyncio.run(test())


@pytest.mark.parametrize("forks_first", [False, True])
def test_a_lease_that_was_taken_over_writes_nothing_more(
    tmp_path: Path, *, forks_first: bool
) -> None:
    async def test() -> None:
        disk = Clocked()
        store = TinyDBStore(tmp_path, sync="never")
        waiter = TinyDBStore(tmp_path, sync="never", disk=disk, lease_timeout=9)
        lease = await store.begin(KEY, Turn("r1", "x"))
        await store.put(lease, [Record("n", "done")])
        for _ in range(3):
            with pytest.raises(SessionBusy):
                await waiter.begin(KEY, Turn("r2", "x"), policy="reject")
            disk.time += 3600
        taken = await waiter.begin(KEY, Turn("r2", "x"), policy="reject")
        if forks_first:  # a run beside others sees what the other process wrote
            beside = await store.begin(KEY, Turn("r3", "x"), policy="fork")
            await store.put(beside, [Record("n", "done")])
        for write in (
            store.put(lease, [Record("late", "done")]),
            store.finish(lease, Turn("r1", "x", status="done"), Change()),
        ):
            with pytest.raises(Conflict, match="taken over"):
                await write
        await waiter.put(taken, [Record("n", "done")])
        run = await waiter.run(KEY, "r1")
        assert run is not None
        assert run.records.keys() == {"n"}
        await store.close()
        await waiter.close()

    asyncio.run(test())


def test_a_put_makes_no_more_system_calls_than_a_write_under_a_lock(tmp_path: Path) -> None:
    class Counting(Disk):
        """Notes the calls."""

        def __init__(self) -> None:
            self.calls: list[str] = []

        def __getattribute__(self, name: str) -> object:
            if name in ("lock", "unlock", "status", "read", "write", "open", "touch", "sync"):
                self.calls.append(name)
            return super().__getattribute__(name)

    async def test() -> None:
        disk = Counting()
        store = TinyDBStore(tmp_path, sync="never", disk=disk)
        lease = await store.begin(KEY, Turn("r1", "x"))
        for node in ("a", "b"):
            disk.calls.clear()
            await store.put(lease, [Record(node, "done")])
            assert disk.calls == ["lock", "status", "write", "unlock"]
        await store.close()

    asyncio.run(test())


def test_a_holder_that_refreshes_its_lock_after_all_is_not_replaced(tmp_path: Path) -> None:
    class Refreshed(Clocked):
        """Refreshes the session's lock, just when the journal is about to be locked."""

        armed = False

        def lock(self, file: int) -> bool:
            if self.armed and Path(f"/proc/self/fd/{file}").resolve().suffix == ".jsonl":
                os.utime(lock_of(tmp_path), (1, 1))
            return super().lock(file)

    async def test() -> None:
        disk = Refreshed()
        store = TinyDBStore(tmp_path, sync="never")
        waiter = TinyDBStore(tmp_path, sync="never", disk=disk, lease_timeout=9)
        lease = await store.begin(KEY, Turn("r1", "x"))
        for number in range(4):
            disk.armed = number == 3
            with pytest.raises(SessionBusy):
                await waiter.begin(KEY, Turn("r2", "x"), policy="reject")
            disk.time += 3600
        await store.put(lease, [Record("n", "done")])
        await store.close()
        await waiter.close()

    asyncio.run(test())


def test_a_lock_is_deleted_only_by_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "r.lock"
    one, two = SessionLock(path, DISK), SessionLock(path, DISK)
    assert one.try_acquire()
    path.unlink()
    assert two.try_acquire()
    one.delete()
    assert two.is_held()
    two.delete()
    assert not path.exists()


def test_a_run_in_progress_beside_others_is_not_begun_in_their_place(tmp_path: Path) -> None:
    async def test() -> None:
        store, other = TinyDBStore(tmp_path, sync="never"), TinyDBStore(tmp_path, sync="never")
        lease = await store.begin(KEY, Turn("r1", "x"), policy="fork")
        with pytest.raises(SessionBusy):
            await other.begin(KEY, Turn("r1", "x"), policy="reject")
        await store.release(lease)
        await other.begin(KEY, Turn("r1", "x"), policy="reject")
        await store.close()
        await other.close()

    asyncio.run(test())


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_lease_lasts_some_time(tmp_path: Path, timeout: float) -> None:
    with pytest.raises(InputError, match="lease_timeout"):
        TinyDBStore(tmp_path, lease_timeout=timeout)
