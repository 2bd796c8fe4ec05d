"""What becomes of the work of a thread when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from threading import Event

import pytest

from teamgraph import Change, SessionKey, TinyDBStore, Turn
from teamgraph.engine.stores.journal.disk import Disk, Named
from teamgraph.engine.stores.journal.syncing import ThreadPool
from teamgraph.errors import StoreError

LONG = [SessionKey("ann", "long"), SessionKey("ann", "longer")]
OTHER = SessionKey("ann", "other")


class Gated(Disk):
    """A disk on which a journal is opened once `gate` is set; `asked` tells that somebody waits."""

    def __init__(self) -> None:
        self.asked, self.gate = Event(), Event()
        self.open_journals: set[int] = set()

    def open(self, path: Named, flags: int) -> int:
        is_journal = os.fspath(path).endswith(".jsonl")
        if is_journal:
            self.asked.set()
            self.gate.wait()
        file = super().open(path, flags)
        if is_journal:
            self.open_journals.add(file)
        return file

    def close(self, file: int) -> None:
        self.open_journals.discard(file)
        super().close(file)


async def tell(store: TinyDBStore, key: SessionKey, text: str) -> None:
    """One whole turn that is done."""
    lease = await store.begin(key, Turn("r", text))
    await store.finish(lease, Turn("r", text, status="done"), Change())


async def cancel(task: asyncio.Task[object]) -> None:
    """Cancel a task, and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_session_that_nobody_waits_for_any_more_is_closed_as_others_are(
    tmp_path: Path, *, is_deleted: bool
) -> None:
    async def test() -> None:
        store = TinyDBStore(tmp_path, sync="never")
        for key in LONG:
            await tell(store, key, "x" * 300_000)
        await store.close()
        disk = Gated()
        store = TinyDBStore(tmp_path, sync="never", handles=1, disk=disk)
        for key in LONG:
            disk.asked.clear()
            reading = asyncio.create_task(store.head(key))
            await asyncio.to_thread(disk.asked.wait)
            await cancel(reading)
        if is_deleted:
            await TinyDBStore(tmp_path).delete_user("ann")
        disk.gate.set()
        assert bool(await store.sessions("ann")) is not is_deleted
        await tell(store, OTHER, "hello")
        assert len(disk.open_journals) == 1
        await store.close()
        assert not disk.open_journals

    asyncio.run(test())


@pytest.mark.parametrize(
    ("answer", "undone"), [("open", ["open"]), (StoreError("no"), [])], ids=["done", "failed"]
)
def test_only_what_was_done_is_undone(answer: str | StoreError, undone: list[str]) -> None:
    async def test() -> None:
        threads, begun, gate, told = ThreadPool(), Event(), Event(), list[str]()

        def act() -> str:
            begun.set()
            gate.wait()
            if isinstance(answer, StoreError):
                raise answer
            return answer

        task = asyncio.create_task(threads.run(act, undo=told.append))
        await asyncio.to_thread(begun.wait)
        await cancel(task)
        assert not told
        gate.set()
        threads.close()
        assert told == undone

    asyncio.run(test())


def test_what_was_not_begun_is_not_done_any_more() -> None:
    async def test() -> None:
        threads, gate, told = ThreadPool(), Event(), list[str]()
        # More than there are threads.
        busy = [asyncio.create_task(threads.run(gate.wait)) for _ in range(40)]
        late = asyncio.create_task(
            threads.run(lambda: told.append("done"), undo=lambda _: told.append("undone"))
        )
        await asyncio.sleep(0)
        await cancel(late)
        gate.set()
        await asyncio.gather(*busy)
        threads.close()
        assert not told

    asyncio.run(test())


def test_what_needs_no_undoing_is_left_to_its_end() -> None:
    async def test() -> None:
        threads, begun, gate, told = ThreadPool(), Event(), Event(), list[str]()

        def act() -> None:
            begun.set()
            gate.wait()
            told.append("done")

        task = asyncio.create_task(threads.run(act))
        await asyncio.to_thread(begun.wait)
        await cancel(task)
        gate.set()
        threads.close()
        assert told == ["done"]

    asyncio.run(test())


def test_a_turn_that_no_thread_can_show_is_given_back_as_others_are(tmp_path: Path) -> None:
    async def test() -> None:
        other = TinyDBStore(tmp_path, sync="never")
        await tell(other, OTHER, "hello")
        store = TinyDBStore(tmp_path, sync="never")
        await store.head(OTHER)
        size = threading.stack_size(1 << 46)  # more than any system has
        try:
            lease = await store.begin(OTHER, Turn("r2", "again"))
        finally:
            threading.stack_size(size)
        await store.release(lease)
        await other.release(await other.begin(OTHER, Turn("r3", "and again"), policy="reject"))
        await store.close()
        await other.close()

    asyncio.run(test())
