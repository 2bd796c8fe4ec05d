"""What only a real server on a socket shows: half requests, slow bodies, addresses."""

from __future__ import annotations

import asyncio
import socket

import pytest

from teamgraph import MemoryStore, ScriptedModel
from teamgraph.engine.server.listen import address_of, bind, server_for
from teamgraph.errors import InputError
from teamgraph.server import Limits, create_app
from tests.engine.server.conftest import DUO

IDLE = 200
"""Connections that send nothing; the form with 1 000 is `python -m tests.faults idle`."""


async def _sent(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


def test_connections_that_send_too_little_are_closed_and_others_served() -> None:
    async def scenario() -> None:
        limits = Limits(idle=0.2, seconds=0.2)
        app = create_app(
            [DUO], store=MemoryStore(), model=ScriptedModel("hi"), limits=limits, grace=0
        )
        with bind("127.0.0.1", 0) as bound:
            port = bound.getsockname()[1]
            server = server_for(app, limits=limits, grace=0)
            serving = asyncio.create_task(server.serve(sockets=[bound]))
            head = b"POST /api/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"
            idle = [_sent(port, b"") for _ in range(IDLE)]
            half = [_sent(port, b"GET /healthz HT"), _sent(port, head + b'{"message"')]
            body = b'{"message": "hi"}'
            ask = head.replace(b"99", b"%d\r\nConnection: close" % len(body)) + body
            *closed, half_head, slow, answer = await asyncio.gather(*idle, *half, _sent(port, ask))
            get = b"GET /api/graphs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: "
            long = await _sent(port, get + b"x" * 10_000 + b"\r\n\r\n")
            longer = await _sent(port, get + b"x" * 20_000)
            server.should_exit = True
            await serving
        assert set(closed) == {b""}
        assert half_head == b""
        assert (slow[:12], b"too_slow" in slow) == (b"HTTP/1.1 408", True)
        assert (answer[:12], b'"answer":"hi"' in answer) == (b"HTTP/1.1 200", True)
        assert (long[:12], b"headers_too_large" in long) == (b"HTTP/1.1 431", True)
        assert longer[:12] == b"HTTP/1.1 400"  # h11 waits for the end of 16 384 bytes at most

    asyncio.run(scenario())


def test_an_address_that_cannot_be_had_is_an_error_with_a_way_on() -> None:
    with bind("127.0.0.1", 0) as bound, pytest.raises(InputError, match="--port"):
        bind("127.0.0.1", bound.getsockname()[1])
    if socket.has_dualstack_ipv6():
        with bind("::1", 0) as bound:
            assert address_of(bound).startswith("http://[::1]:")


def test_a_response_on_an_open_connection_does_not_wait_for_an_acknowledgement() -> None:
    with (
        bind("127.0.0.1", 0) as bound,
        socket.create_connection(bound.getsockname()),
        bound.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
