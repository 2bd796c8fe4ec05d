"""`DBOSDispatcher`: turns that any worker runs, submitted to a queue of DBOS in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from hashlib import sha256
from typing import Any

from dbos import DBOSClient
from sqlalchemy import Connection, Row
from sqlalchemy.exc import SQLAlchemyError

from ..blocking import call_in_thread
from ..errors import Advice, InputError, NotFound, QueueFull, SessionBusy, StoreError
from ..events import Event
from ..records import Run
from ..run.resume import RunReference
from ..stores.postgres import PostgresStore
from ..stores.postgres.rows import digest, session_digest, user_digest
from .dbos_queue import WORKFLOW, check_dsn, client_for, engine_for, queue_of
from .event_rows import end_event, has_last, never_begun, parse_events
from .in_process import run_in_progress, unknown_graph
from .protocol import Submission
from .schema import SCHEMA
from .turns import (
    SubmittedTurn,
    TurnTable,
    dump_submission,
    read_events,
    wait_for_end,
    workflow_id,
)

WAITING = 10_000
"""Turns that may wait in all queues before more are refused."""


class DBOSDispatcher:
    """Submits turns to workers (`teamgraph worker`) over a PostgreSQL database.

    `dsn` is the database of the store and the queue, `store` a `PostgresStore` of it (default: a
    new one). It needs no graph: workers say which they have. At most `waiting` turns may wait, or
    `submit` raises `QueueFull`. `connections` is the size of each of the three pools.

    Raises `InputError` if the address is not one of PostgreSQL. Every method raises `StoreError` if
    the database cannot be reached.
    """

    def __init__(
        self,
        dsn: str,
        *,
        store: PostgresStore | None = None,
        waiting: int = WAITING,
        connections: int = 4,
    ) -> None:
        self._dsn = check_dsn(dsn)
        self._owns_store = store is None
        self.store = PostgresStore(dsn, connections=connections) if store is None else store
        self.table = TurnTable(dsn, connections=connections)
        self._engine = engine_for(dsn, size=connections)
        self._client: DBOSClient = client_for(self._engine)
        self._waiting = waiting
        self._is_open = False

    async def open(self) -> None:
        """Create or migrate the schemas of the store and of the turns; called by all methods."""
        if not self._is_open:
            await self.store.users(limit=1)
            await self.table.open()
            self._is_open = True

    async def close(self) -> None:
        """Close the connections."""
        await self.table.close()
        await call_in_thread(self._client.destroy)
        await call_in_thread(self._engine.dispose)
        if self._owns_store:
            await self.store.close()

    async def submit(self, turn: Submission) -> RunReference:
        """See `Dispatcher.submit`; also raises `QueueFull`."""
        turn.check()
        await self.open()
        if not turn.begins:
            await self._check_stored(turn)
        outcome = await call_in_thread(partial(self._submit, turn))
        if outcome == "full":
            raise QueueFull(self._waiting)
        if outcome == "unknown":
            raise await self._unknown(turn.graph)
        if outcome == "elsewhere":
            raise SessionBusy(
                f"session {turn.key.session_id!r}: turns of it wait for workers that do not have "
                f"the graph {turn.graph!r}; submit this one once they are over, or give those "
                "workers the graph too"
            )
        if outcome == "other":
            raise run_in_progress(turn.run_id)
        return turn.reference

    async def events(self, run: RunReference, *, after: int = 0) -> AsyncGenerator[Event]:
        """See `Dispatcher.events`."""
        turn = await self.find(run)
        submission = turn.submission
        async with aclosing(read_events(self.table, turn, after)) as rows:
            async for row in rows:
                if isinstance(row, SubmittedTurn):
                    turn = row
                    continue
                last, batch = row
                stored = await self._stored(run) if has_last(batch) else None
                for event in parse_events(batch, last, stored):
                    if event.sequence > after:
                        yield event
        if turn.outcome is None and after <= turn.events:
            ended = await self._ended(run, turn, submission)
            yield end_event(ended, turn.events + 1, turn.error)

    async def result(self, run: RunReference) -> Run:
        """See `Dispatcher.result`."""
        submitted = await self.find(run)
        submission = submitted.submission
        turn = await wait_for_end(self.table, submitted)
        if turn.error is not None and turn.state == "ended":
            raise turn.error
        return await self._ended(run, turn, submission)

    async def cancel(self, run: RunReference) -> None:
        """See `Dispatcher.cancel`."""
        turn = await self.find(run)
        if await self.table.cancel(turn.id) == "queued":
            await call_in_thread(partial(self._cancel, turn.workflow))

    async def find(self, run: RunReference) -> SubmittedTurn:
        """The newest submission of a run; raises `NotFound`."""
        await self.open()
        return await self.table.find(run)

    async def graphs(self) -> dict[str, str]:
        """The graphs that workers have, with their descriptions."""
        await self.open()
        return await self.table.graphs()

    async def status(self, run: RunReference) -> str:
        """The status of the newest submission of a run: `queued`, `running` or that of the run."""
        turn = await self.find(run)
        if not turn.is_over:
            return turn.state
        return turn.outcome or ("cancelled" if turn.state == "cancelled" else "failed")

    async def retry(self, number: int) -> None:
        """Submit a dead letter again, by its number in the queue; raises `NotFound`."""
        await self.open()
        if not await call_in_thread(partial(self._retry, number)):
            listing = "`teamgraph queue list --dead` lists those there are"
            raise NotFound(
                f"there is no dead letter {number} here",
                advice=Advice(listing, listing, "the page /workers lists those there are"),
            )

    def _submit(self, turn: Submission) -> str:
        """Enter a turn and put it in the queue, in one transaction."""
        words = dump_submission(turn)
        parameters = (
            session_digest(turn.key),
            user_digest(turn.user_id),
            digest(turn.run_id),
            turn.graph,
            words,
            sha256(words).digest(),
            turn.begins,
            self._waiting,
        )
        marks = ", ".join(["%s"] * len(parameters))
        with self._transaction() as connection:
            row = connection.exec_driver_sql(
                f"SELECT * FROM {SCHEMA}.submit_turn({marks})",  # noqa: S608  constants
                parameters,
            ).one()
            if row.outcome == "new":
                self._enqueue(connection, row)
            return str(row.outcome)

    def _retry(self, number: int) -> bool:
        """Put a dead letter into the queue, under a new number of its run."""
        with self._transaction() as connection:
            row = connection.exec_driver_sql(
                f"SELECT * FROM {SCHEMA}.retry_turn(%s)",  # noqa: S608  constants
                (number,),
            ).one()
            if row.id is not None:
                self._enqueue(connection, row)
            return row.id is not None

    def _enqueue(self, connection: Connection, row: Row[Any]) -> None:
        self._client.enqueue_in_transaction(
            connection,
            {
                "workflow_name": WORKFLOW,
                "queue_name": queue_of(row.bundle),
                "queue_partition_key": row.partition,
                "workflow_id": workflow_id(row.id, row.partition, row.run, row.number),
            },
            row.id,
        )

    @contextmanager
    def _transaction(self) -> Generator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _refused(self.table.place, error) from error

    def _cancel(self, workflow: str) -> None:
        """Take a cancelled turn out of the queue; a worker that takes it now leaves it."""
        with suppress(SQLAlchemyError):
            self._client.cancel_workflow(workflow)

    async def _check_stored(self, turn: Submission) -> None:
        """Raise `NotFound` or `InputError` if the run cannot be answered or resumed."""
        run = await turn.reference.load(self.store)
        if run.status == "done":
            verb = "answer" if turn.answers is not None else "resume"
            raise InputError(f"run {run.run_id!r} is done: there is nothing to {verb}")

    async def _unknown(self, graph: str) -> Exception:
        known = await self.table.graphs()
        if not known:
            return NotFound(
                "no worker has ever been started on this database; start one: "
                "teamgraph worker GRAPH --dsn ..."
            )
        return unknown_graph(graph, known)

    async def _stored(self, run: RunReference) -> Run | None:
        with suppress(NotFound):
            return await run.load(self.store)
        return None

    async def _ended(
        self, run: RunReference, turn: SubmittedTurn, submission: Submission | None
    ) -> Run:
        """The run as it is stored; one that never began is made of what was submitted."""
        stored = await self._stored(run)
        if stored is not None and (turn.outcome is not None or not submission or submission.begins):
            return stored
        words = submission or Submission(
            graph=turn.graph,
            run_id=run.run_id,
            user_id=run.user_id,
            session_id=run.session_id or "",
        )
        return never_begun(words, turn.error)


def _refused(place: str, error: Exception) -> StoreError:
    text = " ".join(str(error.__cause__ or error).split())
    return StoreError(
        f"PostgreSQL at {place}: {text}; check that it is running, that a worker was started on it "
        "before, and that it allows enough connections, then try again"
    )
