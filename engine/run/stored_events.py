"""The events of a run that is not executed, from what is stored of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from operator import attrgetter

from ..errors import RunError
from ..events import (
    Answer,
    Event,
    EventEmitter,
    NodeFailed,
    NodeFinished,
    NodeSkipped,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    RunWaiting,
    Token,
)
from ..messages import text_of
from ..records import Record, Run


async def stored_events(run: Run) -> AsyncGenerator[Event]:
    """The events of a run that has ended: its nodes as they finished, its answer, and its end."""
    events: list[Event] = []
    emitter = EventEmitter(run.run_id, run.session_id, events.append)
    emit, turn = emitter.emit, run.turn
    said = (turn.graph, turn.input)
    emit(RunStarted, None, 0, run.user_id, *said, resumed=True, attachments=turn.attachments)
    for record in sorted(run.records.values(), key=attrgetter("ended")):
        match record.status:
            case "done":
                emit(NodeFinished, record.node, record.attempt, record, replayed=True)
            case "skipped":
                because = record.because or ""
                emit(NodeSkipped, record.node, record.attempt, because, replayed=True)
            case "failed":
                emit(NodeFailed, record.node, record.attempt, record.error or "", "NodeError")
            case _:
                pass
    if turn.status == "done":
        answered = _answering(run)
        node = answered.node if answered is not None else None
        text = run.answer or ""
        emit(Token, node, 1, text, answer=True)
        emit(Answer, node, 1, text, answered.output if answered is not None else text)
    _emit_end(emitter, run)
    for event in events:
        yield event


def _answering(run: Run) -> Record | None:
    """The node whose output is the answer, None if that cannot be told any more."""
    for record in run.records.values():
        if record.status == "done" and text_of(record.output) == run.answer:
            return record
    return None


def _emit_end(emitter: EventEmitter, run: Run) -> None:
    match run.status:
        case "done":
            emitter.emit(RunFinished, None, 0, run)
        case "waiting" if run.questions:
            emitter.emit(RunWaiting, run.questions[0].path, 0, run, run.questions)
        case "failed":
            error = RunError(run.turn.error or "the run failed", run=run)
            emitter.emit(RunFailed, None, 0, run, error)
        case _:
            emitter.emit(RunCancelled, None, 0, run)
