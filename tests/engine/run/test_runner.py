"""What a runner takes, what it refuses, and what the graph's limits do."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import AsyncGenerator, Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from teamgraph import (
    Chunk,
    Event,
    Graph,
    MemoryStore,
    Reply,
    Request,
    Retry,
    Runner,
    ScriptedModel,
    SessionKey,
    Timeout,
    ToolCall,
    ToolContext,
    Usage,
)
from teamgraph.errors import (
    BudgetExceeded,
    InputError,
    ModelError,
    NodeError,
    NoModelError,
    NoSessionWarning,
    RunError,
)
from teamgraph.events import NodeFailed, NodeFinished, NodeRetried, NodeStarted
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import HistoryLoader, Leader, Member, Python, Router, SubGraph
from tests.teams import alone, desk, desk_model, heard, holds_together, of, wait_for

CIRCLE: dict[str, Any] = {}
CIRCLE["itself"] = CIRCLE


@pytest.mark.parametrize("message", ["", "  \n", None, 7, ["hi"]])
def test_an_empty_message_is_refused_before_anything_is_kept(message: Any) -> None:
    runner = Runner(desk(), model=desk_model())
    doors = [runner.run, runner.stream, runner.print_response]
    for door in doors:
        with pytest.raises(InputError, match=r"the message is (empty|a .*, and only text)"):
            door(message)
    with pytest.raises(InputError):
        wait_for(runner.arun(message))
    assert runner.sessions() == []


@pytest.mark.parametrize("name", ["user_id", "session_id", "run_id"])
def test_empty_ids_are_refused(name: str) -> None:
    ids: dict[str, Any] = {name: ""}
    with pytest.raises(InputError, match=f"{name} is empty; leave it out"):
        Runner(desk(), model=desk_model()).run("hi", **ids)


@pytest.mark.parametrize("name", ["user_id", "session_id", "run_id"])
def test_ids_that_are_no_texts_are_refused(name: str) -> None:
    ids: dict[str, Any] = {name: 3}
    runner = Runner(desk(), model=desk_model())
    with pytest.raises(InputError, match=f"{name} is 3, and ids are texts; give '3'"):
        runner.run("hi", **ids)
    with pytest.raises(InputError, match=f"{name} is 3"):
        runner.resume(**({"run_id": "r"} | ids))
    assert runner.sessions() == []


@pytest.mark.parametrize(
    "state", [{"a": object()}, {"a": b"\xff"}, CIRCLE, ["a"], "a", {"a": lambda: 1}]
)
def test_a_state_that_is_not_json_is_refused(state: Any) -> None:
    with pytest.raises(InputError, match="the state"):
        Runner(desk(), model=desk_model()).run("hi", state=state)


def test_the_state_of_the_caller_stays_the_callers() -> None:
    def spoil(context: Context) -> Any:
        context.session_state["list"].append(2)  # type: ignore[union-attr]  a list
        return context.session_state["list"]

    graph = Graph(name="g", state={"other": []}, nodes={"spoil": Python(call=spoil)})
    mine: dict[str, Any] = {"list": [1], "pair": (1, 2)}
    run = Runner(graph).run("hi", state=mine)
    assert run.records["spoil"].output == [1, 2]
    assert mine == {"list": [1], "pair": (1, 2)}
    assert run.turn.given_state == {"list": [1], "pair": [1, 2]}


def test_a_run_id_that_is_taken_is_refused() -> None:
    runner = Runner(desk(), model=desk_model(), store=MemoryStore())
    runner.run("hi", session_id="s", run_id="r")
    with pytest.raises(InputError, match="'r'"):
        runner.run("hi", session_id="s", run_id="r")


def test_a_runner_shows_its_graph_and_store_and_a_run_its_facts() -> None:
    graph, store = desk(), MemoryStore()
    runner = Runner(graph, store=store, model=desk_model())
    assert runner.graph is graph
    assert runner.store is store
    run = runner.run("hi", user_id="ann", session_id="s", run_id="r")
    assert (run.run_id, run.session_id, run.user_id, run.status) == ("r", "s", "ann", "done")
    assert (run.input, run.answer) == ("hi", "Bonjour mon ami")
    assert run.usage.calls == 3
    assert run.duration == run.turn.ended - run.turn.started >= 0
    assert list(run.records) == list(graph.plan.order)
    assert isinstance(Runner(graph).store, MemoryStore)


def test_a_model_by_its_id_answers_in_place_of_all_that_are_named() -> None:
    run = Runner(desk(), model="echo").run("hi")
    assert run.answer == "echo: hi"
    assert {e.model for r in run.records.values() for e in r.exchanges} == {"echo (scripted)"}


def test_a_model_that_cannot_be_had_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoModelError, match="unknown provider 'nosuchprovider'; write the id as"):
        Runner(alone(), model="nosuchprovider/none")
    monkeypatch.setenv("TEAMGRAPH_MODEL", "")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    graph = Graph(name="g", nodes={"member": Member()})
    with pytest.raises(NoModelError, match="OPENAI_API_KEY is set"):
        Runner(graph).run("hi")
    monkeypatch.setenv("TEAMGRAPH_MODEL", "echo")
    assert Runner(graph).run("hi").answer == "echo: hi"
    assert Runner(graph, model=ScriptedModel("x")).run("hi").answer == "x"


# Retry, timeout, fallback, on_error


def failing(*errors: Exception, then: str = "fine") -> ScriptedModel:
    left = list(errors)
    return ScriptedModel(lambda request: left.pop(0) if left else then)


def busy(**facts: Any) -> ModelError:
    return ModelError("busy", model="m", retryable=True, **facts)


def test_a_failed_attempt_is_made_again_as_often_as_allowed() -> None:
    graph = alone(retry=Retry(times=2, wait=0.001))
    run = Runner(graph, model=failing(busy(), busy())).run("hi")
    assert (run.answer, run.records["member"].attempt) == ("fine", 3)
    with pytest.raises(NodeError, match="busy"):
        Runner(graph, model=failing(busy(), busy(), busy())).run("hi")
    with pytest.raises(NodeError, match="busy"):
        Runner(alone(), model=failing(busy())).run("hi")


def test_a_node_has_its_own_retry_before_the_graphs() -> None:
    graph = Graph(name="g", model="m", retry=3, nodes={"member": Member(retry=0)})
    with pytest.raises(NodeError):
        Runner(graph, model=failing(busy())).run("hi")


def test_errors_that_stay_are_not_tried_again() -> None:
    hopeless = [ModelError("no key", model="m"), busy(retry_after=100.0)]
    for error in hopeless:
        model = failing(error)
        graph = alone(retry=Retry(times=5, wait=0.001, max_wait=1.0))
        with pytest.raises(NodeError):
            Runner(graph, model=model).run("hi")
        assert len(model.requests) == 1


@pytest.mark.parametrize("error", [ModelError("no key", model="m"), busy()])
def test_fallback_models_are_asked_in_order_when_one_cannot_be_had(error: ModelError) -> None:
    spec = {"id": "first", "fallback": ["second", "third"], "temperature": 0.5}
    graph = Graph(name="g", model=spec, nodes={"member": Member()})
    model = failing(error, error)
    run = Runner(graph, model=model).run("hi")
    assert [request.model for request in model.requests] == ["first", "second", "third"]
    assert [dict(r.parameters) for r in model.requests] == [{"temperature": 0.5}] * 3
    assert run.answer == "fine"


HERE = {"api_base": "http://127.0.0.1:1", "api_key_env": "A_KEY"}
THERE = {"api_base": "http://127.0.0.1:2"}


@pytest.mark.parametrize(
    ("first", "other", "parameters"),
    [
        ({"id": "openai/a", "seed": 1, **HERE}, "openai/b", {"seed": 1, **HERE}),
        ({"id": "a", **HERE}, "b", HERE),
        ({"id": "openai/a", "temperature": 0, **HERE}, "groq/b", {"temperature": 0}),
        ({"id": "openai/a", "seed": 1, **HERE}, {"id": "openai/b", **THERE}, {"seed": 1, **THERE}),
        (
            {"id": "openai/a", **HERE},
            {"id": "openai/b", "api_key_env": "B_KEY"},
            {**HERE, "api_key_env": "B_KEY"},
        ),
        ({"id": "openai/a", **HERE}, {"id": "openai/b", "api_base": None}, {}),
        ({"id": "openai/a", "temperature": 0}, {"id": "openai/b", "temperature": None}, {}),
        ({"id": "openai/a", "structured": "json"}, "openai/b", {"structured": "json"}),
        ({"id": "own/a", "voice": "low", "max_tokens": 9}, "openai/b", {"max_tokens": 9}),
    ],
)
def test_a_fallback_keeps_the_parameters_that_it_does_not_have_itself(
    first: dict[str, Any], other: object, parameters: dict[str, object]
) -> None:
    """Address and key go together, and only to the same provider."""
    graph = Graph(name="g", model={**first, "fallback": other}, nodes={"member": Member()})
    model = failing(busy())
    Runner(graph, model=model).run("hi")
    assert dict(model.requests[1].parameters) == parameters


def test_how_each_model_failed_is_told_and_kept() -> None:
    graph = Graph(name="g", model={"id": "a", "fallback": "b"}, nodes={"member": Member()})
    errors = [ModelError("a is down", model="a"), ModelError("b has no key", model="b")]
    events = Runner(graph, model=failing(*errors)).stream("hi")
    told: list[Event] = []
    with pytest.raises(NodeError, match="node 'member' failed: a is down; then b has no key"):
        told.extend(events)
    assert of(told, NodeFailed)[0].error == "a is down; then b has no key"


def test_a_fallback_that_takes_over_is_told_with_the_reason() -> None:
    graph = Graph(name="g", model={"id": "a", "fallback": "b"}, nodes={"member": Member()})
    model = failing(ModelError("a is down", model="a"))
    (retried,) = of(Runner(graph, model=model).stream("hi"), NodeRetried)
    assert (retried.attempt, retried.error, retried.wait) == (1, "a is down", 0.0)


class Hanging:
    """A model that never answers, unless it is asked under another name."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.left = 0

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        self.asked.append(request.model)
        try:
            if request.model == "m":
                await asyncio.Event().wait()
            yield Reply("late")
        finally:
            self.left += 1


