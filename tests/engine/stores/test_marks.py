"""What a journal says of itself to have reached the disk: the rest may have holes, and no more."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from teamgraph import Change, Record, SessionKey, TinyDBStore, Turn
from teamgraph.engine.stores.journal.compaction import compact
from teamgraph.engine.stores.journal.disk import Disk
from teamgraph.engine.stores.journal.journal_file import (
    JournalFile,
    JournalSettings,
    Sync,
    TornTail,
)
from teamgraph.engine.stores.journal.line import Operation
from teamgraph.engine.stores.tinydb.directory import SkippedSession
from teamgraph.errors import DamagedStore

KEY = SessionKey("ann", "s")


def journal_of(root: Path) -> Path:
    """The file of the one session."""
    (path,) = root.rglob("*.jsonl")
    return path


async def begin(store: TinyDBStore, run_id: str) -> None:
    """A run with three records, which is left as it is."""
    lease = await store.begin(KEY, Turn(run_id, "x"))
    for node in ("one", "two", "three"):
        await store.put(lease, [Record(node, "done", output=f"{run_id} {node}")])
    await store.release(lease)


async def tell(store: TinyDBStore, run_id: str) -> None:
    """A whole turn."""
    lease = await store.begin(KEY, Turn(run_id, "x"))
    await store.put(lease, [Record("n", "done", output=f"{run_id} n")])
    await store.finish(lease, Turn(run_id, "x", status="done", answer=f"{run_id} end"), Change())


async def look(root: Path, run_id: str) -> tuple[list[str], set[str]]:
    """The done turns, and the nodes that are kept of a run."""
    store = TinyDBStore(root)
    try:
        run = await store.run(KEY, run_id)
        turns = [turn.run_id for turn in await store.turns(KEY)]
        return turns, set(run.records) if run else set()
    finally:
        await store.close()


def lose(path: Path, words: str) -> bytes:
    """Put zeros in place of some words, and tell what was there before."""
    data = path.read_bytes()
    assert data.count(words.encode()) == 1
    path.write_bytes(data.replace(words.encode(), bytes(len(words))))
    return data


def run(root: Path, *acts: Callable[[TinyDBStore], object], sync: Sync = "turn") -> None:
    """Let a store do something, and close it."""

    async def main() -> None:
        store = TinyDBStore(root, sync=sync)
        for act in acts:
            await act(store)  # type: ignore[misc]  # each is a coroutine
        await store.close()

    asyncio.run(main())


def test_a_hole_in_what_was_not_synced_costs_only_what_is_behind_it(tmp_path: Path) -> None:
    run(tmp_path, lambda store: tell(store, "r1"), lambda store: begin(store, "r2"))
    path = journal_of(tmp_path)
    before = lose(path, "r2 two")
    with pytest.warns(TornTail, match="saved in"):
        assert asyncio.run(look(tmp_path, "r2")) == (["r1"], {"one"})
    kept = path.read_bytes()
    assert before.startswith(kept)
    assert len(path.with_suffix(".torn").read_bytes()) == len(before) - len(kept)
    run(tmp_path, lambda store: tell(store, "r3"))
    assert asyncio.run(look(tmp_path, "r3")) == (["r1", "r3"], {"n"})


def test_a_first_run_that_lost_its_beginning_leaves_no_session(tmp_path: Path) -> None:
    run(tmp_path, lambda store: begin(store, "r1"))
    lose(journal_of(tmp_path), "teamgraph-journal")

    async def listed() -> None:
        store = TinyDBStore(tmp_path)
        assert await store.sessions("ann") == []
        await store.close()

    asyncio.run(listed())
    with pytest.warns(TornTail):
        assert asyncio.run(look(tmp_path, "r1")) == ([], set())
    run(tmp_path, lambda store: tell(store, "r2"))
    assert asyncio.run(look(tmp_path, "r2")) == (["r2"], {"n"})


@pytest.mark.parametrize("words", ["teamgraph-journal", "r1 n", "r2 n", "r2 end"])
@pytest.mark.parametrize("is_followed", [False, True])
def test_a_hole_in_what_was_synced_is_damage(
    tmp_path: Path, words: str, *, is_followed: bool
) -> None:
    run(tmp_path, lambda store: tell(store, "r1"), lambda store: tell(store, "r2"))
    if is_followed:
        run(tmp_path, lambda store: begin(store, "r3"))
    lose(journal_of(tmp_path), words)
    with pytest.raises(DamagedStore, match="damaged at byte"):
        asyncio.run(look(tmp_path, "r2"))


def test_whichever_byte_of_a_finished_turn_is_flipped_it_is_damage(tmp_path: Path) -> None:
    run(tmp_path, lambda store: tell(store, "r1"))
    path = journal_of(tmp_path)
    data = path.read_bytes()
    for at in range(data.rindex(b'{"c":')):
        path.write_bytes(data[:at] + bytes([data[at] ^ 128]) + data[at + 1 :])
        with pytest.raises(DamagedStore):
            JournalFile(path, JournalSettings(), owner={}, create=False)


def test_with_sync_always_every_write_is_damage_once_it_is_lost(tmp_path: Path) -> None:
    run(tmp_path, lambda store: begin(store, "r1"), sync="always")
    lose(journal_of(tmp_path), "r1 three")
    with pytest.raises(DamagedStore):
        asyncio.run(look(tmp_path, "r1"))


def test_where_nothing_is_ever_synced_a_hole_is_damage(tmp_path: Path) -> None:
    run(tmp_path, lambda store: begin(store, "r1"), sync="never")
    lose(journal_of(tmp_path), "r1 two")
    with pytest.raises(DamagedStore):
        asyncio.run(look(tmp_path, "r1"))
    with pytest.raises(DamagedStore):
        run(tmp_path, lambda store: store.turns(KEY), sync="never")


def test_an_open_store_takes_a_hole_as_one_that_opens_it(tmp_path: Path) -> None:
    async def main() -> None:
        reader, writer = TinyDBStore(tmp_path), TinyDBStore(tmp_path)
        await tell(writer, "r1")
        assert len(await reader.turns(KEY)) == 1
        await begin(writer, "r2")
        lose(journal_of(tmp_path), "r2 two")
        with pytest.warns(TornTail):
            found = await reader.run(KEY, "r2")
        assert found is not None
        assert set(found.records) == {"one"}
        await tell(writer, "r3")
        assert len(await reader.turns(KEY)) == 2
        lose(journal_of(tmp_path), "r1 n")
        for store in (reader, writer):
            await store.close()
        with pytest.warns(SkippedSession):
            listed = await reader.sessions("ann")
        assert listed == []
        with pytest.raises(DamagedStore):
            await reader.turns(KEY)

    asyncio.run(main())


@pytest.mark.parametrize("at", [0.0, 0.5, 0.99])
def test_damage_anywhere_in_a_compacted_journal_is_refused(tmp_path: Path, at: float) -> None:
    run(tmp_path, lambda store: tell(store, "r1"), lambda store: store.delete_run(KEY, "r1"))
    run(tmp_path, lambda store: begin(store, "r2"), lambda store: store.delete_run(KEY, "r0"))
    path = journal_of(tmp_path)
    data = path.read_bytes()
    place = int(data.rindex(b'{"c":') * at)
    path.write_bytes(data[:place] + b"\0" + data[place + 1 :])
    with pytest.raises(DamagedStore):
        asyncio.run(look(tmp_path, "r2"))


class Marking(Disk):
    """Does something else before a mark is written, and in the midst of a sync."""

    def __init__(self) -> None:
        self.on_mark: Callable[[], None] = _nothing
        self.on_sync: Callable[[], None] = _nothing

    def write(self, file: int, data: bytes, offset: int) -> int:
        if b'"o":"m"' in data:
            self.on_mark()
        return super().write(file, data, offset)

    def sync(self, file: int) -> None:
        act, self.on_sync = self.on_sync, _nothing
        act()
        super().sync(file)


def _nothing() -> None:
    pass


def put(journal: JournalFile, data: bytes) -> None:
    """Commit a document."""
    with journal.exclusive():
        journal.commit([Operation("p", "t", str(journal.index.next_number("t")), data=data)])


def damaged(path: Path, words: str) -> bool:
    """Whether it is damage to lose some words; they are lost."""
    lose(path, words)
    try:
        JournalFile(path, JournalSettings(), owner={}, create=False).close()
    except DamagedStore:
        return True
    return False


def test_what_could_not_be_said_after_the_sync_is_said_by_the_next_write(tmp_path: Path) -> None:
    disk = Marking()

    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    disk.on_mark = fail
    journal = JournalFile(tmp_path / "s.jsonl", JournalSettings(disk), owner={}, create=True)
    put(journal, b'"first"')
    journal.flush()
    end = journal.path.stat().st_size
    put(journal, b'"second"')
    journal.close()
    assert f'"s":{end}'.encode() in journal.path.read_bytes()
    assert damaged(journal.path, "first")


def test_nobody_waits_for_a_journal_to_say_what_was_synced(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    journal = JournalFile(path, JournalSettings(), owner={}, create=True)
    put(journal, b'"first"')
    other = JournalFile(path, JournalSettings(), owner={}, create=False)
    with other.exclusive():
        journal.flush()
        assert other.index.end == path.stat().st_size
    journal.flush()
    other.close()
    journal.close()
    assert damaged(path, "first")


@pytest.mark.filterwarnings("ignore::teamgraph.engine.stores.journal.journal_file.TornTail")
def test_a_file_that_took_the_place_of_a_synced_one_is_not_taken_for_it(tmp_path: Path) -> None:
    disk = Marking()
    journal = JournalFile(tmp_path / "s.jsonl", JournalSettings(disk), owner={}, create=True)
    put(journal, b'"first"')

    def replace() -> None:
        compact(journal)
        put(journal, b'"second"')
        put(journal, b'"third"')

    disk.on_sync = replace
    journal.flush()
    journal.close()
    assert not damaged(journal.path, "second")
    assert damaged(journal.path, "first")
