"""Answers that nobody reads piece by piece are requested whole: one response, read as it is."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from teamgraph import JSON, Reply, Request, Usage
from teamgraph.engine.models.http_guard import LONGEST_BODY, LONGEST_ERROR, merged
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph.engine.models.partial_reply import PartialReasoning
from tests.stub import StubAnswer, StubProvider, ask
from tests.stub.client import cancelled_in_flight, failure, request_to

pytestmark = pytest.mark.usefixtures("_keys")


def whole(stub: StubProvider, **parameters: JSON) -> Request:
    """A request for an answer that is no stream."""
    return replace(request_to(stub, **parameters), stream=False)


def response(body: bytes, content_type: str = "application/json") -> StubAnswer:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return StubAnswer(raw=head.encode() + body)


def completion(content: object, reason: str | None = "stop", **message: object) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    choice = {"index": 0, "message": said, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def delta(reason: str | None = None, **change: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": change, "finish_reason": reason}]}


def call(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    return {"index": index, "id": name, "function": {"name": name, "arguments": arguments}}


def test_it_is_one_reply_without_chunks_and_no_stream_is_asked_for(stub: StubProvider) -> None:
    stub.push(StubAnswer("one two three"))
    pieces, reply = ask(LiteLLM(), whole(stub, stream_options={"include_usage": True}))
    assert pieces == []
    assert (reply.text, reply.finish_reason, reply.model) == ("one two three", "stop", "stub")
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.calls) == (9, 3, 1)
    assert "stream_options" not in stub.requests[0].body
    assert not stub.requests[0].body.get("stream")


def test_what_a_graph_says_about_streams_wins(stub: StubProvider) -> None:
    assert ask(LiteLLM(), whole(stub, stream=True))[0]
    assert not ask(LiteLLM(), request_to(stub, stream=False))[0]
    options: dict[str, JSON] = {"include_usage": False}
    ask(LiteLLM(), request_to(stub, stream_options=options))
    ask(LiteLLM(), request_to(stub, stream_options=None))
    forced: dict[str, JSON] = {"type": "json_object"}
    ask(LiteLLM(), replace(whole(stub, response_format=forced), schema={"type": "object"}))
    asked = replace(whole(stub, tool_choice="auto", structured="tool"), schema={"type": "object"})
    ask(LiteLLM(), asked)
    bodies = [request.body for request in stub.requests]
    assert [bool(body.get("stream")) for body in bodies] == [True, False, True, True, False, False]
    assert bodies[5]["tool_choice"] == "auto"
    assert bodies[2]["stream_options"] == options
    assert "stream_options" not in bodies[3]
    assert bodies[4]["response_format"] == forced


@pytest.mark.parametrize(
    ("fault", "retryable", "words"),
    [
        ("429", True, "the rate limit is reached"),
        ("500", True, "the provider failed (500"),
        ("401", False, "refused the key"),
        ("context", False, "longer than the model's context window"),
        ("reset", True, "cannot be reached, or it closed the connection"),
        ("cut", True, "the provider's answer cannot be read"),
        ("malformed", True, "the provider's answer cannot be read ("),
        ("sse_error", True, "the provider's answer cannot be read (an error inside the stream)"),
        ("badschema", True, "the provider's answer cannot be read ("),
    ],
)
def test_what_fails_is_told_as_of_a_stream(
    stub: StubProvider, fault: str, retryable: bool, words: str
) -> None:
    error = failure(replace(request_to(stub, f"openai/stub?fault={fault}"), stream=False))
    assert words in str(error)
    assert (error.retryable, error.interrupted) == (retryable, False)
    assert len(stub.requests) == 1


@pytest.mark.parametrize("fault", ["timeout", "stall"])
def test_one_that_does_not_come_can_be_given_up(stub: StubProvider, fault: str) -> None:
    request = replace(request_to(stub, f"openai/stub?fault={fault}"), stream=False)
    assert "nothing arrived for 0.2 seconds" in str(failure(replace(request, idle=0.2)))
    asyncio.run(cancelled_in_flight(stub, request))


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_that_was_cut_off_says_so(stub: StubProvider, reason: str) -> None:
    stub.push(StubAnswer("half of", finish_reason=reason))
    assert ask(LiteLLM(), whole(stub))[1].finish_reason == reason


def test_a_reason_that_the_provider_does_not_give_is_not_invented(stub: StubProvider) -> None:
    stub.push(response(json.dumps(completion("hello", reason=None)).encode()))
    assert ask(LiteLLM(), whole(stub))[1] == Reply("hello", usage=Usage(calls=1), model="m")


def test_tool_calls_of_a_whole_answer_are_as_many_as_there_are(stub: StubProvider) -> None:
    calls = [{"type": "function", "id": "a", "function": {"name": "look", "arguments": "{}"}}] * 2
    stub.push(response(json.dumps(completion(None, "tool_calls", tool_calls=calls)).encode()))
    reply = ask(LiteLLM(), whole(stub))[1]
    assert [(one.name, one.arguments) for one in reply.tool_calls] == [("look", "{}")] * 2


def test_a_long_answer_is_read_however_it_is_written(stub: StubProvider) -> None:
    text = "long\n" * LONGEST_ERROR
    stub.push(response(json.dumps(completion(text), indent=2).encode()))
    assert ask(LiteLLM(), whole(stub))[1].text == text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "' + b"x" * 9 * LONGEST_ERROR + b'"}}', "cannot be read ("),
        (b"x" * 2 * LONGEST_ERROR, "its response is not JSON"),
        (b'"' + b"x" * LONGEST_BODY + b'"', f"longer than {LONGEST_BODY} bytes"),
    ],
    ids=["error", "no JSON", "endless"],
)
def test_a_body_is_bounded_before_litellm_reads_it(
    stub: StubProvider, body: bytes, words: str
) -> None:
    stub.push(response(body))
    error = failure(whole(stub))
    assert words in str(error)
    assert len(str(error)) < 1000


def test_a_server_that_streams_all_the_same_is_read(stub: StubProvider) -> None:
    stub.push(
        StubAnswer(
            events=(
                delta(role="assistant", content="", reasoning_content="hm"),
                delta(content="let me ", tool_calls=[call(0, '{"at"', "look")]),
                delta(content="see", tool_calls=[call(0, ": 1}"), call(1, "{}", "look")]),
                {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
                delta("tool_calls"),
                "[DONE]",
            )
        )
    )
    reply = ask(LiteLLM(), whole(stub))[1]
    assert (reply.text, reply.finish_reason) == ("let me see", "tool_calls")
    assert [(one.name, one.arguments) for one in reply.tool_calls] == [
        ("look", '{"at": 1}'),
        ("look", "{}"),
    ]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 4)


@pytest.mark.parametrize(
    ("events", "words", "retryable"),
    [
        ([delta(content="half")], "its stream has no finish reason and no [DONE]", True),
        ([delta(content="half"), {"error": {"message": "boom"}}], "cannot be read (", True),
        ([{"a": 1}, {"b": 2}], "set `stream: true` in `model`", False),
        (["[DONE]"], "set `stream: true` in `model`", False),
        (['{"choices": '], "an event of its stream is not JSON", False),
    ],
)
def test_such_a_stream_is_held_to_the_same_rules(
    stub: StubProvider, events: list[Any], words: str, retryable: bool
) -> None:
    stub.push(StubAnswer(events=tuple(events)))
    error = failure(whole(stub))
    assert words in str(error)
    assert error.retryable is retryable


def test_one_event_with_the_whole_answer_is_that_answer(stub: StubProvider) -> None:
    stub.push(StubAnswer(events=(completion("hello"),)))
    assert ask(LiteLLM(), whole(stub))[1].text == "hello"
    gemini = {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}
    stub.push(StubAnswer(events=(gemini,)))
    request = request_to(stub, "gemini/gemini-2.5-flash", api_base=stub.base_url)
    request = replace(request, stream=False, allow_api_base=(stub.base_url,))
    assert ask(LiteLLM(), request)[1].text == "hi"


def test_chunks_that_say_nothing_make_an_empty_answer() -> None:
    assert merged([], PartialReasoning()) is None
    whole = merged([{"choices": []}, {"choices": None, "usage": None}], PartialReasoning())
    assert whole is not None
    assert whole["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": None}, "finish_reason": None}
    ]


def test_a_forked_child_gets_clients_of_its_own(stub: StubProvider) -> None:
    ask(LiteLLM(), whole(stub))
    before = stub.connections
    child = os.fork()
    if not child:  # pragma: no cover - of another process
        status = 1
        try:
            status = 0 if ask(LiteLLM(), whole(stub))[1].text.startswith("echo") else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert stub.connections == before + 1
    assert ask(LiteLLM(), whole(stub))[1].text.startswith("echo")


FAKE = "import sys; print('importing', file=sys.stderr); raise ImportError('it is a fake')"


@pytest.mark.parametrize(
    ("options", "key", "is_imported"),
    [
        (["--model", "openai/x"], "k", True),
        (["--model", "echo"], "k", False),
        ([], "k", True),
        ([], "", False),
    ],
)
def test_a_command_begins_the_import_before_it_opens_its_store(
    tmp_path: Path, options: list[str], key: str, is_imported: bool
) -> None:
    environ = {"TEAMGRAPH_MODEL": "", "OPENAI_API_KEY": key}
    (tmp_path / "litellm").mkdir()
    (tmp_path / "litellm" / "__init__.py").write_text(FAKE)
    (tmp_path / "g.yaml").write_text(
        "name: g\nmodel: openai/y\nnodes:\n  member: {kind: member}\n"
        "  inside:\n    kind: graph\n    graph: {name: h, nodes: {member: {kind: member}}}\n"
        "    needs: member\n"
    )
    command = [sys.executable, "-m", "teamgraph", "run", "g.yaml", "hi", "--store", "g.yaml"]
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), **environ},
    )
    assert done.returncode
    assert ("importing" in done.stderr) is is_imported
    assert "Traceback" not in done.stderr


def test_the_error_of_such_an_import_comes_with_the_first_request() -> None:
    code = "import sys; sys.modules['litellm'] = None\n"
    code += "from teamgraph.engine.models.litellm import IMPORTER, LiteLLM\n"
    code += "from teamgraph.errors import NoModelError\n"
    code += "import asyncio\nIMPORTER.import_quietly()\nprint(IMPORTER.is_done)\n"
    code += "try: asyncio.run(LiteLLM().warm_up('openai/x'))\n"
    code += "except NoModelError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False\nmodel openai/x: litellm cannot be imported (")
