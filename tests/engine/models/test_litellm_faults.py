"""Every way in which a provider can fail, over real HTTP through the real litellm."""

from __future__ import annotations

import subprocess
import sys
import traceback

import pytest
from msgspec.structs import replace

from teamgraph import Request
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph.errors import NoModelError
from tests.stub import StubAnswer, StubProvider, ask
from tests.stub.client import HELLO, SECRET, failure, request_to

pytestmark = pytest.mark.usefixtures("_keys")


@pytest.mark.parametrize(
    ("fault", "retryable", "words"),
    [
        ("400", False, "refused the request"),
        ("401", False, "refused the key (401); set "),
        ("403", False, "does not allow this key"),
        ("404", False, "does not know this model (404"),
        ("408", True, "did not answer in time"),
        ("413", False, "too large"),
        ("422", False, "refused the request"),
        ("429", True, "the rate limit is reached"),
        ("500", True, "the provider failed (500"),
        ("502", True, "the provider failed (502"),
        ("503", True, "the provider failed (503"),
        ("529", True, "is overloaded (529"),
    ],
)
def test_a_refusal_is_explained_by_its_status(
    stub: StubProvider, fault: str, retryable: bool, words: str
) -> None:
    error = failure(request_to(stub, f"openai/stub?fault={fault}"))
    assert (error.status, error.retryable, error.interrupted) == (int(fault), retryable, False)
    assert words in str(error)
    assert str(error).startswith(f"model openai/stub?fault={fault}: ")
    assert len(stub.requests) == 1


def test_a_prompt_over_the_context_is_recognized(stub: StubProvider) -> None:
    error = failure(request_to(stub, "openai/stub?fault=context"))
    assert "the prompt is longer than the model's context window (" in str(error)
    assert (error.status, error.retryable) == (400, False)


@pytest.mark.parametrize("status", ["429", "503"])
def test_the_wait_that_the_provider_asks_for_is_passed_on(stub: StubProvider, status: str) -> None:
    error = failure(request_to(stub, f"openai/stub?fault={status}&retry_after=7"))
    assert error.retry_after == 7.0


def test_no_answer_within_the_idle_time_is_worth_another_try(stub: StubProvider) -> None:
    request = request_to(stub, "openai/stub?fault=timeout")
    error = failure(Request(request.model, HELLO, parameters=request.parameters, idle=1))
    assert "nothing arrived for 1 seconds" in str(error)
    assert (error.retryable, error.interrupted) == (True, False)


def test_a_stream_that_goes_silent_is_given_up(stub: StubProvider) -> None:
    request = request_to(stub, "openai/stub?fault=stall")
    error = failure(Request(request.model, HELLO, parameters=request.parameters, idle=1))
    assert "nothing arrived for 1 seconds" in str(error)
    assert (error.retryable, error.interrupted) == (True, True)


def test_a_timeout_among_the_parameters_is_the_provider_s_own(stub: StubProvider) -> None:
    error = failure(request_to(stub, "openai/stub?fault=timeout", timeout=0.2))
    assert "did not answer in time" in str(error)
    assert error.retryable


@pytest.mark.parametrize("fault", ["cut", "malformed", "sse_error"])
def test_an_answer_that_breaks_off_is_marked_as_interrupted(stub: StubProvider, fault: str) -> None:
    error = failure(request_to(stub, f"openai/stub?fault={fault}"))
    assert "the answer was cut off" in str(error)
    assert (error.retryable, error.interrupted, error.status) == (True, True, None)


def test_a_connection_that_is_reset_is_worth_another_try(stub: StubProvider) -> None:
    error = failure(request_to(stub, "openai/stub?fault=reset"))
    assert "cannot be reached, or it closed the connection; check the network" in str(error)
    assert (error.retryable, error.interrupted, error.status) == (True, False, None)


def test_a_provider_that_cannot_be_reached_is_an_error(stub: StubProvider) -> None:
    stub.__exit__()
    error = failure(request_to(stub))
    assert "cannot be reached" in str(error)
    stub.__enter__()


def test_a_provider_that_speaks_another_language_has_said_nothing(stub: StubProvider) -> None:
    reply = ask(LiteLLM(), request_to(stub, "openai/stub?fault=badschema"))[1]
    assert (reply.text, reply.finish_reason) == ("", None)


