"""Graphs that the model of a member calls as tools."""

# ruff: noqa: ANN401  options of a node, answers of a model
from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from teamgraph import (
    Budget,
    Chunk,
    Graph,
    MemoryStore,
    Reply,
    Request,
    Runner,
    ScriptedModel,
    Store,
    ToolCall,
)
from teamgraph.errors import BudgetExceeded, DefinitionError, ModelError, NodeError
from teamgraph.events import NodeFinished, ToolAnswered, ToolCalled
from teamgraph.kinds import Context, GraphTool, Node, Result
from teamgraph.nodes import Human, Leader, Member, Python
from tests.builders import told, written
from tests.teams import cancelled_at, heard, heard_again, holds_together, of, wait_for, words_of


def research(**options: Any) -> Graph:
    nodes: dict[str, Node] = {
        "finder": Member(prompt="Find: {{ input.message }}\n"),
        "writer": Member(prompt="Write: {{ finder.output }}\n", needs="finder"),
    }
    fields = {"name": "Research team", "description": "Finds things out", "nodes": nodes}
    return Graph(**(fields | options))


def desk(*tools: Any, **options: Any) -> Graph:
    node = Member(prompt="{{ input.message }}\n", tools=tools or [research()], **options)
    return Graph(name="desk", model="m", nodes={"leader": node})


def call(message: str, name: str = "research_team", call_id: str = "") -> ToolCall:
    return ToolCall(id=call_id or message, name=name, arguments=f'{{"message": "{message}"}}')


class Leading:
    """A model that calls these tools in turn, one list in each round, and then answers."""

    def __init__(self, *rounds: list[ToolCall]) -> None:
        self.rounds = rounds
        self.asked: list[str] = []
        self.fails_at: str | None = None

    def __call__(self, request: Request) -> Any:
        text = request.messages[-1].content.strip()
        if self.fails_at is not None and self.fails_at in text:
            return ModelError("down", model="m")
        if not request.tools:
            self.asked.append(text)
            return text.partition(": ")[2]
        done = sum(bool(message.tool_calls) for message in request.messages)
        self.asked.append(f"round {done + 1}")
        if done < len(self.rounds):
            return Reply("", tool_calls=tuple(self.rounds[done]))
        results = [one.content for one in request.messages if one.role == "tool"]
        return f"told {', '.join(results)}"


def test_a_graph_is_called_as_often_as_the_model_likes(store: Store) -> None:
    script = Leading([call("cats"), call("dogs")], [call("birds")])
    runner = Runner(desk(), store=store, model=ScriptedModel(script))
    run = runner.run("hello", session_id="s")
    assert run.answer == "told cats, dogs, birds"
    assert list(run.records) == [
        "leader",
        *(
            f"leader/research_team[{number}]/{who}"
            for number in "123"
            for who in ("finder", "writer")
        ),
    ]
    assert run.records["leader/research_team[3]/writer"].output == "birds"
    assert run.usage.calls == 9
    assert runner.session("s").run(run.run_id).records == run.records


def test_what_a_tool_says_of_itself_is_offered_to_the_model() -> None:
    tool = {"graph": {"role": "A poet"}, "name": "poet", "about": "Writes poems"}
    (offered,) = desk(tool).render("x")["leader"].prompts[0].tools
    function: Any = offered["function"]
    assert (function["name"], function["description"]) == ("poet", "Writes poems")
    assert list(function["parameters"]["properties"]) == ["message"]


def test_events_inside_have_the_paths_of_their_calls() -> None:
    events = heard(Runner(desk(), model=ScriptedModel(Leading([call("cats")]))))
    holds_together(events)
    assert [event.tool for event in of(events, ToolCalled)] == ["research_team"]
    assert [event.result for event in of(events, ToolAnswered)] == ["cats"]
    done = [event.node for event in of(events, NodeFinished)]
    assert done == ["leader/research_team[1]/finder", "leader/research_team[1]/writer", "leader"]


