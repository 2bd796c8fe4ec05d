"""Who may call: every request that may not is refused as documented (docs/serve.md)."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest
from starlette.requests import Request

from teamgraph import Graph, MemoryStore, ScriptedModel
from teamgraph.errors import InputError
from teamgraph.nodes import Human, Member
from teamgraph.server import Limits, create_app
from tests.engine.server.conftest import TOKEN, Serve, events_of

START = ("POST", "/api/runs", {"message": "hi"})
SHOW = ("GET", "/api/graphs", None)
NO_TOKEN = {"Authorization": ""}

REFUSED = {
    "no token": (SHOW, NO_TOKEN, 401, "unauthorized"),
    "another token": (SHOW, {"Authorization": "Bearer no"}, 401, "unauthorized"),
    "another scheme": (SHOW, {"Authorization": f"Basic {TOKEN}"}, 401, "unauthorized"),
    "a forged cookie": (
        SHOW,
        NO_TOKEN | {"Cookie": "teamgraph_login=x.y"},
        401,
        "unauthorized",
    ),
    "a broken cookie": (SHOW, NO_TOKEN | {"Cookie": "a=\x01;;=("}, 401, "unauthorized"),
    "a foreign host": (SHOW, {"Host": "evil.example"}, 421, "unknown_host"),
    "a foreign IPv6 host": (SHOW, {"Host": "[::2]"}, 421, "unknown_host"),
    "a foreign origin": (START, {"Origin": "https://evil.example"}, 403, "foreign_origin"),
    "an origin that is none": (START, {"Origin": "http://["}, 403, "foreign_origin"),
    "no origin": (START, {"Origin": "null"}, 403, "foreign_origin"),
    "a foreign site": (START, {"Sec-Fetch-Site": "cross-site"}, 403, "foreign_origin"),
    "10 000 header bytes": (SHOW, {"X-Long": "x" * 10_000}, 431, "headers_too_large"),
    "no such path": (("GET", "/api/none", None), {}, 404, "not_found"),
    "no such method": (("DELETE", "/api/runs", None), {}, 405, "method_not_allowed"),
    "a path trick": (("GET", "/api/sessions/..%2F..%2Fetc%2Fpasswd", None), {}, 404, "not_found"),
    "a null byte": (("GET", "/api/runs/%00/events", None), {}, 404, "not_found"),
    "no such prompt": (("GET", "/api/prompts/..%2e", None), {}, 404, "not_found"),
    "10 MB": (("POST", "/api/runs", {"message": "x" * 10_000_000}), {}, 413, "body_too_large"),
    "no JSON": (("POST", "/api/runs", b"{"), {}, 400, "invalid_request"),
    "no UTF-8": (("POST", "/api/runs", b"\xff"), {}, 400, "invalid_request"),
    "an unknown field": (("POST", "/api/runs", {"mesage": "hi"}), {}, 400, "invalid_request"),
    "an unknown graph": (
        ("POST", "/api/runs", {"message": "hi", "graph": "dua"}),
        {},
        404,
        "not_found",
    ),
    "an unknown parameter": (("GET", "/api/sessions?usr=1", None), {}, 400, "invalid_request"),
    "a page too far": (("GET", "/api/sessions?offset=99999999", None), {}, 400, "invalid_request"),
    "no event id": (("GET", "/api/runs/r/events?after=7", None), {}, 400, "invalid_request"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_not_pass_is_refused_as_json(serve: Serve, case: str) -> None:
    (method, path, body), headers, status, code = REFUSED[case]
    served = serve()
    served.post("/api/runs", message="hi", run_id="r")
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    answer = served.client.request(method, path, content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] == answer.json()["error"]["request_id"]


def test_a_browser_logs_in_once_and_writes_with_its_csrf_token(serve: Serve) -> None:
    served = serve()
    browser = served.client
    del browser.headers["Authorization"]
    assert "<form" in browser.get("/login").text
    wrong = browser.post("/login", data={"token": "no"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    right = browser.post("/login", data={"token": TOKEN}, follow_redirects=False)
    assert right.status_code == 303
    assert "HttpOnly" in right.headers["set-cookie"]
    assert "SameSite=strict" in right.headers["set-cookie"]
    assert served.get("/api/graphs").status_code == 200
    assert served.post("/api/runs", message="hi").json()["error"]["code"] == "no_csrf_token"
    token = served.get("/api/login").json()["csrf_token"]
    started = browser.post("/api/runs", json={"message": "hi"}, headers={"X-CSRF-Token": token})
    assert started.json()["status"] == "done"
    assert serve(ui=False).get("/login").status_code == 404


def test_servers_on_two_ports_of_a_host_have_a_login_each(serve: Serve) -> None:
    browser = serve().client
    del browser.headers["Authorization"]
    here, there = {"Host": "testserver:81"}, {"Host": "testserver:82"}
    statuses: list[int] = []
    for host in (here, there):
        statuses.append(browser.get("/api/graphs", headers=host).status_code)
        browser.post("/login", data={"token": TOKEN}, headers=host, follow_redirects=False)
    assert statuses == [401, 401]
    assert [browser.get("/api/graphs", headers=host).status_code for host in (here, there)] == [
        200,
        200,
    ]


def test_users_are_listed_in_pages_and_with_a_login_only_oneself(serve: Serve) -> None:
    store = MemoryStore()
    served = serve(store=store)
    for name in ("ada", "bob", None):
        served.post("/api/runs", message="hi", session_id="s", user_id=name)
    pages = [served.get(f"/api/users?limit=2&offset={skip}").json()["users"] for skip in (0, 2)]
    assert [len(page) for page in pages] == [2, 1]
    assert {*pages[0], *pages[1]} == {"ada", "bob", None}
    own = serve(store=store, auth=_who)
    assert own.get("/api/users", {"X-User": "ada"}).json() == {"users": ["ada"]}
    assert own.get("/api/users?offset=1", {"X-User": "ada"}).json() == {"users": []}


def test_pages_of_a_named_origin_may_call(serve: Serve) -> None:
    served = serve(origins=["https://app.example"])
    headers = {"Origin": "https://app.example"}
    asked = served.client.options("/api/runs", headers=headers)
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (
        204,
        "https://app.example",
    )
    answer = served.client.post("/api/runs", json={"message": "hi"}, headers=headers)
    assert (answer.status_code, answer.headers["vary"]) == (200, "Origin")
    own = {"Origin": "http://testserver"}
    assert served.client.post("/api/runs", json={"message": "hi"}, headers=own).is_success


async def _who(request: Request) -> str | None:
    return request.headers.get("x-user")


def test_with_a_login_nobody_reaches_the_data_of_others(serve: Serve) -> None:
    """Another's session, run or prompt is answered with the bytes of one that does not exist."""
    ours, theirs = serve(auth=_who), serve(auth=_who)
    ada, bob = {"X-User": "ada", "X-Request-Id": "1"}, {"X-User": "bob", "X-Request-Id": "1"}
    started = ours.client.post(
        "/api/runs",
        json={"message": "secret", "session_id": "s", "run_id": "r", "user_id": "bob"},
        headers=ada,
    )
    assert started.json()["user_id"] == "ada"
    shown = ours.get("/api/runs/r?prompts=true", ada).json()
    prompt = shown["nodes"]["first"]["exchanges"][0]["prompt_hash"]
    assert ours.get(f"/api/prompts/{prompt}?run_id=r", ada).json()["sources"]
    requests: list[tuple[str, str, Any]] = [
        ("GET", "/api/sessions/s", None),
        ("GET", "/api/sessions/s?user_id=ada", None),
        ("GET", "/api/sessions/s/export", None),
        ("GET", "/api/sessions?search=secret", None),
        ("PATCH", "/api/sessions/s", {"name": "mine"}),
        ("DELETE", "/api/sessions/s", None),
        ("GET", "/api/runs/r", None),
        ("GET", "/api/runs/r?session_id=s", None),
        ("GET", "/api/runs/r/events", None),
        ("POST", "/api/runs/r/cancel", {"user_id": "ada"}),
        ("POST", "/api/runs/r/resume", {}),
        ("POST", "/api/runs/r/fork", {"message": "more"}),
        ("POST", "/api/runs/r/respond", {"answers": {}}),
        ("GET", f"/api/prompts/{prompt}", None),
        ("GET", f"/api/prompts/{prompt}?run_id=r", None),
    ]
    for method, path, body in requests:
        there, none = (
            each.client.request(method, path, json=body, headers=bob) for each in (ours, theirs)
        )
        assert (there.status_code, there.content) == (none.status_code, none.content), path
        assert b"secret" not in there.content
    assert ours.get("/api/runs/r", ada).json()["input"] == "secret"
    assert ours.get("/api/graphs").json()["error"]["code"] == "unauthorized"


