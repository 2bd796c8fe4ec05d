"""Reading a store's files without a lock, and mending them, where others are at them too."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from zlib import crc32

import pytest

from teamgraph import (
    Change,
    Exchange,
    Message,
    Record,
    SessionKey,
    Summary,
    TinyDBStore,
    Turn,
)
from teamgraph.engine.stores.journal.disk import DISK, Disk, Named
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


class ReadOnly(Disk):
    """A file system on which nothing can be written."""

    def open(self, path: Named, flags: int) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return super().open(path, flags)


def test_a_torn_tail_on_a_read_only_disk_is_not_called_repaired(
    tmp_path: Path, journal: Path
) -> None:
    data = journal.read_bytes()[:-5]
    journal.write_bytes(data)
    (finding,) = Survey(tmp_path).read(journal).findings
    with pytest.raises(StoreError, match="read-only"):
        repair_finding(finding, None, ReadOnly())
    assert journal.read_bytes() == data
    assert repair_finding(finding, None)
    assert not Survey(tmp_path).read(journal).findings


def test_a_salvage_has_the_turns_that_were_stored_since_it_was_planned(
    tmp_path: Path, journal: Path
) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    store = TinyDBStore(tmp_path)

    async def turn(run_id: str) -> None:
        lease = await store.begin(KEY, Turn(run_id, "x"))
        await store.finish(lease, Turn(run_id, "x", status="done"), Change())

    asyncio.run(turn("before"))
    whole = journal.read_bytes()
    at = len(b"".join(lines[:-1]))
    with journal.open("r+b") as file:  # a flipped bit, which the open store does not read again
        file.seek(at + 5)
        file.write(bytes([whole[at + 5] ^ 1]))
    planned = Salvage.read(journal)
    asyncio.run(turn("meanwhile"))
    planned.write()
    asyncio.run(store.close())
    turns = asyncio.run(TinyDBStore(tmp_path).turns(KEY))
    assert [turn.run_id for turn in turns][-2:] == ["before", "meanwhile"]


def edit(journal: Path, edits: dict[bytes, bytes]) -> None:
    """Change documents as somebody does who also mends the checksums."""
    lines: list[bytes] = []
    for line in journal.read_bytes().splitlines():
        rest = line[len(b'{"c":"00000000",') :]
        for old, new in edits.items():
            rest = rest.replace(old, new)
        lines.append(b'{"c":"%08x",%b\n' % (crc32(rest), rest))
    journal.write_bytes(b"".join(lines))
    journal.with_suffix(".index").unlink(missing_ok=True)


async def talk(root: Path) -> None:
    """Two turns with records, a prompt, a state, a summary and a name."""
    store = TinyDBStore(root, sync="never")
    prompt = Message(role="system", content="You answer." * 6)
    for run in ("first", "second"):
        lease = await store.begin(KEY, Turn(run, f"in {run}"))
        asked = (Exchange("p", "h", "m", (prompt,), "x"),) if run == "first" else ()
        output = f"out {run}"
        record = Record("a", "done", "k", output=output, exchanges=asked, fingerprint="f")
        await store.put(lease, [record])
        summary = Summary(f"of {run}", covers=1) if run == "first" else None
        done = Turn(run, f"in {run}", status="done", answer=f"answer {run}")
        await store.finish(lease, done, Change(state={run: run}, summary=summary))
    await store.rename(KEY, "name")
    await store.close()


@pytest.mark.parametrize(
    ("edits", "documents", "records", "turns"),
    [
        ({b'"input":"in second"': b'"input":7'}, 1, 1, 1),
        ({b'"answer":"answer second"': b'"ansver":7'}, 1, 1, 1),
        ({b'"k":["second",2],': b'"k":[],'}, 1, 0, 1),
        ({b'"k":["state","second"],': b'"k":["state"],'}, 1, 0, 2),
        ({b'"output":"out second"': b'"outpud":7'}, 1, 0, 2),
        ({b'"output":"out second"': b'"exchanges":7'}, 1, 0, 2),
        ({b'"text":"of first"': b'"text":7'}, 1, 0, 2),
        ({b'"value":"second"': b'"valve":7'}, 1, 0, 2),
        ({b'"name":"name","turns":2': b'"name":7,"turns":2'}, 1, 0, 2),
        ({b'"d":{"words":["k","f"]}': b'"d":7'}, 1, 0, 2),
        ({b'"d":{"text":"You': b'"d":{"taxt":"You'}, 1, 0, 2),
        ({b'"messages":[{"system":[1]}]': b'"messages":7'}, 1, 0, 2),
        ({b'"of first"': b"7", b'"value":"second"': b'"valve":7'}, 2, 0, 2),
        ({b'"k":["state","second"],"d":{': b'"k":null,"d":{"more":7,'}, 0, 0, 2),
    ],
)
def test_a_salvage_drops_documents_that_do_not_fit_their_types(
    tmp_path: Path, edits: dict[bytes, bytes], documents: int, records: int, turns: int
) -> None:
    asyncio.run(talk(tmp_path))
    (journal,) = Survey(tmp_path).journals
    edit(journal, edits)
    findings = Survey(tmp_path).read(journal).findings
    assert [finding.code for finding in findings] == ["damaged"] * bool(documents)
    assert all("`teamgraph store repair --salvage`" in finding.message for finding in findings)
    loss = Salvage.read(journal).write().loss
    assert (loss.lines, loss.documents, loss.records) == (0, documents, records)
    assert not Survey(tmp_path).read(journal).findings

    async def read() -> list[Turn]:
        store = TinyDBStore(tmp_path)
        assert await store.head(KEY) is not None
        left = await store.turns(KEY)
        assert all([await store.run(KEY, turn.run_id) for turn in left])
        await store.close()
        return left

    assert len(asyncio.run(read())) == turns
