"""What a run tells: numbered without gaps, one end, and the answer to the letter."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph import Chunk, Event, Graph, Reply, Request, Retry, Runner, ScriptedModel
from teamgraph.engine.events import EventEmitter
from teamgraph.errors import ModelError
from teamgraph.events import (
    Answer,
    NodeFailed,
    NodeFinished,
    NodeRetried,
    NodeSkipped,
    NodeStarted,
    PromptRendered,
    RunFailed,
    RunFinished,
    RunStarted,
    Token,
)
from teamgraph.kinds import Node, Result
from teamgraph.nodes import Leader, Member, Python, Router
from tests.teams import alone, desk, desk_model, heard, holds_together, of, told


class Wayward:
    """A model that dawdles, breaks off and fails by the roll of a die, a few times each node."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        text = f"{request.messages[0].content.splitlines()[0]} {self._chance.random()} said"
        failing, quiet = self._chance.random() < 0.25, self._chance.random() < 0.3
        for piece in () if quiet else text.partition(" "):
            for _ in range(self._chance.randint(0, 3)):
                await asyncio.sleep(0)
            yield Chunk(piece)
        if failing:
            raise ModelError("cut", model="m", retryable=True, interrupted=True)
        yield Reply(text)


def many_candidates(seed: int) -> Graph:
    chance = random.Random(seed)
    count = chance.randint(2, 5)
    ids = [f"n{index}" for index in range(count)]
    nodes: dict[str, Any] = {}
    for index, node_id in enumerate(ids):
        nodes[node_id] = Member(
            role=node_id,
            needs=[ids[chance.randrange(index)]] if index and chance.random() < 0.4 else [],
            when=chance.choice([None, None, "false", "true"]),
            on_error=chance.choice([None, "skip", "skip", {"value": "instead"}]),
        )
    output = chance.sample(ids, chance.randint(1, count))
    return Graph(
        name="many",
        model="m",
        nodes=nodes,
        output=output,
        retry=Retry(times=chance.randint(0, 2), wait=0.0001),
        max_parallel=chance.choice([None, 1, 2]),
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9))
def test_answer_tokens_put_together_are_the_answer_whatever_happens(seed: int) -> None:
    events = heard(Runner(many_candidates(seed), model=Wayward(seed)))
    holds_together(events)
    ended = [
        event.node for event in events if isinstance(event, NodeFinished | NodeSkipped | NodeFailed)
    ]
    assert len(ended) == len(set(ended)), "a node ends once"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9))
def test_nobody_listening_a_cut_answer_is_asked_for_again(seed: int) -> None:
    graph = alone(retry=Retry(times=60, wait=0.00001, max_wait=0.0001))
    run = Runner(graph, model=Wayward(seed)).run("hi")
    assert (run.answer or "").endswith("said")
    assert run.records["member"].exchanges[-1].reply == run.answer


def test_every_node_is_told_once_and_skips_before_what_they_make_ready() -> None:
    events = heard(Runner(desk(), model=desk_model()))
    holds_together(events)
    assert [(type(event).__name__, event.node) for event in events if event.node != "summary"] == [
        ("RunStarted", None),
        ("NodeStarted", "history"),
        ("NodeFinished", "history"),
        ("NodeStarted", "router"),
        ("PromptRendered", "router"),
        *[("Token", "router")] * 4,
        ("ModelAnswered", "router"),
        ("NodeFinished", "router"),
        ("NodeSkipped", "english"),
        ("NodeStarted", "french"),
        ("PromptRendered", "french"),
        *[("Token", "french")] * 3,
        ("ModelAnswered", "french"),
        ("NodeFinished", "french"),
        ("Answer", "french"),
        ("RunFinished", None),
    ]
    (skipped,) = of(events, NodeSkipped)
    assert skipped.because == "router chose french"
    assert not skipped.replayed
    (started, *_) = of(events, RunStarted)
    assert (started.graph, started.input, started.user_id, started.resumed) == (
        "desk",
        "hello",
        None,
        False,
    )


