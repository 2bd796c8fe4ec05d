"""Workers over PostgreSQL and DBOS: what becomes of turns when one stops, hangs or dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import uuid4

import psycopg
import pytest
from msgspec import structs

from teamgraph import Change, Graph, MemoryStore, PostgresStore, Runner, SessionKey, Turn
from teamgraph.dispatch import DBOSDispatcher, Submission, Worker
from teamgraph.engine.dispatch.dbos_queue import JSONSerializer, check_processes, check_sessions
from teamgraph.engine.dispatch.turns import TurnTable
from teamgraph.engine.run.resume import RunReference
from teamgraph.errors import InputError, NotFound, QueueFull, RunError, SessionBusy, StoreError
from teamgraph.events import AnswerReset, NodeFinished, RunFinished
from teamgraph.nodes import Member
from tests.engine.cli.conftest import Project
from tests.engine.dispatch.conftest import Gate, Told, asks, drop_turn, duo, steps, working
from tests.postgres import Server, postgres

CONNECTIONS = 20
"""Of a worker, as docs/deploy.md says."""


@asynccontextmanager
async def submitting(dsn: str, **options: Any) -> AsyncIterator[DBOSDispatcher]:  # noqa: ANN401
    dispatcher = DBOSDispatcher(dsn, connections=2, **options)
    try:
        yield dispatcher
    finally:
        await dispatcher.close()


@asynccontextmanager
async def store_of(dsn: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(dsn, connections=2)
    yield store
    await store.close()


def turn(run_id: str, message: str = "hello", **fields: Any) -> Submission:  # noqa: ANN401
    return Submission(graph="duo", message=message, run_id=run_id, **fields)


async def submit_suspects(
    dispatcher: DBOSDispatcher, table: TurnTable, many: int
) -> list[RunReference]:
    """Turns that have ended the worker `died` twice."""
    runs = [await dispatcher.submit(turn(uuid4().hex, "wait")) for _ in range(many)]
    for run in runs:
        number = (await dispatcher.find(run)).id
        for _ in range(2):
            await table.begin(number, uuid4(), "died", is_again=False)
    await table.requeue("died")
    return runs


async def count_taken(dsn: str, worker: Worker) -> int:
    """How many turns a worker has taken from the queue."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        found = await connection.execute(
            b"SELECT count(*) FROM teamgraph_dbos.workflow_status "
            b"WHERE status = 'PENDING' AND executor_id = %s",
            [worker.row.id],
        )
        (many,) = await found.fetchone() or (0,)
    return int(many)


async def table_of(dsn: str) -> TurnTable:
    table = TurnTable(dsn, connections=2)
    await table.open()
    return table


def test_nothing_is_submitted_before_a_worker_was_started(empty_dsn: str, project: Project) -> None:
    async def submit() -> None:
        async with submitting(empty_dsn) as dispatcher:
            await dispatcher.submit(turn("early"))

    with pytest.raises(NotFound, match=r"no worker has ever been started .* teamgraph worker"):
        asyncio.run(submit())
    depth = project.teamgraph("queue", "depth", "--dsn", empty_dsn)
    assert depth.stderr == "nothing waits, and there is no worker\n"


def test_a_turn_that_a_stopping_worker_hands_back_is_resumed_by_the_next(dsn: str) -> None:
    async def handed_back() -> None:
        model, told = Gate(), Told()
        async with submitting(dsn) as dispatcher:
            async with working(dsn, model, told, steps(), grace=0):
                run = await dispatcher.submit(turn("back", "wait"))
                await model.began.acquire()
            assert told.named("handed_back")
            model.opened.set()
            async with working(dsn, model, Told(), steps()):
                events = [event async for event in dispatcher.events(run)]
        assert isinstance(events[-1], RunFinished)
        assert sum(isinstance(event, AnswerReset) for event in events) == 1
        ends = [event.node for event in events if isinstance(event, NodeFinished)]
        assert ends == ["one", "last"]

    asyncio.run(handed_back())