def test_a_resumed_call_runs_only_what_is_not_done(store: Store) -> None:
    reached = asyncio.Event()
    script = Leading([call("cats")])

    class Hanging:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            if "Write" in words_of(request) and not reached.is_set():
                reached.set()
                await asyncio.Event().wait()
            async for piece in ScriptedModel(script).ask(request):
                yield piece

    runner = Runner(desk(), store=store, model=Hanging())

    wait_for(cancelled_at(reached, runner))
    events = heard_again(runner, "r")
    holds_together(events)
    assert script.asked == ["round 1", "Find: cats", "Write: cats", "round 2"]
    assert runner.session("s").run("r").answer == "told cats"


def test_a_graph_that_fails_is_told_to_the_model() -> None:
    script = Leading([call("cats")])
    script.fails_at = "Write"
    run = Runner(desk(), model=ScriptedModel(script)).run("hello")
    assert run.answer is not None
    assert "error: the tool 'research_team' failed: NodeError" in run.answer
    assert "'research_team[1]/writer'" in run.answer or "writer" in run.answer


def test_a_spent_budget_ends_the_run_and_what_was_paid_for_is_not_asked_again() -> None:
    script, store = Leading([call("cats"), call("dogs")]), MemoryStore()

    def runner(calls: int) -> Runner:
        graph = desk().model_copy(update={"budget": Budget(calls=calls)})
        return Runner(graph, model=ScriptedModel(script), store=store)

    with pytest.raises(BudgetExceeded, match="used 2 calls, and its budget is 2"):
        runner(2).run("hello", session_id="s", run_id="r")
    assert script.asked == ["round 1", "Find: cats"]
    assert runner(9).resume("r", session_id="s").answer == "told cats, dogs"
    assert sorted(script.asked[2:]) == ["Find: dogs", "Write: cats", "Write: dogs", "round 2"]


def counted(message: str, state: dict[str, Any], session_state: dict[str, Any]) -> Result:
    seen = [*session_state.get("seen", []), message]
    count = state.get("count", 0) + 1
    return Result(count, state={"count": count}, session_state={"seen": seen})


def test_nodes_inside_keep_their_state_and_set_the_sessions(store: Store) -> None:
    inner = Graph(name="count", description="Counts", nodes={"one": Python(call=counted)})
    script = Leading([call("a", "count")], [call("b", "count")])
    runner = Runner(desk(inner), store=store, model=ScriptedModel(script))
    assert runner.run("hello", session_id="s").answer == "told 1, 2"
    assert runner.run("hello", session_id="s").answer == "told 3, 4"
    head = runner.session("s").get_head()
    assert head.state == {"seen": ["a", "b", "a", "b"]}
    assert head.node_states == {"leader/count/one": {"count": 4}}


def test_a_call_may_wait_for_a_person_while_others_are_answered(store: Store) -> None:
    inner = Graph(name="ask", description="Asks", nodes={"person": Human(prompt="Well?\n")})
    script = Leading([call("cats", "ask"), call("dogs")])
    runner = Runner(desk(inner, research()), store=store, model=ScriptedModel(script))
    run = runner.run("hello", session_id="s")
    assert [each.path for each in run.questions] == ["leader/ask[1]/person"]
    assert "Write: dogs" in script.asked
    run = runner.respond(run.run_id, {"leader/ask[1]/person": "yes"}, session_id="s")
    assert run.answer == "told yes, dogs"
    assert script.asked.count("Write: dogs") == script.asked.count("round 1") == 1


def test_a_fork_from_inside_a_call_asks_the_model_anew(store: Store) -> None:
    script = Leading([call("cats")])
    runner = Runner(desk(), store=store, model=ScriptedModel(script))
    run = runner.run("hello", session_id="s")
    script.asked.clear()
    forked = runner.fork(run.run_id, node="leader/research_team[1]/writer")
    assert forked.answer == "told cats"
    assert script.asked == ["round 1", "Find: cats", "Write: cats", "round 2"]


def test_a_dry_run_renders_each_graph_once() -> None:
    rendering = desk(research(), {"graph": {"role": "x"}, "name": "poet", "about": "y"}).render()
    assert list(rendering) == [
        "leader",
        "leader/research_team[1]/finder",
        "leader/research_team[1]/writer",
        "leader/poet[1]/poet",
    ]
    assert rendering["leader/research_team[1]/finder"].text == "Find: «leader.research_team»"


