"""The whole way down: a graph file, the real client, bytes on loopback."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from teamgraph import Event, Graph, MemoryStore, ModelSpec, Retry, Run, Runner, Timeout
from teamgraph.errors import ModelError, NodeError
from teamgraph.events import NodeRetried, PromptRendered, RunFinished, Token
from tests.stub import StubAnswer, StubProvider, StubRequest
from tests.teams import heard, holds_together, of, told

POLYGLOT = Path(__file__).parents[3] / "graphs" / "polyglot.yaml"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubProvider]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    with StubProvider(handler=answers) as stub:
        yield stub


def answers(request: StubRequest) -> StubAnswer | str:
    """Routes to French, sums up, and says two words."""
    wanted = request.body.get("response_format")
    if wanted is None:
        return "Bonjour à vous"
    properties = wanted["json_schema"]["schema"]["properties"]
    if "choice" in properties:
        return json.dumps({"reason": "accents", "choice": "french"})
    return json.dumps({"summary": "They greeted.", "topics": ["greeting"]})


def polyglot(stub: StubProvider, **defaults: Any) -> Graph:
    """The shipped graph, with its model at the stub."""
    graph = Graph.load(POLYGLOT)
    model = ModelSpec(id="openai/gpt-5-mini", api_base=stub.base_url)
    fields = {name: getattr(graph, name) for name in ("name", "description", "nodes", "output")}
    options = {"retry": Retry(times=1, wait=0.001), "timeout": 20}
    return Graph(**(fields | {"model": model} | options | defaults))


def sent(request: StubRequest) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in request.messages]


def test_exactly_the_rendered_messages_go_over_the_wire(stub: StubProvider) -> None:
    runner = Runner(polyglot(stub), allow_api_base=[stub.base_url])
    events = heard(runner, "Bonjour ?", user_id="ann", session_id="s")
    rendered = [
        [(message.role, message.content) for message in event.messages]
        for event in of(events, PromptRendered)
    ]
    assert [sent(request) for request in stub.requests] == rendered
    (first,) = [event.run for event in of(events, RunFinished)]
    assert first.answer == "Bonjour à vous"
    router, member, summary = stub.requests
    assert [[role for role, _ in sent(request)] for request in stub.requests] == [
        ["system", "user"]
    ] * 3
    assert "- french: The user writes French\n" in sent(router)[0][1]
    assert sent(member)[0][1].startswith("You answer questions in French.\n")
    assert sent(router)[1][1].strip() == sent(member)[1][1].strip() == "Bonjour ?"
    assert router.body["model"] == member.body["model"] == "gpt-5-mini"
    assert "Bonjour à vous" in sent(summary)[1][1]
    assert router.headers["authorization"] == "Bearer sk-of-nobody"
    schema = router.body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["choice"]["enum"] == ["english", "chinese", "french"]
    assert "response_format" not in member.body
    assert [bool(request.body.get("stream")) for request in stub.requests] == [False, True, False]

    runner.run("Et encore ?", user_id="ann", session_id="s")
    later = [request for request in stub.requests[3:] if "response_format" not in request.body]
    assert [(role, text.strip()) for role, text in sent(later[0])[1:]] == [
        ("user", "Bonjour ?"),
        ("assistant", "Bonjour à vous"),
        ("user", "Et encore ?"),
    ]
    recorded = [exchange for record in first.records.values() for exchange in record.exchanges]
    assert [
        [(message.role, message.content) for message in exchange.messages] for exchange in recorded
    ] == [sent(request) for request in (router, member, summary)], "what is kept is what was sent"
    assert first.usage.calls == 3
    assert first.usage.input_tokens > 0


def test_the_answer_is_told_as_it_arrives(stub: StubProvider) -> None:
    events = heard(Runner(polyglot(stub)))
    holds_together(events)
    pieces = [event.text for event in of(events, Token) if event.answer]
    assert pieces == ["Bonj", "our ", "à vo", "us"]


def faulty(stub: StubProvider, *faults: StubAnswer, **defaults: Any) -> list[Event]:
    """The events of a run whose member gets `faults` first."""
    left = list(faults)

    def handler(request: StubRequest) -> StubAnswer | str:
        if "response_format" not in request.body and left:
            return left.pop(0)
        return answers(request)

    stub._handler = handler
    events = heard(Runner(polyglot(stub, **defaults), store=MemoryStore()))
    holds_together(events)
    return events


@pytest.mark.parametrize(
    "fault",
    [
        StubAnswer(fault="429", retry_after=0.01),
        StubAnswer(fault="429"),
        StubAnswer(fault="500"),
        StubAnswer(fault="503"),
        StubAnswer(fault="reset"),
        StubAnswer(fault="cut", after=0),
        StubAnswer(fault="cut", after=1),
        StubAnswer(fault="sse_error", after=0),
        StubAnswer(fault="malformed", after=0),
        StubAnswer(fault="badschema"),
    ],
    ids=lambda fault: f"{fault.fault}-{fault.after}",
)
def test_what_may_pass_is_asked_again_before_anything_was_told(
    stub: StubProvider, fault: StubAnswer
) -> None:
    events = faulty(stub, fault)
    (retried,) = of(events, NodeRetried)
    assert retried.node == "french"
    assert told(events) == "Bonjour à vous"
    assert isinstance(events[-1], RunFinished)
    assert events[-1].run.records["french"].attempt == 2


def test_a_provider_that_asks_for_more_time_than_we_have_is_not_asked_again(
    stub: StubProvider,
) -> None:
    defaults = {"retry": Retry(times=3, wait=0.001, max_wait=1.0)}
    with pytest.raises(NodeError) as caught:
        run_faulty(stub, StubAnswer(fault="429", retry_after=30), **defaults)
    error = caught.value.__cause__
    assert isinstance(error, ModelError)
    assert (error.status, error.retry_after) == (429, 30.0)
    assert len(stub.requests) == 2


def run_faulty(stub: StubProvider, *faults: StubAnswer, **defaults: Any) -> None:
    stub.push(json.dumps({"reason": "", "choice": "french"}), *faults)
    Runner(polyglot(stub, **defaults)).run("hello")


@pytest.mark.parametrize("fault", ["401", "400", "context"])
def test_what_stays_wrong_is_asked_once(stub: StubProvider, fault: str) -> None:
    with pytest.raises(NodeError) as caught:
        run_faulty(stub, *[StubAnswer(fault=fault)] * 2)
    error = caught.value.__cause__
    assert isinstance(error, ModelError)
    assert not error.retryable
    assert len(stub.requests) == 2


@pytest.mark.parametrize("fault", ["cut", "sse_error", "malformed"])
def test_a_stream_that_breaks_after_it_was_told_fails_the_node(
    stub: StubProvider, fault: str
) -> None:
    events = faulty(stub, StubAnswer("Bonjour à tous", fault=fault, after=3))
    assert told(events) == "Bonjour "
    assert not of(events, NodeRetried)
    assert type(events[-1]).__name__ == "RunFailed"


@pytest.mark.parametrize("door", [Runner.run, Runner.print_response])
def test_where_nobody_reads_on_an_answer_that_breaks_off_is_asked_again(
    stub: StubProvider, door: Callable[[Runner, str], Run], capsys: pytest.CaptureFixture[str]
) -> None:
    stub.push(json.dumps({"reason": "", "choice": "french"}))
    stub.push(StubAnswer("Bonjour à tous", fault="cut", after=3))
    run = door(Runner(polyglot(stub)), "hello")
    assert run.answer == "Bonjour à vous"
    assert run.records["french"].attempt == 2
    assert capsys.readouterr().out in ("", "Bonjour à vous\n")


@pytest.mark.parametrize("timeout", [Timeout(idle=0.3), Timeout(total=0.5)])
@pytest.mark.parametrize("fault", ["timeout", "stall"])
def test_a_provider_that_falls_silent_is_let_go(
    stub: StubProvider, timeout: Timeout, fault: str
) -> None:
    stub.push(json.dumps({"reason": "", "choice": "french"}))
    stub.push(StubAnswer("Bonjour", fault=fault, after=1))
    graph = polyglot(stub)
    nodes = dict(graph.nodes)
    nodes["french"] = nodes["french"].model_copy(update={"timeout": timeout})
    run = Runner(polyglot(stub, nodes=nodes)).run("hello")
    assert run.answer == "Bonjour à vous"
    assert run.records["french"].attempt == 2


def test_connections_of_the_client_are_used_again_by_later_calls(stub: StubProvider) -> None:
    runner = Runner(polyglot(stub))
    runner.run("Bonjour ?")
    before = stub.connections
    for _ in range(20):
        runner.run("Bonjour ?")
    assert stub.connections == before
