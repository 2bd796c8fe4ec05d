"""Tools over the wire: a whole run against a provider on loopback, through the real litellm."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event

import pytest

from teamgraph import Graph, ModelSpec, Runner, SessionKey
from teamgraph.events import Token
from teamgraph.nodes import HistoryLoader, Member
from tests.shop import price
from tests.stub import StubAnswer, StubProvider
from tests.teams import STORES, heard, holds_together, told, wait_for

pytestmark = pytest.mark.usefixtures("_keys")


def shop(stub: StubProvider) -> Graph:
    return Graph(
        name="shop",
        model=ModelSpec(id="openai/stub", api_base=stub.base_url, api_key_env="STUB_KEY"),
        nodes={"history": HistoryLoader(tool_calls=1), "clerk": Member(tools=[price])},
    )


def test_tools_calls_and_results_are_sent_as_providers_know_them(stub: StubProvider) -> None:
    stub.push(StubAnswer("Let me look.", tool_calls=(("price", {"item": "tea"}),)), "It is 3.")
    events = heard(Runner(shop(stub)))
    holds_together(events)
    assert told(events) == "Let me look.\n\nIt is 3."
    first, second = stub.requests
    (tool,) = first.body["tools"]
    assert tool["type"] == "function"
    assert tool["function"]["name"] == "price"
    assert tool["function"]["description"] == "Look up what something costs."
    assert tool["function"]["parameters"]["required"] == ["item"]
    assert second.body["tools"] == first.body["tools"]
    said, result = second.messages[-2:]
    (call,) = said["tool_calls"]
    assert (said["role"], said["content"]) == ("assistant", "Let me look.")
    assert json.loads(call["function"]["arguments"]) == {"item": "tea"}
    assert result == {"role": "tool", "content": "3", "tool_call_id": call["id"]}


def test_a_word_is_shown_before_the_server_goes_on_although_there_are_tools(
    stub: StubProvider,
) -> None:
    go = Event()
    calls = (("price", {"item": "tea"}),)
    stub.push(StubAnswer("Let me look.", tool_calls=calls, until=go.is_set, after=2), "It is 3.")
    events = []
    for event in Runner(shop(stub)).stream("What is tea?"):
        events.append(event)
        if isinstance(event, Token) and not go.is_set():
            assert (event.text, event.answer, stub.in_flight) == ("Let ", True, 1)
            go.set()
    holds_together(events)
    assert go.is_set()
    assert told(events) == "Let me look.\n\nIt is 3."


def test_calls_of_an_earlier_turn_go_over_the_wire_again(
    stub: StubProvider, tmp_path: Path
) -> None:
    store = STORES["tinydb"](tmp_path)
    stub.push(StubAnswer(tool_calls=(("price", {"item": "tea"}),)), "It is 3.", "As I said, 3.")
    runner = Runner(shop(stub), store=store)
    runner.run("What is tea?", session_id="s")
    runner.run("Sorry?", session_id="s")
    roles = [message["role"] for message in stub.requests[2].messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
    called, result = stub.requests[2].messages[2:4]
    assert called["tool_calls"][0]["id"] == result["tool_call_id"]
    head = wait_for(store.head(SessionKey(None, "s")))
    assert head is not None
    assert head.turns == 2
    wait_for(store.close())
