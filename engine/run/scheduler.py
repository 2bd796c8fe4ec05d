"""Runs the nodes of a plan as they become ready, with no supersteps and no levels.

A node starts the moment it is decided. The scheduler knows neither models nor stores: its `Work`
says how a node is run and where records go, so an engine that spreads nodes over machines can use
it too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from time import monotonic
from typing import Protocol

from msgspec.structs import replace

from ..graph.plan import Plan, RunProgress, Skip
from ..records import FINAL, Record


class Work(Protocol):
    """What a scheduler calls for each node."""

    def skip_reason(self, node_id: str, records: Mapping[str, Record]) -> str | None:
        """Why a node that the plan would run is skipped (its `when` is false), or None."""
        ...

    def skip(self, node_id: str, because: str) -> Record:
        """The record of a node that does not run."""
        ...

    async def visit(self, node_id: str, records: Mapping[str, Record]) -> Record:
        """Run a node to its last attempt; a failure is a record too."""
        ...

    async def save(self, records: Sequence[Record]) -> None:
        """Store records durably, all or none, before anything is built on them."""
        ...


class Scheduler:
    """Runs every node of a plan that has no final record yet, each at most once."""

    __slots__ = (
        "_decidable",
        "_ended",
        "_failed",
        "_is_limited",
        "_limit",
        "_plan",
        "_progress",
        "_ready",
        "_ready_since",
        "_running",
        "_unsaved",
        "_waiting",
        "_wake",
        "_work",
    )

    def __init__(
        self,
        plan: Plan,
        work: Work,
        records: Mapping[str, Record],
        *,
        max_parallel: int | None = None,
    ) -> None:
        self._plan = plan
        self._work = work
        self._progress = RunProgress(plan, records)
        self._limit = max_parallel or len(plan.order)
        self._is_limited = max_parallel is not None
        self._ready_since: dict[str, float] = {}
        self._decidable = self._progress.decidable()
        self._ready: list[int] = []
        self._running: set[asyncio.Task[Record]] = set()
        self._ended: deque[asyncio.Task[Record]] = deque()
        self._wake = asyncio.Event()
        self._unsaved: list[Record] = []
        self._failed: dict[str, Record] = {}
        self._waiting: dict[str, Record] = {}

    async def run(self) -> dict[str, Record]:
        """Run from the given records until every node is final, or one failed; the records so far.

        After a failure nothing new starts and what is running may finish. A node that waits for a
        person holds up only those after it. If the caller is cancelled, so is what is running.
        """
        try:
            while self._decide():
                if self._running or len(self._ready) > 1:
                    self._start()
                    await self._next_ended()
                else:
                    # A lone ready node is awaited here: a task for it would buy nothing.
                    node_id = self._plan.order[heappop(self._ready)]
                    queued = self._queued(node_id) if self._is_limited else 0.0
                    self._take(await self._visit(node_id, queued))
            if self._unsaved:
                await self._work.save(self._unsaved)
        except GeneratorExit:  # the event loop was dropped: nothing can be awaited any more
            raise
        except BaseException:
            await self._cancel_running()
            raise
        return self._progress.records | self._waiting | self._failed

    async def _cancel_running(self) -> None:
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    def _decide(self) -> bool:
        """Decide every node that can be, in topological order; whether any is ready or running."""
        plan, records = self._plan, self._progress.records
        while self._decidable:
            index = heappop(self._decidable)
            node_id = plan.order[index]
            decision = plan.decide(node_id, records)
            because = (
                decision.because
                if isinstance(decision, Skip)
                else self._work.skip_reason(node_id, records)
            )
            if because is None:
                heappush(self._ready, index)
                if self._is_limited:
                    self._ready_since[node_id] = monotonic()
            else:
                record = self._work.skip(node_id, because)
                self._unsaved.append(record)
                self._progress.finish(record, self._decidable)  # that may make more decidable
        if self._failed:
            self._ready.clear()
        return bool(self._ready or self._running)

    def _start(self) -> None:
        while self._ready and len(self._running) < self._limit:
            node_id = self._plan.order[heappop(self._ready)]
            queued = self._queued(node_id) if self._is_limited else 0.0
            task = asyncio.create_task(self._visit(node_id, queued), name=node_id)
            task.add_done_callback(self._note_ended)
            self._running.add(task)

    def _note_ended(self, task: asyncio.Task[Record]) -> None:
        self._ended.append(task)
        self._wake.set()

    async def _next_ended(self) -> None:
        """Wait until a node ends; one callback for each task, however many are running."""
        await self._wake.wait()
        self._wake.clear()
        while self._ended:
            task = self._ended.popleft()
            self._running.discard(task)
            self._take(task.result())

    def _queued(self, node_id: str) -> float:
        """Seconds that a node has waited for a place, to the millisecond."""
        return round(monotonic() - self._ready_since[node_id], 3)

    async def _visit(self, node_id: str, queued: float) -> Record:
        record = await self._work.visit(node_id, self._progress.records)
        if queued:
            record = replace(record, queued=queued)
        # Skipped records follow from others, so they can wait to be saved with the next one.
        skipped, self._unsaved = self._unsaved, []
        await self._work.save([*skipped, record])
        return record

    def _take(self, record: Record) -> None:
        if record.status in FINAL:  # what `is_final` says, without a call for each node
            self._progress.finish(record, self._decidable)
        elif record.status == "waiting":
            self._waiting[record.node] = record
        else:
            self._failed[record.node] = record
