"""`teamgraph run`, and what every command does that makes a run.

The answer goes to standard output, the progress to standard error.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from ..errors import BudgetExceeded, Changed, InputError, ReplayMiss, RunError, closest
from ..events import Answer, AnswerReset, Event, RunFinished, RunStarted, RunWaiting, Token
from ..graph.graph import Graph
from ..messages import JSON
from ..records import Run, SessionKey
from ..run.printing import AnswerText
from ..session.store import Store
from ..terminal import write_text
from .command import EXIT_WAITING, command, make_app, report_error
from .options import (
    GraphFile,
    GraphOptions,
    JsonFlag,
    RunnerOptions,
    SessionOption,
    UserOption,
)
from .output import Style, print_json, print_note
from .progress import Progress
from .questions import ask_questions, can_ask, note_waiting
from .trace import Trace, json_line

REUSE_UNCHANGED = "--reuse-unchanged"
BUDGET = "--budget"

RunFormat: TypeAlias = Literal["text", "json", "events"]
"""What is printed of a run on standard output: its answer, the run as JSON, or its events."""
EventSource: TypeAlias = "Callable[[Store, AnswerWriter], AsyncGenerator[Event]]"

app = make_app()


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """Whose turn it is, and what else it is given."""

    user: UserOption = None
    session: SessionOption = None
    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=JSON",
            help="Set a key of session.state that the graph declares; repeatable.",
            show_default=False,
        ),
    ] = None
    attach: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Attach a file, or pass the URL of one on; repeatable.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """How the run is printed."""

    json: JsonFlag = False
    events: Annotated[
        Literal["jsonl"] | None,
        typer.Option(
            metavar="jsonl",
            help="Print every event as a line of JSON as it happens, not the answer; errors too.",
            show_default=False,
        ),
    ] = None
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Stream the answer.")] = True

    @property
    def form(self) -> RunFormat:
        """What is printed on standard output; raises `InputError` if two forms are asked for."""
        if self.json and self.events:
            raise InputError("--json prints the run and --events its events; take one of them")
        return "json" if self.json else "events" if self.events else "text"


@command(app)
def run(
    graph: GraphFile,
    message: Annotated[
        str,
        typer.Argument(
            metavar="MESSAGE",
            help="The user's message; - reads standard input.",
            show_default=False,
        ),
    ],
    graph_options: GraphOptions,
    runner_options: RunnerOptions,
    turn: TurnOptions,
    answer: AnswerOptions,
) -> None:
    """Run a graph on one message and print the answer.

    The answer goes to standard output, progress to standard error. With --session the run is
    the next turn of that session; without it, it gets a new session.

    A question to a person is asked at once on a terminal; elsewhere the run waits for
    `teamgraph runs respond`.

    Exit code 0 if the run is done, 1 if it failed, 2 if it could not start, 3 if it waits for a
    person, 130 if it was interrupted.
    """
    form = answer.form
    loaded = graph_options.load(graph)
    text = read_message(message)
    state = _parse_state(turn.state or [], loaded.state)
    runner_options.begin_import(loaded)

    def events(store: Store, writer: AnswerWriter) -> AsyncGenerator[Event]:
        return runner_options.runner(loaded, store).astream(
            text,
            user_id=turn.user,
            session_id=turn.session,
            state=state,
            attachments=turn.attach,
            tokens=writer.tokens,
            resets=writer.resets,
        )

    hints = CommandHints.of(graph, graph_options, runner_options)
    executor = Executor(loaded, runner_options, hints, form, stream=answer.stream)
    executor.execute(events)
    runner_options.verify_replay()


@dataclass(frozen=True, slots=True)
class CommandHints:
    """Commands to copy for going on later; `words` are the options that they have in common."""

    graph: Path
    words: tuple[str, ...]

    @classmethod
    def of(
        cls, graph: Path, graph_options: GraphOptions, runner_options: RunnerOptions
    ) -> CommandHints:
        """Hints that repeat the options of this command."""
        return cls(graph, (*graph_options.words(), *runner_options.words()))

    def resume(self, run_id: str, key: SessionKey, *more: str) -> str:
        """The command that resumes a run, with `more` options."""
        return self._command("runs", "resume", run_id, "--graph", str(self.graph), *more, key=key)

    def respond(self, run: Run, *answers: str) -> str:
        """The command that answers questions of a run."""
        words = ("runs", "respond", run.run_id, *answers, "--graph", str(self.graph))
        return self._command(*words, key=run.key)

    def chat(self, key: SessionKey) -> str:
        """The command that continues a session."""
        return self._command("chat", str(self.graph), key=key)

    def _command(self, *words: str, key: SessionKey) -> str:
        user = [] if key.user_id is None else ["--user", key.user_id]
        command = ("teamgraph", *words, *self.words, *user, "--session", key.session_id)
        return shlex.join(command)


class AnswerWriter:
    """Writes the answer of a run to standard output, or its events, or nothing if it is JSON.

    `tokens` says whether it is written as it arrives; `resets` whether a further answer may follow
    one that broke off, as a person at a terminal understands, and a reader of events, but no other
    program.
    """

    def __init__(self, form: RunFormat = "text", *, stream: bool = True) -> None:
        self.tokens = stream and form != "json"
        self.resets = form == "events" or sys.stdout.isatty()
        self._form = form
        # People see who speaks, pipes do not.
        self._text = AnswerText(is_streamed=stream, names_node=self.resets)
        self.broken_pipe: BrokenPipeError | None = None

    def handles(self, event: Event) -> bool:
        """Whether something is written for the event."""
        if self._form != "text":
            return self._form == "events"
        is_token = isinstance(event, Token) and event.answer
        return is_token or isinstance(event, Answer | AnswerReset)

    def handle(self, event: Event) -> bool:
        """Write what the event adds to the answer; return whether the answer is complete."""
        if self._form == "events":
            self._write(json_line(event))
            return False
        self._write(self._text.of(event))
        return not self._text.is_open

    def close(self) -> None:
        """End the line of an answer that broke off."""
        self._write(self._text.end())

    def _write(self, text: str) -> None:
        """Write unless the reader has left; the run continues without it, and is recorded."""
        try:
            if text and self.broken_pipe is None:
                write_text(text, sys.stdout)
        except BrokenPipeError as error:
            self.broken_pipe = error


@dataclass(frozen=True, slots=True)
class Executor:
    """Makes runs of one graph, asks the questions of those that wait, and prints what they give.

    As JSON it is printed whether it succeeds or fails. Nobody is asked unless `form` is text.
    """

    graph: Graph
    options: RunnerOptions
    hints: CommandHints
    form: RunFormat = "text"
    stream: bool = True
    progress: bool = True

    def execute(self, events: EventSource) -> Run:
        """Make a run; raises what ended it, or `typer.Exit` if it waits for a person."""
        run = self.answered(events)
        if run.status == "waiting":
            raise typer.Exit(EXIT_WAITING)
        return run

    def answered(self, events: EventSource) -> Run:
        """Make a run, and continue it as long as its questions are answered at the terminal."""
        run = self._made(events)
        while run.questions and self.form == "text" and can_ask():
            try:
                answers = ask_questions(run.questions)
            except (EOFError, KeyboardInterrupt):
                print_note("")
                break
            if not answers:
                break
            try:
                run = self._made(self.response(run, answers))
            except InputError as error:
                report_error(error)
        if run.questions:
            paths = [f"{question.path}=ANSWER" for question in run.questions]
            note_waiting(run.questions, self.hints.respond(run, *paths))
        return run

    def response(
        self, run: Run, answers: Mapping[str, JSON], *, by: str | None = None
    ) -> EventSource:
        """The events of a run that is continued with answers to its questions."""
        return lambda store, writer: self.options.runner(self.graph, store).arespond_stream(
            run.run_id,
            answers,
            user_id=run.user_id,
            session_id=run.session_id,
            by=by,
            tokens=writer.tokens,
            resets=writer.resets,
        )

    def _made(self, events: EventSource) -> Run:
        writer = AnswerWriter(self.form, stream=self.stream)
        try:
            run = execute(events, self.options, writer, self.hints, progress=self.progress)
        except RunError as error:
            if self.form == "json" and error.run is not None:
                print_json(error.run.to_json())
            raise
        if self.form == "json":
            print_json(run.to_json())
        if writer.broken_pipe is not None:
            raise writer.broken_pipe
        return run


def execute(
    events: EventSource,
    options: RunnerOptions,
    writer: AnswerWriter,
    hints: CommandHints,
    *,
    progress: bool = True,
) -> Run:
    """Make a run; raises what ended it, with a note that has the command to resume it."""
    display = _RunDisplay(writer, hints, progress=progress)
    try:
        return asyncio.run(display.follow(events, options))
    except RunError as error:
        if isinstance(error.__cause__, ReplayMiss):
            error.add_note(error.__cause__.difference.replace("\n", "\n  "))
        for line in display.hints(error):
            error.add_note(line)
        raise
    except KeyboardInterrupt:
        display.close()
        if lines := display.hints():
            print_note("\n".join(["cancelled; finished nodes are stored", *lines]), Style.WARNING)
        raise
    finally:
        display.close()


class _RunDisplay:
    """What is on the screen during a run: its answer and its progress."""

    def __init__(self, writer: AnswerWriter, hints: CommandHints, *, progress: bool) -> None:
        self._writer = writer
        self._hints = hints
        self._progress = Progress(is_quiet=not progress)
        self._started: RunStarted | None = None

    async def follow(self, events: EventSource, options: RunnerOptions) -> Run:
        """Print the events to their end, after which the run has released its session."""
        run: Run | None = None
        with nullcontext() if options.trace is None else closing(Trace(options.trace)) as trace:
            async with options.open() as store, aclosing(events(store, self._writer)) as stream:
                async for event in stream:
                    if trace is not None:
                        trace.write(event)
                    self._handle(event)
                    if isinstance(event, RunFinished | RunWaiting):
                        self._started, run = None, event.run
        if run is None:
            raise RunError("the run ended without an answer")
        return run

    def _handle(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started = event
        if self._writer.handles(event):
            self._progress.pause()
            if self._writer.handle(event):
                self._progress.unpause()
        else:
            self._progress.handle(event)

    def close(self) -> None:
        self._writer.close()
        self._progress.close()

    def hints(self, error: RunError | None = None) -> list[str]:
        """How to resume the run, if it started and did not finish."""
        if isinstance(error, Changed) and error.run is not None:
            run = error.run
            return [f"resume it: {self._hints.resume(run.run_id, run.key, REUSE_UNCHANGED)}"]
        started = self._started
        if started is None:
            return []
        key = SessionKey(started.user_id, started.session_id)
        more: list[str] = []
        if isinstance(error, BudgetExceeded):
            place = error.name if error.per == "run" else f"{error.per}:{error.name}"
            more = [BUDGET, f"{place}={2 * max(error.limit, error.spent):g}"]
        return [f"resume it: {self._hints.resume(started.run_id, key, *more)}"]


def read_message(message: str) -> str:
    """The message, from standard input if it is `-`."""
    try:
        text = sys.stdin.read().removesuffix("\n") if message == "-" else message
        text.encode()
    except UnicodeError as error:
        raise InputError("the message is not UTF-8; convert it first") from error
    return text


def _parse_state(settings: Sequence[str], declared: Mapping[str, JSON]) -> dict[str, JSON]:
    state: dict[str, JSON] = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not key or not sign:
            raise InputError(f"--state {setting!r}: write it as KEY=JSON, such as --state level=3")
        if key not in declared:
            near = closest(key, declared)
            meant = f"did you mean {near!r}?" if near else f"declare it: `state: {{{key}: ...}}`"
            raise InputError(f"--state {setting!r}: the graph has no {key!r} in its state; {meant}")
        try:
            state[key] = json.loads(value)
        except (ValueError, RecursionError) as error:
            text = shlex.quote(f"{key}={json.dumps(value, ensure_ascii=False)}")
            raise InputError(
                f"--state {setting!r}: {value!r} is not JSON; quote a text: --state {text}"
            ) from error
    return state
