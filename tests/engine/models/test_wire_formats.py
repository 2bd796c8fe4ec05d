"""Answers as providers write them, and messages as they take them: real HTTP, the real litellm."""

# ruff: noqa: ANN401  JSON
from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from teamgraph import Graph, Message, ModelSpec, Reply, Request, Runner, ToolCall, Usage
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph.events import Token
from teamgraph.nodes import Member
from tests.shop import price
from tests.stub import StubAnswer, StubProvider, ask
from tests.stub.client import failure, request_to
from tests.teams import heard, holds_together, of, told

pytestmark = pytest.mark.usefixtures("_keys")

COUNTS = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}


def chunk(reason: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [choice]}


NO_CHOICE = {**chunk(), "choices": []}


def call(name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


def whole(message: dict[str, Any], reason: str = "stop", **more: Any) -> StubAnswer:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "service_tier": ""}
    return body({**head, "choices": [choice], **more})


def body(content: object) -> StubAnswer:
    data = json.dumps(content).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    return StubAnswer(raw=f"{head}\r\n\r\n".encode() + data)


def streamed(*events: Any) -> StubAnswer:
    return StubAnswer(events=(*events, "[DONE]"))


def answered(stub: StubProvider, answer: StubAnswer, model: str = "openai/stub") -> Reply:
    """The reply that the adapter makes of an answer, streamed or whole."""
    stub.push(answer)
    request = replace(request_to(stub, model), allow_api_base=(stub.base_url,))
    pieces, reply = ask(LiteLLM(), replace(request, stream=answer.events is not None))
    assert "".join(pieces) in ("", reply.text)
    return reply


TWO = [("look", '{"a": 1}'), ("see", '{"b": 2}')]
CALLS = {
    "one index, two ids": streamed(
        chunk(tool_calls=[call(*TWO[0], index=0, id="x")]),
        chunk(tool_calls=[call(*TWO[1], index=0, id="y")]),
        chunk("tool_calls"),
    ),
    "one index, no ids": streamed(
        chunk(tool_calls=[call(*TWO[0], index=0)]),
        chunk("stop", tool_calls=[call(*TWO[1], index=0)]),
    ),
    "neither index nor id": streamed(
        chunk(tool_calls=[call(*TWO[0]), call(*TWO[1])]), chunk("tool_calls")
    ),
    "in pieces": streamed(
        chunk(tool_calls=[call("look", "", index=0, id="x")]),
        chunk(tool_calls=[call(None, '{"a"', index=0, id=None)]),
        chunk(tool_calls=[call("", ": 1}", index=0, id="")]),
        chunk(tool_calls=[call(*TWO[1], index=1, id="y")]),
        chunk("tool_calls"),
    ),
    "objects": streamed(
        chunk(tool_calls=[call("look", {"a": 1}, index=0, id="x")]),
        chunk(tool_calls=[call("see", {"b": 2}, index=1, id="y")]),
        chunk("tool_calls"),
    ),
    "whole, no ids": whole({"content": None, "tool_calls": [call(*TWO[0]), call(*TWO[1])]}),
    "whole, objects": whole(
        {
            "content": "",
            "tool_calls": [call("look", {"a": 1}, id="x"), call("see", {"b": 2}, id="y")],
        },
        "tool_calls",
    ),
}


@pytest.mark.parametrize("model", ["openai/stub", "hosted_vllm/stub"])
@pytest.mark.parametrize("answer", CALLS.values(), ids=CALLS)
def test_tool_calls_are_told_apart_however_they_are_written(
    stub: StubProvider, model: str, answer: StubAnswer
) -> None:
    calls = answered(stub, answer, model).tool_calls
    assert [(each.name, each.arguments) for each in calls] == TWO


