"""`TurnTable`: what was submitted, how far it is, and its events, as rows of the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import Any, TypeVar, cast
from uuid import UUID

import psycopg
from msgspec import Struct
from msgspec.structs import asdict

from ..errors import InputError, NotFound, RunError, SessionBusy, StoreError, TeamgraphError
from ..events import Event, NodeFinished
from ..messages import JSON, as_plain
from ..records import SessionKey
from ..run.resume import RunReference
from ..stores.journal.line import dump_json, parse_document, parse_json
from ..stores.postgres.connections import Connections, rows_of
from ..stores.postgres.rows import digest, session_digest, user_digest
from .event_rows import advice_in, dump_events, error_document
from .protocol import OPEN, Submission
from .schema import SCHEMA, migrate_turns

T = TypeVar("T")

POLL = 15.0
"""Seconds after which whoever waits looks again; a connection that was cut rings all bells."""
GATHER = 0.03
"""Seconds between two batches of notifications."""
_PAUSE = 1.0
SILENT = 15.0
"""Seconds without a heartbeat after which a worker is taken for dead."""
CANCELS = -1
"""The bell that rings when a running turn is to be cancelled."""
_ERRORS: Mapping[str, type[TeamgraphError]] = {
    each.__name__: each for each in (InputError, NotFound, SessionBusy, StoreError)
}
"""Errors that kept a run from beginning; any other is a `RunError`."""


class SubmittedTurn(Struct, frozen=True):
    """A row of `turns`, with the submission until the store has its words.

    `outcome` is the status of the run as its last event tells it; None if there is no such event.
    """

    id: int
    workflow: str
    graph: str
    bundle: str
    state: str
    attempts: int
    is_cancelled: bool
    first_event: int
    events: int
    outcome: str | None
    error: TeamgraphError | None
    submission: Submission | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state not in OPEN


class Waiting(Struct, frozen=True):
    """A turn as `teamgraph queue` lists it; `waited` are the seconds since it was submitted."""

    id: int
    run_id: str
    session_id: str
    user_id: str | None
    graph: str
    bundle: str
    state: str
    attempts: int
    executor: str | None
    waited: float
    error: str | None


class Depth(Struct, frozen=True):
    """How many turns of a bundle are in which state, and how long the oldest has waited."""

    bundle: str
    graphs: tuple[str, ...]
    is_live: bool
    queued: int
    running: int
    dead: int
    oldest: float


class WorkerRow(Struct, frozen=True):
    """A worker process; `silent` are the seconds since its last heartbeat."""

    id: str
    bundle: str
    graphs: tuple[str, ...]
    owner: UUID
    host: str
    pid: int
    concurrency: int
    running: int
    started: float
    silent: float
    is_draining: bool

    @property
    def is_live(self) -> bool:
        """Whether it was heard of a moment ago."""
        return self.silent < SILENT

    @property
    def state(self) -> str:
        """Whether it works, is draining (takes no more turns), or is silent."""
        return "silent" if not self.is_live else "draining" if self.is_draining else "works"


class CallRow(Struct, frozen=True):
    """A call of a model of which at most `limit` run at once."""

    id: UUID
    model: str
    limit: int


class LimitedCalls(Struct, frozen=True):
    """How many calls of a model with a limit run and wait, and how long the oldest has waited."""

    model: str
    limit: int
    running: int
    waiting: int
    oldest: float


_COLUMNS = (
    "t.id, encode(t.session, 'hex'), encode(t.run, 'hex'), t.number, t.graph, t.bundle, t.state, "
    "t.attempts, t.is_cancelled, t.first_event, t.events, t.outcome, t.error, t.submission"
)


class TurnTable:
    """The rows of submitted turns in one database, and a doorbell that rings when one changes."""

    def __init__(self, dsn: str, *, connections: int = 4, timeout: float = 10.0) -> None:
        self._dsn = dsn
        self._connections = Connections(
            dsn, SCHEMA, size=connections, timeout=timeout, migrate=migrate_turns
        )
        self.place = self._connections.place
        self._bells: dict[int, asyncio.Event] = {}
        self._listener: asyncio.Task[None] | None = None
        self._changed: set[int] = set()
        self._announcer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Create the tables, or migrate them; the schema of the store must be there."""
        await self._query("SELECT")

    async def close(self) -> None:
        """Stop listening, and close the connections of the running loop."""
        if self._announcer is not None:
            await asyncio.gather(self._announcer, return_exceptions=True)
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        await self._connections.close()

    async def find(self, run: RunReference) -> SubmittedTurn:
        """The newest submission of a run; raises `NotFound`, also if it is another user's."""
        of_session = b""
        if run.session_id is not None:
            of_session = session_digest(SessionKey(run.user_id, run.session_id))
        rows = await self._query(
            f"SELECT {_COLUMNS} FROM {{s}}.turns AS t WHERE t.user_key = %s AND t.run = %s "  # noqa: S608  constants
            "AND %s IN ('', t.session) ORDER BY t.id DESC LIMIT 1",
            [user_digest(run.user_id), digest(run.run_id), of_session],
        )
        if not rows:
            whose = "without a user" if run.user_id is None else f"of user {run.user_id!r}"
            raise NotFound(
                f"there is no run {run.run_id!r} {whose} in the queue; it was not submitted, or "
                "ended so long ago that its events are dropped: read it in its session"
            )
        return _turn(rows[0])

    async def begin(
        self, turn: int, execution: UUID, executor: str, *, is_again: bool, most: int | None = None
    ) -> SubmittedTurn | None:
        """Begin to execute a turn, or go on (`is_again`, no attempt); None if it is not ours.

        None, too, if it was begun `most` times before, and no node of it was done since.
        """
        rows = await self._query(
            "UPDATE {s}.turns AS t SET state = 'running', began = coalesce(began, now()), "  # noqa: S608  constants
            "attempts = attempts + (execution IS DISTINCT FROM %s)::int, execution = %s, "
            "executor = %s WHERE id = %s AND state IN ('queued', 'running') "
            "AND (NOT %s OR execution = %s) AND attempts < coalesce(%s::int, attempts + 1) "
            f"RETURNING {_COLUMNS}",
            [execution, execution, executor, turn, is_again, execution, most],
        )
        return _turn(rows[0]) if rows else None

    async def is_suspect(self, turn: int, execution: UUID, *, is_again: bool, since: int) -> bool:
        """Whether a turn could begin, or go on (`is_again`), and was begun `since` times before."""
        rows = await self._query(
            "SELECT 1 FROM {s}.turns WHERE id = %s AND state IN ('queued', 'running') "
            "AND (NOT %s OR execution = %s) AND attempts >= %s",
            [turn, is_again, execution, since],
        )
        return bool(rows)

    async def append(self, turn: int, execution: UUID, events: Sequence[Event]) -> bool:
        """Append events of an execution; false if the turn is another one's by now.

        If a node was finished the turn goes on, and earlier attempts count no more.
        """
        goes_on = any(isinstance(event, NodeFinished) and not event.replayed for event in events)
        rows = await self._query(
            "SELECT {s}.append_events(%s, %s, %s, %s, %s)",
            [turn, execution, len(events), dump_events(events), goes_on],
        )
        self.announce(turn)
        return rows[0][0] is not None

    async def end(
        self,
        turn: int,
        execution: UUID | None,
        *,
        state: str = "ended",
        outcome: str | None,
        error: TeamgraphError | None = None,
    ) -> bool:
        """A turn has ended; false if it is another execution's by now."""
        told = None
        if error is not None:
            told = dump_json(error_document(error))
        rows = await self._query(
            "SELECT {s}.end_turn(%s, %s, %s, %s, %s)", [turn, execution, state, outcome, told]
        )
        self.announce(turn)
        return bool(rows[0][0])

    async def give_back(self, turn: int, execution: UUID) -> bool:
        """Put a turn back that was begun and handed back: it was no attempt."""
        rows = await self._query(
            "UPDATE {s}.turns SET state = 'queued', attempts = attempts - 1, executor = NULL, "
            "execution = NULL WHERE id = %s AND execution = %s AND state = 'running' RETURNING 1",
            [turn, execution],
        )
        return bool(rows)

    async def cancel(self, turn: int) -> str | None:
        """Cancel a turn: in the queue at once, else its worker is told. Its state until now."""
        rows = await self._query(
            "UPDATE {s}.turns AS t SET is_cancelled = true, state = CASE WHEN t.state = 'queued' "
            "THEN 'cancelled' ELSE t.state END, "
            "ended = CASE WHEN t.state = 'queued' THEN now() END "
            "FROM (SELECT id, state FROM {s}.turns WHERE id = %s FOR UPDATE) AS before "
            "WHERE t.id = before.id AND t.state IN ('queued', 'running') RETURNING before.state",
            [turn],
        )
        await self._query(
            "SELECT pg_notify(%s, %s), pg_notify(%s, %s)", [SCHEMA, str(turn), SCHEMA, str(CANCELS)]
        )
        return rows[0][0] if rows else None

    async def cancelled(self, executor: str) -> list[int]:
        """The running turns of a worker that somebody wants to be cancelled."""
        rows = await self._query(
            "SELECT id FROM {s}.turns WHERE executor = %s AND state = 'running' AND is_cancelled",
            [executor],
        )
        return [row[0] for row in rows]

    async def batches(self, run: SubmittedTurn, after: int) -> list[tuple[int, bytes]]:
        """The batches of events of a run that have some after a number, over all submissions."""
        rows = await self._query(
            "SELECT e.number, e.batch FROM {s}.turns AS t JOIN {s}.turns AS o USING (session, run) "
            "JOIN {s}.events AS e ON e.turn = o.id WHERE t.id = %s AND e.number > %s "
            "ORDER BY e.number LIMIT 1000",
            [run.id, after],
        )
        return [(number, bytes(batch)) for number, batch in rows]

    async def state_of(self, turn: int) -> SubmittedTurn | None:
        """A row as it is now; None if it was deleted."""
        rows = await self._query(f"SELECT {_COLUMNS} FROM {{s}}.turns AS t WHERE t.id = %s", [turn])  # noqa: S608  constants
        return _turn(rows[0]) if rows else None

    def bell(self, turn: int) -> asyncio.Event:
        """What is set once a turn has changed. Take it before you look."""
        self.listen()
        return self._bells.setdefault(turn, asyncio.Event())

    def ring(self, turn: int) -> None:
        """Ring a bell in this process; those of others hear of what changed in the database."""
        if (bell := self._bells.pop(turn, None)) is not None:
            bell.set()

    def announce(self, turn: int) -> None:
        """Notify all processes that a turn has changed, batched with others (see `GATHER`)."""
        self._changed.add(turn)
        if self._announcer is None or self._announcer.done():
            self._announcer = asyncio.create_task(self._announce(), name="teamgraph announcer")

    async def wait(self, bell: asyncio.Event, seconds: float = POLL) -> None:
        """Wait until a bell rings, or for so long that it is worth a look."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await bell.wait()

    def listen(self) -> None:
        """Listen for changes in this loop, if nothing does yet."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="teamgraph doorbell")

    async def register(self, worker: WorkerRow, about: Mapping[str, str]) -> None:
        """Enter a worker; a bundle that has no other one counts as released just now."""
        await self._query(
            "INSERT INTO {s}.bundles AS b (id, graphs, about) VALUES (%s, %s, %s) "
            "ON CONFLICT (id) DO UPDATE SET released = CASE WHEN {s}.is_live(b.id) "
            "THEN b.released ELSE clock_timestamp() END",
            [worker.bundle, [*worker.graphs], dump_json(about)],
        )
        await self._query(
            "INSERT INTO {s}.workers (id, bundle, owner, host, pid, concurrency) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            [
                worker.id,
                worker.bundle,
                worker.owner,
                worker.host,
                worker.pid,
                worker.concurrency,
            ],
        )

    async def beat(self, worker: str, *, is_draining: bool) -> bool:
        """Say that a worker lives; false if others took it for dead and have removed it."""
        rows = await self._query(
            "UPDATE {s}.workers SET seen = now(), is_draining = %s WHERE id = %s RETURNING 1",
            [is_draining, worker],
        )
        return bool(rows)

    async def leave(self, worker: str) -> None:
        """Remove a worker."""
        await self._query("DELETE FROM {s}.workers WHERE id = %s", [worker])

    async def workers(self) -> list[WorkerRow]:
        """All workers, the oldest first."""
        rows = await self._query(
            "SELECT w.id, w.bundle, b.graphs, w.owner, w.host, w.pid, w.concurrency, "
            "(SELECT count(*) FROM {s}.turns WHERE executor = w.id AND state = 'running'), "
            "extract(epoch FROM w.started)::float8, "
            "extract(epoch FROM now() - w.seen)::float8, w.is_draining "
            "FROM {s}.workers AS w JOIN {s}.bundles AS b ON b.id = w.bundle ORDER BY w.started"
        )
        return [
            _made(WorkerRow, worker, bundle, tuple(graphs), *rest)
            for worker, bundle, graphs, *rest in rows
        ]

    async def write_calls(self, worker: str, calls: Sequence[CallRow]) -> set[UUID]:
        """Make these the calls of a worker, in their order; those of them that may run.

        Raises `StoreError` if the worker is not in the table.
        """
        rows = await self._query(
            "SELECT {s}.write_calls(%s, %s, %s, %s)",
            [
                worker,
                [call.id for call in calls],
                [call.model for call in calls],
                [call.limit for call in calls],
            ],
        )
        return {row[0] for row in rows}

    async def limited_calls(self) -> list[LimitedCalls]:
        """The calls of models with a limit, for each model that has any."""
        rows = await self._query(
            "SELECT model, max(at_most), count(*) FILTER (WHERE n <= at_most), "
            "count(*) FILTER (WHERE n > at_most), coalesce(extract(epoch FROM now() - min(came) "
            "FILTER (WHERE n > at_most)), 0)::float8 FROM (SELECT *, row_number() OVER "
            "(PARTITION BY model ORDER BY place) AS n FROM {s}.calls) AS call "
            "GROUP BY model ORDER BY model"
        )
        return [_made(LimitedCalls, *row) for row in rows]

    async def graphs(self) -> dict[str, str]:
        """The graphs that a worker has had, and their descriptions; the newest of each name."""
        rows = await self._query("SELECT about FROM {s}.bundles ORDER BY released")
        found: dict[str, str] = {}
        for (about,) in rows:
            found |= parse_document(bytes(about))
        return found

    async def executors(self) -> set[str]:
        """The workers that run turns as far as the table knows, entered or not."""
        rows = await self._query("SELECT DISTINCT executor FROM {s}.turns WHERE state = 'running'")
        return {row[0] for row in rows}

    async def discount_attempts(self, executor: str, *, since: int, most: int) -> None:
        """Count one attempt less of turns that a dead worker did not run when it ended.

        Of those with `since` attempts or more, and at most `most` times for each.
        """
        await self._query(
            "UPDATE {s}.turns SET attempts = attempts - 1, discounted = discounted + 1 "
            "WHERE state IN ('queued', 'running') AND executor IS DISTINCT FROM %s "
            "AND attempts >= %s AND discounted < %s",
            [executor, since, most],
        )

    async def requeue(self, executor: str) -> None:
        """Mark the running turns of a dead worker as queued; what it writes later is refused.

        They keep their executor: should the worker be rescued once more, they were run by it.
        """
        await self._query(
            "UPDATE {s}.turns SET state = 'queued', execution = NULL "
            "WHERE executor = %s AND state = 'running'",
            [executor],
        )

    @asynccontextmanager
    async def adopting(self, bundle: str, graphs: Sequence[str]) -> AsyncGenerator[list[str]]:
        """Transaction that takes over queued turns that no worker with their bundle can run.

        Gives their workflows; none of sessions with an open turn of another graph, or with one that
        a draining worker still runs: their turns would be in two queues. Until it ends nobody
        begins them, and nobody else adopts any: a worker that finds another one at it goes on. The
        database ends it after 15 s of silence.
        """
        async with self._connections.connection() as connection, connection.transaction():
            ((_, is_alone),) = await rows_of(
                connection,
                b"SELECT set_config('idle_in_transaction_session_timeout', '15s', true), "
                b"pg_try_advisory_xact_lock(hashtext(%s))",
                [f"{SCHEMA}.adopting"],
            )
            adopt = sql(
                "UPDATE {s}.turns AS t SET bundle = %s WHERE t.state = 'queued' "
                "AND t.bundle <> %s AND t.graph = ANY (%s) AND NOT {s}.is_live(t.bundle) "
                "AND t.created < now() - interval '1 second' AND NOT EXISTS ("
                "SELECT FROM {s}.turns AS o WHERE o.session = t.session "
                "AND (o.state = 'running' AND o.bundle <> %s "
                "OR o.state IN ('queued', 'running') AND o.graph <> ALL (%s))) "
                "RETURNING t.id, encode(t.session, 'hex'), encode(t.run, 'hex'), t.number"
            )
            of_graphs = [*graphs]
            parameters = [bundle, bundle, of_graphs, bundle, of_graphs]
            rows = await rows_of(connection, adopt, parameters) if is_alone else []
            yield [workflow_id(*row) for row in rows]

    async def drop_old(self, seconds: float) -> None:
        """Delete turns that ended so many seconds ago, with their events; dead letters stay."""
        await self._query(
            "DELETE FROM {s}.turns WHERE ended < now() - %s * interval '1 second' "
            "AND state <> 'dead'",
            [seconds],
        )

    async def depths(self) -> list[Depth]:
        """How many turns wait, run or are dead, for each bundle that has any or a live worker."""
        rows = await self._query(
            "SELECT b.id, b.graphs, {s}.is_live(b.id), "
            "count(*) FILTER (WHERE t.state = 'queued'), "
            "count(*) FILTER (WHERE t.state = 'running'), "
            "count(*) FILTER (WHERE t.state = 'dead'), "
            "coalesce(extract(epoch FROM now() - min(t.created) "
            "FILTER (WHERE t.state = 'queued')), 0)::float8 "
            "FROM {s}.bundles AS b LEFT JOIN {s}.turns AS t ON t.bundle = b.id "
            "AND t.state IN ('queued', 'running', 'dead') GROUP BY b.id "
            "HAVING count(t.id) > 0 OR {s}.is_live(b.id) ORDER BY b.released"
        )
        return [_made(Depth, row[0], tuple(row[1]), *row[2:]) for row in rows]

    async def listed(self, states: Sequence[str], *, limit: int, offset: int) -> list[Waiting]:
        """The turns in these states, the oldest first."""
        rows = await self._query(
            "SELECT t.id, t.submission, t.graph, t.bundle, t.state, t.attempts, "
            "CASE WHEN t.state = 'running' THEN t.executor END, "
            "extract(epoch FROM now() - t.created)::float8, t.error FROM {s}.turns AS t "
            "WHERE t.state = ANY (%s) ORDER BY t.id LIMIT %s OFFSET %s",
            [[*states], limit, offset],
        )
        return [_waiting(row) for row in rows]

    async def _query(self, query: str, parameters: Sequence[object] = ()) -> list[Any]:
        return await self._connections.query(sql(query), parameters)

    async def _announce(self) -> None:
        """Send the batched notifications; where one is lost, the listener polls after `POLL`."""
        while self._changed:
            turns, self._changed = [*self._changed], set()
            with suppress(StoreError):
                await self._query(
                    "SELECT pg_notify(%s, turn::text) FROM unnest(%s::bigint[]) AS turn",
                    [SCHEMA, turns],
                )
            await asyncio.sleep(GATHER)

    async def _listen(self) -> None:
        """Ring the bells of what others change; rings all after each new connection."""
        while True:
            with suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True
                ) as connection:
                    await connection.execute(f"LISTEN {SCHEMA}")
                    for turn in [*self._bells]:
                        self.ring(turn)
                    async for notice in connection.notifies():  # pragma: no branch - it raises
                        self.ring(int(notice.payload))
            await asyncio.sleep(_PAUSE)


