"""A worker: takes turns of its graphs from the queue, runs them, and writes their events.

DBOS gives it the number of a turn, one of each session at a time, in order. Everything else is in
the row of that number. A turn that was begun before, by this worker or by one that died, is resumed
from the records of its run.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from functools import partial
from hashlib import sha256
from time import time
from uuid import UUID, uuid4

from dbos import DBOS, DBOSConfig
from msgspec.structs import replace
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from ..blocking import call_in_thread
from ..errors import (
    Cancelled,
    Conflict,
    DamagedStore,
    InputError,
    NotFound,
    RunError,
    SessionBusy,
    StoreError,
    TeamgraphError,
    UnknownVersion,
)
from ..events import (
    AnswerReset,
    Event,
    NodeFinished,
    NodeSkipped,
    RunFailed,
)
from ..records import Change, Run, RunStatus
from ..run.runner import Runner
from ..run.stored_events import stored_events
from ..stores.leases import WATCHER
from ..stores.postgres import PostgresStore
from .dbos_queue import (
    APPLICATION,
    QUEUE_SCHEMA,
    VERSION,
    WORKFLOW,
    JSONSerializer,
    check_dsn,
    check_sessions,
    client_for,
    engine_for,
    queue_of,
    quiet,
)
from .event_rows import has_last, merge_tokens, parse_events
from .in_process import runners_by_name, start
from .limited import CallRows, connect
from .protocol import Submission
from .takeover import SUSPECT_AFTER, Log, Membership
from .turns import SubmittedTurn, TurnTable, WorkerRow

ATTEMPTS = 5
"""Executions in a row that may end with their worker, with no node done; then it is given up."""
FLUSH = 0.06
"""Seconds for which events are gathered before they are written."""
DEQUEUE = 0.1
"""Seconds between two looks at the queue."""
KEEP = 3600.0
"""Seconds for which the events of a turn that has ended are kept."""
_PAUSE = 0.5


class Worker:
    """Takes turns of its graphs from the queue and runs them, `concurrency` at once.

    All runners have one `PostgresStore`, whose database is `dsn`. When it stops, the turns in
    progress have `grace` seconds to finish; the others return to the queue, and another worker
    resumes them. Events are deleted after `keep` seconds. `log` is called with the name and the
    facts of what happens. Where the model of the runners is a `LimitedModel`, its limits hold over
    all workers of the database. One process can have one worker.

    Raises `InputError` for an address that is not one of PostgreSQL itself, and for a limit of a
    model that no graph asks.
    """

    def __init__(
        self,
        runners: Iterable[Runner],
        dsn: str,
        *,
        concurrency: int = 8,
        grace: float = 30.0,
        keep: float = KEEP,
        log: Log,
    ) -> None:
        self._runners = runners_by_name(runners)
        self._dsn = check_dsn(dsn)
        store = next(iter(self._runners.values())).store
        if not isinstance(store, PostgresStore):
            raise InputError(
                f"the store of the graphs is a {type(store).__name__}, and a worker's is in its "
                "database; give the runners one PostgresStore(dsn)"
            )
        self._store = store
        self._grace = grace
        self._log = log
        self._running: dict[int, _Execution] = {}
        self._suspects = asyncio.Lock()
        self.table = TurnTable(dsn)
        self._engine = engine_for(dsn, size=2)
        self._client = client_for(self._engine)
        self.row = WorkerRow(
            id=f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}",
            bundle=bundle_of(self._runners.values()),
            graphs=tuple(self._runners),
            owner=store.owner_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            concurrency=concurrency,
            running=0,
            started=time(),
            silent=0.0,
            is_draining=False,
        )
        self._calls = CallRows(self.table, self.row.id, log)
        self._limited = connect(self._runners.values(), self._calls)
        self._membership = Membership(
            self._dsn, self.table, self._client, self._store, self.row, keep=keep, log=log
        )

    async def run(self, stop: asyncio.Event, at_once: asyncio.Event | None = None) -> None:
        """Work until `stop` is set; then let turns end, hand back what takes too long, and leave.

        Once `at_once` is set, turns that still run are returned to the queue without further grace.

        Raises `StoreError` if the database cannot be reached at the start.
        """
        await call_in_thread(partial(check_sessions, self._dsn))
        await self._store.users(limit=1)
        self._launch()
        about = {name: each.graph.description for name, each in self._runners.items()}
        await self._membership.enter(about)
        self._log("ready", {"worker": self.row.id, "graphs": [*self._runners]})
        tasks = [asyncio.create_task(self._membership.beat(self._cancel), name="teamgraph beat")]
        if self._limited:
            tasks.append(asyncio.create_task(self._calls.synchronize(), name="teamgraph calls"))
        try:
            await stop.wait()
        finally:
            await self._drain(at_once or asyncio.Event())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for model in self._limited:
                model.rows = None
            await self._membership.leave()
            await self.table.close()
            await call_in_thread(self._client.destroy)
            await call_in_thread(self._engine.dispose)
            self._log("stopped", {"worker": self.row.id})

    async def execute(self, number: int) -> None:
        """Run a turn to its end, over errors of the database; what is another's by now is left."""
        execution = _Execution(number, self.table)
        while not await self._try(execution):
            pass

    async def _try(self, execution: _Execution) -> bool:
        """Execute a turn; false if the database failed, and it is to be executed again.

        Also if the lease of the run was lost: the row of the turn says whether it is another's now.
        """
        try:
            await self._execute(execution)
        except (StoreError, SQLAlchemyError) as error:
            event = "fenced" if isinstance(error, Conflict) else "store_error"
            self._log(event, {"turn": execution.number, "why": str(error)})
            execution.is_again = True
            await asyncio.sleep(_PAUSE)
            return False
        return True

    async def _execute(self, execution: _Execution) -> None:
        """Begin a turn and run it to its end; a bug here ends the turn, and its session goes on."""
        try:
            await self._begin(execution)
        except (StoreError, SQLAlchemyError):
            raise
        except Exception as error:  # noqa: BLE001  whatever it is
            what = f"{type(error).__name__}: {error}"
            failure = RunError(f"an internal error: {what}; please report it")
            await self.table.end(execution.number, execution.id, outcome=None, error=failure)
            self._log("internal_error", {"turn": execution.number, "why": what})

    async def _begin(self, execution: _Execution) -> None:
        """Begin a turn; one that may be what ended its workers waits for others of the kind.

        So a turn that ends its worker soon after each start does not make dead letters of those
        that are begun with it. Those that wait have not begun, and count no execution; a worker
        that stops puts them back.
        """
        number, is_again = execution.number, execution.is_again
        begin = partial(self.table.begin, number, execution.id, self.row.id, is_again=is_again)
        turn = await begin(most=SUSPECT_AFTER)
        if turn is not None or not await self.table.is_suspect(
            number, execution.id, is_again=is_again, since=SUSPECT_AFTER
        ):
            await self._go_on(turn, execution)
            return
        async with self._suspects:
            stops = self._membership.is_draining and not is_again
            await self._go_on(None if stops else await begin(most=None), execution)

    async def _go_on(self, turn: SubmittedTurn | None, execution: _Execution) -> None:
        if turn is None or turn.submission is None:  # over, deleted, another's, or not to begin
            await self._let_go(execution)
            return
        if turn.attempts > ATTEMPTS:
            await self._bury(turn, execution, turn.submission)
        elif turn.is_cancelled:
            await self.table.end(turn.id, execution.id, state="cancelled", outcome=None)
        else:
            stored = await _stored(turn.submission, self._store)
            if stored is not None and await self._is_over(stored, turn, execution):
                await self._tell_again(turn, execution, stored)
            else:
                await self._run(turn, execution, turn.submission, stored)

    async def _run(
        self, turn: SubmittedTurn, execution: _Execution, submission: Submission, run: Run | None
    ) -> None:
        is_stored = run is not None and (run.status != "waiting" or submission.answers is None)
        source = start(self._runners[submission.graph], submission, is_stored=is_stored)
        told = await self._told(turn) if turn.events > turn.first_event else None
        execution.submission = submission
        self._running[turn.id] = execution
        try:
            error = await execution.tell(_continued(source, told, submission))
        finally:
            if self._running.get(turn.id) is execution:  # pragma: no branch - it may be back here
                del self._running[turn.id]
        if execution.is_lost:
            self._log("fenced", {"turn": turn.id, "why": "another worker has taken it over"})
            await self._let_go(execution)
        elif execution.is_handed_back:
            await self._give_back(execution, turn)
        elif error is not None and (cause := _store_error(error)) is not None:
            raise cause
        else:
            outcome = execution.outcome
            is_cancelled = isinstance(error, Cancelled) and outcome is None
            await self.table.end(
                turn.id,
                execution.id,
                state="cancelled" if is_cancelled else "ended",
                outcome=outcome,
                error=None if outcome or is_cancelled else error,
            )

    async def _tell_again(self, turn: SubmittedTurn, execution: _Execution, run: Run) -> None:
        """The run ended, and its worker died before it had told so."""
        told = await self._told(turn) if turn.events > turn.first_event else None
        await execution.tell(_continued(stored_events(run), told, turn.submission))
        await self.table.end(turn.id, execution.id, outcome=run.status)

    async def _bury(
        self, turn: SubmittedTurn, execution: _Execution, submission: Submission
    ) -> None:
        """Make a turn a dead letter, so that its session goes on."""
        error = RunError(
            f"run {submission.run_id!r} ended its worker {ATTEMPTS} times; see why in the logs of "
            f"the workers, then submit it again: teamgraph queue retry {turn.id}"
        )
        run = await _stored(submission, self._store)
        if run is not None and run.status == "running":
            lease = await self._store.begin(run.key, run.turn, policy="fork", is_stored=True)
            failed = replace(run.turn, status="failed", error=str(error), ended=time())
            await self._store.finish(lease, failed, Change())
        await self.table.end(turn.id, execution.id, state="dead", outcome=None, error=error)
        self._log("dead_letter", {"turn": turn.id, "run": submission.run_id})

    async def _is_over(self, run: Run, turn: SubmittedTurn, execution: _Execution) -> bool:
        """Whether an earlier execution of this submission has ended the run, or made it ask.

        A run that is stored as failed or cancelled is resumed unless its end was told: the database
        was away, or the worker that had it was taken for dead and stopped it.
        """
        if run.status == "done":
            return True
        if turn.attempts <= 1 or execution.is_again or run.status == "running":
            return False
        answers = turn.submission.answers if turn.submission is not None else None
        asked = {question.path for question in run.questions}
        asks = run.status == "waiting" and (answers is None or not asked >= answers.keys())
        last = await self.table.batches(turn, max(turn.first_event, turn.events - 1))
        return asks or any(has_last(batch) for _, batch in last)

    async def _told(self, turn: SubmittedTurn) -> frozenset[str]:
        """The paths of the nodes whose ends were told by earlier executions."""
        paths: set[str] = set()
        after = 0
        while rows := await self.table.batches(turn, after):
            for after, batch in rows:
                for event in parse_events(batch, after, None) if not has_last(batch) else ():
                    if isinstance(event, NodeFinished | NodeSkipped):
                        paths.add(event.node or "")
        return frozenset(paths)

    async def _give_back(self, execution: _Execution, turn: SubmittedTurn) -> None:
        """Put a turn back into the queue, where it keeps its place.

        The queue comes first: if that fails the turn is still this execution's, which tries again.
        """
        await self._membership.requeue([(turn.workflow, queue_of(turn.bundle))])
        if await self.table.give_back(  # pragma: no branch - another worker has it already
            turn.id, execution.id
        ):
            self._log("handed_back", {"turn": turn.id})

    async def _let_go(self, execution: _Execution) -> None:
        """Put a turn that was taken from an execution back into the queue, unless somebody has it.

        Who took it meant to do that, but may have lost the database before; and a workflow that
        returns before that has ended for DBOS.
        """
        turn = await self.table.state_of(execution.number)
        if turn is not None and turn.state == "queued":
            await self._membership.requeue([(turn.workflow, queue_of(turn.bundle))])

    async def _cancel(self) -> None:
        """Cancel the turns that somebody wants to be cancelled."""
        for number in await self.table.cancelled(self.row.id):
            execution = self._running.get(number)
            if execution is not None:  # pragma: no branch - it has just ended
                execution.interrupt(self._store, hand_back=False)

    def _launch(self) -> None:
        """Start DBOS in this loop: it runs `execute` for each turn that it takes."""
        quiet()
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._dsn,
            "dbos_system_schema": QUEUE_SCHEMA,
            "application_version": VERSION,
            "executor_id": self.row.id,
            "serializer": JSONSerializer(),
            "sys_db_pool_size": 4,
            "max_executor_threads": 8,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(
            _workflow(self, self._membership.executing)
        )
        queue = queue_of(self.row.bundle)
        DBOS.listen_queues([queue])
        register = partial(
            self._client.register_queue,
            queue,
            partition_concurrency=1,
            worker_concurrency=self.row.concurrency,
            polling_interval_sec=DEQUEUE,
        )
        with suppress(ProgrammingError):  # the first worker of a database makes its tables
            register()  # so that none begins with the concurrency of an earlier worker
        DBOS.launch()
        register()

    async def _drain(self, at_once: asyncio.Event) -> None:
        """Take no more turns; wait for those that run, and hand back what takes too long."""
        self._membership.is_draining = True
        self._log("draining", {"running": len(self._running)})
        patience = max(1, round(self._grace) + 10)
        ended = asyncio.create_task(
            call_in_thread(partial(DBOS.destroy, workflow_completion_timeout_sec=patience))
        )
        hurried = asyncio.create_task(at_once.wait())
        await asyncio.wait(
            [ended, hurried], timeout=self._grace, return_when=asyncio.FIRST_COMPLETED
        )
        hurried.cancel()
        while not ended.done():
            for execution in [*self._running.values()]:
                execution.interrupt(self._store, hand_back=True)
            await asyncio.wait([ended], timeout=_PAUSE)


