"""Events as rows of the database, and back.

The last event of a run is stored without the run, and a finished node without its exchanges: the
store has both. Whoever reads the last event loads the run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast, get_args

from msgspec.structs import replace

from ..errors import Advice, RunError, TeamgraphError
from ..events import (
    Event,
    ModelAnswered,
    NodeFinished,
    PromptRendered,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunWaiting,
    Token,
    event_name,
)
from ..messages import Message, ToolCall, Usage, as_plain
from ..records import Record, Run, RunStatus, Turn
from ..stores.journal.line import Document, dump_json, parse_json
from .protocol import Submission

_CLASSES: dict[str, type[Event]] = {event_name(each): each for each in get_args(Event)}
_LAST = (RunFinished, RunFailed, RunCancelled, RunWaiting)
_NEEDS_RUN = re.compile(rb'"event":"run_(?!started)')
_LEFT_OUT = frozenset({"run", "questions", "sequence"})


def dump_events(events: Sequence[Event]) -> bytes:
    """Encode a batch of events; numbers are those of the table."""
    return dump_json([_encode(event) for event in events])


def parse_events(data: bytes, last: int, run: Run | None) -> list[Event]:
    """Decode a batch whose last event has the number `last`; its last event gets `run`."""
    documents = cast("list[Document]", parse_json(data))
    first = last - len(documents) + 1
    return [_decode(each, first + index, run) for index, each in enumerate(documents)]


def has_last(batch: bytes) -> bool:
    """Whether a batch has the last event of a submission, which needs the run."""
    return _NEEDS_RUN.search(batch) is not None


def merge_tokens(events: Sequence[Event]) -> list[Event]:
    """The events with neighbouring tokens of one node joined."""
    merged: list[Event] = []
    for event in events:
        before = merged[-1] if merged else None
        if (
            isinstance(event, Token)
            and isinstance(before, Token)
            and (event.node, event.attempt, event.answer)
            == (before.node, before.attempt, before.answer)
        ):
            merged[-1] = replace(before, text=before.text + event.text)
        else:
            merged.append(event)
    return merged


def end_event(run: Run, number: int, error: TeamgraphError | None = None) -> Event:
    """The last event of a run that never began: it was cancelled in the queue, or `error`."""
    at = (run.run_id, run.session_id, number)
    if error is None:
        return RunCancelled(*at, None, 0, run=run)
    return RunFailed(*at, None, 0, run=run, error=error)


def never_begun(turn: Submission, error: TeamgraphError | None = None) -> Run:
    """The run of a submission that never began: cancelled in the queue, or `error`."""
    status: RunStatus = "cancelled" if error is None else "failed"
    told = error.fact if error is not None else None
    return Run(turn.key, Turn(turn.run_id, turn.message, turn.graph, status, error=told))


def error_document(error: TeamgraphError) -> Document:
    """An error as a row has it: what it says, and for each reader how to go on."""
    advice = None if error.advice is None else [*error.advice]
    return {"type": type(error).__name__, "message": error.fact, "advice": advice}


def advice_in(document: Document) -> Advice | None:
    """The advice of an error in a row."""
    return Advice(*document["advice"]) if document["advice"] else None


def _encode(event: Event) -> Document:
    document: Document = {"event": event_name(type(event))}
    for name in event.__struct_fields__:
        if name in _LEFT_OUT:
            continue
        value = getattr(event, name)
        if isinstance(value, Record):
            value = as_plain(replace(value, exchanges=(), quotes=(), questions=()))
        elif isinstance(value, TeamgraphError):
            value = error_document(value)
        document[name] = as_plain(value)
    return document


def _decode(document: Document, number: int, run: Run | None) -> Event:
    kind = _CLASSES[document.pop("event")]
    fields: dict[str, Any] = {**document, "sequence": number}
    if kind is PromptRendered:
        fields["messages"] = tuple(Message(**each) for each in fields["messages"])
    elif kind is ModelAnswered:
        fields["tool_calls"] = tuple(ToolCall(**each) for each in fields["tool_calls"])
        fields["usage"] = Usage(**fields["usage"])
    elif kind is NodeFinished:
        fields["record"] = _record(fields["record"])
    elif kind in _LAST:
        fields["run"] = run
        if kind is RunFailed:
            error = fields["error"]
            fields["error"] = RunError(error["message"], run=run, advice=advice_in(error))
        elif kind is RunWaiting:
            fields["questions"] = run.questions if run is not None else ()
    return kind(**fields)


def _record(document: Document) -> Record:
    choices = document["choices"]
    fields: dict[str, Any] = {
        **document,
        "choices": None if choices is None else tuple(choices),
        "usage": Usage(**document["usage"]),
        "exchanges": (),
        "quotes": (),
        "questions": (),
    }
    return Record(**fields)
