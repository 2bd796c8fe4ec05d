"""The line that is printed for an event, and runs without an end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from teamgraph import Event, Record, Run, SessionKey, Store, Turn
from teamgraph.engine.cli.options import RunnerOptions
from teamgraph.engine.cli.progress import Progress, event_line
from teamgraph.engine.cli.run import AnswerWriter, CommandHints, execute
from teamgraph.engine.models.local.model import LOCAL_NOTICE
from teamgraph.errors import RunError
from teamgraph.events import (
    Answer,
    AnswerReset,
    NodeFailed,
    NodeFinished,
    NodeRetried,
    NodeStarted,
    PromptRendered,
    RunFinished,
    RunStarted,
    Token,
    ToolCalled,
)

HINTS = CommandHints(Path("desk.yaml"), ("--model", "echo"))
STARTED = RunStarted("r", "s", 1, None, 0, None, "desk", "hello", False)
FACTS = ("run", "session", 1, "writer")


def said(event: Event) -> str:
    line = event_line(event)
    assert line is not None
    return line.plain


def test_a_retry_tells_why_and_when() -> None:
    event = NodeRetried(*FACTS, 1, "the provider is overloaded\n(529)", 0.5, "ModelError")
    told = "~ writer: attempt 1 failed: the provider is overloaded (529); retrying in 0.5 s"
    assert said(event) == told


def test_a_tool_call_is_told_with_its_arguments() -> None:
    event = ToolCalled(*FACTS, 1, "c", "find", '{"word": "\x1b[2J"}')
    assert said(event) == '. writer: calls find({"word": "\u241b[2J"})'


def test_a_failure_tells_how_often_it_was_tried() -> None:
    assert said(NodeFailed(*FACTS, 3, "no", "NodeError")) == "x writer: failed after 3 attempts"
    assert said(NodeFailed(*FACTS, 1, "no", "NodeError")) == "x writer: failed"


def test_a_node_that_was_helped_out_says_so() -> None:
    record = Record("writer", "done", error="too slow", started=1.0, ended=3.5)
    assert (
        said(NodeFinished(*FACTS, 1, record, False)) == "+ writer: 2.5 s, after it failed: too slow"
    )


def test_a_router_that_chose_nothing_says_so() -> None:
    record = Record("writer", "done", choices=())
    assert said(NodeFinished(*FACTS, 1, record, False)) == "+ writer: chose nothing (0.0 s)"


def test_a_start_leaves_no_line() -> None:
    assert event_line(NodeStarted(*FACTS, 1, "member")) is None


def test_a_run_without_an_end_is_an_error_with_the_command_to_resume(tmp_path: Path) -> None:
    async def events(store: Store, writer: AnswerWriter) -> AsyncGenerator[Event]:
        del store, writer
        yield STARTED

    with pytest.raises(RunError, match="ended without an answer") as raised:
        execute(events, RunnerOptions(store=tmp_path), AnswerWriter(stream=True), HINTS)
    assert raised.value.__notes__ == [
        "resume it: teamgraph runs resume r --graph desk.yaml --model echo --session s"
    ]


def test_an_interrupt_after_the_end_is_no_cancellation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def events(store: Store, writer: AnswerWriter) -> AsyncGenerator[Event]:
        del store, writer
        try:
            yield STARTED
            yield RunFinished("r", "s", 2, None, 0, Run(SessionKey(None, "s"), Turn("r", "hello")))
        finally:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(events, RunnerOptions(store=tmp_path), AnswerWriter(stream=True), HINTS)
    assert "cancelled" not in capsys.readouterr().err


def test_the_demo_model_is_named_for_what_it_is_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    for model in ("openai/gpt-5-mini", "local", "local"):
        progress.handle(PromptRendered(*FACTS, 1, "member.jinja", model, ()))
    assert capsys.readouterr().err == f"local: {LOCAL_NOTICE}\n"


def test_an_answer_that_breaks_off_ends_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    writer = AnswerWriter(stream=True)
    events = [
        Token(*FACTS, 1, "on", answer=True),
        AnswerReset(*FACTS, 1),
        Token(*FACTS, 1, "once", answer=True),
        Answer(*FACTS, 1, "once", "once"),
    ]
    assert [writer.handle(each) for each in events] == [False, True, False, True]
    assert capsys.readouterr().out == "on\nonce\n"
