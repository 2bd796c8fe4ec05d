"""The embedded store: its files, what happens when they are not as they should be, and waiting."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
import warnings
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import pytest
from tinydb import where
from tinydb.operations import delete

from teamgraph import Change, Exchange, Message, Record, SessionKey, Summary, TinyDBStore, Turn
from teamgraph.engine.stores.journal.compaction import compact, delete_journal, remove_set_aside
from teamgraph.engine.stores.journal.disk import DISK, Disk, Named
from teamgraph.engine.stores.journal.journal_file import JournalFile, JournalSettings
from teamgraph.engine.stores.journal.line import (
    Operation,
    dump_json,
    pack,
    parse_document,
    parse_json,
)
from teamgraph.engine.stores.tinydb.directory import SessionCache, SkippedSession, StoreLayout
from teamgraph.engine.stores.tinydb.session_file import SessionFile
from teamgraph.errors import (
    Conflict,
    DamagedStore,
    InputError,
    NotFound,
    StoreError,
    UnknownVersion,
)
from tests.children import child, output

KEY = SessionKey("ann", "s")
ROUNDS = range(1, 4)


def run(coroutine: Coroutine[object, object, None]) -> None:
    """Run an asynchronous test."""
    asyncio.run(coroutine)


def make(root: Path) -> TinyDBStore:
    """A store that leaves syncing to the system: these tests cut no power."""
    return TinyDBStore(root, sync="never")


async def tell(
    store: TinyDBStore, run_id: str, *, key: SessionKey = KEY, output: str = "", text: str = "hello"
) -> Turn:
    """One whole turn that is done."""
    lease = await store.begin(key, Turn(run_id, text))
    await store.put(lease, [Record("n", "done", output=output)])
    number = lease.head.turns + 1
    change = Change({"n": run_id}, summary=Summary(f"s{number}", covers=number))
    return await store.finish(lease, Turn(run_id, text, status="done", answer="hi"), change)


def journal(root: Path, key: SessionKey = KEY) -> Path:
    """Where a session lies."""
    return StoreLayout(root, JournalSettings()).journal(key)


def test_a_summary_is_read_as_it_is_stored_also_before_it_is_read_from_the_file(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        store, topics = make(tmp_path), ["sea"]  # a list, as of a kind that does not type-check
        lease = await store.begin(KEY, Turn("r1", "hello"))
        written = Summary("s", topics=cast("tuple[str, ...]", topics), covers=1, run_id="r1")
        change = Change(summary=written)
        await store.finish(lease, Turn("r1", "hello", status="done", answer="hi"), change)
        topics.append("later")
        cached = await store.summary(KEY, until=1)
        await store.close()
        stored = await make(tmp_path).summary(KEY, until=1)
        assert cached == stored == Summary("s", topics=("sea",), covers=1, run_id="r1")

    run(test())


def test_only_the_owner_can_read_what_is_stored(tmp_path: Path) -> None:
    async def test() -> None:
        store = TinyDBStore(tmp_path / "store")
        await tell(store, "r1")
        await store.put_prompt("ab" * 8, {"a": "b"})
        lease = await store.begin(KEY, Turn("r2", "x"))
        await store.release(lease)
        await store.close()

    run(test())
    found = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "store").rglob("*")}
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    names = {str(path.relative_to(tmp_path / "store")) for path in found}
    assert {"store.json", f"prompts/{'ab' * 8}.json"} < names
    path = journal(tmp_path / "store")
    assert path.parent.name[:2] == path.parent.parent.name
    assert parse_json((tmp_path / "store" / "store.json").read_bytes()) == {
        "format": "teamgraph-store",
        "version": 1,
    }


def test_reading_makes_no_directory(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path / "store")
        assert await store.head(KEY) is None
        assert await store.sessions("ann") == []
        assert await store.find("ann", "r") is None
        assert not await store.delete_session(KEY)

    run(test())
    assert not (tmp_path / "store").exists()


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_bytes(dump_json({"format": "teamgraph-store", "version": 2}))
    with pytest.raises(UnknownVersion, match="newer one"):
        run(tell_and_forget(make(tmp_path)))


def test_a_store_whose_mark_is_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_bytes(b"{")
    with pytest.raises(DamagedStore, match=r"store\.json"):
        run(tell_and_forget(make(tmp_path)))


async def tell_and_forget(store: TinyDBStore) -> None:
    """One turn."""
    await tell(store, "r1")


def test_an_unknown_way_to_sync_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'always', 'turn' or 'never'"):
        TinyDBStore(tmp_path, sync="often")  # type: ignore[arg-type]


def test_the_session_is_a_tinydb_database(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await tell(store, "r1", output="one")
        await tell(store, "r2", output="two")
        with store.database(KEY) as database:
            assert database.tables() == {"runs", "nodes", "state", "summaries"}
            (found,) = database.table("runs").search(where("run_id") == "r2")
            assert (found["input"], found["status"], found.doc_id) == ("hello", "done", 2)
            (node,) = database.table("nodes").search(where("run") == found.doc_id)
            assert node["output"] == "two"
            database.table("runs").update({"answer": "changed"}, where("run_id") == "r2")
            for table in ("runs", "state", "summaries", "nodes"):
                database.table(table).insert({"mine": 1})
                database.table(table).remove(where("mine") == 1)
            assert [turn.answer for turn in await store.turns(KEY)] == ["hi", "changed"]
            database.table("state").remove(where("name") == "n")
            database.table("summaries").remove(where("covers") == 2)
            database.table("nodes").remove(where("run") == 2)
            database.table("runs").remove(where("run_id") == "r1")
        head = await store.head(KEY)
        assert head is not None
        assert (head.turns, head.state, head.summary) == (2, {}, Summary("s1", covers=1))
        assert [turn.run_id for turn in await store.runs(KEY)] == ["r2"]
        left = await store.run(KEY, "r2")
        assert left is not None
        assert left.records == {}
        with pytest.raises(NotFound, match="nobody"):
            store.database(SessionKey("ann", "nobody"))
        await store.close()

    run(test())


def test_a_value_of_the_state_without_a_writer_is_read(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await tell(store, "r1")
        with store.database(KEY) as database:
            database.table("state").update(delete("run"))
        head = await store.head(KEY)
        assert head is not None
        assert (head.state, head.writers) == ({"n": "r1"}, {})
        await store.close()

    run(test())


def test_a_replayed_message_costs_no_second_copy(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        first = await tell(store, "r1", text="long " * 1000)
        before = journal(tmp_path).stat().st_size
        lease = await store.begin(KEY, Turn("r2", "x"))
        messages = (
            Message(role="user", content=first.input, origin="r1"),
            Message(role="assistant", content=first.answer or "", origin="r1"),
        )
        record = Record("n", "done", exchanges=(Exchange("p", "h", "m", messages, "ok"),) * 20)
        await store.put(lease, [record])
        assert journal(tmp_path).stat().st_size - before < 2_500
        with store.database(KEY) as database:
            database.table("runs").remove(where("run_id") == "r1")
        found = await store.run(KEY, "r2")
        assert found is not None
        read = found.records["n"].exchanges[0].messages
        assert [message.content for message in read] == ["(deleted)", "(deleted)"]
        await store.close()

    run(test())


def test_a_deleted_run_leaves_no_byte_behind(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await tell(store, "r1", output="a secret", text="secret")
        await tell(store, "r2")
        path = journal(tmp_path)
        path.with_suffix(".torn").write_bytes(b"secret")
        assert await store.delete_run(KEY, "r1")
        assert all(b"secret" not in other.read_bytes() for other in path.parent.iterdir())
        lease = await store.begin(KEY, Turn("r3", "x"))
        await store.release(lease)
        assert await store.delete_session(KEY)
        assert not path.parent.exists()
        await store.close()

    run(test())


def test_a_damaged_session_is_left_out_of_lists_and_can_be_deleted(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        other = SessionKey("ann", "other")
        for number in ROUNDS:
            await tell(store, f"r{number}")
            await tell(store, f"o{number}", key=other)
        await store.close()
        data = bytearray(journal(tmp_path).read_bytes())
        data[len(data) // 2] ^= 1
        journal(tmp_path).write_bytes(bytes(data))
        with pytest.raises(DamagedStore, match="repair --salvage"):
            await store.turns(KEY)
        with pytest.raises(DamagedStore):
            await store.begin(KEY, Turn("r9", "x"))
        with pytest.warns(SkippedSession, match="left out"):
            assert [info.key for info in await store.sessions("ann")] == [other]
        with pytest.warns(SkippedSession):
            assert len(await store.search("ann", "hello", last=2)) == len(ROUNDS)
        assert await store.delete_session(KEY)
        assert await store.turns(KEY) == []
        await tell(store, "r1")
        await store.close()

    run(test())


def test_a_journal_with_nothing_in_it_is_no_session(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await tell(store, "r1")
        torn = SessionKey("ann", "torn")
        journal(tmp_path, SessionKey("ann", "empty")).touch()
        journal(tmp_path, torn).write_bytes(journal(tmp_path).read_bytes()[:50])
        (journal(tmp_path).parent / "dangling.jsonl").symlink_to("nowhere")
        assert [info.key for info in await store.sessions("ann")] == [KEY]
        assert await store.head(torn) is None
        assert not await store.rename(SessionKey("ann", "empty"), "x")
        assert await store.find("ann", "nobody") is None
        assert await store.find("ann", "hello") is None
        await store.close()

    run(test())


def test_a_run_is_found_by_its_id_and_not_by_its_words(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await tell(store, "r1", text='"k":["r2",')
        lease = await store.begin(SessionKey(None, "s"), Turn("r3", "x"))
        await store.put(lease, [Record("r2", "done")])
        await store.release(lease)
        await tell(store, "r4")
        assert await store.find("ann", "r2") is None
        assert await store.find("ann", "state") is None
        assert await store.find(None, "r3") == SessionKey(None, "s")
        await store.close()

    run(test())


@pytest.mark.parametrize("lost", ["file", "folder"])
def test_a_prompt_is_stored_again_if_it_was_removed_meanwhile(tmp_path: Path, lost: str) -> None:
    async def test() -> None:
        store = make(tmp_path)
        for _ in range(2):
            await store.put_prompt("ab" * 8, {"a": "b"})
            assert await store.prompt("ab" * 8) == {"a": "b"}
            folder = tmp_path / "prompts"
            shutil.rmtree(folder) if lost == "folder" else next(folder.iterdir()).unlink()
            assert await store.prompt("ab" * 8) is None
        await store.close()

    run(test())


def test_damaged_prompt_sources_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await store.put_prompt("ab" * 8, {"a": "b"})
        (path,) = (tmp_path / "prompts").iterdir()
        for bad in (b"{", b"[]", b'{"sources":[]}', b"{}"):
            path.write_bytes(bad)
            with pytest.raises(DamagedStore, match="delete the file"):
                await store.prompt("ab" * 8)
        path.unlink()
        path.mkdir()
        with pytest.raises(StoreError, match="is a directory"):
            await store.prompt("ab" * 8)
        path.rmdir()
        (tmp_path / "prompts").rmdir()
        (tmp_path / "prompts").touch()
        with pytest.raises(StoreError, match="prompts"):
            await store.put_prompt("cd" * 8, {"a": "b"})
        assert await store.prompt_hashes() == []
        await store.close()

    run(test())


def test_files_in_the_place_of_directories_are_told_of(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await tell(store, "r1")
        await store.close()
        user = journal(tmp_path).parent
        shutil.rmtree(user)
        user.touch()
        for failing in (store.head(KEY), store.sessions("ann"), store.delete_session(KEY)):
            with pytest.raises(StoreError, match="a store is a directory"):
                await failing
        user.unlink()
        user.mkdir()
        journal(tmp_path).mkdir()
        with pytest.raises(StoreError, match="check the disk"):
            await store.sessions("ann")
        with pytest.raises(StoreError, match="check the disk"):
            await store.find("ann", "r1")
        await store.close()

    run(test())


def open_files(root: Path) -> list[Path]:
    """What this process has open below `root`."""
    files = [entry.resolve() for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    return [path for path in files if root in path.parents]


def test_many_sessions_share_few_open_files(tmp_path: Path) -> None:
    async def test() -> None:
        store = TinyDBStore(tmp_path, sync="never", handles=3)
        keys = [SessionKey("ann", f"s{number}") for number in range(30)]
        leases = [await store.begin(key, Turn(f"r-{key.session_id}", "x")) for key in keys]
        for lease in leases:
            await store.put(lease, [Record("n", "done")])
            await store.finish(lease, Turn(lease.run_id, "x", status="done"), Change())
        assert sum(path.suffix == ".jsonl" for path in open_files(tmp_path)) == 3
        assert len(await store.sessions("ann", limit=99)) == 30
        await store.close()
        assert open_files(tmp_path) == []

    run(test())


def test_closing_ends_leases_and_later_use_opens_the_store_again(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        lease = await store.begin(KEY, Turn("r1", "x"))
        await store.close()
        with pytest.raises(Conflict):
            await store.put(lease, [Record("n", "done")])
        await tell(store, "r2")
        assert [turn.run_id for turn in await store.turns(KEY)] == ["r2"]
        await store.close()

    run(test())


def test_a_long_session_is_opened_once_by_many_tasks(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await tell(store, "r1", output="x" * 3_000_000)
        await tell(store, "r2")
        await store.close()
        found = await asyncio.gather(*(store.turns(KEY) for _ in range(8)))
        assert all([turn.run_id for turn in turns] == ["r1", "r2"] for turns in found)
        await store.close()

    run(test())


def test_who_finds_the_journal_held_waits_in_a_thread(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await tell(store, "r1")
        lease = await store.begin(KEY, Turn("r2", "x"))
        other = JournalFile(
            journal(tmp_path), JournalSettings(sync="never"), owner={}, create=False
        )
        with other.exclusive():
            assert await store.run(KEY, "r1") is not None
            waiting = asyncio.create_task(store.put(lease, [Record("n", "done")]))
            await asyncio.sleep(0.01)
            reading = asyncio.create_task(store.head(KEY))
            await asyncio.sleep(0.01)
            assert not waiting.done()
        await asyncio.gather(waiting, reading)
        assert reading.result() is not None
        other.close()
        await store.release(lease)
        await store.close()

    run(test())


def test_a_session_that_is_mostly_garbage_is_compacted(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        for number in ROUNDS:
            lease = await store.begin(KEY, Turn(f"r{number}", "x"))
            for _ in range(5):
                await store.put(lease, [Record("n", "done", output="x" * 400_000)])
            await store.finish(lease, Turn(f"r{number}", "x", status="done"), Change())
            assert journal(tmp_path).stat().st_size < number * 400_000 + 10_000
        assert [turn.number for turn in await store.turns(KEY)] == list(ROUNDS)
        await store.close()

    run(test())


def test_a_turn_is_stored_even_if_there_is_no_room_to_compact(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        lease = await store.begin(KEY, Turn("r1", "x"))
        for _ in range(5):
            await store.put(lease, [Record("n", "done", output="x" * 400_000)])
        journal(tmp_path).with_suffix(".tmp").mkdir()
        turn = await store.finish(lease, Turn("r1", "x", status="done"), Change())
        assert turn.number == 1
        journal(tmp_path).with_suffix(".tmp").rmdir()
        await store.close()

    run(test())


def test_a_session_deleted_while_it_is_open_starts_empty(tmp_path: Path) -> None:
    async def test() -> None:
        store, other = make(tmp_path), make(tmp_path)
        for number in ROUNDS:
            assert (await tell(store, f"r{number}")).number == 1
            assert await other.delete_session(KEY)
            assert await store.head(KEY) is None
            await tell(store, f"again{number}")
            assert await other.delete_user("ann") == 1
        lease = await store.begin(KEY, Turn("r9", "x"))
        assert lease.head.turns == 0
        await store.close()
        await other.close()

    run(test())


def test_what_cannot_be_deleted_raises(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.with_suffix(".torn").mkdir()
    with pytest.raises(StoreError, match="check the disk"):
        remove_set_aside(DISK, path)
    path.touch()
    with pytest.raises(StoreError, match="check the disk"):
        delete_journal(DISK, path, sync=False)


def test_a_compaction_whose_last_step_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    opened = JournalFile(path, JournalSettings(sync="never"), owner={}, create=True)
    with opened.exclusive():
        path.unlink()
        path.mkdir()
        with pytest.raises(StoreError):
            compact(opened)
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.jsonl"]
    opened.close()


@pytest.mark.parametrize("data", [b"[]", b"1", b"{", b'"\\ud800"', b"\xff"])
def test_what_is_no_mapping_is_damage(data: bytes) -> None:
    with pytest.raises(DamagedStore, match="backup"):
        parse_document(data)


def test_any_mapping_and_any_sequence_is_json() -> None:
    value: Mapping[str, object] = MappingProxyType({"a": range(3), "b": MappingProxyType({})})
    assert parse_json(dump_json(value)) == {"a": [0, 1, 2], "b": {}}


def test_a_record_that_was_given_another_shape_is_damage(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await tell(store, "r1")
        with store.database(KEY) as database:
            database.table("nodes").update({"unheard_of": 1})
            with pytest.raises(DamagedStore, match="record"):
                await store.run(KEY, "r1")
        await store.close()

    run(test())


def test_a_session_may_be_opened_by_a_list_and_a_turn_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        lease = await store.begin(KEY, Turn("r1", "x"))
        journal(tmp_path).unlink()
        again = await asyncio.gather(*(store.head(KEY) for _ in range(3)))
        assert again == [None, None, None]
        await store.release(lease)
        await store.close()

    run(test())


def test_a_session_whose_first_line_is_damaged_is_not_left_out_in_silence(tmp_path: Path) -> None:
    async def test() -> None:
        store = make(tmp_path)
        await tell(store, "r1")
        journal(tmp_path).write_bytes(b"x" + journal(tmp_path).read_bytes())
        with pytest.warns(SkippedSession, match="damaged at byte 0"):
            assert await store.sessions("ann") == []
        await store.close()

    run(test())


def test_a_session_that_was_begun_again_elsewhere_is_listed(tmp_path: Path) -> None:
    async def test() -> None:
        store, other = make(tmp_path), make(tmp_path)
        lease = await store.begin(KEY, Turn("r1", "old"))
        await other.delete_session(KEY)
        await tell(other, "r2", text="new")
        assert [info.first_input for info in await store.sessions("ann")] == ["new"]
        assert [hit.turn.input for hit in await store.search("ann", "new", last=1)] == ["new"]
        with pytest.raises(Conflict):
            await store.put(lease, [Record("n", "done")])
        assert len(await store.turns(KEY)) == 1
        await store.close()
        await other.close()

    run(test())


def test_a_session_that_was_dropped_is_closed_by_the_last_one_who_gives_it_back(
    tmp_path: Path,
) -> None:
    cache = SessionCache(2)
    settings = JournalSettings(sync="never")
    activity = StoreLayout(tmp_path, settings).activity(tmp_path)
    session = SessionFile(tmp_path / "s.jsonl", KEY, settings, create=True, activity=activity)
    assert cache.add(session) is session
    assert cache.acquire(KEY) is session
    cache.discard(session)
    cache.discard(session)
    assert cache.acquire(KEY) is None
    cache.release(session)
    assert len(open_files(tmp_path)) == 1
    cache.release(session)
    assert open_files(tmp_path) == []


NEWER = {"format": "teamgraph-journal", "version": 99, "owner": KEY._asdict(), "born": "x"}
UNFIT: dict[str, tuple[str, dict[str, object]]] = {
    "input": ("runs", {"input": 5}),
    "answer": ("runs", {"answer": ["x"]}),
    "status": ("runs", {"status": None}),
    "started": ("runs", {"started": "noon"}),
    "usage": ("runs", {"usage": 3}),
    "unknown field": ("runs", {"surprise": 1}),
    "name": ("state", {"name": {"a": 1}}),
    "turns": ("state", {"turns": "many"}),
    "newer version": ("", NEWER),
    "no owner": ("", {**NEWER, "version": 1, "owner": None}),
}


@pytest.mark.parametrize("what", list(UNFIT))
def test_a_session_that_cannot_be_read_hides_no_other(tmp_path: Path, what: str) -> None:
    table, change = UNFIT[what]

    async def test() -> None:
        store = make(tmp_path)
        other = SessionKey("ann", "other")
        for key in (KEY, other):
            lease = await store.begin(key, Turn(f"r {key.session_id}", "hello"))
            turn = Turn(lease.run_id, "hello", status="done", answer="hi")
            await store.finish(lease, turn, Change())
            await store.rename(key, "Trip")
        if table:
            with store.database(KEY) as database:
                database.table(table).update(change)
        else:
            lines = journal(tmp_path).read_bytes().splitlines(keepends=True)
            header, _ = pack([Operation("h", "", data=dump_json(change))], 1, 0)
            journal(tmp_path).write_bytes(header + b"".join(lines[1:]))
        store = make(tmp_path)
        with pytest.warns(SkippedSession):
            assert [info.key for info in await store.sessions("ann")] == [other]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkippedSession)
            assert {hit.key for hit in await store.search("ann", "hello", last=9)} <= {KEY, other}
            assert other in {hit.key for hit in await store.search("ann", "hello", last=9)}
            assert await store.users() == ["ann"]
            assert await store.find("ann", "r other") == other
        await store.close()

    run(test())


def test_sessions_stay_in_order_when_the_clock_is_set_back(tmp_path: Path) -> None:
    store = make(tmp_path)

    async def turn(session: str, run_id: str) -> None:
        lease = await store.begin(SessionKey("ann", session), Turn(run_id, "x"))
        await store.finish(lease, Turn(run_id, "x", status="done"), Change())

    for session in ("a", "b"):
        asyncio.run(turn(session, "r1"))
    later = time.time_ns() + 10**12
    for path in tmp_path.glob("users/*/*/*"):  # the clock was set back since
        os.utime(path, ns=(later, later))
    for session in ("c", "a", "d", "b"):
        asyncio.run(turn(session, "r2"))
    listed = [info.key.session_id for info in asyncio.run(make(tmp_path).sessions("ann"))]
    assert listed == ["b", "d", "a", "c"]
    assert asyncio.run(store.delete_user("ann")) == 4
    assert list(tmp_path.glob("users/*/*")) == []
    run(store.close())


def test_the_directories_above_a_new_store_are_synced(tmp_path: Path) -> None:
    synced: list[Path] = []

    class Watched(Disk):
        def sync_directory(self, path: Named) -> None:
            synced.append(Path(path))
            super().sync_directory(path)

    async def test() -> None:
        store = TinyDBStore(tmp_path / "new" / "above" / "store", disk=Watched())
        lease = await store.begin(KEY, Turn("r", "x"))
        await store.finish(lease, Turn("r", "x", status="done"), Change())
        await store.close()

    run(test())
    assert {tmp_path, tmp_path / "new", tmp_path / "new" / "above"} <= set(synced)


@pytest.mark.parametrize("number", [0, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused(tmp_path: Path, number: int) -> None:
    class Unlocked(Disk):
        def lock(self, file: int) -> bool:
            if number:
                raise OSError(number, os.strerror(number))
            return True  # to everybody

    async def test() -> None:
        store = TinyDBStore(tmp_path, disk=Unlocked())
        with pytest.raises(StoreError, match=r"does not lock files.*local disk"):
            await store.begin(KEY, Turn("r", "x"))
        await store.close()

    run(test())


def test_a_store_that_two_create_at_once_is_not_taken_for_one_without_locks(tmp_path: Path) -> None:
    class CreatedTwice(Disk):
        replaced = False

        def open(self, path: Named, flags: int) -> int:
            file = super().open(path, flags)
            if Path(path).name == "store.json" and not self.replaced:
                self.replaced = True
                shutil.copy(path, tmp_path / "other")
                (tmp_path / "other").replace(path)
            return file

    async def test() -> None:
        store = TinyDBStore(tmp_path, disk=CreatedTwice())
        await store.release(await store.begin(KEY, Turn("r", "x")))
        await store.close()

    run(test())


def test_idle_sessions_are_closed_where_no_more_files_can_be_opened(tmp_path: Path) -> None:
    few = child(
        tmp_path,
        """
        async def main():
            store = TinyDBStore(root)  # of which half the limit would be idle sessions
            resource.setrlimit(resource.RLIMIT_NOFILE, (48, 4096))
            for number in range(200):
                key = SessionKey("ann", f"s{number % 120}")
                lease = await store.begin(key, Turn(f"r{number}", "x"))
                await store.put(lease, [Record("n", "done")])
                await store.finish(lease, Turn(f"r{number}", "x", status="done"), Change())
            say(str(len(await store.sessions("ann", limit=500))))
            small = TinyDBStore(root)
            for number in range(120):
                await small.head(SessionKey("ann", f"s{number}"))
            keys = [SessionKey("ann", f"s{number}") for number in range(60)]
            try:
                for key in keys:
                    await store.begin(key, Turn("held", "x"))
            except StoreError as error:
                say(str(error).rpartition("; ")[2])
        asyncio.run(main())
        """,
    )
    said = output(few).splitlines()
    assert said == ["120", "allow this process more open files, or give the store fewer handles"]
