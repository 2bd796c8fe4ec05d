"""Several processes on one store, some of them killed."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
import warnings
from pathlib import Path

import pytest
from tinydb import where

from teamgraph import Change, Policy, Record, SessionKey, TinyDBStore, Turn
from teamgraph.engine.stores.journal.journal_file import TornTail
from teamgraph.errors import SessionBusy, StoreError
from tests.children import answer, child, line, output

KEY = SessionKey("ann", "s")
WRITER = """
async def main():
    store = TinyDBStore(root, sync=random.Random(argument).choice(["turn", "never"]))
    for number in range(10**6):
        run_id = f"{argument}-{number}"
        lease = await store.begin(KEY, Turn(run_id, "x" * (number * 37 % 3000)))
        await store.put(lease, [Record("n", "done", output="é" * (number * 91 % 5000))])
        await store.put(lease, [Record("n", "done", output=f"{run_id}" * (number % 9 + 1))])
        say(f"put {run_id} {number % 9 + 1}")
        turn = Turn(run_id, "x", status="done", answer=run_id)
        turn = await store.finish(lease, turn, Change({"last": run_id, run_id: number}))
        say(f"done {run_id} {turn.number}")
asyncio.run(main())
"""


def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chosen = random.Random(3)
    put: dict[str, str] = {}
    done: dict[str, int] = {}
    for kill in range(15):
        process = child(tmp_path, WRITER, f"k{kill}")
        said = [line(process)]
        time.sleep(chosen.uniform(0.0, 0.08))  # the moment of the kill, not a wait for anything
        process.kill()
        rest, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL
        for text in [*said, *rest.split("\n")[:-1]]:
            verb, run_id, value = text.split()
            if verb == "put":
                put[run_id] = run_id * int(value)
            else:
                done[run_id] = int(value)
        asyncio.run(check_all(tmp_path, put, done))
    assert len(done) > 15


async def check_all(root: Path, put: dict[str, str], done: dict[str, int]) -> None:
    """Everything acknowledged is there, and the session can be written."""
    store = TinyDBStore(root, sync="never")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TornTail)
        lease = await store.begin(KEY, Turn("probe", "x"), policy="reject")
        await store.finish(lease, Turn("probe", "x", status="failed"), Change())
    turns = await store.turns(KEY)
    assert [turn.number for turn in turns] == list(range(1, len(turns) + 1))
    kept = {turn.run_id: turn.number for turn in turns}
    assert done.items() <= kept.items()
    head = await store.head(KEY)
    assert head is not None
    assert {run_id for run_id in head.state if run_id != "last"} == set(kept)
    for run_id, text in put.items():
        run = await store.run(KEY, run_id)
        assert run is not None
        assert run.records["n"].output == text
    await store.close()


def test_processes_on_one_session_lose_nothing(tmp_path: Path) -> None:
    program = """
    async def main():
        store = TinyDBStore(root, sync="never")
        for number in range(25):
            run_id = f"{argument}-{number}"
            policy = "serialize" if number % 2 else "fork"
            lease = await store.begin(KEY, Turn(run_id, "x"), policy=policy)
            await store.put(lease, [Record("n", "done", output=run_id)])
            await store.finish(lease, Turn(run_id, "x", status="done"), Change({run_id: number}))
        await store.close()
    asyncio.run(main())
    """
    processes = [child(tmp_path, program, name) for name in "abc"]

    async def read_meanwhile() -> None:
        store = TinyDBStore(tmp_path)
        seen = 0
        while any(process.poll() is None for process in processes):
            turns = await store.turns(KEY)
            assert [turn.number for turn in turns] == list(range(1, len(turns) + 1))
            assert len(turns) >= seen
            seen = len(turns)
        head = await store.head(KEY)
        assert head is not None
        assert (head.turns, len(head.state)) == (75, 75)
        await store.close()

    asyncio.run(read_meanwhile())
    for process in processes:
        output(process)


def test_compaction_disturbs_no_other_process(tmp_path: Path) -> None:
    program = """
    async def main():
        store = TinyDBStore(root, sync="never")
        for number in range(20):
            run_id = f"{argument}-{number}"
            lease = await store.begin(KEY, Turn(run_id, "x"))
            for part in range(3):
                await store.put(lease, [Record("n", "done", output=run_id * 2000)])
            await store.finish(lease, Turn(run_id, "x", status="done"), Change())
            if argument == "b":
                await store.delete_run(KEY, run_id)
        await store.close()
    asyncio.run(main())
    """
    processes = [child(tmp_path, program, name) for name in "ab"]

    async def read_meanwhile() -> None:
        store = TinyDBStore(tmp_path)
        while any(process.poll() is None for process in processes):
            for turn in await store.turns(KEY, last=3):
                run = await store.run(KEY, turn.run_id)
                assert run is None or run.records["n"].output == turn.run_id * 2000
        assert [turn.run_id for turn in await store.turns(KEY)] == [f"a-{n}" for n in range(20)]
        await store.close()

    asyncio.run(read_meanwhile())
    for process in processes:
        output(process)


HOLDER = """
async def main():
    store = TinyDBStore(root)
    lease = await store.begin(KEY, Turn("held", "x"))
    await store.put(lease, [Record("n", "done", output="kept")])
    say("held")
    sys.stdin.readline()
    await store.finish(lease, Turn("held", "x", status="done"), Change({"held": True}))
