"""Retry, fallback and budget at a server: what is asked again, and what is never paid twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

import pytest

from teamgraph import (
    Event,
    Graph,
    ModelSpec,
    Reply,
    Request,
    Retry,
    Runner,
    ScriptedModel,
    ToolCall,
)
from teamgraph.errors import BudgetExceeded, NodeError
from teamgraph.events import AnswerReset
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import (
    Leader,
    Loop,
    Map,
    Member,
    Python,
    Router,
    SubGraph,
    Summarizer,
    Swarm,
)
from tests.stub import StubAnswer, StubProvider
from tests.teams import STORES, of, told

QUICK = Retry(times=1, wait=0.001)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubProvider]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    with StubProvider() as stub:
        yield stub


def graph(stub: StubProvider, nodes: dict[str, Member], **options: Any) -> Graph:  # noqa: ANN401  what a graph takes
    model = {"id": "openai/gpt-5-mini", "api_base": stub.base_url, "temperature": 1}
    model |= options.pop("model", {})
    return Graph(name="g", nodes=nodes, model=ModelSpec.model_validate(model), **options)


LISTENERS: dict[str, Callable[[Runner], Iterator[Event]]] = {
    "nobody": lambda runner: iter(runner.run("hi") and ()),
    "one that is told no words": lambda runner: runner.stream("hi", tokens=False),
    "one that can take words back": lambda runner: runner.stream("hi", resets=True),
    "one that cannot": lambda runner: runner.stream("hi"),
}


@pytest.mark.parametrize("rule", ["retry", "fallback"])
@pytest.mark.parametrize("listener", LISTENERS)
def test_an_answer_that_was_cut_is_asked_again_unless_its_words_stay_with_somebody(
    stub: StubProvider, listener: str, rule: str
) -> None:
    fallback = {"id": "openai/gpt-5-nano", "max_tokens": 9}
    options = {"retry": {"retry": QUICK}, "fallback": {"model": {"fallback": fallback}}}[rule]
    stub.push(StubAnswer("words of the first", fault="cut", after=3), "the second")
    events: list[Event] = []
    runner = Runner(graph(stub, {"a": Member()}, **options))
    if listener == "one that cannot":
        with pytest.raises(NodeError, match=r"cut off|broke off|ended"):
            events.extend(LISTENERS[listener](runner))
        assert len(stub.requests) == 1
        return
    events.extend(LISTENERS[listener](runner))
    assert [each.model for each in stub.requests] == [
        "gpt-5-mini",
        "gpt-5-nano" if rule == "fallback" else "gpt-5-mini",
    ]
    again = stub.requests[1].body
    assert again["temperature"] == 1
    assert ("max_completion_tokens" in again or "max_tokens" in again) is (rule == "fallback")
    is_reset = listener == "one that can take words back"
    assert len(of(events, AnswerReset)) == int(is_reset)
    if is_reset:
        assert told(events) == "the second"


def test_a_call_over_the_budget_is_never_made_and_what_was_paid_is_kept(stub: StubProvider) -> None:
    members = {f"m{number}": Member(role=f"Number {number}") for number in range(10)}
    nodes = {**members, "last": Member(needs=list(members))}
    runner = Runner(graph(stub, nodes, output="last", budget={"calls": 3}))
    with pytest.raises(BudgetExceeded, match="used 3 calls, and its budget is 3"):
        runner.run("hi", session_id="s", run_id="r")
    assert len(stub.requests) == 3
    assert runner.resume("r", session_id="s", budget={"calls": 11}).status == "done"
    asked = Counter(str(request.messages) for request in stub.requests)
    assert (len(asked), max(asked.values())) == (11, 1)


@pytest.mark.parametrize("budget", [{"tokens": 1}, {"usd": 1e-9}], ids=str)
def test_tokens_and_dollars_refuse_the_next_call(
    stub: StubProvider, budget: dict[str, float]
) -> None:
    nodes = {"a": Member(), "b": Member(needs=["a"])}
    runner = Runner(graph(stub, nodes, output="b", budget=budget))
    with pytest.raises(BudgetExceeded):
        runner.run("hi", session_id="s", run_id="r")
    assert len(stub.requests) == 1
    runner.resume("r", session_id="s", budget={"calls": 9})
    assert len(stub.requests) == 2


class Thrice(Node):
    """A kind of one's own that asks three times in one attempt, the last time for a form."""

    prompt: str | None = "Number {{ number }}\n"
    variables: ClassVar = {"number": int}

    async def run(self, context: Context) -> Result:
        said = [await context.ask(number=number) for number in (1, 2)]
        return Result([*said, await context.ask_for(SHAPE, number=3)])


