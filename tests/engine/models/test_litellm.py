"""The real litellm against a provider on loopback: what goes out, what comes back, what fails."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from engine.errors import ModelError, NoModelError
from engine.messages import JSON, Message, ToolCall
from engine.models import Chunk, LiteLLM, Reply, Request
from tests.stub import StubAnswer, StubProvider, ask, ask_all, wait_until

SECRET = "sk-very-secret-0123456789"  # noqa: S105 - the stub takes any
HELLO = (Message(role="user", content="hello world, how are you today"),)


@pytest.fixture
def stub() -> Iterator[StubProvider]:
    with StubProvider() as running:
        yield running


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STUB_KEY", SECRET)


def to(
    stub: StubProvider,
    model: str = "openai/stub",
    messages: tuple[Message, ...] = HELLO,
    **parameters: JSON,
) -> Request:
    given: dict[str, JSON] = {"api_base": stub.base_url, "api_key_env": "STUB_KEY"}
    return Request(model, messages, parameters=given | parameters)


def failure(request: Request) -> ModelError:
    with pytest.raises(ModelError) as caught:
        ask(LiteLLM(), request)
    return caught.value


def test_nothing_of_litellm_is_imported_before_it_is_used() -> None:
    code = "import sys, engine.models; print([m for m in sys.modules if m.startswith('litellm')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_first_call_makes_no_sound_and_reads_no_dotenv(
    stub: StubProvider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("project")
    (place / ".env").write_text("READ_FROM_DOTENV=yes\n")
    code = f"""
import asyncio, os
from engine.models import LiteLLM, Request
from engine.messages import Message
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


def test_the_answer_comes_in_the_pieces_of_the_provider(stub: StubProvider) -> None:
    stub.push(StubAnswer("one two three", chunk_size=4))
    pieces, reply = ask(LiteLLM(), to(stub))
    assert pieces == ["one ", "two ", "thre", "e"]
    assert (reply.text, reply.finish_reason, reply.model) == ("one two three", "stop", "stub")


def test_a_piece_is_there_before_the_next_is_sent(stub: StubProvider) -> None:
    async def first() -> Chunk | Reply:
        stub.push(StubAnswer("one two", fault="stall", after=2))
        async with aclosing(LiteLLM().ask(to(stub))) as parts:
            return await anext(parts)

    assert asyncio.run(first()) == Chunk("one ")


def test_exactly_this_is_sent(stub: StubProvider) -> None:
    messages = (
        Message(role="system", content="Be brief.", cache=True),
        Message(role="user", content="look", name="ada"),
        Message(role="assistant", content="", tool_calls=(_call("look", '{"at": 1}'),)),
        Message(role="tool", content="a cat", tool_call_id="call_1", origin="run-1"),
    )
    ask(LiteLLM(), to(stub, messages=messages, temperature=0.5, seed=7, fallback=["openai/b"]))
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


def _call(name: str, arguments: str) -> ToolCall:
    return ToolCall(id="call_1", name=name, arguments=arguments)


def test_a_message_to_cache_is_marked_for_providers_that_want_the_mark(
    stub: StubProvider,
) -> None:
    messages = (Message(role="system", content="Be brief.", cache=True), *HELLO)
    ask(LiteLLM(), to(stub, "openrouter/anthropic/claude-x", messages))
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
    request = to(stub)
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
    request = Request("openai/stub", HELLO, tools=(tool,), parameters=to(stub).parameters)
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
    usage = ask(LiteLLM(), to(stub))[1].usage
    assert (usage.input_tokens, usage.output_tokens, usage.calls) == (9, 7, 1)
    assert usage.cost is None


def test_a_known_price_is_told(stub: StubProvider) -> None:
    usage = ask(LiteLLM(), to(stub, "openai/gpt-4o-mini"))[1].usage
    assert usage.cost is not None
    assert 0 < usage.cost < 0.001


