"""A session is given back whatever ends the event loop, the task, the generator or the thread."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Callable

import pytest

from teamgraph import Chunk, Event, Reply, Request, Runner, ScriptedModel, SessionKey, Store
from teamgraph.engine.stores.leases import LeaseWatcher
from teamgraph.errors import InputError
from teamgraph.events import Token
from tests.teams import alone, wait_for


class Endless:
    """A model that says a word and never ends."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        self.asked.set()
        yield Chunk("Once ")
        await asyncio.Event().wait()
        yield Reply("never")


def quiet_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending!"
    return loop


async def read_token(stream: AsyncGenerator[Event]) -> None:
    async for event in stream:
        if isinstance(event, Token):
            return


def close_the_loop(runner: Runner) -> object:
    loop, stream = quiet_loop(), runner.astream("hi", session_id="s", run_id="r")
    loop.run_until_complete(read_token(stream))
    loop.close()
    return stream


def close_the_loop_under_a_task(runner: Runner) -> object:
    loop, model = quiet_loop(), Endless()
    runner = Runner(alone(), model=model, store=runner.store)
    task = loop.create_task(runner.arun("hi", session_id="s", run_id="r"))
    loop.run_until_complete(model.asked.wait())
    loop.close()
    return task


def drop_the_loop(runner: Runner) -> object:
    loop, stream = quiet_loop(), runner.astream("hi", session_id="s", run_id="r")
    loop.run_until_complete(read_token(stream))
    return None


def end_the_thread(runner: Runner) -> object:
    def work() -> None:
        asyncio.set_event_loop(quiet_loop())
        stream = runner.astream("hi", session_id="s", run_id="r")
        asyncio.get_event_loop().run_until_complete(read_token(stream))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return None


def stop_the_loop_for_good(runner: Runner) -> object:
    loop, stream = quiet_loop(), runner.astream("hi", session_id="s", run_id="r")
    loop.run_until_complete(read_token(stream))
    return loop, stream


def abandon_the_generator(runner: Runner) -> object:
    async def server() -> None:
        await read_token(runner.astream("hi", session_id="s", run_id="r"))
        gc.collect()
        again = Runner(alone(), model=ScriptedModel("x"), store=runner.store)
        await again.arun("again", session_id="s")

    wait_for(server())
    return None


def cancel_the_task(runner: Runner) -> object:
    async def server() -> None:
        task = asyncio.create_task(runner.arun("hi", session_id="s", run_id="r"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    wait_for(server())
    return None


ENDS = [
    close_the_loop,
    close_the_loop_under_a_task,
    drop_the_loop,
    end_the_thread,
    stop_the_loop_for_good,
    abandon_the_generator,
    cancel_the_task,
]


@pytest.mark.filterwarnings("ignore")  # Python complains of tasks and coroutines that are dropped
@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_the_run_gives_the_session_back(
    store: Store, end: Callable[[Runner], object]
) -> None:
    left = end(Runner(alone(), model=Endless(), store=store))
    run = Runner(alone(), model=ScriptedModel("here"), store=store).run("again", session_id="s")
    assert run.answer == "here"
    kept = wait_for(store.run(SessionKey(None, "s"), "r"))
    if kept is not None and kept.status != "cancelled":
        resumed = Runner(alone(), model=ScriptedModel("late"), store=store).resume("r")
        assert resumed.answer == "late"
    del left


class Releases:
    """A store that says what is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    async def release(self, lease: object) -> None:
        self.released.set()


def test_a_loop_that_stands_still_for_a_moment_keeps_its_lease() -> None:
    watcher, store, lease = LeaseWatcher(poll=0.001, patience=3600), Releases(), object()
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[None]:
        async def run() -> None:
            watcher.add(store, lease)  # type: ignore[arg-type]  any object will do
            await asyncio.Event().wait()

        task = asyncio.create_task(run())
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(begin())
    assert not store.released.wait(0.1)
    loop.run_until_complete(asyncio.sleep(0))
    assert not store.released.is_set()
    watcher.remove(lease)  # type: ignore[arg-type]
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


def test_a_lease_is_released_once_its_loop_is_closed() -> None:
    watcher, store, lease = LeaseWatcher(poll=0.001, patience=3600), Releases(), object()

    async def run() -> None:
        watcher.add(store, lease)  # type: ignore[arg-type]  any object will do

    asyncio.run(run())
    assert store.released.wait(60)


def test_without_an_asyncio_loop_nothing_is_taken(store: Store) -> None:
    runner = Runner(alone(), model=ScriptedModel("x"), store=store)
    run, stream = runner.arun("hi", session_id="s"), runner.astream("hi", session_id="s")
    with pytest.raises(InputError, match="no asyncio event loop is running here; call the sync"):
        run.send(None)
    with pytest.raises(InputError, match=r"trio\.to_thread\.run_sync\(runner\.run, message\)"):
        stream.asend(None).send(None)
    assert runner.run("hi", session_id="s").turn.number == 1
