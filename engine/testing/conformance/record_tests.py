"""Conformance tests: records, values, texts and replayed messages are read as written."""

from __future__ import annotations

import math
from typing import cast

import pytest
from msgspec.structs import replace

from ...errors import InputError
from ...messages import JSON, Message, ToolCall, Usage
from ...records import Change, Fault, Head, Record, SessionKey, Turn
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

TEXTS = {
    "empty": "",
    "surrogate": "\ud800 alone",
    "unicode": "naïve 🎈 \u2028",
    "controls": 'quote " \\ \n \r \t \0 \x7f',
    "path": "../../etc/passwd",
    "10 kB": "é" * 5_000,
    "large": "x" * 2_000_000,
}


class RecordTests(StoreTests):
    """A record is read exactly as it was put."""

    @async_test
    async def test_a_run_is_read_as_it_was_put(self, stores: StoreOpener) -> None:
        store = stores.open()
        turn = Turn(
            "r1",
            "hello",
            graph="g",
            status="done",
            answer="hello!",
            usage=Usage(1, 2, 3, 4, 0.5),
            given_state={"a": [1]},
            started=1.0,
            ended=4.0,
        )
        records = _various_records()
        stored = await run_turn(store, KEY, turn, records=records)
        assert stored == replace(turn, number=1)
        await store.close()
        found = await stores.open().run(KEY, "r1")
        assert found is not None
        assert found.turn == stored
        assert tuple(found.records.values()) == records
        assert list(found.records) == ["route", "late", "odd", "writer"]

    @pytest.mark.parametrize("text", list(TEXTS.values()), ids=list(TEXTS))
    @async_test
    async def test_every_text_survives(self, stores: StoreOpener, text: str) -> None:
        store, other = stores.open(), stores.open()
        key = SessionKey(text or None, text or "s")
        turn = replace(done(text or "r", text or "t"), answer=text)
        await run_turn(store, key, turn, records=[Record("n", "done", output=text)])
        found = await other.run(key, turn.run_id)
        assert found is not None
        assert found.records["n"].output == text
        assert (found.answer, found.input) == (text, turn.input)
        assert [info.key for info in await other.sessions(key.user_id)] == [key]
        assert await other.find(key.user_id, turn.run_id) == key

    @async_test
    async def test_values_are_read_as_json(self, stores: StoreOpener) -> None:
        store = stores.open()
        given = {"pair": (1, 2), "huge": 10**30, "nan": math.nan}
        await run_turn(
            store, KEY, done("r1"), records=[Record("n", "done", output=cast("JSON", given))]
        )
        given["pair"] = (3, 4)
        found = await store.run(KEY, "r1")
        assert found is not None
        output = found.records["n"].output
        assert isinstance(output, dict)
        assert output["pair"] == [1, 2]
        assert output["huge"] == 10**30
        assert isinstance(output["nan"], float)
        assert math.isnan(output["nan"])

    @async_test
    async def test_a_value_that_is_not_json_is_refused_and_nothing_is_stored(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        lease = await store.begin(KEY, Turn("r1", "x"))
        not_json = cast("JSON", object())
        with pytest.raises(InputError, match="cannot be stored"):
            await store.put(lease, [Record("a", "done"), Record("b", "done", output=not_json)])
        found = await store.run(KEY, "r1")
        assert found is not None
        assert not found.records
        with pytest.raises(InputError):
            await store.finish(lease, done("r1"), Change({"a": not_json}))
        assert await store.head(KEY) == Head()
        second = await store.begin(KEY, Turn("r1", "x"), policy="reject")
        await store.release(second)

    @async_test
    async def test_changing_a_value_that_was_read_changes_nothing_stored(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        await run_turn(store, KEY, done("r1"), change=Change({"list": [1]}, {"n": {"list": [1]}}))
        head = await store.head(KEY)
        assert head is not None
        cast("list[int]", head.state["list"]).append(2)
        cast("list[int]", head.node_states["n"]["list"]).append(2)
        again = await store.head(KEY)
        assert again is not None
        assert (again.state, again.node_states) == ({"list": [1]}, {"n": {"list": [1]}})

    @async_test
    async def test_a_record_of_the_same_attempt_is_replaced_and_the_last_attempt_is_read(
        self, stores: StoreOpener
    ) -> None:
        store = stores.open()
        lease = await store.begin(KEY, Turn("r1", "x"))
        await store.put(lease, [Record("m", "done", attempt=2), Record("m", "failed")])
        await store.put(lease, [Record("n", "failed", error="once")])
        await store.put(lease, [Record("n", "done", attempt=2, output="old")])
        await store.put(lease, [Record("n", "done", attempt=2, output="new")])
        await store.put(lease, [Record("n", "failed", error="once more")])
        await store.put(lease, [])
        found = await store.run(KEY, "r1")
        assert found is not None
        assert list(found.records) == ["m", "n"]
        assert found.records["m"].attempt == 2
        assert (found.records["n"].attempt, found.records["n"].output) == (2, "new")
        await store.release(lease)

    @async_test
    async def test_one_put_may_have_two_records_of_one_attempt(self, stores: StoreOpener) -> None:
        store = stores.open()
        records = [Record("n", "done", output="old"), Record("n", "done", output="new")]
        await run_turn(store, KEY, done("r1"), records=records)
        found = await store.run(KEY, "r1")
        assert found is not None
        assert found.records["n"].output == "new"

    @async_test
    async def test_records_are_stored_before_the_run_is_finished(self, stores: StoreOpener) -> None:
        store, other = stores.open(), stores.open()
        lease = await store.begin(KEY, Turn("r1", "x"))
        for number in range(1, 4):
            await store.put(lease, [Record(f"n{number}", "done", output=number)])
            found = await other.run(KEY, "r1")
            assert found is not None
            assert list(found.records) == [f"n{stored}" for stored in range(1, number + 1)]
        await store.finish(lease, done("r1", "x"), NO_CHANGE)

    @async_test
    async def test_replayed_messages_are_filled_in_again(self, stores: StoreOpener) -> None:
        store = stores.open()
        first = await run_turn(store, KEY, done("r1", "one"))
        second = await run_turn(store, KEY, done("r2", "two"))
        user, assistant = replayed(first)
        messages = (
            *replayed(first),
            assistant,
            user,
            *replayed(second),
            user.model_copy(update={"content": "o..."}),
            Message(role="user", content="one", name="ann", origin="r1"),
            Message(role="user", content="one", origin="elsewhere"),
            Message(role="system", content="one", origin="r1"),
            Message.model_validate({**user.model_dump(), "tool_calls": ()}),
        )
        await run_turn(store, KEY, done("r3"), records=[asked(*messages)])
        found = await stores.open().run(KEY, "r3")
        assert found is not None
        assert found.records["writer"].exchanges[0].messages == messages


def _various_records() -> tuple[Record, ...]:
    call = ToolCall(id="c1", name="add", arguments="{}")
    routed = Record(
        "route",
        "done",
        "router",
        fields={"reason": "it is"},
        choices=("a", "b"),
        tasks={"a": "do it"},
        fingerprint="f",
        started=1.25,
        ended=2.5,
    )
    odd = Record(
        "odd",
        "done",
        output=[1, None, {"x": 2.5}],
        state={"k": [1]},
        session_state={"n": True},
        usage=Usage(calls=1, cost=None),
        attempt=3,
        faults=(
            Fault(1, "no answer", "ModelError", "some/model", wait=1.5, ended=2.0),
            Fault(2, "KeyError: 'x'", "KeyError", usage=Usage(3, 4, calls=1, cost=0.5)),
        ),
    )
    writer = asked(
        Message(role="system", content="Be kind"),
        Message(role="tool", content="7", tool_call_id="c1", name="add", cache=True),
        Message(role="assistant", content="", tool_calls=(call,), reasoning="hm"),
    )
    return (routed, Record("late", "skipped", because="router chose a"), odd, writer)
