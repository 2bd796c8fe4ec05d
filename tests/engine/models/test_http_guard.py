"""Servers of models are not trusted: redirects, bombs, long errors, streams that just end."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import re
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from teamgraph.engine.models.http_guard import (
    CURRENT,
    LONGEST_BODY,
    LONGEST_ERROR,
    LONGEST_EVENT,
    AsyncGuarded,
    BodyFilter,
    HttpExchange,
    ResponseRefusedError,
    _add_hooks,
)
from teamgraph.engine.models.litellm import LiteLLM
from tests.stub import StubAnswer, StubProvider, ask
from tests.stub.client import failure, request_to

pytestmark = pytest.mark.usefixtures("_keys")
MODELS = ["openai/stub", "hosted_vllm/stub", "anthropic/stub", "gemini/stub"]


def response(status: int, body: bytes = b"", **headers: str) -> StubAnswer:
    lines = [f"HTTP/1.1 {status} Odd", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return StubAnswer(raw="\r\n".join([*lines, "", ""]).encode() + body)


def event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def stream(*events: object) -> bytes:
    return b"".join(
        b"data: %b\n\n" % (e if isinstance(e, bytes) else json.dumps(e).encode()) for e in events
    )


HELLO = (event({"content": "hel"}), event({"content": "lo"}), event({}, "stop"), b"[DONE]")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(stub: StubProvider, model: str, status: int) -> None:
    with StubProvider() as other:
        stub.push(response(status, location=f"{other.base_url}/chat/completions?x=1"))
        error = failure(request_to(stub, model, **without_v1(stub, model)))
        assert other.requests == []
    assert f"the server redirects ({status} to http://127.0.0.1:{other.port})" in str(error)
    assert "set api_base to the final address" in str(error)
    assert (error.retryable, len(stub.requests)) == (False, 1)


def without_v1(stub: StubProvider, model: str) -> dict[str, Any]:
    """The parameters of a request whose path the stub does not know; it answers what was pushed."""
    return {} if model.startswith(("openai", "hosted")) else {"api_base": stub.base_url}


@pytest.mark.parametrize("location", ["", "/elsewhere", "//[bad", "http://ex ample/", "\x01"])
def test_a_redirect_to_anywhere_is_not_followed(stub: StubProvider, location: str) -> None:
    stub.push(response(302, location=location))
    assert "the server redirects (302" in str(failure(request_to(stub)))
    assert len(stub.requests) == 1


def test_the_requests_of_others_in_the_process_are_as_they_were() -> None:
    code = """
import asyncio
from teamgraph.engine.models.litellm import IMPORTER, LiteLLM
from tests.stub import StubProvider, StubAnswer
from tests.stub.client import request_to, ask
import litellm
IMPORTER.module()
async def main(stub, other):
    stub.push(StubAnswer(raw=b"HTTP/1.1 307 x\\r\\ncontent-length: 0\\r\\nlocation: "
        + other.base_url.encode() + b"/chat/completions\\r\\n\\r\\n"))
    reply = await litellm.acompletion(model="openai/x", api_base=stub.base_url, api_key="k",
        messages=[{"role": "user", "content": "hi"}])
    print(reply.choices[0].message.content, stub.requests[0].headers["accept-encoding"])
with StubProvider() as stub, StubProvider() as other:
    asyncio.run(main(stub, other))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("echo: hi gzip")


