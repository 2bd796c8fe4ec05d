"""A history-loader that replays tool calls: which, in what order, and never half of one."""

# ruff: noqa: ANN401  models, tools and stores say what they like
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from teamgraph import Graph, Message, Reply, Runner, ScriptedModel, SessionKey, Store, ToolCall
from teamgraph.errors import ModelError, NodeError
from teamgraph.nodes import HistoryLoader, Member
from tests.shop import price
from tests.teams import wait_for

KEY = SessionKey(None, "s")


def wants(*items: str) -> Reply:
    return Reply(
        "one moment",
        tool_calls=tuple(
            ToolCall(id=f"c{n}", name="price", arguments=json.dumps({"item": item}))
            for n, item in enumerate(items)
        ),
    )


def shop(**options: Any) -> Graph:
    nodes = {"history": HistoryLoader(**options), "clerk": Member(tools=[price])}
    return Graph(name="shop", model="m", nodes=nodes)


def turns(store: Store, *scripts: Sequence[Any], **options: Any) -> list[Message]:
    """Take turns with these scripts; the messages of the last turn that were replayed."""
    model = ScriptedModel([answer for script in scripts for answer in script])
    runner = Runner(shop(**options), model=model, store=store)
    for number in range(1, len(scripts) + 1):
        runner.run(f"message {number}", session_id="s", run_id=f"r{number}")
    return [message for message in model.requests[-1].messages if message.origin is not None]


def spelled(messages: Sequence[Message]) -> list[str]:
    """Who says what: a call by its item, a result by its price."""
    spelled: list[str] = []
    for message in messages:
        calls = [json.loads(call.arguments)["item"] for call in message.tool_calls]
        spelled.append(f"{message.role}: {'+'.join(calls) or message.content}")
    return spelled


def holds(messages: Sequence[Message]) -> None:
    """Every result follows its call, and every call has its result."""
    open_calls: list[str] = []
    for message in messages:
        if message.role == "tool":
            assert message.tool_call_id == open_calls.pop(0)
        else:
            assert open_calls == []
            open_calls = [call.id for call in message.tool_calls]
    assert open_calls == []


TWO = ([wants("tea", "bread"), wants("tea"), "first"], [wants("bread"), "second"], ["third"])


def test_no_tool_calls_are_replayed_unless_asked_for(store: Store) -> None:
    assert spelled(turns(store, *TWO)) == [
        "user: message 1",
        "assistant: first",
        "user: message 2",
        "assistant: second",
    ]


def test_calls_and_results_stand_where_they_were_made(store: Store) -> None:
    messages = turns(store, *TWO, tool_calls=9)
    holds(messages)
    assert spelled(messages) == [
        "user: message 1",
        "assistant: tea+bread",
        "tool: 3",
        "tool: 4",
        "assistant: tea",
        "tool: 3",
        "assistant: first",
        "user: message 2",
        "assistant: bread",
        "tool: 4",
        "assistant: second",
    ]
    assert [message.origin for message in messages] == ["r1"] * 7 + ["r2"] * 4
    ids = [call.id for message in messages for call in message.tool_calls]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    ("count", "replayed"),
    [(1, ["bread"]), (2, ["tea", "bread"]), (3, ["bread", "tea", "bread"])],
)
def test_only_the_newest_calls_are_replayed_each_with_its_result(
    store: Store, count: int, replayed: list[str]
) -> None:
    messages = turns(store, *TWO, tool_calls=count)
    holds(messages)
    items = [line.split(": ")[1] for line in spelled(messages) if "message" not in line]
    assert [item for item in items if item in ("tea", "bread")] == replayed
    assert len([message for message in messages if message.role == "tool"]) == count


@pytest.mark.parametrize("limit", range(12))
def test_a_limit_of_messages_never_parts_a_result_from_its_call(store: Store, limit: int) -> None:
    messages = turns(store, *TWO, tool_calls=9, messages=limit, runs=3)
    holds(messages)
    assert len(messages) <= limit


