"""Operations on workers that are processes: a release, SIGTERM, a backup that is restored."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from teamgraph import Runner, SessionKey
from teamgraph.dispatch import DBOSDispatcher, Submission
from teamgraph.errors import NotFound
from tests.engine.dispatch.conftest import Told, duo
from tests.postgres import Server, programs

ROOT = Path(__file__).parents[3]
STEPS = """\
import asyncio, os


async def step(context) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["DESK"]))
    writer.write(f"{os.getpid()} {context.run_id} {context.node_id}\\n".encode())
    await reader.readline()
    writer.close()
    return "done"
"""
TEAM = """\
name: team
model: echo
nodes:
  before: {kind: python, call: "steps:step"}
  held: {kind: python, call: "steps:step", needs: [before]}
  last: {prompt: "VERSION heard {{ input.message }}\\n", needs: [held]}
output: [last]
"""


class Desk:
    """Where the functions of all workers say that they run, and wait for word to go on.

    The node `held` waits until its run is `let_go`, any other node gets its word at once.
    """

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.dsn = dsn
        self.calls: list[tuple[int, str, str]] = []
        """Process, run and node of each."""
        self._called = asyncio.Event()
        self._open: dict[str, asyncio.Event] = {}
        self._port = 0
        (folder / "steps.py").write_text(STEPS)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[DBOSDispatcher]:
        """Serve the workers until the end of the block; gives a dispatcher."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self._port = server.sockets[0].getsockname()[1]
            async with submitting(self.dsn) as dispatcher:
                yield dispatcher

    def let_go(self, *runs: str) -> None:
        for run in runs:
            self._gate(run).set()

    async def until(self, run: str, node: str = "held", many: int = 1) -> None:
        """Wait until a node was called so many times."""
        while sum(call[1:] == (run, node) for call in self.calls) < many:
            self._called.clear()
            await self._called.wait()

    @asynccontextmanager
    async def worker(
        self, version: str, *options: str, dsn: str | None = None
    ) -> AsyncGenerator[Worker]:
        """A process that runs a version of the graph, once it is ready; killed at the end."""
        graph = self.folder / f"{version}.yaml"
        graph.write_text(TEAM.replace("VERSION", version))
        words = ["worker", str(graph), "--allow", "steps", "--dsn", dsn or self.dsn, *options]
        environment = {key: text for key, text in os.environ.items() if "COVERAGE" not in key}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "teamgraph", *words,
            cwd=self.folder, env={**environment, "DESK": str(self._port), "PYTHONPATH": str(ROOT)},
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        worker = Worker(process)
        reading = asyncio.create_task(worker.read())
        try:
            ready = asyncio.create_task(worker.told.until("ready"))
            await asyncio.wait([ready, reading], return_when=asyncio.FIRST_COMPLETED)
            assert worker.told.named("ready"), worker.text
            yield worker
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading

    def _gate(self, run: str) -> asyncio.Event:
        return self._open.setdefault(run, asyncio.Event())

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        process, run, node = (await reader.readline()).decode().split()
        self.calls.append((int(process), run, node))
        self._called.set()
        if node == "held":
            await self._gate(run).wait()
        writer.write(b"go on\n")
        writer.close()


