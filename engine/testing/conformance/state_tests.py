"""Conformance tests: the state changed outside of a turn, for stores that can do it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ...messages import JSON
from ...records import Change, SessionKey, Turn
from ...session.store import SetsState, Store
from .store_tests import KEY, StoreOpener, StoreTests, async_test, done, run_turn


def _open(stores: StoreOpener) -> tuple[Store, SetsState]:
    store = stores.open()
    if not isinstance(store, SetsState):
        pytest.skip("optional: the store does not implement `set_state` (`SetsState`)")
    return store, store


async def _turn(store: Store, run_id: str, state: dict[str, JSON]) -> None:
    """A turn whose caller sets some state."""
    turn = replace(done(run_id), given_state=state)
    await run_turn(store, KEY, turn, change=Change(state))


async def _state(store: Store) -> object:
    head = await store.head(KEY)
    assert head is not None
    return head.state


class StateTests(StoreTests):
    """Keys are set and removed in one session at once, and no deletion of a run takes it back."""

    @async_test
    async def test_state_is_set_and_removed_outside_of_a_turn(self, stores: StoreOpener) -> None:
        store, setter = _open(stores)
        assert not await setter.set_state(KEY, {"a": 1}, remove=["b"])
        assert await store.head(KEY) is None
        other = SessionKey("ben", KEY.session_id)
        for key in (KEY, other):
            change = Change({"a": 1, "b": 1}, {"writer": {"n": 1}})
            await run_turn(store, key, done("r1"), change=change)
        before = await store.head(other)
        lease = await store.begin(KEY, Turn("r2", "x"))
        assert await setter.set_state(KEY, {})
        assert await setter.set_state(KEY, {"c": {"é\0": [None]}, "d": 2}, remove=["b", "never"])
        expected = {"a": 1, "c": {"é\0": [None]}, "d": 2}
        assert lease.head.state == {"a": 1, "b": 1}
        opened = stores.open()
        assert await _state(opened) == expected
        await store.finish(lease, done("r2"), Change({"d": 3}))
        head = await opened.head(KEY)
        assert head is not None
        assert (head.turns, head.state, head.node_states) == (
            2,
            {**expected, "d": 3},
            {"writer": {"n": 1}},
        )
        assert set(head.writers.values()) <= {"r1", "r2"}
        assert await opened.head(other) == before

    @async_test
    async def test_deleting_a_run_takes_back_nothing_that_was_set_outside_of_turns(
        self, stores: StoreOpener
    ) -> None:
        store, setter = _open(stores)
        await _turn(store, "r1", {"name": "Ann", "city": "Rome", "mood": "calm"})
        await _turn(store, "r2", {"name": "Bea", "city": "Bonn"})
        await setter.set_state(KEY, {"name": "Eve", "tone": "dry"}, remove=["city"])
        await _turn(store, "r3", {"name": "Ida", "city": "Oslo", "tone": "warm", "mood": "gay"})
        assert await store.delete_run(KEY, "r2")
        last = {"name": "Ida", "city": "Oslo", "tone": "warm", "mood": "gay"}
        assert await _state(stores.open()) == last
        assert await store.delete_run(KEY, "r3")
        assert await _state(stores.open()) == {"name": "Eve", "tone": "dry", "mood": "calm"}
        assert await store.delete_run(KEY, "r1")
        assert await _state(stores.open()) == {"name": "Eve", "tone": "dry"}
