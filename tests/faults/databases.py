"""The store in PostgreSQL: a server of its own, and what goes wrong only there."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from teamgraph import (
    Change,
    Lease,
    Policy,
    PostgresStore,
    Record,
    Runner,
    SessionKey,
    Store,
    Turn,
    WhileWaiting,
)
from teamgraph.engine.stores.journal.disk import DISK, Disk
from teamgraph.errors import Conflict, InputError, NotFound, RunError, StoreError
from teamgraph.events import NodeStarted
from tests.postgres import Server, postgres

from .judge import Counts, Open, at_peace
from .process import Child
from .said import KEY, Tell
from .stores import PATIENCE
from .suspended import look_after, take_over
from .team import Repeating, team

_ADDRESS = "TEAMGRAPH_FAULTS_POSTGRES"
_SESSIONS, _TURNS = 12, 4
_PUTS = 400


@contextmanager
def database_server() -> Generator[Server]:
    """The server of all rows of this process and its children, with `fsync`."""
    with postgres(fsync=True) as server:
        os.environ[_ADDRESS] = server.dsn
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # that it is killed is no news
        yield server


class Waiting(PostgresStore):
    """A lease ends some time after its process: who would be refused waits so long."""

    async def begin(
        self,
        key: SessionKey,
        turn: Turn,
        *,
        policy: Policy = "serialize",
        is_stored: bool | None = None,
        while_waiting: WhileWaiting = "refuse",
    ) -> Lease:
        policy = "serialize" if policy == "reject" else policy
        return await super().begin(
            key, turn, policy=policy, is_stored=is_stored, while_waiting=while_waiting
        )


def schema_of(place: Path) -> str:
    """The schema that stands for a folder."""
    return "f" + sha256(str(place).encode()).hexdigest()[:30]


def database(place: Path, disk: Disk) -> Store:
    """As it comes."""
    del disk
    return PostgresStore(os.environ[_ADDRESS], schema=schema_of(place), timeout=60)


def patient(place: Path, disk: Disk) -> Store:
    """It takes the sessions of killed processes over soon, and waits for them."""
    del disk
    return Waiting(os.environ[_ADDRESS], schema=schema_of(place), lease_timeout=2, timeout=60)


def impatient_database(place: Path, disk: Disk) -> Store:
    """As it comes, but for those who wait."""
    del disk
    return PostgresStore(os.environ[_ADDRESS], schema=schema_of(place), lease_timeout=PATIENCE)


def stopped(open_store: Open, trials: int, seed: int) -> Counts:
    """Stop a writer, let another one take its session, and revive it: it writes no more."""
    chosen = random.Random(seed)
    counts, refused = Counts(), 0
    for _ in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            child = Child(lambda tell, p=place: asyncio.run(_hold(open_store(p, DISK), tell)))
            child.wait_for(1 + chosen.randint(0, 40))
            child.send(signal.SIGSTOP)
            at_peace(lambda c=child, p=place: take_over(open_store(p, DISK), c))
            child.send(signal.SIGCONT)
            told = [json.loads(line) for line in child.end()]
            refused += sum(verb == "refused" for verb, *_ in told)
            at_peace(lambda p=place, t=told: look_after(open_store(p, DISK), t, counts))
    if not refused:
        counts.note("nothing was ever refused", "wrong")
    return counts


async def _hold(store: Store, tell: Tell) -> None:
    """Write a turn until it is refused, or for long enough."""
    lease = await store.begin(KEY, Turn("held", "x"))
    await store.put(lease, [Record("early", "done")])
    tell('["early"]\n')
    try:
        for number in range(_PUTS):
            await store.put(lease, [Record(f"n{number}", "done")])
            tell(json.dumps(["kept", f"n{number}"]) + "\n")
        await store.finish(lease, Turn("held", "x", status="done"), Change({"held": 1}))
        tell('["kept", "finish"]\n')
    except Conflict:
        tell('["refused", "the rest"]\n')
    await store.close()


def away(open_store: Open, trials: int, seed: int) -> Counts:
    """Kill the server amid turns and start it again, at once or after ten seconds.

    Every turn is done in the end, and no finished node runs again.
    """
    counts = Counts()
    for number in range(trials):
        with tempfile.TemporaryDirectory() as folder, database_server() as server:
            store = open_store(Path(folder), DISK)
            pause = 10.0 if number % 2 else 0.0
            at_peace(lambda s=store, v=server, p=pause: _outage(s, v, p, seed, counts))
    return counts


async def _outage(store: Store, server: Server, pause: float, seed: int, counts: Counts) -> None:
    runner = Runner(team(), store=store, model=Repeating(faults=0, seed=seed))
    begun = asyncio.Event()

    async def fall() -> None:
        await begun.wait()
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(pause)
        await asyncio.to_thread(server.start)

    falling = asyncio.create_task(fall())

    async def session(number: int) -> None:
        for turn in range(_TURNS):
            await _finish(runner, f"s{number}", f"r{turn}", counts)
            if turn == 1:
                begun.set()

    await asyncio.gather(*(session(number) for number in range(_SESSIONS)))
    await falling
    for number in range(_SESSIONS):
        turns = await store.turns(SessionKey("ann", f"s{number}"))
        counts.acknowledged += len(turns)
        if [turn.run_id for turn in turns] != [f"r{turn}" for turn in range(_TURNS)]:
            counts.note(f"session s{number} has {[turn.run_id for turn in turns]}", "wrong")
    counts.trials += 1
    await store.close()


async def _finish(runner: Runner, session_id: str, run_id: str, counts: Counts) -> None:
    """Run a turn, and resume it until it is done."""
    kept: set[str] = set()
    is_stored = False
    while True:
        try:
            if is_stored:
                await _resume(runner, session_id, run_id, kept, counts)
            else:
                is_stored = True  # it may be, whatever is raised
                text = "Say it, please."
                await runner.arun(text, user_id="ann", session_id=session_id, run_id=run_id)
        except RunError as error:
            records = error.run.records if error.run else {}
            kept |= {node for node, record in records.items() if record.is_final}
        except NotFound:
            is_stored = False
        except InputError:  # it is done: the server has stored the end, and its answer was lost
            return
        except StoreError:
            await asyncio.sleep(0.05)  # the database is away
        else:
            return


async def _resume(
    runner: Runner, session_id: str, run_id: str, kept: set[str], counts: Counts
) -> None:
    async for event in runner.aresume_stream(run_id, user_id="ann", session_id=session_id):
        if isinstance(event, NodeStarted) and event.node in kept:
            counts.note(f"run {run_id}, node {event.node}", "again")
