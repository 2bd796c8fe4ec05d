"""What a person does on the pages, by links and forms alone: chat, answer, retry, fork, tidy up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from urllib.parse import parse_qs, urlsplit

from teamgraph import (
    Chunk,
    Graph,
    MemoryStore,
    Reply,
    Request,
    Runner,
    ScriptedModel,
    SessionKey,
    Turn,
)
from teamgraph.errors import ModelError
from teamgraph.nodes import HistoryLoader, Human, Loop, Member, Python, Summarizer
from tests.engine.server.conftest import ASKS, DUO, events_of
from tests.engine.server.pages.browser import Browser, Page
from tests.engine.server.pages.conftest import Open


def settled(browser: Browser, page: Page, path: str) -> Page:
    """The page once no run goes on there, loaded again and again as without JavaScript."""
    for _ in range(50):
        if "http-equiv" not in page.html:
            return page
        page = browser.open(path)
    raise AssertionError(page.html)


def say(browser: Browser, message: str, path: str = "/chat?session_id=s&user_id=ada") -> Page:
    page = browser.send(browser.open(path).form("/chat"), message=message)
    return settled(browser, page, path)


def test_a_chat_goes_on_turn_by_turn(browse: Open) -> None:
    browser = browse(model=ScriptedModel(["a", "one", "b", "two"]))
    assert "Nothing was said yet" in browser.open("/chat?session_id=s&user_id=ada").text
    say(browser, "first")
    page = say(browser, "second\r\nline")
    assert [text in page.text for text in ("first", "one", "second\nline", "two")] == [True] * 4
    assert 'data-node="last"' in page.html
    (own,) = [each for each in page.all("a") if each.attributes.get("aria-current")]
    assert own.text == "first"
    assert "the message is empty" in browser.send(page.form("/chat"), status=400, message=" ").text


def test_a_new_chat_has_a_session_of_its_own(browse: Open) -> None:
    browser = browse()
    forms = [browser.open("/chat").form("/chat") for _ in range(2)]
    sessions = [parse_qs(urlsplit(each.action).query)["session_id"] for each in forms]
    assert sessions[0] != sessions[1]
    page = browser.send(forms[0], message="hi")
    assert parse_qs(urlsplit(page.form("/chat").action).query)["session_id"] == sessions[0]


def test_the_graph_of_a_chat_is_that_of_its_last_turn(browse: Open) -> None:
    store = MemoryStore()
    Runner(ASKS, store=store).run("go", session_id="s")
    browser = browse(DUO, ASKS, store=store)
    assert "Chat with asks" in browser.open("/chat?session_id=s").text
    assert "Chat with duo" in browser.open("/chat?session_id=t").text
    assert "Chat with duo" in browser.open("/chat?session_id=s&graph=duo").text


def test_questions_are_answered_by_buttons_and_boxes(browse: Open) -> None:
    free = Graph(
        name="free",
        model="echo",
        nodes={
            "ask": Human(prompt="How many?\n", returns={"count": "int"}, assign_to="boss"),
            "done": Member(role="Do it", needs=["ask"]),
        },
        output=["done"],
    )
    store = MemoryStore()
    browser = browse(ASKS, free, store=store, model=ScriptedModel(["did it", "counted"]))
    path = "/chat?session_id=s&graph=asks"
    page = say(browser, "go", path)
    assert [each.text for each in page.all("button")][:2] == ["yes", "no"]
    page = settled(browser, browser.send(page.form("/run/respond"), answer="Yes"), path)
    assert "did it" in page.text
    path = "/chat?session_id=t&graph=free"
    page = say(browser, "go", path)
    assert "For boss" in page.text
    form = page.form("/run/respond")
    assert "does not fit" in browser.send(form, status=400, answer="many").text
    page = settled(browser, browser.send(form, answer='{"count": 3}'), path)
    assert "counted" in page.text
    assert "was answered already" in browser.send(form, status=400, answer="1").text


def test_a_run_that_waits_is_stopped_and_retried(browse: Open) -> None:
    browser = browse(ASKS)
    path = "/chat?session_id=s"
    page = say(browser, "go", path)
    node = browser.open(next(each for each in page.links if each.startswith("/run?")))
    node = browser.open(next(each for each in node.links if "node=done" in each))
    assert "It has not run in this run" in node.text
    page = browser.send(page.form("/run/stop"))
    assert "cancelled" in page.text
    page = settled(browser, browser.send(page.form("/run/resume")), path)
    assert "May I?" in page.text


def test_a_run_that_failed_says_why_and_is_retried(browse: Open) -> None:
    model = ScriptedModel(["one", ModelError("the line is down", model="m"), "two"])
    browser = browse(model=model)
    path = "/chat?session_id=s&user_id=ada"
    page = say(browser, "hi")
    assert page.text.count("the line is down") >= 1
    run = browser.open(next(each for each in page.links if each.startswith("/run?")))
    shown = browser.send(run.form("/run/resume"))
    assert shown.form("/run/fork") if shown.forms else "Nodes, by time" in shown.text
    assert "two" in settled(browser, browser.open(path), path).text
    assert "there is nothing to resume" in browser.send(page.form("/run/resume"), 400).text


def test_a_run_is_shown_node_by_node_and_run_again_from_one(browse: Open) -> None:
    store = MemoryStore()
    browser = browse(store=store, model=ScriptedModel(["a", "one", "two", "b", "three"]))
    say(browser, "hi")
    (run,) = Runner(DUO, store=store).session("s", user_id="ada").runs()
    path = f"/run?run_id={run.run_id}&user_id=ada"
    page = browser.open(f"{path}&node=last")
    assert "What others in the team found" in page.text
    assert "origin-node" in page.html
    fork = page.form("/run/fork")
    assert fork.fields["message"] == "hi"
    forked = browser.send(fork)
    assert "two" in forked.text
    assert f"Forked from{run.run_id}" in forked.text.replace("\n", "")
    assert "three" in browser.send(fork, message="other").text
    assert "did you mean 'last'" in browser.open(f"{path}&node=lost", status=404).text
    stopped = browser.raw(f"/run/stop?run_id={run.run_id}&user_id=ada", method="POST")
    assert stopped.status_code == 403  # without the token of its forms
    elsewhere = browse(ASKS, store=store).open(path)
    assert "not served here" in elsewhere.text
    assert not elsewhere.forms


class Gate:
    """A model that says half of its answer, and the rest once it may."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        del request
        yield Chunk("half ")
        await self.opened.wait()
        yield Reply("half done", model="gate")