def test_a_turn_that_ends_its_worker_five_times_is_a_dead_letter_and_its_session_goes_on(
    dsn: str,
) -> None:
    async def poison() -> None:
        table = await table_of(dsn)
        model, told = Gate(), Told()
        async with submitting(dsn) as dispatcher:
            run = await dispatcher.submit(turn("poison", session_id="p"))
            after = await dispatcher.submit(turn("after", session_id="p"))
            number = (await dispatcher.find(run)).id
            lease = await dispatcher.store.begin(SessionKey(None, "p"), Turn("poison", "hello"))
            await dispatcher.store.release(lease)
            never = await dispatcher.submit(turn("never"))
            for each in (number, (await dispatcher.find(never)).id):
                for _ in range(5):
                    await table.begin(each, uuid4(), "died", is_again=False)
            async with working(dsn, model, told, steps()):
                assert (await dispatcher.result(never)).status == "failed"
                dead = await dispatcher.result(run)
                assert (dead.status, dead.turn.number) == ("failed", 0)
                assert "ended its worker 5 times" in (dead.turn.error or "")
                assert (await dispatcher.result(after)).status == "done"
                letter, _ = await table.listed(["dead"], limit=9, offset=0)
                assert letter.run_id == "poison"
                (depth,) = await table.depths()
                assert (depth.queued, depth.running, depth.dead) == (0, 0, 2)
                await dispatcher.retry(letter.id)
                assert (await dispatcher.result(run)).status == "done"
                with pytest.raises(NotFound, match="`teamgraph queue list --dead` lists"):
                    await dispatcher.retry(letter.id)
        assert {each["run"] for each in told.named("dead_letter")} == {"poison", "never"}
        await drop_turn(dsn, (await table.find(never)).id)
        await table.close()

    asyncio.run(poison())


def test_turns_whose_workers_ended_twice_are_run_one_at_a_time_beside_others(dsn: str) -> None:
    async def alone() -> None:
        table, model = await table_of(dsn), Gate()
        async with submitting(dsn) as dispatcher:
            *suspects, gone = await submit_suspects(dispatcher, table, 4)
            await dispatcher.cancel(gone)
            async with working(dsn, model, Told(), steps()) as worker:
                other = await dispatcher.submit(turn("beside", "wait"))
                for _ in range(2):
                    await model.began.acquire()
                await dispatcher.result(await dispatcher.submit(turn("later")))
                found = [await dispatcher.find(run) for run in suspects]
                assert sum(each.attempts == 2 for each in found) == 2
                await worker.execute((await dispatcher.find(gone)).id)  # waits for none of them
                model.opened.set()
                for run in (other, *suspects):
                    assert (await dispatcher.result(run)).status == "done"
        await table.close()

    asyncio.run(alone())


def test_a_worker_that_stops_begins_none_of_the_turns_that_wait_to_run_alone(dsn: str) -> None:
    async def stopped() -> None:
        table, model, told = await table_of(dsn), Gate(), Told()
        async with submitting(dsn) as dispatcher:
            suspects = await submit_suspects(dispatcher, table, 2)
            async with working(dsn, model, told, steps(), grace=0) as worker:
                await model.began.acquire()
                while await count_taken(dsn, worker) < 2:
                    await table.wait(table.bell(0), 0.05)
            assert len(told.named("handed_back")) == 1
            model.opened.set()
            async with working(dsn, model, Told(), steps()):
                for run in suspects:
                    assert (await dispatcher.result(run)).status == "done"
        await table.close()

    asyncio.run(stopped())


