"""A graph inside another: it runs as a part of the run around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from teamgraph import Chunk, Graph, Model, Reply, Request, Run, Runner, ScriptedModel, Store
from teamgraph.errors import Changed, DefinitionError, InputError, ModelError, NodeError
from teamgraph.events import NodeFinished, NodeRetried, NodeStarted, Token
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import HistoryLoader, Leader, Member, Python, Router, SubGraph, Summarizer
from tests.builders import refused, written
from tests.teams import cancelled_at, heard, heard_again, holds_together, of, wait_for, words_of


def research(**options: Any) -> Graph:  # noqa: ANN401  options of a team
    """A team of two, of which one answers; it has a history and keeps a summary on its own."""
    nodes: dict[str, Node] = {
        "history": HistoryLoader(runs=2),
        "finder": Member(role="finder"),
        "writer": Member(role="writer", needs=["finder"]),
        "summary": Summarizer(),
    }
    return Graph(**({"name": "research", "nodes": nodes, "output": "writer"} | options))


def desk(inner: Graph | None = None, **options: Any) -> Graph:  # noqa: ANN401  options of a team
    """A member, then the research team, then a leader."""
    nodes: dict[str, Node] = {
        "first": Member(role="first"),
        "team": SubGraph(graph=inner or research(), needs=["first"], **options),
        "last": Leader(role="last", needs=["team"]),
    }
    return Graph(name="desk", model="outer", nodes=nodes)


def says(request: Request) -> str:
    """The role of whoever is asked."""
    return f"I am {request.messages[0].content.split('.')[0].strip()}"


def model() -> ScriptedModel:
    return ScriptedModel(says)


def asked(model: ScriptedModel) -> list[str]:
    return [says(request).removeprefix("I am ") for request in model.requests]


def test_an_inner_graph_answers_as_a_node(store: Store) -> None:
    scripted = model()
    run = Runner(desk(), store=store, model=scripted).run("hello", session_id="s")
    assert run.records["team"].output == "I am writer"
    assert "I am writer" in words_of(scripted.requests[-1])
    assert asked(scripted) == ["first", "finder", "writer", "last"]
    assert {request.model for request in scripted.requests} == {"outer"}


def test_its_records_are_kept_with_the_run_by_their_paths(store: Store) -> None:
    runner = Runner(desk(), store=store, model=model())
    run = runner.run("hello", session_id="s")
    inner = ["team/history", "team/finder", "team/writer", "team/summary"]
    assert list(run.records) == ["first", "team", *inner, "last"]
    kept = runner.session("s").run(run.run_id)
    assert kept.records == run.records
    assert kept.records["team/finder"].exchanges[0].reply == "I am finder"
    assert run.usage.calls == 4
    assert [turn.input for turn in runner.session("s").runs()] == ["hello"]
    prompt = kept.records["team/writer"].exchanges[0].prompt_hash
    assert wait_for(store.prompt(prompt)) is not None


def test_the_summary_of_the_session_is_the_outer_graphs_business(store: Store) -> None:
    run = Runner(desk(), store=store, model=model()).run("hello", session_id="s")
    assert run.records["team/summary"].because == (
        "the graph around this one writes the session's summary"
    )
    assert Runner(desk(), store=store).session("s").summary() is None


def test_an_inner_graph_sees_the_history_of_the_session(store: Store) -> None:
    scripted = model()
    runner = Runner(desk(), store=store, model=scripted)
    runner.run("one", session_id="s")
    runner.run("two", session_id="s")
    finder = scripted.requests[5]
    assert [message.content.strip() for message in finder.messages[1:]] == [
        "one",
        "I am last",
        "two",
    ]


def test_its_message_is_what_the_template_makes(store: Store) -> None:
    scripted = model()
    graph = desk(input="{{ first.output | upper }}\nabout {{ input.message }}")
    run = Runner(graph, store=store, model=scripted).run("hello", session_id="s")
    assert scripted.requests[1].messages[-1].content.strip() == "I AM FIRST\nabout hello"
    assert run.records["team"].fields == {"input": "I AM FIRST\nabout hello"}


def test_the_task_of_a_router_is_its_message() -> None:
    nodes = {
        "router": Router(routes={"team": "research"}, tasks=True),
        "team": SubGraph(graph=research()),
    }
    scripted = ScriptedModel(
        lambda request: (
            {"choice": "team", "reason": "", "tasks": [{"label": "team", "task": "find cats"}]}
            if request.choices
            else says(request)
        )
    )
    graph = Graph(name="desk", model="m", nodes=nodes, output="team")
    assert Runner(graph, model=scripted).run("hello").answer == "I am writer"
    assert scripted.requests[1].messages[-1].content.strip() == "find cats"


def answering(inner: Graph | None = None) -> Graph:
    return Graph(name="desk", model="m", nodes={"team": SubGraph(graph=inner or research())})


def test_the_words_of_an_inner_answer_are_those_of_the_run() -> None:
    events = heard(Runner(answering(), model=model()))
    holds_together(events)
    words = [event for event in of(events, Token) if event.answer]
    assert [event.text for event in words] == ["I ", "am ", "writer"]
    assert {event.node for event in words} == {"team"}
    assert {event.node for event in of(events, Token) if not event.answer} == {"team/finder"}
    assert [event.node for event in of(events, NodeStarted)] == [
        "team",
        "team/history",
        "team/finder",
        "team/writer",
    ]
    for event in of(events, NodeFinished):
        assert event.record.node == event.node


def test_an_inner_answer_may_be_a_value() -> None:
    inner = Graph(name="inner", nodes={"one": Member(returns={"lang": "english|french"})})
    runner = Runner(answering(inner), model=ScriptedModel([{"lang": "french"}, {"lang": "french"}]))
    events = heard(runner)
    holds_together(events)
    run = runner.run("hello")
    assert run.records["team"].output == {"lang": "french"}


class Failing:
    """A model that fails the member with this role until it is told not to."""

    def __init__(self, role: str, error: Exception | None = None) -> None:
        self.role: str | None = role
        self.error = error or ModelError("down", model="m")
        self.asked: list[str] = []

    def __call__(self, request: Request) -> str | Exception:
        self.asked.append(says(request).removeprefix("I am "))
        return self.error if self.asked[-1] == self.role else says(request)


def test_a_failed_inner_graph_is_resumed_where_it_stopped(store: Store) -> None:
    script = Failing("writer")
    runner = Runner(desk(), store=store, model=ScriptedModel(script))
    with pytest.raises(NodeError) as failed:
        runner.run("hello", session_id="s", user_id="ann", run_id="r")
    assert str(failed.value) == "node 'team' failed: node 'writer' failed: down"
    assert runner.session("s", user_id="ann").run("r").records["team/writer"].status == "failed"
    script.role = None
    run = runner.resume("r", user_id="ann")
    assert run.answer == "I am last"
    assert script.asked == ["first", "finder", "writer", "writer", "last"]
    assert run.usage.calls == 4
    assert run.records["team/writer"].attempt == 2


def test_a_done_inner_graph_is_not_entered_again(store: Store) -> None:
    script = Failing("last")
    runner = Runner(desk(), store=store, model=ScriptedModel(script))
    with pytest.raises(NodeError):
        runner.run("hello", session_id="s", run_id="r")
    script.role = None
    events = heard_again(runner, "r")
    holds_together(events)
    assert script.asked == ["first", "finder", "writer", "last", "last"]
    assert [event.node for event in of(events, NodeStarted)] == ["last"]


def test_another_attempt_asks_only_what_is_not_done() -> None:
    answers = iter([ModelError("down", model="m", retryable=True)])
    script = ScriptedModel(
        lambda request: next(answers, says(request)) if says(request)[5:] == "writer" else "x"
    )
    graph = desk(retry={"times": 1, "wait": 0.001})
    events = heard(Runner(graph, model=script))
    assert [event.node for event in of(events, NodeRetried)] == ["team"]
    assert asked(script) == ["first", "finder", "writer", "writer", "last"]


def test_what_no_attempt_can_mend_is_not_attempted_again() -> None:
    script = Failing("writer")
    with pytest.raises(NodeError):
        Runner(desk(retry=3), model=ScriptedModel(script)).run("hello")
    assert script.asked == ["first", "finder", "writer"]


def test_a_changed_inner_graph_is_not_resumed(store: Store) -> None:
    script = Failing("writer")
    runner = Runner(desk(), store=store, model=ScriptedModel(script))
    with pytest.raises(NodeError):
        runner.run("hello", session_id="s", run_id="r")
    nodes = {**research().nodes, "finder": Member(role="another")}
    changed = Runner(desk(research(nodes=nodes)), store=store, model=ScriptedModel(script))
    with pytest.raises(Changed, match=r'team/finder\S+ role: "finder" -> "another"'):
        changed.resume("r")
    with pytest.raises(Changed, match="node 'team/finder': the graph no longer has it"):
        Runner(
            desk(Graph(name="other", nodes={"writer": Member()})), store=store, model=model()
        ).resume("r")


def test_an_inner_graph_can_be_done_without() -> None:
    script = Failing("finder")
    run = Runner(desk(on_error={"value": "nothing"}), model=ScriptedModel(script)).run("hello")
    assert run.records["team"].output == "nothing"
    assert run.answer == "I am last"


def test_what_nobody_inside_answers_fails_the_node() -> None:
    inner = Graph(name="inner", nodes={"one": Member(when="input.message == 'x'")})
    with pytest.raises(NodeError, match=r"could answer was skipped: one \(when: "):
        Runner(answering(inner), model=model()).run("hello")


@pytest.mark.parametrize("where", ["outer", "inner"])
def test_a_budget_holds_for_what_is_inside(where: str) -> None:
    budget: dict[str, Any] = {"budget": {"calls": 1}}
    inner = research(**(budget if where == "inner" else {}))
    graph = Graph(
        name="desk",
        model="m",
        nodes={"team": SubGraph(graph=inner)},
        **(budget if where == "outer" else {}),
    )
    with pytest.raises(Exception, match="has used 1 calls, and its budget is 1") as failed:
        Runner(graph, model=model()).run("hello")
    assert type(failed.value).__name__ == "BudgetExceeded"


def test_a_run_that_is_cancelled_inside_can_be_resumed(store: Store) -> None:
    reached = asyncio.Event()

    class Hanging:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            if says(request) == "I am writer" and not reached.is_set():
                reached.set()
                await asyncio.Event().wait()
            yield Reply(says(request))

    runner = Runner(desk(), store=store, model=Hanging())

    wait_for(cancelled_at(reached, runner))
    session = runner.session("s")
    assert session.run("r").status == "cancelled"
    assert session.run("r").records["team/finder"].status == "done"
    assert runner.resume("r").answer == "I am last"


def test_a_cancelled_stream_keeps_what_was_told_of_an_inner_answer(store: Store) -> None:
    class Halting:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            yield Chunk("I am")
            if says(request) == "I am writer":
                await asyncio.Event().wait()
            yield Reply("I am")

    runner = Runner(answering(), store=store, model=Halting())

    async def first_words() -> None:
        stream = runner.astream("hello", session_id="s", run_id="r")
        async for event in stream:
            if isinstance(event, Token) and event.answer:
                break
        await stream.aclose()

    wait_for(first_words())
    run = runner.session("s").run("r")
    assert run.status == "cancelled"
    assert run.answer == "I am"


def count(state: dict[str, Any], session_state: dict[str, Any]) -> Result:
    """How often it was called in this session."""
    calls = state.get("calls", 0) + 1
    return Result(calls, state={"calls": calls}, session_state={"seen": calls})


def reading(session_state: dict[str, Any]) -> str:
    return f"seen {session_state['seen']}, mood {session_state.get('mood')}"


def test_inner_nodes_keep_their_state_and_set_the_sessions(store: Store) -> None:
    inner = Graph(
        name="inner",
        state={"mood": "calm"},
        nodes={"count": Python(call=count), "tell": Python(call=reading, needs=["count"])},
    )
    nodes = {"team": SubGraph(graph=inner), "after": Python(call=reading, needs=["team"])}
    runner = Runner(Graph(name="desk", nodes=nodes), store=store)
    for turn in (1, 2):
        run = runner.run("hello", session_id="s")
        assert run.records["team"].output == f"seen {turn}, mood calm"
        assert run.answer == f"seen {turn}, mood None"
    head = runner.session("s").get_head()
    assert head.state == {"seen": 2}
    assert head.node_states == {"team/count": {"calls": 2}}


def test_graphs_can_lie_in_graphs(store: Store) -> None:
    middle = Graph(
        name="middle",
        nodes={"inner": SubGraph(graph=research()), "end": Member(role="end", needs=["inner"])},
    )
    script = Failing("end")
    runner = Runner(desk(middle), store=store, model=ScriptedModel(script))
    with pytest.raises(NodeError, match="node 'team' failed: node 'end' failed: down"):
        runner.run("hello", session_id="s", run_id="r")
    script.role = None
    run = runner.resume("r")
    assert script.asked == ["first", "finder", "writer", "end", "end", "last"]
    assert "team/inner/writer" in run.records
    assert "I am finder" in words_of_exchange(run, "team/inner/writer")
    events = heard(runner)
    holds_together(events)
    assert "team/inner/finder" in {event.node for event in events}


def words_of_exchange(run: Run, path: str) -> str:
    return "\n".join(message.content for message in run.records[path].exchanges[0].messages)


def test_a_deleted_run_takes_what_was_inside_with_it(store: Store, tmp_path: Path) -> None:
    runner = Runner(desk(), store=store, model=model())
    run = runner.run("a very secret word", session_id="s")
    runner.run("and on", session_id="s")
    runner.session("s").delete_run(run.run_id)
    wait_for(store.close())
    left = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"very secret" not in left


INNER = """
name: inner
nodes:
  one: {role: A member inside}
