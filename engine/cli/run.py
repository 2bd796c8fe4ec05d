"""`teamgraph run`: one message in, one answer out.

One run at the command line: its answer on standard output, its progress beside it.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import Changed, InputError, RunError
from ..events import Answer, Event, RunFinished, RunStarted, RunWaiting, Token
from ..messages import JSON
from ..records import Run, SessionKey
from ..session.store import Store
from .as_json import run_as_json
from .command import command
from .options import AsJson, GraphFile, Means, Reading, SessionOption, Storing, User
from .progress import Progress
from .screen import Tone, harmless, note, print_json

REUSE = "--reuse-unchanged"
Events = Callable[[Store], AsyncGenerator[Event]]


@dataclass(frozen=True, slots=True)
class Way:
    """How somebody goes on later, as commands to type; `words` are their common options."""

    graph: Path
    words: tuple[str, ...]

    @classmethod
    def of(cls, graph: Path, reading: Reading, means: Means) -> Way:
        """The way back to what is done with these options."""
        return cls(graph, (*reading.words(), *means.words()))

    def to_run(self, run_id: str, key: SessionKey, *more: str) -> str:
        """The command that takes a run up again, with `more` options."""
        command = ("runs", "resume", run_id, "--graph", str(self.graph))
        return self._command(*command, *more, key=key)

    def to_session(self, key: SessionKey) -> str:
        """The command that talks on in a session."""
        return self._command("chat", str(self.graph), key=key)

    def _command(self, *words: str, key: SessionKey) -> str:
        whose = [] if key.user_id is None else ["--user", key.user_id]
        command = ("teamgraph", *words, *self.words, *whose, "--session", key.session_id)
        return shlex.join(command)


class Written:
    """The answer as it goes to standard output."""

    def __init__(self, *, stream: bool, is_quiet: bool = False) -> None:
        self._stream = stream
        self._is_quiet = is_quiet
        self._is_terminal = sys.stdout.isatty()
        self._is_open = False
        self.broken: BrokenPipeError | None = None

    def takes(self, event: Event) -> bool:
        """Whether the event writes something."""
        if self._is_quiet:
            return False
        streamed = isinstance(event, Token) and event.answer and self._stream
        return streamed or isinstance(event, Answer)

    def take(self, event: Event) -> bool:
        """Write what is new of the answer; whether that was the end of it."""
        text = event.text if isinstance(event, Token | Answer) else ""
        self._is_open = isinstance(event, Token)
        if self._is_open:
            self._write(text)
        else:
            self._write("\n" if self._stream else f"{text}\n")
        return not self._is_open

    def close(self) -> None:
        """End the line of an answer that broke off."""
        if self._is_open:
            self._is_open = False
            self._write("\n")

    def _write(self, text: str) -> None:
        """Write for as long as somebody reads; the run goes on without them, and is kept."""
        try:
            if self.broken is None:
                sys.stdout.write(harmless(text) if self._is_terminal else text)
                sys.stdout.flush()
        except BrokenPipeError as error:
            self.broken = error


def finish(events: Events, storing: Storing, written: Written, way: Way, *, as_json: bool) -> Run:
    """Make the run to its end, and with `as_json` print it, also one that failed."""
    try:
        run = make(events, storing, written, way)
    except RunError as error:
        if as_json and error.run is not None:
            print_json(run_as_json(error.run))
        raise
    if as_json:
        print_json(run_as_json(run))
    if written.broken is not None:
        raise written.broken
    return run


def make(events: Events, storing: Storing, written: Written, way: Way) -> Run:
    """Make the run; raises what ended it, with a note of the command that takes it up again."""
    turn = _Turn(written, way)
    try:
        return asyncio.run(turn.make(events, storing))
    except RunError as error:
        for line in turn.way(error):
            error.add_note(line)
        raise
    except KeyboardInterrupt:
        turn.close()
        if told := turn.way():
            note("\n".join(["cancelled; what was done is kept", *told]), Tone.WARNING)
        raise
    finally:
        turn.close()


class _Turn:
    """What is on the screen while a run is under way."""

    def __init__(self, written: Written, way: Way) -> None:
        self._written = written
        self._way = way
        self._progress = Progress()
        self._began: RunStarted | None = None

    async def make(self, events: Events, storing: Storing) -> Run:
        """Tell the run to its very end: only then has it given its session free."""
        run: Run | None = None
        async with storing.open() as store, aclosing(events(store)) as told:
            async for event in told:
                self._take(event)
                if isinstance(event, RunFinished | RunWaiting):
                    self._began, run = None, event.run
        if run is None:
            raise RunError("the run ended without an answer")
        return run

    def _take(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._began = event
        if self._written.takes(event):
            self._progress.pause()
            if self._written.take(event):
                self._progress.go_on()
        else:
            self._progress.take(event)

    def close(self) -> None:
        self._written.close()
        self._progress.close()

    def way(self, error: RunError | None = None) -> list[str]:
        """How the run is taken up again, if it began and has not come to its end."""
        if isinstance(error, Changed) and error.run is not None:
            run = error.run
            return [f"take it up: {self._way.to_run(run.run_id, run.key, REUSE)}"]
        began = self._began
        if began is None:
            return []
        key = SessionKey(began.user_id, began.session_id)
        return [f"take it up: {self._way.to_run(began.run_id, key)}"]


app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Turning:
    """Whose turn it is, and what it is given."""

    user: User = None
    session: SessionOption = None
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