def test_executions_that_ended_with_another_worker_are_discounted_ten_times_at_most(
    dsn: str,
) -> None:
    async def discounted() -> None:
        table, told = await table_of(dsn), Told()
        async with submitting(dsn) as dispatcher, working(dsn, Gate(), told, steps()) as worker:
            run = await dispatcher.submit(
                Submission(graph="asks", message="m", run_id="discounted")
            )
            number = (await dispatcher.find(run)).id
            for _ in range(15):
                await table.begin(number, uuid4(), worker.row.id, is_again=False)
            for n in range(12):
                await table.register(structs.replace(worker.row, id=f"d{n}", owner=uuid4()), {})
            await told.until("rescued", 12)
            assert (await dispatcher.find(run)).attempts == 15 - 10
            await drop_turn(dsn, number)
        await table.close()

    asyncio.run(discounted())


def test_the_second_rescue_of_a_worker_counts_against_the_turn_that_ended_it(dsn: str) -> None:
    async def counted() -> None:
        table = await table_of(dsn)
        async with submitting(dsn) as dispatcher:
            (run,) = await submit_suspects(dispatcher, table, 1)
            for executor in ("died", "other"):
                await table.discount_attempts(executor, since=2, most=10)
            found = await dispatcher.find(run)
            assert found.attempts == 1
            (queued,) = await table.listed(["queued"], limit=9, offset=0)
            assert queued.executor is None
            await table.end(found.id, None, state="dead", outcome=None)
            await dispatcher.retry(found.id)
            of_turn = "SELECT attempts, discounted FROM teamgraph_turns.turns WHERE id = %s"
            with psycopg.connect(dsn) as connection:
                assert connection.execute(of_turn, [found.id]).fetchone() == (0, 0)
            await drop_turn(dsn, found.id)
        await table.close()

    asyncio.run(counted())


def test_tables_of_the_last_version_are_migrated(dsn: str) -> None:
    async def migrated() -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as other:
            for step in (
                b"ALTER TABLE teamgraph_turns.turns RENAME COLUMN discounted TO pardons",
                b"DROP FUNCTION teamgraph_turns.retry_turn",
                b"UPDATE teamgraph_turns.version SET number = 3",
            ):
                await other.execute(step)
        table = await table_of(dsn)
        await table.discount_attempts("none", since=2, most=10)
        async with submitting(dsn) as dispatcher:
            with pytest.raises(NotFound, match="no dead letter"):
                await dispatcher.retry(1)
        await table.close()

    asyncio.run(migrated())


def test_a_worker_runs_as_many_turns_at_once_as_it_may_with_few_connections(dsn: str) -> None:
    async def count() -> None:
        model, nodes = Gate(), {"one": Member(role="You talk")}
        graph = Graph(name="three", model="m", nodes=nodes)
        async with working(dsn, model, Told(), graph, concurrency=5):
            pass  # its limit is not that of the next one
        async with submitting(dsn) as dispatcher:
            runs = [
                await dispatcher.submit(Submission(graph="three", message="wait")) for _ in range(5)
            ]
        options = {"connections": 8, "concurrency": 3}
        async with working(dsn, model, Told(), graph, **options) as worker:
            for _ in range(3):
                await model.began.acquire()
            assert await count_taken(dsn, worker) == 3
            with psycopg.connect(dsn) as connection:
                of_worker = "SELECT count(*) FROM pg_stat_activity WHERE datname = "
                of_worker += "current_database() AND pid <> pg_backend_pid()"
                (connections,) = connection.execute(of_worker).fetchone() or (0,)
            assert 0 < connections <= CONNECTIONS
            model.opened.set()
            async with submitting(dsn) as dispatcher:
                for run in runs:
                    assert (await dispatcher.result(run)).status == "done"

    asyncio.run(count())


def test_turns_that_changed_are_announced_to_other_processes(dsn: str) -> None:
    async def announced() -> None:
        here, there = await table_of(dsn), await table_of(dsn)
        await there.bell(0).wait()  # once it is connected
        for many in (1, 3):
            bells = [there.bell(turn) for turn in range(many)]
            for turn in range(many):
                here.announce(turn)
            for bell in bells:
                await bell.wait()
        bell = there.bell(9)
        here.announce(9)
        await here.close()
        await bell.wait()
        await there.close()

    asyncio.run(announced())


