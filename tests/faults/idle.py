"""Many connections on which nothing is sent, while one client asks."""

from __future__ import annotations

import asyncio
import resource

from teamgraph import Graph, MemoryStore, ScriptedModel
from teamgraph.engine.server.listen import bind, server_for
from teamgraph.nodes import Member
from teamgraph.server import Limits, create_app

from .judge import Counts, Open

SECONDS = 1.0
"""Before which a connection without a request is not closed."""


def idle(open_store: Open, trials: int, seed: int) -> Counts:
    """Open `trials` connections: a request is answered meanwhile, and each of them is closed."""
    del open_store, seed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 3 * trials:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3 * trials, hard))
    return asyncio.run(_idle(trials))


async def _idle(trials: int) -> Counts:
    counts, limits = Counts(), Limits(idle=SECONDS)
    graph = Graph(name="one", model="m", nodes={"member": Member()})
    app = create_app([graph], store=MemoryStore(), model=ScriptedModel("hi"), limits=limits)
    with bind("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        server = server_for(app, limits=limits, grace=0)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(trials)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"POST /api/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n"
        writer.write(head + b'Connection: close\r\n\r\n{"message": "hi"}')
        answer = await reader.read()
        if not answer.startswith(b"HTTP/1.1 200"):
            counts.note(f"the request is answered with {answer[:80]!r}", "wrong")
        for each, own in silent:
            counts.trials += 1
            try:
                async with asyncio.timeout(10 * SECONDS):
                    if told := await each.read():
                        counts.note(f"an idle connection is told {told[:80]!r}", "wrong")
            except TimeoutError:
                counts.note("an idle connection stays open", "wrong")
            own.close()
        writer.close()
        server.should_exit = True
        await serving
    return counts
