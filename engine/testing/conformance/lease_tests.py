"""Conformance tests: leases, the queue for a session, and forks."""

from __future__ import annotations

import asyncio
import threading
from typing import cast

import pytest

from ...errors import Conflict, InputError, NotFound, SessionBusy
from ...records import Change, Record, Turn
from ...session.store import Cancels, Policy
from ...stores.leases import WATCHER
from .store_tests import KEY, NO_CHANGE, StoreOpener, StoreTests, async_test, done, run_turn


class LeaseTests(StoreTests):
    """A session is leased to one run at a time; without a lease nothing is written."""

    @async_test
    async def test_an_interrupted_run_is_resumed_with_its_records(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        lease = await store.begin(KEY, Turn("r1", "x"))
        await store.put(lease, [Record("a", "done", output="stored")])
        failed = Turn("r1", "x", status="failed", error="oh")
        await store.finish(lease, failed, NO_CHANGE)
        again = await store.begin(KEY, failed)
        found = await store.run(KEY, "r1")
        assert found is not None
        assert (found.status, found.records["a"].output) == ("running", "stored")
        turn = await store.finish(again, done("r1", "x"), NO_CHANGE)
        assert turn.number == 1
        assert len(await store.runs(KEY)) == 1
        with pytest.raises(InputError, match="r1"):
            await store.begin(KEY, Turn("r1", "x"))
        free = await store.begin(KEY, Turn("r2", "x"), policy="reject")
        await store.release(free)

    @async_test
    async def test_a_released_run_is_still_running(self, stores: StoreOpener) -> None:
        store = stores.open()
        await store.release(await store.begin(KEY, Turn("r1", "x")))
        other = stores.open()
        assert [turn.status for turn in await other.runs(KEY)] == ["running"]
        lease = await other.begin(KEY, Turn("r1", "x"), policy="reject")
        assert (await other.finish(lease, done("r1", "x"), NO_CHANGE)).number == 1

    @async_test
    async def test_a_lease_that_has_ended_writes_nothing_more(self, stores: StoreOpener) -> None:
        store = stores.open()
        lease = await store.begin(KEY, Turn("r1", "x"))
        await store.release(lease)
        await store.release(lease)
        newer = await store.begin(KEY, Turn("r1", "x"))
        with pytest.raises(Conflict, match="r1"):
            await store.put(lease, [Record("a", "done")])
        with pytest.raises(Conflict, match="r1"):
            await store.finish(lease, done("r1", "x"), NO_CHANGE)
        await store.finish(newer, done("r1", "x"), NO_CHANGE)
        with pytest.raises(Conflict):
            await store.finish(newer, done("r1", "x"), NO_CHANGE)
        found = await store.run(KEY, "r1")
        assert found is not None
        assert (found.turn.number, found.records) == (1, {})

    @async_test
    async def test_a_busy_session_is_refused_at_once_waited_for_or_forked(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        first = await store.begin(KEY, Turn("r1", "x"))
        with pytest.raises(SessionBusy, match="trip"):
            await store.begin(KEY, Turn("r2", "x"), policy="reject")
        with pytest.raises(SessionBusy, match="r1"):
            await store.begin(KEY, Turn("r1", "x"), policy="fork")
        fork = await store.begin(KEY, Turn("r3", "x"), policy="fork")
        waiting = asyncio.create_task(store.begin(KEY, Turn("r4", "x")))
        turn = await store.finish(fork, done("r3", "x"), Change({"fork": 1}))
        assert turn.number == 1
        assert not waiting.done()
        turn = await store.finish(first, done("r1", "x"), Change({"first": 1}))
        assert turn.number == 2
        third = await waiting
        assert third.head.state == {"fork": 1, "first": 1}
        await store.release(third)

    @pytest.mark.parametrize("policy", ["serialize", "fork"])
    @pytest.mark.parametrize("what", ["run", "session", "user", "nothing"])
    @async_test
    async def test_a_run_that_must_be_stored_is_never_begun_after_its_deletion(
        self, stores: StoreOpener, what: str, policy: Policy
    ) -> None:
        store, other = stores.open(), stores.open()
        await store.release(await store.begin(KEY, Turn("r1", "words")))
        first = await store.begin(KEY, Turn("r2", "x"))
        begin = other.begin(KEY, Turn("r1", "words"), policy=policy, is_stored=True)
        if policy == "serialize":
            waiting = asyncio.create_task(begin)
            await asyncio.sleep(0)
        match what:
            case "run":
                assert await store.delete_run(KEY, "r1")
            case "session":
                assert await store.delete_session(KEY)
            case "user":
                assert await store.delete_user(KEY.user_id)
            case _:
                pass
        if policy == "fork":
            waiting = asyncio.create_task(begin)
        await store.release(first)
        if what == "nothing":
            await other.release(await waiting)
            return
        with pytest.raises(NotFound, match="r1"):
            await waiting
        assert await stores.open().run(KEY, "r1") is None
        sessions = await stores.open().sessions(KEY.user_id)
        assert [info.key for info in sessions] == ([KEY] if what == "run" else [])
        free = await other.begin(KEY, Turn("r3", "x"), policy="reject")
        await other.release(free)

    @pytest.mark.parametrize("first", ["serialize", "fork"])
    @pytest.mark.parametrize("second", ["serialize", "fork"])
    @pytest.mark.parametrize("is_resumed", [True, False])
    @async_test
    async def test_one_run_never_has_two_leases(
        self, stores: StoreOpener, first: Policy, second: Policy, is_resumed: bool
    ) -> None:
        one, two = stores.open(), stores.open()
        if is_resumed:
            await one.release(await one.begin(KEY, Turn("r1", "x")))
        lease = await one.begin(KEY, Turn("r1", "x"), policy=first, is_stored=is_resumed)
        for store in (one, two):
            policy: Policy = "reject" if (first, second) == ("serialize", "serialize") else second
            with pytest.raises(SessionBusy):
                await store.begin(KEY, Turn("r1", "x"), policy=policy, is_stored=True)
        other = await two.begin(KEY, Turn("r2", "x"), policy="fork")
        await two.release(other)
        await one.put(lease, [Record("a", "done")])
        await one.release(lease)
        again = await two.begin(KEY, Turn("r1", "x"), policy=second, is_stored=True)
        await two.release(again)
        assert await two.delete_session(KEY)

    @async_test
    async def test_a_run_that_must_be_new_is_not_begun_twice(self, stores: StoreOpener) -> None:
        store = stores.open()
        lease = await store.begin(KEY, Turn("r1", "x"), is_stored=False)
        await store.put(lease, [Record("a", "done")])
        await store.finish(lease, Turn("r1", "x", status="failed"), NO_CHANGE)
        with pytest.raises(InputError, match=r"r1.*exists already \(failed\); resume it"):
            await store.begin(KEY, Turn("r1", "other"), is_stored=False)
        stored = await store.run(KEY, "r1")
        assert stored is not None
        assert (stored.input, stored.status, list(stored.records)) == ("x", "failed", ["a"])

    @async_test
    async def test_leases_are_granted_in_the_order_of_requests(self, stores: StoreOpener) -> None:
        store = stores.open()
        first = await store.begin(KEY, Turn("r0", "x"))
        order: list[str] = []

        async def wait(run_id: str) -> None:
            lease = await store.begin(KEY, Turn(run_id, "x"))
            order.append(run_id)
            await store.finish(lease, done(run_id, "x"), NO_CHANGE)

        tasks = [asyncio.create_task(wait(f"r{number}")) for number in range(1, 8)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        await asyncio.sleep(0)
        await store.release(first)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == ["r1", "r2", "r4", "r5", "r6", "r7"]
        assert [turn.run_id for turn in await store.turns(KEY)] == order

    @async_test
    async def test_two_openers_serialize_turns_of_one_session(self, stores: StoreOpener) -> None:
        one, two = stores.open(), stores.open()
        lease = await one.begin(KEY, Turn("r1", "x"))
        with pytest.raises(SessionBusy, match="trip"):
            await two.begin(KEY, Turn("r2", "x"), policy="reject")
        waiting = asyncio.create_task(two.begin(KEY, Turn("r2", "x")))
        await one.finish(lease, done("r1", "x"), Change({"said": "r1"}))
        second = await waiting
        assert second.head.state == {"said": "r1"}
        turn = await two.finish(second, done("r2", "x"), Change({"said": "r2"}))
        assert turn.number == 2
        head = await one.head(KEY)
        assert head is not None
        assert head.state == {"said": "r2"}

    def test_threads_with_their_own_loops_lose_nothing(self, stores: StoreOpener) -> None:
        store = stores.open()

        async def work(name: str) -> None:
            for number in range(6):
                run_id = f"{name}-{number}"
                records = [Record("n", "done", output=run_id)]
                change = Change({run_id: number})
                await run_turn(store, KEY, done(run_id), records=records, change=change)

        threads = [threading.Thread(target=asyncio.run, args=(work(name),)) for name in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        async def check() -> None:
            assert [turn.number for turn in await store.turns(KEY)] == list(range(1, 49))
            head = await stores.open().head(KEY)
            assert head is not None
            assert len(head.state) == 48
            await stores.close()

        asyncio.run(check())

    @pytest.mark.parametrize(
        "policies", [("fork", "fork"), ("serialize", "fork"), ("fork", "reject")]
    )
    @async_test
    async def test_a_run_is_leased_once_by_all_openers(
        self, stores: StoreOpener, policies: tuple[Policy, Policy]
    ) -> None:
        one, two = stores.open(), stores.open()
        first, second = policies
        lease = await one.begin(KEY, Turn("r1", "x"), policy=first)
        with pytest.raises(SessionBusy, match="r1"):
            await two.begin(KEY, Turn("r1", "x"), policy=second, is_stored=True)
        other = await two.begin(KEY, Turn("r2", "x"), policy="fork")
        await one.release(lease)
        lease = await two.begin(KEY, Turn("r1", "x"), policy=second, is_stored=True)
        for one_of_two in (other, lease):
            done_turn = done(one_of_two.run_id, "x")
            await two.finish(one_of_two, done_turn, NO_CHANGE)
        assert [turn.run_id for turn in await one.turns(KEY)] == ["r2", "r1"]

    @async_test
    async def test_a_run_is_cancelled_by_another_opener(self, stores: StoreOpener) -> None:
        here, there = stores.open(), stores.open()
        if not hasattr(there, "cancel"):
            pytest.skip("optional: the store does not implement `cancel` (`Cancels`)")
        canceller, begun = cast("Cancels", there), asyncio.Event()

        async def work() -> None:
            lease = await here.begin(KEY, Turn("r1", "x"))
            WATCHER.add(here, lease)
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                WATCHER.remove(lease)
                await here.release(lease)

        await canceller.cancel(KEY, "r1")  # nothing is there yet
        working = asyncio.create_task(work())
        await begun.wait()
        other = await here.begin(KEY, Turn("r2", "x"), policy="fork")
        await canceller.cancel(KEY, "none")
        await canceller.cancel(KEY, "r1")
        with pytest.raises(asyncio.CancelledError):
            await working
        assert (await here.finish(other, done("r2", "x"), NO_CHANGE)).number == 1
        await there.release(await there.begin(KEY, Turn("r1", "x"), is_stored=True))