def test_what_a_worker_writes_after_it_was_taken_for_dead_is_refused(dsn: str) -> None:
    async def fenced() -> None:
        table = await table_of(dsn)
        model, told = Gate(), Told()
        async with submitting(dsn) as dispatcher, working(dsn, model, told, steps()) as worker:
            run = await dispatcher.submit(turn("fenced", "wait"))
            await model.began.acquire()
            await dispatcher.store.evict(worker.row.owner)
            model.opened.set()
            await told.until("fenced")
            await table.requeue(worker.row.id)
            await table.leave(worker.row.id)
            await told.until("taken_for_dead")
            assert (await dispatcher.result(run)).status == "done"
            await model.began.acquire()
            model.opened.clear()
            lost = await dispatcher.submit(turn("lost", "wait twice"))
            await model.began.acquire()
            await table.requeue(worker.row.id)
            await told.until("fenced", 2)
            await model.began.acquire()
            await dispatcher.cancel(lost)
            assert (await dispatcher.result(lost)).status == "cancelled"
        await table.close()

    asyncio.run(fenced())


def test_a_lease_that_is_lost_does_not_end_a_turn_that_is_still_the_worker_s(dsn: str) -> None:
    async def evicted() -> None:
        model, told = Gate(), Told()
        async with submitting(dsn) as dispatcher, working(dsn, model, told, steps()) as worker:
            run = await dispatcher.submit(turn("evicted", "wait"))
            await model.began.acquire()
            await dispatcher.store.evict(worker.row.owner)
            model.opened.set()
            assert (await dispatcher.result(run)).status == "done"
            assert told.named("fenced")

    asyncio.run(evicted())


def test_a_workflow_that_is_pending_and_not_executed_is_put_back(dsn: str) -> None:
    async def put_back() -> None:
        of_run = b"UPDATE teamgraph_dbos.workflow_status SET status = 'PENDING', executor_id = %s "
        of_run += b"WHERE workflow_uuid = %s"
        async with (
            submitting(dsn) as dispatcher,
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as other,
        ):
            async with working(dsn, Gate(), Told(), steps()):
                pass
            run = await dispatcher.submit(turn("claimed"))
            workflow = (await dispatcher.find(run)).workflow
            await other.execute(of_run, ["nobody", workflow])
            async with working(dsn, Gate(), Told(), steps()) as worker:
                await other.execute(of_run, [worker.row.id, workflow])
                assert (await dispatcher.result(run)).status == "done"

    asyncio.run(put_back())


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_run_whose_end_was_not_told_since_the_database_was_away_is_resumed(
    dsn: str, status: Literal["failed", "cancelled"]
) -> None:
    async def resumed() -> None:
        table = await table_of(dsn)
        async with submitting(dsn) as dispatcher:
            untold = turn(f"untold {status}")
            run = await dispatcher.submit(untold)
            number = (await dispatcher.find(run)).id
            await table.begin(number, uuid4(), "died", is_again=False)
            lease = await dispatcher.store.begin(untold.key, Turn(run.run_id, "hello"))
            ended = Turn(run.run_id, "hello", status=status)
            await dispatcher.store.finish(lease, ended, Change())
            async with working(dsn, Gate(), Told(), steps()):
                assert (await dispatcher.result(run)).status == "done"
        await table.close()

    asyncio.run(resumed())