def test_an_attempt_that_takes_too_long_fails_and_is_taken_back() -> None:
    model = Hanging()
    graph = alone(timeout=0.01, retry=Retry(times=1, wait=0.001))
    with pytest.raises(NodeError, match=r"no answer within 0\.01 seconds"):
        Runner(graph, model=model).run("hi")
    assert (model.asked, model.left) == (["m", "m"], 2)


def test_a_model_that_takes_too_long_gives_way_to_its_fallback() -> None:
    model = Hanging()
    spec = {"id": "m", "fallback": ["n"]}
    graph = Graph(name="g", model=spec, timeout=Timeout(total=0.01), nodes={"member": Member()})
    assert Runner(graph, model=model).run("hi").answer == "late"
    assert model.asked == ["m", "n"]


def test_the_idle_time_is_the_models_to_keep() -> None:
    model = ScriptedModel("x")
    Runner(alone(timeout=Timeout(idle=7.0)), model=model).run("hi")
    assert model.requests[0].idle == 7.0
    graph = Graph(name="g", model="m", timeout=3, nodes={"member": Member()})
    Runner(graph, model=model).run("hi")
    assert model.requests[1].idle is None


def test_a_timeout_of_a_nodes_own_is_an_error_like_any_other() -> None:
    def impatient() -> str:
        raise TimeoutError("the database is slow")

    graph = Graph(name="g", timeout=60, nodes={"work": Python(call=impatient)})
    with pytest.raises(NodeError, match="the database is slow"):
        Runner(graph).run("hi")