SHAPE = {"city": "str"}
ASKED = Member(returns=SHAPE, repair=2)
INNER = Graph(name="inner", model="m", nodes={"a": ASKED, "b": Member(needs="a")}, output="b")


def look(reason: str) -> str:
    """Look something up."""
    return reason


def listed() -> list[str]:
    return ["tea", "milk"]


KINDS: dict[str, dict[str, Node]] = {
    "member": {"it": Member(returns=SHAPE, repair=2, tools=[look])},
    "leader": {"a": Member(), "it": Leader(returns=SHAPE, repair=2, needs="a")},
    "router": {"it": Router(routes={"a": "A", "b": "B"}, repair=2), "a": Member(), "b": Member()},
    "summarizer": {"a": Member(), "it": Summarizer(needs="a", repair=2)},
    "graph": {"it": SubGraph(graph=INNER)},
    "loop": {"it": Loop(graph=INNER, until="round.number == 2", max=2)},
    "map": {"list": Python(call=listed), "it": Map(over="list.output", graph=INNER)},
    "swarm": {
        "it": Swarm(members={"a": Member(hands_to="b"), "b": ASKED}, start="a"),
    },
    "thrice": {"it": Thrice(repair=2)},
}
NEVER_ASK = {"history-loader", "human", "python", "search"}


def answered(request: Request) -> Any:  # noqa: ANN401  a scripted answer
    """Calls a tool first; what has to have a form is wrong twice."""
    if request.tools and all(message.role != "tool" for message in request.messages):
        function: Any = request.tools[0]["function"]
        call = ToolCall(id="1", name=function["name"], arguments='{"reason": "go"}')
        return Reply("", tool_calls=(call,))
    if request.schema is None:
        return f"said after {len(request.messages)}"
    if sum("cannot be used" in message.content for message in request.messages) < 2:
        return "I do not know"
    if request.choices:
        return request.choices[0]
    properties: Any = request.schema["properties"]
    return {name: [] if kind["type"] == "array" else name for name, kind in properties.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_wherever_the_budget_stops_a_run_its_resumptions_ask_only_the_rest(
    kind: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"name": "g", "model": "m", "nodes": KINDS[kind], "max_parallel": 1}
    if kind in ("router", "summarizer"):
        options["output"] = ["a", "b"] if kind == "router" else "a"
    whole = ScriptedModel(answered)
    answer = Runner(Graph(**options), model=whole).run("hi").answer
    count = len(whole.requests)
    assert count > 2
    for calls in range(1, count):
        model = ScriptedModel(answered)
        graph = Graph(**options, budget={"calls": calls})

        def runner() -> Runner:
            store = STORES["tinydb"](tmp_path / str(calls))  # noqa: B023
            return Runner(graph, store=store, model=model)  # noqa: B023

        with pytest.raises(BudgetExceeded):
            runner().run("hi", session_id="s", run_id="r")
        if calls + 1 < count:
            with pytest.raises(BudgetExceeded):
                runner().resume("r", session_id="s", budget={"calls": calls + 1})
        run = runner().resume("r", session_id="s", budget={"calls": count})
        assert (run.answer, run.usage.calls) == (answer, count)
        asked, expected = (
            Counter(str(each.messages) for each in one.requests) for one in (model, whole)
        )
        assert asked == expected


def test_what_a_kind_asks_otherwise_than_before_is_asked() -> None:
    numbers = [1, 2]

    class Reads(Thrice):
        """Reads what it asks from outside of the run."""

        async def run(self, context: Context) -> Result:
            return Result([await context.ask(number=number) for number in numbers])

    model = ScriptedModel(answered)
    graph = Graph(name="g", model="m", nodes={"it": Reads()}, budget={"calls": 1})
    runner = Runner(graph, model=model)
    with pytest.raises(BudgetExceeded):
        runner.run("hi", session_id="s", run_id="r")
    numbers[0] = 3
    run = runner.resume("r", session_id="s", budget={"calls": 9})
    sent = [request.messages[0].content for request in model.requests]
    assert sent == ["Number 1", "Number 3", "Number 2"]
    assert (run.usage.calls, len(run.records["it"].exchanges)) == (3, 2)


def test_the_kinds_above_are_all_that_ask_a_model() -> None:
    shipped = {each.name for each in entry_points(group="teamgraph.nodes")}
    assert {*KINDS} - {"thrice"} | NEVER_ASK == shipped