def test_a_prompt_is_told_as_it_is_sent() -> None:
    model = desk_model()
    events = heard(Runner(desk(), model=model))
    rendered = of(events, PromptRendered)
    assert [event.messages for event in rendered] == [
        request.messages for request in model.requests
    ]
    assert [(event.node, event.prompt) for event in rendered] == [
        ("router", "router.jinja"),
        ("french", "member.jinja"),
        ("summary", "summarizer.jinja"),
    ]
    assert {event.model for event in rendered} == {"m"}


def test_a_retry_is_told_with_its_error_and_its_wait() -> None:
    model = ScriptedModel([ModelError("busy", model="m", retryable=True), "done"])
    events = heard(Runner(alone(retry=Retry(times=1, wait=0.001)), model=model))
    holds_together(events)
    (retried,) = of(events, NodeRetried)
    assert (retried.error, retried.attempt) == ("busy", 1)
    assert 0 < retried.wait < 0.01
    assert [event.attempt for event in of(events, NodeStarted)] == [1, 2]
    assert {event.attempt for event in of(events, Token)} == {2}


def test_what_was_heard_of_an_answer_is_not_told_again() -> None:
    class Cut:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            yield Chunk("Once upon")
            raise ModelError("the stream was cut", model=request.model, retryable=True)

    options: dict[str, Any]
    for options in ({"on_error": "skip"}, {"on_error": {"value": "sorry"}}, {}):
        events = heard(Runner(alone(retry=Retry(times=3, wait=0.001), **options), model=Cut()))
        holds_together(events)
        assert told(events) == "Once upon"
        assert not of(events, NodeRetried)
        (failed,) = of(events, NodeFailed)
        assert failed.error == "the stream was cut"
        assert isinstance(events[-1], RunFailed)


def test_text_of_a_later_candidate_is_held_back_until_the_earlier_one_is_skipped() -> None:
    earlier_fails = asyncio.Event()

    class First(Node):
        prompts = False

        async def run(self, context: object) -> Result:
            await earlier_fails.wait()
            raise ValueError("no luck")

    class Second:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            yield Chunk("one ")
            earlier_fails.set()
            for _ in range(20):
                await asyncio.sleep(0)
            yield Chunk("two")
            yield Reply("one two")

    graph = Graph(
        name="g",
        model="m",
        nodes={"first": First(on_error="skip"), "second": Member()},
        output=["first", "second"],
    )
    events = heard(Runner(graph, model=Second()))
    holds_together(events)
    assert [event.text for event in of(events, Token)] == ["one ", "two"]
    (skipped,) = of(events, NodeSkipped)
    first_word = next(event for event in events if isinstance(event, Token))
    assert skipped.sequence < first_word.sequence
    assert skipped.because.startswith("it failed: ValueError: no luck (")


def test_held_text_of_a_failed_attempt_is_never_told() -> None:
    calls = 0
    go = asyncio.Event()

    class First(Node):
        prompts = False

        async def run(self, context: object) -> Result:
            await go.wait()
            raise ValueError("no luck")

    class Second:
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            nonlocal calls
            calls += 1
            yield Chunk(f"try {calls}")
            if calls == 1:
                raise ModelError("cut", model="m", retryable=True)
            go.set()
            for _ in range(20):
                await asyncio.sleep(0)
            yield Reply(f"try {calls}")

    graph = Graph(
        name="g",
        model="m",
        nodes={
            "first": First(on_error="skip"),
            "second": Member(retry=Retry(times=1, wait=0.0001)),
        },
        output=["first", "second"],
    )
    events = heard(Runner(graph, model=Second()))
    holds_together(events)
    assert [(event.text, event.attempt) for event in of(events, Token)] == [("try 2", 2)]


