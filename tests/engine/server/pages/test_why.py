"""The three questions of a newcomer, answered with the pages alone, by links and forms.

Why did it say that; what was different in the turn before; what if the prompt said something else?
"""

from __future__ import annotations

from pathlib import Path

from teamgraph import Graph, MemoryStore, Runner, ScriptedModel
from teamgraph.nodes import HistoryLoader, Member, SubGraph
from tests.engine.server.pages.browser import Browser, Page
from tests.engine.server.pages.conftest import Open
from tests.engine.server.pages.test_flows import settled

OLD = (
    "You are terse. {{ input.message }}{% for run in history.runs %} {{ run.answer }}{% endfor %}\n"
)


def team(prompt: str) -> Graph:
    inner = Graph(name="inner", nodes={"draft": Member(role="Draft")})
    return Graph(
        name="team",
        model="echo",
        nodes={
            "history": HistoryLoader(),
            "work": SubGraph(graph=inner, needs=["history"]),
            "writer": Member(prompt=prompt, needs=["work"]),
        },
        output=["writer"],
    )


def two_turns(browse: Open) -> tuple[Browser, Page]:
    """A site whose template was changed after two turns, and the page of the newest run."""
    store = MemoryStore()
    runner = Runner(team(OLD), store=store, model=ScriptedModel(["a", "Apples.", "b", "Pears."]))
    for message in ("Which fruit?", "And another?"):
        runner.run(message, session_id="s", user_id="ada")
    now = team(OLD.replace("terse", "kind"))
    browser = browse(now, store=store, model=ScriptedModel(["Plums.", "Figs."]))
    page = browser.open("/chat?session_id=s&user_id=ada&graph=team")
    turn = next(each for each in page.all("a") if each.text == "turn 2")
    return browser, browser.open(turn.attributes["href"])


def follow(browser: Browser, page: Page, text: str, status: int = 200) -> Page:
    (found,) = [each for each in page.all("a") if each.text == text]
    return browser.open(found.attributes["href"], status)


def test_why_did_it_say_that(browse: Open) -> None:
    browser, page = two_turns(browse)
    node = follow(browser, page, "writer")
    spans = {
        each.attributes["title"]: each.text
        for each in node.all("span")
        if "title" in each.attributes
    }
    assert [text for title, text in spans.items() if title.startswith("history, turn 1")] == [
        "Apples."
    ]
    assert [text for title, text in spans.items() if title.startswith("message")] == [
        "And another?"
    ]


def test_what_was_different_in_the_turn_before(browse: Open) -> None:
    browser, page = two_turns(browse)
    node = follow(browser, page, "writer")
    shown = follow(browser, node, "Compare with the previous turn")
    assert "Apples." in "".join(each.text for each in shown.all("ins"))
    assert {"Which", "fruit"} <= {each.text.strip() for each in shown.all("del")}
    today = follow(browser, node, "Compare with today's templates")
    assert [each.text for each in today.all("ins") + today.all("del")][1::2] == ["kind", "terse"]
    first = follow(browser, browser.open("/session?session_id=s&user_id=ada"), "Turn 1")
    first = follow(browser, first, "writer")
    assert "asked no model" in follow(browser, first, "Compare with the previous turn").text
    run_id = next(each.text for each in page.all("dd") if each.attributes.get("class") == "id")
    other = browser.send(first.form("/run/compare"), other=run_id)
    assert "turn 2 and turn 1" in other.text
    missing = node.form("/run/compare").action + "?run_id=" + run_id + "&user_id=ada&node=lost"
    assert "no record of a node 'lost'" in browser.open(missing, 404).text


def test_what_if_the_prompt_said_something_else(browse: Open) -> None:
    browser, page = two_turns(browse)
    form = follow(browser, page, "writer").form("/run/fork")
    assert "You are kind" in form.fields["prompt"]
    forked = browser.send(form, prompt="Say it in verse: {{ input.message }}")
    address = next(each for each in forked.links if "node=writer" in each)
    node = settled(browser, browser.open(address), address)
    assert "Plums." in node.text
    assert "Say it in verse: And another?" in node.text
    wrong = browser.send(form, 400, prompt="{{ inptu.message }}")
    assert "did you mean 'input'" in wrong.text
    assert "Pears." in browser.open("/session?session_id=s&user_id=ada").text
    inner = browser.open(next(each for each in page.links if "node=work%2Fdraft" in each))
    assert "node.role" in inner.form("/run/fork").fields["prompt"]
    untouched = browser.send(inner.form("/run/fork"))
    assert "Turn 2" in untouched.text or "Run" in untouched.text


def test_a_run_is_kept_as_a_test_of_the_project(browse: Open, tmp_path: Path) -> None:
    (tmp_path / "graphs").mkdir()
    file = tmp_path / "graphs" / "team.yaml"
    file.write_text("name: team\nmodel: echo\nnodes:\n  writer: {role: Say}\n", encoding="utf-8")
    graph, store = Graph.load(file), MemoryStore()
    Runner(graph, store=store, model=ScriptedModel("Apples.")).run("Which?", run_id="r")
    browser = browse(graph, store=store, project=tmp_path)
    form = browser.open("/run?run_id=r").form("/run/keep")
    assert form.fields["file"] == "graphs/team.prompts.yaml"
    kept = browser.send(form, name="a fruit")
    assert "Kept as a case in graphs/team.prompts.yaml: a fruit" in kept.text
    assert "a fruit" in (tmp_path / "graphs" / "team.prompts.yaml").read_text(encoding="utf-8")
    for wrong in ("../x.prompts.yaml", "/etc/x.prompts.yaml", "graphs/team.yaml", ""):
        assert "name a case file" in browser.send(form, 400, file=wrong).text, wrong
    elsewhere = browse(graph, store=store, project=tmp_path / "graphs" / "sub")
    assert "team.prompts.yaml" in elsewhere.open("/run?run_id=r").html
    without = browse(graph, store=store)
    assert "Keep as a test" not in without.open("/run?run_id=r").text
    csrf = without.open("/chat").form("/chat").fields["csrf_token"]
    refused = without.raw("/run/keep?run_id=r", method="POST", data={"csrf_token": csrf})
    assert (refused.status_code, "keeps no cases" in refused.text) == (400, True)