class Worker:
    """A worker process, and what it says on standard error."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told = Told()
        self.text = ""

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.text += line.decode()
            if line.startswith(b'{"time"'):
                facts = json.loads(line)
                del facts["time"]
                self.told(facts.pop("event"), facts)

    @property
    def events(self) -> list[str]:
        return [name for name, _ in self.told.lines]


@asynccontextmanager
async def submitting(dsn: str) -> AsyncGenerator[DBOSDispatcher]:
    dispatcher = DBOSDispatcher(dsn, connections=2)
    yield dispatcher
    await dispatcher.close()


def turn(run_id: str, session_id: str) -> Submission:
    return Submission(graph="team", message="hello", run_id=run_id, session_id=session_id)


async def answer(dispatcher: DBOSDispatcher, asked: Submission) -> str | None:
    """The answer to a turn, once it is done."""
    run = await dispatcher.result(asked.reference)
    assert run.status == "done"
    return run.answer


async def run_ids(dispatcher: DBOSDispatcher, session_id: str) -> list[str]:
    """The done turns of a session, in their order."""
    return [each.run_id for each in await dispatcher.store.turns(SessionKey(None, session_id))]


def test_a_release_leaves_open_sessions_to_the_old_worker_and_adopts_what_that_leaves(
    server: Server, tmp_path: Path
) -> None:
    async def released() -> None:
        desk = Desk(tmp_path, server.new_database("released"))
        r1, r2, r3, r4 = [turn(f"r{n}", "two" if n == 3 else "one") for n in range(1, 5)]
        fresh = turn("fresh", "three")
        async with desk.opened() as dispatcher, desk.worker("A", "--concurrency", "1") as old:
            await dispatcher.submit(r1)
            await desk.until("r1")
            for each in (r2, r3):
                await dispatcher.submit(each)
            async with desk.worker("B") as new:
                for each in (r4, fresh):
                    await dispatcher.submit(each)
                bundles = [(await dispatcher.find(each.reference)).bundle for each in (r1, r3, r4)]
                assert {*bundles} == {bundles[0]}
                desk.let_go("fresh")
                assert await answer(dispatcher, fresh) == "echo: B heard hello"
                for _ in range(2):
                    old.process.send_signal(signal.SIGTERM)
                    await old.told.until("draining")
                await new.told.until("adopted")
                desk.let_go("r1", "r2", "r3", "r4")
                answers = [await answer(dispatcher, each) for each in (r1, r2, r3, r4)]
                assert await old.process.wait() == 0
            found = [await dispatcher.find(each.reference) for each in (r1, r2, r3, r4, fresh)]
            assert await run_ids(dispatcher, "one") == ["r1", "r2", "r4"]
        assert answers == [f"echo: {version} heard hello" for version in "ABBB"]
        assert [each.attempts for each in found] == [1] * 5
        assert len({*desk.calls}) == len(desk.calls) == 2 * 5
        assert {run for process, run, _ in desk.calls if process == old.process.pid} == {"r1"}
        assert old.events == ["ready", "draining", "stopped"]
        assert {*new.events} == {"ready", "adopted"}

    asyncio.run(released())


def test_a_worker_that_is_hurried_hands_back_what_runs_and_another_one_resumes_it(
    server: Server, tmp_path: Path
) -> None:
    async def stopped() -> None:
        desk = Desk(tmp_path, server.new_database("stopped"))
        run = turn("run", "one")
        async with desk.opened() as dispatcher:
            async with desk.worker("A", "--grace", "999") as first:
                await dispatcher.submit(run)
                await desk.until("run")
                first.process.terminate()
                await first.told.until("draining")
                first.process.send_signal(signal.SIGINT)
                assert await first.process.wait() == 0
            assert (await dispatcher.find(run.reference)).state == "queued"
            async with desk.worker("A") as second:
                await desk.until("run", many=2)
                desk.let_go("run")
                assert await answer(dispatcher, run) == "echo: A heard hello"
                second.process.send_signal(signal.SIGINT)
                assert await second.process.wait() == 0
            assert (await dispatcher.find(run.reference)).attempts == 1
        nodes = [(first, "before"), (first, "held"), (second, "held")]
        assert desk.calls == [(each.process.pid, "run", node) for each, node in nodes]
        assert first.events == ["ready", "draining", "handed_back", "stopped"]
        assert second.events == ["ready", "draining", "stopped"]

    asyncio.run(stopped())


def test_a_backup_of_a_running_database_is_restored_as_one_of_its_own(
    server: Server, tmp_path: Path
) -> None:
    async def restored() -> None:
        desk = Desk(tmp_path, server.new_database("old"))
        dsn = server.new_database("restored")
        done, held, waits, after = [turn(name, name[0]) for name in ("done", "d2", "waits", "w2")]
        desk.let_go("done", "waits", "w2")
        async with (
            desk.opened() as here,
            desk.worker("A", "--concurrency", "1") as old,
            submitting(dsn) as there,
        ):
            await here.submit(done)
            assert await answer(here, done)
            await here.submit(held)
            await desk.until("d2")
            await here.submit(waits)
            await back_up_and_restore(desk.dsn, dsn, tmp_path / "backup")
            assert await exports(there) == await exports(here)
            async with desk.worker("A", dsn=dsn) as new:
                await desk.until("d2", many=2)
                assert await answer(there, waits)
                assert (await here.find(waits.reference)).state == "queued"
                desk.let_go("d2")
                await go_on(here, held, waits, after)
                await go_on(there, held, waits, after)
            await check_that_a_deletion_takes_its_turns(there, here, after)
        assert [node for _, run, node in desk.calls if run == "d2"] == ["before", "held", "held"]
        assert old.events == ["ready"]
        (rescued,) = new.told.named("rescued")
        assert (rescued["dead"], {*new.events}) == (True, {"ready", "rescued"})

    asyncio.run(restored())


async def go_on(dispatcher: DBOSDispatcher, held: Submission, *turns: Submission) -> None:
    """A run that was in progress, and turns that wait or are new, end in their order."""
    await dispatcher.submit(turns[-1])
    for each in (held, *turns):
        assert await answer(dispatcher, each) == "echo: A heard hello"
    assert await run_ids(dispatcher, "d") == ["done", "d2"]
    assert await run_ids(dispatcher, "w") == ["waits", "w2"]


async def check_that_a_deletion_takes_its_turns(
    there: DBOSDispatcher, here: DBOSDispatcher, of: Submission
) -> None:
    """By a trigger, in the database where it is, and in no other."""
    await there.store.delete_session(of.key)
    with pytest.raises(NotFound):
        await there.find(of.reference)
    assert (await here.find(of.reference)).state == "ended"


async def back_up_and_restore(dsn: str, empty: str, backup: Path) -> None:
    """The two commands of docs/deploy.md, neither of which may complain."""
    folder = programs()
    assert folder is not None
    for program, *words in (
        ("pg_dump", "-Fc", "-f", str(backup), dsn),
        ("pg_restore", "-d", empty, str(backup)),
    ):
        process = await asyncio.create_subprocess_exec(
            folder / program, *words, stderr=asyncio.subprocess.PIPE
        )
        _, complaints = await process.communicate()
        assert (process.returncode, complaints) == (0, b"")


async def exports(dispatcher: DBOSDispatcher) -> list[object]:
    """All sessions, whole."""
    runner = Runner(duo(), store=dispatcher.store)
    return [
        await runner.session(each.key.session_id).aexport()
        for each in await dispatcher.store.sessions(None)
    ]
