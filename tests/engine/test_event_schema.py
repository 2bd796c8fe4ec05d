"""The JSON form of events and runs: what the schema says, and everything that they say."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from teamgraph import (
    Chunk,
    Event,
    Graph,
    Reply,
    Request,
    Retry,
    Run,
    Runner,
    ScriptedModel,
    SessionKey,
    ToolCall,
    Turn,
)
from teamgraph.engine.event_schema import event_schema, run_schema
from teamgraph.errors import ModelError, NoModelError
from teamgraph.events import NodeFinished, RunCancelled, RunFinished, RunStarted
from teamgraph.nodes import Human, Member, SubGraph
from tests.teams import alone, desk, desk_model, heard, of, told

EVENTS = event_schema()
EVENT_FORM, RUN_FORM = (jsonschema.Draft202012Validator(each) for each in (EVENTS, run_schema()))
PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


def of_a_desk() -> list[Event]:
    return heard(Runner(desk(), model=desk_model()))


def of_a_failure() -> list[Event]:
    model = ScriptedModel(
        [ModelError("busy", model="m", retryable=True), NoModelError("gone", model="m")]
    )
    graph = alone(retry=Retry(times=1, wait=0.001))
    return heard(Runner(graph, model=model))


def of_tools() -> list[Event]:
    call = ToolCall(id="1", name="weather", arguments='{"city": "Rome"}')
    graph = Graph(name="g", model="m", nodes={"only": Member(tools=[weather])})
    return heard(Runner(graph, model=ScriptedModel([Reply("", tool_calls=(call,)), "sunny"])))


def of_a_graph_inside() -> list[Event]:
    return heard(
        Runner(
            Graph(name="g", nodes={"inside": SubGraph(graph=alone())}), model=ScriptedModel("hi")
        )
    )


def of_a_person() -> list[Event]:
    graph = Graph(
        name="g", nodes={"ask": Human(prompt="May {{ input.message }}?\n", options=["yes", "no"])}
    )
    runner = Runner(graph)
    events = heard(runner)
    return [*events, *runner.respond_stream(events[0].run_id, {"ask": "yes"})]


def of_attachments() -> list[Event]:
    given = ["https://x.example/a.png", b"%PDF-1"]
    events = [*Runner(alone(), model=ScriptedModel("hi")).stream("look", attachments=given)]
    assert [part.media_type for part in of(events, RunStarted)[0].attachments] == [
        "image/png",
        "application/pdf",
    ]
    return events


class Breaks:
    """A model that breaks off once in the middle."""

    has_failed = False

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        yield Chunk("Hel")
        if not self.has_failed:
            self.has_failed = True
            raise ModelError("cut", model=request.model, retryable=True)
        yield Reply("Hello")


def of_a_broken_answer() -> list[Event]:
    return heard(Runner(alone(retry=Retry(times=1, wait=0.001)), model=Breaks()), resets=True)


def of_a_cancelled_run() -> list[Event]:
    run = Run(SessionKey(None, "s"), Turn("r", "hi", status="cancelled"))
    return [RunCancelled("r", "s", 1, None, 0, run)]


RUNS = (
    of_a_desk,
    of_a_failure,
    of_tools,
    of_a_graph_inside,
    of_a_person,
    of_attachments,
    of_a_broken_answer,
    of_a_cancelled_run,
)


def read_back(events: list[Event]) -> list[dict[str, Any]]:
    """The events as a program reads their lines."""
    return [json.loads(json.dumps(event.to_json())) for event in events]


@pytest.mark.parametrize("events_of", RUNS)
def test_every_event_is_as_the_schema_says(events_of: Callable[[], list[Event]]) -> None:
    events = events_of()
    for event, form in zip(events, read_back(events), strict=True):
        EVENT_FORM.validate(form)
        assert form["version"] == 1
        assert (form["sequence"], form["node"]) == (event.sequence, event.node)
        with pytest.raises(jsonschema.ValidationError):
            EVENT_FORM.validate({**form, "more": 1})


def test_the_runs_above_have_every_event() -> None:
    seen = {type(event) for events_of in RUNS for event in events_of()}
    assert seen == set(get_args(Event))


def test_the_lines_of_a_run_are_enough_to_show_it() -> None:
    events = of_a_desk()
    lines = read_back(events)
    assert "".join(line["text"] for line in lines if line.get("answer")) == told(events)
    calls = [line for line in lines if line["event"] == "model_answered"]
    assert [(line["node"], line["text"]) for line in calls[1:2]] == [("french", "Bonjour mon ami")]
    assert (
        sum(line["usage"]["output_tokens"] for line in calls)
        == lines[-1]["run"]["usage"]["output_tokens"]
    )
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    rendered = [line for line in lines if line["event"] == "prompt_rendered"]
    assert set(rendered[0]["messages"][0]) == {"role", "content"}


def test_a_run_is_as_its_schema_says_and_has_the_outcome_of_each_node() -> None:
    *_, last = of_a_desk()
    assert isinstance(last, RunFinished)
    form = json.loads(json.dumps(last.run.to_json()))
    RUN_FORM.validate(form)
    assert (form["input"], form["answer"], form["graph"]) == ("hello", "Bonjour mon ami", "desk")
    assert form["nodes"]["router"]["choice"] == "french"
    assert form["nodes"]["english"]["because"] == "router chose french"
    assert "questions" not in form


def test_a_run_that_waits_has_its_questions_and_a_failed_one_its_error() -> None:
    waiting = next(line for line in read_back(of_a_person()) if line["event"] == "run_waiting")
    RUN_FORM.validate(waiting["run"])
    assert [each["options"] for each in waiting["run"]["questions"]] == [["yes", "no"]]
    failed = read_back(of_a_failure())[-1]
    assert failed["error"] == {"type": "NodeError", "message": "node 'member' failed: gone"}
    assert failed["run"]["error"] == "node 'member' failed: gone"


def test_events_of_an_inner_graph_have_the_time_when_they_happened() -> None:
    events = of_a_graph_inside()
    inner = next(each for each in events if isinstance(each, NodeFinished))
    assert inner.node == "inside/member"
    assert events[0].time <= inner.time <= events[-1].time


def test_the_page_about_events_names_every_event_and_its_fields() -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", PAGE.read_text(), re.MULTILINE)
    named = {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
    common = {"version", "event", "time", "run_id", "session_id", "sequence", "node", "attempt"}
    parts: dict[str, Any] = EVENTS["$defs"]  # type: ignore[assignment]  # a JSON value
    forms = {
        part["properties"]["event"]["const"]: part
        for part in parts.values()
        if "event" in part.get("properties", {})
    }
    assert named == {name: set(form["properties"]) - common for name, form in forms.items()}
