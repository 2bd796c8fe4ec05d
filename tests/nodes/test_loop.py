"""A graph that runs repeatedly until a condition is true."""

# ruff: noqa: ANN401  options of a node, answers of a model
from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest

from teamgraph import Chunk, Graph, Reply, Request, Run, Runner, ScriptedModel, Store
from teamgraph.errors import (
    BudgetExceeded,
    Changed,
    DefinitionError,
    InputError,
    ModelError,
    NodeError,
)
from teamgraph.events import NodeFinished, NodeRetried, NodeStarted, Token
from teamgraph.kinds import Context, KeyPath, Node, Result
from teamgraph.nodes import HistoryLoader, Human, Loop, Map, Member, Python, SubGraph
from tests.builders import refused, told, written
from tests.teams import (
    cancelled_at,
    heard,
    heard_again,
    holds_together,
    of,
    timeless,
    wait_for,
    words_of,
)
from tests.teams import told as streamed

WRITER = """
{{ input.message }}, draft {{ round.number }} after {{ round.previous or 'none' }}
{% if round.nodes %}{{ round.nodes.critic.output.comments }}{% endif %}
"""


def draft(**options: Any) -> Loop:
    """A writer and a critic; the writer's text is the answer."""
    nodes: dict[str, Node] = {
        "writer": Member(prompt=WRITER),
        "critic": Member(
            prompt="Is it good?\n{{ writer.output }}\n",
            needs="writer",
            returns={"approved": "bool", "comments": "str"},
        ),
    }
    fields = {"graph": {"nodes": nodes, "output": "writer"}, "until": "critic.output.approved"}
    return Loop(**({"max": 5} | fields | options))


def desk(loop: Loop | None = None, **options: Any) -> Graph:
    return Graph(**({"name": "desk", "model": "m", "nodes": {"draft": loop or draft()}} | options))


def repeating() -> ScriptedModel:
    """A model that answers with its prompt."""
    return ScriptedModel(lambda request: words_of(request).strip())


class Critic:
    """A model whose critic approves the given round; writers and others repeat what they read."""

    def __init__(self, approves: int) -> None:
        self.approves = approves
        self.fails_at: str | None = None
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Any:
        text = words_of(request).strip()
        number = re.findall(r"draft ([0-9])(?: after|$)", text)[0]
        who = f"critic {number}" if request.schema else f"writer {number}"
        if who == self.fails_at:
            return ModelError("down", model="m")
        self.asked.append(who)
        if request.schema is None:
            return f"draft {number}"
        approved = int(number) >= self.approves
        return {"approved": approved, "comments": f"comment {number}"}


def test_rounds_run_until_the_expression_holds(store: Store) -> None:
    script = Critic(approves=3)
    run = Runner(desk(), store=store, model=ScriptedModel(script)).run("hello", session_id="s")
    assert run.answer == "draft 3"
    assert script.asked == [f"{who} {number}" for number in "123" for who in ("writer", "critic")]
    assert list(run.records) == [
        "draft",
        *(f"draft[{number}]/{who}" for number in "123" for who in ("writer", "critic")),
    ]
    assert run.records["draft"].fields == {"rounds": 3, "met": True}
    assert run.usage.calls == 6
    kept = Runner(desk(), store=store).session("s").run(run.run_id)
    assert kept.records == run.records


def prompts_of(run: Run, node: str) -> list[str]:
    return [
        "\n".join(message.content for message in record.exchanges[0].messages).strip()
        for path, record in run.records.items()
        if path.endswith(f"]/{node}")
    ]


def test_a_round_reads_what_those_before_it_gave() -> None:
    run = Runner(desk(), model=ScriptedModel(Critic(approves=3))).run("hello")
    assert prompts_of(run, "writer") == [
        "hello, draft 1 after none",
        "hello, draft 2 after draft 1\ncomment 1",
        "hello, draft 3 after draft 2\ncomment 2",
    ]


def test_the_message_of_each_round_is_what_its_template_makes() -> None:
    loop = draft(input="{{ input.message }} {{ round.number }} {{ round.outputs | join('+') }}")
    run = Runner(desk(loop), model=ScriptedModel(Critic(approves=3))).run("hello")
    assert [text.partition(",")[0] for text in prompts_of(run, "writer")] == [
        "hello 1 ",
        "hello 2 draft 1",
        "hello 3 draft 1+draft 2",
    ]
    assert run.records["draft"].fields["input"] == "hello 3 draft 1+draft 2"


