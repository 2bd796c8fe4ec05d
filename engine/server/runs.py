"""The runs in progress of this process, whose events any number of clients read.

A run is started by iterating the events of a `Runner`. They are numbered and kept, so that a client
can come back after its connection was cut, and another one can watch. When the last reader has left
and none comes back within the grace period, the run is cancelled.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import aclosing, contextmanager
from hashlib import sha256
from operator import attrgetter
from typing import NamedTuple, cast
from uuid import uuid4

from msgspec.structs import replace

from ..errors import Cancelled, NotFound
from ..events import (
    AnswerReset,
    Event,
    NodeFinished,
    NodeStarted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    RunWaiting,
)
from ..records import Record, Run, RunStatus, SessionKey
from ..session.store import Store
from ..stores.leases import WATCHER
from .positions import Position

UNREAD = 5.0
"""Seconds within which a run must be read, also where the grace period is shorter."""
ENDED = 256
"""Runs that have ended whose events are kept for clients that come back; the oldest go first."""


class Numbered(NamedTuple):
    """An event with its number in the stream, from 1, and the position of a client that has it."""

    number: int
    event: Event
    position: Position


_NUMBER = attrgetter("number")


class LiveRun:
    """One run in progress in this process, or one that ended a moment ago, with its events.

    `source` gives the events, of which at least the newest `limit` are kept; `before` are the
    records of an earlier try of the run. `key` and `run_id` are known once it has begun. A run that
    `is_shared` is executed elsewhere, and its events have the same numbers in all processes.
    """

    def __init__(
        self,
        store: Store,
        source: AsyncGenerator[Event],
        *,
        grace: float,
        limit: int,
        before: Iterable[Record] = (),
        is_shared: bool = False,
    ) -> None:
        self.key = SessionKey(None, "")
        self.run_id = ""
        self.is_ended = False
        self._store = store
        self._source = source
        self._grace = grace
        self._limit = limit
        self._is_shared = is_shared
        self._finished = [record for record in before if record.status == "done"]
        self._events: list[Numbered] = []
        self._dropped = 0
        self._last = Position(0, uuid4().hex[:8])
        self._told: set[str] = set()
        self._run: Run | None = None
        self._error: Exception | None = None
        self._readers = 0
        self._leaving: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._pump(), name="teamgraph run")

    @property
    def status(self) -> RunStatus:
        """The status of the run; `running` until it has ended."""
        return "running" if self._run is None else self._run.status

    @property
    def error(self) -> Exception | None:
        """What ended the run, if it is no success."""
        return self._error

    def is_over(self, after: Position) -> bool:
        """Whether no event follows on a position."""
        last = self._last
        return self.is_ended and (after.stream, after.number) == (last.stream, last.number)

    @property
    def size(self) -> int:
        """How many events it keeps."""
        return len(self._events)

    async def begun(self) -> None:
        """Wait for the first event; raises what ended the run before it."""
        try:
            await self._changed.wait()
        except asyncio.CancelledError:
            self.task.cancel()
            raise
        if not self._events and self._error is not None:
            raise self._error
        if not self._readers and not self.is_ended:  # whoever began it may have left meanwhile
            self._leave(max(self._grace, UNREAD))

    async def read(self, after: Position | None = None) -> AsyncGenerator[Numbered]:
        """The events after a position, those that there are and those to come.

        In a stream that continues the one of the position, the client is told first that the
        answer tokens which it has are void, and no finished node a second time. Closing the
        generator means that the reader has left. Raises `NotFound` if events after the position
        are dropped already, as for a reader that is too slow.
        """
        number, told = 0, frozenset[str]()
        with self._reading():
            if after is not None and after.stream == self._last.stream:
                number = after.number
            elif after is not None:
                told = after.told(self._finished)
                first = Position(0, self._last.stream, after.nodes, after.check)
                reset = AnswerReset(self.run_id, self.key.session_id, 0, None, 0)
                yield Numbered(0, reset, first)
            while True:
                for each in self._after(number):
                    event, number = each.event, each.number
                    if not (
                        isinstance(event, NodeFinished) and event.replayed and event.node in told
                    ):
                        yield each
                if number < self._last.number:
                    continue  # more were added while the reader was busy with the others
                if self.is_ended:
                    return
                await self._changed.wait()

    async def result(self) -> Run:
        """Wait for the end of the run; raises the error that ended it."""
        with self._reading():
            while not self.is_ended:
                await self._changed.wait()
        if self._error is not None:
            raise self._error
        return cast("Run", self._run)

    def cancel(self) -> None:
        """Cancel the run, if it is in progress."""
        WATCHER.interrupt(self._store, self.key, self.run_id)

    def hand_back(self) -> None:
        """Stop executing the run, and leave it as it is stored, to be resumed."""
        if self._is_shared:
            self.task.cancel()
        WATCHER.interrupt(self._store, self.key, self.run_id, hand_back=True)

    async def _pump(self) -> None:
        """Take the events as they come, to the last one."""
        try:
            async with aclosing(self._source) as events:
                async for event in events:
                    self._add(event)
        except Exception as error:  # noqa: BLE001  whoever waits for the result gets it
            self._error = error
        except asyncio.CancelledError:
            self._error = Cancelled("the run was cancelled before it had begun")
            raise
        finally:
            self.is_ended = True
            if self._leaving is not None:
                self._leaving.cancel()
            self._notify()

    def _add(self, event: Event) -> None:
        if self._is_shared:
            stream = sha256(event.run_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            self._last = replace(self._last, number=event.sequence - 1, stream=stream)
        match event:
            case RunStarted():
                self.run_id, self.key = event.run_id, SessionKey(event.user_id, event.session_id)
            case NodeFinished():
                self._tell([event.record])
            case NodeStarted():  # what an earlier try has finished is told
                self._tell(self._finished)
            case RunFinished() | RunFailed() | RunCancelled() | RunWaiting():
                self._run = event.run
                self.run_id, self.key = event.run.run_id, event.run.key
            case _:
                pass
        self._last = replace(self._last, number=self._last.number + 1)
        event = replace(event, sequence=self._last.number)
        self._events.append(Numbered(self._last.number, event, self._last))
        if len(self._events) > 2 * self._limit:
            self._dropped = self._events[self._limit - 1].number
            del self._events[: self._limit]
        self._notify()

    def _tell(self, finished: Iterable[Record]) -> None:
        """Count these nodes as told, each once."""
        for path in {record.node for record in finished} - self._told:
            self._told.add(path)
            self._last = self._last.with_node(path)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _after(self, number: int) -> list[Numbered]:
        """The events after this number; raises `NotFound` if some of them are dropped."""
        if number < self._dropped:
            raise NotFound(
                f"run {self.run_id!r}: its first {self._dropped} events are not kept any more, and "
                f"only {number} were read; read the run itself: GET /api/runs/{self.run_id}"
            )
        return self._events[bisect_right(self._events, number, key=_NUMBER) :]

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Count a reader; when the last one has left, the grace period begins."""
        self._readers += 1
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers and not self.is_ended:
                self._leave(self._grace)

    def _leave(self, grace: float) -> None:
        """Cancel the run after so many seconds, unless somebody reads it by then."""
        if self._leaving is not None:
            self._leaving.cancel()
        if grace != math.inf:
            self._leaving = asyncio.get_running_loop().call_later(grace, self.cancel)


