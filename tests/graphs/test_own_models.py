"""Models that are objects: each is asked for whom it was given to, and the graph names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from teamgraph import AnyModel, Graph, MemoryStore, Request, Runner, ScriptedModel
from teamgraph.errors import NodeError
from teamgraph.graphs import Agent, Team


def model(name: str) -> ScriptedModel:
    """Routes to everybody, and answers in its own name."""

    def script(request: Request) -> Any:  # noqa: ANN401  any answer of a script
        if request.choices:
            return json.dumps({"choices": list(request.choices)})
        return {"summary": name, "topics": []} if request.schema is not None else name

    return ScriptedModel(script)


def nested() -> Team:
    inner = Team(
        name="Inner",
        model=model("of inner"),
        members=[Agent(name="Poet", model=model("of the inner poet")), Agent(name="Cook")],
    )
    return Team(
        name="Outer",
        model=model("of outer"),
        members=[Agent(name="Poet", model=model("of the poet")), Agent(name="Cook"), inner],
        store=MemoryStore(),
        enable_session_summaries=True,
        session_summary_model=model("of the summary"),
    )


def test_each_is_asked_for_whom_it_was_given_to() -> None:
    run = nested().run("hello")
    answers = {path: record.output for path, record in run.records.items()}
    for path in ("history", "router", "inner/router"):
        del answers[path]
    assert answers == {
        "poet": "of the poet",
        "cook": "of outer",
        "inner/poet": "of the inner poet",
        "inner/cook": "of inner",
        "inner/leader": "of inner",
        "inner": "of inner",
        "leader": "of outer",
        "summary": "of the summary",
    }


def test_the_graph_names_them_and_python_gives_them_to_what_a_file_holds(tmp_path: Path) -> None:
    nested().graph.dump(tmp_path / "team.yaml")
    loaded = Graph.load(tmp_path / "team.yaml")
    assert loaded == nested().graph
    assert loaded.nodes["poet"].model == "own/poet"
    own = {
        f"own/{path}": model(f"my {path}") for path in ("poet", "inner", "inner/poet", "summary")
    }
    run = Runner(loaded, model=AnyModel(own, others=model("mine"))).run("hello")
    assert run.records["inner/poet"].output == "my inner/poet"
    assert run.records["inner/cook"].output == "my inner"
    assert run.answer == "mine"


def test_a_file_whose_models_nobody_gives_says_so(tmp_path: Path) -> None:
    poet = Agent(name="Poet", model=model("x"))
    team = Team(model="echo", members=[poet], respond_directly=True)
    team.graph.dump(tmp_path / "team.yaml")
    with pytest.raises(NodeError, match="model own/poet: it is an object that only Python can"):
        Runner(Graph.load(tmp_path / "team.yaml")).run("hello")


def test_a_member_asks_its_own_where_the_team_names_one_by_id() -> None:
    poet = Agent(name="Poet", model=(own := model("of the poet")))
    team = Team(model="echo", members=[poet, Agent(name="Cook")], delegate_to_all_members=True)
    run = team.run("hello")
    assert run.records["poet"].output == "of the poet"
    assert run.records["cook"].output == "echo: hello"
    assert [request.model for request in own.requests] == ["own/poet"]


def test_an_agent_alone_may_have_another_for_its_summary() -> None:
    agent = Agent(
        model=model("of the agent"),
        store=MemoryStore(),
        enable_session_summaries=True,
        session_summary_model=model("of the summary"),
    )
    assert agent.run("hello", session_id="s").answer == "of the agent"
    summary = agent.get_session_summary("s")
    assert summary is not None
    assert summary.text == "of the summary"
    assert agent.graph.model is None
