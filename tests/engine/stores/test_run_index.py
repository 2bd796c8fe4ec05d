"""What is known of a user's many sessions: which runs they have, and which of these wait."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO

import pytest

from teamgraph import Change, SessionKey, TinyDBStore, Turn
from teamgraph.engine.stores.journal.disk import DISK, Disk, Named
from teamgraph.engine.stores.tinydb.run_index import RUNS
from teamgraph.engine.stores.tinydb.session_file import session_name

COUNT = 140
Later = Callable[[TinyDBStore, Path], Awaitable[None]]


class Counting(Disk):
    """Counts the journals that are opened."""

    def __init__(self) -> None:
        self.opened = 0

    def open(self, path: Named, flags: int) -> int:
        self.opened += str(path).endswith(".jsonl")
        return super().open(path, flags)


def key(number: int) -> SessionKey:
    """One of the sessions."""
    return SessionKey("ann", f"s{number}")


def make(root: Path, disk: Disk = DISK) -> TinyDBStore:
    """A store on the sessions."""
    return TinyDBStore(root, sync="never", disk=disk)


async def turn(store: TinyDBStore, number: int, run_id: str, status: str = "done") -> None:
    """A run of a session, which ends so."""
    lease = await store.begin(key(number), Turn(run_id, "x"), while_waiting="allow")
    asked = ("n",) if status == "waiting" else ()
    ended = Turn(run_id, "x", status=status, waiting=asked)  # type: ignore[arg-type]
    await store.finish(lease, ended, Change())


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with many sessions, of which the index has been made."""
    root = tmp_path_factory.mktemp("many") / "store"

    async def fill() -> None:
        store = make(root)
        for number in range(COUNT):
            status = {3: "waiting", 4: "failed", 5: "cancelled"}.get(number, "done")
            await turn(store, number, f"r{number}", status)
        await store.begin(key(6), Turn("going on", "x"))
        for number in range(7, COUNT):
            await turn(store, number, f"more{number}")
        assert await store.find("ann", "nobody's") is None
        await store.close()

    asyncio.run(fill())
    assert index_of(root).exists()
    return root


@pytest.fixture
def root(many: Path, tmp_path: Path) -> Path:
    """A copy of the store, with an index of its own."""
    copy = tmp_path / "store"
    shutil.copytree(many, copy)
    asyncio.run(found(make(copy), "nobody's"))
    return copy


def index_of(root: Path) -> Path:
    """The file of the index."""
    (directory,) = root.glob("users/*/*")
    return directory / RUNS


async def found(store: TinyDBStore, run_id: str) -> str | None:
    """The session of a run."""
    session = await store.find("ann", run_id)
    await store.close()
    return None if session is None else session.session_id


async def waiting(store: TinyDBStore) -> list[str]:
    """The runs that wait."""
    return [hit.turn.run_id for hit in await store.waiting("ann")]


def test_few_journals_are_opened_for_an_old_run_or_the_waiting_ones(root: Path) -> None:
    async def test() -> None:
        for ask, answer in ((lambda store: found(store, "r5"), "s5"), (waiting, ["r3"])):
            disk = Counting()
            store = make(root, disk)
            assert await ask(store) == answer
            assert disk.opened < 64 + 8  # the newest, and those that it is found in
            await store.close()

    asyncio.run(test())


async def _another_run(store: TinyDBStore, _: Path) -> None:
    await turn(store, 1, "new")
    await turn(store, 2, "other")


async def _a_run_begins(store: TinyDBStore, _: Path) -> None:
    await store.begin(key(1), Turn("new", "x"))
    await turn(store, 2, "other")


async def _the_run_that_went_on(store: TinyDBStore, _: Path) -> None:
    lease = await store.begin(key(6), Turn("going on", "x"))
    await store.finish(lease, Turn("going on", "x", status="done"), Change())
    await turn(store, 1, "new")


async def _a_lost_index(store: TinyDBStore, root: Path) -> None:
    index_of(root).unlink()
    await turn(store, 1, "new")


async def _a_damaged_index(store: TinyDBStore, root: Path) -> None:
    data = index_of(root).read_bytes()
    index_of(root).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    await turn(store, 1, "new")


async def _a_new_activity_file(store: TinyDBStore, root: Path) -> None:
    index_of(root).with_name("activity.log").unlink()
    await turn(store, 1, "new")
    assert not index_of(root).exists()


