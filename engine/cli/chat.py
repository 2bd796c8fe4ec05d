"""`teamgraph chat`: turn after turn in one session, and the commands that begin with `/`.

At a terminal lines are edited with readline: pasted lines are one message, and the messages of the
user's latest sessions can be recalled. They are read from the store, so what is deleted there is
forgotten here too.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Annotated, TypeVar
from uuid import uuid4

import typer

from ..attachments import Attachment, attachments_of
from ..errors import InputError, NotFound, RunError, SessionBusy, TeamgraphError, closest, listed
from ..events import Event
from ..records import Run, SessionKey, Turn
from ..session.session import Session
from ..session.store import Store
from .command import command, make_app, report_error
from .lookup import latest_session
from .options import (
    GraphFile,
    GraphOptions,
    RunnerOptions,
    SessionOption,
    StoreOptions,
    UserOption,
)
from .output import Style, counted, indent, pretty_json, print_note
from .run import AnswerWriter, CommandHints, Executor
from .runs import exchange_text
from .sessions import summary_text, turn_text

T = TypeVar("T")

_PROMPT = "> "
_SESSIONS_RECALLED = 10
_TURNS_RECALLED = 100
_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)
_COMMANDS: Mapping[str, str] = {
    "attach": "attach a file to the next message: /attach FILE",
    "edit": "write the message in your editor: /edit, or /edit TEXT to begin with",
    "exit": "end the chat, as Ctrl-D does",
    "help": "list the commands",
    "history": "the turns so far",
    "prompt": "the exact prompt that a node was sent in the last turn: /prompt NODE",
    "session": "the session, and the command to continue it",
    "state": "the session's state",
    "summary": "the session's summary",
    "undo": "delete the last turn, with what it changed in state and summary",
}

app = make_app()


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Who talks, and in which session; in a new one if none is named."""

    user: UserOption = None
    session: SessionOption = None
    last: Annotated[
        bool,
        typer.Option(
            "--last",
            "--continue",
            help="Continue the user's most recent session.",
            show_default=False,
        ),
    ] = False
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print only answers and errors.", show_default=False),
    ] = False

    def key(self, options: StoreOptions) -> SessionKey:
        """The session.

        Raises `InputError` if two are named, `NotFound` if there is no last one.
        """
        if not self.last:
            return SessionKey(self.user, self.session or uuid4().hex)
        if self.session is not None:
            raise InputError("--last and --session cannot be combined")
        advice = " to continue; leave out --last to begin one"
        return asyncio.run(latest_session(self.user, options, advice=advice)).key


