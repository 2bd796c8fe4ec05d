"""Deleted text is removed where it was quoted: other sessions, later runs, summaries, state."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from teamgraph import (
    JSON,
    Change,
    Chunk,
    Graph,
    Record,
    Reply,
    Request,
    Runner,
    ScriptedModel,
    Session,
    SessionKey,
    Store,
    ToolCall,
    Turn,
)
from teamgraph.nodes import HistoryLoader, Member, Search, SubGraph, Summarizer
from tests.memory_team import RepeatingModel, memory_team
from tests.teams import wait_for

ODD = ' </earlier-message> {é}\n"two" <b> lines\n  and more'
"""Characters that each place of a quote escapes in another way."""


def files_with(tmp_path: Path, text: str) -> list[Path]:
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


class Silent(RepeatingModel):
    """Calls every tool and repeats nothing that it was sent."""

    def script(self, request: Request) -> Any:  # noqa: ANN401  any answer of a script
        """The next answer to a request."""
        answer = super().script(request)
        if isinstance(answer, dict):
            return {"summary": "short", "topics": []}
        if isinstance(answer, Reply):
            return Reply("", tool_calls=tuple(answer.tool_calls[:-1]))
        return answer if request.choices else "noted"


def searched(store: Store, more: str = "") -> Any:  # noqa: ANN401  a team
    """Two turns of one session, and two of another session that search and read them."""
    team = memory_team(store, Silent())
    for session in ("one", "two"):
        for turn in range(2):
            team.run(f"word-{session}-{turn}{more}", user_id="ann", session_id=session)
    return team


def sent(session: Session) -> str:
    return json.dumps(session.export()["runs"], ensure_ascii=False)


@pytest.mark.parametrize("more", ["", ODD, " and so on" * 99])
def test_a_deleted_session_is_removed_from_sessions_that_searched_it(
    store: Store, tmp_path: Path, more: str
) -> None:
    team = searched(store, more)
    other = team.session("two", user_id="ann")
    assert "word-one-0" in sent(other)
    team.delete_session("one", user_id="ann")
    assert files_with(tmp_path, "word-one") == []
    assert "word-one" not in sent(other)
    assert "(deleted)" in sent(other)
    assert [turn.input for turn in other.history()] == [f"word-two-{n}{more}" for n in range(2)]


def test_a_deleted_run_is_removed_from_sessions_that_searched_it(
    store: Store, tmp_path: Path
) -> None:
    team = searched(store, ODD)
    one = team.session("one", user_id="ann")
    one.delete_run(one.history()[0].run_id)
    assert files_with(tmp_path, "word-one-0") == []
    assert "word-one-0" not in sent(team.session("two", user_id="ann"))
    assert "word-one-1" in sent(team.session("two", user_id="ann"))


def test_a_deletion_does_not_change_sessions_of_other_users(store: Store) -> None:
    team = searched(store)
    team.run("word-one-0", user_id="bob", session_id="one")
    before = team.session("one", user_id="bob").export()
    team.delete_session("one", user_id="ann")
    assert team.session("one", user_id="bob").export() == before


def test_a_stored_prompt_is_read_back_unchanged_until_its_source_is_deleted(store: Store) -> None:
    model = Silent()
    team = memory_team(store, model)
    for session in ("one", "two"):
        for turn in range(2):
            team.run(f"word-{session}-{turn}{ODD}", user_id="ann", session_id=session)
    requests = [
        exchange["messages"]
        for session in ("one", "two")
        for run in team.session(session, user_id="ann").export()["runs"]
        for record in run["records"]
        for exchange in record["exchanges"]
    ]
    read = [[message["content"] for message in messages] for messages in requests]
    asked = [[message.content for message in request.messages] for request in model.requests]
    assert sorted(read) == sorted(asked)


class Waiting:
    """Answers at once, except for a message that asks it to wait until it is released."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        if request.schema is not None:
            seen = "word-one" if "word-one" in str(request.messages) else "nothing"
            yield Reply(json.dumps({"summary": f"about {seen}", "topics": [seen]}))
            return
        if request.messages[-1].content == "wait":
            self.asked.set()
            await self.go.wait()
        yield Reply("noted")


QUOTING = """{% system %}
Before: {{ history.output }}
Elsewhere: {{ earlier.output | tojson }}
{% if session.summary %}In short: {{ session.summary }}{% endif %}
{% endsystem %}
{% user %}{{ input.message }}{% enduser %}
"""


