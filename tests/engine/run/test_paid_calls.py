"""Retry, fallback and budget at a server: what is asked again, and what is never paid twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from teamgraph import Event, Graph, ModelSpec, Retry, Runner
from teamgraph.errors import BudgetExceeded, NodeError
from teamgraph.events import AnswerReset
from teamgraph.nodes import Member
from tests.stub import StubAnswer, StubProvider
from tests.teams import of, told

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
