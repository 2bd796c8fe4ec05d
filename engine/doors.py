"""How a script gets at something that is async: the one place where loops and threads are made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from .events import Event
from .turning import Turning

Value = TypeVar("Value")


def result_of(make: Callable[[], Coroutine[object, object, Value]]) -> Value:
    """What the coroutine gives; in a thread of its own where a loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    with ThreadPoolExecutor(1, thread_name_prefix="teamgraph") as pool:
        return pool.submit(lambda: asyncio.run(make())).result()


async def told(turning: Turning) -> AsyncGenerator[Event]:
    """The events of a run as they happen; closing the generator cancels the run."""
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    run = asyncio.create_task(turning.run(events.put_nowait), name="teamgraph run")
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
    events: SimpleQueue[Event | BaseException | None] = SimpleQueue()
    loop = asyncio.new_event_loop()

    async def pump() -> None:
        try:
            async with aclosing(make()) as stream:
                async for event in stream:
                    events.put(event)
        except BaseException as error:
            events.put(error)
            raise
        events.put(None)

    task = loop.create_task(pump())
    thread = Thread(target=_finish, args=(loop, task), name="teamgraph stream", daemon=True)
    thread.start()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


def _finish(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
