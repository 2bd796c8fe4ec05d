"""The store of a dry run reads another one, and writes nothing."""

from __future__ import annotations

import asyncio

from teamgraph import Change, MemoryStore, Record, Runner, SessionKey, Turn
from teamgraph.engine.run.dry_run.assumed_session import ReadOnlyStore
from tests.teams import desk, desk_model

KEY = SessionKey("u", "s")


def test_what_is_read_is_what_the_other_store_says_and_nothing_is_written() -> None:
    asyncio.run(_reads_and_writes_nothing())


async def _reads_and_writes_nothing() -> None:
    store = MemoryStore()
    await Runner(desk(), store=store, model=desk_model()).arun("hi", user_id="u", session_id="s")
    before = await store.head(KEY)
    reading = ReadOnlyStore(store)
    lease = await reading.begin(KEY, Turn("r2", "again"))
    await reading.put(lease, [Record("english", "done")])
    await reading.finish(lease, Turn("r2", "again", status="done", answer="x"), Change())
    await reading.release(lease)
    assert lease.head == before == await reading.head(KEY) == await store.head(KEY)
    assert await reading.turns(KEY) == await store.turns(KEY)
    assert await reading.summary(KEY, until=1) == await store.summary(KEY, until=1)
    (done,) = await reading.runs(KEY)
    assert await reading.run(KEY, done.run_id) == await store.run(KEY, done.run_id)
    assert await reading.sessions("u") == await store.sessions("u")
    found = await reading.search("u", "hi", last=1)
    assert found == await store.search("u", "hi", last=1)
    assert len(found) == 1
