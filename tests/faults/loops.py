"""An event loop is closed or dropped with a run in it; the session is free again within seconds."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from teamgraph import Runner, Store
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import StoreError
from teamgraph.events import NodeStarted

from .judge import Counts, Open, at_peace
from .said import KEY
from .team import Repeating, team

IDS = {"user_id": KEY.user_id, "session_id": KEY.session_id}
SECONDS = 8.0
"""How soon the session must be free; those who wait for it wait no longer."""


def loops(open_store: Open, trials: int, seed: int) -> Counts:
    """Each way to leave a run behind, and then a turn of another store."""
    del seed
    counts = Counts()
    for trial in range(trials):
        name = list(WAYS)[trial % len(WAYS)]
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            store = open_store(place, DISK)
            WAYS[name](store)
            at_peace(lambda p=place, n=name: _take_turn(open_store(p, DISK), n, counts))
            at_peace(store.close)
            counts.trials += 1
    return counts


async def _take_turn(store: Store, name: str, counts: Counts) -> None:
    began = monotonic()
    try:
        async with asyncio.timeout(SECONDS):
            await Runner(team(), store=store, model=Repeating()).arun("again", **IDS)
        counts.acknowledged += 1
    except TimeoutError:
        counts.note(f"{name}: busy for {monotonic() - began:.0f} s", "lost")
    except StoreError as error:
        counts.note(f"{name}: {error}", "unreadable")
    await store.close()


async def _begin(store: Store) -> object:
    """Begin a run and leave it in its midst."""
    events = Runner(team(), store=store, model=Repeating()).astream("one", **IDS)
    async for event in events:
        if isinstance(event, NodeStarted) and event.node == "router":
            return events
    return None


def _quiet_loop() -> asyncio.AbstractEventLoop:
    """A loop that says nothing of destroyed tasks: that they are is the point."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: None)
    return loop


def _closed(store: Store) -> None:
    loop = _quiet_loop()
    kept = loop.run_until_complete(_begin(store))
    loop.close()
    del kept


def _dropped(store: Store) -> None:
    loop = _quiet_loop()
    loop.run_until_complete(_begin(store))
    del loop
    gc.collect()


def _ended(store: Store) -> None:
    """A thread ends with its loop, and the reader of the stream with it."""
    thread = threading.Thread(target=_closed, args=(store,))
    thread.start()
    thread.join()


def _raised(store: Store) -> None:
    """The main coroutine of a loop fails, and nobody waits for the rest."""
    loop = _quiet_loop()

    async def fail() -> None:
        await _begin(store)
        raise ZeroDivisionError

    try:
        loop.run_until_complete(fail())
    except ZeroDivisionError:
        loop.close()


WAYS: dict[str, Callable[[Store], None]] = {
    "closed": _closed,
    "dropped": _dropped,
    "ended with its thread": _ended,
    "closed after an error": _raised,
}