def test_a_run_is_shown_while_it_goes_on(browse: Open) -> None:
    gate, store = Gate(), MemoryStore()
    one = Graph(name="one", model="echo", nodes={"m": Member(role="Say")})
    browser = browse(one, store=store, model=gate)
    path = "/chat?session_id=s"
    page = browser.send(browser.open(path).form("/chat"), message="hi")
    (live,) = [each for each in page.all("section") if "data-events" in each.attributes]
    assert live.attributes["data-page"].startswith("/chat?")
    assert page.all("meta")[-1].attributes == {"http-equiv": "refresh", "content": "2"}
    run = next(each for each in page.links if each.startswith("/run?"))
    assert "data-events" in browser.open(run).html
    browser.client.portal.call(gate.opened.set)  # type: ignore[union-attr]  it is entered
    told = events_of(browser.raw(live.attributes["data-events"]).text)
    assert [each.event for each in told][-1] == "run_finished"
    assert "half done" in settled(browser, browser.open(path), path).text
    again = browser.send(browser.open(path).form("/chat"), message="more")
    assert "half done" in settled(browser, again, path).text


def test_a_read_only_site_leaves_an_interrupted_run_as_it_is(browse: Open) -> None:
    store = MemoryStore()
    turn = Turn(run_id="r", input="hi", graph="duo", started=1.0)
    asyncio.run(_interrupt(store, turn))
    browser = browse(store=store, read_only=True)
    page = browser.open("/run?run_id=r&session_id=s")
    assert "data-events" not in page.html
    refused = browser.raw("/api/runs/r/events").json()["error"]
    assert (refused["code"], "does not resume it" in refused["message"]) == ("read_only", True)


async def _interrupt(store: MemoryStore, turn: Turn) -> None:
    await store.release(await store.begin(SessionKey(None, "s"), turn))


def count(state: dict[str, int], session_state: dict[str, int]) -> str:
    session_state["visits"] += 1
    state["times"] = state.get("times", 0) + session_state["visits"]
    return "counted"


def forget(session_state: dict[str, int]) -> str:
    session_state["visits"] = 0
    return "forgotten"


def test_a_node_shows_what_it_has_changed_in_the_state(browse: Open) -> None:
    inner = Graph(name="inner", nodes={"m": Member(role="Say")})
    graph = Graph(
        name="counts",
        model="echo",
        state={"visits": 0},
        nodes={
            "one": Python(call=count),
            "two": Python(call=count, needs=["one"]),
            "three": Python(call=forget, needs=["two"]),
            "again": Loop(graph=inner, until="true", max=2, needs=["three"]),
            "never": Member(role="No", when="false"),
        },
        output=["again", "never"],
    )
    store = MemoryStore()
    runner = Runner(graph, store=store, model=ScriptedModel(["x"] * 2))
    for number in range(2):
        runner.run("hi", session_id="s", run_id=f"r{number}")
    browser = browse(graph, store=store)
    page = browser.open("/run?run_id=r1&session_id=s&node=two")
    rows = [" ".join(each.text.split()) for each in page.all("tr")]
    assert {"visits 1 2", 'two (its own) { "times": 2 } { "times": 4 }'} <= set(rows)
    page = browser.open("/run?run_id=r1&session_id=s&node=three")
    assert "visits 2 0" in [" ".join(each.text.split()) for each in page.all("tr")]
    page = browser.open("/run?run_id=r1&session_id=s&node=again/m")
    assert "What again[1]/m was sent" in page.text
    changed = browse(Graph(name="counts", model="echo", nodes=DUO.nodes), store=store)
    page = changed.open("/run?run_id=r1&session_id=s&node=again/m")
    assert "prompt" not in page.form("/run/fork").fields
    other = browse(DUO, store=store).open("/run?run_id=r0&session_id=s&node=one")
    assert "visits- 1" in [" ".join(each.text.split()) for each in other.all("tr")]


