"""The JSON Schema of events and runs in their JSON form, generated from the classes of events."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.json_schema import models_json_schema

from .errors import TeamgraphError
from .events import Event, event_name
from .messages import JSON, Part, Usage
from .records import JSON_VERSION, NodeStatus, Question, Record, Run, RunStatus

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NodeForm(_Form):
    """The outcome of a node in a run: see `Record.to_json`."""

    status: NodeStatus
    because: str | None = Field(description="Why it was skipped.")
    output: JSON
    choice: str | list[str] | None = Field(description="The labels that a router chose.")
    attempts: int
    error: str | None
    usage: Usage


class RunForm(_Form):
    """A run: see `Run.to_json`."""

    version: Literal[1]
    run_id: str
    session_id: str
    user_id: str | None
    graph: str
    status: RunStatus
    input: str
    attachments: tuple[Part, ...] = Field(
        default=(), description="What came with the message; left out if nothing did."
    )
    answer: str | None
    error: str | None
    questions: tuple[Question, ...] = Field(
        default=(),
        description="The questions that are not answered yet; left out if there are none.",
    )
    nodes: Mapping[str, NodeForm] = Field(description="By the path of the node.")
    usage: Usage
    started: float = Field(description="Unix time in seconds.")
    duration: float = Field(description="Seconds.")


class ErrorForm(_Form):
    """An error: the name of its class, and its text."""

    type: str
    message: str


_FORMS: Mapping[object, type[_Form]] = {Run: RunForm, Record: NodeForm, TeamgraphError: ErrorForm}


def event_schema() -> dict[str, JSON]:
    """The JSON Schema (draft 2020-12) of one event: one line of `run --events jsonl`."""
    forms = [_event_form(event) for event in get_args(Event)]
    names, made = models_json_schema([(form, "validation") for form in forms])
    links = [names[form, "validation"] for form in forms]
    title = "an event of a run of teamgraph"
    return {"$schema": DIALECT, "title": title, "oneOf": cast("list[JSON]", links), **made}


def run_schema() -> dict[str, JSON]:
    """The JSON Schema (draft 2020-12) of a run as `run --json` prints it."""
    return {"$schema": DIALECT, **RunForm.model_json_schema()}


def _event_form(event: type[Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "version": (Literal[JSON_VERSION], ...),
        "event": (Literal[event_name(event)], ...),
    }
    for name, hint in get_type_hints(event).items():
        fields[name] = (_FORMS.get(hint, hint), ...)
    about = inspect.getdoc(event)
    return create_model(event.__name__, __base__=_Form, __doc__=about, **fields)
