"""Conformance tests: deletion of runs, sessions and users."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ...errors import Conflict
from ...messages import Quote
from ...records import Change, Head, Record, Summary, Turn
from .store_tests import (
    KEY,
    NO_CHANGE,
    StoreOpener,
    StoreTests,
    asked,
    async_test,
    done,
    replayed,
    run_turn,
)


class DeletionTests(StoreTests):
    """Runs, sessions and users can be deleted at any time, also while they are being written."""

    @async_test
    async def test_a_session_deleted_while_it_is_written_stays_deleted(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        lease = await store.begin(KEY, Turn("r1", "x"))
        assert await stores.open().delete_session(KEY)
        with pytest.raises(Conflict, match="deleted"):
            await store.put(lease, [Record("a", "done")])
        fresh = await stores.open().begin(KEY, Turn("r1", "x"), policy="fork")
        with pytest.raises(Conflict, match="deleted"):
            await store.put(lease, [Record("a", "done")])
        with pytest.raises(Conflict, match="deleted"):
            await store.finish(lease, done("r1", "x"), NO_CHANGE)
        found = await store.run(KEY, "r1")
        assert found is not None
        assert (found.status, found.records) == ("running", {})
        assert fresh.head == Head()

    @async_test
    async def test_a_run_deleted_while_it_is_in_progress_cannot_be_finished(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        lease = await store.begin(KEY, Turn("r1", "x"))
        assert await store.delete_run(KEY, "r1")
        with pytest.raises(Conflict, match="deleted"):
            await store.finish(lease, done("r1", "x"), NO_CHANGE)
        assert await store.runs(KEY) == []
        free = await store.begin(KEY, Turn("r2", "x"), policy="reject")
        await store.release(free)

    @async_test
    async def test_a_run_deleted_between_two_records_is_in_neither(
        self, stores: StoreOpener
    ) -> None:
        store, other = stores.open(), stores.open()
        for deleter, name in ((store, "1"), (other, "2")):
            told = await run_turn(store, KEY, done(f"r{name}", "secret"))
            quotes = (Quote(told.run_id, "input", "secret"),)
            record = replace(asked(*replayed(told)), quotes=quotes)
            lease = await store.begin(KEY, Turn(f"later{name}", "x"))
            await store.put(lease, [record])
            assert await deleter.delete_run(KEY, told.run_id)
            await store.put(lease, [replace(record, node="late")])
            await store.release(lease)
            run = await other.run(KEY, lease.run_id)
            assert run is not None
            for found in run.records.values():
                sent = found.exchanges[0].messages
                shown = [(message.content, message.origin) for message in sent]
                assert shown == [("(deleted)", told.run_id)] * 2

    @async_test
    async def test_a_deleted_run_is_gone_with_all_its_texts(self, stores: StoreOpener) -> None:
        store, other = stores.open(), stores.open()
        first_change = Change(summary=Summary("s1", covers=1))
        second_change = Change(summary=Summary("s2", covers=2))
        first = await run_turn(store, KEY, done("r1", "secret"), change=first_change)
        second = await run_turn(store, KEY, done("r2", "plain"), change=second_change)
        user, assistant = replayed(first)
        cut = user.model_copy(update={"content": "sec..."})
        records = [
            asked(user, assistant, cut, assistant, *replayed(second)),
            asked(*replayed(second), node="other"),
            Record("n", "done"),
        ]
        await run_turn(store, KEY, done("r3"), records=records, change=Change({"kept": 1}))
        assert await store.delete_run(KEY, "r1")
        assert not await store.delete_run(KEY, "r1")
        assert await other.run(KEY, "r1") is None
        assert [turn.number for turn in await other.turns(KEY)] == [2, 3]
        found = await other.run(KEY, "r3")
        assert found is not None
        messages = found.records["writer"].exchanges[0].messages
        assert [(m.role, m.content, m.origin) for m in messages] == [
            ("user", "(deleted)", "r1"),
            ("assistant", "(deleted)", "r1"),
            ("user", "(deleted)", "r1"),
            ("assistant", "(deleted)", "r1"),
            ("user", "plain", "r2"),
            ("assistant", "plain!", "r2"),
        ]
        assert found.records["other"].exchanges[0].messages == replayed(second)
        assert await other.summary(KEY, until=9) is None

    @async_test
    async def test_numbers_and_state_of_a_session_outlive_its_runs(
        self, stores: StoreOpener
    ) -> None:
        store, other = stores.open(), stores.open()
        for number in range(1, 4):
            await run_turn(store, KEY, done(f"r{number}"), change=Change({"kept": number}))
        assert await other.delete_run(KEY, "r3")
        last = await run_turn(store, KEY, done("r4"))
        assert last.number == 4
        head = await store.head(KEY)
        assert head is not None
        assert (head.turns, head.state) == (4, {"kept": 3})

    @async_test
    async def test_a_run_that_was_never_done_can_be_deleted(self, stores: StoreOpener) -> None:
        store = stores.open()
        await run_turn(store, KEY, done("r0"), change=Change(summary=Summary("s", covers=1)))
        await run_turn(store, KEY, Turn("r1", "x", status="failed"))
        assert await store.delete_run(KEY, "r1")
        assert [turn.run_id for turn in await store.runs(KEY)] == ["r0"]
        assert await store.summary(KEY, until=1) is not None
        assert await store.delete_run(KEY, "r0")
        assert [info.first_input for info in await store.sessions("ann")] == [""]

    @async_test
    async def test_a_session_begun_again_after_deletion_starts_empty(
        self, stores: StoreOpener
    ) -> None:
        store, other = stores.open(), stores.open()
        change = Change({"a": 1}, {"n": {"b": 2}}, Summary("s", covers=1))
        await run_turn(store, KEY, done("r1", "secret"), change=change)
        await store.rename(KEY, "Trip")
        assert await other.delete_session(KEY)
        assert not await store.delete_session(KEY)
        assert await store.head(KEY) is None
        assert await store.find("ann", "r1") is None
        turn = await run_turn(store, KEY, done("r1", "anew"))
        assert turn.number == 1
        assert await other.head(KEY) == Head(1, 1)
        assert await other.search("ann", "secret", last=9) == []