def test_the_turns_of_a_worker_that_died_or_hangs_are_rescued_and_those_of_others_are_not(
    dsn: str,
) -> None:
    async def rescued() -> None:
        table = await table_of(dsn)
        told, model = Told(), Gate()
        async with submitting(dsn) as dispatcher, working(dsn, model, told, steps()) as worker:
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as other:
                for name in ("hung", "live"):
                    lock = b"SELECT pg_advisory_lock(%s, hashtext(%s))"
                    await other.execute(lock, [0x776F726B, name])
                for name in ("dead", "hung", "live"):
                    row = structs.replace(worker.row, id=name, owner=uuid4())
                    await table.register(row, {})
                silent = b"UPDATE teamgraph_turns.workers SET seen = now() - interval '1 minute'"
                await other.execute(silent + b" WHERE id = 'hung'")
                await told.until("rescued", 2)
                await dispatcher.result(await dispatcher.submit(turn("meanwhile")))
            names = {each["worker"]: each["dead"] for each in told.named("rescued")}
            assert names == {"dead": True, "hung": False}
            assert {each.id for each in await table.workers()} == {"live", worker.row.id}
            await table.leave("live")
        await table.close()

    asyncio.run(rescued())


def test_a_run_that_ended_before_its_worker_could_tell_is_told_by_the_next(dsn: str) -> None:
    async def told_again() -> None:
        table = await table_of(dsn)
        async with submitting(dsn) as dispatcher:
            runner = Runner(steps(), store=dispatcher.store, model=Gate())
            runs = [await dispatcher.submit(turn(f"t{n}")) for n in range(2)]
            fails = await dispatcher.submit(turn("t2"))
            await table.begin((await table.find(fails)).id, uuid4(), "died", is_again=False)
            with pytest.raises(RunError, match="it broke"):
                await runner.arun("fail", run_id="t2", session_id="t2")
            execution = uuid4()
            number = (await dispatcher.find(runs[1])).id
            await table.begin(number, execution, "died", is_again=False)
            for run in runs:
                source = runner.astream("hello", run_id=run.run_id, session_id=run.run_id)
                events = [event async for event in source]
            await table.append(number, execution, events[:4])
            async with working(dsn, Gate(), Told(), steps()) as worker:
                assert (await dispatcher.result(fails)).status == "failed"
                for run in runs:
                    again = [event async for event in dispatcher.events(run)]
                    assert isinstance(again[-1], RunFinished)
                    assert again[-1].run.answer == "said hello"
                    ends = [each.node for each in again if isinstance(each, NodeFinished)]
                    assert ends == ["one", "last"]
                ended = await dispatcher.find(RunReference("t1", None, None))
                await worker.execute(ended.id)  # nothing happens
                (listed,) = await table.listed(["ended"], limit=1, offset=0)
                assert listed.run_id == ""
                with pytest.raises(InputError, match="done: there is nothing to resume"):
                    await dispatcher.submit(Submission(graph="duo", run_id="t1", resumes=True))
        await table.close()

    asyncio.run(told_again())


def test_a_turn_that_cannot_be_run_or_was_cancelled_meanwhile_ends_and_a_deleted_one_is_gone(  # noqa: PLR0915  one worker for all
    dsn: str,
) -> None:
    async def ended() -> None:
        table = await table_of(dsn)
        async with submitting(dsn) as dispatcher:
            bad, cut, gone, busy = [
                await dispatcher.submit(turn(f"e{n}", session_id=f"e{n}")) for n in range(4)
            ]
            await table.begin((await table.find(cut)).id, uuid4(), "died", is_again=False)
            await dispatcher.cancel(cut)
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as other:
                words = b"UPDATE teamgraph_turns.turns SET submission = '{}' WHERE id = %s"
                await other.execute(words, [(await table.find(gone)).id])
                words = words.replace(
                    b"'{}'",
                    b"replace(convert_from(submission, 'UTF8'), '\"duo\"', '\"dou\"')::bytea",
                )
                await other.execute(words, [(await table.find(bad)).id])
            lease = await dispatcher.store.begin(SessionKey(None, "e3"), Turn("other", "m"))
            told = Told()
            async with working(dsn, Gate(), told, steps()):
                with pytest.raises(RunError, match="an internal error: KeyError"):
                    await dispatcher.result(bad)
                assert (await dispatcher.result(cut)).status == "cancelled"
                await told.until("internal_error", 2)
                while (await dispatcher.find(busy)).state != "running":
                    await table.wait(table.bell(0), 0.05)
                waiting = asyncio.create_task(dispatcher.result(busy))
                await dispatcher.cancel(busy)
                assert (await waiting).status == "cancelled"
            await dispatcher.store.release(lease)
            waiting = asyncio.create_task(dispatcher.result(await dispatcher.submit(turn("e5"))))
            await asyncio.wait([waiting], timeout=0.1)
            await drop_turn(dsn, (await table.find(turn("e5").reference)).id)
            with pytest.raises(NotFound, match="was deleted"):
                await waiting
        await table.close()

    asyncio.run(ended())


