"""`InProcessDispatcher`: turns that run in this process, as tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import cast

from msgspec.structs import replace

from ..errors import InputError, NotFound, SessionBusy, TeamgraphError, closest, listed
from ..events import Event, RunCancelled, RunFailed, RunFinished, RunWaiting
from ..records import Run
from ..run.resume import RunReference
from ..run.runner import Runner
from ..stores.leases import WATCHER
from .event_rows import end_event, never_begun
from .protocol import Submission

KEPT = 256
"""Runs that have ended whose events are kept; the oldest go first."""


class InProcessDispatcher:
    """Runs turns of some graphs as tasks of the event loop that submits them.

    Nothing outlives the process but what the store has. Raises `InputError` if there is no runner,
    or if two have graphs of one name or different stores.
    """

    def __init__(self, runners: Iterable[Runner]) -> None:
        self._runners = runners_by_name(runners)
        self._store = next(iter(self._runners.values())).store
        self._runs: dict[RunReference, _Submitted] = {}

    async def submit(self, turn: Submission) -> RunReference:
        """See `Dispatcher.submit`."""
        turn.check()
        runner = self._runners.get(turn.graph)
        if runner is None:
            raise unknown_graph(turn.graph, self._runners)
        run = turn.reference
        before = self._runs.get(run)
        if before is None or (not turn.begins and before.is_over):
            self._runs[run] = _Submitted(turn, start(runner, turn, is_stored=False), before)
            self._drop_old()
        elif turn not in (before.turn, before.begun):
            raise run_in_progress(turn.run_id)
        return run

    async def events(self, run: RunReference, *, after: int = 0) -> AsyncGenerator[Event]:
        """See `Dispatcher.events`; only those of the run's last submission are kept."""
        submitted = self._find(run)
        async for event in submitted.read(after):
            yield event

    async def result(self, run: RunReference) -> Run:
        """See `Dispatcher.result`."""
        return await self._find(run).result()

    async def cancel(self, run: RunReference) -> None:
        """See `Dispatcher.cancel`."""
        submitted = self._find(run)
        if not WATCHER.interrupt(self._store, submitted.turn.key, run.run_id):
            submitted.task.cancel()  # it waits for its session, or is over

    async def close(self) -> None:
        """Hand back what is running: it stays in the store, to be resumed."""
        tasks = [each.task for each in self._runs.values() if not each.is_over]
        for each in self._runs.values():
            key = each.turn.key
            if not WATCHER.interrupt(self._store, key, each.turn.run_id, hand_back=True):
                each.task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _find(self, run: RunReference) -> _Submitted:
        found = self._runs.get(run)
        if found is None:
            raise no_such_run(run)
        return found

    def _drop_old(self) -> None:
        over = [run for run, each in self._runs.items() if each.is_over]
        for run in over[: max(0, len(over) - KEPT)]:
            del self._runs[run]


class _Submitted:
    """A turn that was submitted: the task that runs it, and its events so far."""

    def __init__(
        self, turn: Submission, source: AsyncGenerator[Event], before: _Submitted | None
    ) -> None:
        self.turn = turn
        self.begun: Submission = turn if before is None else before.begun
        self.last: int = 0 if before is None else before.last
        self._first = self.last
        self._events: list[Event] = []
        self._run: Run | None = None
        self._error: TeamgraphError | None = None
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._pump(source), name="teamgraph turn")

    @property
    def is_over(self) -> bool:
        return self.task.done()

    async def read(self, after: int) -> AsyncGenerator[Event]:
        read = max(0, after - self._first)
        while True:
            for event in self._events[read:]:
                yield event
            read = len(self._events)
            if self.is_over:
                return
            await self._changed.wait()

    async def result(self) -> Run:
        await asyncio.wait([self.task])
        if self._error is not None:
            raise self._error
        return cast("Run", self._run)

    async def _pump(self, source: AsyncGenerator[Event]) -> None:
        try:
            async with aclosing(source):
                async for event in source:
                    self._add(event)
        except TeamgraphError as error:
            if self._run is None:
                self._error = error
                self._add(end_event(never_begun(self.turn, error), 0, error))
        except asyncio.CancelledError:  # while it waited for its session
            self._add(end_event(never_begun(self.turn), 0))
        finally:
            asyncio.get_running_loop().call_soon(self._notify)  # once the task is done

    def _add(self, event: Event) -> None:
        self.last += 1
        self._events.append(replace(event, sequence=self.last))
        if isinstance(event, RunFinished | RunFailed | RunCancelled | RunWaiting):
            self._run = event.run
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def start(runner: Runner, turn: Submission, *, is_stored: bool) -> AsyncGenerator[Event]:
    """The events of a turn as a runner runs it; `is_stored` says that it was begun before."""
    user_id, session_id = turn.key
    if turn.answers is not None and not is_stored:
        return runner.arespond_stream(
            turn.run_id,
            turn.answers,
            user_id=user_id,
            session_id=session_id,
            by=turn.by,
            resets=True,
        )
    if turn.resumes or is_stored:
        return runner.aresume_stream(
            turn.run_id,
            user_id=user_id,
            session_id=session_id,
            reuse_unchanged=turn.reuse_unchanged,
            resets=True,
        )
    return runner.astream(
        turn.message,
        user_id=user_id,
        session_id=session_id,
        run_id=turn.run_id,
        state=turn.state,
        system=turn.system,
        resets=True,
    )


def runners_by_name(runners: Iterable[Runner]) -> dict[str, Runner]:
    """The runners by the names of their graphs; raises `InputError`."""
    found: dict[str, Runner] = {}
    for runner in runners:
        name = runner.graph.name
        if name in found:
            raise InputError(f"two graphs are called {name!r}; give one of them another name")
        if found and runner.store is not next(iter(found.values())).store:
            raise InputError(f"graph {name!r} has another store than the others; give all the same")
        found[name] = runner
    if not found:
        raise InputError("there is no graph to run; give at least one")
    return found


def unknown_graph(name: str, known: Iterable[str]) -> NotFound:
    """The error for a graph that nobody runs here."""
    names = [*known]
    near = closest(name, names)
    hint = f"did you mean {near!r}?" if near else f"there are {listed(names)}"
    return NotFound(f"there is no graph {name!r} here; {hint}")


def run_in_progress(run_id: str) -> SessionBusy:
    """The error for another submission of a run that is not over."""
    return SessionBusy(
        f"run {run_id!r}: it was submitted with something else and is not over; wait for it, or "
        "use another run id for a new message"
    )


def no_such_run(run: RunReference) -> NotFound:
    """The error for a run that was not submitted, or is of another user."""
    return NotFound(
        f"there is no run {run.run_id!r} of this user here; it was not submitted, or ended so long "
        "ago that its events are dropped; read it in its session"
    )
