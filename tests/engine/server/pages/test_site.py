"""All pages of a site: every link leads somewhere, no text becomes markup, nobody sees others'."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.requests import Request

from teamgraph import Graph, MemoryStore, Runner, ScriptedModel
from teamgraph.errors import Problem
from teamgraph.nodes import Human, Member, Router
from tests.engine.server.conftest import DUO
from tests.engine.server.pages.browser import Browser, Page
from tests.engine.server.pages.conftest import Open
from tests.engine.server.test_access import HOSTILE

STATIC = Path(__file__).parents[4] / "engine" / "server" / "pages" / "static"
TEXTS = (
    "".join(HOSTILE[:2]) + "</textarea></pre><svg onload=alert(1)>' onmouseover='alert(1)",
    HOSTILE[2] + HOSTILE[3] + HOSTILE[4] + "\x00",
    HOSTILE[5] + HOSTILE[6] + HOSTILE[7],
    "[x](javascript:alert(1)) ![y](data:text/html,<script>alert(2)</script>) a/b?c=d&e#f%2e",
    "..",
)


def site(text: str) -> tuple[Graph, MemoryStore]:
    """A graph that is described by a text, and a store in which everything else is that text."""
    said = text.encode("utf-8", "replace").decode()  # a graph has no half of a pair
    graph = Graph(
        name=said,
        description=said,
        model="echo",
        nodes={
            "way": Router(routes={"left": "left", "right": "right"}, description=said),
            "left": Member(role=said),
            "right": Member(prompt="{{ node.params.x }} {{ input.message }}\n", params={"x": said}),
        },
        output=["left", "right"],
    )
    store = MemoryStore()
    model = ScriptedModel(['{"choice": "right", "reason": "so"}', text] * 4)
    runner = Runner(graph, store=store, model=model)
    for _ in range(2):
        runner.run(text if text.strip() else "x", user_id=text, session_id=text)
    runner.session(text, user_id=text).rename(text)
    return graph, store


def crawl(browser: Browser, *starts: str) -> dict[str, Page]:
    """Every page that is linked from these, opened once."""
    found, todo = dict[str, Page](), list(starts)
    while todo:
        path = todo.pop().partition("#")[0]
        if path in found or not path:
            continue
        if path.startswith("/session/export"):
            assert browser.raw(path).json()["version"] == 1
            continue
        found[path] = browser.open(path)
        todo += found[path].links
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_every_link_of_a_site_leads_somewhere_and_no_text_is_markup(
    browse: Open, text: str
) -> None:
    graph, store = site(text)
    browser = browse(graph, store=store)
    whose = quote(text, safe="", errors="surrogatepass")
    found = crawl(browser, "/", f"/sessions?user_id={whose}", f"/sessions?user_id={whose}&search=x")
    assert {path.partition("?")[0] for path in found} == {
        *("/", "/graph", "/chat", "/run", "/sessions", "/session", "/session/delete", "/prompts"),
        "/run/compare",
    }
    shown = [page for path, page in found.items() if path.startswith("/run?")]
    assert len(shown) >= 4  # two runs, and their nodes
    compared = f"/compare?session_id={whose}&other={whose}&user_id={whose}"
    assert "The same" in browser.open(compared).text
    rendered = browser.send(
        browser.open(f"/graph?graph={quote(graph.name, safe='')}").form("/graph"),
        message=graph.name if text.strip() else "x",
        graph=graph.name,
    )
    assert "Render" in rendered.text


def test_what_is_not_there_is_told_on_a_page(browse: Open) -> None:
    browser = browse()
    for path, told in {
        "/nothing": "no such path",
        "/graph?graph=dua": "did you mean 'duo'",
        "/chat?graph=dua": "did you mean 'duo'",
        "/prompts?graph=dua": "did you mean 'duo'",
        "/run?run_id=r": "there is no run 'r'",
        "/session?session_id=s": "there is no session 's'",
        "/session/delete?session_id=s": "there is no session 's'",
        "/session/export?session_id=s": "there is no session 's'",
        "/compare?session_id=s&other=t": "there is no session 's'",
    }.items():
        assert told in browser.open(path, status=404).text, path
    for path, told in {
        "/run": "the address: run_id",
        "/sessions?offset=x": "the address: offset",
        "/sessions?usr=ada": "unknown",
        "/sessions?user_id=%ff": "no percent-encoded UTF-8",
    }.items():
        assert told in browser.open(path, status=400).text, path


def test_nobody_sees_the_pages_of_others(browse: Open) -> None:
    """Another's session or run is answered with the bytes of one that does not exist."""

    def who(request: Request) -> str | None:
        return request.headers.get("x-user")

    store = MemoryStore()
    ours, theirs = browse(auth=who, store=store), browse(auth=who)
    runner = Runner(DUO, store=store, model=ScriptedModel(["one", "two"]))
    runner.run("secret", user_id="ada", session_id="s", run_id="r")
    requests: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/session?session_id=s", {}),
        ("GET", "/session?session_id=s&user_id=ada", {}),
        ("GET", "/session/delete?session_id=s", {}),
        ("GET", "/session/export?session_id=s", {}),
        ("GET", "/compare?session_id=s&other=s", {}),
        ("GET", "/sessions?user_id=ada", {}),
        ("GET", "/sessions?search=secret", {}),
        ("GET", "/chat?session_id=s&user_id=ada", {}),
        ("GET", "/run?run_id=r&session_id=s&user_id=ada", {}),
        ("GET", "/run?run_id=r&node=first", {}),
        ("GET", "/run/compare?run_id=r&node=first", {}),
        ("POST", "/run/keep?run_id=r", {"file": "x.prompts.yaml"}),
        ("POST", "/session/rename?session_id=s", {"name": "mine"}),
        ("POST", "/session/delete?session_id=s", {}),
        ("POST", "/run/stop?run_id=r", {}),
        ("POST", "/run/resume?run_id=r", {}),
        ("POST", "/run/respond?run_id=r", {"path": "first", "answer": "x"}),
        ("POST", "/run/fork?run_id=r&node=first", {}),
    ]
    bob = {"X-User": "bob", "X-Request-Id": "1"}
    for method, path, fields in requests:
        there, none = (
            each.raw(path, method=method, data=fields or None, headers=bob)
            for each in (ours, theirs)
        )
        assert (there.status_code, there.content) == (none.status_code, none.content), path
        assert b"secret" not in there.content.replace(b'value="secret"', b"")
    assert "secret" in ours.raw("/run?run_id=r", headers={"X-User": "ada"}).text


