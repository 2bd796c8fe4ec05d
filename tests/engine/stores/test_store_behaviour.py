"""What every store does, whatever it keeps its sessions in."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import Conflict, InputError, SessionBusy
from engine.messages import Message, ToolCall, Usage
from engine.session import Change, Exchange, Head, Record, SessionKey, Summary, Turn
from engine.stores import MemoryStore, Store, TinyDBStore

KEY = SessionKey("ann", "trip")
MakeStore = Callable[[], Store]
NO_CHANGE = Change()


@pytest.fixture(params=["memory", "tinydb", "tinydb-always"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Opens the store; each call after the first is another opener of the same data, if it can."""
    if request.param == "memory":
        memory = MemoryStore()
        return lambda: memory
    if request.param == "tinydb-always":
        return lambda: TinyDBStore(tmp_path / "store", sync="always")
    return lambda: TinyDBStore(tmp_path / "store", sync="never", handles=2)


def run(test: Callable[[], object]) -> None:
    """Run an asynchronous test."""
    asyncio.run(test())  # type: ignore[arg-type]


async def tell(
    store: Store, key: SessionKey, run_id: str, text: str = "hello", **more: object
) -> Turn:
    """One whole turn that is done."""
    change = more.pop("change", NO_CHANGE)
    records = more.pop("records", ())
    lease = await store.begin(key, Turn(run_id, text))
    await store.put(lease, records)  # type: ignore[arg-type]
    turn = Turn(run_id, text, **{"status": "done", "answer": f"{text}!", **more})  # type: ignore[arg-type]
    return await store.finish(lease, turn, change)  # type: ignore[arg-type]


def replayed(turn: Turn) -> tuple[Message, Message]:
    """The two messages of an earlier turn, as a history loader brings them in."""
    return (
        Message(role="user", content=turn.input, origin=turn.run_id),
        Message(role="assistant", content=turn.answer or "", origin=turn.run_id),
    )


def asked(*messages: Message, node: str = "writer") -> Record:
    """The record of a node that asked a model once."""
    usage = Usage(input_tokens=9, output_tokens=2, calls=1, cost=0.25)
    exchange = Exchange(
        "member.jinja", "hash", "echo", messages, "hi", usage, "stop", started=1.5, ended=2.25
    )
    return Record(node, "done", output="hi", exchanges=(exchange,), usage=usage)


