"""Who works: the lock and heartbeat of this worker, and what becomes of the turns of a dead one.

DBOS leaves the turns of a worker that died where they are. So each worker holds an advisory lock on
its id, which PostgreSQL releases when its connection ends. Whoever gets that lock puts its turns
back into the queue. A worker that hangs keeps its connection, but sends no heartbeat. A false alarm
does no harm: the leases of the store that the worker had are removed first, so what it writes later
is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg
from dbos import DBOSClient
from sqlalchemy.exc import SQLAlchemyError

from ..blocking import call_in_thread
from ..errors import StoreError
from ..stores.postgres import PostgresStore
from .dbos_queue import queue_of
from .turns import CANCELS, SILENT, TurnTable, WorkerRow

BEAT = 2.0
"""Seconds between two heartbeats."""
SUSPECT_AFTER = 2
"""Executions in a row that have ended with their worker after which a turn may be the cause."""
MOST_DISCOUNTED = 10
"""Executions of such a turn that are not counted, at most, since workers also die without it."""
_PURGE = 60.0
_MOST_DROPPED = 1000
_WORKING, _RESCUE = 0x776F726B, 0x72657363  # "work", "resc": namespaces of advisory locks
Log = Callable[[str, Mapping[str, object]], None]


class Membership:
    """This worker among the others on a database."""

    def __init__(  # noqa: PLR0913  what a worker has, by keyword
        self,
        dsn: str,
        table: TurnTable,
        client: DBOSClient,
        store: PostgresStore,
        row: WorkerRow,
        *,
        keep: float,
        log: Log,
    ) -> None:
        self.is_draining = False
        self.executing: set[str] = set()
        """The workflows that this worker executes."""
        self._idle: set[str] = set()
        self._dsn = dsn
        self._table = table
        self._client = client
        self._store = store
        self._row = row
        self._keep = keep
        self._log = log
        self._about: Mapping[str, str] = {}
        self._purged = monotonic() - _PURGE
        self._reconnected = monotonic() - SILENT
        self._locks: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    async def enter(self, about: Mapping[str, str]) -> None:
        """Take the lock of this worker, and enter it into the table with its graphs."""
        self._about = about
        await self._lock()
        await self._table.register(self._row, about)

    async def beat(self, cancel: Callable[[], Awaitable[None]]) -> None:
        """Send heartbeats, look after the others, and `cancel` what is wanted, until cancelled."""
        beaten = 0.0
        while True:
            bell = self._table.bell(CANCELS)
            try:
                await cancel()
                if monotonic() - beaten >= BEAT:
                    beaten = monotonic()
                    await self._beat()
                    await self._look_after_own()
                    await self._look_after_others()
            except (StoreError, SQLAlchemyError, psycopg.Error) as error:
                self._log("beat_failed", {"why": " ".join(str(error).split())})
            await self._table.wait(bell, BEAT / 2)

    async def leave(self) -> None:
        """Remove this worker, whose turns have ended or were handed back.

        If that fails, the others take it for dead, and do the same.
        """
        with suppress(StoreError, SQLAlchemyError):
            await self._requeue_all(self._row.id)
            await self._table.leave(self._row.id)
        if self._locks is not None:  # pragma: no branch - it is there since `enter`
            await self._locks.close()

    async def requeue(self, turns: Iterable[tuple[str, str]]) -> None:
        """Put workflows back, each into the queue of its bundle: workflow ids and queues.

        Raises `SQLAlchemyError` if the database cannot be reached.
        """
        for queue, group in groupby(sorted(turns, key=itemgetter(1)), key=itemgetter(1)):
            workflows = [workflow for workflow, _ in group]
            resume = partial(self._client.resume_workflows, workflows, queue_name=queue)
            await call_in_thread(resume)

    async def _beat(self) -> None:
        await self._lock()
        if not await self._table.beat(self._row.id, is_draining=self.is_draining):
            self._log("taken_for_dead", {"worker": self._row.id})
            await self._table.register(self._row, self._about)

    async def _lock(self) -> None:
        """Hold the lock of this worker, on a new connection if the old one was cut.

        It is asked for at each beat: another worker may have had it, while this one had none.
        """
        if self._locks is not None and not self._locks.closed:
            try:
                await self._try_lock(_WORKING, self._row.id)
                return
            except psycopg.Error:
                await self._locks.close()
                self._log("reconnecting", {})
                self._reconnected = monotonic()
        self._locks = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        await self._try_lock(_WORKING, self._row.id)

    async def _look_after_own(self) -> None:
        """Put back what DBOS took for this worker and does not run: it lost the database then."""
        pending = await self._pending(self._row.id)
        idle = {workflow: queue for workflow, queue in pending if workflow not in self.executing}
        await self.requeue((each, queue) for each, queue in idle.items() if each in self._idle)
        self._idle = set(idle)

    async def _look_after_others(self) -> None:
        if monotonic() - self._reconnected >= SILENT:  # else they may not have connected again yet
            workers = await self._table.workers()
            known = {worker.id for worker in workers}
            for worker in workers:
                if worker.id != self._row.id:
                    await self._rescue(worker.id, worker.owner, is_silent=not worker.is_live)
            for executor in await self._table.executors() - known:
                await self._rescue(executor, None, is_silent=False)
        if not self.is_draining:
            await self._adopt()
        if monotonic() - self._purged > _PURGE:
            self._purged = monotonic()
            await self._drop_old()

    async def _adopt(self) -> None:
        """Take over queued turns for whose graphs only workers of this bundle are left.

        What is committed last is that they are ours, so a worker that dies or fails on the way
        leaves them as they were found, and the next one that looks puts them into its queue again.
        """
        async with self._table.adopting(self._row.bundle, self._row.graphs) as adopted:
            queue = queue_of(self._row.bundle)
            await self.requeue([(workflow, queue) for workflow in adopted])
        if adopted:
            self._log("adopted", {"turns": len(adopted)})

    async def _rescue(self, worker: str, owner: UUID | None, *, is_silent: bool) -> None:
        """Put the turns of a worker back into their queues, if it is dead or hangs."""
        is_dead = await self._try_lock(_WORKING, worker)
        try:
            if not (is_dead or is_silent) or not await self._try_lock(_RESCUE, worker):
                return
            try:
                if owner is not None:
                    await self._store.evict(owner)
                await self._table.discount_attempts(
                    worker, since=SUSPECT_AFTER, most=MOST_DISCOUNTED
                )
                many = await self._requeue_all(worker)
                await self._table.leave(worker)
                self._log("rescued", {"worker": worker, "dead": is_dead, "turns": many})
            finally:
                await self._unlock(_RESCUE, worker)
        finally:
            if is_dead:
                await self._unlock(_WORKING, worker)

    async def _requeue_all(self, worker: str) -> int:
        """Put all that a worker has taken back into the queues; returns how much that was."""
        await self._table.requeue(worker)
        found = await self._pending(worker)
        await self.requeue(found)
        return len(found)

    async def _pending(self, worker: str) -> list[tuple[str, str]]:
        """The workflows that a worker has taken from the queues, with these."""
        list_pending = partial(
            self._client.list_workflows,
            status="PENDING",
            executor_id=worker,
            load_input=False,
            load_output=False,
        )
        pending = await call_in_thread(list_pending)
        return [(each.workflow_id, each.queue_name or "") for each in pending]

    async def _drop_old(self) -> None:
        """Delete turns that ended long ago, with their events, and what the queue knows of any."""
        await self._table.drop_old(self._keep)
        before = datetime.now(UTC) - timedelta(seconds=self._keep)
        list_ended = partial(
            self._client.list_workflows,
            completed_before=before.isoformat(),
            limit=_MOST_DROPPED,
            load_input=False,
            load_output=False,
        )
        ended = [each.workflow_id for each in await call_in_thread(list_ended)]
        if ended:
            await call_in_thread(partial(self._client.delete_workflows, ended))

    async def _try_lock(self, namespace: int, worker: str) -> bool:
        return await self._ask("SELECT pg_try_advisory_lock(%s, hashtext(%s))", namespace, worker)

    async def _unlock(self, namespace: int, worker: str) -> None:
        await self._ask("SELECT pg_advisory_unlock(%s, hashtext(%s))", namespace, worker)

    async def _ask(self, query: str, namespace: int, worker: str) -> bool:
        if self._locks is None:  # pragma: no cover - it is there since `enter`
            return False
        cursor = await self._locks.execute(query.encode(), [namespace, worker])
        row = await cursor.fetchone()
        return bool(row and row[0])