class _Execution:
    """One execution of a turn: writes its events in batches, as long as the turn is its own."""

    def __init__(self, number: int, table: TurnTable) -> None:
        self.number = number
        self.id: UUID = uuid4()
        self.submission: Submission | None = None
        self.outcome: RunStatus | None = None
        self.is_lost = False
        self.is_again = False
        self.is_handed_back = False
        self._table = table
        self._task: asyncio.Task[TeamgraphError | None] | None = None
        self._pending: list[Event] = []
        self._failure: RunFailed | None = None

    async def tell(self, source: AsyncGenerator[Event]) -> TeamgraphError | None:
        """Write the events of a run to its last one; returns the error that ended it."""
        self._pending, self._failure = [], None
        self._task = asyncio.create_task(self._pump(source), name="teamgraph turn")
        writer = asyncio.create_task(self._write(self._task), name="teamgraph events")
        await asyncio.wait([self._task, writer])
        if self._task.cancelled():  # handed back, or cancelled, while it waited for its session
            error: TeamgraphError | None = Cancelled("the run was cancelled before it had begun")
        else:
            error = self._task.result()
        writer.result()
        if self._failure is not None and _store_error(self._failure.error) is None:
            self._pending.append(self._failure)
            self.outcome = self._failure.run.status
        await self._flush()
        return error

    def interrupt(self, store: object, *, hand_back: bool) -> None:
        """Cancel the run, or stop to execute it."""
        if self.submission is None or self._task is None:  # pragma: no cover - it has both
            return
        self.is_handed_back = self.is_handed_back or hand_back
        key, run_id = self.submission.key, self.submission.run_id
        if not WATCHER.interrupt(store, key, run_id, hand_back=hand_back):  # type: ignore[arg-type]
            self._task.cancel()

    async def _pump(self, source: AsyncGenerator[Event]) -> TeamgraphError | None:
        try:
            async with aclosing(source):
                async for event in source:
                    if isinstance(event, RunFailed):
                        self._failure = event  # unless the store is what failed
                        continue
                    self._pending.append(event)
                    run = getattr(event, "run", None)
                    if run is not None:
                        self.outcome = run.status
        except TeamgraphError as error:
            return error
        return None

    async def _write(self, run: asyncio.Task[TeamgraphError | None]) -> None:
        """Write what was gathered, until the run has ended; stops a run that is not ours."""
        while not run.done():
            await asyncio.wait([run], timeout=FLUSH)
            if not run.done():
                with suppress(StoreError):  # what was not written is kept
                    await self._flush()
            if self.is_lost:
                run.cancel()
                await asyncio.wait([run])

    async def _flush(self) -> None:
        if not self._pending or self.is_lost:
            return
        taken = len(self._pending)
        events = merge_tokens(self._pending)
        self.is_lost = not await self._table.append(self.number, self.id, events)
        del self._pending[:taken]