PARTS = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
TEXTS = {
    "parts": (streamed(chunk(content=PARTS[:1]), chunk("stop", content=PARTS[1:])), "one two"),
    "with thoughts": (streamed(chunk(content=[THOUGHT]), chunk("stop", content=PARTS)), "one two"),
    "whole parts": (whole({"content": [THOUGHT, *PARTS]}), "one two"),
    "parts in a stream that nobody asked for": (
        StubAnswer(raw=b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
        + b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in (
            chunk(content=PARTS[:1], reasoning="hm"), chunk("stop", content=PARTS[1:])))),
        "one two",
    ),
    "empty choices, null content": (
        streamed(NO_CHOICE, chunk(content=None), chunk("stop", content="ok")),
        "ok",
    ),
    "a refusal": (streamed(chunk(refusal="I will not"), chunk("stop")), "I will not"),
    "a whole refusal": (whole({"content": None, "refusal": "I will not"}), "I will not"),
    "no choices": (body({"id": "1", "object": "chat.completion", "choices": []}), ""),
    "thoughts alone": (streamed(chunk(reasoning_content="Hm."), chunk("stop")), ""),
    "whole thoughts": (whole({"content": "ok", "reasoning_content": "Hm."}), "ok"),
}  # fmt: skip


@pytest.mark.parametrize("model", ["openai/stub", "hosted_vllm/stub"])
@pytest.mark.parametrize(("answer", "text"), TEXTS.values(), ids=TEXTS)
def test_the_answer_is_the_text_of_whatever_a_content_is(
    stub: StubProvider, model: str, answer: StubAnswer, text: str
) -> None:
    assert answered(stub, answer, model).text == text


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        (streamed(chunk(content="ok"), chunk("stop"), {**NO_CHOICE, "usage": COUNTS}), 5),
        (streamed(chunk(content="ok"), {**chunk("stop"), "usage": COUNTS}), 5),
        (streamed(chunk(content="ok"), chunk("stop")), 0),
        (whole({"content": "ok"}, usage=COUNTS), 5),
        (whole({"content": "ok"}), 0),
    ],
    ids=["last chunk", "with the reason", "none", "whole", "whole, none"],
)  # fmt: skip
def test_usage_is_what_the_provider_counts_or_unknown(
    stub: StubProvider, answer: StubAnswer, tokens: int
) -> None:
    usage = answered(stub, answer, "openai/gpt-4o-mini").usage
    assert (usage.input_tokens, usage.calls) == (tokens, 1)
    assert (usage.cost is not None) is bool(tokens), "what was not counted has no known price"


@pytest.mark.parametrize("reason", ["length", "content_filter"])
@pytest.mark.parametrize("model", ["openai/stub", "hosted_vllm/stub"])
def test_why_an_answer_ended_is_what_the_provider_says(
    stub: StubProvider, model: str, reason: str
) -> None:
    answer = streamed(chunk(content="ok"), chunk(reason))
    assert answered(stub, answer, model).finish_reason == reason
    assert answered(stub, whole({"content": "ok"}, reason), model).finish_reason == reason
    stub.push(streamed(chunk(content="ok"), chunk("error")))
    error = failure(request_to(stub, "hosted_vllm/stub"))
    assert "the provider ended it with an error; ask again" in str(error)
    assert (error.retryable, error.interrupted) == (True, True)


def shop(stub: StubProvider, model: str, **parameters: Any) -> Runner:
    spec = ModelSpec(id=model, api_base=stub.base_url, api_key_env="STUB_KEY", **parameters)
    graph = Graph(name="shop", model=spec, nodes={"clerk": Member(tools=[price])})
    return Runner(graph, allow_api_base=[stub.base_url])


DETAILS = [
    {"type": "reasoning.text", "index": 0, "text": "Hm, "},
    {"type": "reasoning.text", "index": 0, "text": "tea.", "signature": None},
    {"type": "reasoning.text", "index": 0, "signature": "SIG"},
    {"type": "reasoning.encrypted", "index": 1, "data": "x"},
]
DETAIL = {"type": "reasoning.text", "index": 0, "text": "Hm, tea.", "signature": "SIG"}
TEA = chunk("tool_calls", tool_calls=[call("price", '{"item": "tea"}', index=0, id="c1")])


