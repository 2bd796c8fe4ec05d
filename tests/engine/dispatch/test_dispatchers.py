"""What every dispatcher does, in this process and over DBOS with a worker."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from teamgraph import Event, MemoryStore, Runner, SessionKey
from teamgraph.dispatch import InProcessDispatcher, Submission
from teamgraph.engine.dispatch.in_process import KEPT
from teamgraph.errors import InputError, NotFound, SessionBusy
from teamgraph.events import (
    Answer,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    RunWaiting,
    Token,
)
from tests.engine.dispatch.conftest import Gate, Office, asks, duo


async def told(office: Office, turn: Submission, after: int = 0) -> list[Event]:
    run = await office.dispatcher.submit(turn)
    return [event async for event in office.dispatcher.events(run, after=after)]


def test_a_turn_is_told_from_its_start_to_its_end_with_numbers_that_rise_by_one(
    office: Office,
) -> None:
    turn = Submission(graph="duo", message="hello", run_id="told", session_id="told")
    events = office.run(told(office, turn))
    assert [event.sequence for event in events] == [*range(1, len(events) + 1)]
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    answer = next(event.text for event in events if isinstance(event, Answer))
    assert "".join(event.text for event in events if isinstance(event, Token)) == answer
    assert events[-1].run.answer == answer == "said hello"
    rest = office.run(told(office, turn, after=len(events) - 2))
    assert [event.to_json() for event in rest] == [event.to_json() for event in events[-2:]]
    assert office.run(told(office, turn, after=len(events))) == []


def test_the_same_submission_is_one_run_and_another_of_its_id_is_refused(office: Office) -> None:
    async def twice() -> None:
        turn = Submission(graph="duo", message="please wait", run_id="same", session_id="same")
        first = await office.dispatcher.submit(turn)
        assert await office.dispatcher.submit(turn) == first
        with pytest.raises(SessionBusy, match="something else"):
            await office.dispatcher.submit(
                Submission(graph="duo", message="other", run_id="same", session_id="same")
            )
        office.model.opened.set()
        run = await office.dispatcher.result(first)
        office.model.opened.clear()
        assert run.turn.number == 1

    office.run(twice())


def test_the_turns_of_a_session_run_in_the_order_of_their_submission(office: Office) -> None:
    async def five() -> list[int]:
        turns = [
            Submission(graph="duo", message=f"m{n}", run_id=f"o{n}", session_id="order")
            for n in range(5)
        ]
        runs = [await office.dispatcher.submit(turn) for turn in turns]
        return [(await office.dispatcher.result(run)).turn.number for run in runs]

    assert office.run(five()) == [1, 2, 3, 4, 5]


def test_an_answer_is_another_submission_of_the_run_and_its_events_are_numbered_on(
    office: Office,
) -> None:
    async def asked() -> tuple[list[Event], list[Event]]:
        turn = Submission(graph="asks", message="do", run_id="asked", user_id="ann")
        first = await told(office, turn)
        answer = Submission(
            graph="asks", run_id="asked", user_id="ann", answers={"ok": "yes"}, by="ann"
        )
        second = await told(office, answer, after=first[-1].sequence)
        assert await told(office, turn, after=second[-1].sequence) == []
        other = Submission(graph="asks", message="other", run_id="asked", user_id="ann")
        with pytest.raises(SessionBusy, match="something else"):
            await office.dispatcher.submit(other)
        return first, second

    first, second = office.run(asked())
    assert isinstance(first[-1], RunWaiting)
    assert [question.path for question in first[-1].questions] == ["ok"]
    assert second[0].sequence == first[-1].sequence + 1
    assert isinstance(second[-1], RunFinished)


def test_a_run_in_progress_and_one_in_the_queue_are_cancelled(office: Office) -> None:
    async def both() -> tuple[list[Event], str]:
        turns = [
            Submission(graph="duo", message="wait", run_id=f"c{n}", session_id="cancel")
            for n in range(2)
        ]
        while not office.model.began.locked():
            await office.model.began.acquire()
        running, queued = [await office.dispatcher.submit(turn) for turn in turns]
        await office.model.began.acquire()
        await office.dispatcher.cancel(queued)
        async with aclosing(office.dispatcher.events(running)) as events:
            async for event in events:
                if isinstance(event, Token):
                    break
        await office.dispatcher.cancel(running)
        seen = [event async for event in office.dispatcher.events(running)]
        ended = await office.dispatcher.result(queued)
        await office.dispatcher.cancel(queued)  # nothing happens
        (last,) = [event async for event in office.dispatcher.events(queued)]
        assert isinstance(last, RunCancelled)
        return seen, ended.status

    seen, status = office.run(both())
    assert isinstance(seen[-1], RunCancelled)
    assert status == "cancelled"


def test_a_run_that_fails_is_told_and_can_be_resumed(office: Office) -> None:
    async def failed() -> tuple[list[Event], str]:
        events = await told(office, Submission(graph="duo", message="fail", run_id="fails"))
        again = Submission(graph="duo", run_id="fails", resumes=True)
        return events, (
            await office.dispatcher.result(await office.dispatcher.submit(again))
        ).status

    events, status = office.run(failed())
    assert isinstance(events[-1], RunFailed)
    assert "it broke" in str(events[-1].error)
    assert status == "failed"


@pytest.mark.parametrize(
    ("turn", "error", "text"),
    [
        (Submission(graph="dou", message="m"), NotFound, "did you mean 'duo'"),
        (Submission(graph="duo", message="m", session_id="s", user_id=""), InputError, "user_id"),
        (
            Submission(graph="duo", run_id="r", answers={}, resumes=True),
            InputError,
            "answer a run, or resume it",
        ),
    ],
)
def test_what_cannot_run_is_refused_when_it_is_submitted(
    office: Office, turn: Submission, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        office.run(office.dispatcher.submit(turn))


def test_what_keeps_a_run_from_beginning_is_raised_by_its_result(office: Office) -> None:
    async def refused() -> None:
        await told(office, Submission(graph="asks", message="a", run_id="w1", session_id="w"))
        second = Submission(graph="asks", message="b", run_id="w2", session_id="w")
        run = await office.dispatcher.submit(second)
        with pytest.raises(SessionBusy, match="waits for an answer to 'ok'; give it") as caught:
            await office.dispatcher.result(run)
        assert "POST /api/runs/ID/respond" in caught.value.text_for("http")
        (last,) = [event async for event in office.dispatcher.events(run)]
        assert isinstance(last, RunFailed)
        assert "waits for an answer to 'ok'; give it" in str(last.error)
        assert "POST /api/runs/ID/respond" in last.error.text_for("http")

    office.run(refused())


def test_a_run_of_another_user_is_not_found(office: Office) -> None:
    turn = Submission(graph="duo", message="m", run_id="mine", user_id="ann")
    office.run(told(office, turn))
    other = Submission(graph="duo", message="m", run_id="mine", user_id="bob").reference
    with pytest.raises(NotFound, match="there is no run 'mine'"):
        office.run(office.dispatcher.result(other))


def test_in_process_the_events_of_old_runs_are_dropped_and_what_runs_is_handed_back() -> None:
    async def some() -> None:
        store, model = MemoryStore(), Gate()
        dispatcher = InProcessDispatcher([Runner(duo(), store=store, model=model)])
        runs = [
            await dispatcher.submit(Submission(graph="duo", message="hi", run_id=f"r{n}"))
            for n in range(KEPT + 1)
        ]
        for run in runs:
            await dispatcher.result(run)
        for name in ("busy", "next"):
            turn = Submission(graph="duo", message="wait", run_id=name, session_id="s")
            await dispatcher.submit(turn)
        await dispatcher.submit(Submission(graph="duo", message="hi"))
        with pytest.raises(NotFound, match="its events are dropped"):
            await dispatcher.result(runs[0])
        assert (await dispatcher.result(runs[-1])).status == "done"
        for _ in range(KEPT + 4):
            await model.began.acquire()
            if model.began.locked():
                break
        await dispatcher.close()
        stored = await store.run(SessionKey(None, "s"), "busy")
        assert stored is not None
        assert stored.status == "running"

    asyncio.run(some())


def test_a_dispatcher_has_graphs_of_different_names_on_one_store() -> None:
    runner = Runner(duo(), store=MemoryStore(), model=Gate())
    other = Runner(asks(), store=MemoryStore(), model=Gate())
    for runners, text in (
        ([], "no graph to run"),
        ([runner, runner], "two graphs are called 'duo'"),
        ([runner, other], "another store"),
    ):
        with pytest.raises(InputError, match=text):
            InProcessDispatcher(runners)