@pytest.mark.parametrize(
    ("fault", "retryable", "words"),
    [
        ("400", False, "refused the request"),
        ("401", False, "refused the key (401); set "),
        ("403", False, "does not allow this key"),
        ("404", False, "knows no such model (404"),
        ("408", True, "did not answer in time"),
        ("413", False, "too large"),
        ("422", False, "refused the request"),
        ("429", True, "asked too often"),
        ("500", True, "the provider failed (500"),
        ("502", True, "the provider failed (502"),
        ("503", True, "the provider failed (503"),
        ("529", True, "is overloaded (529"),
    ],
)
def test_a_refusal_is_told_by_its_status(
    stub: StubProvider, fault: str, retryable: bool, words: str
) -> None:
    error = failure(to(stub, f"openai/stub?fault={fault}"))
    assert (error.status, error.retryable, error.interrupted) == (int(fault), retryable, False)
    assert words in str(error)
    assert str(error).startswith(f"model openai/stub?fault={fault}: ")
    assert len(stub.requests) == 1


def test_a_prompt_over_the_context_is_told_as_such(stub: StubProvider) -> None:
    error = failure(to(stub, "openai/stub?fault=context"))
    assert "the prompt is longer than the model reads (" in str(error)
    assert (error.status, error.retryable) == (400, False)


@pytest.mark.parametrize("status", ["429", "503"])
def test_the_wait_that_the_provider_asks_for_is_passed_on(stub: StubProvider, status: str) -> None:
    error = failure(to(stub, f"openai/stub?fault={status}&retry_after=7"))
    assert error.retry_after == 7.0


def test_no_answer_within_the_idle_time_is_worth_another_try(stub: StubProvider) -> None:
    request = to(stub, "openai/stub?fault=timeout")
    error = failure(Request(request.model, HELLO, parameters=request.parameters, idle=1))
    assert "no sign of life for 1 seconds" in str(error)
    assert (error.retryable, error.interrupted) == (True, False)


def test_a_stream_that_goes_silent_is_given_up(stub: StubProvider) -> None:
    request = to(stub, "openai/stub?fault=stall")
    error = failure(Request(request.model, HELLO, parameters=request.parameters, idle=1))
    assert "no sign of life for 1 seconds" in str(error)
    assert (error.retryable, error.interrupted) == (True, True)


def test_a_timeout_among_the_parameters_is_the_provider_s_own(stub: StubProvider) -> None:
    error = failure(to(stub, "openai/stub?fault=timeout", timeout=0.2))
    assert "did not answer in time" in str(error)
    assert error.retryable


@pytest.mark.parametrize("fault", ["cut", "malformed", "sse_error"])
def test_an_answer_that_breaks_off_is_told_as_interrupted(stub: StubProvider, fault: str) -> None:
    error = failure(to(stub, f"openai/stub?fault={fault}"))
    assert "the answer broke off" in str(error)
    assert (error.retryable, error.interrupted, error.status) == (True, True, None)


def test_a_connection_that_is_reset_is_worth_another_try(stub: StubProvider) -> None:
    error = failure(to(stub, "openai/stub?fault=reset"))
    assert "cannot be reached, or it hung up; look at the network" in str(error)
    assert (error.retryable, error.interrupted, error.status) == (True, False, None)


def test_a_provider_that_is_not_there_is_told(stub: StubProvider) -> None:
    stub.__exit__()
    error = failure(to(stub))
    assert "cannot be reached" in str(error)
    stub.__enter__()


def test_a_provider_that_speaks_another_language_has_said_nothing(stub: StubProvider) -> None:
    assert "the answer is empty" in str(failure(to(stub, "openai/stub?fault=badschema")))


@pytest.mark.parametrize(
    ("finish_reason", "retryable", "words"),
    [
        ("stop", True, "the answer is empty"),
        ("length", False, "max_tokens was used up"),
        ("content_filter", False, "content filter"),
    ],
)
def test_an_empty_answer_is_an_error_that_knows_why(
    stub: StubProvider, finish_reason: str, retryable: bool, words: str
) -> None:
    stub.push(StubAnswer("", finish_reason=finish_reason))
    error = failure(to(stub))
    assert words in str(error)
    assert error.retryable == retryable


