"""A graph that runs for each item of a list."""

# ruff: noqa: ANN401  options of a node, answers of a model
from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from teamgraph import Chunk, Graph, Reply, Request, Runner, ScriptedModel, Store
from teamgraph.errors import BudgetExceeded, DefinitionError, ModelError, NodeError
from teamgraph.events import NodeFinished, NodeRetried, Token
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import Human, Map, Member, Python
from tests.builders import told, written
from tests.teams import cancelled_at, heard, heard_again, holds_together, of, wait_for, words_of

RETURNS = {"steps": "list[str]", "title": "str", "more": "list[str]?"}


def each(**options: Any) -> Map:
    fields = {"over": "plan.output.steps", "needs": "plan", "graph": work()}
    return Map(**(fields | options))


def work(**options: Any) -> Member:
    return Member(**({"prompt": "Do {{ input.item }}, number {{ input.number }}\n"} | options))


def team(node: Map | None = None, **options: Any) -> Graph:
    """A planner, a map over its steps, and a leader who reads the answers."""
    nodes: dict[str, Node] = {
        "plan": Member(returns=RETURNS, prompt="Plan it.\n"),
        "each": node or each(),
        "end": Member(prompt="End: {{ each.output | join(', ') }}\n", needs="each"),
    }
    return Graph(**({"name": "team", "model": "m", "nodes": nodes} | options))


class Workers:
    """A model that plans these steps, and does each of them unless it fails there."""

    def __init__(self, *steps: str, fails: Exception | None = None, at: str = "") -> None:
        self.steps = steps
        self.error = fails
        self.at = at
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Any:
        text = words_of(request).strip()
        if request.schema is not None:
            return {"steps": list(self.steps), "title": "t"}
        if self.error is not None and self.at in text and text.startswith("Do"):
            return self.error
        self.asked.append(text)
        return text.replace("Do", "did").partition(",")[0] if text.startswith("Do") else text


BROKEN = ModelError("down", model="m")


def test_every_item_is_answered_in_order(store: Store) -> None:
    script = Workers("a", "b", "c")
    run = Runner(team(), store=store, model=ScriptedModel(script)).run("hello", session_id="s")
    assert run.records["each"].output == ["did a", "did b", "did c"]
    assert run.records["each"].fields == {"skipped": []}
    assert run.answer == "End: did a, did b, did c"
    assert script.asked[:3] == ["Do a, number 1", "Do b, number 2", "Do c, number 3"]
    assert list(run.records) == ["plan", "each", *(f"each[{n}]/each" for n in "123"), "end"]
    assert run.usage.calls == 5


def test_no_items_give_an_empty_list() -> None:
    run = Runner(team(), model=ScriptedModel(Workers())).run("hello")
    assert run.records["each"].output == []
    assert run.answer == "End:"


def test_the_message_of_an_item_is_its_text_or_what_the_template_makes() -> None:
    echo = Member(prompt="Do {{ input.message }}, for {{ input.item }}\n")
    script = Workers("a")
    Runner(team(each(graph=echo)), model=ScriptedModel(script)).run("hello")
    assert script.asked[0] == "Do a, for a"
    template = "{{ input.message }} {{ input.item | upper }} {{ input.number }}"
    Runner(team(each(graph=echo, input=template)), model=ScriptedModel(script)).run("hello")
    assert script.asked[2] == "Do hello A 1, for a"


