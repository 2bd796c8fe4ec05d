"""Errors of the demo model when its server misbehaves, with a fake server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from teamgraph import Message, Reply, Request
from teamgraph.engine.models.local.model import LocalModel
from teamgraph.engine.models.local.server import LocalServer, ServerAddress, http_request
from teamgraph.errors import ModelError
from tests.stub import ask_all

OK = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNK = b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": null}]}\n\n'
LAST = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]'
HELLO = Request("local", (Message(role="user", content="hello"),))


class At(LocalServer):
    """A server that is already there."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def address(self) -> ServerAddress:
        return ServerAddress(self._port, "key")


@asynccontextmanager
async def saying(answer: bytes) -> AsyncGenerator[int]:
    """A server that gives this answer to everything, and hangs up."""

    async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer_all, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def with_server(
    answer: bytes, asked: Callable[[int], Awaitable[tuple[list[str], Reply]]]
) -> tuple[list[str], Reply]:
    async def both() -> tuple[list[str], Reply]:
        async with saying(answer) as port:
            return await asked(port)

    return asyncio.run(both())


def answer_to_hello(answer: bytes) -> tuple[list[str], Reply]:
    return with_server(answer, lambda port: ask_all(LocalModel(At(port)), HELLO))


def test_a_body_that_is_not_chunked_is_read_to_its_end() -> None:
    pieces, reply = answer_to_hello(OK + CHUNK + LAST)
    assert (pieces, reply.text, reply.finish_reason) == (["hi"], "hi", "stop")


def test_a_chunked_body_may_be_cut_anywhere() -> None:
    body = CHUNK + LAST
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert answer_to_hello(head + chunks)[0] == ["hi"]


@pytest.mark.parametrize(
    ("answer", "interrupted"),
    [
        (b"", False),
        (b"HTTP/1.1 200", False),
        (OK, False),
        (OK + CHUNK, True),
        (OK + CHUNK + b'data: {"cho', True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", False),
    ],
)
def test_an_answer_that_breaks_off_is_worth_another_try(answer: bytes, interrupted: bool) -> None:
    with pytest.raises(ModelError, match="ended the answer early") as caught:
        answer_to_hello(answer)
    assert (caught.value.retryable, caught.value.interrupted) == (True, interrupted)
    assert caught.value.__cause__ is not None


def test_a_server_that_is_gone_is_worth_another_try() -> None:
    async def nobody() -> int:
        async with saying(b"") as port:
            return port

    port = asyncio.run(nobody())
    with pytest.raises(ModelError, match="ended the answer early") as caught:
        asyncio.run(ask_all(LocalModel(At(port)), HELLO))
    assert caught.value.retryable


def test_an_answer_without_a_word_is_an_error() -> None:
    with pytest.raises(ModelError, match="its answer to this prompt is empty"):
        answer_to_hello(OK + LAST)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "out of memory"}}', "refused the request: out of memory"),
        (b"{}", "refused the request: it gives no reason"),
    ],
)
def test_a_fault_of_the_server_is_worth_another_try(body: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        answer_to_hello(b"HTTP/1.1 500 Oh\r\n\r\n" + body)
    assert (caught.value.status, caught.value.retryable) == (500, True)


def test_a_request_without_a_body_is_a_get() -> None:
    async def first_line() -> bytes:
        heads: list[bytes] = []

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK + b"{}")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with http_request(ServerAddress(port, "secret"), "/props", None) as response:
                assert await response.json() == {}
        return heads[0]

    head = asyncio.run(first_line())
    assert head.startswith(b"GET /props HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret\r\n" in head
