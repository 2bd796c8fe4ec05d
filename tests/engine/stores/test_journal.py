"""The journal: whatever happens to the file, nothing that was committed is lost or made up."""

from __future__ import annotations

import os
import random
import warnings
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tinydb import Query, where
from tinydb.operations import increment
from tinydb.table import Document

from teamgraph.engine.stores.journal.compaction import compact, delete_journal
from teamgraph.engine.stores.journal.disk import DISK, Disk
from teamgraph.engine.stores.journal.journal_file import (
    JournalDeleted,
    JournalFile,
    JournalSettings,
    TornTail,
)
from teamgraph.engine.stores.journal.line import Operation, dump_json, pack
from teamgraph.engine.stores.tinydb.table import JournalDatabase, JournalStorage, JournalTable
from teamgraph.errors import DamagedStore, InputError, StoreError, UnknownVersion

OWNER = {"user_id": "ann", "session_id": "s"}
Content = dict[str, dict[int, dict[str, object]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal lies."""
    return tmp_path / "session.jsonl"


def database(path: Path, **options: object) -> JournalDatabase:
    """Open a journal as a TinyDB."""
    return JournalDatabase(path, JournalSettings(sync="never"), **options)


def file_of(opened: JournalDatabase) -> JournalFile:
    """The file under a database."""
    return cast("JournalStorage", opened.storage).file


def content(path: Path) -> Content:
    """All that a new opener finds."""
    with database(path, create=False) as found:
        return {
            name: {document.doc_id: dict(document) for document in found.table(name)}
            for name in found.tables()
        }


def fill(path: Path, count: int = 4) -> None:
    """Some documents, each of another length, the last two in one transaction."""
    with database(path) as new:
        for number in range(count):
            new.table("runs").insert({"n": number, "text": "é" * number})
        new.table("runs").insert_multiple([{"n": 100}, {"n": 101, "text": "last"}])


def damaged(path: Path, data: bytes) -> None:
    """Put other bytes in place."""
    path.write_bytes(data)
    path.with_suffix(".torn").unlink(missing_ok=True)


def test_a_write_torn_at_any_byte_is_cut_and_set_aside(path: Path) -> None:
    with database(path) as new:
        new.table("runs").insert_multiple([{"n": 1}, {"n": 2}])
    before = path.read_bytes()
    with database(path) as again:
        again.table("runs").insert_multiple([{"n": 3}, {"n": 4, "text": "é"}])
    whole = path.read_bytes()
    for length in range(len(before) + 1, len(whole)):
        damaged(path, whole[:length])
        assert [document["n"] for document in content(path)["runs"].values()] == [1, 2]
        assert path.stat().st_size == length
        with pytest.warns(TornTail, match="torn"), database(path) as writer:
            assert writer.table("runs").insert({"n": 5}) == 3
        assert path.with_suffix(".torn").read_bytes() == whole[len(before) : length]
        assert path.with_suffix(".torn").stat().st_mode & 0o777 == 0o600
        assert [document["n"] for document in content(path)["runs"].values()] == [1, 2, 5]


@pytest.mark.parametrize("tail", [b"\0" * 99, b"noise", b"\n", b"{}\n{}\n", b'{"c":"00000000",'])
def test_noise_behind_the_last_write_is_cut(path: Path, tail: bytes) -> None:
    fill(path)
    expected = content(path)
    damaged(path, path.read_bytes() + tail)
    with pytest.warns(TornTail), database(path) as writer:
        writer.table("runs").update({"seen": True}, doc_ids=[1])
    expected["runs"][1]["seen"] = True
    assert content(path) == expected


def test_a_first_write_that_was_torn_leaves_an_empty_journal(path: Path) -> None:
    fill(path, 1)
    data = path.read_bytes()
    damaged(path, data[: data.index(b"\n") + 5])
    assert content(path) == {}
    with pytest.warns(TornTail):
        fill(path, 1)
    assert len(content(path)["runs"]) == 3


def test_a_flipped_bit_is_never_served(path: Path) -> None:
    fill(path, 6)
    whole, expected = path.read_bytes(), content(path)
    last = len(whole) - sum(map(len, whole.splitlines(keepends=True)[-2:])) - 1
    chosen = random.Random(7)
    refused = 0
    for _ in range(400):
        place = chosen.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << chosen.randrange(8)
        damaged(path, bytes(flipped))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TornTail)
                found = content(path)
        except (DamagedStore, UnknownVersion):
            refused += 1
            assert path.read_bytes() == bytes(flipped), "damage is never repaired in silence"
        else:
            assert place >= last
            assert found["runs"].items() <= expected["runs"].items()
    assert refused > 200


def test_a_duplicated_line_is_damage(path: Path) -> None:
    fill(path)
    data = path.read_bytes()
    damaged(path, data + data.splitlines(keepends=True)[-1])
    with pytest.raises(DamagedStore, match="store repair --salvage"):
        content(path)


def test_an_open_journal_notices_damage_as_a_reader_and_as_a_writer(path: Path) -> None:
    fill(path)
    with database(path) as reader, database(path) as writer:
        data = path.read_bytes()
        fill(path)
        grown = path.read_bytes()
        damaged_line = bytearray(grown)
        damaged_line[len(data) + 40] ^= 1
        path.write_bytes(bytes(damaged_line))
        with pytest.raises(DamagedStore):
            reader.table("runs").all()
        with pytest.raises(DamagedStore):
            writer.table("runs").insert({"n": 1})
        path.write_bytes(grown)
        assert len(reader.table("runs")) == 12


def test_a_journal_of_a_newer_version_is_refused(path: Path) -> None:
    header = {"format": "teamgraph-journal", "version": 9, "owner": {}, "born": "x"}
    data, _ = pack([Operation("h", "", data=dump_json(header))], 1, 0)
    path.write_bytes(data)
    with pytest.raises(UnknownVersion, match="newer one"):
        database(path)
    assert path.read_bytes() == data


def test_another_format_is_refused(path: Path) -> None:
    data, _ = pack([Operation("h", "", data=b'{"format":"x"}')], 1, 0)
    path.write_bytes(data)
    with pytest.raises(DamagedStore, match="not a journal"):
        database(path)


def test_a_file_that_was_moved_to_another_session_is_refused(path: Path) -> None:
    with database(path, owner=OWNER) as new:
        new.insert({"n": 1})
    with pytest.raises(DamagedStore, match="belongs to session_id 's', not to 't'"):
        database(path, owner={**OWNER, "session_id": "t"})


def test_opening_a_missing_journal_raises(path: Path) -> None:
    with pytest.raises(JournalDeleted):
        database(path, create=False)
    assert not path.exists()


def test_a_deleted_journal_raises_for_all_that_have_it_open(path: Path) -> None:
    fill(path)
    with database(path) as reader, database(path) as writer:
        path.with_suffix(".torn").touch()
        assert delete_journal(DISK, path, sync=True)
        assert list(path.parent.iterdir()) == []
        with pytest.raises(JournalDeleted):
            reader.table("runs").all()
        with pytest.raises(JournalDeleted):
            writer.insert({"n": 1})
        fill(path)
        with pytest.raises(JournalDeleted, match="created again"):
            reader.table("runs").all()
        with pytest.raises(JournalDeleted, match="created again"):
            writer.insert({"n": 1})
    assert delete_journal(DISK, path, sync=False)
    assert not delete_journal(DISK, path, sync=False)


def test_compaction_keeps_documents_numbers_and_keys(path: Path) -> None:
    fill(path, 30)
    with database(path) as one, database(path) as other:
        runs = one.table("runs")
        for number in range(2, 31):
            runs.update({"text": "x" * number}, doc_ids=[number])
        runs.remove(doc_ids=[31, 32])
        one.table("empty").insert({})
        one.table("empty").truncate()
        other.table("runs").all()
        expected, size = content(path), path.stat().st_size
        moment = path.stat().st_mtime_ns
        compact(file_of(one))
        assert path.stat().st_size < size
        assert path.stat().st_mtime_ns == moment
        assert content(path) == expected
        assert {document.doc_id: dict(document) for document in other.table("runs")} == expected[
            "runs"
        ]
        assert other.table("runs").insert({"after": True}) == 33
        assert runs.get(doc_id=33) == {"after": True}
        assert one.tables() == {"runs", "empty"}


def test_a_compacted_journal_notices_every_flipped_bit_but_in_the_last_document(path: Path) -> None:
    fill(path, 6)
    with database(path) as open_one:
        compact(file_of(open_one))
    whole = path.read_bytes()
    last = len(whole) - len(whole.splitlines(keepends=True)[-1])
    for place in range(0, last - 1, 7):
        damaged(path, whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DamagedStore):
            content(path)


def test_what_a_killed_compaction_left_is_removed(path: Path) -> None:
    fill(path)
    left = path.with_suffix(".tmp")
    left.write_bytes(b"half")
    fill(path)
    assert not left.exists()


def test_a_compaction_that_fails_changes_nothing(path: Path) -> None:
    fill(path)
    before = path.read_bytes()
    with database(path) as open_one:
        open_one.table("runs").all()
        with file_of(open_one).exclusive():
            path.with_suffix(".tmp").mkdir()
            with pytest.raises(StoreError, match="is a directory"):
                compact(file_of(open_one))
        path.with_suffix(".tmp").rmdir()
        assert path.read_bytes() == before
        open_one.insert({"n": 1})


def test_after_a_failed_sync_nothing_can_be_committed(path: Path) -> None:
    journal = JournalFile(path, JournalSettings(sync="turn"), owner={}, create=True)
    with journal.exclusive():
        journal.commit([Operation("p", "runs", "1", data=b"{}")])
    reading, writing = os.pipe()
    (opened,) = [
        int(entry.name)
        for entry in Path("/proc/self/fd").iterdir()
        if entry.is_symlink() and entry.readlink() == path
    ]
    os.dup2(writing, opened)  # a pipe cannot be synced
    with pytest.raises(StoreError, match="check the disk"):
        journal.flush()
    with pytest.raises(StoreError, match="begin the run again"):
        journal.commit([Operation("p", "runs", "2", data=b"{}")])
    for descriptor in (reading, writing):
        os.close(descriptor)
    journal.close()
    assert content(path) == {"runs": {1: {}}}


def test_a_closed_journal_says_so(path: Path) -> None:
    fill(path)
    closed = JournalStorage(path, JournalSettings())
    closed.close()
    closed.close()
    with pytest.raises(StoreError):
        closed.write({})
    with pytest.raises(StoreError, match="closed"):
        closed.read()


def test_what_is_no_json_changes_nothing(path: Path) -> None:
    fill(path)
    before = path.read_bytes()
    with database(path) as open_one:
        for bad in ({"a": object()}, {"a": {"b": {1: {object()}}}}):
            with pytest.raises(InputError):
                open_one.insert_multiple([{"fine": 1}, bad])
        loop: dict[str, object] = {}
        loop["self"] = loop
        with pytest.raises(InputError):
            open_one.insert(loop)
    assert path.read_bytes() == before


def test_the_query_api_of_tinydb_works(path: Path) -> None:  # noqa: PLR0915 - one tour
    with database(path) as one, database(path) as other:
        runs, user = one.table("runs"), Query()
        assert isinstance(runs, JournalTable)
        assert runs.insert({"name": "ann", "age": 30, "tags": {"x": [1]}}) == 1
        assert runs.insert(Document({"name": "bob", "age": 40}, doc_id=7)) == 7
        assert runs.insert({"name": "cy"}) == 8
        with pytest.raises(ValueError, match="already exists"):
            runs.insert(Document({}, doc_id=7))
        with pytest.raises(ValueError, match="already exists"):
            runs.insert_multiple([Document({}, doc_id=9), Document({}, doc_id=9)])
        with pytest.raises(ValueError, match="Mapping"):
            runs.insert([1])  # type: ignore[arg-type]
        assert runs.insert_multiple([]) == []
        assert [found["name"] for found in runs.search(user.age > 30)] == ["bob"]
        other.table("runs").update(increment("age"), user.name == "ann")
        assert len(runs.search(user.age > 30)) == 2
        assert runs.count(user.tags.x.any([1])) == 1
        assert runs.get(user.name == "cy") == {"name": "cy"}
        assert runs.get(doc_id=99) is None
        assert runs.contains(doc_id=7)
        assert "7" in (one.storage.read() or {})["runs"]
        assert runs.update({"seen": True}) == [1, 7, 8]
        assert runs.update({"x": 1}, doc_ids=[8, 99, 8]) == [8]
        assert runs.update({"x": 1}, user.name == "nobody") == []
        assert sorted(
            runs.update_multiple(
                [({"age": 1}, where("name") == "ann"), ({"age": 2}, where("name") == "cy")]
            )
        ) == [1, 8]
        assert runs.upsert({"name": "dee"}, user.name == "dee") == [9]
        assert runs.upsert({"name": "dee", "age": 5}, user.name == "dee") == [9]
        assert runs.remove(user.name == "cy") == [8]
        assert runs.remove(doc_ids=[9]) == [9]
        with pytest.raises(RuntimeError, match="truncate"):
            runs.remove()
        assert [document.doc_id for document in other.table("runs")] == [1, 7]
        one.table("more").insert({"a": 1})
        one.table("none", persist_empty=True)
        assert other.tables() == {"runs", "more", "none"}
        other.drop_table("more")
        assert one.tables() == {"runs", "none"}
        runs.truncate()
        assert (len(runs), one.tables()) == (0, {"runs", "none"})
        one.drop_tables()
        assert other.tables() == set()


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["put", "change", "remove", "truncate", "drop", "compact", "reopen"]),
            st.integers(1, 6),
            st.text(max_size=30),
        ),
        max_size=25,
    )
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_journal_behaves_like_a_dictionary(  # noqa: C901, PLR0912 - one model
    tmp_path: Path, steps: list[tuple[str, int, str]]
) -> None:
    path = tmp_path / "property.jsonl"
    path.unlink(missing_ok=True)
    model: dict[int, dict[str, object]] = {}
    store = database(path)
    for step, number, text in steps:
        table = store.table("t")
        if step == "put" and number not in model:
            table.insert(Document({"text": text}, doc_id=number))
            model[number] = {"text": text}
        elif step == "change":
            table.update({"text": text * number}, doc_ids=[number])
            if number in model:
                model[number] = {"text": text * number}
        elif step == "remove":
            table.remove(where("text") == text)
            model = {key: value for key, value in model.items() if value["text"] != text}
        elif step in ("truncate", "drop"):
            model = {}
            if step == "truncate":
                table.truncate()
            else:
                store.drop_table("t")
        elif step == "compact" and path.stat().st_size:
            compact(file_of(store))
        elif step == "reopen":
            store.close()
            store = database(path)
        assert {document.doc_id: dict(document) for document in store.table("t")} == model
    store.close()


def test_a_transaction_that_lost_a_line_is_damage(path: Path) -> None:
    with database(path) as new:
        new.insert({"n": 0})
        new.insert_multiple([{"n": 1}, {"n": 2}, {"n": 3}])
        new.insert({"n": 4})
    lines = path.read_bytes().splitlines(keepends=True)
    for missing in (3, 4):
        damaged(path, b"".join(lines[:missing] + lines[missing + 1 :]))
        with pytest.raises(DamagedStore):
            content(path)


def test_a_write_of_tinydb_that_changes_nothing_writes_nothing(path: Path) -> None:
    with database(path) as one:
        one.insert({"n": 1})
        before = path.read_bytes()
        one.storage.write(one.storage.read() or {})
        one.update_multiple([])
        assert path.read_bytes() == before
        one.storage.write({"_default": {"1": {"n": 1}, "2": {"n": 2}}})
        assert content(path) == {"_default": {1: {"n": 1}, 2: {"n": 2}}}
        one.storage.write({"_default": {"2": {"n": 2}}})
        assert content(path) == {"_default": {2: {"n": 2}}}


def test_a_reader_waits_for_the_rest_of_a_write(path: Path) -> None:
    fill(path)
    whole = path.read_bytes()
    with database(path) as reader:
        path.write_bytes(whole + b'{"c":"00')
        assert len(reader.table("runs")) == 6
        path.write_bytes(whole[: -len(whole.splitlines(keepends=True)[-1])])
        assert len(reader.table("runs")) == 4
        path.write_bytes(whole)
        assert len(reader.table("runs")) == 6


def test_a_reader_looks_again_before_it_tells_of_noise(path: Path) -> None:
    fill(path)
    with database(path) as reader:
        path.write_bytes(path.read_bytes() + b"noise\n")
        with pytest.warns(TornTail):
            assert len(reader.table("runs")) == 6


def test_a_reader_that_saw_a_write_that_was_undone_sees_the_next(path: Path) -> None:
    fill(path, 1)
    before = path.read_bytes()
    fill(path, 1)
    with database(path) as reader:
        path.write_bytes(before)
        fill(path, 40)
        assert len(reader.table("runs")) == 45


def test_a_journal_that_became_a_directory_raises(path: Path) -> None:
    fill(path)
    with database(path) as reader:
        path.unlink()
        path.mkdir()
        for failing in (reader.table("runs").all, lambda: reader.insert({"n": 1})):
            with pytest.raises(StoreError, match="is a directory"):
                failing()


def test_a_document_that_cannot_be_read_raises(path: Path) -> None:
    fill(path)
    with database(path) as reader:
        documents = (reader.storage.read() or {})["runs"]
        reader.close()
        with pytest.raises(StoreError, match=r"session\.jsonl: "):
            documents["1"]


def test_a_write_that_is_interrupted_is_undone(path: Path) -> None:
    fill(path)
    before = path.read_bytes()
    with database(path) as writer, file_of(writer).exclusive():
        with pytest.raises(TypeError):
            file_of(writer).commit([Operation("p", "t", "1", data=None)])  # type: ignore[arg-type]
        assert path.read_bytes() == before


def test_a_journal_that_was_compacted_meanwhile_is_deleted(path: Path) -> None:
    class Compacted(Disk):
        """A disk on which somebody replaces the journal before it is locked."""

        armed = True

        def lock(self, file: int) -> bool:
            if self.armed:
                self.armed = False
                copy = path.with_suffix(".tmp")
                copy.write_bytes(path.read_bytes())
                copy.replace(path)
            return super().lock(file)

    fill(path)
    assert delete_journal(Compacted(), path, sync=False)
    assert not path.exists()


def test_a_document_that_is_not_there_cannot_be_dropped_twice(path: Path) -> None:
    journal = JournalFile(path, JournalSettings(sync="never"), owner={}, create=True)
    with journal.exclusive():
        journal.commit(
            [Operation("p", "t", "1"), Operation("d", "t", "1"), Operation("d", "t", "1")]
        )
    assert journal.index.live == len(path.read_bytes().splitlines(keepends=True)[0])
    journal.close()