def test_an_answer_that_is_a_value_is_told_as_its_json() -> None:
    graph = Graph(
        name="g", model="m", nodes={"member": Member(returns={"lang": "str", "sure": "float"})}
    )
    events = heard(Runner(graph, model=ScriptedModel('{"lang": "é", "sure": 0.5}')))
    holds_together(events)
    (answer,) = of(events, Answer)
    assert answer.value == {"lang": "é", "sure": 0.5}
    assert answer.text == '{"lang": "é", "sure": 0.5}'
    assert "".join(event.text for event in of(events, Token) if not event.answer) == answer.text


def test_a_python_answer_is_told_when_it_is_there() -> None:
    graph = Graph(name="g", nodes={"add": Python(call=lambda message: [message, 1])})
    events = heard(Runner(graph))
    holds_together(events)
    assert told(events) == '["hello", 1]'
    assert of(events, Answer)[0].value == ["hello", 1]


def test_a_kind_that_streams_something_else_than_its_output_fails_as_soon_as_it_is_seen() -> None:
    class Louder(Member):
        async def run(self, context: Any) -> Result:
            return Result((await context.ask("member.jinja")).upper())

    graph = Graph(name="g", model="m", nodes={"louder": Louder(prompt="member.jinja")})
    events = heard(Runner(graph, model=ScriptedModel("hey you")))
    holds_together(events)
    (failed,) = of(events, NodeFailed)
    assert "'louder'" in failed.error
    assert "streams = True" in failed.error
    assert Runner(graph, model=ScriptedModel("hey you")).run("hi").answer == "HEY YOU"


def test_no_answer_at_all_is_an_error_that_names_why() -> None:
    graph = Graph(
        name="g",
        model="m",
        nodes={
            "router": Router(routes={"a": "A", "b": "B"}, select="many", allow_none=True),
            "a": Member(),
            "b": Member(),
        },
        output=["a", "b"],
    )
    events = heard(Runner(graph, model=ScriptedModel([[]])))
    holds_together(events)
    (failed,) = of(events, RunFailed)
    assert str(failed.error) == (
        "every node that could answer was skipped: a (router chose nothing), "
        "b (router chose nothing)"
    )


def test_a_teller_without_listener_tells_nothing() -> None:
    emitter = EventEmitter("r", "s", None)
    assert not emitter.has_listener
    emitter.emit(NodeStarted, "n", 1, "member")
    kept: list[Any] = []
    loud = EventEmitter("r", "s", kept.append)
    loud.emit(NodeStarted, "n", 1, "member")
    assert kept == [NodeStarted("r", "s", 1, "n", 1, "member", time=kept[0].time)]


@pytest.mark.parametrize("limit", [1, 2, None])
def test_members_side_by_side_reach_the_leader_in_declared_order(limit: int | None) -> None:
    ids = ["d", "a", "c", "b"]
    nodes: dict[str, Any] = {node_id: Member(role=f"You are {node_id}") for node_id in ids}
    nodes["lead"] = Leader(needs=["c", "a", "b", "d"])
    graph = Graph(name="g", model="m", nodes=nodes, output="lead", max_parallel=limit)

    class Racing:
        prompt = ""

        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            role = request.messages[0].content.splitlines()[0]
            for _ in range({"d": 1, "a": 9, "c": 3, "b": 6}.get(role[-2:-1], 0)):
                await asyncio.sleep(0)
            if "lead" in role:
                self.prompt = request.messages[0].content
            yield Reply(f"by {role[-2:-1]}")

    model = Racing()
    events = heard(Runner(graph, model=model))
    holds_together(events)
    places = [model.prompt.index(f"by {node_id}") for node_id in ("c", "a", "b", "d")]
    assert places == sorted(places)
    assert isinstance(events[-1], RunFinished)


def test_nothing_is_passed_on_where_nobody_listens() -> None:
    events: list[Event] = []
    emitter = EventEmitter("r", "s", events.append)
    emitter.emit(NodeStarted, "one", 1, "member")
    EventEmitter("r", "s", None).forward(events[0], "team")
    emitter.forward(events[0], "team")
    assert [(event.node, event.sequence) for event in events] == [("one", 1), ("team/one", 2)]