def test_sessions_are_searched_renamed_compared_and_deleted(browse: Open) -> None:
    graph = Graph(
        name="sums",
        model="echo",
        state={"visits": 0},
        nodes={
            "history": HistoryLoader(),
            "say": Member(role="Say", needs=["history"]),
            "sum": Summarizer(needs=["say"]),
        },
        output=["say"],
    )
    store = MemoryStore()
    short, longer = (json.dumps({"summary": text, "topics": []}) for text in ("short", "longer"))
    model = ScriptedModel(["one", short, "two", longer, "one", short])
    runner = Runner(graph, store=store, model=model)
    for session, message in (("s", "apples"), ("s", "pears"), ("t", "apples")):
        runner.run(message, session_id=session, user_id="ada", state={"visits": 1})
    browser = browse(graph, store=store)
    found = browser.send(browser.open("/sessions?user_id=ada").form("/sessions"), search="PEARS")
    assert "turn 2 of s" in found.text
    nothing = browser.send(browser.open("/sessions?user_id=ada").form("/sessions"), search="figs")
    assert "No turn has that text" in nothing.text
    page = browser.open("/session?session_id=s&user_id=ada")
    assert page.text.count("The summary became another one") == 2
    assert (len(page.all("del")), len(page.all("ins"))) == (1, 1)
    for text in ("short", "longer", '"visits": 1', "Up to turn 2"):
        assert text in page.text
    assert "2 runs, 4 calls" in browser.open("/session?session_id=s&user_id=ada&totals=1").text
    named = browser.send(page.form("/session/rename"), name="fruit")
    assert named.all("h1")[0].text == "fruit"
    assert "fruit" in browser.open("/sessions?user_id=ada").text
    assert browser.send(named.form("/session/rename"), name="").all("h1")[0].text == "Session s"
    compared = browser.send(page.form("/compare"), other="t").text
    assert [compared.count(each) for each in ("The same", "Different", "no such turn")] == [1, 1, 1]
    confirm = browser.open("/session/delete?session_id=s&user_id=ada")
    assert "with its 2 turns" in confirm.text
    assert "fruit" not in browser.send(confirm.form("/session/delete")).text
    browser.open("/session?session_id=s&user_id=ada", status=404)
    assert "/sessions?user_id=ada" in browser.open("/sessions").links


def test_lists_are_paged(browse: Open) -> None:
    store = MemoryStore()
    runner = Runner(DUO, store=store, model=ScriptedModel(["x"] * 99))
    for number in range(22):
        runner.run(f"message {number:02}", session_id="s")
        runner.run("hi", session_id=f"t{number}")
    browser = browse(store=store)
    for path, first, last in (
        ("/sessions", "t21", "t0"),
        ("/session?session_id=s", "message 21", "message 00"),
        ("/sessions?search=message", "message 21", "message 00"),
        ("/compare?session_id=s&other=s", "message 00", "message 21"),
    ):
        page = browser.open(path)
        assert (first in page.text, last in page.text) == (True, False), path
        (older,) = [each for each in page.all("a") if each.attributes.get("rel") == "next"]
        second = browser.open(older.attributes["href"])
        assert (first in second.text, last in second.text) == (False, True), path
        (newer,) = [each for each in second.all("a") if each.attributes.get("rel") == "prev"]
        assert browser.open(newer.attributes["href"]).text == page.text


def test_a_large_run_is_paged_and_drawn_on_its_own_page(browse: Open) -> None:
    many = {f"n{number}": Member(role="Say") for number in range(101)}
    graph = Graph(name="large", model="echo", nodes=many, output=["n0"])
    store = MemoryStore()
    Runner(graph, store=store, model=ScriptedModel(["x"] * 101)).run("hi", session_id="s")
    browser = browse(graph, store=store)
    page = browser.open("/chat?session_id=s")
    page = browser.open(next(each for each in page.links if each.startswith("/run?")))
    seen = 0
    while True:
        assert not page.all("svg") or page.html.count("<svg") == len(page.all("tr")) - 1
        assert 'class="graph"' not in page.html
        seen += len(page.all("tr")) - 1
        older = [each for each in page.all("a") if each.attributes.get("rel") == "next"]
        if not older:
            break
        assert len(page.all("tr")) == 21
        page = browser.open(older[0].attributes["href"])
    assert seen == 101
    drawn = next(each for each in page.all("a") if each.text == "The drawing of the graph")
    assert 'class="graph"' in browser.open(drawn.attributes["href"]).html