def sql(query: str) -> bytes:
    """A query with the name of the schema in it."""
    return query.replace("{s}", SCHEMA).encode()


def workflow_id(turn: int, session: str, run: str, number: int) -> str:
    """The id of a submission in the queue: the run, as a digest with its session, and number.

    The digest has the number of the row too: a run of that id may have been deleted before.
    """
    return f"{sha256(f'{turn} {session}{run}'.encode()).hexdigest()[:32]}-{number}"


def dump_submission(turn: Submission) -> bytes:
    """Encode a submission."""
    return dump_json(as_plain(turn))


async def read_events(
    table: TurnTable, turn: SubmittedTurn, after: int
) -> AsyncGenerator[tuple[int, bytes] | SubmittedTurn]:
    """The batches of events after a number as they come, and at last the row of the ended turn."""
    while True:
        bell = table.bell(turn.id)
        now = await _current(table, turn)
        for number, batch in await table.batches(now, after):
            after = number
            yield number, batch
        if after >= now.events:  # pragma: no branch - else there are more of them by now
            if now.is_over:
                yield now
                return
            await table.wait(bell)


async def wait_for_end(table: TurnTable, turn: SubmittedTurn) -> SubmittedTurn:
    """The row of a turn once nothing more happens to it by itself; raises `NotFound`."""
    while True:
        bell = table.bell(turn.id)
        now = await _current(table, turn)
        if now.is_over:
            return now
        await table.wait(bell)