def test_turns_for_graphs_of_a_release_that_is_gone_are_adopted_by_the_next(dsn: str) -> None:
    async def adopted() -> None:
        async with submitting(dsn) as dispatcher:
            runs = [await dispatcher.submit(turn(f"a{n}", session_id="a")) for n in range(3)]
            told = Told()
            async with working(dsn, Gate(), told, duo(), asks()):
                numbers = [(await dispatcher.result(run)).turn.number for run in runs]
        assert numbers == [1, 2, 3]
        assert told.named("adopted") == [{"turns": 3}]

    asyncio.run(adopted())


def test_a_session_stays_with_a_release_and_is_adopted_whole_or_not_at_all(  # noqa: PLR0915  one release
    dsn: str,
) -> None:
    async def released() -> None:
        table, told = await table_of(dsn), Told()
        async with submitting(dsn) as dispatcher:
            async with working(dsn, Gate(), Told(), duo()) as worker:
                old = structs.replace(worker.row, id="old", bundle="old", graphs=("duo", "asks"))
            other = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
            await other.execute(b"SELECT pg_advisory_lock(%s, hashtext('old'))", [0x776F726B])
            await table.register(structs.replace(old, owner=uuid4()), {})
            seen = b"UPDATE teamgraph_turns.workers SET seen = now() + interval '1 hour' "
            await other.execute(seen + b"WHERE id = 'old'")
            at = {"session_id": "released"}
            runs = [await dispatcher.submit(turn("of old 1", **at))]
            for graph in ("asks", "duo"):
                both = Submission(graph=graph, message="m", run_id=graph, session_id="both")
                await dispatcher.submit(both)
            async with working(dsn, Gate(), told, steps()) as new:
                runs += [await dispatcher.submit(turn(f"of old {n}", **at)) for n in (2, 3)]
                assert {(await dispatcher.find(run)).bundle for run in runs} == {"old"}
                first = await dispatcher.submit(turn("of new"))
                assert (await dispatcher.find(first)).bundle == new.row.bundle
                assert (await dispatcher.result(first)).status == "done"
                assert {(await dispatcher.find(run)).state for run in runs} == {"queued"}
                await other.close()
                numbers = [(await dispatcher.result(run)).turn.number for run in runs]
                assert numbers == [1, 2, 3]
                last = await dispatcher.find(both.reference)
                assert (last.bundle, last.state) == ("old", "queued")
            assert told.named("adopted") == [{"turns": 3}]
            async with working(dsn, Gate(), Told(), duo(), asks()):
                with pytest.raises(SessionBusy, match="waits for an answer"):
                    await dispatcher.result(both.reference)
        await table.close()

    asyncio.run(released())


def test_one_worker_adopts_at_a_time_and_others_do_not_wait_for_it(dsn: str) -> None:
    async def adopting() -> None:
        table = await table_of(dsn)
        async with submitting(dsn) as dispatcher:
            run = await dispatcher.submit(turn(uuid4().hex))
            waits = await dispatcher.find(run)
            with psycopg.connect(dsn) as connection:
                old = "UPDATE teamgraph_turns.turns SET created = now() - interval '1 minute' "
                connection.execute(old + "WHERE id = %s", [waits.id])
            async with (
                table.adopting("one", ["duo"]) as found,
                table.adopting("another", ["duo"]) as more,
            ):
                assert (waits.workflow in found, more) == (True, [])
            await drop_turn(dsn, waits.id)
        await table.close()

    asyncio.run(adopting())