@pytest.mark.parametrize(
    ("model", "thoughts", "sent"),
    [
        ("deepseek/x", {"reasoning_content": "Hm, tea."}, {"reasoning_content": "Hm, tea."}),
        ("openai/x", {"reasoning_content": "Hm, tea."}, {"reasoning_content": "Hm, tea."}),
        ("openrouter/x", {"reasoning": "Hm, tea."}, {"reasoning": "Hm, tea."}),
        ("groq/x", {"reasoning": "Hm, tea."}, {}),
        ("openai/x", {}, {}),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_go_back_with_the_tool_s_result_where_the_provider_wants_them(
    stub: StubProvider, model: str, thoughts: Any, sent: Any, stream: bool
) -> None:
    called = whole({"content": "", **thoughts, "tool_calls": [call("price", {"item": "tea"})]})
    events = [chunk(**{name: text[:4]}) for name, text in thoughts.items()]
    events += [chunk(**{name: text[4:]}) for name, text in thoughts.items()]
    stub.push(streamed(*events, TEA) if stream else called, "It is 3.")
    runner = shop(stub, model)
    events = heard(runner, tokens=stream)
    if stream:
        holds_together(events)
        assert "Hm" not in "".join(token.text for token in of(events, Token))
    message = stub.requests[1].messages[-2]
    assert set(message) - {"role", "content", "tool_calls"} == set(sent)
    assert {name: message[name] for name in sent} == sent


def test_blocks_with_signatures_go_back_as_they_came(stub: StubProvider) -> None:
    signed = [chunk(reasoning_details=[each, "odd"]) for each in DETAILS]
    stub.push(streamed(*signed, TEA), "It is 3.")
    heard(shop(stub, "openrouter/x"))
    assert stub.requests[1].messages[-2]["reasoning_details"] == [DETAIL, DETAILS[3]]


def event(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, **fields}


def delta(kind: str, index: int, **fields: Any) -> dict[str, Any]:
    return event("content_block_delta", index, delta={"type": f"{kind}_delta", **fields})


THINKING = {"type": "thinking", "thinking": "Hm, tea.", "signature": "SIG"}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "price", "input": {"item": "tea"}}
HEAD = {"id": "m", "type": "message", "role": "assistant", "model": "claude-x"}
OPENED = event("message_start", message={**HEAD, "content": [], "usage": {"input_tokens": 7}})
CLAUDE = (
    OPENED,
    event("content_block_start", 0, content_block={**THINKING, "thinking": "", "signature": ""}),
    delta("thinking", 0, thinking="Hm, "),
    delta("thinking", 0, thinking="tea."),
    delta("signature", 0, signature="SIG"),
    event("content_block_stop", 0),
    event("content_block_start", 1, content_block={"type": "text", "text": ""}),
    delta("text", 1, text="Let me look."),
    event("content_block_stop", 1),
    event("content_block_start", 2, content_block={**TOOL_USE, "input": {}}),
    delta("input_json", 2, partial_json='{"item": "tea"}'),
    event("content_block_stop", 2),
    event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 9}),
    event("message_stop"),
)
DONE = (
    OPENED,
    event("content_block_start", 0, content_block={"type": "text", "text": ""}),
    delta("text", 0, text="It is 3."),
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}),
    event("message_stop"),
)