@pytest.mark.parametrize("of_graph", [True, False])
def test_on_error_stands_in_for_a_node_that_failed(of_graph: bool) -> None:
    def run(policy: Any) -> Any:
        graph = Graph(
            name="g",
            model="m",
            on_error=policy if of_graph else "fail",
            nodes={
                "member": Member(on_error=None if of_graph else policy),
                "end": Python(call=lambda member="nobody": member),
            },
            output="end",
        )
        return Runner(graph, model=failing(ModelError("down", model="m"))).run("hi")

    skipped = run("skip")
    assert skipped.answer == "nobody"
    assert skipped.records["member"].because == "it failed: down"
    assert skipped.records["member"].error == "down"
    instead = run({"value": {"a": 1}})
    assert instead.records["end"].output == {"a": 1}
    assert (instead.records["member"].status, instead.records["member"].error) == ("done", "down")
    with pytest.raises(NodeError, match="node 'member' failed: down"):
        run("fail")


def test_after_a_failure_nothing_new_starts_and_what_runs_may_finish() -> None:
    go = asyncio.Event()

    async def fails() -> None:
        go.set()
        raise ValueError("no")

    async def slow() -> str:
        await go.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        return "finished"

    graph = Graph(
        name="g",
        nodes={
            "slow": Python(call=slow),
            "bad": Python(call=fails),
            "next": Python(call=lambda: "never", needs="slow"),
        },
        output="next",
    )
    with pytest.raises(NodeError) as caught:
        Runner(graph).run("hi")
    run = caught.value.run
    assert run is not None
    assert {node_id: record.status for node_id, record in run.records.items()} == {
        "slow": "done",
        "bad": "failed",
    }
    assert (run.status, run.turn.error) == ("failed", str(caught.value))
    assert caught.value.reason.startswith("ValueError: no (")