def test_a_read_only_site_has_nothing_that_writes(browse: Open) -> None:
    store = MemoryStore()
    asks = Graph(
        name="asks", model="echo", nodes={"ok": Human(prompt="May I?\n", options=["yes", "no"])}
    )
    Runner(asks, store=store).run("go", session_id="w")
    Runner(DUO, store=store, model=ScriptedModel("x")).run("hi", session_id="s")
    browser = browse(DUO, asks, store=store, read_only=True)
    found = crawl(browser, "/", "/chat?session_id=s", "/chat?session_id=w")
    assert any("It waits for an answer: May I?" in page.text for page in found.values())
    for path, page in found.items():
        assert {form.method for form in page.forms} <= {"get"}, path
        assert "read-only" in page.text
    refused = browser.raw("/session/delete?session_id=s", method="POST", data={})
    assert (refused.status_code, "start it without --read-only" in refused.text) == (403, True)


def test_a_graph_that_cannot_be_loaded_is_shown_with_its_problems(browse: Open) -> None:
    problem = Problem("G001", "node 'a' is <bad>", file="team.yaml", line=3, column=5)
    other = Problem("G002", "no", path=("nodes", "x"), suggestion="y")
    for graphs in ((DUO,), ()):
        browser = browse(*graphs, broken={"team.yaml": [problem, other]})
        page = browser.open("/").links
        (link,) = [each for each in page if "team.yaml" in each]
        for path in [link] if graphs else [link, "/graph"]:
            shown = browser.open(path).text
            assert "team.yaml:3:5" in shown
            assert "did you mean y?" in shown
    for path in ("/prompts", "/chat", "/chat?graph=team.yaml"):
        page = browser.open(path, 404)
        assert "graph 'team.yaml' cannot be loaded: team.yaml:3:5" in page.text, path


def test_what_is_vendored_is_what_its_list_says() -> None:
    listed = dict(
        line.split(": ", 1)
        for line in (STATIC / "VENDORED.txt").read_text(encoding="utf-8").splitlines()
        if ": " in line
    )
    assert sha256((STATIC / listed["file"]).read_bytes()).hexdigest() == listed["sha256"]
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE").read_text(encoding="utf-8")
    assert 'version:"' + listed["version"] + '"' in (STATIC / listed["file"]).read_text("utf-8")
    folders = (STATIC.parent, STATIC.parents[2] / "view")
    files = [each for folder in folders for each in folder.rglob("*") if each.is_file()]
    shipped = [each for each in files if each.suffix != ".pyc"]
    assert sum(each.stat().st_size for each in shipped) < 400_000


def test_htmx_evaluates_nothing_and_writes_no_styles(browse: Open) -> None:
    page: Any = browse().open("/")
    (config,) = [
        json.loads(each.attributes["content"])
        for each in page.all("meta")
        if each.attributes.get("name") == "htmx-config"
    ]
    assert (config["allowEval"], config["includeIndicatorStyles"]) == (False, False)
