"""Conformance tests: runs that wait for a person."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ...errors import SessionBusy
from ...records import Question, Record, Response, SessionKey, Turn
from ...session.store import VERSION
from .store_tests import KEY, NO_CHANGE, StoreOpener, StoreTests, async_test, done, run_turn

QUESTION = Question(
    "approve",
    "Shall we?",
    options=("yes", "no"),
    schema={"type": "string"},
    assign_to="boss",
    asked=1.5,
    expires=9.25,
)


def waits(run_id: str = "r1", until: float = 0.0) -> Turn:
    """A turn that waits for an answer to one question."""
    return Turn(run_id, "pay?", status="waiting", waiting=("approve",), waiting_until=until)


class WaitingTests(StoreTests):
    """A run that waits holds no lease, and its session is free only for those who say so."""

    @async_test
    async def test_the_store_has_the_newest_version_of_the_protocol(
        self, stores: StoreOpener
    ) -> None:
        assert stores.open().version == VERSION

    @async_test
    async def test_questions_and_responses_are_stored(self, stores: StoreOpener) -> None:
        store = stores.open()
        confirm = Question("desk/pay[2]", "Pay?", tool="pay", arguments="{}", digest="d")
        record = Record("approve", "waiting", questions=(QUESTION, confirm), calls=2)
        await run_turn(store, KEY, waits(), records=[record])
        found = await stores.open().run(KEY, "r1")
        assert found is not None
        assert (found.turn, found.records) == (waits(), {"approve": record})
        response = Response({"approve": True}, "ann", 2.5)
        answered = replace(record, questions=(QUESTION, replace(confirm, response=response)))
        lease = await store.begin(KEY, Turn("r1", "pay?"), is_stored=True)
        await store.put(lease, [answered])
        await store.finish(lease, done("r1", "pay?"), NO_CHANGE)
        found = await stores.open().run(KEY, "r1")
        assert found is not None
        assert found.records == {"approve": answered}
        assert await store.waiting(KEY.user_id) == []

    @async_test
    async def test_while_a_run_waits_others_run_only_where_they_may(
        self, stores: StoreOpener
    ) -> None:
        store, other = stores.open(), stores.open()
        await run_turn(store, KEY, waits())
        for policy in ("serialize", "reject"):
            with pytest.raises(SessionBusy, match=r"r1.*'approve'"):
                await other.begin(KEY, Turn("r2", "x"), policy=policy)
        assert [turn.run_id for turn in await store.runs(KEY)] == ["r1"]
        fork = await other.begin(KEY, Turn("r2", "x"), policy="fork")
        assert (await other.finish(fork, done("r2", "x"), NO_CHANGE)).number == 1
        meanwhile = await other.begin(KEY, Turn("r3", "x"), while_waiting="allow")
        assert (await other.finish(meanwhile, waits("r3"), NO_CHANGE)).number == 0
        lease = await other.begin(KEY, Turn("r1", "pay?"), policy="reject", is_stored=True)
        assert (await other.finish(lease, done("r1", "pay?"), NO_CHANGE)).number == 2
        with pytest.raises(SessionBusy, match="r3"):
            await store.begin(KEY, Turn("r4", "x"))

    @async_test
    async def test_a_run_whose_questions_have_expired_blocks_nobody(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        await run_turn(store, KEY, waits(until=1.0))
        free = await store.begin(KEY, Turn("r2", "x"), policy="reject")
        await store.release(free)
        assert [hit.turn.run_id for hit in await store.waiting(KEY.user_id)] == ["r1"]

    @async_test
    async def test_waiting_runs_are_listed_for_their_user_newest_first(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        keys = [SessionKey("ann", f"s{number}") for number in range(4)]
        for number, key in enumerate(keys):
            await run_turn(store, key, waits(f"r{number}"))
        await run_turn(store, SessionKey("ben", "s0"), waits("other"))
        await run_turn(store, SessionKey("ann", "free"), done("free"))
        lease = await store.begin(keys[1], Turn("r1", "pay?"), is_stored=True)
        await store.finish(lease, done("r1"), NO_CHANGE)
        assert await store.delete_session(keys[2])
        other = stores.open()
        assert await other.waiting("ann") == [(keys[3], waits("r3")), (keys[0], waits("r0"))]
        assert await other.waiting("ann", limit=1, offset=1) == [(keys[0], waits("r0"))]
        assert await other.waiting("ann", limit=1) == [(keys[3], waits("r3"))]
        assert await other.waiting(None) == []
        assert await other.delete_run(keys[0], "r0")
        assert [hit.key for hit in await store.waiting("ann")] == [keys[3]]