asyncio.run(main())
"""


def test_a_session_is_locked_against_other_processes(tmp_path: Path) -> None:
    process = child(tmp_path, HOLDER)
    assert line(process) == "held"

    async def test() -> None:
        store = TinyDBStore(tmp_path)
        with pytest.raises(SessionBusy, match="another run"):
            await store.begin(KEY, Turn("r1", "x"), policy="reject")
        fork = await store.begin(KEY, Turn("r2", "x"), policy="fork")
        await store.release(fork)
        waiting = asyncio.create_task(store.begin(KEY, Turn("r3", "x")))
        gives_up = asyncio.create_task(store.begin(KEY, Turn("r4", "x")))
        await asyncio.sleep(0)
        gives_up.cancel()
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        lease = await waiting
        assert lease.head.state == {"held": True}
        await store.release(lease)
        await store.close()

    asyncio.run(test())
    output(process)


def test_the_session_of_a_dead_process_is_free_and_its_run_is_resumed(tmp_path: Path) -> None:
    process = child(tmp_path, HOLDER)
    assert line(process) == "held"
    process.kill()
    process.communicate()

    async def test() -> None:
        store = TinyDBStore(tmp_path)
        lease = await store.begin(KEY, Turn("held", "x"), policy="reject")
        run = await store.run(KEY, "held")
        assert run is not None
        assert (run.status, run.records["n"].output) == ("running", "kept")
        await store.release(lease)
        await store.close()

    asyncio.run(test())


def test_a_full_disk_changes_nothing_and_says_how_to_go_on(tmp_path: Path) -> None:
    program = """
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async def main():
        store = TinyDBStore(root)
        lease = await store.begin(KEY, Turn("r1", "x"))
        await store.put(lease, [Record("a", "done", output="small")])
        free = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, free[1]))
        try:
            await store.put(lease, [Record("b", "done"), Record("c", "done", output="x" * 50_000)])
        except StoreError as error:
            say(str(error))
        await store.put(lease, [Record("d", "done", output="fits")])
        turn = await store.finish(lease, Turn("r1", "x", status="done", answer="y"), Change())
        try:
            await store.put_prompt("0" * 16, {"a": "x" * 50_000})
        except StoreError as error:
            say(str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, free)  # coverage has to write too
        await store.close()
    asyncio.run(main())
    """
    said = output(child(tmp_path, program)).splitlines()
    assert len(said) == 2
    assert "make room there and try again" in said[0]
    assert str(tmp_path) in said[0]
    assert not list(tmp_path.glob("prompts/*"))

    async def test() -> None:
        store = TinyDBStore(tmp_path)
        run = await store.run(KEY, "r1")
        assert run is not None
        assert (run.status, list(run.records)) == ("done", ["a", "d"])
        await store.close()

    asyncio.run(test())


def test_a_deleted_session_is_not_brought_back_by_another_process(tmp_path: Path) -> None:
    program = HOLDER.replace(
        'await store.finish(lease, Turn("held", "x", status="done"), Change({"held": True}))',
        """
    for late in (
        store.put(lease, [Record("n", "done")]),
        store.finish(lease, Turn("held", "x", status="done"), Change()),
    ):
        try:
            await late
        except StoreError as error:
            say(type(error).__name__)
    """.strip(),
    )
    process = child(tmp_path, program)
    assert line(process) == "held"

    async def delete() -> None:
        store = TinyDBStore(tmp_path)
        assert await store.delete_session(KEY)
        await store.close()

    asyncio.run(delete())
    text, _ = process.communicate("\n", timeout=30)
    assert text.split() == ["Conflict", "Conflict"]
    assert not list(tmp_path.glob("users/*/*/*"))


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am no directory")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "store.json").write_text(json.dumps({"format": "something"}))

    async def test() -> None:
        for name, way in (("file", "a store is a directory"), ("other", "not a store")):
            store = TinyDBStore(tmp_path / name)
            with pytest.raises(StoreError, match=way):
                await store.begin(KEY, Turn("r", "x"))
            with pytest.raises(StoreError, match=way):
                await store.head(KEY)

    asyncio.run(test())


def files_in(place: Path) -> list[str]:
    """The suffixes of all files of sessions."""
    return [path.suffix for path in (place / "users").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("first", "second"), [("fork", "fork"), ("serialize", "fork"), ("fork", "serialize")]
)
def test_a_run_in_progress_in_another_process_is_not_begun_again(
    tmp_path: Path, first: str, second: Policy
) -> None:
    holder = child(
        tmp_path,
        """
        async def main():
            store = TinyDBStore(root)
            await store.begin(KEY, Turn("r", "x"), policy=argument)
            say("begun")
            sys.stdin.read()
        asyncio.run(main())
        """,
        first,
    )

    async def test() -> None:
        store = TinyDBStore(tmp_path)
        assert line(holder) == "begun"
        with pytest.raises(SessionBusy, match="'r': it is in progress already"):
            await store.begin(KEY, Turn("r", "x"), policy=second, is_stored=True)
        holder.kill()
        holder.wait()
        lease = await store.begin(KEY, Turn("r", "x"), policy=second, is_stored=True)
        await store.finish(lease, Turn("r", "x", status="done"), Change())
        await store.delete_session(KEY)
        assert not files_in(tmp_path)
        await store.close()

    try:
        asyncio.run(test())
    finally:
        holder.kill()
        holder.communicate()


RESUMES = """
from teamgraph import Graph, Runner
from teamgraph.errors import NodeError, SessionBusy
from teamgraph.kinds import Node, Result
class Slow(Node):
    prompts = False
    async def run(self, context):
        if argument == "fails":
            raise ValueError("no")
        say("inside")
        sys.stdin.readline()
        return Result(argument)
