"""Conformance tests: sessions, their turns, lists and searches, and prompt sources."""

from __future__ import annotations

from typing import cast

import pytest
from msgspec.structs import replace

from ...errors import InputError
from ...messages import JSON
from ...records import Change, Head, Record, RunStatus, SessionKey, Summary, Turn
from ...session.store import FinishedRun
from .store_tests import KEY, StoreOpener, StoreTests, async_test, done, run_turn

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


COVERED = Summary("s", covers=4)


class SessionTests(StoreTests):
    """A session is changed by done turns and by nothing else."""

    @async_test
    async def test_a_session_that_was_never_begun_does_not_exist(self, stores: StoreOpener) -> None:
        store = stores.open()
        assert await store.head(KEY) is None
        assert await store.run(KEY, "r1") is None
        assert await store.turns(KEY) == []
        assert await store.runs(KEY) == []
        assert await store.summary(KEY, until=9) is None
        assert await store.sessions("ann") == []
        assert await store.search("ann", "", last=5) == []
        assert await store.find("ann", "r1") is None
        assert await store.prompt("hash") is None
        assert not await store.rename(KEY, "name")
        assert not await store.delete_run(KEY, "r1")
        assert not await store.delete_session(KEY)
        assert await store.delete_user("ann") == 0
        await store.close()
        await store.close()

    @async_test
    async def test_a_done_turn_changes_the_session(self, stores: StoreOpener) -> None:
        store = stores.open()
        summary = Summary("They met.", ("meeting",), covers=1, updated=3.5)
        change = Change({"city": "Rome"}, {"writer": {"seen": 1}}, summary)
        first = await run_turn(store, KEY, done("r1"), change=change)
        assert first.number == 1
        expected = Head(1, 1, {"city": "Rome"}, {"writer": {"seen": 1}}, summary)
        assert await store.head(KEY) == expected
        second = await run_turn(store, KEY, done("r2"), change=Change({"day": 2}))
        assert second.number == 2
        head = await store.head(KEY)
        assert head is not None
        assert head.state == {"city": "Rome", "day": 2}
        assert (head.version, head.turns) == (2, 2)
        lease = await store.begin(KEY, Turn("r3", "x"))
        assert lease.head == head
        await store.release(lease)
        assert [turn.run_id for turn in await stores.open().turns(KEY)] == ["r1", "r2"]

    @pytest.mark.parametrize("status", ["failed", "cancelled", "waiting"])
    @async_test
    async def test_a_run_that_is_not_done_changes_nothing_but_itself(
        self, stores: StoreOpener, status: RunStatus
    ) -> None:
        store = stores.open()
        change = Change({"a": 1}, {"writer": {"b": 1}}, Summary("x", covers=1))
        turn = await run_turn(store, KEY, Turn("r1", "x", status=status, error="no"), change=change)
        assert turn.number == 0
        assert await store.head(KEY) == Head()
        assert await store.turns(KEY) == []
        assert [(run.status, run.error) for run in await store.runs(KEY)] == [(status, "no")]

    @async_test
    async def test_turns_are_the_newest_oldest_first(self, stores: StoreOpener) -> None:
        store = stores.open()
        for number in range(1, 31):
            await run_turn(store, KEY, done(f"r{number}", f"m{number}"))
            await run_turn(store, KEY, Turn(f"f{number}", "x", status="failed"))
        assert [turn.number for turn in await store.turns(KEY)] == list(range(1, 31))
        assert [turn.input for turn in await store.turns(KEY, last=2)] == ["m29", "m30"]
        assert [turn.number for turn in await store.turns(KEY, since=28)] == [29, 30]
        assert [turn.number for turn in await store.turns(KEY, last=1, since=28)] == [30]
        assert await store.turns(KEY, last=0) == []
        assert await store.turns(KEY, since=30) == []
        page = await store.runs(KEY, limit=3, offset=1)
        assert [turn.run_id for turn in page] == ["r30", "f29", "r29"]

    @async_test
    async def test_the_newest_summary_that_covers_no_later_turn_is_found(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        for number, covers in enumerate((1, 3, 2, 3), start=1):
            summary = Summary(f"s{number}", covers=covers)
            await run_turn(store, KEY, done(f"r{number}"), change=Change(summary=summary))
        found = [await store.summary(KEY, until=until) for until in range(5)]
        assert [one and one.text for one in found] == [None, "s1", "s3", "s4", "s4"]
        head = await store.head(KEY)
        assert head is not None
        assert head.summary == Summary("s4", covers=3)

    @async_test
    async def test_sessions_are_listed_by_their_last_activity(self, stores: StoreOpener) -> None:
        store = stores.open()
        keys = [SessionKey("ann", f"s{number}") for number in range(5)]
        for number, key in enumerate(keys):
            turn = done(f"r{number}", f"first of {number}")
            await run_turn(store, key, replace(turn, started=9.0 - number, ended=9.5))
        await run_turn(store, keys[1], replace(done("again", "more"), ended=20.0))
        lease = await store.begin(keys[3], Turn("in progress", "x"))
        await store.rename(keys[0], "a name")
        listed = await stores.open().sessions("ann")
        assert [info.key.session_id for info in listed] == ["s3", "s1", "s4", "s2", "s0"]
        again, oldest = listed[1], listed[4]
        assert (again.turns, again.updated, again.first_input) == (2, 20.0, "first of 1")
        assert (oldest.started, oldest.name) == (9.0, "a name")
        assert await store.sessions("ann", limit=2, offset=1) == listed[1:3]
        await store.release(lease)

    @async_test
    async def test_a_session_is_named_and_unnamed(self, stores: StoreOpener) -> None:
        store = stores.open()
        await run_turn(store, KEY, done("r1"))
        assert await store.rename(KEY, "Trip")
        await run_turn(store, KEY, done("r2"))
        head = await store.head(KEY)
        assert head is not None
        assert (head.name, head.turns) == ("Trip", 2)
        assert await store.rename(KEY, None)
        head = await store.head(KEY)
        assert head is not None
        assert head.name is None

    @async_test
    async def test_a_search_finds_the_turns_of_other_sessions_newest_first(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        for session in ("a", "b", "c"):
            key = SessionKey("ann", session)
            await run_turn(
                store, key, replace(done(f"{session}1", "Where is ROME?"), answer="Italy")
            )
            await run_turn(
                store, key, replace(done(f"{session}2", "Paris?"), answer="rome is nicer")
            )
            await run_turn(store, key, Turn(f"{session}3", "rome", status="failed"))
        found = await store.search("ann", "rome", last=2, exclude="c")
        assert [hit.turn.run_id for hit in found] == ["b2", "b1", "a2", "a1"]
        assert found[0].key == SessionKey("ann", "b")
        assert [hit.turn.run_id for hit in await store.search("ann", "ITALY", last=1)] == ["c1"]
        assert len(await store.search("ann", "", last=9)) == 6
        first = await store.search("ann", "", last=9, limit=3)
        assert [hit.turn.run_id for hit in first] == ["c2", "c1", "b2"]
        assert await store.search("ann", "rome", last=0) == []
        assert await store.search("bob", "", last=9) == []

    @async_test
    async def test_prompt_sources_are_stored_once_for_each_hash(self, stores: StoreOpener) -> None:
        store, other = stores.open(), stores.open()
        sources = {"a.jinja": "Hello é", "b.jinja": ""}
        await store.put_prompt("h/../1", sources)
        await store.put_prompt("h/../1", {"a.jinja": "other"})
        await other.put_prompt("h/../1", {"a.jinja": "other"})
        assert await other.prompt("h/../1") == sources
        assert await other.prompt("h2") is None

    @async_test
    async def test_prompts_are_found_by_a_prefix_of_their_hash(self, stores: StoreOpener) -> None:
        store, other = stores.open(), stores.open()
        assert await store.prompt_hashes() == []
        lease = await store.begin(KEY, Turn("r", "x"))
        await store.release(lease)
        assert await store.prompt_hashes("ab") == []
        for name in ("cd" * 32, "ab" * 32, "ac" * 32):
            await store.put_prompt(name, {"a.jinja": name})
        assert await other.prompt_hashes() == ["ab" * 32, "ac" * 32, "cd" * 32]
        assert await other.prompt_hashes("a") == ["ab" * 32, "ac" * 32]
        assert await other.prompt_hashes("ab" * 32) == ["ab" * 32]
        for name in ("b", "AB", "*", "../"):
            assert await other.prompt_hashes(name) == []

    @async_test
    async def test_a_session_is_created_with_finished_runs_all_or_none(
        self, stores: StoreOpener
    ) -> None:
        store, other = stores.open(), stores.open()
        runs = [
            FinishedRun(done("r1"), [Record("n", "done", output=1)], Change({"a": 1})),
            FinishedRun(Turn("f", "x", status="failed", error="no"), [], Change({"a": 2})),
            FinishedRun(replace(done("r2"), number=4), [], Change({"b": 2}, summary=COVERED)),
        ]
        bad = FinishedRun(
            done("r3"), [Record("n", "done", output=cast("JSON", object()))], Change()
        )
        with pytest.raises(InputError, match="cannot be stored"):
            await store.create(KEY, [*runs, bad])
        assert await other.head(KEY) is None
        assert await other.sessions("ann") == []
        await store.create(KEY, runs, name="Trip")
        for _ in range(2):
            with pytest.raises(InputError, match="exists"):
                await other.create(KEY, runs)
            expected = Head(4, 4, {"a": 1, "b": 2}, {}, COVERED, "Trip")
            assert await other.head(KEY) == expected
        assert [turn.number for turn in await other.turns(KEY)] == [1, 4]
        assert [turn.run_id for turn in await other.runs(KEY)] == ["r2", "f", "r1"]
        run = await other.run(KEY, "r1")
        assert run is not None
        assert run.records["n"].output == 1
        turn = await run_turn(other, KEY, done("r3"))
        assert turn.number == 5