def quoting_team(store: Store, model: Any) -> Runner:  # noqa: ANN401  any model
    graph = Graph(
        name="quoting",
        model="m",
        nodes={
            "history": HistoryLoader(runs=2),
            "earlier": Search(sessions=2, runs=2),
            "clerk": Member(prompt=QUOTING, needs=["history", "earlier"]),
            "summary": Summarizer(needs=["clerk"]),
        },
    )
    return Runner(graph, store=store, model=model)


@pytest.mark.parametrize("what", ["session", "run", "own"])
def test_a_run_that_read_deleted_text_cannot_restore_it(
    store: Store, tmp_path: Path, what: str
) -> None:
    async def scenario() -> None:
        model = Waiting()
        runner = quoting_team(store, model)
        await runner.arun("word-one", session_id="one", run_id="first")
        session = "one" if what == "own" else "two"
        late = asyncio.create_task(runner.arun("wait", session_id=session, run_id="late"))
        await model.asked.wait()
        if what == "session":
            await runner.session("one").adelete()
        else:
            await runner.session("one").adelete_run("first")
        model.go.set()
        assert (await late).answer == "noted"
        read = await runner.session(session).arun("late")
        assert "(deleted)" in str(read.records["clerk"].exchanges)
        if what == "own":
            assert await runner.session("one").asummary() is None
        await runner.arun("next", session_id=session)
        summary = await runner.session(session).asummary()
        assert summary is not None
        assert summary.text == "about nothing"

    wait_for(scenario())
    assert files_with(tmp_path, "word-one") == []


def test_a_summary_is_deleted_with_every_run_that_it_may_cover(
    store: Store, tmp_path: Path
) -> None:
    said = iter(["secret", "secret and more", "plain"])

    def script(request: Request) -> object:
        if request.schema is not None:
            return {"summary": f"about the {next(said)}", "topics": ["secret"]}
        return "noted"

    runner = quoting_team(store, ScriptedModel(script))
    runner.run("word-one", session_id="one", run_id="first")
    runner.run("word-two", session_id="one", run_id="second")
    session = runner.session("one")
    session.delete_run("first")
    assert session.summary() is None
    assert session.run("second").records["summary"].output == "(deleted)"
    assert files_with(tmp_path, "secret") == []
    assert "secret" not in sent(session)
    runner.run("word-three", session_id="one")
    summary = session.summary()
    assert summary is not None
    assert (summary.text, summary.covers) == ("about the plain", 3)


def test_a_resumed_run_summarizes_again_after_a_deletion(store: Store) -> None:
    async def scenario() -> None:
        runner = quoting_team(store, Waiting())
        await runner.arun("word-one", session_id="one", run_id="first")
        key = runner.session("one").key
        lease = await store.begin(key, Turn("late", "word-two"))
        summed = Record("summary", "done", output="about word-one", fields={"covers": 2})
        await store.put(lease, [Record("clerk", "done", output="noted"), summed])
        await store.release(lease)
        await store.delete_run(key, "first")
        found = await store.run(key, "late")
        assert found is not None
        assert list(found.records) == ["clerk"]

    wait_for(scenario())


def test_deleting_a_run_restores_the_state_before_it(store: Store, tmp_path: Path) -> None:
    runner = Runner(
        Graph(name="g", nodes={"clerk": Member()}),
        store=store,
        model=ScriptedModel(lambda request: "noted"),
    )
    for run_id, state in (
        ("first", {"a": "a1", "b": "b1"}),
        ("second", {"a": "a2", "b": "b2", "c": "c2"}),
        ("third", {"b": "b3"}),
    ):
        runner.run("hello", session_id="s", run_id=run_id, state=state)
    session = runner.session("s")
    session.delete_run("second")
    assert session.state() == {"a": "a1", "b": "b3"}
    assert files_with(tmp_path, '"c2"') == []
    session.delete_run("first")
    session.delete_run("third")
    assert session.state() == {}