def test_each_of_two_failures_keeps_its_own_cause() -> None:
    errors = {"a": ValueError("of a"), "b": KeyError("of b")}
    both = asyncio.Barrier(2)

    def fail(name: str) -> Any:
        async def call() -> None:
            await both.wait()
            raise errors[name]

        return call

    graph = Graph(
        name="g",
        nodes={name: Python(call=fail(name)) for name in errors}
        | {"end": Python(call=lambda: "", needs=list(errors))},
        output="end",
    )
    with pytest.raises(NodeError) as caught:
        Runner(graph).run("hi")
    assert caught.value.__cause__ is errors[caught.value.node_id]


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_nodes_run_at_once_than_allowed(limit: int) -> None:
    running, most = 0, 0

    async def call() -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return ""

    nodes: dict[str, Any] = {f"n{n}": Python(call=call) for n in range(9)}
    nodes["end"] = Python(call=lambda: "end", needs=list(nodes))
    Runner(Graph(name="g", nodes=nodes, output="end", max_parallel=limit)).run("hi")
    assert most == limit


# Budget


def costly(cost: float | None) -> ScriptedModel:
    return ScriptedModel(lambda request: Reply("text", usage=Usage(6, 4, calls=1, cost=cost)))


def row(on_error: Any = "fail", **budget: Any) -> Graph:
    nodes = {"a": Member(), "b": Member(needs="a"), "c": Member(needs="b")}
    return Graph(name="g", model="m", nodes=nodes, output="c", budget=budget, on_error=on_error)


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        ({"calls": 2}, "the run has used 2 calls, and its budget is 2, so no model is asked "),
        ({"tokens": 15}, "the run has used 20 tokens, and its budget is 15, "),
        ({"usd": 0.75}, "the run has used 1 usd, and its budget is 0.75, "),
    ],
)
def test_a_spent_budget_refuses_the_next_call_and_keeps_what_was_paid_for(
    budget: dict[str, Any], text: str
) -> None:
    graph = row(on_error="skip", **budget)
    store = MemoryStore()
    model = costly(0.5)
    with pytest.raises(BudgetExceeded) as caught:
        Runner(graph, model=model, store=store).run("hi", run_id="r", session_id="s")
    assert text in str(caught.value)
    assert len(model.requests) == 2
    run = wait_for(store.run(SessionKey(None, "s"), "r"))
    assert run is not None
    assert [record.status for record in run.records.values()] == ["done", "done", "failed"]
    assert run.usage.calls == 2
    (name,) = budget
    richer = Runner(row(on_error="skip", **{name: 99}), model=model, store=store)
    resumed = richer.resume("r", session_id="s")
    assert (resumed.status, resumed.usage.calls, len(model.requests)) == ("done", 3, 3)


def test_calls_made_at_the_same_time_do_not_exceed_a_budget_together() -> None:
    nodes: dict[str, Node] = {f"m{number}": Member() for number in range(10)}
    nodes["last"] = Leader(needs=list(nodes))
    store, model = MemoryStore(), ScriptedModel("text", delay=0.001)

    def runner(calls: int) -> Runner:
        graph = Graph(name="g", model="m", nodes=nodes, output="last", budget={"calls": calls})
        return Runner(graph, model=model, store=store)

    with pytest.raises(BudgetExceeded, match="used 3 calls, and its budget is 3"):
        runner(3).run("hi", run_id="r", session_id="s")
    assert len(model.requests) == 3
    assert runner(11).resume("r", session_id="s").usage.calls == len(model.requests) == 11


def test_a_call_that_brought_no_answer_leaves_its_place_to_another() -> None:
    graph = alone(retry=Retry(times=1, wait=0.001), budget={"calls": 1})
    run = Runner(graph, model=ScriptedModel([busy(), "text"])).run("hi")
    assert (run.answer, run.usage.calls) == ("text", 1)


def test_a_budget_that_is_just_reached_holds() -> None:
    assert Runner(row(calls=3, tokens=30, usd=1.5), model=costly(0.5)).run("hi").answer == "text"