def test_turns_behind_one_that_an_old_worker_still_runs_are_adopted_with_it(dsn: str) -> None:
    async def adopted() -> None:
        table, execution = await table_of(dsn), uuid4()
        async with submitting(dsn) as dispatcher:
            turns = [turn(uuid4().hex, session_id="behind") for _ in range(2)]
            runs, waits = [await dispatcher.find(await dispatcher.submit(each)) for each in turns]
            await table.begin(runs.id, execution, "draining", is_again=False)
            with psycopg.connect(dsn) as connection:
                made = "UPDATE teamgraph_turns.turns SET created = now() - interval '1 minute' "
                connection.execute(made + "WHERE id = ANY (%s)", [[runs.id, waits.id]])
            async with table.adopting("new", ["duo"]) as found:
                assert waits.workflow not in found
            await table.give_back(runs.id, execution)
            async with table.adopting("new", ["duo"]) as found:
                assert {runs.workflow, waits.workflow} <= {*found}
            for each in (runs, waits):
                await drop_turn(dsn, each.id)
        await table.close()

    asyncio.run(adopted())


@pytest.mark.parametrize(
    "what", ["queue_name ON teamgraph_dbos.workflow_status", "bundle ON teamgraph_turns.turns"]
)
def test_an_adoption_that_breaks_off_is_begun_again(dsn: str, what: str) -> None:
    """It breaks off where the transaction of the queue, or that of the rows, is committed."""

    async def adopted() -> None:
        async with (
            submitting(dsn) as dispatcher,
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as other,
        ):
            async with working(dsn, Gate(), Told(), steps()):
                pass
            run = await dispatcher.submit(turn(uuid4().hex))
            await other.execute(
                b"CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS "
                b"$$ BEGIN RAISE 'it is cut'; END $$"
            )
            await other.execute(
                f"CREATE CONSTRAINT TRIGGER cut AFTER UPDATE OF {what} DEFERRABLE INITIALLY "
                "DEFERRED FOR EACH ROW EXECUTE FUNCTION cut()".encode()
            )
            told = Told()
            async with working(dsn, Gate(), told, duo(), asks()) as worker:
                await told.until("beat_failed")
                assert "it is cut" in told.named("beat_failed")[0]["why"]
                await other.execute(b"DROP FUNCTION cut CASCADE")
                assert (await dispatcher.result(run)).status == "done"
                later = await dispatcher.submit(turn(uuid4().hex, session_id=run.session_id))
                assert (await dispatcher.find(later)).bundle == worker.row.bundle
                assert (await dispatcher.result(later)).status == "done"

    asyncio.run(adopted())


def test_turns_are_refused_where_too_many_wait_or_no_worker_of_the_session_has_the_graph(
    dsn: str,
) -> None:
    async def refused() -> None:
        table = await table_of(dsn)
        solo = Graph(name="solo", model="m", nodes={"one": Member(role="You talk")})
        async with working(dsn, Gate(), Told(), solo):
            pass
        async with submitting(dsn, waiting=1) as few, submitting(dsn) as many:
            run = await few.submit(turn("first", session_id="f"))
            with pytest.raises(QueueFull, match="1 turns wait"):
                await few.submit(turn("second"))
            with pytest.raises(SessionBusy, match="do not have the graph 'solo'"):
                await many.submit(Submission(graph="solo", message="m", session_id="f"))
            await few.cancel(run)
            assert (await few.result(run)).status == "cancelled"
            assert await few.status(run) == "cancelled"
            assert {"solo", "duo"} <= set(await few.graphs())
        await table.close()

    asyncio.run(refused())