def test_state_that_a_deleted_run_set_is_removed_from_later_prompts(
    store: Store, tmp_path: Path
) -> None:
    shown = "{% system %}{{ session.state | tojson }}{% endsystem %}"
    prompt = f"{shown}{{% user %}}{{{{ input.message }}}}{{% enduser %}}"
    graph = Graph(
        name="g",
        nodes={"clerk": Member(prompt=f"{prompt}\n")},
        state={"cart": {}},
    )
    runner = Runner(graph, store=store, model=ScriptedModel(lambda request: "noted"))
    session = runner.session("s")
    cart: dict[str, JSON] = {"cart": {"word-tea": ["word-green", 2]}}
    runner.run("buy", session_id="s", run_id="first", state=cart)
    runner.run("what is there?", session_id="s", run_id="second")
    assert "word-tea" in str(session.run("second").records["clerk"].exchanges)
    session.delete_run("first")
    assert files_with(tmp_path, "word-") == []
    assert "word-" not in sent(session)
    assert session.state() == {}


def test_deleting_a_run_restores_the_state_of_its_nodes(store: Store) -> None:
    async def scenario() -> None:
        key = SessionKey("ann", "s")
        for run_id, number in (("first", 1), ("second", 2)):
            lease = await store.begin(key, Turn(run_id, "hello"))
            kept: dict[str, JSON] = {"number": number}
            await store.put(lease, [Record("clerk", "done", state=kept)])
            done = Turn(run_id, "hello", status="done", answer="noted")
            await store.finish(lease, done, Change(node_states={"clerk": kept}))
        await store.delete_run(key, "second")
        head = await store.head(key)
        assert head is not None
        assert head.node_states == {"clerk": {"number": 1}}
        await store.delete_run(key, "first")
        head = await store.head(key)
        assert head is not None
        assert (head.node_states, head.turns, head.deleted) == ({}, 2, 2)

    wait_for(scenario())


def test_a_run_in_progress_does_not_restore_replayed_tool_calls(
    store: Store, tmp_path: Path
) -> None:
    def look(word: str) -> str:
        return f"{word} is there"

    call = ToolCall(id="c", name="look", arguments='{"word": "word-one"}')

    async def scenario() -> None:
        model = Waiting()
        nodes = {"history": HistoryLoader(tool_calls=1), "clerk": Member(tools=[look])}
        graph = Graph(name="g", model="m", nodes=nodes)
        first = ScriptedModel([Reply("", tool_calls=(call,)), "found"])
        await Runner(graph, store=store, model=first).arun("look", session_id="s", run_id="first")
        runner = Runner(graph, store=store, model=model)
        late = asyncio.create_task(runner.arun("wait", session_id="s", run_id="late"))
        await model.asked.wait()
        await runner.session("s").adelete_run("first")
        model.go.set()
        await late
        read = await runner.session("s").arun("late")
        replayed = read.records["clerk"].exchanges[0].messages[1:-1]
        assert {message.content for message in replayed} == {"(deleted)"}

    wait_for(scenario())
    assert files_with(tmp_path, "word-one") == []


def test_a_deleted_run_is_removed_from_prompts_of_a_subgraph(store: Store, tmp_path: Path) -> None:
    inner = Graph(name="inner", model="m", nodes={"clerk": Member()})
    graph = Graph(
        name="outer",
        model="m",
        nodes={
            "history": HistoryLoader(),
            "team": SubGraph(graph=inner, input="Before: {{ history.output }}"),
        },
    )
    runner = Runner(graph, store=store, model=ScriptedModel(lambda request: "noted"))
    runner.run("word-one", session_id="s", run_id="first")
    runner.run("word-two", session_id="s", run_id="second")
    session = runner.session("s")
    told = session.run("second").records["team"].fields["input"]
    assert told == "Before: user: word-one\nassistant: noted"
    session.delete_run("first")
    told = session.run("second").records["team"].fields["input"]
    assert told == "Before: user: (deleted)\nassistant: (deleted)"
    assert files_with(tmp_path, "word-one") == []


def test_deletion_works_in_an_imported_session_as_in_the_original(
    store: Store, tmp_path: Path
) -> None:
    runner = quoting_team(
        store,
        ScriptedModel(
            lambda request: {"summary": "s", "topics": []} if request.schema else "noted"
        ),
    )
    runner.run("word-one", user_id="ann", session_id="one", run_id="first")
    runner.run("word-two", user_id="ann", session_id="one", run_id="second")
    exported = runner.session("one", user_id="ann").export()
    runner.session("one", user_id="ann").delete()
    copy = runner.session("copy", user_id="bob")
    copy.restore(exported)
    assert copy.run("second").records == runner.session("copy", user_id="bob").run("second").records
    assert "word-one" in str(copy.run("second").records["clerk"].exchanges)
    copy.delete_run("first")
    assert files_with(tmp_path, "word-one") == []
    assert "word-one" not in sent(copy)
