"""The store in PostgreSQL, which many processes on many machines may use at once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import time
from typing import Any, cast
from uuid import UUID, uuid4
from weakref import finalize

from msgspec import Struct
from msgspec.structs import replace

from ...errors import InputError, StoreError
from ...messages import JSON
from ...os_fork import FORKS
from ...records import Change, Head, Record, Run, SessionInfo, SessionKey, StateKey, Summary, Turn
from ...session.store import VERSION, FinishedRun, Hit, Lease, Policy, WhileWaiting, mentions
from ...unknown_names import explained
from ...values import check_counts
from ..codec import encode_record, encode_summary, keep_own_words
from ..journal.line import Document, dump_json, parse_document, parse_json
from ..leases import (
    WATCHER,
    SessionQueue,
    check_key,
    check_stored,
    check_user,
    check_waiting,
    lease_ended,
    lease_lost,
    run_deleted,
    run_in_progress,
    session_busy,
    session_exists,
)
from ..memory import MemoryReferences, MemorySession
from ..redaction import StateChange, StateValue, only_of, redact_summary, set_outside
from .connections import CANCEL, Bell, Connection, Connections, Owner, Row, rows_of
from .rows import (
    TurnCache,
    digest,
    has_quotes,
    head_of,
    needle,
    needs_records,
    references_in,
    runs_named,
    search_words,
    session_digest,
    summary_of,
    to_bytes,
    to_text,
    turn_of,
    turn_row,
    user_digest,
)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 1.0  # seconds
_BEGUN: tuple[str, ...] = (
    "outcome", "new_token", "session_row", "turns_so_far", "deleted_so_far", "session_name",
    "document_found", "scopes", "names", "values_set", "writers", "summary",
)  # fmt: skip


class _Held(Struct, frozen=True):
    """A lease of this store object: the row and digests of its session and run, the turn as begun.

    `request` is the id of the call that was granted it.
    """

    lease: Lease
    request: UUID
    row: int
    session: bytes
    run: bytes
    turn: Turn
    is_exclusive: bool


class PostgresStore:
    """Stores sessions in a PostgreSQL database (15 or newer), in a schema of its own.

    `dsn` is its address, such as `postgresql://user:password@host:5432/database`; the user must be
    allowed to create the schema, or find it there. Each event loop that uses the store has a pool
    of at most `connections`. Any number of processes may use one schema.

    A run has its session leased until it ends. If its process dies or is suspended for
    `lease_timeout` seconds, the next run of the session takes over, and what the former one writes
    later is refused as a `Conflict`: each write checks the lease in its own transaction.

    Every commit is as durable as the database makes it (`synchronous_commit`). A deletion removes
    the rows; the write-ahead log and backups keep them for as long as they are kept themselves.

    Raises `InputError` if the address cannot be read. The first use raises `StoreError` if the
    database cannot be reached within `timeout` seconds, or the address's `connect_timeout` if that
    is less.
    """

    version = VERSION

    @explained
    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "teamgraph",
        connections: int = 8,
        lease_timeout: float = 15.0,
        timeout: float = 10.0,
    ) -> None:
        if not isinstance(dsn, str) or not dsn:  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            raise InputError(
                "dsn: it is no text; use for instance 'postgresql://user@host:5432/database'"
            )
        if not re.fullmatch("[a-z_][a-z0-9_]{0,40}", schema):
            raise InputError(
                f"schema: {schema!r} is no name; use small letters, digits and _, at most 41"
            )
        check_counts(connections=connections)
        for name, seconds in (("lease_timeout", lease_timeout), ("timeout", timeout)):
            if not (isinstance(seconds, int | float) and seconds > 0):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
                raise InputError(f"{name}: {seconds!r} is not positive; use some seconds")
        self._schema = schema
        self._patience = f"{lease_timeout} seconds"
        self._connections = Connections(dsn, schema, size=connections, timeout=timeout)
        self._owner = Owner(dsn, schema, patience=lease_timeout, cancel=self._interrupt)
        finalize(self, self._owner.rest).atexit = False
        self._turns = TurnCache()
        self._prompts: set[str] = set()
        self._reset()
        FORKS.own(self)

    @property
    def owner_id(self) -> UUID:
        """The id of this process as the owner of leases."""
        return self._owner.id

    async def evict(self, owner_id: UUID) -> None:
        """End the leases of a process that is dead or hangs: what it writes later is refused."""
        await self._query("DELETE FROM {s}.owners WHERE id = %s", [owner_id])

    def reset_after_fork(self) -> None:
        """See `ProcessOwned`: connections, leases and the queue are those of the parent."""
        self._connections.reset_after_fork()
        self._owner.reset_after_fork()
        self._turns = TurnCache()
        self._reset()

    def _reset(self) -> None:
        self._queue = SessionQueue()
        self._held: dict[int, _Held] = {}

    async def begin(
        self,
        key: SessionKey,
        turn: Turn,
        *,
        policy: Policy = "serialize",
        is_stored: bool | None = None,
        while_waiting: WhileWaiting = "refuse",
    ) -> Lease:
        """Lease the session to a run, and store the run as running."""
        check_key(key)
        is_exclusive = policy != "fork"
        if is_exclusive:
            await self._queue.acquire(key, policy)
        try:
            return await self._begin(key, turn, policy, is_stored, while_waiting)
        except BaseException:
            if is_exclusive:
                self._queue.release(key)
            raise

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        """Store `records`, all or none; a record of the same node and attempt is replaced."""
        held = self._check(lease)
        records = list({(record.node, record.attempt): record for record in records}.values())
        named = runs_named(records)
        turns = self._turns.get(held.session, named)
        turns |= await self._load_turns(held.session, named - turns.keys() - {lease.run_id})
        deleted = lease.head.deleted
        while True:
            documents = self._encode(held, turns, records, is_late=deleted != lease.head.deleted)
            ((outcome, deleted),) = await self._query(
                "SELECT * FROM {s}.put_records(%s, %s, %s, %s, %s, %s, %s)",
                [
                    lease.token,
                    held.row,
                    held.run,
                    deleted,
                    [digest(record.node) for record in records],
                    [record.attempt for record in records],
                    documents,
                ],
            )
            if outcome != "late":
                break
            self._turns.drop(held.session)
            turns = await self._load_turns(held.session, named)
        _check_outcome(outcome, lease)

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Finish the run and release the session; a done turn is numbered, its change applied."""
        held = self._check(lease)
        is_over = False
        try:
            values = change.values() if turn.status == "done" else {}
            summary = change.summary
            ((outcome, number),) = await self._query(
                "SELECT * FROM {s}.finish_run(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, "
                "%s, %s, %s, %s)",
                [
                    lease.token,
                    held.row,
                    held.run,
                    turn.status,
                    turn.number,
                    _waits_until(turn),
                    turn_row(turn),
                    search_words(turn) if turn.status == "done" else "",
                    *_state_columns(values),
                    to_bytes(lease.run_id),
                    change.turns,
                    lease.head.deleted,
                    summary.covers if summary is not None else 0,
                    dump_json(encode_summary(summary)) if summary is not None else None,
                ],
            )
            _check_outcome(outcome, lease)
            is_over = True
            stored = turn_of(turn_row(turn), number)
            self._turns.add(held.session, [stored] if number else [])
            return stored
        finally:
            await self._release(held, is_over=is_over)

    async def release(self, lease: Lease) -> None:
        """Release the session and leave the run as it is, to be resumed; idempotent."""
        held = self._held.get(lease.token)
        if held is not None and held.lease is lease:
            await self._release(held, is_over=False)

    async def cancel(self, key: SessionKey, run_id: str) -> None:
        """See `Cancels`: a mark at the lease, and the process that owns it is notified."""
        check_key(key)
        await self._query(
            "WITH marked AS (UPDATE {s}.leases AS l SET is_cancelled = true FROM {s}.sessions AS s "
            "WHERE s.id = l.session AND s.key = %s AND l.run = %s AND l.is_granted "
            "RETURNING l.owner) SELECT pg_notify('teamgraph-' || owner, %s) FROM marked",
            [session_digest(key), digest(run_id), CANCEL],
        )

    async def create(
        self, key: SessionKey, runs: Sequence[FinishedRun], *, name: str | None = None
    ) -> None:
        """Create a session with finished runs, all or nothing; `InputError` if it exists."""
        check_key(key)
        session = MemorySession(name=name)
        references = MemoryReferences(session, key.user_id, {})
        for run in runs:
            lease = Lease(key, run.turn.run_id, Head())
            session.turns[lease.run_id] = run.turn
            session.records[lease.run_id] = {
                (record.node, record.attempt): dump_json(encode_record(0, record, references))
                for record in run.records
            }
            session.finish(lease, run.turn, run.change)
        await self.restore(key, session)

    async def snapshot(self, key: SessionKey) -> MemorySession | None:
        """See `Copyable.snapshot`."""
        check_key(key)
        async with self._transaction() as connection:
            rows = await rows_of(
                connection,
                self._sql(
                    "SELECT id, turns, deleted, name FROM {s}.sessions WHERE key = %s FOR SHARE"
                ),
                [session_digest(key)],
            )
            if not rows:
                return None
            row, turns, deleted, name = rows[0]
            session = await self._read(connection, row, turns, deleted)
        session.name = to_text(name) if name is not None else None
        for run_id, records in session.records.items():
            session.records[run_id] = {
                (parse_document(cast("bytes", stored))["node"], attempt): stored
                for (_, attempt), stored in records.items()
            }
        return session

    async def restore(self, key: SessionKey, session: MemorySession) -> None:
        """See `Copyable.restore`: one transaction."""
        check_key(key)
        async with self._transaction() as connection:
            rows = await rows_of(
                connection,
                self._sql(
                    "INSERT INTO {s}.sessions (key, user_key, user_id, session_id, name, turns, "
                    "deleted) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING "
                    "RETURNING id"
                ),
                [
                    session_digest(key),
                    user_digest(key.user_id),
                    to_bytes(key.user_id) if key.user_id is not None else None,
                    to_bytes(key.session_id),
                    to_bytes(session.name) if session.name is not None else None,
                    session.last_number,
                    session.deleted,
                ],
            )
            if not rows:
                raise session_exists(key)
            await self._write(connection, rows[0][0], session)

    async def head(self, key: SessionKey) -> Head | None:
        """Version, state and summary of the session, or None if there is no such session."""
        check_key(key)
        rows = await self._query(
            "SELECT s.turns, s.deleted, s.name, (SELECT document FROM {s}.summaries "
            "WHERE session = s.id ORDER BY covers DESC LIMIT 1), e.* FROM {s}.sessions AS s "
            "LEFT JOIN LATERAL (SELECT array_agg(scope), array_agg(name), array_agg(value), "
            "array_agg(run_id) FROM (SELECT * FROM {s}.state WHERE session = s.id "
            "ORDER BY position) AS each) AS e ON true WHERE s.key = %s",
            [session_digest(key)],
        )
        columns = (
            "turns_so_far", "deleted_so_far", "session_name", "summary",
            "scopes", "names", "values_set", "writers",
        )  # fmt: skip
        return head_of(dict(zip(columns, rows[0], strict=True))) if rows else None

    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        """A run with the last record of each of its nodes, or None."""
        check_key(key)
        of_session = session_digest(key)
        turns = await self._load_turns(of_session, [run_id])
        if run_id not in turns:
            return None
        session = MemorySession(turns=turns)
        others: dict[SessionKey, MemorySession] = {}
        documents = await self._load_records(of_session, session, [run_id])
        while documents:
            documents = await self._load_referenced(key, session, others, documents)
        references = MemoryReferences(session, key.user_id, others)
        records = session.last_records(run_id, references)
        return Run(key, turns[run_id], {record.node: record for record in records})

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        """The done turns with `number` > `since`, the newest `last` of them, oldest first."""
        check_key(key)
        rows = await self._query(
            "SELECT r.document, r.number FROM {s}.runs AS r JOIN {s}.sessions AS s "
            "ON s.id = r.session WHERE s.key = %s AND r.number > greatest(%s, 0) "
            "ORDER BY r.number DESC LIMIT %s",
            [session_digest(key), since, None if last is None else max(0, last)],
        )
        turns = [turn_of(*row) for row in reversed(rows)]
        self._turns.add(session_digest(key), turns)
        return turns

    async def runs(self, key: SessionKey, *, limit: int = 20, offset: int = 0) -> list[Turn]:
        """All runs of a session whatever their status, newest first."""
        check_key(key)
        rows = await self._query(
            "SELECT r.document, r.number FROM {s}.runs AS r JOIN {s}.sessions AS s "
            "ON s.id = r.session WHERE s.key = %s ORDER BY r.position DESC LIMIT %s OFFSET %s",
            [session_digest(key), max(0, limit), max(0, offset)],
        )
        return [turn_of(*row) for row in rows]

    async def summary(self, key: SessionKey, *, until: int) -> Summary | None:
        """The newest summary that covers no turn after number `until`."""
        check_key(key)
        rows = await self._query(
            "SELECT u.document FROM {s}.summaries AS u JOIN {s}.sessions AS s ON s.id = u.session "
            "WHERE s.key = %s AND u.covers <= %s ORDER BY u.covers DESC LIMIT 1",
            [session_digest(key), until],
        )
        return summary_of(rows[0][0]) if rows else None

    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """The sessions of one user, the one with the latest activity first."""
        check_user(user_id)
        edge = "(SELECT document FROM {s}.runs WHERE session = s.id %s LIMIT 1)"
        orders = (
            "ORDER BY position",
            "ORDER BY position DESC",
            "AND number > 0 ORDER BY number DESC",
        )
        edges = [edge % order for order in orders]
        rows = await self._query(
            f"SELECT s.session_id, s.turns, s.name, {', '.join(edges)} FROM {{s}}.sessions AS s "  # noqa: S608  constants
            "WHERE s.user_key = %s ORDER BY s.activity DESC LIMIT %s OFFSET %s",
            [user_digest(user_id), max(0, limit), max(0, offset)],
        )
        return [_info(user_id, row) for row in rows]

    async def users(self, *, limit: int = 20, offset: int = 0) -> list[str | None]:
        """The users who have a session, in the order of their first ones."""
        rows = await self._query(
            "SELECT user_id FROM {s}.sessions GROUP BY user_key, user_id ORDER BY min(id) "
            "LIMIT %s OFFSET %s",
            [max(0, limit), max(0, offset)],
        )
        return [to_text(user_id) if user_id is not None else None for (user_id,) in rows]

    async def search(
        self,
        user_id: str | None,
        text: str,
        *,
        last: int,
        exclude: str | None = None,
        limit: int = 20,
    ) -> list[Hit]:
        """The done turns that have `text` in their input or answer, the newest first."""
        check_user(user_id)
        excluded = b"" if exclude is None else session_digest(SessionKey(user_id, exclude))
        hits: list[Hit] = []
        offset, page = 0, max(0, limit)
        while len(hits) < limit:
            rows = await self._query(
                "SELECT s.session_id, r.document, r.number FROM (SELECT id, session_id, activity "
                "FROM {s}.sessions WHERE user_key = %s AND key <> %s ORDER BY activity DESC "
                "LIMIT %s) AS s JOIN {s}.runs AS r ON r.session = s.id AND r.number > 0 "
                "WHERE strpos(r.words, %s) > 0 ORDER BY s.activity DESC, r.number DESC "
                "LIMIT %s OFFSET %s",
                [user_digest(user_id), excluded, max(0, last), needle(text), page, offset],
            )
            found = (Hit(SessionKey(user_id, to_text(one)), turn_of(*rest)) for one, *rest in rows)
            hits += (hit for hit in found if mentions(hit.turn, text))
            if len(rows) < page:
                break
            offset += page
        return hits[: max(0, limit)]

    async def waiting(self, user_id: str | None, *, limit: int = 20, offset: int = 0) -> list[Hit]:
        """The runs of a user that wait for a person, the newest first; also those that expired."""
        check_user(user_id)
        rows = await self._query(
            "SELECT s.session_id, r.document FROM {s}.runs AS r JOIN {s}.sessions AS s "
            "ON s.id = r.session WHERE s.user_key = %s AND r.waits_until IS NOT NULL "
            "ORDER BY s.activity DESC, r.position DESC LIMIT %s OFFSET %s",
            [user_digest(user_id), max(0, limit), max(0, offset)],
        )
        return [Hit(SessionKey(user_id, to_text(one)), turn_of(document)) for one, document in rows]

    async def rename(self, key: SessionKey, name: str | None) -> bool:
        """Name a session, or remove its name; False if there is no such session."""
        check_key(key)
        rows = await self._query(
            "UPDATE {s}.sessions SET name = %s WHERE key = %s RETURNING 1",
            [to_bytes(name) if name is not None else None, session_digest(key)],
        )
        return bool(rows)

    async def set_state(
        self, key: SessionKey, values: Mapping[str, JSON], *, remove: Collection[str] = ()
    ) -> bool:
        """See `SetsState.set_state`."""
        check_key(key)
        async with self._transaction() as connection:
            rows = await rows_of(
                connection,
                self._sql("SELECT id, turns FROM {s}.sessions WHERE key = %s FOR UPDATE"),
                [session_digest(key)],
            )
            if not rows:
                return False
            row, turns = rows[0]
            entries = set_outside(values, remove, after=turns)
            columns = _state_columns(
                {StateKey("state", name): value for name, value in values.items()}
                | {at: each.value for at, each in entries.items()}
            )
            await rows_of(
                connection,
                self._sql(
                    "DELETE FROM {s}.state WHERE session = %s AND scope = 'state' AND key = ANY(%s)"
                ),
                [row, [digest(name) for name in remove]],
            )
            await rows_of(
                connection,
                self._sql(
                    "INSERT INTO {s}.state (session, scope, key, name, value, run_id) "
                    "SELECT %s, each.*, '' FROM unnest(%s::text[], %s::bytea[], %s::bytea[], "
                    "%s::bytea[]) AS each ON CONFLICT (session, scope, key) "
                    "DO UPDATE SET value = excluded.value, run_id = excluded.run_id"
                ),
                [row, *columns],
            )
        return True

    async def delete_run(self, key: SessionKey, run_id: str) -> bool:
        """Delete a run and its texts wherever the store has them; False if there is none.

        It reads the whole session, since any of its runs may quote the one that is deleted.
        """
        check_key(key)
        of_session = session_digest(key)
        async with self._transaction() as connection:
            rows = await rows_of(
                connection,
                self._sql("SELECT id, turns, deleted FROM {s}.sessions WHERE key = %s FOR UPDATE"),
                [of_session],
            )
            if not rows:
                return False
            number, turns, deleted = rows[0]
            session = await self._read(connection, number, turns, deleted)
            before = {run: dict(records) for run, records in session.records.items()}
            references = MemoryReferences(session, key.user_id, {})
            attached = only_of(run_id, session.turns.values())
            if not session.delete_run(run_id, references):
                return False
            gone = self._sql("DELETE FROM {s}.attachments WHERE key = %s AND sha256 = ANY(%s)")
            await rows_of(connection, gone, [of_session, [*attached]])
            await self._write_deletion(connection, number, run_id, session, before)
        self._turns.drop(of_session)
        return True

    async def delete_session(self, key: SessionKey) -> bool:
        """Delete a session with everything in it; False if there is none."""
        check_key(key)
        rows = await self._query(
            "WITH attached AS (DELETE FROM {s}.attachments WHERE key = %s) "
            "DELETE FROM {s}.sessions WHERE key = %s RETURNING 1",
            [session_digest(key)] * 2,
        )
        self._turns.drop(session_digest(key))
        return bool(rows)

    async def delete_user(self, user_id: str | None) -> int:
        """Delete all sessions of a user; returns how many there were."""
        check_user(user_id)
        rows = await self._query(
            "WITH attached AS (DELETE FROM {s}.attachments WHERE user_key = %s) "
            "DELETE FROM {s}.sessions WHERE user_key = %s RETURNING key",
            [user_digest(user_id)] * 2,
        )
        for (key,) in rows:
            self._turns.drop(bytes(key))
        return len(rows)

    async def find(self, user_id: str | None, run_id: str) -> SessionKey | None:
        """The session of a user that a run belongs to; of several the latest active one."""
        check_user(user_id)
        rows = await self._query(
            "SELECT s.session_id FROM {s}.runs AS r JOIN {s}.sessions AS s ON s.id = r.session "
            "WHERE r.run = %s AND s.user_key = %s ORDER BY s.activity DESC LIMIT 1",
            [digest(run_id), user_digest(user_id)],
        )
        return SessionKey(user_id, to_text(rows[0][0])) if rows else None

    async def put_attachment(self, key: SessionKey, sha256: str, data: bytes) -> None:
        """See `StoresAttachments.put_attachment`."""
        check_key(key)
        await self._query(
            "INSERT INTO {s}.attachments VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [session_digest(key), user_digest(key.user_id), sha256, data],
        )

    async def get_attachment(self, key: SessionKey, sha256: str) -> bytes | None:
        """See `StoresAttachments.get_attachment`."""
        check_key(key)
        rows = await self._query(
            "SELECT data FROM {s}.attachments WHERE key = %s AND sha256 = %s",
            [session_digest(key), sha256],
        )
        return bytes(rows[0][0]) if rows else None

    async def put_prompt(self, prompt_hash: str, sources: Mapping[str, str]) -> None:
        """Store the sources of a template, once for each hash."""
        if prompt_hash in self._prompts:
            return
        await self._query(
            "INSERT INTO {s}.prompts VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [prompt_hash, dump_json(sources)],
        )
        self._prompts.add(prompt_hash)

    async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        """The sources stored under a hash, or None."""
        rows = await self._query("SELECT sources FROM {s}.prompts WHERE hash = %s", [prompt_hash])
        return cast("dict[str, str]", parse_document(rows[0][0])) if rows else None

    async def prompt_hashes(self, prefix: str = "") -> list[str]:
        """The hashes under which sources are stored that begin with `prefix`, sorted."""
        rows = await self._query(
            'SELECT hash FROM {s}.prompts WHERE starts_with(hash, %s) ORDER BY hash COLLATE "C"',
            [prefix],
        )
        return [each for (each,) in rows]

    async def close(self) -> None:
        """Close the connections of this event loop; a lease that is held stays."""
        self._owner.rest()
        await self._connections.close()

    async def _begin(
        self,
        key: SessionKey,
        turn: Turn,
        policy: Policy,
        is_stored: bool | None,
        while_waiting: WhileWaiting,
    ) -> Lease:
        begun = replace(turn, status="running", number=0)
        of_session, of_run = session_digest(key), digest(turn.run_id)
        ticket: int | None = None
        bell: Bell | None = None
        pause, request = _FIRST_PAUSE, uuid4()
        try:
            while True:
                if bell is not None:
                    bell.clear()
                answer = await self._call(
                    f"SELECT {', '.join(_BEGUN)} FROM {{s}}.begin_run(%s, %s, %s, %s, %s, %s, %s, "  # noqa: S608  constants
                    "%s, %s, %s, %s, %s, %s, %s, %s)",
                    [
                        of_session,
                        user_digest(key.user_id),
                        to_bytes(key.user_id) if key.user_id is not None else None,
                        to_bytes(key.session_id),
                        of_run,
                        turn_row(begun),
                        self._owner.id,
                        request,
                        policy != "fork",
                        policy == "serialize",
                        ticket,
                        is_stored,
                        while_waiting == "allow" or policy == "fork",
                        time(),
                        self._patience,
                    ],
                    _BEGUN,
                )
                if answer["outcome"] != "busy":
                    break
                if policy == "reject":
                    raise session_busy(key)
                if bell is None or ticket != answer["new_token"]:
                    self._owner.remove(ticket)
                    ticket = answer["new_token"]
                    bell = self._owner.enqueue(ticket)
                await bell.wait(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
            _check_begun(answer, key, turn, policy, while_waiting, is_stored)
        except BaseException:
            self._owner.abandon(request, ticket)
            raise
        token: int = answer["new_token"]
        self._owner.remove(ticket)
        self._owner.add(token)
        lease = Lease(key, turn.run_id, head_of(answer), token)
        row = answer["session_row"]
        self._held[token] = _Held(lease, request, row, of_session, of_run, begun, policy != "fork")
        return lease

    def _check(self, lease: Lease) -> _Held:
        held = self._held.get(lease.token)
        if held is None or held.lease is not lease:
            raise lease_ended(lease)
        return held

    async def _release(self, held: _Held, *, is_over: bool) -> None:
        """End a lease; `is_over` says that the database has already done so."""
        lease = held.lease
        if (
            self._held.pop(lease.token, None) is None
        ):  # pragma: no cover - by another task meanwhile
            return
        try:
            if is_over:
                self._owner.remove(lease.token)
            else:
                await self._query("DELETE FROM {s}.leases WHERE token = %s", [lease.token])
                self._owner.remove(lease.token)
        except (asyncio.CancelledError, StoreError) as error:
            self._owner.abandon(held.request, lease.token)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            if held.is_exclusive:
                self._queue.release(lease.key)

    def _interrupt(self, token: int) -> None:
        """Cancel the run of a lease, which another process has asked for."""
        held = self._held.get(token)
        if held is not None:  # pragma: no branch - it has ended just now
            WATCHER.interrupt(self, held.lease.key, held.lease.run_id)

    def _encode(
        self, held: _Held, turns: Mapping[str, Turn], records: Sequence[Record], *, is_late: bool
    ) -> list[bytes]:
        session = MemorySession(turns={**turns, held.lease.run_id: held.turn})
        references = MemoryReferences(session, held.lease.key.user_id, {})
        documents = [encode_record(0, record, references) for record in records]
        if is_late:
            for document in documents:
                redact_summary(document)
        return [dump_json(document) for document in documents]

    async def _load_turns(self, session: bytes, run_ids: Iterable[str]) -> dict[str, Turn]:
        """Turns of a session by their runs, without those that are not there."""
        wanted = [digest(run_id) for run_id in run_ids]
        if not wanted:
            return {}
        rows = await self._query(
            "SELECT r.document, r.number FROM {s}.runs AS r JOIN {s}.sessions AS s "
            "ON s.id = r.session WHERE s.key = %s AND r.run = ANY(%s)",
            [session, wanted],
        )
        turns = [turn_of(*row) for row in rows]
        self._turns.add(session, (turn for turn in turns if turn.number))
        return {turn.run_id: turn for turn in turns}

    async def _load_records(
        self, of_session: bytes, session: MemorySession, run_ids: Iterable[str]
    ) -> list[Document]:
        """Read the records of runs into a session; returns their documents."""
        names = {digest(run_id): run_id for run_id in run_ids}
        if not names:
            return []
        rows = await self._query(
            "SELECT e.run, e.node, e.attempt, e.document FROM {s}.records AS e JOIN {s}.sessions "
            "AS s ON s.id = e.session WHERE s.key = %s AND e.run = ANY(%s) ORDER BY e.position",
            [of_session, [*names]],
        )
        for run, node, attempt, document in rows:
            records = session.records.setdefault(names[bytes(run)], {})
            records[bytes(node).hex(), attempt] = bytes(document)
        return [parse_document(bytes(row[3])) for row in rows]

    async def _load_referenced(
        self,
        key: SessionKey,
        session: MemorySession,
        others: dict[SessionKey, MemorySession],
        documents: Sequence[Document],
    ) -> list[Document]:
        """Read what documents refer to and is not there yet; returns records that quote in turn.

        Of a run that is quoted only its own words are needed, and few of these quote another one.
        """
        own, foreign = references_in(documents)
        of_session = session_digest(key)
        session.turns.update(await self._load_turns(of_session, own - session.turns.keys()))
        for session_id, run_id in foreign:
            other = SessionKey(key.user_id, session_id)
            there = others.setdefault(other, MemorySession())
            there.turns.update(await self._load_turns(session_digest(other), [run_id]))
        quoting = {run_id for document in documents for run_id in needs_records(document)}
        quoting &= session.turns.keys()
        found = await self._load_records(of_session, session, quoting - session.records.keys())
        for document in found:
            keep_own_words(document, results=True)
        return [document for document in found if has_quotes(document)]

    async def _read(
        self, connection: Connection, row: int, turns: int, deleted: int
    ) -> MemorySession:
        """A whole session, on a connection that has locked it."""
        session = MemorySession(last_number=turns, deleted=deleted)

        async def rows(query: str) -> list[Row]:
            return await rows_of(connection, self._sql(query), [row])

        names: dict[bytes, str] = {}
        for run, document, number in await rows(
            "SELECT run, document, number FROM {s}.runs WHERE session = %s ORDER BY position"
        ):
            turn = turn_of(document, number)
            names[bytes(run)] = turn.run_id
            session.turns[turn.run_id] = turn
            session.records[turn.run_id] = {}
        done = [turn for turn in session.turns.values() if turn.number]
        session.done += (turn.run_id for turn in sorted(done, key=lambda turn: turn.number))
        for run, node, attempt, document in await rows(
            "SELECT run, node, attempt, document FROM {s}.records WHERE session = %s "
            "ORDER BY position"
        ):
            session.records[names[bytes(run)]][bytes(node).hex(), attempt] = bytes(document)
        for scope, name, value, run_id in await rows(
            "SELECT scope, name, value, run_id FROM {s}.state WHERE session = %s ORDER BY position"
        ):
            entry = StateValue(cast("JSON", parse_json(value)), to_text(run_id))
            session.apply(StateChange({StateKey(scope, to_text(name)): entry}))
        for covers, document in await rows(
            "SELECT covers, document FROM {s}.summaries WHERE session = %s ORDER BY covers"
        ):
            session.covers.append(covers)
            session.summaries[covers] = summary_of(document)
        return session

    async def _write(self, connection: Connection, row: int, session: MemorySession) -> None:
        """Write what is in a new session."""
        async with connection.cursor() as cursor:
            await cursor.executemany(
                self._sql(
                    "INSERT INTO {s}.runs (session, run, number, status, waits_until, document, "
                    "words) VALUES (%s, %s, %s, %s, %s, %s, %s)"
                ),
                [
                    (
                        row,
                        digest(turn.run_id),
                        turn.number,
                        turn.status,
                        _waits_until(turn),
                        turn_row(turn),
                        search_words(turn) if turn.number else "",
                    )
                    for turn in session.turns.values()
                ],
            )
            await cursor.executemany(
                self._sql(
                    "INSERT INTO {s}.records (session, run, node, attempt, document) "
                    "VALUES (%s, %s, %s, %s, %s)"
                ),
                [
                    (row, digest(run_id), digest(node), attempt, document)
                    for run_id, records in session.records.items()
                    for (node, attempt), document in records.items()
                ],
            )
        await self._write_values(connection, row, session)

    async def _write_values(self, connection: Connection, row: int, session: MemorySession) -> None:
        """Write state and summaries of a session that has none."""
        async with connection.cursor() as cursor:
            await cursor.executemany(
                self._sql(
                    "INSERT INTO {s}.state (session, scope, key, name, value, run_id) "
                    "VALUES (%s, %s, %s, %s, %s, %s)"
                ),
                [
                    (row, scope, digest(name), to_bytes(name), dump_json(value), to_bytes(run_id))
                    for (scope, name), (value, run_id) in session.values().items()
                ],
            )
            await cursor.executemany(
                self._sql("INSERT INTO {s}.summaries VALUES (%s, %s, %s)"),
                [
                    (row, covers, dump_json(encode_summary(summary)))
                    for covers, summary in session.summaries.items()
                ],
            )

    async def _write_deletion(
        self,
        connection: Connection,
        row: int,
        run_id: str,
        session: MemorySession,
        before: Mapping[str, Mapping[tuple[str, int], object]],
    ) -> None:
        """Write what the deletion of a run has changed in a session."""
        for query, parameters in (
            ("DELETE FROM {s}.runs WHERE session = %s AND run = %s", [row, digest(run_id)]),
            ("DELETE FROM {s}.leases WHERE session = %s AND run = %s", [row, digest(run_id)]),
            ("DELETE FROM {s}.state WHERE session = %s", [row]),
            ("DELETE FROM {s}.summaries WHERE session = %s", [row]),
            ("UPDATE {s}.sessions SET deleted = %s WHERE id = %s", [session.deleted, row]),
        ):
            await rows_of(connection, self._sql(query), parameters)
        await self._write_values(connection, row, session)
        of_record = "session = %s AND run = %s AND node = %s AND attempt = %s"
        for other, records in before.items():
            if other == run_id:
                continue
            for (node, attempt), document in records.items():
                now = session.records[other].get((node, attempt))
                where = [row, digest(other), bytes.fromhex(node), attempt]
                if now is None:
                    gone = self._sql(f"DELETE FROM {{s}}.records WHERE {of_record}")  # noqa: S608  constants
                    await rows_of(connection, gone, where)
                elif now != document:
                    other_text = self._sql(
                        f"UPDATE {{s}}.records SET document = %s WHERE {of_record}"  # noqa: S608  constants
                    )
                    await rows_of(connection, other_text, [now, *where])

    async def _call(
        self, query: str, parameters: Sequence[object], columns: Sequence[str]
    ) -> dict[str, Any]:
        """The row that a function returns."""
        (row,) = await self._query(query, parameters)
        return dict(zip(columns, row, strict=True))

    async def _query(self, query: str, parameters: Sequence[object] = ()) -> list[Row]:
        return await self._connections.query(self._sql(query), parameters)

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Connection]:
        async with self._connections.connection() as connection, connection.transaction():
            yield connection

    def _sql(self, query: str) -> bytes:
        return query.replace("{s}", f'"{self._schema}"').encode()