@command(app)
def chat(
    graph: GraphFile,
    graph_options: GraphOptions,
    runner_options: RunnerOptions,
    chat_options: ChatOptions,
) -> None:
    """Chat with a graph in one session.

    /help lists the commands: /exit, /undo, /history, /summary, /state, /prompt NODE, /edit,
    /attach FILE, /session. A message that begins like one is written with two slashes.

    At a terminal pasted lines are one message, and the up arrow recalls earlier ones. Ctrl-C during
    an answer cancels the turn; at the prompt it clears the line, and ends the chat if that is
    empty, as Ctrl-D does. After a failed turn the chat continues. A question to a person is asked
    at once; an empty line leaves it open.
    """
    loaded = graph_options.load(graph)
    runner_options.begin_import(loaded)
    key = chat_options.key(runner_options)
    hints = CommandHints.of(graph, graph_options, runner_options)
    executor = Executor(loaded, runner_options, hints, progress=not chat_options.quiet)
    conversation = Chat(key, executor)
    conversation.begin()
    conversation.go_on()
    conversation.note(f"continue with: {hints.chat(key)}")
    runner_options.verify_replay()


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat in one session: reads messages and commands, and answers them.

    `attached` comes with the next message.
    """

    key: SessionKey
    executor: Executor
    attached: list[Attachment] = field(default_factory=list[Attachment])

    def begin(self) -> None:
        """Say which session it is, and where the conversation stood."""
        turns = self._of_session(lambda session: session.ahistory(limit=1)) or []
        so_far = f" with {counted(turns[-1].number, 'turn')} so far" if turns else ""
        self.note(f"session {self.key.session_id}{so_far}; /help lists commands, Ctrl-D ends it")
        for turn in turns:
            self.note(turn_text(turn))

    def go_on(self) -> None:
        """Take turn after turn until the input ends."""
        lines = Lines(self._recalled)
        while (line := lines.read()) is not None:
            command = _COMMAND.fullmatch(line.strip())
            if command is not None and command[1] == "exit":
                return
            try:
                message = line if command is None else self._obey(command[1], command[2] or "")
            except TeamgraphError as error:
                report_error(error)
                continue
            if message.strip():
                self._take_turn(line[1:] if line.startswith("//") else message)

    def note(self, text: str) -> None:
        """Print something that is no answer, unless the chat is quiet."""
        if self.executor.progress:
            print_note(text, Style.DIM)

    def _take_turn(self, message: str) -> None:
        attachments = [*self.attached]
        self.attached.clear()

        def events(store: Store, writer: AnswerWriter) -> AsyncGenerator[Event]:
            return self.executor.options.runner(self.executor.graph, store).astream(
                message,
                user_id=self.key.user_id,
                session_id=self.key.session_id,
                attachments=attachments,
                resets=writer.resets,
            )

        with suppress(KeyboardInterrupt):  # it ends the turn, not the chat
            try:
                self.executor.answered(events)
            except (RunError, SessionBusy) as error:
                report_error(error)

    def _obey(self, name: str, words: str) -> str:
        """Do what a command says; the message to send, empty if there is none."""
        if name == "edit":
            return edited(words)
        answers: Mapping[str, Callable[[], str]] = {
            "attach": lambda: self._attach(words.strip()),
            "help": _help,
            "history": self._history,
            "prompt": lambda: self._prompt_of(words.strip()),
            "session": lambda: f"continue with: {self.executor.hints.chat(self.key)}",
            "state": self._state,
            "summary": self._summary,
            "undo": self._undo,
        }
        if name not in answers:
            near = closest(name, _COMMANDS)
            meant = f"did you mean '/{near}'?" if near else "/help lists them"
            raise InputError(f"there is no command '/{name}'; {meant} (as a message: //{name})")
        print_note(answers[name]())
        return ""

    def _attach(self, file: str) -> str:
        """Read a file now, so that what is wrong with it is said now."""
        if not file:
            raise InputError("name a file: /attach FILE")
        found = attachments_of([*self.attached, file])
        self.attached[:] = found
        return f"attached to the next message: {listed(each.name for each in found)}"

    def _history(self) -> str:
        turns = self._of_session(lambda session: session.ahistory(limit=None))
        return "\n\n".join(map(turn_text, turns or ())) or "no turns so far"

    def _state(self) -> str:
        state = self._of_session(lambda session: session.astate())
        return pretty_json({**self.executor.graph.state, **(state or {})})

    def _summary(self) -> str:
        summary = self._of_session(lambda session: session.asummary())
        return summary_text(summary) if summary is not None else "no summary so far"

    def _prompt_of(self, node_id: str) -> str:
        """The model calls of a node in the newest run, as they were sent."""

        async def newest(session: Session) -> Run | None:
            turns = await session.aruns(limit=1)
            return await session.arun(turns[0].run_id) if turns else None

        run = self._of_session(newest)
        if run is None:
            raise NotFound("no turn so far, so no prompt was sent")
        asked = [each for each, record in run.records.items() if record.exchanges]
        if node_id not in asked:
            what = f"{node_id!r} asked no model in the last turn" if node_id else "name a node"
            raise NotFound(f"{what}; these did: {listed(asked) or 'none'}")
        return "\n\n".join(map(exchange_text, run.records[node_id].exchanges))

    def _undo(self) -> str:
        """Delete the newest run of the session, finished or not."""

        async def delete(session: Session) -> Turn | None:
            turns = await session.aruns(limit=1)
            for turn in turns:
                await session.adelete_run(turn.run_id)
            return turns[0] if turns else None

        turn = self._of_session(delete)
        return "nothing to undo" if turn is None else f"deleted the turn:\n{indent(turn.input)}"

    def _of_session(self, read: Callable[[Session], Awaitable[T]]) -> T | None:
        """What is read of the session; None if it has no turn yet."""

        async def open_and_read() -> T | None:
            async with self.executor.options.open() as store:
                try:
                    return await read(Session(self.key, store))
                except NotFound:
                    return None

        return asyncio.run(open_and_read())

    def _recalled(self) -> Sequence[str]:
        """The user's latest messages, those of this session last."""

        async def read() -> list[str]:
            async with self.executor.options.open() as store:
                infos = await store.sessions(self.key.user_id, limit=_SESSIONS_RECALLED)
                keys = [info.key for info in infos if info.key != self.key]
                turns = [
                    turn
                    for key in (*reversed(keys), self.key)
                    for turn in reversed(await store.runs(key, limit=_TURNS_RECALLED))
                ]
                return [turn.input for turn in turns]

        return asyncio.run(read())


class Lines:
    """The lines that are typed or piped; those pasted at a terminal at once are one.

    `recalled` gives the earlier ones, which can be edited and sent again.
    """

    def __init__(self, recalled: Callable[[], Sequence[str]]) -> None:
        self._is_terminal = sys.stdin.isatty()
        self._readline: ModuleType | None = None
        if self._is_terminal:
            with suppress(ImportError):
                import readline

                readline.parse_and_bind("set enable-bracketed-paste on")
                for text in recalled():
                    readline.add_history(text)
                self._readline = readline

    def read(self) -> str | None:
        """The next line, None at the end of the input; Ctrl-C clears a line that has begun."""
        while True:
            try:
                return input(_PROMPT) if self._is_terminal else _read_line()
            except EOFError:
                print_note("")
                return None
            except KeyboardInterrupt:
                print_note("")
                if self._readline is None or not self._readline.get_line_buffer():
                    return None


def _help() -> str:
    return "\n".join(f"/{name:<8} {what}" for name, what in _COMMANDS.items())


def edited(text: str) -> str:
    """A text as the user leaves it in the editor that VISUAL or EDITOR names.

    Raises `InputError` if that cannot be started or fails.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with TemporaryDirectory() as folder:
        file = Path(folder) / "message.md"
        file.write_text(text, encoding="utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)  # noqa: S603  the user's
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise InputError(f"the editor {editor!r} failed; set EDITOR to another") from error
        return file.read_text(encoding="utf-8").strip()


def _read_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")
