"""A run with a history that its caller gives, and with a system text."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from teamgraph import Graph, Message, Runner, ScriptedModel
from teamgraph.errors import InputError
from teamgraph.events import RunFinished
from teamgraph.nodes import HistoryLoader, Human, Loop, Map, Member, Search, SubGraph, Summarizer
from tests.builders import told, written
from tests.teams import STORES, alone, desk, desk_model, heard, of, wait_for, words_of

TURNS = [("one", "1"), ("two", "2"), ("three", "3"), ("four", "4")]
MESSAGES = [
    message
    for asked, answer in TURNS
    for message in (
        {"role": "user", "content": asked},
        Message(role="assistant", content=answer),
    )
]
LOADERS = [
    HistoryLoader(runs=2),
    HistoryLoader(messages=3),
    HistoryLoader(runs=0),
    HistoryLoader(runs=9),
]


def chat(loader: HistoryLoader, **more: Any) -> Graph:
    nodes = {"history": loader, "member": Member(), **more}
    return Graph(name="chat", model="m", nodes=nodes, output=["member"])


@pytest.mark.parametrize("loader", LOADERS, ids=lambda one: f"{one.runs}-{one.messages}")
@pytest.mark.parametrize("form", ["turns", "messages"])
def test_a_given_history_reads_like_the_turns_of_a_session(
    loader: HistoryLoader, form: str
) -> None:
    graph, asked = chat(loader), list[str]()
    answers = dict(TURNS)

    def answer(request: Any) -> Any:
        asked.append(words_of(request))
        return answers.get(request.messages[-1].content, "5")

    runner = Runner(graph, model=ScriptedModel(answer))
    for message, _ in TURNS:
        runner.run(message, session_id="s")
    asked.clear()
    stored = runner.run("five", session_id="s")
    of_session, asked = asked, list[str]()
    given: Any = TURNS if form == "turns" else MESSAGES
    run = Runner(graph, model=ScriptedModel(answer)).run("five", history=given)
    assert asked[0] == of_session[0]
    assert run.answer == stored.answer == "5"
    assert run.turn.number == stored.turn.number == 5
    prompts = runner.render("five", history=given)
    assert prompts["member"].prompts[0].messages == run.records["member"].exchanges[0].messages


def test_what_no_summary_covers_is_loaded_and_summarized() -> None:
    asked = list[str]()

    def answer(request: Any) -> Any:
        asked.append(words_of(request))
        return "5" if request.schema is None else {"summary": "", "topics": []}

    graph = chat(HistoryLoader(runs=1), summary=Summarizer(needs=["member"]))
    Runner(graph, model=ScriptedModel(answer)).run("five", history=TURNS)
    assert [[word in text for word, _ in TURNS] for text in asked] == [[True] * 4, [True] * 4]


@pytest.mark.parametrize("name", STORES)
def test_a_run_with_a_given_history_is_not_kept(name: str, tmp_path: Path) -> None:
    runner = Runner(chat(LOADERS[0]), store=STORES[name](tmp_path), model=ScriptedModel(["a", "b"]))
    runner.run("hi", history=[], user_id="ana", run_id="r")
    events = heard(runner, "hi", history=TURNS, user_id="ana", run_id="r")  # the same id again
    assert [event.run.status for event in of(events, RunFinished)] == ["done"]
    assert runner.sessions("ana") == []


def test_other_sessions_of_the_user_are_read_from_the_store() -> None:
    nodes = {"search": Search(runs=2), "member": Member(needs=["search"])}
    graph = Graph(name="t", model="m", nodes=nodes)
    model = ScriptedModel(lambda request: str("blue" in words_of(request)))
    runner = Runner(graph, model=model)
    runner.run("I like blue", session_id="s", user_id="ana")
    assert runner.run("what?", history=TURNS, user_id="ana").answer == "True"
    assert runner.run("what?", history=TURNS, user_id="eva").answer == "False"
    texts = Search(query="{{ input.message }}")
    runner = Runner(
        Graph(name="t", model="m", nodes={**nodes, "search": texts}),
        store=runner.store,
        model=model,
    )
    assert runner.run("blue", history=TURNS, user_id="ana").answer == "True"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"history": "hi"}, "history is a str; give a list of turns"),
        ({"history": [("a", "b"), {"role": "system", "content": "x"}]}, "history: item 2 does not"),
        ({"history": MESSAGES[:3]}, "history: item 3 does not fit"),
        ({"history": [], "session_id": "s"}, "leave out session_id to run with this history"),
        ({"system": " "}, "system is empty; leave it out"),
        ({"system": ["x"]}, "system is a list; give a text"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_on(given: Any, reason: str) -> None:
    runner = Runner(desk(), model=desk_model())
    for door in (runner.run, runner.stream, runner.render):
        with pytest.raises(InputError, match=reason):
            door("hi", **given)
    with pytest.raises(InputError, match=reason):
        wait_for(runner.arun("hi", **given))
    assert runner.sessions() == []


def test_a_graph_that_asks_people_takes_no_given_history() -> None:
    nodes = {"ask": Human(options=["yes", "no"])}
    runner = Runner(Graph(name="t", nodes={"inner": SubGraph(graph=Graph(name="i", nodes=nodes))}))
    with pytest.raises(InputError, match=r"graph 't' may ask a person.*pass session_id"):
        runner.run("hi", history=[])
    assert runner.run("hi", session_id="s").status == "waiting"


SYSTEM = "{% user %}\n{{ input.system or 'none' }}: {{ input.message }}\n{% enduser %}"


def speaker() -> Member:
    return Member(prompt=SYSTEM)


def inside() -> Graph:
    return Graph(name="inner", nodes={"member": speaker()})


def test_templates_read_the_system_text() -> None:
    nodes = {"history": HistoryLoader(), "member": speaker()}
    graph = Graph(name="t", model="m", nodes=nodes)
    runner = Runner(graph, model=ScriptedModel(words_of))
    assert runner.run("hi", session_id="s").answer == "none: hi"
    first = runner.run("hi", session_id="s", system="Be brief")
    assert first.answer == "Be brief: hi"
    assert runner.session("s").run(first.run_id).turn.system == "Be brief"
    assert runner.fork(first.run_id, session_id="s", message="again").answer == "Be brief: again"
    assert runner.render("hi", system="Be brief")["member"].text.endswith("Be brief: hi")
    assert graph.render_all("hi", system="Be brief")[0]["member"].text.endswith("Be brief: hi")


READING: dict[str, dict[str, Any]] = {
    "template": {"member": speaker()},
    "condition": {"member": Member(when="input.system is none")},
    "inner graph": {"inner": SubGraph(graph=inside())},
    "loop's end": {"rounds": Loop(graph=alone(), until="input.system == 'x'", max=1)},
    "items": {"items": Map(graph=inside(), over="['a', 'b']")},
}


@pytest.mark.parametrize("where", READING)
def test_a_graph_knows_that_it_reads_the_system_text(where: str) -> None:
    graph = Graph(name="t", model="m", nodes=READING[where])
    assert graph.reads_system
    run = Runner(graph, model=ScriptedModel(words_of)).run(
        "hi", system="x" if where != "condition" else None
    )
    assert run.status == "done"
    if where == "items":
        assert run.records["items"].output == ["x: a", "x: b"]


def test_a_graph_that_does_not_read_it_knows_that_too() -> None:
    assert not desk().reads_system


def test_the_system_text_may_be_missing_and_is_a_users(tmp_path: Path) -> None:
    text = "name: t\nmodel: m\nnodes:\n  m:\n    prompt: |\n      %s\n"
    wrong = "{% user %}{{ input.system | upper }}{{ input.sytem }}{% enduser %}"
    found = "\n".join(told(written(tmp_path, text % wrong)))
    assert "did you mean 'system'" in found
    assert "None" in found
    noted = "{% system %}{{ input.system or 1 }}{% endsystem %}{% user %}x{% enduser %}"
    graph = Graph.load(written(tmp_path, text % noted))
    assert [each.code for each in graph.warnings] == ["P110"]
