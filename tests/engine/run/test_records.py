"""One node of one run: what its record says."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from time import monotonic

import pytest

from teamgraph import (
    Exchange,
    Graph,
    MemoryStore,
    Reply,
    Request,
    Retry,
    Runner,
    ScriptedModel,
    SessionKey,
    TinyDBStore,
    Usage,
)
from teamgraph.errors import ModelError, NodeError
from teamgraph.kinds import Context, Result
from teamgraph.nodes import Member, Python
from tests.teams import alone, wait_for


def test_a_record_has_all_exchanges_of_all_attempts() -> None:
    replies = [Reply("{}", usage=Usage(1, 1, calls=1, cost=0.25)) for _ in range(2)]
    good = Reply(
        '{"a": "x"}', usage=Usage(5, 6, 4, calls=1, cost=0.5), finish_reason="stop", model="big"
    )
    graph = Graph(
        name="g",
        model="m",
        nodes={"member": Member(returns={"a": "str"}, retry=Retry(times=2, wait=0.001))},
    )
    record = Runner(graph, model=ScriptedModel([*replies, good])).run("hi").records["member"]
    assert (record.attempt, record.status, record.kind) == (3, "done", "member")
    assert record.usage == Usage(7, 8, 4, calls=3, cost=1.0)
    last: Exchange = record.exchanges[-1]
    assert (last.reply, last.model, last.finish_reason) == ('{"a": "x"}', "big", "stop")
    assert last.prompt == "member.jinja"
    assert [exchange.model for exchange in record.exchanges] == ["m", "m", "big"]
    assert record.started <= last.started <= last.ended <= record.ended


def test_a_node_that_waits_for_a_place_says_how_long() -> None:
    def busy() -> str:
        end = monotonic() + 0.003
        while monotonic() < end:
            pass
        return "x"

    def queued(most: int | None) -> list[float]:
        graph = Graph(name="g", nodes=nodes, output="c", max_parallel=most)
        return [each.queued for each in Runner(graph).run("hi").records.values()]

    nodes = {name: Python(call=busy) for name in "abc"}
    assert min(queued(1)[1:]) >= 0.003
    assert queued(None) == [0, 0, 0]


def test_the_sources_of_a_prompt_are_kept_under_its_hash() -> None:
    store = MemoryStore()
    runner = Runner(alone(), model=ScriptedModel("x"), store=store)
    for _ in range(2):
        (exchange,) = runner.run("hi").records["member"].exchanges
    sources = wait_for(store.prompt(exchange.prompt_hash))
    assert sources is not None
    assert list(sources) == [
        "member.jinja",
        "handover.jinja",
        "reads.jinja",
        "answer_form.jinja",
    ]
    assert "{{ input.message }}" in sources["member.jinja"]


def test_a_failed_attempt_is_kept_with_what_it_asked() -> None:
    store = MemoryStore()
    graph = Graph(name="g", model="m", nodes={"member": Member(returns={"a": "str"})})
    with pytest.raises(NodeError):
        Runner(graph, model=ScriptedModel("nonsense"), store=store).run(
            "hi", session_id="s", run_id="r"
        )
    run = wait_for(store.run(SessionKey(None, "s"), "r"))
    assert run is not None
    record = run.records["member"]
    assert (record.status, record.exchanges[0].reply) == ("failed", "nonsense")
    assert record.error is not None
    assert record.error.startswith("the answer does not fit")


def test_a_skipped_node_was_never_started() -> None:
    graph = Graph(
        name="g",
        nodes={
            "shy": Python(call=lambda: "x", when="false"),
            "end": Python(call=lambda: "end"),
        },
        output="end",
    )
    record = Runner(graph).run("hi").records["shy"]
    assert (record.status, record.started, record.ended, record.attempt) == ("skipped", 0.0, 0.0, 1)


def test_what_a_node_sees_is_the_run_and_the_session_it_is_in() -> None:
    seen: list[Context] = []

    def look(context: Context) -> Result:
        seen.append(context)
        return Result("answer", state={"turns": context.turns})

    runner = Runner(Graph(name="g", nodes={"look": Python(call=look)}))
    for _ in range(2):
        runner.run("hi", user_id="ann", session_id="s", run_id=f"r{len(seen)}")
    first, second = seen
    assert (first.run_id, first.turns, dict(first.state)) == ("r0", 0, {})
    assert (second.run_id, second.turns, dict(second.state)) == ("r1", 1, {"turns": 0})
    assert (second.user_id, second.session_id, second.node_id) == ("ann", "s", "look")
    assert (second.answer, second.summary, second.summarizes) == (None, None, False)
    assert [turn.answer for turn in wait_for(_turns(second))] == ["answer"]


async def _turns(context: Context) -> list[object]:
    return list(await context.past.turns())


def test_a_wait_between_attempts_holds_up_nobody_else() -> None:
    go = asyncio.Event()
    calls = 0

    def script(request: Request) -> Reply | ModelError:
        nonlocal calls
        calls += 1
        return ModelError("busy", model="m", retryable=True) if calls == 1 else Reply("late")

    async def other() -> str:
        await asyncio.sleep(0)
        go.set()
        return "early"

    graph = Graph(
        name="g",
        model="m",
        retry=Retry(times=1, wait=0.05),
        nodes={
            "slow": Member(),
            "other": Python(call=other),
            "after": Python(call=lambda other: calls, needs="other"),
            "end": Python(call=lambda slow, after: [slow, after]),
        },
        output="end",
    )
    run = Runner(graph, model=ScriptedModel(script)).run("hi")
    assert run.records["end"].output == ["late", 1]


def test_prompts_that_somebody_removed_are_stored_again(tmp_path: Path) -> None:
    store = TinyDBStore(tmp_path)
    runner = Runner(alone(), model=ScriptedModel("x"), store=store)
    runner.run("hi")
    shutil.rmtree(tmp_path / "prompts")
    run = runner.run("hi")
    (exchange,) = run.records["member"].exchanges
    for name in (exchange.prompt_hash, run.turn.declared):
        assert wait_for(store.prompt(name)), "a later run never refers to what is not there"
