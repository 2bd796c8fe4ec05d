"""A prompt beside another one, and a run again with another prompt."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from teamgraph import Graph, MemoryStore, Runner
from teamgraph.engine.view.compare import (
    compare_with_previous,
    compare_with_run,
    compare_with_today,
)
from teamgraph.engine.view.difference import calls_difference_html
from teamgraph.errors import DefinitionError, InputError, NotFound, PromptError
from teamgraph.kinds import GraphTool
from teamgraph.nodes import Loop, Member, Python, SubGraph, Swarm
from tests.builders import written
from tests.teams import desk, desk_model, shout


def team(prompt: str, inner: str = "of {{ input.message }}\n") -> Graph:
    """A node, and one in a graph inside another."""
    inside = Graph(name="inside", nodes={"writer": Member(prompt=inner)})
    nodes = {"first": Member(prompt=prompt), "sub": SubGraph(graph=inside, needs="first")}
    return Graph(name="team", model="m", nodes=nodes, output="sub")


def test_a_prompt_beside_that_of_the_turn_before_and_of_another_run() -> None:
    store = MemoryStore()
    runner = Runner(team("{{ input.message }} of {{ session.turns }}\n"), store=store)
    runner = Runner(team("{{ input.message }}, {{ session.turns }}\n"), store=store, model="echo")
    runs = [runner.run(text, session_id="s") for text in ("one", "two")]
    found = asyncio.run(compare_with_previous(runs[1], "first", store, runner.prepared))
    assert found.title == "turn 1 and turn 2"
    ((before, after),) = found.pairs()
    assert "<del>one</del><ins>two</ins>, <del>0</del><ins>1</ins>" in calls_difference_html(
        before, after
    )
    other = runner.run("three", session_id="t")
    found = asyncio.run(compare_with_run(runs[0], other, "sub/writer", store))
    assert [call.prompt for call in found.after] == ["writer.inline"]
    with pytest.raises(NotFound, match="'first' asked no model in the 20 turns before"):
        asyncio.run(compare_with_previous(runs[0], "first", store))
    for node in ("sub", "nobody"):
        with pytest.raises(NotFound, match=f"'{node}' asked no model in run"):
            asyncio.run(compare_with_run(runs[0], other, node, store))


def test_a_prompt_beside_what_the_templates_of_today_make_of_its_values() -> None:
    store = MemoryStore()
    run = Runner(team("Say {{ input.message }}\n"), store=store, model="echo").run("pear")
    now = team("Cry {{ input.message }}\n", inner="about {{ input.message }}\n")
    found = asyncio.run(compare_with_today(run, "first", store, now))
    assert [call.messages[0].text for call in found.before] == ["Say pear"]
    assert [call.messages[0].text for call in found.after] == ["Cry pear"]
    assert found.after[0].messages[0].pieces[1].origin.kind == "message"
    found = asyncio.run(compare_with_today(run, "sub/writer", store, now))
    assert [call.messages[0].text for call in found.after] == ["about pear"]
    with pytest.raises(InputError, match="has no node 'sub/writer' now"):
        asyncio.run(compare_with_today(run, "sub/writer", store, desk()))
    with pytest.raises(NotFound, match="'sub' asked no model"):
        asyncio.run(compare_with_today(run, "sub", store, now))


def test_a_run_again_with_another_prompt_runs_only_what_follows_from_it() -> None:
    store = MemoryStore()
    runner = Runner(team("Say {{ input.message }}\n"), store=store, model="echo")
    run = runner.run("pear", session_id="s")
    forked = runner.fork(run.run_id, node="sub/writer", prompt="Praise {{ input.message }}")
    assert forked.records["first"].exchanges == run.records["first"].exchanges
    assert forked.answer == "echo: Praise pear"
    assert runner.fork(run.run_id, node="first", prompt="No words").answer == "echo: of pear"
    assert runner.session("s").run(run.run_id).answer == run.answer
    with pytest.raises(InputError, match="name the node too"):
        runner.fork(run.run_id, prompt="x")
    with pytest.raises(DefinitionError, match="nothing"):
        runner.fork(run.run_id, node="first", prompt="{{ nothing }}")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("frist", "has no node 'frist'; did you mean 'first'"),
        ("zzz", "it has first, sub"),
        ("first/x", "there is no node 'first/x'"),
        ("sub/writter", "did you mean 'writer'"),
    ],
)
def test_another_prompt_for_a_node_that_is_not_there(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        team("x\n").with_prompt(path, "y\n")


def test_another_prompt_for_a_node_without_one() -> None:
    graph = Graph(name="t", nodes={"shout": Python(call=shout)})
    with pytest.raises(InputError, match="'shout' has no template; name a node that asks a model"):
        graph.with_prompt("shout", "y\n")


def test_another_prompt_inside_loops_swarms_and_tools(tmp_path: Path) -> None:
    written(tmp_path, "{{ input.message }} of then\n", name="prompts/other.jinja")
    written(
        tmp_path,
        """
        name: inner
        nodes: {writer: {prompt: other.jinja}}
        """,
        name="inner.yaml",
    )
    path = written(
        tmp_path,
        """
        name: outer
        model: m
        nodes:
          sub: {kind: graph, graph: inner.yaml}
          lead: {kind: leader, prompt: other.jinja, needs: sub}
        """,
    )
    inner = Graph(name="inner", nodes={"writer": Member()})
    graph = Graph(
        name="t",
        model="m",
        nodes={
            "draft": Loop(graph=Member(), until="false", max=1),
            "desk": Swarm(members={"a": Member(hands_to=["b"]), "b": Member(role="B")}, start="a"),
            "asker": Member(tools=[shout, GraphTool(graph=inner, name="research", about="x")]),
        },
        output=["draft", "desk", "asker"],
    )
    loaded = Graph.load(path)
    assert loaded.with_prompt("sub/writer", "new\n").nodes["lead"] == loaded.nodes["lead"]
    for known, place in (
        (loaded, "sub/writer"),
        (graph, "draft[2]/draft"),
        (graph, "desk[1]/b"),
        (graph, "asker/research[1]/writer"),
    ):
        changed = known.with_prompt(place, "These words, {{ input.message }}\n")
        sent = Runner(changed, model=desk_model()).render("pear")
        prompts = {
            path.partition("[")[0] + path.rpartition("/")[2]: each for path, each in sent.items()
        }
        assert any("These words, " in each.text for each in prompts.values())


def test_a_template_of_today_that_cannot_be_rendered_says_so() -> None:
    store = MemoryStore()
    run = Runner(team("x\n"), store=store, model="echo").run("pear")
    now = Graph(
        name="team",
        nodes={
            "second": Member(),
            "first": Member(prompt="{{ second.output }}\n", needs="second"),
        },
        output="first",
    )
    with pytest.raises(PromptError, match="'second' is undefined"):
        asyncio.run(compare_with_today(run, "first", store, now))


def test_a_turn_in_which_the_node_did_not_run_is_passed_over() -> None:
    store = MemoryStore()
    for route in ("french", "english", "french"):
        model = desk_model(route=route)
        run = Runner(desk(), store=store, model=model).run(f"to {route}", session_id="s")
    found = asyncio.run(compare_with_previous(run, "french", store))
    assert found.title == "turn 1 and turn 3"