def test_the_last_round_answers_or_fails() -> None:
    script = ScriptedModel(Critic(approves=9))
    run = Runner(desk(draft(max=2)), model=script).run("hello")
    assert run.answer == "draft 2"
    assert run.records["draft"].fields == {"rounds": 2, "met": False}
    with pytest.raises(NodeError) as failed:
        Runner(desk(draft(max=2, on_max="fail", retry=3)), model=script).run("hello")
    assert str(failed.value) == (
        "node 'draft' failed: `until` was still false after 2 rounds: critic.output.approved"
    )
    assert failed.value.run is not None
    assert failed.value.run.records["draft"].attempt == 1


def test_one_node_may_stand_for_a_graph(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        name: count
        model: m
        nodes:
          up:
            kind: loop
            graph: {role: You count, prompt: "{{ round.number }}\\n"}
            until: round.number >= 2
            max: 5
        """,
    )
    graph = Graph.load(file)
    run = Runner(graph, model=repeating()).run("hi")
    assert (run.answer, list(run.records)) == ("2", ["up", "up[1]/up", "up[2]/up"])
    loop = Loop(
        graph=Member(role="You count", prompt="{{ round.number }}\n"),
        until="round.number >= 2",
        max=5,
    )
    assert graph == Graph(name="count", model="m", nodes={"up": loop})
    graph.dump(file)
    assert "graph: {role: You count, prompt:" in file.read_text()
    assert Graph.load(file) == graph


def test_a_graph_in_place_keeps_its_kinds_when_it_is_written(tmp_path: Path) -> None:
    graph = desk(draft(graph=Python(call=counted), until="output >= 3"))
    graph.dump(tmp_path / "desk.yaml")
    again = Graph.load(tmp_path / "desk.yaml", allow=["tests"])
    assert again == graph
    desk().dump(tmp_path / "desk.yaml")
    assert Graph.load(tmp_path / "desk.yaml") == desk()


def counted(state: dict[str, Any], session_state: dict[str, Any]) -> Result:
    """Counts in its own state, and lists what it counts in that of the session."""
    count = state.get("count", 0) + 1
    seen = [*session_state.get("seen", []), count]
    return Result(count, state={"count": count}, session_state={"seen": seen})


def test_nodes_keep_their_state_from_round_to_round_and_turn_to_turn(store: Store) -> None:
    graph = desk(
        draft(
            graph=Graph(name="inner", nodes={"count": Python(call=counted)}),
            until="output % 3 == 0 and session.state.seen | length == output",
        ),
        state={"seen": []},
    )
    runner = Runner(graph, store=store)
    assert runner.run("hello", session_id="s").answer == "3"
    assert runner.run("hello", session_id="s").answer == "6"
    head = runner.session("s").get_head()
    assert head.node_states == {"draft/count": {"count": 6}}
    assert head.state == {"seen": [1, 2, 3, 4, 5, 6]}


def test_a_resumed_loop_goes_on_in_the_round_that_failed(store: Store) -> None:
    script = Critic(approves=3)
    script.fails_at = "critic 2"
    runner = Runner(desk(), store=store, model=ScriptedModel(script))
    with pytest.raises(NodeError) as failed:
        runner.run("hello", session_id="s", run_id="r")
    assert str(failed.value) == "node 'draft' failed: node 'draft[2]/critic' failed: down"
    script.fails_at = None
    events = heard_again(runner, "r")
    holds_together(events)
    whole = Runner(desk(), model=ScriptedModel(Critic(approves=3))).run("hello")
    again = runner.session("s").run("r")
    assert script.asked == ["writer 1", "critic 1", "writer 2", "critic 2", "writer 3", "critic 3"]
    assert again.usage.calls == 6
    assert {path: record.output for path, record in again.records.items()} == {
        path: record.output for path, record in whole.records.items()
    }
    replayed = [event.node for event in of(events, NodeFinished) if event.replayed]
    assert replayed == ["draft[1]/writer", "draft[1]/critic", "draft[2]/writer"]


def test_states_are_those_of_the_last_round_after_a_resume(store: Store) -> None:
    calls: list[int] = []

    def once(state: dict[str, Any]) -> Result:
        calls.append(1)
        if len(calls) == 3:
            raise ValueError
        return Result(state.get("n", 0) + 1, state={"n": state.get("n", 0) + 1})

    inner = Graph(name="inner", nodes={"deep": SubGraph(graph=Python(call=once))})
    runner = Runner(desk(draft(graph=inner, until="output == 4")), store=store)
    with pytest.raises(NodeError):
        runner.run("hello", session_id="s", run_id="r")
    assert runner.resume("r").answer == "4"
    assert len(calls) == 5
    assert runner.session("s").get_head().node_states == {"draft/deep/deep": {"n": 4}}


def test_another_attempt_repeats_no_finished_round() -> None:
    fails = iter([ModelError("down", model="m", retryable=True)])
    critic = Critic(approves=3)

    def script(request: Request) -> Any:
        is_second = "draft 2" in words_of(request) and request.schema
        return next(fails, None) or critic(request) if is_second else critic(request)

    graph = desk(draft(retry={"times": 1, "wait": 0.001}))
    events = heard(Runner(graph, model=ScriptedModel(script)))
    holds_together(events)
    assert [event.node for event in of(events, NodeRetried)] == ["draft"]
    assert critic.asked == ["writer 1", "critic 1", "writer 2", "critic 2", "writer 3", "critic 3"]


@pytest.mark.parametrize(
    ("node", "asked"),
    [
        ("draft[2]/critic", ["critic 2", "writer 3", "critic 3"]),
        ("draft[2]", ["writer 2", "critic 2", "writer 3", "critic 3"]),
        ("draft[3]/writer", ["writer 3", "critic 3"]),
        ("draft/critic", ["critic 1", "writer 2", "critic 2", "writer 3", "critic 3"]),
        ("draft", [f"{who} {number}" for number in "123" for who in ("writer", "critic")]),
    ],
)
def test_a_fork_repeats_a_round_and_those_after_it(
    node: str, asked: list[str], store: Store
) -> None:
    script = Critic(approves=3)
    runner = Runner(desk(), store=store, model=ScriptedModel(script))
    run = runner.run("hello", session_id="s")
    script.asked.clear()
    assert runner.fork(run.run_id, node=node).answer == "draft 3"
    assert script.asked == asked


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("draft[4]/critic", r"no record of 'draft\[4\]/critic'"),
        ("draft[1]/critc", "did you mean 'draft/critic'"),
    ],
)
def test_a_fork_names_a_round_that_was_run(node: str, problem: str, store: Store) -> None:
    runner = Runner(desk(), store=store, model=ScriptedModel(Critic(approves=3)))
    run = runner.run("hello", session_id="s")
    with pytest.raises(InputError, match=problem):
        runner.fork(run.run_id, node=node)


def test_a_loop_that_was_changed_is_not_resumed(store: Store) -> None:
    script = Critic(approves=3)
    script.fails_at = "critic 2"
    runner = Runner(desk(), store=store, model=ScriptedModel(script))
    with pytest.raises(NodeError):
        runner.run("hello", session_id="s", run_id="r")
    script.fails_at = None
    for changed, differences in [
        (draft(until="round.number > 3"), [r"until: \"critic.output.approved\" -> "]),
        (
            draft(graph=Member(role="x"), until="true"),
            ["node 'draft/critic': the graph no longer has it"],
        ),
    ]:
        with pytest.raises(Changed) as caught:
            Runner(desk(changed), store=store, model=ScriptedModel(script)).resume("r")
        text = "\n".join(caught.value.differences)
        assert all(each.replace("\\", "") in text for each in differences)
        assert len(caught.value.differences) == len(set(caught.value.differences))
    nodes = {
        "writer": Member(prompt=WRITER),
        "critic": Member(
            prompt="Is it very good?\n{{ writer.output }}\n",
            needs="writer",
            returns={"approved": "bool", "comments": "str"},
        ),
    }
    other = Runner(
        desk(draft(graph={"nodes": nodes, "output": "writer"})),
        store=store,
        model=ScriptedModel(script),
    )
    script.asked.clear()
    assert other.resume("r", reuse_unchanged=True).answer == "draft 3"
    assert script.asked == ["critic 1", "writer 2", "critic 2", "writer 3", "critic 3"]


def test_the_words_of_the_last_round_are_those_of_the_answer() -> None:
    events = heard(Runner(desk(), model=ScriptedModel(Critic(approves=2))))
    holds_together(events)
    assert streamed(events) == "draft 2"
    assert {event.node for event in of(events, Token)} == {"draft"}
    events = heard(Runner(desk(draft(max=1)), model=ScriptedModel(Critic(approves=2))))
    holds_together(events)
    answer = [event.text for event in of(events, Token) if event.answer]
    assert answer == ["draft ", "1"]  # it was known to be the last


def test_the_words_of_every_round_may_be_events() -> None:
    loop = draft(stream="rounds", on_max="fail", max=2)
    events = heard(Runner(desk(loop), model=ScriptedModel(Critic(approves=2))))
    holds_together(events)
    texts = {
        path: "".join(event.text for event in of(events, Token) if event.node == path)
        for path in ("draft[1]/writer", "draft[2]/writer")
    }
    assert texts == {"draft[1]/writer": "draft 1", "draft[2]/writer": "draft 2"}
    assert streamed(events) == "draft 2"


def test_what_was_not_told_can_be_attempted_again() -> None:
    """Tokens of a round that are no answer tokens can still be followed by another attempt."""
    failed: list[str] = []

    class Breaking:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            number = words_of(request).strip()
            yield Chunk(number)
            if number == "1" and not failed:
                failed.append(number)
                raise ModelError("cut", model="m", retryable=True)
            yield Reply(number)

    inner = Member(prompt="{{ round.number }}\n", retry={"times": 1, "wait": 0.001})
    graph = desk(draft(graph=inner, until="round.number == 2"))
    events = heard(Runner(graph, model=Breaking()))
    holds_together(events)
    assert streamed(events) == "2"
    assert [event.node for event in of(events, NodeRetried)] == ["draft[1]/draft"]


def test_a_cancelled_loop_is_resumed_in_its_round(store: Store) -> None:
    reached = asyncio.Event()
    script = Critic(approves=3)

    class Hanging:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            if "draft 2" in words_of(request) and request.schema and not reached.is_set():
                reached.set()
                await asyncio.Event().wait()
            async for piece in ScriptedModel(script).ask(request):
                yield piece

    runner = Runner(desk(), store=store, model=Hanging())

    wait_for(cancelled_at(reached, runner))
    assert runner.session("s").run("r").records["draft[1]/critic"].status == "done"
    assert runner.resume("r").answer == "draft 3"
    assert script.asked == ["writer 1", "critic 1", "writer 2", "critic 2", "writer 3", "critic 3"]


def test_a_budget_a_timeout_and_an_error_policy_hold_for_the_rounds() -> None:
    script = ScriptedModel(Critic(approves=9))
    with pytest.raises(BudgetExceeded, match="used 4 calls, and its budget is 4"):
        Runner(desk(budget={"calls": 4}), model=script).run("hello")
    broken = Critic(approves=9)
    broken.fails_at = "critic 2"
    loop = draft(on_error={"value": "nothing"})
    assert Runner(desk(loop), model=ScriptedModel(broken)).run("hello").answer == "nothing"
    slow = draft(timeout=0.01)
    with pytest.raises(NodeError, match=r"no answer within 0\.01 seconds"):
        Runner(desk(slow), model=ScriptedModel("x", delay=1)).run("hello")


def test_a_dry_run_renders_the_first_two_rounds() -> None:
    rendering = desk().render("hello")
    assert list(rendering) == [
        "draft",
        *(f"draft[{number}]/{who}" for number in "12" for who in ("writer", "critic")),
    ]
    assert rendering["draft[2]/writer"].text.strip() == (
        "hello, draft 2 after «draft[1]/writer»\n«draft[1]/critic.comments»"
    )
    assert list(desk(draft(max=1)).render("hello")) == [
        "draft", "draft[1]/writer", "draft[1]/critic"
    ]  # fmt: skip
    assumed = {
        "draft/writer": "any",
        "draft[1]/writer": "first",
        "draft/critic": {"approved": False, "comments": "no"},
    }
    rendering = desk().render("hello", assume=assumed)
    assert rendering["draft[1]/critic"].text.strip() == "Is it good?\nfirst"
    assert rendering["draft[2]/critic"].text.strip() == "Is it good?\nany"
    assert "after first\nno" in rendering["draft[2]/writer"].text


def test_routes_inside_a_loop_are_rendered_each_once() -> None:
    graph = desk(
        draft(
            graph={
                "nodes": {
                    "router": {"kind": "router", "routes": {"a": "", "b": ""}},
                    "a": {},
                    "b": {},
                },
                "output": ["a", "b"],
            },
            until="router.output == 'a'",
        )
    )
    ways = graph.render_all("hello")
    assert [set(way.routes.values()) for way in ways] == [{("a",)}, {("b",)}]


def test_an_inner_history_has_the_last_round_of_each_turn(store: Store) -> None:
    nodes = {"own": HistoryLoader(of="one"), "one": Member(history="own")}
    graph = desk(
        draft(graph=Graph(name="inner", nodes=nodes, output="one"), until="round.number == 2")
    )
    answers = iter(["a", "b", "c", "d"])
    scripted = ScriptedModel(lambda _: next(answers))
    runner = Runner(graph, store=store, model=scripted)
    runner.run("one", session_id="s")
    runner.run("two", session_id="s")
    said = [message.content.strip() for message in scripted.requests[-1].messages[1:]]
    assert said == ["one", "b", "two"]


def test_loops_may_lie_in_loops_and_in_maps() -> None:
    inner = Loop(
        graph=Member(prompt="{{ input.item }} {{ input.number }} {{ round.number }}\n"),
        until="round.number == 2",
        max=3,
    )
    graph = Graph(
        name="deep",
        model="m",
        nodes={"all": Map(over="['a', 'b']", graph=inner)},
    )
    run = Runner(graph, model=repeating()).run("x")
    assert run.records["all"].output == ["a 1 2", "b 2 2"]
    assert [path for path in run.records if path.startswith("all[2]")] == [
        "all[2]/all",
        "all[2]/all[1]/all",
        "all[2]/all[2]/all",
    ]


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("until: critc.output.ok", "8:12: unknown name 'critc'; did you mean 'critic'?"),
        ("until: critic.output.okk", "8:26: critic.output has no 'okk'; did you mean 'ok'?"),
        ("until: output.text", "8:19: output is a text, which has no 'text'"),
        ("until: round.numbr > 2", "8:18: round has no 'numbr'; did you mean 'number'?"),
        ("until: round.number >", "8:25: the expression is not finished"),
        ("until: ''", "8:12: node 'draft': until: must not be empty"),
        ("unless: x", "8:5: node 'draft': unknown key 'unless'"),
        (
            "until: round.number > 1\n    max: 0",
            "9:10: node 'draft': max: must be 1 or more, not 0",
        ),
        (
            "until: round.number > 1\n    max: '3'",
            "9:10: node 'draft': max: must be a whole number",
        ),
        (
            "until: round.number > 1\n    on_max: stop",
            "on_max: must be 'answer' or 'fail', not 'stop'",
        ),
        (
            "until: round.number > 1\n    stream: all",
            "stream: must be 'answer' or 'rounds', not 'all'",
        ),
        (
            "until: round.number > 1\n    input: '{{ round.previos }}'",
            "9:22: round has no 'previos'",
        ),
    ],
)
def test_what_is_wrong_with_a_loop_is_said_at_its_place(
    field: str, problem: str, tmp_path: Path
) -> None:
    most = "" if "max:" in field else "    max: 3\n"
    field = field.replace("MET", "round.number > 1")
    text = (
        "name: x\nnodes:\n  draft:\n    kind: loop\n    graph:\n"
        "      nodes: {writer: {}, critic: {returns: {ok: bool}, needs: writer}}\n"
        "      output: writer\n"
        f"    {field}\n{most}"
    )
    assert problem in "\n".join(told(written(tmp_path, text)))


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ round.numbr }}", "round has no 'numbr'; did you mean 'number'?"),
        ("{{ round.previous }}", "round.previous may be None"),
        ("{{ round.previous.lang or 1 }}", "may be None"),
        ("{% if round.previous %}{{ round.previous.lng }}{% endif %}", "did you mean 'lang'?"),
        ("{% if round.nodes %}{{ round.nodes.drft }}{% endif %}", "did you mean 'draft'?"),
        ("{% for one in round.outputs %}{{ one.lng }}{% endfor %}", "did you mean 'lang'?"),
        ("{{ rund.number }}", "did you mean 'round'?"),
    ],
)
def test_prompts_inside_are_checked_with_the_types_of_the_rounds(
    template: str, problem: str
) -> None:
    inner = Member(prompt=f"{template}\n", returns={"lang": "str"})
    with pytest.raises(DefinitionError) as caught:
        desk(draft(graph=inner, until="output.lang == 'fr'"))
    assert problem in str(caught.value)
    assert caught.value.problems[0].path == ("nodes", "draft", "graph", "prompt")


def test_prompts_of_a_file_inside_are_checked_at_their_place(tmp_path: Path) -> None:
    line = "      {% for one in round.outputs %}{{ one.lang }}{% endfor %}"
    text = f"name: inner\nnodes:\n  one:\n    prompt: |\n{line}\n"
    inner = written(tmp_path, text, name="inner.yaml")
    (warning,) = Graph.load(inner).warnings
    assert (warning.code, warning.line) == ("G109", 5)
    assert warning.column == line.index("round") + 1
    file = written(
        tmp_path,
        "name: x\nnodes:\n  a: {kind: loop, graph: inner.yaml, until: 'true', max: 2}\n",
    )
    (problem,) = refused(file)
    assert (problem.file, problem.line) == (str(inner), 5)
    assert problem.column == line.index("lang") + 1
    assert "one is a text, which has no 'lang'" in problem.message


def test_a_graph_that_is_for_a_loop_does_not_run_alone(tmp_path: Path) -> None:
    alone = Graph(name="x", model="m", nodes={"a": Member(prompt="{{ round.number }}\n")})
    for use in (lambda: Runner(alone).run("x"), alone.render):
        with pytest.raises(DefinitionError, match="can only run inside of another one"):
            use()
    conditional = Graph(name="x", model="m", nodes={"a": Member(when="round.number > 1")})
    assert [each.code for each in conditional.warnings] == ["G109"]
    around = Graph(name="y", model="m", nodes={"b": SubGraph(graph=alone)})
    assert [each.code for each in around.warnings] == ["G109"]
    both = desk(draft(graph=around, until="round.number == 2"))
    assert not both.warnings
    assert Runner(both, model=repeating()).run("x").answer == "2"
    guarded = Graph(
        name="x",
        model="m",
        nodes={"a": Member(prompt="{{ round.number if round is defined else 0 }}\n")},
    )
    assert not guarded.warnings
    assert (
        Runner(guarded, model=ScriptedModel(lambda r: words_of(r).strip())).run("x").answer == "0"
    )


def test_a_node_that_only_the_expression_reads_is_used() -> None:
    nodes = {"writer": {}, "critic": {"needs": "writer"}, "other": {"needs": "writer"}}
    loop = draft(graph={"nodes": nodes, "output": "writer"}, until="critic.output == 'good'")
    (warning,) = desk(loop).warnings
    assert warning.code == "G108"
    assert warning.path == ("nodes", "draft", "graph", "nodes", "other")


def test_what_was_skipped_in_a_round_may_be_missing() -> None:
    nodes = {"writer": {}, "critic": {"needs": "writer", "when": "round.number > 1"}}
    inner = {"nodes": nodes, "output": "writer"}
    with pytest.raises(DefinitionError, match="critic"):
        desk(draft(graph=inner, until="critic.output == 'good'"))
    loop = draft(graph=inner, until="critic is defined and critic.output == 'good'")
    run = Runner(desk(loop), model=ScriptedModel("good")).run("hello")
    assert run.records["draft"].fields == {"rounds": 2, "met": True}
    assert run.records["draft[1]/critic"].status == "skipped"


def test_events_inside_have_the_paths_of_their_rounds() -> None:
    events = heard(Runner(desk(), model=ScriptedModel(Critic(approves=2))))
    assert [event.node for event in of(events, NodeStarted)] == [
        "draft",
        *(f"draft[{number}]/{who}" for number in "12" for who in ("writer", "critic")),
    ]
    for event in of(events, NodeFinished):
        assert event.record.node == event.node


def test_a_run_is_the_same_however_it_is_read() -> None:
    script = Critic(approves=3)
    runner = Runner(desk(), model=ScriptedModel(script))
    one, two = runner.run("hello"), runner.run("hello")
    assert timeless(one) == timeless(two)


def test_a_round_may_wait_for_a_person(store: Store) -> None:
    inner: dict[str, Node] = {
        "writer": Member(prompt="draft {{ round.number }} after\n"),
        "editor": Human(prompt="Is it good?\n{{ writer.output }}\n", options=["yes", "no"]),
    }
    loop = draft(graph={"nodes": inner, "output": "writer"}, until="editor.output == 'yes'")
    script = Critic(approves=9)
    runner = Runner(desk(loop), store=store, model=ScriptedModel(script))
    run = runner.run("hello", session_id="s")
    assert [each.path for each in run.questions] == ["draft[1]/editor"]
    run = runner.respond(run.run_id, {"draft[1]/editor": "no"}, session_id="s")
    assert [each.path for each in run.questions] == ["draft[2]/editor"]
    run = runner.respond(run.run_id, {"draft[2]/editor": "yes"}, session_id="s")
    assert run.answer == "draft 2"
    assert script.asked == ["writer 1", "writer 2"]
    rendering = desk(loop).render("hello", assume={"draft/editor": "no"})
    assert [rendering[f"draft[{number}]/editor"].output for number in "12"] == ["no", "no"]


class Refine(SubGraph):
    """A kind of one's own that runs its graph twice, and gives both answers."""

    enough: str = "output == 'never'"

    def ends(self) -> Mapping[KeyPath, str]:
        return {("enough",): self.enough}

    async def run(self, context: Context) -> Result:
        outputs: list[object] = []
        for number in (1, 2):
            known = {"number": number, "previous": None, "outputs": outputs, "nodes": None}
            message = context.render(round=known)
            inner = await context.run_graph(
                message, number=number, names={"round": known}, tokens="events"
            )
            assert not context.test(self.enough, **inner.nodes, output=inner.output, round=known)
            outputs.append(inner.output)
        return Result(" ".join(map(str, outputs)))


def test_a_kind_of_ones_own_may_run_rounds_too() -> None:
    inner = Member(prompt="{{ input.message }} {{ round.number }}\n")
    node = Refine(graph=inner, input="go {{ round.number }}")
    graph = Graph(name="x", model="m", nodes={"twice": node})
    run = Runner(graph, model=repeating()).run("hello")
    assert run.answer == "go 1 1 go 2 2"
    assert list(run.records) == ["twice", "twice[1]/twice", "twice[2]/twice"]
    with pytest.raises(DefinitionError, match="did you mean 'number'"):
        Graph(name="x", nodes={"twice": Refine(graph=inner, enough="round.numbr > 1")})


def test_a_loop_whose_inside_is_another_now_runs_again_as_a_whole(store: Store) -> None:
    script = Critic(approves=3)
    script.fails_at = "critic 2"
    runner = Runner(desk(), store=store, model=ScriptedModel(script))
    with pytest.raises(NodeError):
        runner.run("hello", session_id="s", run_id="r")
    other = desk(draft(graph=Member(prompt="draft {{ round.number }} after\n"), until="false"))
    script.fails_at = None
    run = Runner(other, store=store, model=ScriptedModel(script)).resume("r", reuse_unchanged=True)
    assert run.answer == "draft 5"
    assert [path for path in run.records if "critic" in path] == []


def test_a_node_that_reads_a_later_one_is_told_of_the_round_before(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        name: x
        nodes:
          draft:
            kind: loop
            max: 3
            until: critic.output == "good"
            graph:
              nodes:
                writer: {prompt: "{{ round.number }} {{ critic.output }}"}
                critic: {needs: writer}
              output: writer
        """,
    )
    (problem,) = told(file)
    assert problem.endswith(
        "remove one of these, or read what a node gave in the round before: `round.nodes.critic`"
    )
