"""Runs over HTTP: started, streamed, come back to, cancelled, resumed, forked, answered."""

from __future__ import annotations

import re

import pytest

from teamgraph import Graph, MemoryStore, ScriptedModel
from teamgraph.errors import ModelError, StoreError
from teamgraph.nodes import Member
from tests.engine.server.conftest import ASKS, DUO, Serve, events_of


def test_a_run_is_answered_whole_or_as_events(serve: Serve) -> None:
    served = serve()
    whole = served.post("/api/runs", message="hi", session_id="s")
    assert whole.status_code == 200
    assert (whole.json()["status"], whole.json()["answer"]) == ("done", "two")
    told = served.stream("/api/runs", message="hi", session_id="s")
    assert [each.data["sequence"] for each in told] == list(range(1, len(told) + 1))
    assert (told[0].event, told[-1].event) == ("run_started", "run_finished")
    tokens = [each.data["text"] for each in told if each.event == "token" and each.data["answer"]]
    assert "".join(tokens) == "two"


def test_a_message_comes_with_attachments_and_never_with_files_of_the_server(serve: Serve) -> None:
    served = serve()
    sent = [
        {"url": "data:application/pdf;base64,JVBERi0=", "name": "a.pdf"},
        {"url": "https://example.com/b.png"},
    ]
    run = served.post("/api/runs", message="hi", attachments=sent).json()
    assert [each["name"] for each in run["attachments"]] == ["a.pdf", "b.png"]
    for url in ("/etc/hosts", "file:///etc/hosts", "ftp://example.com/b.png"):
        refused = served.post("/api/runs", message="hi", attachments=[{"url": url}])
        assert refused.status_code == 400
        assert "attachments[0]" in refused.json()["error"]["message"]


def test_a_client_that_comes_back_gets_the_rest_and_nothing_twice(serve: Serve) -> None:
    served = serve()
    told = served.stream("/api/runs", message="hi", run_id="r")
    for cut in range(len(told) - 1):
        rest = served.get("/api/runs/r/events", {"Last-Event-ID": told[cut].id})
        assert events_of(rest.text) == told[cut + 1 :]
    assert served.get(f"/api/runs/r/events?after={told[-1].id}").status_code == 204


def test_a_run_that_waits_is_answered(serve: Serve) -> None:
    served = serve(ASKS)
    waits = served.post("/api/runs", message="go", session_id="s").json()
    assert (waits["status"], waits["questions"][0]["path"]) == ("waiting", "ok")
    done = served.post(f"/api/runs/{waits['run_id']}/respond", answers={"ok": "yes"})
    assert done.json()["status"] == "done"
    assert served.get(f"/api/runs/{waits['run_id']}").json()["answer"] == "one"
    assert DUO.name == "duo"


def test_sessions_are_listed_searched_renamed_exported_imported_and_deleted(serve: Serve) -> None:
    served = serve()
    served.post("/api/runs", message="blue moon", session_id="a/b", user_id="ada")
    listed = served.get("/api/sessions?user_id=ada").json()["sessions"]
    assert [each["session_id"] for each in listed] == ["a/b"]
    found = served.get("/api/sessions?user_id=ada&search=MOON").json()["turns"]
    assert [each["input"] for each in found] == ["blue moon"]
    path = "/api/sessions/a%2Fb"
    assert served.client.patch(path, json={"name": "Moon", "user_id": "ada"}).is_success
    shown = served.get(f"{path}?user_id=ada").json()
    assert (shown["name"], shown["turns"], len(shown["runs"])) == ("Moon", 1, 1)
    exported = served.get(f"{path}/export?user_id=ada").json()
    assert served.post("/api/sessions/c/import", session=exported).status_code == 201
    assert served.get("/api/sessions/c").json()["name"] == "Moon"
    assert served.client.delete(f"{path}?user_id=ada").is_success
    assert served.get(f"{path}?user_id=ada").status_code == 404


def test_prompts_are_rendered_shown_by_hash_and_compared(serve: Serve) -> None:
    served = serve(DUO, ASKS)
    rendered = served.post("/api/prompts/render", graph="duo", message="hi").json()["prompts"]
    assert [each["node"] for each in rendered] == ["first", "last"]
    assert rendered[0]["messages"][0]["came_from"]
    assert "name one of" in served.post("/api/runs", message="hi").json()["error"]["message"]
    served.post("/api/runs", graph="duo", message="hi", run_id="r")
    nodes = served.get("/api/runs/r?prompts=true").json()["nodes"]
    first = nodes["first"]["exchanges"][0]["prompt_hash"]
    shown = served.get(f"/api/prompts/{first}?against={first}").json()
    assert shown["sources"]
    assert set(shown["differences"].values()) == {""}
    assert {each["name"] for each in served.get("/api/graphs").json()["graphs"]} == {"duo", "asks"}


