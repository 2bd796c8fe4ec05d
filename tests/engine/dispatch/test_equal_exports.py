"""The same turns with files, with PostgreSQL and by a worker; `make distributed` has three."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from teamgraph import PostgresStore, TinyDBStore
from teamgraph.dispatch import DBOSDispatcher
from tests.engine.dispatch.conftest import Told, working
from tests.engine.dispatch.every_place import graph, in_process, model, talk
from tests.postgres import Server


async def by_a_worker(dsn: str) -> list[Any]:
    async with working(dsn, model(), Told(), graph()):
        dispatcher = DBOSDispatcher(dsn, connections=2)
        stored = await talk(dispatcher, dispatcher.store)
        await dispatcher.close()
    return stored


def test_files_postgresql_and_a_worker_store_the_same(server: Server, tmp_path: Path) -> None:
    dsn = server.new_database("equal")
    stored = asyncio.run(in_process(TinyDBStore(tmp_path)))
    assert asyncio.run(in_process(PostgresStore(dsn, schema="alone"))) == stored
    assert asyncio.run(by_a_worker(dsn)) == stored
    exports, sources = stored
    assert [len(export["runs"]) for export in exports] == [3, 3, 3]
    assert sources
