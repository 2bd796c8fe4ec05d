"""Journals of other versions: newer ones are refused, older ones are written anew."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from teamgraph import Change, Record, SessionKey, TinyDBStore, Turn
from teamgraph.engine.stores.journal.compaction import upgrade
from teamgraph.engine.stores.journal.journal_file import JournalSettings
from teamgraph.engine.stores.journal.line import (
    JournalFormat,
    Operation,
    Upgrade,
    dump_json,
    header_data,
    pack,
    parse_document,
)
from teamgraph.engine.stores.tinydb.directory import SessionDirectory, StoreLayout
from teamgraph.engine.stores.tinydb.session_file import OtherRuns
from teamgraph.engine.stores.tinydb.table import JournalStorage
from teamgraph.errors import StoreError, UnknownVersion

KEY = SessionKey("ann", "s")


def louder(operation: Operation) -> Operation:
    """An upgrade: what was said gets an exclamation mark."""
    document = parse_document(operation.data)
    if operation.table != "runs":
        return operation
    return replace_data(operation, {**document, "input": f"{document['input']}!"})


def replace_data(operation: Operation, document: Mapping[str, object]) -> Operation:
    """The operation with another document."""
    return replace(operation, data=dump_json(document))


def written_in(version: int, **upgrades: Upgrade) -> JournalSettings:
    """A teamgraph that writes journals of `version`, and reads those of v1, v2 ... as well."""
    known = {int(name[1:]): upgrade for name, upgrade in upgrades.items()}
    return JournalSettings(sync="turn", format=JournalFormat(version, known))


def an_old_session(root: Path) -> Path:
    """A session of version 1 with a compaction's worth of history, and where it lies."""

    async def write() -> None:
        store = TinyDBStore(root, sync="never")
        store._settings = replace(store._settings, format=JournalFormat())
        store.reset_after_fork()
        for number in (1, 2):
            lease = await store.begin(KEY, Turn(f"r{number}", f"hello {number}"))
            await store.put(lease, [Record("n", "done", output=number)])
            turn = Turn(lease.run_id, f"hello {number}", status="done")
            await store.finish(lease, turn, Change({"n": number}))
        await store.close()

    asyncio.run(write())
    return StoreLayout(root, JournalSettings()).journal(KEY)


def version_of(path: Path) -> object:
    """The version in a journal's header."""
    data = header_data(path.read_bytes().splitlines(keepends=True)[0])
    assert data is not None
    return parse_document(data)["version"]


def inputs(root: Path, settings: JournalSettings) -> list[str]:
    """What was said in the session, as a teamgraph of another version reads it."""
    files = SessionDirectory(root, settings, handles=1)
    session = files.open(KEY, create=False)
    assert session is not None
    with session.journal.shared():
        said = [turn.input for turn in session.turns()]
        assert session.head().state == {"n": 2}
        assert session.run("r1", OtherRuns()) is not None
    files.cache.release(session)
    files.cache.close()
    return said


def test_an_older_journal_is_rewritten_when_it_is_opened(tmp_path: Path) -> None:
    path = an_old_session(tmp_path)
    moment = path.stat().st_mtime_ns
    path.with_suffix(".tmp").write_bytes(b"a killed upgrade left this")
    newer = written_in(2, v1=louder)
    assert inputs(tmp_path, newer) == ["hello 1!", "hello 2!"]
    assert version_of(path) == 2
    assert path.stat().st_mtime_ns == moment
    assert not path.with_suffix(".tmp").exists()
    assert inputs(tmp_path, newer) == ["hello 1!", "hello 2!"]
    assert [
        info.key
        for info in SessionDirectory(tmp_path, newer, handles=1).infos("ann", limit=9, offset=0)
    ] == [KEY]


def test_upgrades_are_done_one_after_the_other(tmp_path: Path) -> None:
    path = an_old_session(tmp_path)
    assert inputs(tmp_path, written_in(3, v1=louder, v2=louder)) == ["hello 1!!", "hello 2!!"]
    assert version_of(path) == 3


def test_an_old_session_is_listed_before_it_is_upgraded(tmp_path: Path) -> None:
    path = an_old_session(tmp_path)
    files = SessionDirectory(tmp_path, written_in(2, v1=louder), handles=1)
    assert [info.first_input for info in files.infos("ann", limit=9, offset=0)] == ["hello 1!"]
    assert files.find(KEY.user_id, "r2") == KEY
    assert version_of(path) == 2


@pytest.mark.parametrize("version", [4, 99, 0, "1", None])
def test_a_version_that_is_not_known_is_refused_and_stays_as_it_is(
    tmp_path: Path, version: object
) -> None:
    path = an_old_session(tmp_path)
    header = {"format": "teamgraph-journal", "version": version, "owner": {}, "born": "x"}
    data, _ = pack([Operation("h", "", data=dump_json(header))], 1, 0)
    path.write_bytes(data)

    async def test() -> None:
        store = TinyDBStore(tmp_path)
        with pytest.raises(UnknownVersion, match="use the teamgraph that wrote it"):
            await store.turns(KEY)
        with pytest.raises(UnknownVersion, match=f"it has version {version} and this"):
            await store.begin(KEY, Turn("r", "x"))
        await store.close()

    asyncio.run(test())
    assert path.read_bytes() == data


def test_what_cannot_be_upgraded_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = an_old_session(tmp_path)
    before = path.read_bytes()

    def broken(operation: Operation) -> Operation:
        raise StoreError(f"table {operation.table!r} is not what it should be")

    with pytest.raises(StoreError, match="is not what it should be"):
        inputs(tmp_path, written_in(2, v1=broken))
    assert path.read_bytes() == before
    assert not path.with_suffix(".tmp").exists()
    with pytest.raises(StoreError, match="old version 1; open it with a store"):
        JournalStorage(path, written_in(2, v1=louder))
    upgrade(path, replace(written_in(2, v1=louder), sync="never"), 1)
    JournalStorage(path, written_in(2, v1=louder)).close()
