"""A long list, read page by page and told item by item.

How a script gets at something that is async: the one place where loops and threads are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, suppress
from contextvars import copy_context
from functools import update_wrapper
from inspect import signature
from queue import SimpleQueue
from threading import Event as ThreadEvent
from threading import Thread
from typing import Concatenate, Generic, ParamSpec, Protocol, TypeVar

from .events import Event, Listener
from .records import Run

Value = TypeVar("Value")
Owner = TypeVar("Owner")
Facts = ParamSpec("Facts")


def result_of(make: Callable[[], Coroutine[object, object, Value]]) -> Value:
    """What the coroutine gives; in a thread of its own where a loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _here(make)
    elsewhere = _Elsewhere(make())
    try:
        elsewhere.begin()
        elsewhere.ended.wait()
    finally:
        elsewhere.end()
    return elsewhere.task.result()


def door(
    method: Callable[Concatenate[Owner, Facts], Coroutine[object, object, Value]],
) -> Callable[Concatenate[Owner, Facts], Value]:
    """Make the method for scripts of the async one, which is called the same after an `a`."""

    def through(owner: Owner, /, *args: Facts.args, **facts: Facts.kwargs) -> Value:
        return result_of(lambda: method(owner, *args, **facts))

    _name(through, method)
    return through


def stream_door(
    method: Callable[Concatenate[Owner, Facts], AsyncGenerator[Event]],
) -> Callable[Concatenate[Owner, Facts], Iterator[Event]]:
    """Make a synchronous iterator of an async generator method; closing it cancels the run."""

    def through(owner: Owner, /, *args: Facts.args, **facts: Facts.kwargs) -> Iterator[Event]:
        events = method(owner, *args, **facts)
        return events_of(lambda: events)

    _name(through, method)
    shown = signature(method).replace(return_annotation="Iterator[Event]")
    vars(through)["__signature__"] = shown
    return through


async def told(
    make: Callable[[Listener], Coroutine[object, object, Run]],
) -> AsyncGenerator[Event]:
    """The events of a run as they happen; closing the generator cancels the run."""
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    run = asyncio.create_task(make(events.put_nowait), name="teamgraph run")
    run.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        run.result()
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


def events_of(make: Callable[[], AsyncGenerator[Event]]) -> Iterator[Event]:
    """The same events for a script; the run goes on in a thread while the script handles each."""
    events: SimpleQueue[Event | None] = SimpleQueue()

    async def pump() -> None:
        try:
            async with aclosing(make()) as stream:
                async for event in stream:
                    events.put(event)
        finally:
            events.put(None)

    elsewhere = _Elsewhere(pump())
    try:
        elsewhere.begin()
        while (event := events.get()) is not None:
            yield event
        elsewhere.ended.wait()
    finally:
        elsewhere.end()
    elsewhere.task.result()


def _here(make: Callable[[], Coroutine[object, object, Value]]) -> Value:
    values: list[Value] = []

    async def work() -> None:
        # `asyncio.run` has Python spell its task, result and all: every word of a run, twice.
        values.append(await make())

    asyncio.run(work())
    return values[0]


def _name(through: Callable[..., object], method: Callable[..., object]) -> None:
    """Show a door under its plain name; what the method says of itself holds for both."""
    update_wrapper(through, method)
    through.__name__ = method.__name__.removeprefix("a")
    place, dot, _ = method.__qualname__.rpartition(".")
    through.__qualname__ = f"{place}{dot}{through.__name__}"


class _Elsewhere(Generic[Value]):
    """A coroutine in a loop and a thread of its own, with the context variables of the caller."""

    def __init__(self, work: Coroutine[object, object, Value]) -> None:
        self._loop = asyncio.new_event_loop()
        self._work = work
        context = copy_context()
        self.task: asyncio.Task[Value] = self._loop.create_task(work, context=context)
        self._thread = Thread(target=self._run, name="teamgraph", daemon=True)
        self.ended = ThreadEvent()

    def begin(self) -> None:
        """Start the thread.

        Not where the object is made: Ctrl-C may come while the thread starts, and then somebody
        has to end what it has begun. Raises `RuntimeError` where the system has no thread left, or
        the interpreter is about to end.
        """
        try:
            self._thread.start()
        except RuntimeError:
            self._work.close()
            self._loop.close()
            self.ended.set()
            raise

    def end(self) -> None:
        """Cancel what is not done yet, and wait until all of it has ended."""
        with suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self.task.cancel)
        self.ended.wait()
        if self._thread.ident is not None:  # or there was no thread to be had
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(asyncio.wait((self.task,)))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()
            self.ended.set()


Item = TypeVar("Item", covariant=True)  # noqa: PLC0105  `Item_co` says no more
PAGE = 100


class Read(Protocol[Item]):
    """Reads a part of a list; nothing where it is at its end."""

    async def __call__(self, *, limit: int, offset: int) -> Sequence[Item]:
        """At most `limit` items, after the first `offset`."""
        ...


async def every(read: Read[Item]) -> AsyncIterator[Item]:
    """All items of the list; a page is read when it is come to."""
    offset = 0
    while page := await read(limit=PAGE, offset=offset):
        for item in page:
            yield item
        offset += len(page)