def test_the_document_describes_every_path(serve: Serve) -> None:
    served = serve()
    document = served.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    body = document["paths"]["/api/runs"]["post"]["requestBody"]["content"]["application/json"]
    name = body["schema"]["$ref"].rpartition("/")[2]
    assert "message" in document["components"]["schemas"][name]["properties"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"].endswith("."), (method, path)
    assert served.get("/healthz").json() == {"status": "ok"}
    assert served.get("/readyz").json() == {"status": "ok"}
    assert 'teamgraph_requests_total{method="GET",route="/healthz"' in served.get("/metrics").text


class Unreadable(MemoryStore):
    async def users(self, *, limit: int = 20, offset: int = 0) -> list[str | None]:
        raise StoreError("the disk is gone")


def test_a_server_whose_store_cannot_be_read_lives_but_is_not_ready(serve: Serve) -> None:
    served = serve(store=Unreadable())
    assert served.get("/healthz").status_code == 200
    answer = served.get("/readyz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_error")


def test_a_run_is_forked_and_resumed(serve: Serve) -> None:
    failing = ScriptedModel(["one", ModelError("down", model="m"), "two", "three", "four"])
    served = serve(model=failing)
    failed = served.post("/api/runs", message="hi", run_id="r")
    assert (failed.status_code, failed.json()["error"]["run_id"]) == (500, "r")
    told = events_of(served.get("/api/runs/r/events").text)
    assert told[-1].event == "run_failed"
    resumed = served.post("/api/runs/r/resume", message=None)
    assert resumed.status_code == 400
    assert served.post("/api/runs/r/resume").json()["answer"] == "two"
    for stream in (False, True):
        assert served.post("/api/runs/r/resume", stream=stream).status_code == 400  # it is done
    forked = served.post("/api/runs/r/fork", node="last").json()
    assert (forked["answer"], forked["nodes"]["first"]["output"]) == ("three", "one")


SPENDS = Graph(
    name="spends",
    model="echo",
    nodes={"a": Member(), "b": Member(needs="a")},
    budget={"calls": 1},
)
ASKED_WRONG = {
    "a session": ("GET", "/api/sessions/none?user_id=ann", {}),
    "a session of nobody": ("GET", "/api/sessions/none", {}),
    "a run": ("GET", "/api/runs/none", {}),
    "a round": ("POST", "/api/runs/r/fork", {"node": "ok[2]"}),
    "a turn of a session that waits": (
        "POST",
        "/api/runs",
        {"graph": "asks", "message": "hi", "session_id": "s"},
    ),
    "a run that has spent its budget": ("POST", "/api/runs", {"graph": "spends", "message": "hi"}),
}


@pytest.mark.parametrize("what", ASKED_WRONG)
def test_a_client_is_told_to_go_on_over_http(serve: Serve, what: str) -> None:
    served = serve(ASKS, SPENDS)
    served.post("/api/runs", graph="asks", message="go", session_id="s", run_id="r")
    method, path, body = ASKED_WRONG[what]
    answer = served.client.request(method, path, json=body)
    assert answer.status_code in (400, 402, 404, 409)
    message = answer.json()["error"]["message"]
    told = [message]
    if path == "/api/runs":
        streamed = served.client.request(method, path, json={**body, "stream": True})
        if streamed.status_code == 200:
            last = events_of(streamed.text)[-1].data
            told += [last["error"]["message"], last["run"]["error"]]
        else:
            told.append(streamed.json()["error"]["message"])
    for each in told:
        assert not re.search(r"teamgraph |Runner|--\w|\w\(|for this once", each), each
    ids = iter(["s" if "sessions" in message else "r"])
    for method, path in re.findall(r"\b(GET|POST) (/api/[\w/]+)", message):
        way = re.sub(r"\bID\b", lambda _: next(ids), path)
        followed = served.client.request(method, way, json={"answers": {"ok": "yes"}})
        assert followed.is_success, followed.text


SAID = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/runs", {"message": "hi", "session_id": ""}),
        ("/api/runs", {"message": "hi", "run_id": ""}),
        ("/api/runs", {"message": "hi", "user_id": ""}),
        ("/api/runs/r/fork", {"message": "hi", "into": ""}),
        ("/api/sessions?user_id=", None),
        ("/api/prompts/render", {"message": "hi", "session_id": ""}),
        ("/api/prompts/abc?run_id=", None),
        ("/api/prompts/abc?run_id=r&session_id=", None),
        ("/v1/chat/completions", {"model": "duo", "messages": SAID, "user": ""}),
    ],
)
def test_an_empty_id_is_nobody_and_nothing(
    serve: Serve, path: str, body: dict[str, object] | None
) -> None:
    served = serve()
    answer = served.get(path) if body is None else served.post(path, **body)
    assert answer.status_code == 400
    assert "empty" in answer.json()["error"]["message"]
