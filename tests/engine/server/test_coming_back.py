"""Clients that leave and come back: to a run in progress, to one that is resumed, or never."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from teamgraph import Chunk, Graph, MemoryStore, Reply, Request, Runner
from teamgraph.errors import Cancelled
from teamgraph.nodes import Member
from teamgraph.server import Limits, create_app
from tests.engine.server.conftest import DUO, Told, events_of

WIDE = Graph(
    name="wide",
    model="echo",
    nodes={
        **{f"m{number}": Member(role="Say") for number in range(3)},
        "last": Member(role="End", needs=["m0", "m1", "m2"]),
    },
    output=["last"],
)


class Gate:
    """A model that says half of its answer to the last node, and the rest once it may."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        if "End" in request.messages[0].content:
            yield Chunk("half ")
            await self.opened.wait()
            yield Chunk("done")
        yield Reply("half done" if "End" in request.messages[0].content else "said", model="gate")


class Conversation:
    """One request to an app in this event loop, and its response as it comes."""

    def __init__(self, app: Any, method: str, path: str, **body: object) -> None:  # noqa: ANN401
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._gone = asyncio.Event()
        self.text, self.status, self.headers = "", 0, dict[str, str]()
        route, _, query = path.partition("?")
        headers = [(b"host", b"localhost")]
        if "after" in body:
            headers.append((b"last-event-id", str(body.pop("after")).encode()))
        self._body: bytes | None = json.dumps(body).encode()
        scope = {
            "type": "http",
            "method": method,
            "path": route,
            "query_string": query.encode(),
            "headers": headers,
            "scheme": "http",
            "server": ("localhost", 80),
        }
        self._task = asyncio.create_task(app(scope, self._receive, self._messages.put))

    async def until(self, word: str) -> list[Told]:
        """The events up to one that contains a word."""
        while word not in self.text:
            assert not self._task.done(), self.text
            await self._next()
        return events_of(self.text)

    async def whole(self) -> list[Told]:
        """All events."""
        while not self._task.done() or not self._messages.empty():
            await self._next()
        return events_of(self.text)

    async def leave(self) -> None:
        self._gone.set()
        await self._task

    async def cut(self) -> None:
        """Let the server give up the request."""
        self._task.cancel()
        await self._task

    async def _receive(self) -> dict[str, Any]:
        if self._body is None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _next(self) -> None:
        get = asyncio.ensure_future(self._messages.get())
        await asyncio.wait((get, self._task), return_when=asyncio.FIRST_COMPLETED)
        if not get.done():
            get.cancel()
            return
        message = get.result()
        self.status = message.get("status", self.status)
        headers: list[tuple[bytes, bytes]] = message.get("headers", [])
        self.headers |= {name.decode(): value.decode() for name, value in headers}
        self.text += message.get("body", b"").decode()


