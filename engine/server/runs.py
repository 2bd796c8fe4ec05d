"""The runs in progress of this process, whose events any number of clients read.

A run is started with a listener that keeps its events, so that a client can come back after its
connection was cut, and another one can watch. When the last reader has left and none comes back
within the grace period, the run is cancelled.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager
from hashlib import sha256
from random import getrandbits
from typing import NamedTuple, TypeAlias, cast

from ..errors import Cancelled, NotFound
from ..events import (
    AnswerReset,
    Event,
    Listener,
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
from .positions import EventPosition

TellRun: TypeAlias = Callable[[Listener], Coroutine[object, object, Run]]
"""Runs to the end, and tells a listener the events: `EventStream.tell`."""
UNREAD = 5.0
"""Seconds within which a run must be read, also where the grace period is shorter."""
ENDED = 256
"""Runs that have ended whose events are kept for clients that come back; the oldest go first."""


class Numbered(NamedTuple):
    """An event with its number in the stream, from 1, and the position of a client that has it."""

    number: int
    event: Event
    position: EventPosition


_NOTED = frozenset(
    (RunStarted, NodeStarted, NodeFinished, RunFinished, RunFailed, RunCancelled, RunWaiting)
)
"""The events that a run itself has to know of."""


def _number_of(known: tuple[Event, EventPosition]) -> int:
    return known[0].sequence


class LiveRun:
    """One run in progress in this process, or one that ended a moment ago, with its events.

    `tell` runs it and tells a listener the events, of which at least the newest `limit` are kept;
    `before` are the records of an earlier try of the run. `key` and `run_id` are known once it has
    begun, which `on_begun` is told. A run that `is_shared` is executed elsewhere, and its events
    have the same numbers in all processes.
    """

    def __init__(  # noqa: PLR0913  what a server knows of a run
        self,
        store: Store,
        tell: TellRun,
        *,
        grace: float,
        limit: int,
        before: Iterable[Record] = (),
        on_begun: Callable[[LiveRun], object],
        is_shared: bool = False,
    ) -> None:
        self.key = SessionKey(None, "")
        self.run_id = ""
        self._store = store
        self._grace = grace
        self._limit = limit
        self._on_begun = on_begun
        self._is_shared = is_shared
        self._finished = [record for record in before if record.status == "done"]
        self._events: list[tuple[Event, EventPosition]] = []
        self._dropped = 0
        self._known = EventPosition(0, f"{getrandbits(32):08x}")
        self._told: set[str] = set()
        self._ended = asyncio.Event()
        self._changed: asyncio.Event | None = None
        self._run: Run | None = None
        self._error: Exception | None = None
        self._readers = 0
        self._leaving: asyncio.TimerHandle | None = None
        self.task = asyncio.create_task(tell(self._add), name="teamgraph run")
        self.task.add_done_callback(self._end)

    @property
    def is_ended(self) -> bool:
        """Whether no further event can come."""
        return self._ended.is_set()

    @property
    def status(self) -> RunStatus:
        """The status of the run; `running` until it has ended."""
        return "running" if self._run is None else self._run.status

    @property
    def error(self) -> Exception | None:
        """What ended the run, if it is no success."""
        return self._error

    def is_over(self, after: EventPosition) -> bool:
        """Whether no event follows on a position."""
        return self.is_ended and (after.stream, after.number) == (self._known.stream, self._last)

    @property
    def size(self) -> int:
        """How many events it keeps."""
        return len(self._events)

    async def begun(self) -> None:
        """Wait for the first event, just after the start; raises what ended the run before it."""
        try:
            await self._change()
            if not self._events and self._error is not None:
                raise self._error
        finally:
            if not self._readers and not self.is_ended:  # whoever began it may have left meanwhile
                self._leave(max(self._grace, UNREAD))

    async def read(self, after: EventPosition | None = None) -> AsyncGenerator[Numbered]:
        """The events after a position, those that there are and those to come.

        In a stream that continues the one of the position, the client is told first that the
        answer tokens which it has are void, and no finished node a second time. Closing the
        generator means that the reader has left. Raises `NotFound` if events after the position
        are dropped already, as for a reader that is too slow.
        """
        number, told = 0, frozenset[str]()
        with self._reading():
            if after is not None and after.stream == self._known.stream:
                number = after.number
            elif after is not None:
                told = after.told(self._finished)
                first = EventPosition(0, self._known.stream, after.nodes, after.check)
                reset = AnswerReset(self.run_id, self.key.session_id, 0, None, 0)
                yield Numbered(0, reset, first)
            while True:
                for each in self._after(number):
                    event, number = each.event, each.number
                    if not (
                        isinstance(event, NodeFinished) and event.replayed and event.node in told
                    ):
                        yield each
                if number < self._last:
                    continue  # more were added while the reader was busy with the others
                if self.is_ended:
                    return
                await self._change()

    async def result(self) -> Run:
        """Wait for the end of the run; raises the error that ended it."""
        with self._reading():
            await self._ended.wait()
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

    def _end(self, task: asyncio.Task[Run]) -> None:
        if task.cancelled():
            self._error = Cancelled("the run was cancelled before it had begun")
        else:
            self._error = cast("Exception | None", task.exception())
        self._ended.set()
        if self._leaving is not None:
            self._leaving.cancel()
        self._notify()

    def _add(self, event: Event) -> None:
        """Keep an event, and what the client knows that has it: the number in that is not set."""
        if self._is_shared and not self._events:
            stream = sha256(event.run_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            self._known = EventPosition(0, stream)
        if type(event) in _NOTED:
            self._note(event)
        self._events.append((event, self._known))
        if len(self._events) > 2 * self._limit:
            self._dropped = self._events[self._limit - 1][0].sequence
            del self._events[: self._limit]
        self._notify()

    def _note(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.run_id, self.key = event.run_id, SessionKey(event.user_id, event.session_id)
                self._on_begun(self)
            case NodeFinished():
                self._tell([event.record])
            case NodeStarted():  # what an earlier try has finished is told
                self._tell(self._finished)
            case RunFinished() | RunFailed() | RunCancelled() | RunWaiting():
                self._run = event.run
                self.run_id, self.key = event.run.run_id, event.run.key
            case _:  # pragma: no cover
                pass

    def _tell(self, finished: Iterable[Record]) -> None:
        """Count these nodes as told, each once."""
        for record in finished:
            if record.node not in self._told:
                self._told.add(record.node)
                self._known = self._known.with_node(record.node)

    async def _change(self) -> None:
        """Wait for the next event, or the end."""
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    @property
    def _last(self) -> int:
        """The number of the newest event."""
        return self._events[-1][0].sequence if self._events else 0

    def _after(self, number: int) -> list[Numbered]:
        """The events after this number; raises `NotFound` if some of them are dropped."""
        if number < self._dropped:
            raise NotFound(
                f"run {self.run_id!r}: its first {self._dropped} events are not kept any more, and "
                f"only {number} were read; read the run itself: GET /api/runs/{self.run_id}"
            )
        return [
            Numbered(event.sequence, event, known.at(event.sequence))
            for event, known in self._events[bisect_right(self._events, number, key=_number_of) :]
        ]

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
        """Cancel the run after so many seconds, unless somebody reads it by then.

        Nobody can come back to one that has not begun: it ends at once.
        """
        if not self.run_id:
            self.task.cancel()
        elif grace != math.inf:
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

    def start(
        self, tell: TellRun, *, grace: float | None = None, before: Iterable[Record] = ()
    ) -> LiveRun:
        """Start a run by `tell`, that of a runner's events; it is live once it has begun.

        `grace` are the seconds after its last reader has left until the run is cancelled (default:
        those of the server); 0 is at once, and infinity never. `before` are the records of an
        earlier try of it.
        """
        grace = math.inf if self._is_shared else self._grace if grace is None else grace
        live = LiveRun(
            self._store,
            tell,
            grace=grace,
            limit=self._limit,
            before=before,
            on_begun=self._keep,
            is_shared=self._is_shared,
        )
        self._starting.add(live)
        live.task.add_done_callback(lambda _: self._keep_ended(live))
        return live

    async def begin(
        self, tell: TellRun, *, grace: float | None = None, before: Iterable[Record] = ()
    ) -> LiveRun:
        """As `start`, and wait until it has begun.

        Raises what ends the run before that, such as `InputError`, `NotFound` and `SessionBusy`.
        """
        live = self.start(tell, grace=grace, before=before)
        await live.begun()
        return live

    async def open(self, run: Run, tell: TellRun) -> LiveRun:
        """Make a stored run live, once for all who ask for it meanwhile; see `begin`."""
        key = (run.user_id, run.run_id)
        if (opening := self._opening.get(key)) is None:
            begin = self.begin(tell, before=run.records.values())
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

    def _keep(self, live: LiveRun) -> None:
        self._starting.discard(live)
        self._live[live.key.user_id, live.run_id] = live

    def _keep_ended(self, live: LiveRun) -> None:
        """Keep the events of a run for a while, unless it has never begun."""
        if live in self._starting:
            self._starting.discard(live)
            return
        self._ended.append(live)
        self._kept += live.size
        while self._ended and (len(self._ended) > ENDED or self._kept > self._limit):
            oldest = self._ended.popleft()
            self._kept -= oldest.size
            key = (oldest.key.user_id, oldest.run_id)
            if self._live.get(key) is oldest:
                del self._live[key]
