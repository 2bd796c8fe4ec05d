"""AG-UI's front ends against the server, read with that package's own models."""

# ruff: noqa: ANN401  unions of the package
from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from typing import Any

import pytest
from ag_ui.core import Event, RunAgentInput, UserMessage
from pydantic import TypeAdapter

from teamgraph import Graph, Reply, ScriptedModel, ToolCall
from teamgraph.nodes import Human, Member, Python
from tests.engine.server.conftest import ASKS, DUO, Serve

EVENT: TypeAdapter[Any] = TypeAdapter(Event)


def told(served: Any, graph: str, text: Any = "hi", run_id: str = "r", **options: Any) -> list[Any]:
    """The events of a run, each read by the package and in an order that its client accepts."""
    asked = RunAgentInput(
        thread_id="t",
        run_id=run_id,
        messages=[UserMessage(id="1", content=text)],
        **{"tools": [], "context": [], "state": {}, "forwarded_props": {}, **options},
    )
    body = asked.model_dump(mode="json", by_alias=True, exclude_none=True)
    answer = served.client.post(f"/agui/{graph}", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    events = [EVENT.validate_python(json.loads(line[6:])) for line in lines]
    in_order([event.type for event in events])
    return events


def in_order(types: list[str]) -> None:
    """What the client's `verifyEvents` demands of an order."""
    assert types[0] == "RUN_STARTED"
    assert types[-1] in ("RUN_FINISHED", "RUN_ERROR")
    count = Counter[str]()
    for each in types:
        count[each] += 1
        assert count["TEXT_MESSAGE_CONTENT"] == 0 or count["TEXT_MESSAGE_START"] == 1
        assert count["STEP_FINISHED"] <= count["STEP_STARTED"]
    assert count["RUN_STARTED"] == 1
    if types[-1] == "RUN_FINISHED":
        assert count["TEXT_MESSAGE_START"] == count["TEXT_MESSAGE_END"]
        assert count["STEP_STARTED"] == count["STEP_FINISHED"]
        assert count["TOOL_CALL_START"] == count["TOOL_CALL_END"]


def text_of(events: list[Any]) -> str:
    return "".join(each.delta for each in events if each.type == "TEXT_MESSAGE_CONTENT")


def test_a_front_end_sees_steps_and_the_answer(serve: Serve) -> None:
    served = serve(DUO, model=ScriptedModel(["one", "two words"]))
    events = told(served, "duo", [{"type": "text", "text": "hi"}])
    steps = [each.step_name for each in events if each.type == "STEP_STARTED"]
    assert steps == ["first", "last"]
    assert text_of(events) == "two words"
    assert events[-1].outcome.type == "success"
    assert events[-1].result == "two words"


def test_a_front_end_sees_tool_calls(serve: Serve) -> None:
    def double(number: int) -> int:
        """Double a number."""
        return 2 * number

    graph = Graph(name="t", model="m", nodes={"member": Member(tools=[double])})
    calls = Reply("", tool_calls=(ToolCall(id="c", name="double", arguments='{"number": 4}'),))
    events = told(serve(graph, model=ScriptedModel([calls, "done"])), "t")
    called = {each.type: each for each in events if each.type.startswith("TOOL_CALL")}
    assert called["TOOL_CALL_START"].tool_call_name == "double"
    assert called["TOOL_CALL_ARGS"].delta == '{"number": 4}'
    assert called["TOOL_CALL_RESULT"].content == "8"
    assert text_of(events) == "done"


def test_a_question_is_an_interrupt_that_resume_answers(serve: Serve) -> None:
    served = serve(ASKS)
    events = told(served, "asks")
    (interrupt,) = events[-1].outcome.interrupts
    assert (interrupt.id, interrupt.message, interrupt.reason) == ("ok", "May I?", "question")
    assert interrupt.response_schema == {"enum": ["yes", "no"]}
    answer = {"interrupt_id": "ok", "status": "resolved", "payload": "yes"}
    assert text_of(told(served, "asks", run_id="r2", resume=[answer])) == "one"
    body = {"threadId": "t", "runId": "r3", "messages": [], "resume": [answer]}
    again = served.client.post("/agui/asks", json={**REST, **body})
    assert again.status_code == 409


REST: dict[str, Any] = {"tools": [], "context": [], "state": {}, "forwardedProps": {}}


def test_a_question_with_a_type_and_an_end_says_so(serve: Serve) -> None:
    graph = Graph(name="t", nodes={"ask": Human(returns={"city": "str"}, expires=60)})
    (interrupt,) = told(serve(graph), "t")[-1].outcome.interrupts
    assert "city" in interrupt.response_schema["properties"]
    assert interrupt.expires_at.endswith("+00:00")
    free = Graph(name="t", nodes={"ask": Human()})
    (interrupt,) = told(serve(free), "t")[-1].outcome.interrupts
    assert (interrupt.response_schema, interrupt.expires_at) == (None, None)


def test_a_run_that_fails_ends_with_its_error(serve: Serve) -> None:
    def fail(message: str) -> str:
        raise ValueError("oh no")

    graph = Graph(name="t", nodes={"bad": Python(call=fail)}, output=["bad"])
    last = told(serve(graph), "t")[-1]
    assert (last.type, last.code) == ("RUN_ERROR", "run_failed")
    assert "oh no" in last.message


PNG = b"\x89PNG\r\n\x1a\n..."
SOURCES: list[dict[str, Any]] = [
    {"type": "data", "value": b64encode(PNG).decode(), "mimeType": "image/png"},
    {"type": "url", "value": "https://example.com/signed?key=1"},
]


def test_what_comes_with_the_message_is_attached(serve: Serve) -> None:
    model = ScriptedModel(["one", "two"])
    parts = [{"type": "text", "text": "hi"}, *({"type": "image", "source": s} for s in SOURCES)]
    told(serve(DUO, model=model), "duo", parts)
    sent = model.requests[0].messages[-1].parts
    assert [(each.name, each.media_type, each.url or each.size) for each in sent] == [
        ("attachment.png", "image/png", len(PNG)),
        ("signed", "image/jpeg", "https://example.com/signed?key=1"),
    ]


def video(source: dict[str, str]) -> dict[str, Any]:
    return {"id": "1", "role": "user", "content": [{"type": "video", "source": source}]}


FILE = {"type": "image", "source": {"type": "file", "value": "file-1"}}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "the last one must be the user's"),
        ([{"id": "1", "role": "assistant", "content": "x"}], "the last one must be the user's"),
        ([video(SOURCES[1])], "'video' is not taken here"),
        ([{"id": "1", "role": "user", "content": [FILE]}], "no files are kept here"),
        ([{"id": "1", "role": "user", "content": 3}], "content"),
    ],
)
def test_what_does_not_fit_is_refused(serve: Serve, messages: Any, reason: str) -> None:
    body = {"threadId": "t", "runId": "r", "messages": messages}
    answer = serve(DUO).client.post("/agui/duo", json={**REST, **body})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]["message"]