def test_unknown_cost_does_not_hide_what_is_known() -> None:
    costs = iter([None, 0.5])
    model = ScriptedModel(lambda r: Reply("x", usage=Usage(1, 1, calls=1, cost=next(costs))))
    with pytest.raises(BudgetExceeded, match=r"used 0\.5 usd, and its budget is 0\.5"):
        Runner(row(usd=0.5), model=model).run("hi")


# `when`


def test_a_node_whose_condition_is_false_is_skipped_and_says_so() -> None:
    graph = Graph(
        name="g",
        model="m",
        nodes={
            "shy": Member(when="'please' in input.message"),
            "end": Python(call=lambda shy="nobody": shy),
        },
        output="end",
    )
    runner = Runner(graph, model=ScriptedModel("me"))
    assert runner.run("come, please").answer == "me"
    run = runner.run("come")
    assert run.answer == "nobody"
    assert run.records["shy"].because == "when: 'please' in input.message is false"


@pytest.mark.parametrize(
    ("policy", "status"), [("fail", None), ("skip", "skipped"), ({"value": "x"}, "done")]
)
def test_a_condition_that_cannot_be_told_fails_its_node_and_no_other(
    policy: Any, status: str | None
) -> None:
    graph = Graph(
        name="g",
        model="m",
        nodes={
            "other": Member(),
            "shy": Member(when="1 / (input.message | length - 2) < 1", on_error=policy),
            "end": Python(call=lambda other: other, reads="shy"),
        },
        output="end",
    )
    events = heard(Runner(graph, model=ScriptedModel("me")))
    holds_together(events)
    assert {event.node for event in of(events, NodeStarted)} >= {"other", "shy"}
    runner = Runner(graph, model=ScriptedModel("me"))
    if status is None:
        with pytest.raises(NodeError) as caught:
            runner.run("hi")
        assert caught.value.node_id == "shy"
        assert caught.value.run is not None
        assert caught.value.run.records["other"].status == "done"
    else:
        assert runner.run("hi").records["shy"].status == status


# Kinds of others


class Forgetful(Member):
    """A member that does not return what it has got."""

    async def run(self, context: Context) -> Result:
        await super().run(context)
        return None  # type: ignore[return-value]  what is tested


def test_a_kind_without_a_result_is_named_also_where_its_tool_has_set_state() -> None:
    def note(context: ToolContext) -> None:
        """Note it."""
        context.session_state["noted"] = True

    graph = Graph(name="g", model="m", nodes={"odd": Forgetful(tools=[note])})
    call = Reply("", tool_calls=(ToolCall(id="1", name="note", arguments="{}"),))
    with pytest.raises(NodeError, match="gave a NoneType; it must return a Result"):
        Runner(graph, model=ScriptedModel([call, "done"])).run("hi")


class Odd(Node):
    """A kind that does what its author should not."""

    prompts = False

    async def run(self, context: Context) -> Result:
        match self.description:
            case "nothing":
                return None  # type: ignore[return-value]  what is tested
            case "cancels":
                raise asyncio.CancelledError
            case "asks":
                return Result(await context.ask())
            case _:
                return Result(await context.ask("member.jinja"))


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("nothing", "the `run` of the kind 'odd' gave a NoneType; it must return a Result"),
        ("cancels", "RuntimeError: the node cancelled itself"),
        ("asks", "node 'odd' asks a model but has no prompt"),
        ("asks by name", "node 'odd' asks a model but has no prompt"),
    ],
)
def test_a_kind_that_misbehaves_fails_with_a_sentence(what: str, text: str) -> None:
    graph = Graph(name="g", model="m", nodes={"odd": Odd(description=what)})
    with pytest.raises(RunError) as caught:
        Runner(graph, model=ScriptedModel("x")).run("hi")
    assert text in str(caught.value)


def test_a_model_that_ends_without_a_reply_fails_its_node() -> None:
    class Mute:
        def ask(self, request: Request) -> Any:
            return self

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            raise StopAsyncIteration

    with pytest.raises(NodeError, match="ended its answer without a reply"):
        Runner(alone(), model=Mute()).run("hi")


def test_a_kind_may_ask_several_prompts_with_words_of_its_own() -> None:
    class Twice(Node):
        async def run(self, context: Context) -> Result:
            first = await context.ask(self.prompt)
            return Result(await context.ask("member.jinja", input={"message": first}))

    model = ScriptedModel(lambda request: str(len(request.messages)))
    graph = Graph(name="g", model="m", nodes={"twice": Twice(prompt="Say {{ input.message }}\n")})
    run = Runner(graph, model=model).run("hi")
    assert model.requests[1].messages[-1].content.strip() == "1"
    assert [e.prompt for e in run.records["twice"].exchanges] == ["twice.inline", "member.jinja"]