async def main():
    store = TinyDBStore(root)
    runner = Runner(Graph(name="x", nodes={"slow": Slow()}), store=store, busy="fork")
    try:
        if argument == "fails":
            await runner.arun("hi", user_id="ann", session_id="s", run_id="r")
        say("ready")
        sys.stdin.readline()
        run = await runner.aresume("r", user_id="ann", session_id="s")
        say(run.answer)
    except SessionBusy:
        say("refused")
    except NodeError:
        say("failed")
    await store.close()
asyncio.run(main())
"""


def test_two_processes_that_resume_one_run_at_once_are_one_resume(tmp_path: Path) -> None:
    assert output(child(tmp_path, RESUMES, "fails")) == "failed\n"
    both = {name: child(tmp_path, RESUMES, name) for name in ("one", "other")}
    try:
        assert {line(each) for each in both.values()} == {"ready"}
        for each in both.values():
            answer(each)
        said = {line(each): name for name, each in both.items()}
        assert set(said) == {"inside", "refused"}
        answer(both[said["inside"]])
        assert output(both[said["inside"]]) == f"{said['inside']}\n"
        assert output(both[said["refused"]]) == ""
    finally:
        for each in both.values():
            each.kill()
            each.communicate()
    turns = asyncio.run(TinyDBStore(tmp_path).turns(KEY))
    assert [turn.answer for turn in turns] == [said["inside"]]


def test_a_tinydb_query_survives_a_compaction_by_another_process(tmp_path: Path) -> None:
    async def test() -> None:
        store, other = TinyDBStore(tmp_path), TinyDBStore(tmp_path)
        for number in range(6):
            lease = await store.begin(KEY, Turn(f"r{number}", "x" * 100 * number))
            await store.put(lease, [Record("n", "done", output=f"out {number}")])
            await store.finish(lease, Turn(f"r{number}", "x", status="done"), Change())
        with store.database(KEY) as database:
            seen: list[str] = []
            for run in database.table("runs"):
                seen.append(run["run_id"])
                if run["run_id"] == "r1":
                    assert await other.delete_run(KEY, "r0")
                    assert await other.delete_run(KEY, "r3")
                nodes = database.table("nodes").search(where("run") == run.doc_id)
                assert [node["output"] for node in nodes] == [f"out {run['run_id'][1:]}"]
            assert seen == ["r0", "r1", "r2", "r4", "r5"]
            assert len(database.table("runs")) == 4
        await other.close()
        await store.close()

    asyncio.run(test())
