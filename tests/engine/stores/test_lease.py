"""The queue for a session's turn."""

from __future__ import annotations

import asyncio
import threading

import pytest

from teamgraph import SessionKey
from teamgraph.engine.stores.leases import SessionQueue
from teamgraph.errors import SessionBusy

KEY = SessionKey(None, "s")


def test_a_waiter_that_is_cancelled_with_the_turn_in_its_hands_passes_it_on() -> None:
    async def test() -> None:
        queue = SessionQueue()
        await queue.acquire(KEY, "serialize")
        waiting = [asyncio.create_task(queue.acquire(KEY, "serialize")) for _ in range(3)]
        await asyncio.sleep(0)
        queue.release(KEY)
        waiting[0].cancel()
        await waiting[1]
        assert waiting[0].cancelled()
        assert not waiting[2].done()
        queue.release(KEY)
        await waiting[2]
        queue.release(KEY)
        await queue.acquire(KEY, "reject")
        with pytest.raises(SessionBusy):
            await queue.acquire(KEY, "reject")

    asyncio.run(test())


def test_a_waiter_that_is_woken_after_it_was_cancelled_does_no_harm() -> None:
    async def test() -> None:
        queue = SessionQueue()
        await queue.acquire(KEY, "serialize")
        waiting = asyncio.create_task(queue.acquire(KEY, "serialize"))
        await asyncio.sleep(0)
        waiting.cancel()
        queue.release(KEY)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await queue.acquire(KEY, "reject")

    asyncio.run(test())


def test_a_waiter_of_a_closed_loop_is_skipped() -> None:
    queue = SessionQueue()
    asyncio.run(queue.acquire(KEY, "serialize"))
    dead = asyncio.new_event_loop()
    dead.set_exception_handler(lambda *_: None)
    waiting = dead.create_task(queue.acquire(KEY, "serialize"))
    dead.run_until_complete(asyncio.sleep(0))
    dead.close()

    async def test() -> None:
        alive = asyncio.create_task(queue.acquire(KEY, "serialize"))
        await asyncio.sleep(0)
        queue.release(KEY)
        await alive
        coroutine = waiting.get_coro()
        assert coroutine is not None
        coroutine.close()
        with pytest.raises(SessionBusy):
            await queue.acquire(KEY, "reject")

    asyncio.run(test())


def test_the_turn_passes_between_loops_in_different_threads() -> None:
    queue = SessionQueue()
    holders: list[int] = []

    async def work(name: int) -> None:
        for _ in range(50):
            await queue.acquire(KEY, "serialize")
            holders.append(name)
            assert len(holders) % 2 == 1
            await asyncio.sleep(0)
            holders.append(name)
            queue.release(KEY)

    threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(holders) == 400
    assert holders[::2] == holders[1::2]