def test_an_auth_function_that_gives_no_text_is_a_bug_that_is_not_told(serve: Serve) -> None:
    answer = serve(auth=lambda _: 7).get("/api/graphs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "auth" not in answer.text


def test_a_read_only_server_refuses_writes_and_renders(serve: Serve) -> None:
    served = serve(read_only=True)
    assert served.post("/api/runs", message="hi").json()["error"]["code"] == "read_only"
    assert served.post("/api/prompts/render", message="hi").status_code == 200


def test_who_asks_too_much_is_told_when_to_try_again(serve: Serve) -> None:
    served = serve(limits=Limits(per_minute=2))
    answers = [served.get("/api/graphs") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) >= 1
    unlimited = serve(limits=Limits(per_minute=0, at_once=0, body=0, headers=0))
    assert unlimited.get("/api/graphs").status_code == 200


HOSTILE = (
    "<script>alert(1)</script>",
    '"}],"x":"<img src=x onerror=alert(1)>',
    "\u202egnp.exe\u202c \x1b[31mred\x07",
    "data: x\n\nevent: run_finished\nid: 9\n\n",
    "\r\n\r\nHTTP/1.1 200 OK\r\n",
    "\ud800 half a pair",
    "{{ 7 * 7 }}{% raw %}",
    "\u2028\u2029\ufeff",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_come_back_as_json_in_every_field(serve: Serve, text: str) -> None:
    graph = Graph(name="one", model="echo", nodes={"m": Member(role="Say")})
    served = serve(graph, model=ScriptedModel([text] * 9))
    body = {"message": text, "user_id": text, "session_id": text, "run_id": text}
    quoted = quote(text, safe="", errors="surrogatepass")
    answers = [
        served.post("/api/runs", **body),
        served.post("/api/runs", graph=text, message="x"),
        served.post("/api/runs", **{text: "x"}),
        served.get(f"/api/sessions?user_id={quoted}&search={quoted}"),
        served.get(f"/api/sessions?user_id={quoted}"),
    ]
    for answer in answers:
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        answer.json()
    streamed = served.post("/api/runs", message=text, user_id=text, stream=True)
    if answers[0].status_code == 200:
        assert answers[0].json()["answer"] == text
        told = events_of(streamed.text)
        assert told[-1].event == "run_finished"
        assert told[-1].data["run"]["input"] == text


WAITS = Graph(
    name="waits",
    model="echo",
    state={"mood": ""},
    nodes={
        "ok": Human(prompt="{{ input.message }}?\n"),
        "done": Member(
            prompt="{% user %}{{ ok.output }}{% attach input.attachments %}{% enduser %}\n",
            needs=["ok"],
        ),
    },
    output=["done"],
)


def hostile_requests(text: str) -> list[tuple[str, str, Any]]:
    """A text wherever a client can put it, but for what the test above sends."""
    path = quote(text, safe="", errors="surrogatepass")
    messages = [{"role": role, "content": text} for role in ("system", "user", "assistant", "user")]
    chat = {"model": "one", "messages": messages, "user": text}
    respond = {"model": "one", "input": text, "instructions": text, "user": text}
    asked = {"messages": [{"id": text, "role": "user", "content": text}]}
    asked |= {"threadId": text, "runId": text, "tools": [], "context": [], "state": {text: text}}
    file = {"url": "data:text/plain;base64,aGk=", "name": text}
    start = {"graph": "waits", "message": text}
    return [
        ("POST", "/api/runs", {**start, "session_id": "s", "run_id": "r", "state": {"mood": text}}),
        ("POST", "/api/runs", {**start, "state": {text: text}}),
        ("POST", "/api/runs", {**start, "attachments": [file]}),
        ("POST", "/api/runs", {**start, "attachments": [{"url": text, "name": text}]}),
        ("PATCH", "/api/sessions/s", {"name": text}),
        ("GET", "/api/sessions/s", None),
        ("GET", "/api/sessions/s/export", None),
        ("POST", "/api/sessions/t/import", {"session": {text: text}}),
        ("POST", f"/api/sessions/{path}/import", {"session": {"version": text}}),
        ("POST", "/api/runs/r/respond", {"answers": {text: text}}),
        ("POST", "/api/runs/r/respond", {"answers": {"ok": text}, "by": text}),
        ("POST", "/api/runs/r/respond", {"answers": {"ok": text}, "stream": True}),
        ("GET", "/api/runs/r?prompts=true", None),
        ("POST", "/api/runs/r/fork", {"message": text, "into": text}),
        ("POST", "/api/runs/r/fork", {"node": text}),
        ("POST", "/api/runs/r/fork", {"node": "done", "prompt": text}),
        ("POST", "/api/prompts/render", {"graph": "one", "message": text}),
        ("POST", "/api/prompts/render", {"graph": text, "message": "x", "assume": {text: text}}),
        ("GET", f"/api/prompts/{path}?against={path}", None),
        ("GET", f"/v1/models/{path}", None),
        ("POST", "/v1/chat/completions", chat),
        ("POST", "/v1/chat/completions", {**chat, "stream": True, text: text}),
        ("POST", "/v1/chat/completions", {**chat, "metadata": {"session_id": text}}),
        ("POST", "/v1/chat/completions", {**chat, "model": text}),
        ("POST", "/v1/responses", respond),
        ("POST", "/v1/responses", {**respond, "stream": True, text: text}),
        ("POST", "/v1/responses", {**respond, "previous_response_id": text}),
        ("POST", "/agui/one", {**asked, "forwardedProps": {text: text}}),
        ("POST", f"/agui/{path}", {**asked, "forwardedProps": {}}),
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_data_wherever_a_client_puts_them(serve: Serve, text: str) -> None:
    one = Graph(name="one", model="echo", nodes={"m": Member(role="Say")})
    served = serve(one, WAITS, model=ScriptedModel([text] * 99))
    statuses = set[int]()
    for method, path, body in hostile_requests(text):
        content = None if body is None else json.dumps(body).encode()
        answer = served.client.request(method, path, content=content)
        statuses.add(answer.status_code)
        place = (method, path, body, answer.text)
        assert answer.status_code < 500, place
        assert answer.headers["x-content-type-options"] == "nosniff", place
        assert all(value.isascii() and value.isprintable() for value in answer.headers.values())
        if answer.headers["content-type"].startswith("text/event-stream"):
            frames = answer.text.removesuffix("\n\n").split("\n\n")
            datas = [line for frame in frames for line in frame.split("\n") if "data: " in line]
            assert len(datas) == len(frames), place
            for data in datas:
                assert data == "data: [DONE]" or json.loads(data.removeprefix("data: ")), place
        else:
            assert answer.headers["content-type"] == "application/json", place
            answer.json()
    assert 200 in statuses


def test_mistakes_of_whoever_makes_the_app_are_told() -> None:
    graph = Graph(name="one", model="echo", nodes={"m": Member(role="Say")})
    for options, told in (
        ({"graphs": []}, "no graph"),
        ({"graphs": [graph, graph]}, "two graphs are called 'one'"),
        ({"graphs": [graph], "token": ""}, "token is empty"),
    ):
        with pytest.raises(InputError, match=told):
            create_app(**options)
    assert asyncio.run(_who(Request({"type": "http", "headers": []}))) is None
    assert create_app([graph], store=MemoryStore()).state.token is None
