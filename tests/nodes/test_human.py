"""The kind `human` as it is declared, checked, rendered and drawn."""

# ruff: noqa: ANN401  nodes are what a test makes them
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from teamgraph import Graph, Runner, ScriptedModel
from teamgraph.engine.graph.draw import mermaid
from teamgraph.errors import DefinitionError, InputError
from teamgraph.nodes import Human, Loop, Member
from tests.builders import told

ROUTES: dict[str, Any] = {"yes": "pay", "stop": {"to": "stop", "about": "Nothing is paid"}}


def router(**options: Any) -> Graph:
    nodes = {
        "ask": Human(routes=ROUTES, **options),
        "pay": Member(prompt="Pay as {{ ask.output }} says\n"),
        "stop": Member(),
    }
    return Graph(name="g", model="m", output=["pay", "stop"], nodes=nodes)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("options: [a, a]", "5:14: node 'ask': options must be different texts that are not empty"),
        ("options: [a, '']", "5:14: node 'ask': options must be different texts that are not"),
        ("opions: [a]", "5:5: node 'ask': unknown key 'opions'; did you mean 'options'?"),
        (
            "options: [a, b]\n    returns: int",
            "6:5: node 'ask': the answer is one of the options, so it has no other type; remove",
        ),
        (
            "options: [a]\n    routes: {b: x}",
            "5:5: node 'ask': options must be the labels of the routes; leave them out",
        ),
        (
            "routes: {b: {to: b, when: 'true'}}",
            "5:25: node 'ask': a person chooses the route, so it has no `when`",
        ),
        ("routes: {c: x}", "5:17: node 'ask': the route 'c' leads to 'x', and there is no such"),
        ("routes: {c: 3}", "5:17: node 'ask': routes.c: must be text, or a list, or {to, about"),
        (
            "default: a",
            "5:5: node 'ask': default is the answer when the question expires; say when with",
        ),
        (
            "options: [alpha, beta]\n    expires: 5\n    default: alph",
            "7:14: node 'ask': default 'alph' is none of the options; did you mean 'alpha'?",
        ),
        (
            "options: [alpha, beta]\n    expires: 5\n    default: 3",
            "7:14: node 'ask': default 3 is none of the options; they are alpha, beta",
        ),
        (
            "expires: 5\n    default: 3",
            "6:14: node 'ask': default must be a text, as the answer is",
        ),
        (
            "expires: 5\n    returns: int\n    default: many",
            "7:14: node 'ask': default does not fit what it returns: ",
        ),
        ("expires: 0", "5:14: node 'ask': expires: must be more than 0, not 0"),
        ("assign_to: ''", "5:16: node 'ask': assign_to: must not be empty"),
    ],
)
def test_a_mistake_is_told_at_its_place(tmp_path: Path, fields: str, problem: str) -> None:
    text = f"name: g\nnodes:\n  ask:\n    kind: human\n    {fields}\n  b: {{}}\noutput: ask\n"
    problems = told(_file(tmp_path, text))
    assert any(each.startswith(problem) for each in problems), problems


def _file(folder: Path, text: str) -> Path:
    path = folder / "team.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_valid_default_of_each_form_is_taken(tmp_path: Path) -> None:
    for fields in ("expires: 5\n    default: no", "expires: 5\n    returns: int\n    default: 3"):
        text = f"name: g\nnodes:\n  ask:\n    kind: human\n    {fields}\n"
        assert Graph.load(_file(tmp_path, text)).nodes["ask"].kind == "human"


def test_it_is_written_as_it_was_read(tmp_path: Path) -> None:
    for graph in (
        router(),
        router(options=["yes", "stop"], expires=60, default="stop", assign_to="boss"),
        Graph(name="g", nodes={"ask": Human(prompt="What?\nNow?\n", returns={"n": "int"})}),
    ):
        graph.dump(tmp_path / "g.yaml")
        assert Graph.load(tmp_path / "g.yaml") == graph
    routes: dict[str, Any] = {**ROUTES, "both": ["pay", "stop"]}
    several = Graph(**{**dict(router()), "nodes": {**router().nodes, "ask": Human(routes=routes)}})
    several.dump(tmp_path / "g.yaml")
    assert Graph.load(tmp_path / "g.yaml") == several
    text = (tmp_path / "g.yaml").read_text(encoding="utf-8")
    assert "yes: pay" in text.replace('"', "")
    assert "both: [pay, stop]" in text


def test_its_answer_chooses_a_route() -> None:
    runner = Runner(router(), model=ScriptedModel(lambda request: request.messages[-1].content))
    run = runner.run("x", run_id="r")
    assert run.questions[0].options == ("yes", "stop")
    run = runner.respond("r", {"ask": "yes"})
    assert (run.answer, run.records["ask"].choices) == ("Pay as yes says", ("yes",))
    assert run.records["stop"].because == "ask chose yes"


def test_the_checker_knows_its_answers() -> None:
    def problem(condition: str, **options: Any) -> str:
        nodes = {"ask": Human(**options), "b": Member(when=condition)}
        with pytest.raises(DefinitionError) as caught:
            Graph(name="g", model="m", output="b", nodes=nodes)
        return str(caught.value)

    assert "'yess'" in problem("ask.output == 'yess'", options=["yes", "no"])
    assert "no 'amont'; did you mean 'amount'" in problem(
        "ask.output.amont > 1", returns={"amount": "int"}
    )
    assert "cannot be compared" in problem("ask.output > 1")


def test_a_dry_run_shows_the_question_and_takes_a_sample_or_an_assumed_answer() -> None:
    graph = router()
    rendered = graph.render("hello")
    assert rendered["ask"].text.strip() == "hello"
    assert (rendered["ask"].output, rendered.routes) == ("yes", {"ask": ("yes",)})
    assert rendered["pay"].text == "Pay as yes says"
    assert graph.render("hello", assume={"ask": "stop"})["pay"].is_skipped
    assert [each.routes["ask"] for each in graph.render_all()] == [("yes",), ("stop",)]
    form = Graph(
        name="g",
        model="m",
        output="b",
        nodes={
            "text": Human(),
            "choice": Human(options=["a", "b"]),
            "form": Human(returns={"n": "int"}),
            "b": Member(prompt="{{ text.output }} {{ choice.output }} {{ form.output.n + 1 }}\n"),
        },
    )
    assert form.render()["b"].text.startswith("«text» a ")
    assume = {"text": "hi", "choice": "b", "form": {"n": 4}}
    assert form.render(assume=assume)["b"].text == "hi b 5"
    assert form.render(assume=assume)["form"].prompts[0].template == "human.jinja"
    for wrong in ({"choice": "c"}, {"form": {"n": "x"}}, {"text": 3}):
        with pytest.raises(InputError):
            form.render(assume=wrong)


def test_an_answer_is_assumed_for_one_round_of_a_loop() -> None:
    inner = Graph(name="i", nodes={"ok": Human(options=["no", "yes"])})
    loop = Loop(graph=inner, until="output == 'yes'", max=3)
    rendered = Graph(name="g", nodes={"draft": loop}).render(assume={"draft[2]/ok": "yes"})
    assert [rendered[f"draft[{number}]/ok"].output for number in (1, 2)] == ["no", "yes"]


def test_it_is_drawn_like_what_it_does() -> None:
    drawn = mermaid(router())
    assert 'n_ask{"ask<br/>(human)"}' in drawn
    assert 'n_ask -->|"yes"| n_pay' in drawn
