"""One run: visit nodes as they become ready.

There are no supersteps and no levels: a node starts the moment it is decided. The scheduler knows
neither models nor stores; whoever calls it says how a node is visited and where records go, so an
engine that spreads visits over machines can call it too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Protocol

from ..graph.plan import Plan, RunProgress, Skip
from ..records import Record


class Work(Protocol):
    """What a scheduler has done for it."""

    def barred(self, node_id: str, records: Mapping[str, Record]) -> str | None:
        """Why a node that may run does not after all (its `when`), or None."""
        ...

    def skip(self, node_id: str, because: str) -> Record:
        """The record of a node that does not run."""
        ...

    async def visit(self, node_id: str, records: Mapping[str, Record]) -> Record:
        """Run a node to its last attempt; a failure is a record too."""
        ...

    async def keep(self, records: Sequence[Record]) -> None:
        """Make records durable, all or none, before anything is built on them."""
        ...


async def drive(
    plan: Plan,
    work: Work,
    records: Mapping[str, Record],
    *,
    max_parallel: int | None = None,
) -> dict[str, Record]:
    """Go on from `records` until every node is final, or one failed.

    After a failure nothing new starts, what runs may finish, and the records so far come back.
    If the caller is cancelled, so is what runs.
    """
    drive = _Drive(plan, work, records, max_parallel)
    try:
        return await drive.to_the_end()
    finally:
        await drive.stop()


class _Drive:
    __slots__ = (
        "_decidable",
        "_ended",
        "_failed",
        "_limit",
        "_plan",
        "_progress",
        "_ready",
        "_running",
        "_skipped",
        "_wake",
        "_work",
    )

    def __init__(
        self,
        plan: Plan,
        work: Work,
        records: Mapping[str, Record],
        max_parallel: int | None,
    ) -> None:
        self._plan = plan
        self._work = work
        self._progress = RunProgress(plan, records)
        self._limit = max_parallel or len(plan.order)
        self._decidable = self._progress.decidable()
        self._ready: list[int] = []
        self._running: set[asyncio.Task[Record]] = set()
        self._ended: deque[asyncio.Task[Record]] = deque()
        self._wake = asyncio.Event()
        self._skipped: list[Record] = []
        self._failed: dict[str, Record] = {}
        heapify(self._decidable)

    async def to_the_end(self) -> dict[str, Record]:
        while True:
            self._decide()
            if self._failed:
                self._ready.clear()
            if not self._running:
                if not self._ready:
                    break
                if len(self._ready) == 1:
                    # A lone ready node is awaited here: a task for it would buy nothing.
                    node_id = self._plan.order[heappop(self._ready)]
                    self._take(await self._visit(node_id))
                    continue
            self._start()
            await self._next_ended()
        if self._skipped:
            await self._work.keep(self._skipped)
        return self._progress.records | self._failed

    async def stop(self) -> None:
        """Cancel what runs and wait until it has ended."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    def _decide(self) -> None:
        """Decide all that can be, in topological order; a skip may open up more."""
        plan, records = self._plan, self._progress.records
        while self._decidable:
            index = heappop(self._decidable)
            node_id = plan.order[index]
            decision = plan.decide(node_id, records)
            because = (
                decision.because
                if isinstance(decision, Skip)
                else self._work.barred(node_id, records)
            )
            if because is None:
                heappush(self._ready, index)
            else:
                record = self._work.skip(node_id, because)
                self._skipped.append(record)
                self._finish(record)

    def _start(self) -> None:
        while self._ready and len(self._running) < self._limit:
            node_id = self._plan.order[heappop(self._ready)]
            task = asyncio.create_task(self._visit(node_id), name=node_id)
            task.add_done_callback(self._note_ended)
            self._running.add(task)

    def _note_ended(self, task: asyncio.Task[Record]) -> None:
        self._ended.append(task)
        self._wake.set()

    async def _next_ended(self) -> None:
        """Wait for a visit to end; one callback a task, whatever the number that runs."""
        await self._wake.wait()
        self._wake.clear()
        while self._ended:
            task = self._ended.popleft()
            self._running.discard(task)
            self._take(task.result())

    async def _visit(self, node_id: str) -> Record:
        record = await self._work.visit(node_id, self._progress.records)
        # What was skipped on the way is a function of other records: it may wait for company.
        skipped, self._skipped = self._skipped, []
        await self._work.keep([*skipped, record])
        return record

    def _take(self, record: Record) -> None:
        if record.is_final:
            self._finish(record)
        else:
            self._failed[record.node] = record

    def _finish(self, record: Record) -> None:
        for index in self._progress.finish(record):
            heappush(self._decidable, index)
