"""The events of a run in progress, as its readers get them."""

from __future__ import annotations

import asyncio

from teamgraph import MemoryStore, Runner
from teamgraph.engine.server.runs import Numbered, Runs
from teamgraph.events import RunFinished
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