class Runs:
    """The live runs of this process, by their users and ids.

    `grace` are the seconds after which a run that nobody reads is cancelled, `limit` is how many of
    its newest events are kept. Runs that are shared go on elsewhere, whoever reads them here.
    """

    def __init__(self, store: Store, *, grace: float, limit: int, is_shared: bool = False) -> None:
        self._store = store
        self._is_shared = is_shared
        self._grace = grace
        self._limit = limit
        self._live: dict[tuple[str | None, str], LiveRun] = {}
        self._starting: set[LiveRun] = set()
        self._ended: deque[LiveRun] = deque()
        self._opening: dict[tuple[str | None, str], asyncio.Task[LiveRun]] = {}
        self._kept = 0

    def live(self, user_id: str | None, run_id: str) -> LiveRun | None:
        """A live run of a user, or None."""
        return self._live.get((user_id, run_id))

    @property
    def in_progress(self) -> list[LiveRun]:
        """The runs that have not ended."""
        return [live for live in self._live.values() if not live.is_ended]

    async def begin(
        self,
        source: AsyncGenerator[Event],
        *,
        grace: float | None = None,
        before: Iterable[Record] = (),
    ) -> LiveRun:
        """Start a run: iterate `source`, the events of a runner, and wait for the first of them.

        `grace` are the seconds after its last reader has left until the run is cancelled (default:
        those of the server); 0 is at once, and infinity never. `before` are the records of an
        earlier try of it. Raises what ends the run before it has begun, such as `InputError`,
        `NotFound` and `SessionBusy`.
        """
        grace = math.inf if self._is_shared else self._grace if grace is None else grace
        live = LiveRun(
            self._store,
            source,
            grace=grace,
            limit=self._limit,
            before=before,
            is_shared=self._is_shared,
        )
        self._starting.add(live)
        try:
            await live.begun()
        finally:
            self._starting.discard(live)
        self._live[live.key.user_id, live.run_id] = live
        live.task.add_done_callback(lambda _: self._keep_ended(live))
        return live

    async def open(self, run: Run, source: Callable[[], AsyncGenerator[Event]]) -> LiveRun:
        """Make a stored run live, once for all who ask for it meanwhile; see `begin`."""
        key = (run.user_id, run.run_id)
        if (opening := self._opening.get(key)) is None:
            begin = self.begin(source(), before=run.records.values())
            opening = self._opening[key] = asyncio.create_task(begin)
            opening.add_done_callback(lambda _: self._opening.pop(key, None))
        return await asyncio.shield(opening)

    async def close(self, patience: float) -> None:
        """Wait for the runs in progress, and hand back those that take longer than `patience`."""
        running = {live.task: live for live in self.in_progress}
        for live in self._starting:
            live.task.cancel()
        if running:
            patience = 0 if self._is_shared else patience
            _, late = await asyncio.wait(running, timeout=patience)
            for task in late:
                running[task].hand_back()
            await asyncio.gather(*running, return_exceptions=True)

    def _keep_ended(self, live: LiveRun) -> None:
        """Keep the events of a run for a while, unless nobody may come back for them."""
        self._ended.append(live)
        self._kept += live.size
        while self._ended and (len(self._ended) > ENDED or self._kept > self._limit):
            oldest = self._ended.popleft()
            self._kept -= oldest.size
            key = (oldest.key.user_id, oldest.run_id)
            if self._live.get(key) is oldest:
                del self._live[key]