async def _current(table: TurnTable, turn: SubmittedTurn) -> SubmittedTurn:
    now = await table.state_of(turn.id)
    if now is None:
        raise NotFound("the run was deleted while somebody waited for it")
    return now


def _turn(row: Sequence[Any]) -> SubmittedTurn:
    number, *run, graph, bundle, state, attempts, is_cancelled, first, events, outcome = row[:-2]
    error, submission = row[-2:]
    return SubmittedTurn(
        number,
        workflow_id(number, *run),
        graph,
        bundle,
        state,
        attempts,
        is_cancelled,
        first,
        events,
        outcome,
        _error(error),
        _submission(submission),
    )


def _made(kind: Callable[..., T], *values: Any) -> T:  # noqa: ANN401  the columns of a row
    return kind(*values)


def _error(data: bytes | None) -> TeamgraphError | None:
    if data is None:
        return None
    document = parse_document(bytes(data))
    kind = _ERRORS.get(document["type"], RunError)
    return kind(document["message"], advice=advice_in(document))


def _submission(data: bytes) -> Submission | None:
    return Submission(**cast("dict[str, Any]", parse_json(bytes(data)))) if data else None


def _waiting(row: Sequence[Any]) -> Waiting:
    turn = _submission(row[1])
    run_id, session_id, user_id = ("", "", None)
    if turn is not None:
        run_id, session_id, user_id = turn.run_id, turn.key.session_id, turn.user_id
    error = _error(row[8])
    told = str(error) if error is not None else None
    return _made(Waiting, row[0], run_id, session_id, user_id, *row[2:8], told)


def as_json(row: Struct) -> dict[str, JSON]:
    """A row as JSON."""
    return cast("dict[str, JSON]", as_plain(asdict(row)))
