"""Conformance tests: users are isolated, whatever their ids are."""

from __future__ import annotations

import pytest

from ...errors import InputError
from ...records import Change, SessionKey, Turn
from .store_tests import StoreOpener, StoreTests, async_test, done, run_turn

USERS = (None, "None", "null", "../x", "Ann", "ann", "é" * 5_000, " ", "a\0b", "a\nb", "*", "%")
SESSIONS = ("s", "None", "../../s", "S", "x" * 10_000, "s\0", "s\n", "s/t", "s%")


class IsolationTests(StoreTests):
    """Each user is a namespace of its own, and so is None."""

    @async_test
    async def test_users_see_only_their_own_sessions(self, stores: StoreOpener) -> None:
        store, other = stores.open(), stores.open()
        keys = [SessionKey(user, session) for user in USERS for session in SESSIONS]
        for number, key in enumerate(keys):
            turn = done(f"r{number}", f"secret {number}")
            await run_turn(store, key, turn, change=Change({"n": number}))
        for number, key in enumerate(keys):
            head = await other.head(key)
            assert head is not None
            assert head.state == {"n": number}
            assert await other.run(key, f"r{(number + 1) % len(keys)}") is None
            assert await other.find(key.user_id, f"r{number}") == key
        for user in USERS:
            mine = {key for key in keys if key.user_id == user}
            assert {info.key for info in await other.sessions(user, limit=99)} == mine
            found = await other.search(user, "SECRET", last=99, limit=99)
            assert {hit.key for hit in found} == mine
            assert len(found) == len(mine)
        listed = await other.users(limit=99)
        assert sorted(listed, key=repr) == sorted(USERS, key=repr)
        pages = [await store.users(limit=5, offset=offset) for offset in range(0, len(USERS), 5)]
        assert [user for page in pages for user in page] == listed
        assert await store.users(offset=len(USERS)) == []

    @async_test
    async def test_a_user_is_deleted_and_no_other(self, stores: StoreOpener) -> None:
        store, other = stores.open(), stores.open()
        keys = [SessionKey(user, f"s{number}") for user in USERS for number in range(2)]
        for number, key in enumerate(keys):
            await run_turn(store, key, done(f"r{number}"))
        for position, user in enumerate(USERS):
            assert await other.delete_user(user) == 2
            assert await other.delete_user(user) == 0
            left = [key for key in keys if await store.head(key) is not None]
            assert left == keys[2 * position + 2 :]
            assert set(await store.users(limit=99)) == set(USERS[position + 1 :])

    @async_test
    async def test_deleting_or_naming_affects_no_other_user(self, stores: StoreOpener) -> None:
        store = stores.open()
        mine, yours = SessionKey("ann", "s"), SessionKey("bob", "s")
        for key in (mine, yours):
            await run_turn(store, key, done("r1"))
        assert await store.rename(mine, "Mine")
        assert await store.delete_run(mine, "r1")
        head = await store.head(yours)
        assert head is not None
        assert head.name is None
        assert [turn.run_id for turn in await store.turns(yours)] == ["r1"]
        assert await store.delete_session(mine)
        assert await store.head(yours) == head

    @pytest.mark.parametrize("key", [SessionKey("", "s"), SessionKey("u", "")], ids=str)
    @async_test
    async def test_empty_ids_are_refused(self, stores: StoreOpener, key: SessionKey) -> None:
        store = stores.open()
        with pytest.raises(InputError, match="empty"):
            await store.begin(key, Turn("r", "x"))
        with pytest.raises(InputError, match="empty"):
            await store.head(key)
        with pytest.raises(InputError, match="empty"):
            await store.delete_session(key)
        with pytest.raises(InputError, match="user_id"):
            await store.sessions("")
        with pytest.raises(InputError, match="user_id"):
            await store.search("", "x", last=1)
        with pytest.raises(InputError, match="user_id"):
            await store.delete_user("")
