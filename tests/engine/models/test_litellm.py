"""The real litellm against a provider on loopback: requests, answers, failures."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import warnings
from contextlib import aclosing, suppress

import pytest
from msgspec.structs import replace

from teamgraph import JSON, Chunk, Message, Reply, Request, ToolCall
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph.errors import ModelError
from tests.stub import StubAnswer, StubProvider, ask, ask_all, wait_until
from tests.stub.client import HELLO, SECRET, cancelled_in_flight, request_to

pytestmark = pytest.mark.usefixtures("_keys")


def test_nothing_of_litellm_is_imported_before_it_is_used() -> None:
    code = "import sys, teamgraph.engine.models.litellm\n"
    code += "print([m for m in sys.modules if m.startswith('litellm')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_first_call_makes_no_sound_and_reads_no_dotenv(
    stub: StubProvider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("project")
    (place / ".env").write_text("READ_FROM_DOTENV=yes\n")
    code = f"""
import asyncio, os
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph import Request
from teamgraph import Message
async def main():
    parameters = {{"api_base": {stub.base_url!r}, "api_key": "k"}}
    for model in ("openai/stub", "openai/stub?fault=500", "nonsense"):
        request = Request(model, (Message(role="user", content="hi"),), parameters=parameters)
        try:
            print([part async for part in LiteLLM().ask(request)][-1].text)
        except Exception as error:
            print(type(error).__name__)
    print(os.environ.get("READ_FROM_DOTENV"))
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=place
    )
    assert done.stdout.split("\n") == ["echo: hi", "ModelError", "NoModelError", "None", ""]
    assert done.stderr == ""


def process_state() -> dict[str, object]:
    loggers = logging.root.manager.loggerDict
    return {
        "environ": dict(os.environ),
        "filters": list(warnings.filters),
        "path": list(sys.path),
        "loggers": {
            name: (each.level, list(each.handlers), each.disabled)
            for name, each in loggers.items()
            if isinstance(each, logging.Logger)
        },
    }


@pytest.mark.parametrize("model", ["openai/stub", "openai/stub?fault=500", "openai/stub?fault=cut"])
def test_a_request_changes_nothing_of_the_process(
    stub: StubProvider, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    ask(LiteLLM(), request_to(stub))  # imports litellm; what that needs is set once, here
    with suppress(ModelError):
        ask(LiteLLM(), request_to(stub, model))  # loggers that its own code makes
    monkeypatch.delenv("LITELLM_MODE")
    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP")
    level = logging.getLogger("LiteLLM").level
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL + 1)
    before = process_state()
    with suppress(ModelError):
        ask(LiteLLM(), request_to(stub, model))
    after = process_state()
    logging.getLogger("LiteLLM").setLevel(level)
    assert after == before


def test_the_answer_comes_in_the_pieces_of_the_provider(stub: StubProvider) -> None:
    stub.push(StubAnswer("one two three", chunk_size=4))
    pieces, reply = ask(LiteLLM(), request_to(stub))
    assert pieces == ["one ", "two ", "thre", "e"]
    assert (reply.text, reply.finish_reason, reply.model) == ("one two three", "stop", "stub")


def test_a_piece_is_there_before_the_next_is_sent(stub: StubProvider) -> None:
    async def first() -> Chunk | Reply:
        stub.push(StubAnswer("one two", fault="stall", after=2))
        async with aclosing(LiteLLM().ask(request_to(stub))) as parts:
            return await anext(parts)

    assert asyncio.run(first()) == Chunk("one ")


def test_exactly_this_is_sent(stub: StubProvider) -> None:
    messages = (
        Message(role="system", content="Be brief.", cache=True),
        Message(role="user", content="look", name="ada"),
        Message(role="assistant", content="", tool_calls=(_call("look", '{"at": 1}'),)),
        Message(role="tool", content="a cat", tool_call_id="call_1", origin="run-1"),
    )
    ask(
        LiteLLM(),
        request_to(stub, messages=messages, temperature=0.5, seed=7, fallback=["openai/b"]),
    )
    (request,) = stub.requests
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.body == {
        "model": "stub",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "look", "name": "ada"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "look", "arguments": '{"at": 1}'},
                    }
                ],
            },
            {"role": "tool", "content": "a cat", "tool_call_id": "call_1"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "seed": 7,
    }


@pytest.mark.parametrize(
    "parameters",
    [
        {"stream": False},
        {"stream_options": {"include_usage": False}},
        {"response_format": {"type": "json_object"}},
        {"tool_choice": "none"},
        {"structured": "tool", "tool_choice": "auto"},
    ],
)
def test_what_a_graph_sets_for_the_provider_is_sent_as_it_is(
    stub: StubProvider, parameters: dict[str, JSON]
) -> None:
    schema: dict[str, JSON] = {"type": "object", "properties": {}}
    tool: dict[str, JSON] = {"type": "function", "function": {"name": "look", "parameters": {}}}
    request = request_to(stub, **parameters)
    with suppress(ModelError):  # how it is answered is not the question here
        ask(LiteLLM(), replace(request, schema=schema, tools=(tool,)))
    body = {"stream": False, **stub.requests[0].body}
    parameters.pop("structured", None)
    assert {name: body[name] for name in parameters} == parameters


def _call(name: str, arguments: str) -> ToolCall:
    return ToolCall(id="call_1", name=name, arguments=arguments)