"""


def test_a_graph_file_names_another_beside_it(tmp_path: Path) -> None:
    written(tmp_path, INNER, name="teams/inner.yaml")
    file = written(
        tmp_path,
        """
        name: outer
        model: m
        nodes:
          team: {kind: graph, graph: teams/inner.yaml, input: "{{ input.message | upper }}"}
        """,
    )
    graph = Graph.load(file)
    scripted = model()
    assert Runner(graph, model=scripted).run("hello").answer == "I am A member inside"
    assert scripted.requests[0].messages[-1].content.strip() == "HELLO"
    graph.dump(tmp_path / "again.yaml")
    assert Graph.load(tmp_path / "again.yaml") == graph
    assert "graph: teams/inner.yaml" in (tmp_path / "again.yaml").read_text()


def test_a_graph_may_stand_in_place(tmp_path: Path) -> None:
    graph = desk(input="{{ first.output }}")
    graph.dump(tmp_path / "desk.yaml")
    assert Graph.load(tmp_path / "desk.yaml") == graph
    in_place = Graph(
        name="desk",
        nodes={"team": SubGraph(graph={"name": "inner", "nodes": {"one": {"role": "x"}}})},
    )
    assert in_place.nodes["team"].within() == Graph(name="inner", nodes={"one": Member(role="x")})


@pytest.mark.parametrize(
    ("inner", "problem"),
    [
        ("graph: nope.yaml", "5:12: node 'team': there is no file 'nope.yaml'"),
        ("graph: inner.yml", "did you mean 'inner.yaml'?"),
        ("graph: team.yaml", "the graph 'team.yaml' contains itself"),
        ("graph: 3", "graph must be a file's path, an inline graph, or a Graph"),
        ("graph: {name: x, nodes: {one: {rol: y}}}", "5:36: node 'team': node 'one': unknown key"),
        ("graph: {name: x}", "give it `nodes` to make it a graph"),
        ("graph: {rol: x}", "5:13: node 'team': unknown key 'rol'; did you mean 'role'?"),
        ("graph: inner.yaml\n    input: x\n    prompt: member.jinja", "remove one"),
    ],
)
def test_what_does_not_hold_inside_is_said_at_load(
    tmp_path: Path, inner: str, problem: str
) -> None:
    written(tmp_path, INNER, name="inner.yaml")
    text = f"name: outer\nnodes:\n  team:\n    kind: graph\n    {inner}\n"
    problems = "\n".join(str(each) for each in refused(written(tmp_path, text)))
    assert problem in problems


def test_what_does_not_hold_in_an_inner_file_is_said_at_its_place(tmp_path: Path) -> None:
    inner = written(tmp_path, "name: inner\nnodes:\n  one: {rol: x}\n", name="inner.yaml")
    file = written(tmp_path, "name: outer\nnodes:\n  team: {kind: graph, graph: inner.yaml}\n")
    (problem,) = refused(file)
    assert (problem.file, problem.line) == (str(inner), 3)
    assert problem.suggestion == "role"


def test_only_a_node_with_a_graph_can_run_one() -> None:
    class Eager(Node):
        async def run(self, context: Context) -> Result:
            return await context.run_graph("hello")

    with pytest.raises(NodeError, match="has no inner graph to run") as failed:
        Runner(Graph(name="g", nodes={"eager": Eager()})).run("hello")
    assert isinstance(failed.value.__cause__, InputError)


def test_the_template_of_an_inner_message_sees_the_name_of_the_graph() -> None:
    scripted: Model = model()
    runner = Runner(desk(input="for {{ node.graph }}"), model=scripted)
    assert runner.run("hello").records["team"].fields == {"input": "for research"}


def test_a_subgraph_that_was_never_part_of_a_graph_is_written_as_it_is() -> None:
    assert SubGraph(graph="inner.yaml").written() == {"graph": "inner.yaml"}
    assert SubGraph(graph="inner.yaml").within() is None
    with pytest.raises(DefinitionError, match="graph must be"):
        SubGraph(graph="")


def test_warnings_of_an_inner_graph_are_told_with_those_around_it(tmp_path: Path) -> None:
    written(
        tmp_path,
        "name: inner\nnodes:\n  one: {role: x}\n  two: {role: y}\noutput: one\n",
        name="inner.yaml",
    )
    file = written(tmp_path, "name: outer\nnodes:\n  team: {kind: graph, graph: inner.yaml}\n")
    (warning,) = Graph.load(file).warnings
    assert str(warning).endswith(
        "warning: node 'team': the output of node 'two' is not used; read it in a template, "
        "or remove it"
    )
    assert (warning.file, warning.line) == (str(tmp_path / "inner.yaml"), 4)


def test_an_inner_answer_that_is_no_text_is_read_as_one_by_its_own_history(store: Store) -> None:
    returns = {"lang": "str"}
    nodes = {
        "own": HistoryLoader(of="one"),
        "one": Member(returns=returns, history="own"),
    }
    outer = answering(Graph(name="inner", nodes=nodes))
    scripted = ScriptedModel([{"lang": "french"}, {"lang": "english"}])
    runner = Runner(outer, store=store, model=scripted)
    runner.run("one", session_id="s")
    runner.run("two", session_id="s")
    said = [message.content.strip() for message in scripted.requests[1].messages[1:]]
    assert said == ["one", '{"lang": "french"}', "two"]


def test_the_history_of_an_inner_member_has_what_its_graph_was_given(store: Store) -> None:
    nodes = {"own": HistoryLoader(of="one"), "one": Member(history="own")}
    outer = Graph(
        name="outer",
        model="m",
        nodes={
            "team": SubGraph(
                graph=Graph(name="inner", nodes=nodes), input="about {{ input.message }}"
            )
        },
    )
    scripted = ScriptedModel("fine")
    runner = Runner(outer, store=store, model=scripted)
    runner.run("one", session_id="s")
    runner.run("two", session_id="s")
    said = [message.content.strip() for message in scripted.requests[1].messages[1:]]
    assert said == ["about one", "fine", "about two"]


def test_an_inner_history_passes_over_turns_in_which_its_graph_did_not_run(store: Store) -> None:
    nodes = {"own": HistoryLoader(of="one"), "one": Member(history="own")}
    outer = Graph(
        name="outer",
        model="m",
        nodes={
            "team": SubGraph(graph=Graph(name="inner", nodes=nodes), when="input.message != 'no'"),
            "other": Member(needs=["team"], join="always"),
        },
    )
    scripted = ScriptedModel("fine")
    runner = Runner(outer, store=store, model=scripted)
    for message in ("yes", "no", "again"):
        runner.run(message, session_id="s")
    said = [message.content.strip() for message in scripted.requests[-2].messages[1:]]
    assert said == ["yes", "fine", "again"]