def test_the_text_of_the_history_has_only_what_was_said(store: Store) -> None:
    graph = Graph(
        name="shop",
        model="m",
        nodes={
            "history": HistoryLoader(tool_calls=9),
            "clerk": Member(tools=[price], prompt="{{ history.output }}\n"),
        },
    )
    model = ScriptedModel([wants("tea"), "first", "second"])
    runner = Runner(graph, model=model, store=store)
    runner.run("message 1", session_id="s")
    runner.run("message 2", session_id="s")
    assert model.requests[-1].messages[0].content == "user: message 1\nassistant: first"


def test_what_was_sent_is_read_back_to_the_letter(store: Store) -> None:
    sent = turns(store, *TWO, tool_calls=9)
    run = wait_for(store.run(KEY, "r3"))
    assert run is not None
    (exchange,) = run.records["clerk"].exchanges
    assert [message for message in exchange.messages if message.origin] == sent


def test_a_run_that_is_taken_up_again_sees_the_same_calls(store: Store) -> None:
    gone = ModelError("gone", model="m")
    model = ScriptedModel([wants("tea"), "first", gone, "second"])
    runner = Runner(shop(tool_calls=1), model=model, store=store)
    runner.run("message 1", session_id="s")
    with pytest.raises(NodeError):
        runner.run("message 2", session_id="s", run_id="r")
    assert runner.resume("r", session_id="s").answer == "second"
    assert model.requests[-1].messages == model.requests[-2].messages
    assert model.requests[-1].messages[2].tool_calls


def test_a_run_that_is_deleted_takes_its_replayed_calls_with_it(
    store: Store, tmp_path: Path
) -> None:
    def secret(word: str) -> str:
        return f"result-{word}"

    call = ToolCall(id="c", name="secret", arguments='{"word": "argument-word"}')
    graph = Graph(
        name="shop",
        model="m",
        nodes={"history": HistoryLoader(tool_calls=1), "clerk": Member(tools=[secret])},
    )
    model = ScriptedModel([Reply("", tool_calls=(call,)), "first", "second"])
    runner = Runner(graph, model=model, store=store)
    runner.run("message 1", session_id="s", run_id="r1")
    runner.run("message 2", session_id="s", run_id="r2")
    assert wait_for(store.delete_run(KEY, "r1"))
    run = wait_for(store.run(KEY, "r2"))
    assert run is not None
    assert "argument-word" not in str(run)
    assert "result-" not in str(run)
    replayed = run.records["clerk"].exchanges[0].messages[1:-1]
    assert [message.role for message in replayed] == ["user", "assistant", "tool", "assistant"]
    assert {message.content for message in replayed} == {"(deleted)"}
    wait_for(store.close())
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        assert b"argument-word" not in file.read_bytes()


def test_an_exchange_that_goes_on_survives_the_deletion_of_what_it_replayed(store: Store) -> None:
    model = ScriptedModel(["first", wants("tea"), "second"])
    runner = Runner(shop(), model=model, store=store)
    runner.run("message 1", session_id="s", run_id="r1")
    runner.run("message 2", session_id="s", run_id="r2")
    assert wait_for(store.delete_run(KEY, "r1"))
    run = wait_for(store.run(KEY, "r2"))
    assert run is not None
    first, second = run.records["clerk"].exchanges
    assert second.messages == first.onward
    assert "message 1" not in str(run)


def test_a_number_below_none_is_refused() -> None:
    with pytest.raises(ValueError, match="tool_calls: must be 0 or more"):
        HistoryLoader(tool_calls=-1)
    assert HistoryLoader(tool_calls=2).written() == {"tool_calls": 2}


@pytest.mark.parametrize("tool_calls", range(4))
@pytest.mark.parametrize("messages", range(12))
def test_a_window_of_any_size_begins_with_the_user(
    store: Store, messages: int, tool_calls: int
) -> None:
    scripts = [[wants("tea"), "one"], ["two"], [wants("tea", "cup"), "three"], ["four"]]
    replayed = turns(store, *scripts, messages=messages, tool_calls=tool_calls)
    assert len(replayed) <= messages
    assert not replayed or replayed[0].role == "user"
    holds(replayed)
    plain = [message.role for message in replayed if message.role in ("user", "assistant")]
    assert plain.count("user") == sum(
        message.role == "assistant" and not message.tool_calls for message in replayed
    )