async def _a_session_from_a_backup(store: TinyDBStore, root: Path) -> None:
    elsewhere = root.with_name("elsewhere")
    shutil.copytree(root, elsewhere)
    await turn(make(elsewhere), 1, "new")
    await turn(make(elsewhere), COUNT, "r140")
    for number in (1, COUNT):
        name = f"{session_name(f's{number}')}.jsonl"
        shutil.copy(index_of(elsewhere).with_name(name), index_of(root).with_name(name))
    await store.delete_session(key(2))
    await turn(store, 1, "newer")


async def _a_torn_tail(store: TinyDBStore, root: Path) -> None:
    await _append(store, root, b"half a li")


async def _a_bad_line(store: TinyDBStore, root: Path) -> None:
    await _append(store, root, b"{}\n")


async def _append(store: TinyDBStore, root: Path, data: bytes) -> None:
    await turn(store, 1, "new")
    index_of(root).unlink()
    with _journal(root, 20).open("ab") as file:
        file.write(data)


def _journal(root: Path, number: int) -> Path:
    """The journal of a session."""
    return index_of(root).with_name(f"{session_name(f's{number}')}.jsonl")


CHANGES: dict[str, Later] = {
    "another run": _another_run,
    "a run that begins": _a_run_begins,
    "a run that went on": _the_run_that_went_on,
    "a lost index": _a_lost_index,
    "a damaged index": _a_damaged_index,
    "a new activity file": _a_new_activity_file,
    "a session from a backup": _a_session_from_a_backup,
    "a torn tail": _a_torn_tail,
    "a bad line": _a_bad_line,
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.filterwarnings("ignore::teamgraph.engine.stores.journal.journal_file.TornTail")
def test_what_happens_later_is_found_too(root: Path, what: str) -> None:
    async def test() -> None:
        store = make(root)
        await CHANGES[what](store, root)
        assert await waiting(store) == ["r3"]
        await turn(store, 8, "asks", "waiting")
        await turn(store, 9, "last")
        await store.close()
        for run_id, session in (
            *(("new", "s1"), ("going on", "s6"), ("r3", "s3"), ("r139", "s139")),
            *(("asks", "s8"), ("more20", "s20"), ("nobody's", None)),
        ):
            assert await found(make(root), run_id) == session
        store = make(root)
        assert await waiting(store) == ["asks", "r3"]
        await store.delete_run(key(8), "asks")
        await store.delete_session(key(3))
        assert await waiting(store) == []
        await store.close()

    asyncio.run(test())


class Acting(Disk):
    """Acts when a journal is locked for the first time, by whoever reads it."""

    def __init__(self, act: Callable[[Path], None]) -> None:
        self._act: Callable[[Path], None] | None = act
        self._refuses = act is _refuse

    def lock(self, file: int) -> bool:
        path = Path(f"/proc/self/fd/{file}").readlink()
        if self._act is not None and path.suffix == ".jsonl":
            act, self._act = self._act, None
            act(path)
        return super().lock(file)

    def open(self, path: Named, flags: int) -> int:
        if self._refuses and RUNS in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().open(path, flags)


def _replace(journal: Path) -> None:
    """Somebody compacts the journal."""
    journal.with_suffix(".tmp").write_bytes(journal.read_bytes())
    journal.with_suffix(".tmp").rename(journal)


def _forget(journal: Path) -> None:
    """Somebody deletes the activity file."""
    journal.with_name("activity.log").unlink()


def _hold(journal: Path) -> None:
    """Somebody writes the journal."""
    HELD.append(journal.open("rb"))
    fcntl.flock(HELD[-1], fcntl.LOCK_EX)


def _refuse(_: Path) -> None:
    """Nothing; but the file of the index cannot be written."""


HELD: list[IO[bytes]] = []


@pytest.mark.parametrize(
    ("act", "is_saved"), [(_replace, True), (_hold, True), (_forget, False), (_refuse, False)]
)
def test_a_journal_that_somebody_changes_meanwhile_is_not_learnt(
    root: Path, act: Callable[[Path], None], *, is_saved: bool
) -> None:
    index_of(root).unlink()
    disk = Acting(act)
    assert asyncio.run(found(make(root, disk), "r1")) == "s1"
    assert index_of(root).exists() == is_saved
    while HELD:
        HELD.pop().close()
    for number in (1, 75, 76, 139):
        assert asyncio.run(found(make(root), f"r{number}")) == f"s{number}"