def test_a_message_to_cache_is_marked_for_providers_that_want_the_mark(
    stub: StubProvider,
) -> None:
    messages = (Message(role="system", content="Be brief.", cache=True), *HELLO)
    ask(LiteLLM(), request_to(stub, "openrouter/anthropic/claude-x", messages))
    (part,) = stub.requests[0].messages[0]["content"]
    assert part["text"] == "Be brief."
    assert part["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize("closed", [True, False])
def test_a_schema_is_sent_and_is_strict_where_it_can_be(stub: StubProvider, closed: bool) -> None:
    schema: dict[str, JSON] = {
        "type": "object",
        "properties": {"lang": {"enum": ["en", "fr"]}},
        "required": ["lang"],
    }
    if closed:
        schema["additionalProperties"] = False
    request = request_to(stub)
    reply = ask(LiteLLM(), Request("openai/stub", HELLO, schema, parameters=request.parameters))[1]
    assert json.loads(reply.text) == {"lang": "en"}
    assert stub.requests[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": closed},
    }


def test_tool_calls_are_put_together_from_their_pieces(stub: StubProvider) -> None:
    tool: dict[str, JSON] = {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
    }
    stub.push(StubAnswer(tool_calls=(("look", {"at": "here"}), ("see", {"what": "all of it"}))))
    request = Request("openai/stub", HELLO, tools=(tool,), parameters=request_to(stub).parameters)
    pieces, reply = ask(LiteLLM(), request)
    assert pieces == []
    assert [(call.name, json.loads(call.arguments)) for call in reply.tool_calls] == [
        ("look", {"at": "here"}),
        ("see", {"what": "all of it"}),
    ]
    assert len({call.id for call in reply.tool_calls}) == 2
    assert stub.requests[0].body["tools"] == [tool]
    assert reply.finish_reason == "tool_calls"


def test_usage_is_what_the_provider_counted_and_an_unknown_price_stays_unknown(
    stub: StubProvider,
) -> None:
    usage = ask(LiteLLM(), request_to(stub))[1].usage
    assert (usage.input_tokens, usage.output_tokens, usage.calls) == (9, 7, 1)
    assert usage.cost is None


def test_a_known_price_is_in_the_usage(stub: StubProvider) -> None:
    usage = ask(LiteLLM(), request_to(stub, "openai/gpt-4o-mini"))[1].usage
    assert usage.cost is not None
    assert 0 < usage.cost < 0.001


def test_cached_and_reasoning_tokens_are_counted_apart(stub: StubProvider) -> None:
    choice = {"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"}
    counts = {
        "prompt_tokens": 9,
        "completion_tokens": 7,
        "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    stub.push(
        StubAnswer(events=({"choices": [choice]}, {"choices": [], "usage": counts}, "[DONE]"))
    )
    usage = ask(LiteLLM(), request_to(stub))[1].usage
    assert (usage.input_tokens, usage.cached_tokens) == (9, 4)
    assert (usage.output_tokens, usage.reasoning_tokens) == (7, 5)


def test_closing_early_closes_the_connection(stub: StubProvider) -> None:
    async def first_piece() -> None:
        async with aclosing(LiteLLM().ask(request_to(stub, "openai/stub?fault=stall"))) as parts:
            await anext(parts)
            assert stub.in_flight == 1
        await wait_until(lambda: stub.in_flight == 0)

    asyncio.run(first_piece())


@pytest.mark.parametrize("model", ["openai/stub", "hosted_vllm/stub", "gemini/stub"])
def test_connections_are_closed_with_their_event_loop(model: str) -> None:
    async def ask_twice(stub: StubProvider) -> int:
        for _ in range(2):
            with suppress(ModelError):  # the stub does not know Gemini's paths
                await ask_all(LiteLLM(), request_to(stub, model))
        return stub.open_connections

    with StubProvider() as stub:
        for _ in range(2):
            assert asyncio.run(ask_twice(stub)) == 1
            asyncio.run(wait_until(lambda: stub.open_connections == 0))
        assert stub.connections == 2


def test_a_loop_that_was_just_closed_is_forgotten_with_its_clients(stub: StubProvider) -> None:
    loop = asyncio.new_event_loop()
    nowhere = request_to(stub, api_base="http://127.0.0.1:1/v1")
    with pytest.raises(ModelError):
        loop.run_until_complete(ask_all(LiteLLM(), nowhere))
    loop.close()
    import litellm  # noqa: PLC0415  it is heavy

    clients = litellm.in_memory_llm_clients_cache.cache_dict
    assert any(key.endswith(f"-{id(loop)}") for key in clients)
    asyncio.run(ask_all(LiteLLM(), request_to(stub)))
    assert not any(key.endswith(f"-{id(loop)}") for key in clients)


def test_a_cancelled_task_closes_the_connection(stub: StubProvider) -> None:
    asyncio.run(cancelled_in_flight(stub, request_to(stub, "openai/stub?fault=timeout")))


def test_many_can_ask_at_once(stub: StubProvider) -> None:
    async def all_of_them() -> list[str]:
        model = LiteLLM()
        asked = [
            ask_all(model, request_to(stub, messages=(Message(role="user", content=str(number)),)))
            for number in range(20)
        ]
        return [reply.text for _, reply in await asyncio.gather(*asked)]

    assert asyncio.run(all_of_them()) == [f"echo: {number}" for number in range(20)]
