"""Questions to people: how a node waits with one, and what is a valid answer.

A node that waits holds nothing: its record has the question, the run ends with the status
`waiting`, and whoever answers executes the run again (docs/decisions/0021-waiting.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from time import time

from msgspec.structs import replace

from ..errors import InputError, NotFound, closest, listed
from ..graph.graph import Graph
from ..graph.node import asks_person, graph_in
from ..messages import JSON
from ..records import Question, Record, Response, Run
from ..returns.shape import Shape
from ..tools.confirmation import checked_confirmation
from ..tools.tool import Tool


def can_wait(graph: Graph) -> bool:
    """Whether a run of the graph may wait for a person."""
    return any(
        asks_person(node) or (isinstance(inner := graph_in(node), Graph) and can_wait(inner))
        for node in graph.nodes.values()
    )


def checked_answer(
    question: Question, value: JSON, *, shape: Shape | None = None, tool: Tool | None = None
) -> JSON:
    """The answer as it is stored; raises `InputError` that says what would be one.

    `shape` is what the node's `returns` declares, `tool` the one whose call is to be confirmed.
    """
    path = question.path
    if question.tool is not None:
        return checked_confirmation(path, value, tool)
    if question.options:
        if isinstance(value, str) and value in question.options:
            return value
        near = closest(str(value), question.options)
        hint = f"did you mean {near!r}?" if near else f"the options are {listed(question.options)}"
        raise InputError(f"question {path!r}: {value!r} is none of its options; {hint}")
    if shape is not None:
        try:
            return shape.validate(value)
        except ValueError as error:
            raise InputError(f"question {path!r}: the answer does not fit: {error}") from error
    if isinstance(value, str) and value.strip():
        return value
    raise InputError(f"question {path!r}: the answer must be a text that is not empty")


def find_question(run: Run, path: str) -> Question:
    """The open question of this path.

    Raises `NotFound` if the run has no such question, `InputError` if it was answered or expired.
    """
    asked = {each.path: each for record in run.records.values() for each in record.questions}
    question = asked.get(path)
    if question is None:
        waiting = [each.path for each in run.questions]
        near = closest(path, asked)
        hint = f"it asks {listed(waiting)}" if waiting else "it asks nothing"
        hint = f"did you mean {near!r}?" if near else hint
        raise NotFound(f"run {run.run_id!r} asks no question {path!r}; {hint}")
    if (response := question.response) is not None:
        by = (
            "nobody in time"
            if response.is_default
            else (f"user {response.user_id!r}" if response.user_id else "no user")
        )
        raise InputError(
            f"question {path!r} of run {run.run_id!r} was answered already, by {by} at "
            f"{_time_text(response.given)}: {json.dumps(response.value, ensure_ascii=False)}"
        )
    if question.has_expired(time()):
        raise InputError(
            f"question {path!r} of run {run.run_id!r} expired at {_time_text(question.expires)}; "
            "resume the run: it takes the default, or fails if there is none"
        )
    return question


def with_responses(run: Run, responses: Mapping[str, Response]) -> list[Record]:
    """The records that are changed by these responses to open questions, by path.

    Raises as `find_question` does.
    """
    for path in responses:
        find_question(run, path)
    return [
        replace(
            record,
            questions=tuple(
                replace(each, response=responses.get(each.path, each.response))
                for each in record.questions
            ),
        )
        for record in run.records.values()
        if any(each.path in responses for each in record.questions)
    ]


def _time_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
