"""The tools that read what was said before, and whose sessions they see."""

# ruff: noqa: ANN401  models, tools and stores say what they like
from __future__ import annotations

import json
from typing import Any

import pytest

from teamgraph import Graph, Reply, Request, Runner, ScriptedModel, Store, ToolCall
from teamgraph.nodes import Member
from tests.shop import price

SYSTEM = "You are the clerk of a secret shop"


def wants(tool: str, **arguments: Any) -> Reply:
    return Reply("", tool_calls=(ToolCall(id="c", name=tool, arguments=json.dumps(arguments)),))


class Shop:
    """A member with the session tools and one of its own, for whom the test says what it does."""

    def __init__(self, store: Store) -> None:
        tools = ["read_chat_history", "read_tool_call_history", "search_sessions", price]
        self._script: list[Any] = []
        self._model = ScriptedModel(self._answer)
        graph = Graph(name="shop", model="m", nodes={"clerk": Member(role=SYSTEM, tools=tools)})
        self._runner = Runner(graph, model=self._model, store=store)

    def says(self, message: str, *script: Any, user: str | None = "ann", session: str = "s") -> str:
        """A turn; what the model is told of its last tool call."""
        self._script = [*script, f"re: {message}"]
        self._runner.run(message, user_id=user, session_id=session)
        results = [each for each in self._model.requests[-1].messages if each.role == "tool"]
        return results[-1].content if results else ""

    def told(self, tool: str, arguments: dict[str, Any], **whose: Any) -> Any:
        """What a session tool gives back in a further turn."""
        return json.loads(self.says("?", wants(tool, **arguments), **whose))

    def _answer(self, request: Request) -> Any:
        return self._script.pop(0)


@pytest.fixture
def shop(store: Store) -> Shop:
    return Shop(store)


def pairs(*messages: str) -> list[dict[str, str]]:
    return [{"user": message, "assistant": f"re: {message}"} for message in messages]


def test_without_a_past_there_is_nothing_to_read(shop: Shop) -> None:
    for tool in ("read_chat_history", "read_tool_call_history", "search_sessions"):
        session = f"first-{tool}"
        assert shop.says("?", wants(tool), user=tool, session=session) == "[]"


def test_the_chat_history_is_the_last_exchanges_oldest_first(shop: Shop) -> None:
    for message in ("one", "two", "three", "four"):
        shop.says(message)
    assert shop.told("read_chat_history", {}) == pairs("two", "three", "four")
    assert shop.told("read_chat_history", {"limit": 1}) == pairs("?")


def test_the_chat_history_can_be_read_page_by_page(shop: Shop) -> None:
    for message in ("one", "two", "three", "four", "five"):
        shop.says(message)
    first = shop.told("read_chat_history", {"limit": 2, "skip": 2})
    assert first == pairs("two", "three")
    assert shop.told("read_chat_history", {"limit": 3, "skip": 5}) == pairs("one")
    assert shop.told("read_chat_history", {"skip": 50}) == []


def test_nothing_but_what_was_said_is_in_it(shop: Shop) -> None:
    shop.says("one", wants("price", item="tea"))
    for tool in ("read_chat_history", "search_sessions"):
        text = shop.says("?", wants(tool), session="s" if tool == "read_chat_history" else "new")
        assert SYSTEM not in text
        assert '"s"' not in text
        assert "tokens" not in text


def test_tool_calls_are_told_newest_first_with_their_results(shop: Shop) -> None:
    both = Reply(
        "",
        tool_calls=(
            ToolCall(id="a", name="price", arguments='{"item": "tea"}'),
            ToolCall(id="b", name="price", arguments='{"item": '),
        ),
    )
    shop.says("one", both)
    shop.says("two", wants("price", item="bread"))
    newest, second, third = shop.told("read_tool_call_history", {})
    assert newest == {"tool": "price", "arguments": {"item": "bread"}, "result": "4"}
    assert (second["tool"], second["arguments"]) == ("price", '{"item": ')
    assert second["result"].startswith("error: the arguments of 'price' do not fit")
    assert third == {"tool": "price", "arguments": {"item": "tea"}, "result": "3"}
    assert shop.told("read_tool_call_history", {"limit": 1}) == [newest]


def test_what_read_the_tool_calls_is_not_among_them(shop: Shop) -> None:
    shop.says("one", wants("price", item="tea"))
    for _ in range(3):
        (call,) = shop.told("read_tool_call_history", {"limit": 5})
        assert call["tool"] == "price"


def test_other_sessions_are_told_latest_first_without_this_one(shop: Shop) -> None:
    for session in ("s1", "s2", "s3"):
        for word in ("hello", "goodbye"):
            shop.says(f"{word} {session}", session=session)
    shop.says("here", session="now")
    assert shop.told("search_sessions", {}, session="now") == [
        {"conversation": pairs("hello s3", "goodbye s3")},
        {"conversation": pairs("hello s2", "goodbye s2")},
    ]
    found = shop.told("search_sessions", {"query": " HELLO ", "limit": 1}, session="now")
    assert found == [{"conversation": pairs("hello s3")}]
    assert shop.told("search_sessions", {"query": "nowhere"}, session="now") == []


def test_long_texts_of_other_sessions_are_cut_with_a_mark(shop: Shop) -> None:
    shop.says("a" * 600, session="s1")
    ((exchange,),) = [
        each["conversation"] for each in shop.told("search_sessions", {}, session="now")
    ]
    assert exchange["user"] == "a" * 500 + "…"
    assert exchange["assistant"].endswith("a…")


def test_nobody_reads_what_another_user_said(shop: Shop) -> None:
    shop.says("a secret", wants("price", item="tea"), user="ann", session="s")
    shop.says("hers too", user="ann", session="other")
    for user in ("bob", None):
        for tool in ("read_chat_history", "read_tool_call_history", "search_sessions"):
            text = shop.says("?", wants(tool), user=user, session=f"{tool} s")
            assert "secret" not in text
            assert "hers" not in text
            assert "tea" not in text
        assert shop.told("read_chat_history", {}, user=user, session="s") == []


@pytest.mark.parametrize("limit", [0, -1, 51, "many"])
def test_a_limit_that_cannot_be_is_told(shop: Shop, limit: Any) -> None:
    text = shop.says("?", wants("read_chat_history", limit=limit))
    assert text.startswith("error: the arguments of 'read_chat_history' do not fit: limit: ")