READS = HistoryLoader(), Member(tools="read_chat_history"), Member(tools="read_tool_call_history")


@pytest.mark.parametrize("node", [*READS, SubGraph(graph=Graph(name="in", nodes={"a": READS[1]}))])
def test_a_graph_that_reads_turns_of_no_session_warns_once(node: Node) -> None:
    nodes = {"one": node, "two": Member()}
    runner = Runner(Graph(name="g", model="echo", nodes=nodes, output="two"))
    with pytest.warns(NoSessionWarning, match=r"'g': .* no session_id.* for one(/a)?; pass"):
        runner.run("hi")
    with warnings.catch_warnings(action="error"):
        runner.run("hi")
        Runner(runner.graph).run("hi", session_id="s")
        Runner(alone(), model=desk_model()).run("hi")


CALLS: dict[str, Callable[[Runner], object]] = {
    "run": lambda runner: runner.run("hi"),
    "stream": lambda runner: list(runner.stream("hi")),
    "print_response": lambda runner: runner.print_response("hi"),
    "arun": lambda runner: asyncio.run(runner.arun("hi")),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_warning_points_at_the_line_that_called(name: str) -> None:
    runner = Runner(Graph(name="g", model="echo", nodes={"one": HistoryLoader(), "two": Member()}))
    with pytest.warns(NoSessionWarning) as caught:
        CALLS[name](runner)
    [warning] = caught
    assert warning.filename == __file__
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[warning.lineno - 1]
    assert f'"{name}": lambda' in line


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_print_response_begins_an_answer_that_breaks_off_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class BreakingOff:
        left = 1

        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            yield Chunk("one ")
            if self.left:
                self.left -= 1
                raise busy()
            yield Reply("one two")

    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    graph = alone(retry=Retry(times=1, wait=0.001))
    run = Runner(graph, model=BreakingOff()).print_response("hi", stream=True)
    assert run.answer == "one two"
    assert terminal.getvalue() == "member: one \nmember: one two\n"


@pytest.mark.parametrize(
    ("make", "expected"),
    [(StringIO, "one two\n"), (Terminal, "member: one two\n")],
    ids=["pipe", "terminal"],
)
def test_print_response_ends_the_line_of_an_answer_that_fails(
    monkeypatch: pytest.MonkeyPatch, make: type[StringIO], expected: str
) -> None:
    class Failing:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            yield Chunk("one ")
            yield Chunk("two")
            raise busy()

    monkeypatch.setattr(sys, "stdout", stdout := make())
    with pytest.raises(NodeError):
        Runner(alone(), model=Failing()).print_response("hi", stream=True)
    assert stdout.getvalue() == expected


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (StringIO, "one two\nnote: a note\n"),
        (Terminal, "member: one two\nother: chose nothing\nnote: a note\n"),
    ],
    ids=["pipe", "terminal"],
)
def test_print_response_prints_no_line_between_the_words_of_an_answer(
    monkeypatch: pytest.MonkeyPatch, make: type[StringIO], expected: str
) -> None:
    """The router and the note finish while the answer is written."""
    finished: set[str | None] = set()
    begun, may_end = asyncio.Event(), asyncio.Event()

    class Model:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            if not request.choices:
                yield Chunk("one ")
                begun.set()
                await may_end.wait()
                yield Chunk("two")
                yield Reply("one two")
            else:
                await begun.wait()
                yield Reply('{"choices": []}')

    def hear(event: Event) -> None:
        if isinstance(event, NodeFinished):
            finished.add(event.node)
        if {"other", "note"} <= finished:
            may_end.set()

    async def note() -> str:
        await begun.wait()
        return "a note"

    nodes = {
        "member": Member(),
        "other": Router(routes={"x": "X"}, select="many", allow_none=True),
        "x": Member(),
        "note": Python(call=note, needs=["other"]),
    }
    graph = Graph(name="g", model="m", nodes=nodes, output="member")
    monkeypatch.setattr(sys, "stdout", stdout := make())
    runner = Runner(graph, model=Model(), listeners=[hear])
    wait_for(runner.aprint_response("hi", stream=True, show=["note"]))
    assert stdout.getvalue() == expected