def test_clients_that_litellm_made_before_are_guarded_too() -> None:
    code = """
import asyncio, litellm, os
from teamgraph.engine.models.litellm import LiteLLM
from tests.stub import StubProvider, StubAnswer
from tests.stub.client import request_to, ask_all
os.environ["STUB_KEY"] = "k"
async def main(stub, other):
    reply = await litellm.acompletion(model="openai/x", api_base=stub.base_url, api_key="k",
        messages=[{"role": "user", "content": "hi"}], max_retries=0, stream=True)
    [part async for part in reply]
    stub.push(StubAnswer(raw=b"HTTP/1.1 307 x\\r\\ncontent-length: 0\\r\\nlocation: "
        + other.base_url.encode() + b"/chat/completions\\r\\n\\r\\n"))
    try:
        await ask_all(LiteLLM(), request_to(stub))
    except Exception as error:
        print("redirects" in str(error), len(other.requests))
with StubProvider() as stub, StubProvider() as other:
    asyncio.run(main(stub, other))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True 0\n"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-gzip", " GZIP "])
def test_a_compressed_answer_is_read(stub: StubProvider, encoding: str) -> None:
    body = stream(*HELLO)
    packed = zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
    stub.push(response(200, packed, content_type="text/event-stream", content_encoding=encoding))
    assert ask(LiteLLM(), request_to(stub))[1].text == "hello"
    assert stub.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "x" * 1000])
def test_another_compression_is_refused(stub: StubProvider, encoding: str) -> None:
    stub.push(response(200, b"x", content_type="text/event-stream", content_encoding=encoding))
    error = failure(request_to(stub))
    assert "the server compressed its response (" in str(error)
    assert len(str(error)) < 300


@pytest.mark.parametrize("status", [200, 400, 401, 500])
@pytest.mark.parametrize("model", MODELS[:2])
def test_a_bomb_ends_in_an_error(stub: StubProvider, status: int, model: str) -> None:
    bomb = gzip.compress(bytes(4 * LONGEST_BODY))
    stub.push(response(status, bomb, content_type="text/event-stream", content_encoding="gzip"))
    error = failure(request_to(stub, model))
    assert len(str(error)) < 500
    assert status != 200 or "is longer than" in str(error)


def test_damaged_compression_is_an_error(stub: StubProvider) -> None:
    stub.push(response(200, b"no gzip", content_type="text/event-stream", content_encoding="gzip"))
    assert "is compressed and damaged" in str(failure(request_to(stub)))


def filtered(data: bytes, size: int = 1000, **options: object) -> bytes:
    given: dict[str, Any] = {"encoding": "", "is_sse": True, "is_error": False, **options}
    body = BodyFilter(HttpExchange(), **given)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join([*(out for piece in pieces for out in body.feed(piece)), body.finish()])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 10**6])
@pytest.mark.parametrize("is_sse", [True, False])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_body_is_passed_on_as_it_is(size: int, is_sse: bool, line_end: bytes) -> None:
    body = stream(*HELLO, event({"content": "x" * 2 * LONGEST_ERROR})).replace(b"\n", line_end)
    body += b"event: x"
    assert filtered(body, size=size, is_sse=is_sse) == body


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (bytes(2 * LONGEST_BODY), {}),
        (b"data: " + b"x" * (LONGEST_EVENT + 1), {}),
        (b"x" * (LONGEST_EVENT + 1), {"is_sse": False}),
        (gzip.compress(stream(b"x" * 100) * (LONGEST_BODY // 50)), {"encoding": "gzip"}),
        (b"data: " + b"x" * 2 * LONGEST_ERROR + b"\n\n", {}),
        (b"data: xxxxxxxx\n" * LONGEST_ERROR + b"\n", {}),
        (b"[" * 2 * LONGEST_ERROR + b"\n", {"is_sse": False}),
    ],
)
def test_nothing_is_longer_than_its_bound(data: bytes, options: dict[str, Any]) -> None:
    gc.collect()  # what other tests left cannot be finalized as deep down as the last body leads
    with pytest.raises(ResponseRefusedError):
        filtered(data, size=65536, **options)


def test_what_is_unpacked_of_an_error_is_as_long_as_is_passed_on() -> None:
    body = BodyFilter(HttpExchange(), encoding="gzip", is_sse=False, is_error=True)
    pieces = list(body.feed(gzip.compress(bytes(10 * LONGEST_BODY))))
    assert body.is_full
    assert len(b"".join(pieces)) == LONGEST_ERROR
    assert len(pieces) == 1


@pytest.mark.parametrize("model", MODELS[:2])
@pytest.mark.parametrize("fault", ["400", "401", "404", "429", "500", "503", "sse_error"])
def test_litellm_gets_a_short_error_to_search(stub: StubProvider, model: str, fault: str) -> None:
    stub.push(StubAnswer("one two three", fault=fault, message="It is all wrong. " * 100_000))
    error = failure(request_to(stub, model))
    assert error.__cause__ is not None
    assert len(str(error.__cause__)) < 4 * LONGEST_ERROR
    assert "It is all wrong" in str(error) or fault == "401"


def test_a_long_error_may_have_its_error_anywhere(stub: StubProvider) -> None:
    late = {"padding": "x" * 10**6, "type": "error", "error": {"message": "y" * 10**6}}
    stub.push(StubAnswer(events=(event({"content": "x"}), late)))
    error = failure(request_to(stub))
    assert len(str(error.__cause__)) < 4 * LONGEST_ERROR


ENDS: list[tuple[str, tuple[object, ...]]] = [
    ("text", (event({"content": "Do not take more than two. "}), event({"content": "Never "}))),
    ("role", (event({"role": "assistant", "content": ""}), event({"content": "Never take"}))),
    (
        "call",
        (
            event(
                {
                    "tool_calls": [
                        {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{"}}
                    ]
                }
            ),
        ),
    ),
    (
        "usage",
        (
            event({"content": "Never take them with"}),
            {**event({}), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        ),
    ),
    (
        "quoted",
        (
            event({"content": "Never"}),
            event({"content": '\n\ndata: [DONE]\n\n" [DONE] "finish_reason": "stop"'}),
        ),
    ),
]


@pytest.mark.parametrize("model", MODELS[:2])
@pytest.mark.parametrize(("name", "events"), ENDS, ids=[name for name, _ in ENDS])
def test_a_stream_that_just_ends_is_no_answer(
    stub: StubProvider, model: str, name: str, events: tuple[object, ...]
) -> None:
    stub.push(StubAnswer(events=events))
    error = failure(request_to(stub, model))
    assert "the answer ended early: its stream has no finish reason and no [DONE]" in str(error)
    assert error.retryable
    assert error.interrupted


@pytest.mark.parametrize("model", MODELS[:2])
@pytest.mark.parametrize(
    ("tail", "finish_reason"),
    [
        ((event({}, "stop"), "[DONE]"), "stop"),
        ((event({}, "length"), "[DONE]"), "length"),
        ((event({}, "stop"),), "stop"),
    ],
)
def test_an_end_is_a_finish_reason_or_done(
    stub: StubProvider, model: str, tail: tuple[object, ...], finish_reason: str
) -> None:
    stub.push(StubAnswer(events=(event({"content": "hello"}), *tail)))
    reply = ask(LiteLLM(), request_to(stub, model))[1]
    assert (reply.text, reply.finish_reason) == ("hello", finish_reason)


@pytest.mark.parametrize("model", MODELS[:2])
def test_the_mark_of_the_end_may_be_in_a_text(stub: StubProvider, model: str) -> None:
    text = '[DONE] a \\[DONE]\n\ndata: [DONE]\n\n"finish_reason": "stop"'
    tail = (event({"content": "!"}), event({}, "stop"), "[DONE]")
    stub.push(StubAnswer(events=(event({"content": text}), *tail)))
    assert ask(LiteLLM(), request_to(stub, model))[1].text == f"{text}!"


def test_a_reason_that_litellm_invents_is_none(stub: StubProvider) -> None:
    stub.push(StubAnswer(events=(event({"content": "hello"}), "[DONE]")))
    reply = ask(LiteLLM(), request_to(stub))[1]
    assert (reply.text, reply.finish_reason) == ("hello", None)


def test_an_early_end_in_a_body_up_to_the_end_of_the_connection(stub: StubProvider) -> None:
    body = stream(event({"content": "Never take them with"}))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    stub.push(StubAnswer(raw=head + body))
    assert "the answer ended early" in str(failure(request_to(stub)))
    stub.push(StubAnswer(raw=head + stream(*HELLO)))
    assert ask(LiteLLM(), request_to(stub))[1].text == "hello"


def test_anthropic_s_stream_ends_with_its_stop_reason(stub: StubProvider) -> None:
    start = {"type": "message_start", "message": {"id": "1", "model": "m", "role": "assistant"}}
    start["message"] |= {"content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}  # type: ignore[operator]  # a mapping
    block = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    delta = {"type": "content_block_delta", "index": 0}
    text = {**delta, "delta": {"type": "text_delta", "text": "Never take"}}
    stop = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 2},
    }
    for events, is_whole in (
        ((start, block, text, stop, {"type": "message_stop"}), True),
        ((start, block, text), False),
    ):
        stub.push(StubAnswer(events=events))
        request = request_to(stub, "anthropic/x", api_base=stub.base_url.removesuffix("/v1"))
        if is_whole:
            assert ask(LiteLLM(), request)[1].text == "Never take"
        else:
            assert "the answer ended early" in str(failure(request))


@pytest.mark.parametrize("ends", [True, False])
def test_a_response_is_read_to_its_end_after_done_if_the_end_comes_soon(ends: bool) -> None:
    read: list[str] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"data: [DONE]\n\n"
        await (asyncio.sleep(0) if ends else asyncio.Event().wait())
        read.append("end")  # only then is the connection used again
        yield b"x"

    async def first_piece() -> bytes:
        exchange = HttpExchange()
        filter_ = BodyFilter(exchange, encoding="", is_sse=True, is_error=False)
        return await anext(aiter(AsyncGuarded(body(), filter_)))

    assert asyncio.run(first_piece()) == b"data: [DONE]\n\n"
    assert read == ["end"] * ends


LINES = (b"x" * 99 + b"\n") * 1000


@pytest.mark.parametrize("status", [200, 400])
def test_litellms_synchronous_clients_are_guarded_during_a_request(
    stub: StubProvider, status: int
) -> None:
    ask(LiteLLM(), request_to(stub))
    from litellm.llms.custom_httpx.http_handler import HTTPHandler  # noqa: PLC0415  it is heavy

    stub.push(response(302, location="/"), response(status, LINES))
    exchange = HttpExchange()
    token = CURRENT.set(exchange)
    try:
        client = HTTPHandler().client
        with pytest.raises(ResponseRefusedError, match="the server redirects"):
            client.post(f"{stub.base_url}/chat/completions", json={})
        body = client.post(f"{stub.base_url}/chat/completions", json={}).content
        client.close()
    finally:
        CURRENT.reset(token)
    assert body == (LINES if status == 200 else LINES[:LONGEST_ERROR])


def test_many_streams_at_once_are_observed_apart(stub: StubProvider) -> None:
    async def all_of_them() -> list[object]:
        model = LiteLLM()
        for number in range(10):
            tail = ("[DONE]",) if number % 2 else ()
            stub.push(StubAnswer(events=(event({"content": "x"}), *tail)))
        asked = [collect(model, stub) for _ in range(10)]
        return await asyncio.gather(*asked, return_exceptions=True)

    outcomes = asyncio.run(all_of_them())
    assert sum(isinstance(one, Exception) for one in outcomes) == 5
    assert all(re.search("ended early", str(one)) for one in outcomes if isinstance(one, Exception))


async def collect(model: LiteLLM, stub: StubProvider) -> object:
    return [part async for part in model.ask(request_to(stub))]


def test_a_client_is_guarded_once_and_none_is_no_client() -> None:
    def hook(_: object) -> None: ...

    client: Any = SimpleNamespace(event_hooks={})
    hooks = {"on_request": hook, "on_response": hook}
    for _ in range(2):
        assert _add_hooks(client, **hooks) is client
    assert client.event_hooks == {"request": [hook], "response": [hook]}
    assert _add_hooks(None, **hooks) is None


@pytest.mark.parametrize(
    ("event", "whole"),
    [
        ({"output": "x"}, {"output": "x"}),
        ({"candidates": [1]}, {"usageMetadata": {}, "candidates": [1]}),
    ],
)
def test_one_event_of_another_format_is_the_whole_answer(event: object, whole: object) -> None:
    body = BodyFilter(HttpExchange(is_streamed=False), encoding="", is_sse=True, is_error=False)
    assert list(body.feed(stream(event))) == []
    assert json.loads(body.finish()) == whole
