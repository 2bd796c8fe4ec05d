"""`teamgraph run`: one message in, one answer out."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from ..errors import InputError
from ..events import Event
from ..messages import JSON
from ..stores import Store
from .command import command
from .options import AsJson, GraphFile, Means, Reading, Session, User
from .turn import Way, Written, finish

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Turning:
    """Whose turn it is, and what it is given."""

    user: User = None
    session: Session = None
    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=JSON",
            help="A key of the session's state for this turn; repeatable.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Answering:
    """How the answer is written."""

    json: AsJson = False
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Write the answer as it arrives.")
    ] = True


@command(app)
def run(
    graph: GraphFile,
    message: Annotated[
        str,
        typer.Argument(
            metavar="MESSAGE",
            help="What the user says; - reads standard input.",
            show_default=False,
        ),
    ],
    reading: Reading,
    means: Means,
    turning: Turning,
    answering: Answering,
) -> None:
    """Put one message through a graph and print the answer.

    The answer goes to standard output, what the nodes do to standard error. With --session the
    run is one more turn of that session; without it, a session of its own.
    """
    declared = reading.graph(graph)
    text = said(message)
    state = _state(turning.state or [])
    means.settle()
    written = Written(stream=answering.stream, is_quiet=answering.json)

    def events(store: Store) -> AsyncGenerator[Event]:
        return means.runner(declared, store).astream(
            text, user_id=turning.user, session_id=turning.session, state=state
        )

    finish(events, means, written, Way.of(graph, reading, means), as_json=answering.json)


def said(message: str) -> str:
    """The message, from standard input if it is `-`."""
    try:
        text = sys.stdin.read().removesuffix("\n") if message == "-" else message
        text.encode()
    except UnicodeError as error:
        raise InputError("the message is not UTF-8; convert it first") from error
    return text


def _state(settings: Sequence[str]) -> dict[str, JSON]:
    state: dict[str, JSON] = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not key or not sign:
            raise InputError(f"--state {setting!r}: write it as KEY=JSON, such as --state level=3")
        try:
            state[key] = json.loads(value)
        except ValueError as error:
            text = shlex.quote(f"{key}={json.dumps(value, ensure_ascii=False)}")
            raise InputError(
                f"--state {setting!r}: {value!r} is no JSON; a text is written --state {text}"
            ) from error
    return state
