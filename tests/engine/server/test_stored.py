"""Runs that this process does not execute, told from what is stored; and what is logged of all."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from teamgraph import Graph, MemoryStore, Runner, ScriptedModel
from teamgraph.engine.server.limits import Limiter
from teamgraph.engine.server.telemetry import ServerMetrics, Telemetry, error_response
from teamgraph.errors import InputError, ModelError
from teamgraph.nodes import Member
from teamgraph.server import Limits, create_app
from tests.engine.server.conftest import ASKS, DUO, Serve, events_of
from tests.engine.server.test_coming_back import Conversation, Gate, _app, conversation

SKIPS = Graph(
    name="skips",
    model="echo",
    nodes={"no": Member(role="Never", when="false"), "yes": Member(role="Say")},
    output=["no", "yes"],
)
ENDS = {
    "done": ["node_skipped", "node_finished", "token", "answer", "run_finished"],
    "failed": ["node_finished", "node_failed", "run_failed"],
    "waiting": ["run_waiting"],
    "cancelled": ["run_cancelled"],
}


@pytest.mark.parametrize("status", ENDS)
def test_a_run_that_has_ended_is_told_as_it_is_stored(serve: Serve, status: str) -> None:
    store = MemoryStore()
    graph = {"done": SKIPS, "failed": DUO}.get(status, ASKS)
    model = ScriptedModel(["one", ModelError("down", model="m")])
    earlier = serve(graph, store=store, model=model)
    earlier.post("/api/runs", message="hi", run_id="r")
    served = serve(graph, store=store)
    if status == "cancelled":
        assert served.get("/api/runs").json()["waiting"][0]["run_id"] == "r"
        assert served.post("/api/runs/r/cancel").json()["status"] == "cancelled"
    told = events_of(served.get("/api/runs/r/events").text)
    assert [each.event for each in told][1:] == ENDS[status]
    before = events_of(earlier.get("/api/runs/r/events").text)
    rest = events_of(served.get("/api/runs/r/events", {"Last-Event-ID": before[-1].id}).text)
    assert "node_finished" not in [each.event for each in rest]
    if status == "waiting":
        Runner(ASKS, store=store, model=ScriptedModel("did")).respond("r", {"ok": "yes"})
        again = events_of(served.get("/api/runs/r/events").text)
        assert again[-1].event == "run_finished"
        assert serve(ASKS, store=store).get("/api/runs/r/events").status_code == 200


def test_an_answer_that_no_node_gave_is_told_without_one(serve: Serve) -> None:
    store = MemoryStore()
    run = Runner(DUO, store=store, model=ScriptedModel(["one", "two"])).run("hi", run_id="r")
    exported = Runner(DUO, store=store).session(run.session_id).export()
    exported["runs"][0]["turn"]["answer"] = "another"  # type: ignore[index,call-overload]  JSON
    served = serve(store=MemoryStore())
    assert served.post("/api/sessions/s/import", session=exported).status_code == 201
    told = events_of(served.get("/api/runs/r/events").text)
    assert [each.data["node"] for each in told if each.event == "answer"] == [None]
    assert served.post("/api/runs/r/resume").json()["error"]["code"] == "invalid_request"


def test_an_ended_run_gives_way_to_newer_ones(serve: Serve) -> None:
    model = ScriptedModel(["one", ModelError("down", model="m"), "two"])
    served = serve(model=model, limits=Limits(events=9))
    served.post("/api/runs", message="hi", run_id="r")
    assert served.post("/api/runs/r/resume").json()["answer"] == "two"
    assert events_of(served.get("/api/runs/r/events").text)[-1].event == "run_finished"


def test_the_log_has_no_texts_unless_asked(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "teamgraph.server")
    for log_texts in (False, True):
        caplog.clear()
        answer = serve(log_texts=log_texts).get("/api/runs/my-secret?user_id=ada")
        line = json.loads(caplog.messages[0])
        assert line["request_id"] == answer.json()["error"]["request_id"]
        assert line["request_id"] == answer.headers["x-request-id"]
        assert (line["route"], line["status"], line["error"]) == (
            "/api/runs/{run_id:path}",
            404,
            "not_found",
        )
        assert ("my-secret" in caplog.text) is log_texts


def test_an_error_after_the_response_has_begun_is_only_logged() -> None:
    sent: list[str] = []

    async def broken(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise InputError("late")

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message["type"])

    scope = {"type": "http", "method": "GET", "headers": [], "path": "/"}
    app = Telemetry(broken, ServerMetrics(lambda: 0), log_texts=False, respond=error_response)
    asyncio.run(app(scope, send, send))  # type: ignore[arg-type]  nothing is received
    assert sent == ["http.response.start"]


def test_a_body_without_a_length_is_limited_as_it_comes(serve: Serve) -> None:
    served = serve(limits=Limits(body=1_000))
    answer = served.client.post("/api/runs", content=iter([b"x" * 600, b"x" * 600]))
    assert answer.json()["error"]["code"] == "body_too_large"


def test_users_who_have_been_silent_are_forgotten() -> None:
    async def through(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI
        del scope, receive, send

    async def scenario() -> int:
        limiter = Limiter(through, Limits())
        for number in range(1_000):
            await limiter({"type": "http", "client": [str(number), 1]}, None, None)  # type: ignore[arg-type]  not used
        return len(limiter._allowances)

    assert asyncio.run(scenario()) == 1_000  # nobody for a minute yet


@conversation
async def test_a_user_has_so_many_requests_at_once() -> None:
    store, gate = MemoryStore(), Gate()
    app = _app(store, gate, limits=Limits(at_once=1))
    first = Conversation(app, "POST", "/api/runs", message="hi", stream=True)
    await first.until("half")
    second = Conversation(app, "POST", "/api/runs", message="hi")
    await second.whole()
    assert (second.status, second.headers["retry-after"]) == (429, "2")
    gate.opened.set()
    await first.whole()


@conversation
async def test_a_server_that_stops_starts_nothing_that_waits() -> None:
    store, gate = MemoryStore(), Gate()
    app = _app(store, gate)
    first = Conversation(app, "POST", "/api/runs", message="1", session_id="s", stream=True)
    await first.until("half")
    second = Conversation(app, "POST", "/api/runs", message="2", session_id="s")
    for _ in range(9):  # until it waits for the session
        await asyncio.sleep(0)
    await app.state.server.runs.close(0)
    told = await first.whole()
    assert (told[-1].event, told[-1].data["error"]["code"]) == ("error", "run_cancelled")
    await second.whole()
    assert second.status == 409


def test_runners_of_one_store_are_served_and_those_of_several_refused() -> None:
    store = MemoryStore()
    runners = [Runner(DUO, store=store), Runner(ASKS, store=store)]
    assert list(create_app(runners).state.server.runners) == ["duo", "asks"]
    with pytest.raises(InputError, match="another store"):
        create_app([Runner(DUO), Runner(ASKS)])


def test_without_the_extra_one_line_says_how_to_install_it() -> None:
    script = """
import sys
sys.modules["starlette"] = None
try:
    import teamgraph.server
except ImportError as error:
    print(error)
from typer.testing import CliRunner
from teamgraph.engine.cli.command import app
print(CliRunner().invoke(app, ["serve", "examples/letter.yaml", "--no-token"]).stderr)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert told.count('pip install "teamgraph[serve]"') == 2, told


def test_methods_that_clients_make_up_are_no_metrics_of_their_own(serve: Serve) -> None:
    served = serve()
    assert served.client.request("SPRINT", "/api/graphs").status_code == 405
    told = served.get("/metrics").text
    assert 'method="other"' in told
    assert "SPRINT" not in told