class Counting:
    """A model that counts how many requests it is answering at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        if request.schema is not None:
            yield Reply('{"steps": ["a", "b", "c", "d", "e"], "title": "t", "more": null}')
            return
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(5):
            await asyncio.sleep(0)
        self.now -= 1
        yield Reply("done")


@pytest.mark.parametrize(("limit", "most"), [(None, 5), (2, 2), (1, 1), (9, 5)])
def test_no_more_items_than_allowed_run_at_once(limit: int | None, most: int) -> None:
    model = Counting()
    Runner(team(each(max_parallel=limit)), model=model).run("hello")
    assert model.most == most


def test_a_failed_item_fails_the_node_and_a_resume_runs_what_is_missing(store: Store) -> None:
    script = Workers("a", "b", "c", "d", fails=BROKEN, at="Do b")
    graph = team(each(max_parallel=1))
    runner = Runner(graph, store=store, model=ScriptedModel(script))
    with pytest.raises(NodeError) as failed:
        runner.run("hello", session_id="s", run_id="r")
    assert str(failed.value) == "node 'each' failed: node 'each[2]/each' failed: down"
    assert script.asked == ["Do a, number 1"]
    script.error = None
    events = heard_again(runner, "r")
    holds_together(events)
    assert script.asked[1:4] == ["Do b, number 2", "Do c, number 3", "Do d, number 4"]
    assert runner.session("s").run("r").answer == "End: did a, did b, did c, did d"
    replayed = [event.node for event in of(events, NodeFinished) if event.replayed]
    assert replayed == ["plan", "each[1]/each"]


def test_what_runs_beside_a_failed_item_may_finish() -> None:
    script = Workers("a", "b", fails=BROKEN, at="Do a")
    with pytest.raises(NodeError, match=r"node 'each\[1\]/each' failed") as failed:
        Runner(team(), model=ScriptedModel(script)).run("hello")
    assert failed.value.run is not None
    assert failed.value.run.records["each[2]/each"].status == "done"


def test_a_failed_item_may_be_left_out_or_replaced() -> None:
    for policy, output, skipped in [
        ("skip", ["did a", "did c"], [2]),
        ({"value": None}, ["did a", None, "did c"], []),
    ]:
        script = ScriptedModel(Workers("a", "b", "c", fails=BROKEN, at="Do b"))
        node = each(on_item_error=policy)
        nodes: dict[str, Node] = {"plan": Member(returns=RETURNS), "each": node}
        graph = team(nodes=nodes)
        run = Runner(graph, model=script).run("hello")
        assert run.records["each"].output == output
        assert run.records["each"].fields == {"skipped": skipped}
        assert run.records["each[2]/each"].status == "failed"


def test_a_budget_that_is_spent_is_no_failed_item() -> None:
    graph = team(each(on_item_error="skip", max_parallel=1), budget={"calls": 2})
    with pytest.raises(BudgetExceeded, match="used 2 calls, and its budget is 2"):
        Runner(graph, model=ScriptedModel(Workers("a", "b", "c"))).run("hello")


def test_more_items_than_allowed_fail_the_node_and_the_advice_helps() -> None:
    script = ScriptedModel(Workers(*"abcd"))
    with pytest.raises(NodeError, match="has 4 items") as failed:
        Runner(team(each(max_items=3)), model=script).run("hello")
    advice = "(plan.output.steps)[:3]"
    assert f"`over: {advice}`" in str(failed.value)
    run = Runner(team(each(max_items=3, over=advice)), model=script).run("hello")
    assert run.records["each"].output == ["did a", "did b", "did c"]


def test_a_value_that_is_no_list_fails_the_node() -> None:
    def anything(message: str) -> Any:
        return 7

    node = Map(over="plan.output", needs="plan", graph=work())
    nodes: dict[str, Node] = {"plan": Python(call=anything), "each": node}
    graph = Graph(name="x", model="m", nodes=nodes)
    with pytest.raises(NodeError, match="`over` is not a list"):
        Runner(graph, model=ScriptedModel("x")).run("hello")
    assert graph.render("hello", assume={"plan": "p"})["each[1]/each"].text == "Do p, number 1"


def test_a_list_may_be_made_by_filters_or_be_a_constant() -> None:
    script = ScriptedModel(Workers("a", "bb", "c"))
    over = "plan.output.steps | select('in', ['a', 'c']) | map('upper')"
    run = Runner(team(each(over=over)), model=script).run("hello")
    assert run.records["each"].output == ["did A", "did C"]
    over = "[{'a': 1}, {'a': 2}]"
    graph = work(prompt="Do {{ input.item.a }} of {{ input.message }}\n")
    run = Runner(team(each(over=over, graph=graph)), model=script).run("hello")
    assert run.records["each"].output == ['did 1 of {"a": 1}', 'did 2 of {"a": 2}']


def kept(message: str, state: dict[str, Any], session_state: dict[str, Any]) -> Result:
    seen = [*session_state.get("seen", []), message]
    return Result(len(state), state={"was": "here"}, session_state={"seen": seen})


def test_items_keep_no_state_and_their_changes_of_the_sessions_are_merged(store: Store) -> None:
    graph = team(each(graph=Python(call=kept)), state={"seen": []})
    runner = Runner(graph, store=store, model=ScriptedModel(Workers("a", "b", "c")))
    for _ in range(2):
        run = runner.run("hello", session_id="s")
        assert run.records["each"].output == [0, 0, 0]
    head = runner.session("s").get_head()
    assert head.node_states == {}
    assert head.state == {"seen": ["a", "b", "c"] * 2}


def counted(session_state: dict[str, Any]) -> Result:
    return Result("x", session_state={"count": session_state.get("count", 0) + 1})


def test_items_that_contradict_each_other_are_told() -> None:
    graph = team(each(graph=Python(call=counted)), state={"count": 0})
    with pytest.raises(NodeError, match="items 1 and 2 of 'each' both change the key 'count'"):
        Runner(graph, model=ScriptedModel(Workers("a", "b"))).run("hello")


def test_a_fork_from_one_item_repeats_that_one(store: Store) -> None:
    script = Workers("a", "b", "c")
    runner = Runner(team(), store=store, model=ScriptedModel(script))
    run = runner.run("hello", session_id="s")
    for node in ("each[2]", "each[2]/each"):
        script.asked.clear()
        assert runner.fork(run.run_id, node=node).answer == run.answer
        assert script.asked == ["Do b, number 2", "End: did a, did b, did c"]
    script.asked.clear()
    runner.fork(run.run_id, node="each/each")
    assert len(script.asked) == 4


def test_another_attempt_repeats_no_finished_item() -> None:
    fails = iter([ModelError("down", model="m", retryable=True)])
    workers = Workers("a", "b", "c")

    def script(request: Request) -> Any:
        is_b = "Do b" in words_of(request)
        return next(fails, None) or workers(request) if is_b else workers(request)

    graph = team(each(retry={"times": 1, "wait": 0.001}))
    events = heard(Runner(graph, model=ScriptedModel(script)))
    holds_together(events)
    assert [event.node for event in of(events, NodeRetried)] == ["each"]
    assert sorted(workers.asked[:3]) == ["Do a, number 1", "Do b, number 2", "Do c, number 3"]


def test_the_words_of_items_are_events_and_no_part_of_the_answer() -> None:
    events = heard(Runner(team(output="each"), model=ScriptedModel(Workers("a", "b"))))
    holds_together(events)
    words = {event.node for event in of(events, Token) if not event.answer}
    assert {"each[1]/each", "each[2]/each"} <= words


def test_a_cancelled_map_leaves_nothing_running(store: Store) -> None:
    reached, running = asyncio.Event(), set[str]()
    halted = True

    class Hanging:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            text = words_of(request).strip()
            if request.schema is not None:
                yield Reply('{"steps": ["a", "b", "c"], "title": "t", "more": null}')
                return
            if halted and not text.startswith("Do a"):
                running.add(text)
                if len(running) == 2:
                    reached.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    running.discard(text)
            yield Reply(text)

    runner = Runner(team(), store=store, model=Hanging())

    wait_for(cancelled_at(reached, runner))
    assert not running
    halted = False
    assert runner.resume("r").answer == "End: Do a, number 1, Do b, number 2, Do c, number 3"


def test_a_dry_run_renders_one_sample_item() -> None:
    rendering = team().render("hello")
    assert list(rendering) == ["plan", "each", "each[1]/each", "end"]
    assert rendering["each[1]/each"].text == "Do «plan.steps[0]», number 1"
    assert rendering["end"].text == "End: «each[1]/each»"
    assumed = {"plan": {"steps": ["x", "y"], "title": "t"}, "each/each": "done"}
    rendering = team().render("hello", assume=assumed)
    assert rendering["each[1]/each"].text == "Do x, number 1"
    assert rendering["end"].text == "End: done"
    assert list(team().render(assume={"plan": {"steps": [], "title": ""}})) == [
        "plan", "each", "end"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("over: plan.output.stps", "6:23: plan.output has no 'stps'; did you mean 'steps'?"),
        ("over: pln.output.steps", "6:11: unknown name 'pln'; did you mean 'plan'?"),
        ("over: plan.output.title", "6:11: node 'each': plan.output.title is a text; a list is"),
        ("over: plan.output", "plan.output is a mapping; a list is needed"),
        ("over: plan.output.more", "may be None; write `plan.output.more or []`"),
        ("over: plan.output.steps +", "the expression is not finished"),
        (
            "max_items: 1",
            "5:5: node 'each': 'over' is required; add it, such as `over: plan.output.steps`",
        ),
        ("ovr: plan.output.steps", "6:5: node 'each': unknown key 'ovr'; did you mean 'over'?"),
        ("over: STEPS\n    max_item: 3", "unknown key 'max_item'; did you mean 'max_items'?"),
        ("over: STEPS\n    max_items: 0", "7:16: node 'each': max_items: must be 1 or more"),
        ("over: STEPS\n    max_parallel: 0", "max_parallel: must be 1 or more, not 0"),
        ("over: STEPS\n    on_item_error: drop", "7:20: node 'each': on_item_error"),
        ("over: STEPS\n    input: '{{ input.itm }}'", "did you mean 'item'?"),
    ],
)
def test_what_is_wrong_with_a_map_is_said_at_its_place(
    field: str, problem: str, tmp_path: Path
) -> None:
    text = (
        "name: x\nnodes:\n"
        "  plan: {returns: {steps: 'list[str]', title: str, more: 'list[str]?'}}\n"
        "  each:\n    kind: map\n"
        f"    {field.replace('STEPS', 'plan.output.steps')}\n"
        "    needs: plan\n    graph: {role: You work}\n"
    )
    assert problem in "\n".join(told(written(tmp_path, text)))


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ input.item.qury }}", "did you mean 'query'?"),
        ("{{ input.itm.query }}", "did you mean 'item'?"),
        ("{{ input.item }}", "would print a whole"),
        ("{{ input.nummer }}", "did you mean 'number'?"),
    ],
)
def test_prompts_inside_are_checked_with_the_type_of_the_items(template: str, problem: str) -> None:
    items = {"type": "object", "properties": {"query": {"type": "string"}},
             "required": ["query"], "additionalProperties": False}  # fmt: skip

    class Planner(Node):
        provides = {"output": {"type": "array", "items": items}}  # noqa: RUF012

        async def run(self, context: Context) -> Result:
            return Result([{"query": context.input.message}])

    def made(prompt: str) -> Graph:
        node = Map(over="plan.output", needs="plan", graph=Member(prompt=f"{prompt}\n"))
        return Graph(name="x", model="m", nodes={"plan": Planner(), "each": node})

    graph = made("{{ input.item.query | upper }}")
    run = Runner(graph, model=ScriptedModel(words_of)).run("hello")
    assert run.records["each"].output == ["HELLO"]
    with pytest.raises(DefinitionError) as caught:
        made(template)
    assert problem in str(caught.value)
    assert caught.value.problems[0].path == ("nodes", "each", "graph", "prompt")


def test_the_answers_have_the_type_of_the_inner_answer() -> None:
    inner = work(returns={"lang": "str"})
    nodes = team().nodes
    for template, problem in [
        ("{% for one in each.output %}{{ one.lng }}{% endfor %}", "did you mean 'lang'?"),
        ("{{ each.output.lang }}", "has no 'lang'"),
        ("{{ each.skiped }}", "did you mean 'skipped'?"),
    ]:
        end = Member(prompt=f"{template}\n", needs="each")
        with pytest.raises(DefinitionError) as caught:
            team(nodes={**nodes, "each": each(graph=inner), "end": end})
        assert problem in str(caught.value)
    replaced = each(graph=inner, on_item_error={"value": {"lang": None}})
    end = Member(prompt="{% for one in each.output %}{{ one.lang }}{% endfor %}\n", needs="each")
    with pytest.raises(DefinitionError, match="None"):
        team(nodes={**nodes, "each": replaced, "end": end})


def test_a_map_in_a_map_reads_the_item_of_the_outer_one() -> None:
    nodes = {
        "deep": Map(over="[1, 2]", graph=Member(prompt="{{ input.item }}\n")),
        "last": Member(prompt="{{ input.item }}{{ deep.output }}\n", needs="deep"),
    }
    outer = Map(over="['a', 'b']", graph={"nodes": nodes, "output": "last"})
    graph = Graph(name="x", model="m", nodes={"outer": outer})
    run = Runner(graph, model=ScriptedModel(lambda r: words_of(r).strip())).run("x")
    assert run.records["outer"].output == ["a['1', '2']", "b['1', '2']"]
    assert "outer[2]/deep[1]/deep" in run.records


def test_an_item_that_waits_for_a_person_holds_up_no_other(store: Store) -> None:
    inner: dict[str, Node] = {
        "ask": Human(prompt="May I do {{ input.item }}?\n", when="input.item != 'b'"),
        "work": work(needs="ask", join="always"),
    }
    node = each(graph={"nodes": inner, "output": "work"}, max_parallel=1)
    script = Workers("a", "b", "c")
    runner = Runner(team(node), store=store, model=ScriptedModel(script))
    run = runner.run("hello", session_id="s")
    assert run.status == "waiting"
    assert [each.path for each in run.questions] == ["each[1]/ask", "each[3]/ask"]
    assert script.asked == ["Do b, number 2"]
    run = runner.respond(run.run_id, {"each[3]/ask": "yes"}, session_id="s")
    assert run.status == "waiting"
    run = runner.respond(run.run_id, {"each[1]/ask": "yes"}, session_id="s")
    assert run.answer == "End: did a, did b, did c"
    assert sorted(script.asked[:3]) == ["Do a, number 1", "Do b, number 2", "Do c, number 3"]