def conversation(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """An async test as a synchronous one."""

    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


def _app(store: MemoryStore, gate: Gate, graph: Graph = DUO, **options: Any) -> Any:  # noqa: ANN401
    return create_app([graph], store=store, model=gate, **options)


@conversation
async def test_after_a_restart_the_client_gets_the_rest_and_no_node_twice() -> None:
    store, first, second = MemoryStore(), Gate(), Gate()
    before = _app(store, first, WIDE)
    started = Conversation(before, "POST", "/api/runs", message="hi", run_id="r", stream=True)
    told = await started.until('"text":"half "')
    await started.leave()
    await before.state.server.runs.close(0)  # the server stops, and hands the run back
    run = await Runner(WIDE, store=store, model=first).session("r").arun("r")
    assert run.status == "running"
    second.opened.set()
    after = _app(store, second, WIDE)
    position = told[-1].id
    back = [
        Conversation(after, "GET", "/api/runs/r/events", after=position),
        Conversation(after, "GET", f"/api/runs/r/events?after={told[2].id}"),
    ]
    rest, other = [await each.whole() for each in back]
    assert (rest[0].event, rest[-1].event) == ("answer_reset", "run_finished")
    finished = [each.data["node"] for each in told + rest if each.event == "node_finished"]
    assert sorted(finished) == ["last", "m0", "m1", "m2"]
    tokens = [each.data["text"] for each in rest if each.event == "token" and each.data["answer"]]
    assert "".join(tokens) == "half done"
    assert other[-1].id == rest[-1].id  # both read one resumed run
    assert (await Conversation(after, "GET", "/api/runs/r/events").whole())[-1] == rest[-1]


@conversation
async def test_a_run_that_nobody_reads_is_cancelled_unless_it_is_detached() -> None:
    store, gate = MemoryStore(), Gate()
    app = _app(store, gate, grace=0.0)
    runs = app.state.server.runs
    left = Conversation(app, "POST", "/api/runs", message="hi", run_id="left", stream=True)
    await left.until("half")
    live = runs.live(None, "left")
    await left.leave()
    await asyncio.wait([live.task])
    with pytest.raises(Cancelled):
        await live.result()
    whole = Conversation(app, "POST", "/api/runs", message="hi", run_id="whole")
    while not runs.live(None, "whole"):  # noqa: ASYNC110  nothing tells that it has begun
        await asyncio.sleep(0)
    await whole.leave()
    await asyncio.wait([runs.live(None, "whole").task])
    detached = Conversation(app, "POST", "/api/runs", message="hi", run_id="d", detach=True)
    await detached.whole()
    assert (detached.status, json.loads(detached.text)["status"]) == (202, "running")
    watching = Conversation(app, "GET", "/api/runs/d/events")
    await watching.until("half")
    await watching.leave()
    gate.opened.set()
    assert (await runs.live(None, "d").result()).answer == "half done"
    session = Runner(DUO, store=store).session
    assert (await session("left").arun("left")).status == "cancelled"
    assert (await session("whole").arun("whole")).status == "cancelled"


@conversation
async def test_a_run_is_cancelled_once_from_anywhere() -> None:
    store, gate = MemoryStore(), Gate()
    app = _app(store, gate)
    started = Conversation(app, "POST", "/api/runs", message="hi", run_id="r", stream=True)
    await started.until("half")
    stopped = Conversation(app, "POST", "/api/runs/r/cancel")
    await stopped.whole()
    assert (stopped.status, json.loads(stopped.text)["status"]) == (200, "cancelled")
    names = [each.event for each in await started.whole()]
    assert names.count("run_cancelled") == 1
    assert names[-1] == "run_cancelled"
    gate.opened.set()
    again = Conversation(app, "POST", "/api/runs/r/resume")
    await again.whole()
    assert json.loads(again.text)["answer"] == "half done"


@conversation
async def test_a_reader_that_is_too_slow_is_told_and_can_read_the_run() -> None:
    store, gate = MemoryStore(), Gate()
    app = _app(store, gate, limits=Limits(events=2))
    await Conversation(app, "POST", "/api/runs", message="hi", run_id="r", detach=True).whole()
    live = app.state.server.runs.live(None, "r")
    for _ in range(99):  # until the model waits
        await asyncio.sleep(0)
    told = await Conversation(app, "GET", "/api/runs/r/events").whole()
    assert (told[-1].event, told[-1].data["error"]["code"]) == ("error", "not_found")
    gate.opened.set()
    await asyncio.wait([live.task])
    run = Conversation(app, "GET", "/api/runs/r")
    await run.whole()
    assert json.loads(run.text)["answer"] == "half done"
    assert app.state.server.runs.live(None, "r") is None  # it is not kept


@conversation
async def test_a_client_that_leaves_while_its_session_is_busy_starts_nothing() -> None:
    store, gate = MemoryStore(), Gate()
    app = _app(store, gate)
    first = Conversation(app, "POST", "/api/runs", message="1", session_id="s", stream=True)
    await first.until("half")
    second = Conversation(app, "POST", "/api/runs", message="2", session_id="s", run_id="2")
    await asyncio.sleep(0)
    await second.leave()
    third = Conversation(app, "POST", "/api/runs", message="3", session_id="s", stream=True)
    await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await third.cut()
    gate.opened.set()
    await first.whole()
    session = Runner(DUO, store=store).session("s")
    assert [turn.input for turn in await session.aruns()] == ["1"]