@pytest.mark.parametrize("fault", ["400", "401", "500", "sse_error", "reset"])
def test_no_key_is_in_any_text_of_an_error_or_of_its_causes(stub: StubProvider, fault: str) -> None:
    stub.push(StubAnswer(fault=fault, message=f"Incorrect API key provided: {SECRET} \nand more"))
    error = failure(to(stub))
    shown = "".join(traceback.format_exception(error))
    assert SECRET not in shown
    assert "\n" not in str(error)
    assert error.__cause__ is not None


def test_a_key_given_as_a_parameter_is_hidden_too(stub: StubProvider) -> None:
    stub.push(StubAnswer(fault="400", message="bad key: my own key, not like others"))
    request = to(stub, api_key_env=None, api_key="my own key, not like others")
    assert "bad key: [key]" in str(failure(request))


def test_closing_early_closes_the_connection(stub: StubProvider) -> None:
    async def first_piece() -> None:
        async with aclosing(LiteLLM().ask(to(stub, "openai/stub?fault=stall"))) as parts:
            await anext(parts)
            assert stub.in_flight == 1
        await wait_until(lambda: stub.in_flight == 0)

    asyncio.run(first_piece())


def test_a_cancelled_task_closes_the_connection(stub: StubProvider) -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(ask_all(LiteLLM(), to(stub, "openai/stub?fault=timeout")))
        await wait_until(lambda: stub.in_flight == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: stub.in_flight == 0)

    asyncio.run(cancelled())


def test_many_can_ask_at_once(stub: StubProvider) -> None:
    async def all_of_them() -> list[str]:
        model = LiteLLM()
        asked = [
            ask_all(model, to(stub, messages=(Message(role="user", content=str(number)),)))
            for number in range(20)
        ]
        return [reply.text for _, reply in await asyncio.gather(*asked)]

    assert asyncio.run(all_of_them()) == [f"echo: {number}" for number in range(20)]


@pytest.mark.parametrize("model", ["nonsense", "foo/bar"])
def test_an_id_that_nobody_knows_is_told_with_the_ways_out(model: str) -> None:
    with pytest.raises(NoModelError, match=r"write the id as provider/model, .* local or echo"):
        ask(LiteLLM(), Request(model, HELLO))


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai/gpt-5-mini", "OPENAI_API_KEY"),
        ("anthropic/claude-x", "ANTHROPIC_API_KEY"),
        ("gemini/x", "GOOGLE_API_KEY or GEMINI_API_KEY"),
    ],
)
def test_a_key_that_is_missing_is_named(stub: StubProvider, model: str, variable: str) -> None:
    request = Request(model, HELLO, parameters={"api_base": stub.base_url})
    with pytest.raises(NoModelError, match=f"there is no key for it; set {variable}, "):
        ask(LiteLLM(), request)
    assert stub.requests == []


def test_a_variable_for_the_key_that_is_not_set_is_named(stub: StubProvider) -> None:
    with pytest.raises(NoModelError, match="the environment variable NO_SUCH_KEY is not set"):
        ask(LiteLLM(), to(stub, api_key_env="NO_SUCH_KEY"))


def test_a_parameter_that_the_provider_does_not_take_is_named(stub: StubProvider) -> None:
    error = failure(to(stub, "anthropic/claude-x", frequency_penalty=1))
    assert "does not support parameters: ['frequency_penalty']" in str(error)
    assert (error.retryable, error.status) == (False, None)


def test_without_litellm_the_way_to_get_it_is_told() -> None:
    code = """
import asyncio, sys
sys.modules["litellm"] = None
from engine.models import LiteLLM, Request
async def main():
    async for part in LiteLLM().ask(Request("openai/x", ())):
        print(part)
try:
    asyncio.run(main())
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("NoModelError model openai/x: litellm cannot be imported (")
    assert "pip install litellm, or use another model (local, echo)" in done.stdout