def test_a_session_that_nobody_began_is_nothing(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
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

    run(test)


def test_a_done_turn_moves_the_session(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        summary = Summary("They met.", ("meeting",), covers=1, updated=3.5)
        change = Change({"city": "Rome"}, {"writer": {"seen": 1}}, summary)
        done = await tell(store, KEY, "r1", change=change)
        assert done.number == 1
        expected = Head(1, 1, {"city": "Rome"}, {"writer": {"seen": 1}}, summary)
        assert await store.head(KEY) == expected
        second = await tell(store, KEY, "r2", change=Change({"day": 2}))
        assert second.number == 2
        head = await store.head(KEY)
        assert head is not None
        assert head.state == {"city": "Rome", "day": 2}
        assert (head.version, head.turns) == (2, 2)
        lease = await store.begin(KEY, Turn("r3", "x"))
        assert lease.head == head
        await store.release(lease)
        assert [turn.run_id for turn in await make_store().turns(KEY)] == ["r1", "r2"]
        await store.close()

    run(test)


@pytest.mark.parametrize("status", ["failed", "cancelled", "waiting"])
def test_a_run_that_is_not_done_changes_nothing_but_itself(
    make_store: MakeStore, status: str
) -> None:
    async def test() -> None:
        store = make_store()
        change = Change({"a": 1}, {"writer": {"b": 1}}, Summary("x", covers=1))
        turn = await tell(store, KEY, "r1", status=status, error="no", answer=None, change=change)
        assert turn.number == 0
        assert await store.head(KEY) == Head()
        assert await store.turns(KEY) == []
        assert [(kept.status, kept.error) for kept in await store.runs(KEY)] == [(status, "no")]
        await store.close()

    run(test)


def test_a_run_comes_back_as_it_was_put(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        records = (
            Record(
                "route",
                "done",
                "router",
                fields={"reason": "it is"},
                choices=("a", "b"),
                tasks={"a": "do it"},
                fingerprint="f",
                started=1.25,
                ended=2.5,
            ),
            Record("late", "skipped", because="router chose a"),
            Record(
                "odd",
                "done",
                output=[1, None, {"x": 2.5}],
                state={"k": [1]},
                session_state={"n": True},
                usage=Usage(calls=1, cost=None),
            ),
            asked(
                Message(role="system", content="Be kind"),
                Message(role="tool", content="7", tool_call_id="c1", name="add", cache=True),
                Message(
                    role="assistant",
                    content="",
                    tool_calls=(ToolCall(id="c1", name="add", arguments="{}"),),
                ),
            ),
        )
        turn = await tell(
            store,
            KEY,
            "r1",
            records=records,
            given_state={"a": [1]},
            graph="g",
            usage=Usage(1, 2, 3, 4, 0.5),
            started=1.0,
            ended=4.0,
        )
        await store.close()
        found = await make_store().run(KEY, "r1")
        assert found is not None
        assert found.turn == turn
        assert tuple(found.records.values()) == records
        assert list(found.records) == ["route", "late", "odd", "writer"]

    run(test)


@pytest.mark.parametrize(
    "text", ["", "\ud800 alone", "naïve 🎈 \u2028", 'quote " \\ \n \0', "x" * 200_000]
)
def test_every_text_survives(make_store: MakeStore, text: str) -> None:
    async def test() -> None:
        store = make_store()
        key = SessionKey(text or None, text or "s")
        await tell(
            store,
            key,
            text or "r",
            text or "t",
            records=[Record("n", "done", output=text)],
            answer=text,
        )
        other = make_store()
        found = await other.run(key, text or "r")
        assert found is not None
        assert found.records["n"].output == text
        assert found.answer == text
        assert [info.key for info in await other.sessions(key.user_id)] == [key]
        assert await other.find(key.user_id, text or "r") == key
        await store.close()
        await other.close()

    run(test)


def test_values_come_back_as_json_has_them(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        given = {"pair": (1, 2), "huge": 10**30, "nan": math.nan}
        await tell(store, KEY, "r1", records=[Record("n", "done", output=given)])  # type: ignore[arg-type]
        given["pair"] = (3, 4)
        found = await store.run(KEY, "r1")
        assert found is not None
        output = found.records["n"].output
        assert isinstance(output, dict)
        assert output["pair"] == [1, 2]
        assert output["huge"] == 10**30
        assert isinstance(output["nan"], float)
        assert math.isnan(output["nan"])
        await store.close()

    run(test)


def test_a_value_that_is_no_json_is_refused_and_nothing_is_kept(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        lease = await store.begin(KEY, Turn("r1", "x"))
        good, bad = Record("a", "done"), Record("b", "done", output=object())  # type: ignore[arg-type]
        with pytest.raises(InputError, match="cannot be stored"):
            await store.put(lease, [good, bad])
        found = await store.run(KEY, "r1")
        assert found is not None
        assert not found.records
        with pytest.raises(InputError):
            await store.finish(lease, Turn("r1", "x", status="done"), Change({"a": {1: object()}}))  # type: ignore[dict-item]
        assert await store.head(KEY) == Head()
        second = await store.begin(KEY, Turn("r1", "x"), policy="reject")
        await store.release(second)
        await store.close()

    run(test)


def test_what_a_reader_changes_in_its_hands_changes_nothing_kept(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        await tell(store, KEY, "r1", change=Change({"list": [1]}, {"n": {"list": [1]}}))
        head = await store.head(KEY)
        assert head is not None
        head.state["list"].append(2)  # type: ignore[union-attr]
        head.node_states["n"]["list"].append(2)  # type: ignore[union-attr]
        again = await store.head(KEY)
        assert again is not None
        assert (again.state, again.node_states) == ({"list": [1]}, {"n": {"list": [1]}})
        await store.close()

    run(test)


def test_a_record_of_the_same_attempt_is_replaced_and_the_last_attempt_is_shown(
    make_store: MakeStore,
) -> None:
    async def test() -> None:
        store = make_store()
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
        await store.close()

    run(test)


def test_one_put_may_hold_two_records_of_one_attempt(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        records = [Record("n", "done", output="old"), Record("n", "done", output="new")]
        await tell(store, KEY, "r1", records=records)
        found = await store.run(KEY, "r1")
        assert found is not None
        assert found.records["n"].output == "new"
        await store.close()

    run(test)


def test_replayed_messages_are_filled_in_again(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        first = await tell(store, KEY, "r1", "one")
        second = await tell(store, KEY, "r2", "two")
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
        await tell(store, KEY, "r3", records=[asked(*messages)])
        found = await make_store().run(KEY, "r3")
        assert found is not None
        assert found.records["writer"].exchanges[0].messages == messages
        await store.close()

    run(test)


def test_turns_are_the_newest_oldest_first(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        for number in range(1, 31):
            await tell(store, KEY, f"r{number}", f"m{number}")
            await tell(store, KEY, f"f{number}", status="failed")
        numbers = [turn.number for turn in await store.turns(KEY)]
        assert numbers == list(range(1, 31))
        assert [turn.input for turn in await store.turns(KEY, last=2)] == ["m29", "m30"]
        assert [turn.number for turn in await store.turns(KEY, since=28)] == [29, 30]
        assert [turn.number for turn in await store.turns(KEY, last=1, since=28)] == [30]
        assert await store.turns(KEY, last=0) == []
        assert await store.turns(KEY, since=30) == []
        assert [turn.run_id for turn in await store.runs(KEY, limit=3, offset=1)] == [
            "r30",
            "f29",
            "r29",
        ]
        await store.close()

    run(test)


def test_the_newest_summary_that_covers_no_later_turn_is_found(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        for number, covers in enumerate((1, 3, 2, 3), start=1):
            summary = Summary(f"s{number}", covers=covers)
            await tell(store, KEY, f"r{number}", change=Change(summary=summary))
        texts = [
            found and found.text for found in [await store.summary(KEY, until=n) for n in range(5)]
        ]
        assert texts == [None, "s1", "s3", "s4", "s4"]
        head = await store.head(KEY)
        assert head is not None
        assert head.summary == Summary("s4", covers=3)
        await store.close()

    run(test)


def test_two_users_never_meet(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        keys = [
            SessionKey(user, session)
            for user in (None, "None", "null", "../x", "Ann", "ann", "é" * 5000)
            for session in ("s", "None", "../../s", "S", "x" * 10_000)
        ]
        for number, key in enumerate(keys):
            await tell(store, key, f"r{number}", f"secret {number}", change=Change({"n": number}))
        other = make_store()
        for number, key in enumerate(keys):
            head = await other.head(key)
            assert head is not None
            assert head.state == {"n": number}
            assert await other.run(key, f"r{number + 1}") is None
            assert await other.find(key.user_id, f"r{number}") == key
        assert {info.key for info in await other.sessions(None)} == set(keys[:5])
        assert [hit.key for hit in await other.search("ann", "SECRET", last=99)] == keys[25:30][
            ::-1
        ]
        assert await other.delete_user("ann") == 5
        assert await other.head(keys[25]) is None
        assert await other.head(keys[20]) is not None
        await store.close()
        await other.close()

    run(test)


@pytest.mark.parametrize("key", [SessionKey("", "s"), SessionKey("u", "")])
def test_empty_ids_are_refused(make_store: MakeStore, key: SessionKey) -> None:
    async def test() -> None:
        store = make_store()
        with pytest.raises(InputError, match="empty"):
            await store.begin(key, Turn("r", "x"))
        with pytest.raises(InputError, match="empty"):
            await store.head(key)
        with pytest.raises(InputError, match="user_id"):
            await store.sessions("")
        with pytest.raises(InputError, match="user_id"):
            await store.delete_user("")
        with pytest.raises(InputError, match="empty"):
            await store.delete_session(key)

    run(test)


def test_sessions_are_listed_by_their_last_activity(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        keys = [SessionKey("ann", f"s{number}") for number in range(5)]
        for number, key in enumerate(keys):
            await tell(
                store, key, f"r{number}", f"first of {number}", started=9.0 - number, ended=9.5
            )
        await tell(store, keys[1], "again", "more", ended=20.0)
        lease = await store.begin(keys[3], Turn("under way", "x"))
        await store.rename(keys[0], "a name")
        listed = await make_store().sessions("ann")
        assert [info.key.session_id for info in listed] == ["s3", "s1", "s4", "s2", "s0"]
        assert (listed[1].turns, listed[1].updated, listed[1].first_input) == (
            2,
            20.0,
            "first of 1",
        )
        assert (listed[4].started, listed[4].name) == (9.0, "a name")
        assert await store.sessions("ann", limit=2, offset=1) == listed[1:3]
        await store.release(lease)
        await store.close()

    run(test)


def test_a_name_is_kept_and_taken_away(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        await tell(store, KEY, "r1")
        assert await store.rename(KEY, "Trip")
        await tell(store, KEY, "r2")
        head = await store.head(KEY)
        assert head is not None
        assert (head.name, head.turns) == ("Trip", 2)
        assert await store.rename(KEY, None)
        head = await store.head(KEY)
        assert head is not None
        assert head.name is None
        await store.close()

    run(test)


def test_a_search_finds_the_turns_of_other_sessions_newest_first(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        for session in ("a", "b", "c"):
            key = SessionKey("ann", session)
            await tell(store, key, f"{session}1", "Where is ROME?", answer="in Italy")
            await tell(store, key, f"{session}2", "And Paris?", answer="rome is nicer")
            await tell(store, key, f"{session}3", "rome", status="failed")
        found = await store.search("ann", "rome", last=2, exclude="c")
        assert [hit.turn.run_id for hit in found] == ["b2", "b1", "a2", "a1"]
        assert found[0].key == SessionKey("ann", "b")
        assert [hit.turn.run_id for hit in await store.search("ann", "ITALY", last=1)] == ["c1"]
        assert len(await store.search("ann", "", last=9)) == 6
        assert [hit.turn.run_id for hit in await store.search("ann", "", last=9, limit=3)] == [
            "c2",
            "c1",
            "b2",
        ]
        assert await store.search("ann", "rome", last=0) == []
        assert await store.search("bob", "", last=9) == []
        await store.close()

    run(test)


def test_prompt_sources_are_kept_once_for_each_hash(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        await store.keep_prompt("h/../1", {"a.jinja": "Hello é", "b.jinja": ""})
        await store.keep_prompt("h/../1", {"a.jinja": "other"})
        other = make_store()
        await other.keep_prompt("h/../1", {"a.jinja": "other"})
        assert await other.prompt("h/../1") == {"a.jinja": "Hello é", "b.jinja": ""}
        assert await other.prompt("h2") is None
        await store.close()
        await other.close()

    run(test)


def test_prompts_are_found_by_how_their_hash_begins(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        assert await store.prompt_hashes() == []
        lease = await store.begin(KEY, Turn("r", "x"))
        await store.release(lease)
        assert await store.prompt_hashes("ab") == []
        for name in ("cd" * 32, "ab" * 32, "ac" * 32):
            await store.keep_prompt(name, {"a.jinja": name})
        other = make_store()
        assert await other.prompt_hashes() == ["ab" * 32, "ac" * 32, "cd" * 32]
        assert await other.prompt_hashes("a") == ["ab" * 32, "ac" * 32]
        assert await other.prompt_hashes("ab" * 32) == ["ab" * 32]
        for name in ("b", "AB", "*", "../"):
            assert await other.prompt_hashes(name) == []
        await store.close()
        await other.close()

    run(test)


def test_a_run_that_was_cut_short_is_taken_up_with_its_records(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        lease = await store.begin(KEY, Turn("r1", "x"))
        await store.put(lease, [Record("a", "done", output="kept")])
        await store.finish(lease, Turn("r1", "x", status="failed", error="oh"), NO_CHANGE)
        again = await store.begin(KEY, Turn("r1", "x", status="failed", error="oh"))
        found = await store.run(KEY, "r1")
        assert found is not None
        assert (found.status, found.records["a"].output) == ("running", "kept")
        turn = await store.finish(again, Turn("r1", "x", status="done", answer="y"), NO_CHANGE)
        assert turn.number == 1
        assert len(await store.runs(KEY)) == 1
        with pytest.raises(InputError, match="r1"):
            await store.begin(KEY, Turn("r1", "x"))
        free = await store.begin(KEY, Turn("r2", "x"), policy="reject")
        await store.release(free)
        await store.close()

    run(test)


def test_a_lease_that_has_ended_writes_nothing_more(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        lease = await store.begin(KEY, Turn("r1", "x"))
        await store.release(lease)
        await store.release(lease)
        newer = await store.begin(KEY, Turn("r1", "x"))
        for late in (
            store.put(lease, [Record("a", "done")]),
            store.finish(lease, Turn("r1", "x", status="done"), NO_CHANGE),
        ):
            with pytest.raises(Conflict, match="r1"):
                await late
        await store.finish(newer, Turn("r1", "x", status="done"), NO_CHANGE)
        with pytest.raises(Conflict):
            await store.finish(newer, Turn("r1", "x", status="done"), NO_CHANGE)
        assert [turn.number for turn in await store.turns(KEY)] == [1]
        await store.close()

    run(test)


def test_what_was_deleted_under_a_writer_stays_deleted(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        lease = await store.begin(KEY, Turn("r1", "x"))
        assert await make_store().delete_session(KEY)
        with pytest.raises(Conflict, match="deleted"):
            await store.put(lease, [Record("a", "done")])
        fresh = await make_store().begin(KEY, Turn("r1", "x"), policy="fork")
        with pytest.raises(Conflict, match="deleted"):
            await store.put(lease, [Record("a", "done")])
        with pytest.raises(Conflict, match="deleted"):
            await store.finish(lease, Turn("r1", "x", status="done"), NO_CHANGE)
        found = await store.run(KEY, "r1")
        assert found is not None
        assert (found.status, found.records) == ("running", {})
        assert fresh.head == Head()
        third = await store.begin(KEY, Turn("r3", "x"), policy="reject")
        assert await store.delete_run(KEY, "r3")
        with pytest.raises(Conflict, match="deleted"):
            await store.finish(third, Turn("r3", "x", status="done"), NO_CHANGE)
        await store.close()

    run(test)


def test_a_deleted_run_is_gone_with_all_its_words(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        first = await tell(
            store, KEY, "r1", "secret", change=Change(summary=Summary("s1", covers=1))
        )
        second = await tell(
            store, KEY, "r2", "plain", change=Change(summary=Summary("s2", covers=2))
        )
        user, assistant = replayed(first)
        cut = user.model_copy(update={"content": "sec..."})
        await tell(
            store,
            KEY,
            "r3",
            records=[
                asked(user, assistant, cut, assistant, *replayed(second)),
                asked(*replayed(second), node="other"),
                Record("n", "done"),
            ],
            change=Change({"kept": 1}),
        )
        assert await store.delete_run(KEY, "r1")
        assert not await store.delete_run(KEY, "r1")
        other = make_store()
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
        assert await other.delete_run(KEY, "r3")
        last = await tell(store, KEY, "r4")
        assert last.number == 4
        head = await store.head(KEY)
        assert head is not None
        assert (head.turns, head.state) == (4, {"kept": 1})
        await store.close()
        await other.close()

    run(test)


def test_a_run_that_was_never_done_can_be_deleted(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        await tell(store, KEY, "r0", change=Change(summary=Summary("s", covers=1)))
        await tell(store, KEY, "r1", status="failed")
        assert await store.delete_run(KEY, "r1")
        assert [turn.run_id for turn in await store.runs(KEY)] == ["r0"]
        assert await store.summary(KEY, until=1) is not None
        assert await store.delete_run(KEY, "r0")
        assert [info.first_input for info in await store.sessions("ann")] == [""]
        await store.close()

    run(test)


def test_a_busy_session_is_refused_at_once_waited_for_or_forked(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        first = await store.begin(KEY, Turn("r1", "x"))
        with pytest.raises(SessionBusy, match="trip"):
            await store.begin(KEY, Turn("r2", "x"), policy="reject")
        with pytest.raises(SessionBusy, match="r1"):
            await store.begin(KEY, Turn("r1", "x"), policy="fork")
        fork = await store.begin(KEY, Turn("r3", "x"), policy="fork")
        waiting = asyncio.create_task(store.begin(KEY, Turn("r4", "x")))
        done = await store.finish(fork, Turn("r3", "x", status="done"), Change({"fork": 1}))
        assert done.number == 1
        assert not waiting.done()
        done = await store.finish(first, Turn("r1", "x", status="done"), Change({"first": 1}))
        assert done.number == 2
        third = await waiting
        assert third.head.state == {"fork": 1, "first": 1}
        await store.release(third)
        await store.close()

    run(test)


def test_turns_are_given_in_the_order_they_were_asked_for(make_store: MakeStore) -> None:
    async def test() -> None:
        store = make_store()
        first = await store.begin(KEY, Turn("r0", "x"))
        order: list[str] = []

        async def wait(run_id: str) -> None:
            lease = await store.begin(KEY, Turn(run_id, "x"))
            order.append(run_id)
            await store.finish(lease, Turn(run_id, "x", status="done"), NO_CHANGE)

        tasks = [asyncio.create_task(wait(f"r{number}")) for number in range(1, 8)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        await asyncio.sleep(0)
        await store.release(first)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == ["r1", "r2", "r4", "r5", "r6", "r7"]
        assert [turn.run_id for turn in await store.turns(KEY)] == order
        await store.close()

    run(test)


def test_threads_with_their_own_loops_lose_nothing(make_store: MakeStore) -> None:
    store = make_store()

    async def work(name: str) -> None:
        for number in range(6):
            run_id = f"{name}-{number}"
            await tell(
                store,
                KEY,
                run_id,
                records=[Record("n", "done", output=run_id)],
                change=Change({run_id: number}),
            )

    threads = [
        threading.Thread(target=lambda name=name: asyncio.run(work(name))) for name in "abcdefgh"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def check() -> None:
        assert [turn.number for turn in await store.turns(KEY)] == list(range(1, 49))
        head = await make_store().head(KEY)
        assert head is not None
        assert len(head.state) == 48
        await store.close()

    run(check)
