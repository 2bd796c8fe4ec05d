"""Small teams, and helpers that read the events of a run."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from teamgraph import Event, Graph, MemoryStore, Request, Runner, ScriptedModel, Store, TinyDBStore
from teamgraph.errors import RunError
from teamgraph.events import (
    Answer,
    AnswerReset,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunWaiting,
    Token,
)
from teamgraph.nodes import HistoryLoader, Member, Router, Summarizer

Value = TypeVar("Value")
LAST = (RunFinished, RunFailed, RunCancelled, RunWaiting)
STORES: Mapping[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "tinydb": lambda folder: TinyDBStore(folder / "store", sync="never"),
}


def alone(**options: Any) -> Graph:
    """A graph with one member; `options` are fields of the graph."""
    return Graph(name="alone", model="m", nodes={"member": Member()}, **options)


def desk(**options: Any) -> Graph:
    """A history, a router, two members, a summary; `options` are fields of the graph."""
    nodes = {
        "history": HistoryLoader(runs=2),
        "router": Router(routes={"english": "English", "french": "French"}),
        "english": Member(role="You speak English"),
        "french": Member(role="You speak French"),
        "summary": Summarizer(needs=["english", "french"]),
    }
    fields = {"name": "desk", "model": "m", "nodes": nodes, "output": ["english", "french"]}
    return Graph(**(fields | options))


def desk_model(**answers: Any) -> ScriptedModel:
    """A model for `desk`: routes to `route`, answers `said`, summarizes as `summary`."""

    def answer(request: Request) -> Any:
        if request.choices:
            return answers.get("route", "french")
        if request.schema is not None:
            return answers.get("summary", {"summary": "in short", "topics": ["greetings"]})
        return answers.get("said", "Bonjour mon ami")

    return ScriptedModel(answer)


def words_of(request: Request) -> str:
    """All messages of a request, as one text."""
    return "\n".join(message.content for message in request.messages)


def heard(runner: Runner, message: str = "hello", **options: Any) -> list[Event]:
    """All events of a run, however it ends."""
    return _all(runner.stream(message, **options))


def heard_again(runner: Runner, run_id: str, **options: Any) -> list[Event]:
    """All events of a resumed run, however it ends."""
    return _all(runner.resume_stream(run_id, **options))


def holds_together(events: list[Event]) -> None:
    """Assert what is true of the events of every run."""
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert len({event.run_id for event in events}) == 1
    assert len({event.session_id for event in events}) == 1
    assert [isinstance(event, LAST) for event in events] == [False] * (len(events) - 1) + [True]
    said = told(events)
    answers = [event.text for event in events if isinstance(event, Answer)]
    assert len(answers) <= 1
    if answers:
        assert said == answers[0]
    last = events[-1]
    if isinstance(last, RunFinished):
        assert last.run.answer == said


def told(events: Iterable[Event]) -> str:
    """The answer tokens, joined; only those since the last that says they begin anew."""
    said: list[str] = []
    for event in events:
        if isinstance(event, AnswerReset):
            said.clear()
        elif isinstance(event, Token) and event.answer:
            said.append(event.text)
    return "".join(said)


def of(events: Iterable[Event], kind: type[Value]) -> list[Value]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def timeless(run: Any) -> Any:
    """The records of a run without their times."""
    return {
        node_id: replace(
            record,
            started=0.0,
            ended=0.0,
            exchanges=tuple(
                replace(exchange, started=0.0, ended=0.0) for exchange in record.exchanges
            ),
        )
        for node_id, record in run.records.items()
    }


async def cancelled_at(reached: asyncio.Event, runner: Runner) -> None:
    """Begin the run `r` of session `s`, and cancel it once `reached` is set."""
    run = asyncio.create_task(runner.arun("hello", session_id="s", run_id="r"))
    await reached.wait()
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run
    assert run.cancelled()


def wait_for(work: Coroutine[Any, Any, Value]) -> Value:
    """The result of a coroutine; `TimeoutError` after 30 seconds."""

    async def bounded() -> Value:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(bounded())


def _all(stream: Iterable[Event]) -> list[Event]:
    events: list[Event] = []
    try:
        for event in stream:
            events.append(event)  # noqa: PERF402  what came before an error counts
    except RunError:
        assert isinstance(events[-1], RunFailed)
    return events


def shout(message: str) -> str:
    """A function that another process can import by its name."""
    return message.upper()
