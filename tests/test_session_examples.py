"""The four examples of sessions do what they promise, with a scripted model."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from teamgraph import Reply, Request, ScriptedModel, Store, ToolCall
from tests.teams import words_of

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(request: Request) -> list[str]:
    return [message.content.strip() for message in request.messages[1:]]


def test_two_users_talk_at_once_and_the_summary_of_one_is_about_its_own_talk(store: Store) -> None:
    shown = example("multi_user_multi_session")

    def answer(request: Request) -> str:
        message = request.messages[-1].content.strip()
        is_french = message in shown.TALKS["user_101", "session_101"]
        if request.choices:
            return "french_agent" if is_french else "english_agent"
        return f"answer to {message}"

    model = ScriptedModel(answer, delay=0.001)
    asyncio.run(shown.talk(shown.build(model, store)))
    (asked,) = (
        said(request)
        for request in model.requests
        if not request.choices and "summary" in said(request)[-1]
    )
    assert asked == [
        "Tell me about quantum physics.",
        "answer to Tell me about quantum physics.",
        "What is the speed of light?",
        "answer to What is the speed of light?",
        "Give me a summary of our conversation.",
    ]
    french = shown.build(model, store).get_chat_history("session_101", user_id="user_101")
    assert [message.content for message in french][::2] == [
        "Comment ça va ?",
        "Raconte-moi une blague.",
    ]


def test_the_summary_of_a_session_is_printed(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = example("session_summary")

    def answer(request: Request) -> object:
        if request.choices:
            return "expert"
        if request.schema is not None:
            about = "qubits and LLMs" if "LLMs" in words_of(request) else "qubits"
            return {"summary": f"They talked about {about}.", "topics": ["technology"]}
        return f"About: {request.messages[-1].content.strip()}"

    model = ScriptedModel(answer)  # type: ignore[arg-type]  # each of these is an answer
    shown.talk(shown.build(model, store), "one")
    printed = capsys.readouterr().out
    assert "About: What can you tell me about quantum computing?\n" in printed
    assert "Session summary: They talked about qubits and LLMs." in printed
    shown.talk(shown.build_own(model, store, "small"), "two")
    summed_up = model.requests[-1]
    assert summed_up.model == "small"
    assert "Write one sentence for each question" in words_of(summed_up)
    assert "I would also like to know about LLMs?" in words_of(summed_up)


@pytest.mark.parametrize("way", ["by the history", "by the tool"])
def test_the_first_message_is_known(way: str, store: Store) -> None:
    shown = example("session_history")
    call = ToolCall(id="c", name="read_chat_history", arguments='{"limit": 50}')

    def answer(request: Request) -> str | Reply:
        if "first message" not in request.messages[-1].content and len(request.messages) == 2:
            return "It was dark. It was darker."
        if way == "by the tool" and request.messages[-1].role != "tool":
            return Reply("", tool_calls=(call,))
        if way == "by the tool":
            return f"It was: {json.loads(request.messages[-1].content)[0]['user']}"
        return f"It was: {request.messages[1].content}"

    agent = shown.build(ScriptedModel(answer), store)
    shown.talk(agent)
    assert agent.get_chat_history()[-1].content == "It was: Share a 2 sentence horror story"


def test_exactly_the_last_two_other_sessions_are_searched(store: Store) -> None:
    shown = example("search_session_history")

    def answer(request: Request) -> str:
        return "geographer" if request.choices else f"Answer: {request.messages[-1].content}"

    model = ScriptedModel(answer)
    shown.talk(shown.build(model, store))
    seen = model.requests[-1].messages[0].content
    assert [place for place in shown.PLACES if place in seen] == ["France", "Japan"]
    assert seen.count("What is the capital of Japan?\n</earlier-message>") == 1
    assert shown.QUESTION not in seen


def test_what_somebody_else_said_is_not_searched(store: Store) -> None:
    shown = example("search_session_history")
    model = ScriptedModel(lambda request: "geographer" if request.choices else "yes")
    shown.build(model, store).run("A secret.", user_id="user_2", session_id="theirs")
    shown.talk(shown.build(model, store))
    assert "secret" not in model.requests[-1].messages[0].content
