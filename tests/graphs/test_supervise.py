"""A team whose leader calls the members as tools."""

from __future__ import annotations

from typing import Any

import pytest

from teamgraph import Graph, Reply, Request, ScriptedModel, ToolCall
from teamgraph.errors import DefinitionError
from teamgraph.graphs import Agent, Team


def desk(**options: Any) -> Team:  # noqa: ANN401  options of a team
    poets = Team(
        name="Poets", role="Write poems", members=[Agent(name="Ode")], respond_directly=True
    )
    members = [Agent(name="Web Searcher", role="Searches the web"), poets, Agent(name="Cook")]
    return Team(**({"name": "desk", "mode": "supervise", "members": members} | options))


def test_the_leader_calls_members_as_often_as_it_wants() -> None:
    def answer(request: Request) -> str | Reply:
        if request.choices:
            return "ode"
        if not request.tools:
            return f"about {request.messages[-1].content.strip()}"
        done = [one.content for one in request.messages if one.role == "tool"]
        if len(done) == 3:
            return ", ".join(done)
        calls = [("web_searcher", "rain"), ("poets", "sun")] if not done else [("cook", "soup")]
        return Reply(
            "",
            tool_calls=tuple(
                ToolCall(id=name, name=name, arguments=f'{{"message": "{text}"}}')
                for name, text in calls
            ),
        )

    run = desk(model=ScriptedModel(answer)).run("hello")
    assert run.answer == "about rain, about sun, about soup"
    assert list(run.records) == [
        "leader",
        "leader/web_searcher[1]/web_searcher",
        "leader/poets[2]/router",
        "leader/poets[2]/ode",
        "leader/cook[3]/cook",
    ]


def test_the_model_reads_what_each_member_is_for() -> None:
    (prompt,) = desk(add_history_to_context=True).graph.render()["leader"].prompts
    about = {tool["function"]["name"]: tool["function"]["description"] for tool in prompt.tools}  # type: ignore[index,call-overload]  # JSON
    assert about == {"web_searcher": "Searches the web", "poets": "Write poems", "cook": "Cook"}


def test_members_have_the_models_that_they_are_given() -> None:
    own = ScriptedModel("from its own")
    team = desk(members=[Agent(name="Cook", model=own)], model=ScriptedModel("x"))
    leader = team.graph.nodes["leader"]
    inner: Any = leader.within()  # type: ignore[attr-defined]  # a leader with graphs as tools
    assert inner.nodes["cook"].within().nodes["cook"].model == "own/cook"


def test_a_graph_is_a_tool_of_a_team_too() -> None:
    graph = Graph(name="Hotels", description="Finds hotels", nodes={"a": {"role": "x"}})  # type: ignore[dict-item]  # as YAML has it
    assert "leader/hotels[1]/a" in desk(tools=[graph]).graph.render()
    assert "agent/hotels[1]/a" in Agent(tools=[graph]).graph.render()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"mode": "route"}, "for route use respond_directly=True"),
        ({"respond_directly": True}, "leave respond_directly out"),
        ({"delegate_to_all_members": True}, "leave delegate_to_all_members out"),
        ({"determine_input_for_members": True}, "leave determine_input_for_members out"),
        ({"share_member_interactions": True}, "leave share_member_interactions out"),
        ({"add_team_history_to_members": True}, "leave add_team_history_to_members out"),
        (
            {"members": [Agent(name="a", add_history_to_context=True)]},
            "'a' reads what the leader writes; leave its add_history_to_context out",
        ),
        (
            {"members": [Agent(name="a", search_session_history=True)]},
            "leave its search_session_history out",
        ),
    ],
)
def test_what_has_no_effect_with_supervise_is_said(options: Any, problem: str) -> None:  # noqa: ANN401  options of a team
    with pytest.raises(DefinitionError, match=problem):
        desk(**options)