@pytest.mark.parametrize("stream", [True, False])
def test_anthropic_s_thinking_goes_back_signed_in_front_of_the_tool_call(
    stub: StubProvider, stream: bool
) -> None:
    counts = {"usage": {"input_tokens": 7, "output_tokens": 9}}
    content = [THINKING, {"type": "text", "text": "Let me look."}, TOOL_USE]
    last = {"content": [{"type": "text", "text": "It is 3."}], "stop_reason": "end_turn"}
    answers = [StubAnswer(events=CLAUDE), StubAnswer(events=DONE)]
    if not stream:
        answers = [body({**HEAD, "content": content, "stop_reason": "tool_use", **counts})]
        answers.append(body({**HEAD, **last, **counts}))
    stub.push(*answers)
    thinking = {"type": "enabled", "budget_tokens": 1024}
    runner = shop(stub, "anthropic/claude-sonnet-4-5", thinking=thinking)
    events = heard(runner, tokens=stream)
    if stream:
        assert told(events) == "Let me look.\n\nIt is 3."
    said, result = stub.requests[1].body["messages"][-2:]
    assert said["content"] == content
    assert result["content"][0]["tool_use_id"] == "toolu_1"


def test_thoughts_of_one_model_are_not_sent_to_another(stub: StubProvider) -> None:
    kept = json.dumps({"model": "deepseek/y", "reasoning_content": "Hm."})
    made = ToolCall(id="c", name="f", arguments="{}")
    messages = (
        Message(role="user", content="x"),
        Message(role="assistant", content="", tool_calls=(made,), reasoning=kept),
        Message(role="tool", content="1", tool_call_id="c"),
    )
    ask(LiteLLM(), request_to(stub, "openai/stub", messages))
    assert "reasoning_content" not in stub.requests[0].messages[1]


def said(*texts: str) -> tuple[Message, ...]:
    """Messages, each with its role before the colon."""
    parts = [text.partition(":") for text in texts]
    return tuple(Message(role=role, content=text) for role, _, text in parts)  # type: ignore[arg-type]  a role


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        (said("system:s", "user:u", "assistant:a", "user:v"), ["s", "u", "a", "v"]),
        (said("system:s", "assistant:a", "user:u"), ["s", "(The conversation begins.)", "a", "u"]),
        (said("user:u", "user:v", "assistant:a", "assistant:b"), ["u\n\nv", "a\n\nb"]),
        (said("system:s", "system:t", "user: ", "user:u", "assistant:"), ["s\n\nt", "u"]),
        (said("user: ", "assistant:a", "user:u"), ["(The conversation begins.)", "a", "u"]),
        (said("system:s"), ["s"]),
    ],
)  # fmt: skip
def test_messages_are_sent_so_that_strict_providers_take_them(
    stub: StubProvider, messages: tuple[Message, ...], sent: list[str]
) -> None:
    ask(LiteLLM(), request_to(stub, messages=messages))
    assert [message["content"] for message in stub.requests[0].messages] == sent


def test_names_marks_and_calls_keep_messages_apart_and_empty_results_say_so(
    stub: StubProvider,
) -> None:
    made = ToolCall(id="c", name="f", arguments="{}")
    messages = (
        Message(role="user", content="a", name="ann"),
        Message(role="user", content="b", name="bob"),
        Message(role="assistant", content="wait"),
        Message(role="assistant", content=" ", tool_calls=(made,)),
        Message(role="tool", content="", tool_call_id="c"),
        Message(role="tool", content="x", tool_call_id="d"),
        Message(role="user", content="c", cache=True),
        Message(role="user", content="d"),
    )
    ask(LiteLLM(), request_to(stub, messages=messages))
    found = stub.requests[0].messages
    assert [message.get("content") for message in found] == [
        "a", "b", "wait", "(empty)", "x", "c", "d"
    ]  # fmt: skip
    assert found[2]["tool_calls"][0]["id"] == "c"


def test_what_a_provider_cannot_have_counted_is_not_counted() -> None:
    class Strange:
        async def ask(self, request: Request) -> Any:
            yield Reply("x", usage=Usage(-5, -7, -1, calls=-2, cost=-0.5))

    run = Runner(Graph(name="g", nodes={"a": Member()}), model=Strange()).run("hi")
    assert run.usage == Usage(calls=1, cost=0.0)
