"""What a record says of the attempts of its node that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from teamgraph import (
    Fault,
    Graph,
    MemoryStore,
    Record,
    Reply,
    Retry,
    Runner,
    ScriptedModel,
    Usage,
)
from teamgraph.errors import ModelError, NodeError
from teamgraph.kinds import Node
from teamgraph.nodes import Member, Python

SOON = Retry(times=1, wait=0.001)
BUSY, NO_KEY = ModelError("busy", model="m", retryable=True), ModelError("no key", model="m")
SHAPE = {"city": "str"}
GOOD = '{"city": "Rome"}'


def breaks() -> Callable[[], str]:
    """A function that fails when it is first called."""
    left = [ValueError("odd")]

    def call() -> str:
        if left:
            raise left.pop()
        return "x"

    return call


def record_of(node: Node, *answers: object, store: MemoryStore | None = None) -> Record:
    """The record of a node, as it is stored."""
    store = store or MemoryStore()
    graph = Graph(
        name="g",
        model="m",
        nodes={"it": node, "end": Member(needs="it", join="always")},
        output="end",
    )
    model = ScriptedModel([*answers, "the end"])
    run = Runner(graph, store=store, model=model).run("hi", session_id="s")
    stored = asyncio.run(store.run(run.key, run.run_id))
    assert stored is not None
    assert stored.records["it"] == run.records["it"]
    return stored.records["it"]


@pytest.mark.parametrize(
    ("node", "answers", "status", "faults", "waits"),
    [
        (Member(retry=SOON), [BUSY, "x"], "done", ["m: ModelError: busy"], [True]),
        (Member(returns=SHAPE), ["Rome", GOOD], "done", ["m: AnswerError: the answer"], [False]),
        (
            Member(model={"id": "m", "fallback": "n"}, retry=SOON),
            [BUSY, NO_KEY, "x"],
            "done",
            ["m: ModelError: busy", "m: ModelError: no key"],
            [True, False],
        ),
        (
            Member(retry=SOON, on_error="skip"),
            [BUSY, BUSY],
            "skipped",
            ["m: ModelError: busy"] * 2,
            [True, False],
        ),
        (Python(call=breaks(), retry=SOON), [], "done", [": ValueError: odd"], [True]),
        (Member(), ["x"], "done", [], []),
    ],
)
def test_each_attempt_that_failed_is_in_the_record(
    node: Node, answers: list[object], status: str, faults: list[str], waits: list[bool]
) -> None:
    record = record_of(node, *answers)
    assert record.status == status
    assert [each.attempt for each in record.faults] == list(range(1, len(faults) + 1))
    for fault, text in zip(record.faults, faults, strict=True):
        assert f"{fault.model}: {fault.text}".startswith(text)
        assert record.started <= fault.ended <= record.ended
    assert [each.wait > 0 for each in record.faults] == waits


def test_an_attempt_has_what_its_model_calls_used() -> None:
    used = [Usage(10, 1, calls=1, cost=0.5), Usage(20, 2, calls=1)]
    replies = [Reply(text, usage=usage) for text, usage in zip(["Rome", GOOD], used, strict=True)]
    record = record_of(Member(returns=SHAPE), *replies)
    assert [each.usage for each in record.faults] == used[:1]
    assert [each.attempt for each in record.exchanges] == [1, 2]
    failed = record_of(Member(retry=SOON), BUSY, "x").faults[0]
    assert (failed.usage, failed.error_type) == (Usage(), "ModelError")


def test_a_resumed_run_keeps_the_faults_of_the_try_before() -> None:
    store = MemoryStore()
    graph = Graph(name="g", model="m", nodes={"it": Member()})
    with pytest.raises(NodeError):
        Runner(graph, store=store, model=ScriptedModel([NO_KEY])).run("hi", run_id="r")
    resumed = Runner(graph, store=store, model=ScriptedModel([NO_KEY, "x"]))
    with pytest.raises(NodeError):
        resumed.resume("r")
    record = resumed.resume("r").records["it"]
    assert (record.attempt, record.output) == (3, "x")
    assert [(each.attempt, each.error) for each in record.faults] == [(1, "no key"), (2, "no key")]


def test_a_fault_names_its_class_once() -> None:
    assert Fault(1, "KeyError: 'x'", "KeyError").text == "KeyError: 'x'"
    assert Fault(1, "busy", "ModelError").text == "ModelError: busy"