def bundle_of(runners: Iterable[Runner]) -> str:
    """The identity of the graphs of a worker: a hash of all that they declare."""
    declared = sorted(f"{runner.graph.name} {runner.declared}" for runner in runners)
    return sha256("\n".join(declared).encode()).hexdigest()[:16]


def _workflow(worker: Worker, executing: set[str]) -> Callable[[int], Awaitable[None]]:
    async def turn(number: int) -> None:
        workflow = DBOS.workflow_id or ""
        executing.add(workflow)
        try:
            await worker.execute(number)
        finally:
            executing.discard(workflow)

    return turn


async def _continued(
    source: AsyncGenerator[Event], told: frozenset[str] | None, submission: Submission | None
) -> AsyncGenerator[Event]:
    """The events of a run that an earlier execution has told a part of, without that part.

    The first of them says that the answer tokens so far are void. Without `told` it is the first.
    """
    if told is not None and submission is not None:
        yield AnswerReset(submission.run_id, submission.key.session_id, 0, None, 0)
    async with aclosing(source):
        async for event in source:
            is_replayed = isinstance(event, NodeFinished | NodeSkipped) and event.replayed
            if not (is_replayed and told and event.node in told):
                yield event


async def _stored(submission: Submission, store: object) -> Run | None:
    with suppress(NotFound):
        return await submission.reference.load(store)  # type: ignore[arg-type]
    return None


def _store_error(error: BaseException) -> StoreError | None:
    """The error of the store that caused an error, if one did that may be gone another time."""
    for each in _causes(error):
        if isinstance(each, StoreError):
            return None if isinstance(each, SessionBusy | DamagedStore | UnknownVersion) else each
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
