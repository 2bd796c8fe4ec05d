"""Reading a store's files without a lock, and mending them, where others are at them too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from teamgraph import Change, SessionKey, TinyDBStore, Turn
from teamgraph.engine.stores.journal.disk import DISK, Disk
from teamgraph.engine.stores.tinydb.repair import (
    Finding,
    Salvage,
    Survey,
    find_damage,
    repair_finding,
)
from teamgraph.errors import StoreError

KEY = SessionKey("ann", "s")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The file of a session with one turn."""

    async def talk() -> None:
        store = TinyDBStore(tmp_path, sync="never")
        lease = await store.begin(KEY, Turn("r1", "hello"))
        done = Turn("r1", "hello", status="done", answer="hi")
        await store.finish(lease, done, Change())
        await store.close()

    asyncio.run(talk())
    (path,) = Survey(tmp_path).journals
    return path


def test_a_session_that_is_deleted_meanwhile_is_empty(tmp_path: Path, journal: Path) -> None:
    survey = Survey(tmp_path)
    assert (survey.read(journal).runs, survey.read(journal).key) == (1, KEY)
    journal.unlink()
    gone = survey.read(journal)
    assert (gone.size, gone.runs, gone.findings) == (0, 0, ())
    torn = Finding("torn", journal, "", 1)
    assert repair_finding(torn, KEY)
    assert not journal.exists()


def test_a_concurrent_write_is_not_damage(tmp_path: Path, journal: Path) -> None:
    data = journal.read_bytes()

    class Writing(Disk):
        def close(self, file: int) -> None:
            """Somebody goes on writing when a first look is over."""
            super().close(file)
            journal.write_bytes(data)

    survey = Survey(tmp_path, Writing())
    journal.write_bytes(data[:-9])
    read = survey.read(journal)
    assert (read.size, read.findings) == (len(data), ())


def test_a_file_that_is_being_written_is_no_leftover(tmp_path: Path, journal: Path) -> None:
    temporary = journal.with_suffix(".tmp")
    (tmp_path / "nowhere.tmp").symlink_to("gone")
    with temporary.open("wb") as file:
        assert DISK.lock(file.fileno())
        assert list(Survey(tmp_path).leftovers()) == []
    assert [finding.file for finding in Survey(tmp_path).leftovers()] == [temporary]


@pytest.mark.parametrize("cut", [1, 20])
def test_torn_tails_are_distinguished_from_damage(journal: Path, cut: int) -> None:
    data = journal.read_bytes()
    assert find_damage(data) is None
    torn = find_damage(data[:-cut])
    assert torn is not None
    assert (torn.line, torn.is_torn) == (data.count(b"\n"), True)
    swapped = b"".join(reversed(data.splitlines(keepends=True)))
    damage = find_damage(swapped)
    assert damage is not None
    assert (damage.line, damage.is_torn) == (1, False)


def test_a_transaction_without_its_end_is_torn_from_its_first_line(journal: Path) -> None:
    first = journal.read_bytes().splitlines(keepends=True)[0]
    assert find_damage(first) == (0, 1, True)


def test_what_is_neither_torn_nor_stale_is_not_mended(journal: Path) -> None:
    before = journal.read_bytes()
    for code in ("damaged", "version", "misplaced", "aside"):
        assert not repair_finding(Finding(code, journal, ""), KEY)  # type: ignore[arg-type]
    assert journal.read_bytes() == before


def test_what_the_system_refuses_raises(journal: Path) -> None:
    with pytest.raises(StoreError):
        repair_finding(Finding("stale", journal.parent, ""), None)
    journal.with_suffix(".damaged").mkdir()
    salvage = Salvage.read(journal)
    with pytest.raises(StoreError):
        salvage.write()
    journal.with_suffix(".damaged").rmdir()
    assert salvage.write().damaged_file.read_bytes() == journal.with_suffix(".damaged").read_bytes()
    assert find_damage(journal.read_bytes()) is None
