"""The events of a run in progress, as its readers get them."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from teamgraph import MemoryStore, Runner
from teamgraph.engine.server.http import until_disconnect
from teamgraph.engine.server.runs import Numbered, Runs
from teamgraph.events import RunFinished, RunStarted
from tests.engine.server.conftest import DUO


def test_a_reader_that_is_busy_while_the_run_ends_gets_the_rest() -> None:
    async def read_slowly() -> list[Numbered]:
        store = MemoryStore()
        runs = Runs(store, grace=30.0, limit=1000)
        live = await runs.begin(Runner(DUO, store=store).astream("hi", tokens=False).tell)
        reader = live.read()
        told = [await anext(reader)]
        await asyncio.wait([live.task])
        async with asyncio.timeout(10):
            return told + [each async for each in reader]

    told = asyncio.run(read_slowly())
    assert [each.number for each in told] == list(range(1, told[-1].number + 1))
    assert isinstance(told[-1].event, RunFinished)


def test_an_error_that_is_thrown_into_a_stream_ends_it() -> None:
    async def throw() -> list[object]:
        stream = Runner(DUO, store=MemoryStore()).astream("hi")
        assert isinstance(await anext(stream), RunStarted)
        with pytest.raises(ValueError, match="oh no"):
            await stream.athrow(ValueError("oh no"))
        return [event async for event in stream]

    assert asyncio.run(throw()) == []


def test_a_client_that_leaves_ends_what_is_done_for_it_alone() -> None:
    left: list[Message] = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return left.pop(0)

    async def wait() -> None:
        request = Request({"type": "http"}, receive)
        async with asyncio.timeout(10):
            await until_disconnect(request, asyncio.Event().wait())

    with pytest.raises(ClientDisconnect):
        asyncio.run(wait())