def test_a_graph_file_declares_graphs_as_tools(tmp_path: Path) -> None:
    written(tmp_path, "name: inner\nnodes:\n  one: {role: A poet}\n", name="inner.yaml")
    file = written(
        tmp_path,
        """
        name: desk
        model: m
        nodes:
          leader:
            kind: leader
            tools:
              - {graph: inner.yaml, name: poet, about: Writes poems}
              - graph: {nodes: {two: {role: A critic}}}
                name: critic
                about: Judges poems
              - {graph: {role: A singer}, name: singer, about: Sings poems}
        """,
    )
    graph = Graph.load(file)
    graph.dump(tmp_path / "again.yaml")
    assert Graph.load(tmp_path / "again.yaml") == graph
    inner = Graph(name="critic", nodes={"two": Member(role="A critic")})
    tools = [
        GraphTool(graph="inner.yaml", name="poet", about="Writes poems"),
        GraphTool(graph=inner, name="critic", about="Judges poems"),
        GraphTool(graph=Member(role="A singer"), name="singer", about="Sings poems"),
    ]
    assert graph.nodes["leader"].tools == tuple(tools)  # type: ignore[attr-defined]  # a leader
    assert list(graph.render())[1:] == [
        "leader/poet[1]/one",
        "leader/critic[1]/two",
        "leader/singer[1]/singer",
    ]


@pytest.mark.parametrize(
    ("tool", "problem"),
    [
        ("{graph: nope.yaml, name: a, about: b}", "there is no file 'nope.yaml'"),
        ("{graph: {rol: x}, name: a, about: b}", "unknown key 'rol'; did you mean 'role'?"),
        ("{graph: {role: x}, nam: a, about: b}", "did you mean 'name'?"),
        ("{graph: {role: x}, name: A b, about: b}", "name"),
        ("{graph: {role: x}, name: a}", "about"),
        ("{graph: {role: x}, name: a, about: b}, read_chat_history, read_chat_history", "two"),
    ],
)
def test_what_is_wrong_with_a_tool_is_said(tool: str, problem: str, tmp_path: Path) -> None:
    text = f"name: x\nnodes:\n  a:\n    tools: [{tool}]\n"
    problems = told(written(tmp_path, text))
    assert problem in "\n".join(problems)
    assert all(each.startswith("4:") for each in problems)


def test_a_graph_without_a_description_is_no_tool() -> None:
    with pytest.raises(DefinitionError, match="has no description for the model"):
        Leader(tools=research(description=""))


def test_a_graph_that_reads_a_round_is_no_tool_of_a_member_outside_of_a_loop() -> None:
    inner = Graph(name="x", description="y", nodes={"a": Member(prompt="{{ round.number }}\n")})
    with pytest.raises(DefinitionError, match="can only run inside of another one"):
        Runner(desk(inner), model=ScriptedModel("x")).run("hello")


def test_a_model_that_is_down_after_a_call_repeats_no_call(store: Store) -> None:
    script = Leading([call("cats")])

    def answer(request: Request) -> Any:
        if request.tools and request.messages[-1].role == "tool" and not recovered:
            return ModelError("down", model="m")
        return script(request)

    recovered: list[bool] = []
    runner = Runner(desk(), store=store, model=ScriptedModel(answer))
    with pytest.raises(NodeError):
        runner.run("hello", session_id="s", run_id="r")
    recovered.append(True)
    assert runner.resume("r").answer == "told cats"
    assert script.asked == ["round 1", "Find: cats", "Write: cats", "round 2"]


def test_only_a_node_with_graphs_as_tools_can_rehearse_them() -> None:
    class Eager(Node):
        async def run(self, context: Context) -> Result:
            await context.rehearse_tool("x", "hello")
            raise AssertionError

    with pytest.raises(NodeError, match="has no tools that are graphs"):
        Runner(Graph(name="g", nodes={"eager": Eager()})).run("hello")