def test_a_deleted_session_takes_what_was_submitted_with_it(dsn: str) -> None:
    async def deleted() -> None:
        async with (
            store_of(dsn) as store,
            submitting(dsn, store=store) as dispatcher,
            working(dsn, Gate(), Told(), duo()),
        ):
            for name in ("d1", "d2"):
                run = await dispatcher.submit(turn(name, session_id="d", user_id="ann"))
                await dispatcher.result(run)
            runner = Runner(duo(), store=dispatcher.store, model=Gate())
            session = runner.session("d", user_id="ann")
            await session.adelete_run("d1")
            with pytest.raises(NotFound):
                await dispatcher.find(turn("d1", session_id="d", user_id="ann").reference)
            await session.adelete()
            with pytest.raises(NotFound):
                await dispatcher.find(run)
            again = await dispatcher.submit(turn("d1", session_id="d", user_id="ann"))
            assert (await dispatcher.result(again)).status == "done"

    asyncio.run(deleted())


def test_events_of_turns_that_ended_long_ago_are_dropped(dsn: str) -> None:
    async def dropped() -> None:
        async with submitting(dsn) as dispatcher:
            async with working(dsn, Gate(), Told(), duo()):
                run = await dispatcher.submit(turn("old"))
                await dispatcher.result(run)
                gone = turn("gone", session_id="g", user_id="ann")
                await dispatcher.result(await dispatcher.submit(gone))
                runner = Runner(duo(), store=dispatcher.store, model=Gate())
                await runner.session("g", user_id="ann").adelete()
            async with working(dsn, Gate(), Told(), duo(), keep=0.001):
                again = await dispatcher.submit(turn("new"))
                await dispatcher.result(again)
            with pytest.raises(NotFound, match="its events are dropped"):
                await dispatcher.find(run)
            with psycopg.connect(dsn) as connection:
                ended = "SELECT count(*) FROM teamgraph_dbos.workflow_status"
                assert connection.execute(ended).fetchone() == (1,)  # of the new one

    asyncio.run(dropped())


def test_turns_finish_over_a_restart_of_the_database() -> None:
    async def restarted(server: Server) -> None:
        model, told = Gate(), Told()
        async with working(server.dsn, model, told, steps()):
            async with submitting(server.dsn) as dispatcher:
                run = await dispatcher.submit(turn("cut", "wait"))
                await model.began.acquire()
                server.kill()
                with pytest.raises(StoreError, match="check that it is running"):
                    await dispatcher.submit(turn("away"))
            model.opened.set()
            await told.until("store_error")
            await told.until("beat_failed")
            await asyncio.to_thread(server.start)
            await told.until("reconnecting")
            async with submitting(server.dsn) as dispatcher:
                assert (await dispatcher.result(run)).answer == "said wait"

    with postgres() as server:
        asyncio.run(restarted(server))


@pytest.mark.parametrize(
    ("dsn", "text"),
    [
        ("sqlite:///turns.db", "sqlite://... is no address of PostgreSQL"),
        ("turns.db", "'turns.db' is no address"),
        ("postgresql://host/db?nonsense=1", "it cannot be read"),
    ],
)
def test_only_postgresql_keeps_the_order_of_turns(dsn: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        DBOSDispatcher(dsn)


def test_a_worker_needs_the_store_of_its_database_and_connections_of_its_own() -> None:
    runner = Runner(duo(), store=MemoryStore(), model=Gate())
    with pytest.raises(InputError, match="is a MemoryStore, and a worker's is in its database"):
        Worker([runner], "postgresql://host/db", log=Told())
    check_processes([1, 2])
    with pytest.raises(InputError, match="pool_mode = session"):
        check_processes([1, 1])
    with pytest.raises(StoreError, match="cannot be reached"):
        check_sessions("postgresql://127.0.0.1:1/none")


def test_the_queue_stores_json() -> None:
    serializer = JSONSerializer()
    text = serializer.serialize({"args": (7,), "kwargs": {}, "error": ValueError("no")})
    assert serializer.deserialize(text) == {"args": [7], "kwargs": {}, "error": "no"}
    assert serializer.name() == "teamgraph_json"