def _check_begun(
    answer: Mapping[str, Any],
    key: SessionKey,
    turn: Turn,
    policy: Policy,
    while_waiting: WhileWaiting,
    is_stored: bool | None,
) -> None:
    """Raise what the database refuses to begin, as every store words it."""
    found: bytes | None = answer["document_found"]
    match answer["outcome"]:
        case "missing":
            check_stored(key, turn.run_id, None, expected=True)
        case "stored":
            check_stored(key, turn.run_id, turn_of(found or b"{}"), expected=is_stored)
        case "in progress":
            raise run_in_progress(turn.run_id)
        case "waiting":
            check_waiting(key, [turn_of(found or b"{}")], None, policy, while_waiting)
        case _:
            pass


def _check_outcome(outcome: str, lease: Lease) -> None:
    if outcome == "deleted":
        raise run_deleted(lease.run_id, lease.key)
    if outcome == "lost":
        raise lease_lost(lease.run_id, lease.key)


def _waits_until(turn: Turn) -> float | None:
    """Until when a run waits for a person (0: for ever); None if it does not."""
    return turn.waiting_until if turn.status == "waiting" and turn.waiting else None


def _state_columns(values: Mapping[StateKey, JSON]) -> list[list[Any]]:
    """State as columns of `finish_run`: scopes, digests of names, names, values."""
    return [
        [key.scope for key in values],
        [digest(key.name) for key in values],
        [to_bytes(key.name) for key in values],
        [dump_json(value) for value in values.values()],
    ]


def _info(user_id: str | None, row: Row) -> SessionInfo:
    session_id, turns, name, first, *latest = row
    begun = turn_of(first) if first is not None else None
    edges = [turn_of(document) for document in latest if document is not None]
    return SessionInfo(
        key=SessionKey(user_id, to_text(session_id)),
        turns=turns,
        started=begun.started if begun else 0.0,
        updated=max((max(turn.started, turn.ended) for turn in edges), default=0.0),
        name=to_text(name) if name is not None else None,
        first_input=begun.input if begun else "",
    )