@pytest.mark.parametrize("finish_reason", ["stop", "length", "content_filter"])
@pytest.mark.parametrize("stream", [True, False])
def test_an_empty_answer_is_a_reply_that_says_why(
    stub: StubProvider, finish_reason: str, stream: bool
) -> None:
    stub.push(StubAnswer("", finish_reason=finish_reason))
    pieces, reply = ask(LiteLLM(), replace(request_to(stub), stream=stream))
    assert (pieces, reply.text, reply.finish_reason) == ([], "", finish_reason)
    assert reply.usage.calls == 1


@pytest.mark.parametrize("fault", ["400", "401", "500", "sse_error", "reset"])
def test_no_key_is_in_any_text_of_an_error_or_of_its_causes(stub: StubProvider, fault: str) -> None:
    stub.push(StubAnswer(fault=fault, message=f"Incorrect API key provided: {SECRET} \nand more"))
    error = failure(request_to(stub))
    shown = "".join(traceback.format_exception(error))
    assert SECRET not in shown
    assert "\n" not in str(error)
    assert error.__cause__ is not None


def test_a_key_given_as_a_parameter_is_hidden_too(stub: StubProvider) -> None:
    stub.push(StubAnswer(fault="400", message="bad key: my own key, not like others"))
    request = request_to(stub, api_key_env=None, api_key="my own key, not like others")
    assert "bad key: [key]" in str(failure(request))


@pytest.mark.parametrize("model", ["nonsense", "foo/bar"])
def test_an_unknown_id_is_an_error_with_advice(model: str) -> None:
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
    parameters = {"api_base": stub.base_url}
    request = Request(model, HELLO, parameters=parameters, allow_api_base=(stub.base_url,))
    with pytest.raises(NoModelError, match=f"it has no API key; set {variable}, "):
        ask(LiteLLM(), request)
    assert stub.requests == []


def test_a_variable_for_the_key_that_is_not_set_is_named(stub: StubProvider) -> None:
    with pytest.raises(NoModelError, match="the environment variable NO_SUCH_KEY is not set"):
        ask(LiteLLM(), request_to(stub, api_key_env="NO_SUCH_KEY"))


def test_a_parameter_that_the_provider_does_not_take_is_named(stub: StubProvider) -> None:
    error = failure(request_to(stub, "anthropic/claude-x", frequency_penalty=1))
    assert "does not support parameters: ['frequency_penalty']" in str(error)
    assert (error.retryable, error.status) == (False, None)


def test_without_litellm_the_error_says_how_to_install_it() -> None:
    code = """
import asyncio, sys
sys.modules["litellm"] = None
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph import Request
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


ODD_CHUNKS = """
import asyncio, sys
from tests.stub import StubAnswer, StubProvider, ask
from tests.stub.client import HELLO
from teamgraph import Request
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph.errors import ModelError

def chunk(delta, finish=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}

text = {"content": "x"}
odd = [
    chunk({"content": 5}), chunk({"content": [{"type": "text"}]}), chunk({"role": 7, **text}),
    chunk({"tool_calls": "x"}), chunk({"tool_calls": [None]}), chunk(text, 5),
    chunk(text, usage="x"),
    chunk({"tool_calls": [{"index": "a", "id": 1, "function": {"name": 2, "arguments": {}}}]}),
    chunk(text, usage={"prompt_tokens": 1.5, "completion_tokens": "7"}),
    chunk(text, usage={"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": "x"}),
    chunk(text, usage={"prompt_tokens": 1, "cost": {"x": 1}, "server_tool_use": 5}),
    chunk(text, created="yes", system_fingerprint={"a": 1}, service_tier=5),
    chunk({**text, "reasoning_content": 5, "audio": 3, "function_call": "x", "images": [1]}),
    {"choices": {"a": 1}}, {"choices": "x"}, {"choices": [{"delta": None}]}, "[1]", "null", '"x"',
    {"choices": [{"index": "0", "delta": text, "logprobs": {"content": "no"}}]},
]
with StubProvider() as stub:
    for model in ("openai/stub", "hosted_vllm/stub"):
        for one in odd:
            stub.push(StubAnswer(events=(chunk(text), one, chunk({}, "stop"), "[DONE]")))
            try:
                ask(LiteLLM(), Request(model, HELLO, parameters={"api_base": stub.base_url}))
            except ModelError:
                pass
    print(len(stub.requests))
"""


def test_odd_chunks_are_answers_or_errors_without_a_word_on_standard_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ODD_CHUNKS], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("40\n", "")
