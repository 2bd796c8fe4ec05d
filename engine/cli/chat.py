"""`teamgraph chat`: turn after turn in one session."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated
from uuid import uuid4

import typer

from ..errors import InputError, RunError, SessionBusy
from ..events import Event
from ..records import SessionKey
from ..session.store import Store
from .command import command, report_error
from .lookup import latest_session
from .options import (
    GraphFile,
    GraphOptions,
    RunnerOptions,
    SessionOption,
    StoreOptions,
    UserOption,
)
from .output import Style, counted, print_note
from .run import AnswerWriter, CommandHints, EventSource, Executor

_PROMPT = "> "

app = typer.Typer(add_completion=False)


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

    def session_id(self, options: StoreOptions) -> tuple[str, int]:
        """The id of the session, and with `last` how many turns it has.

        Raises `InputError` if two are named, `NotFound` if there is no last one.
        """
        if not self.last:
            return self.session or uuid4().hex, 0
        if self.session is not None:
            raise InputError("--last and --session cannot be combined")
        advice = " to continue; leave out --last to begin one"
        latest = asyncio.run(latest_session(self.user, options, advice=advice))
        return latest.key.session_id, latest.turns


@command(app)
def chat(
    graph: GraphFile,
    graph_options: GraphOptions,
    runner_options: RunnerOptions,
    chat_options: ChatOptions,
) -> None:
    """Chat with a graph in one session.

    Ctrl-C during an answer cancels the turn; Ctrl-C or Ctrl-D at the prompt ends the chat. After a
    failed turn the chat continues. A question to a person is asked at once; an empty line leaves it
    open.
    """
    loaded = graph_options.load(graph)
    runner_options.begin_import(loaded)
    session, turns = chat_options.session_id(runner_options)
    so_far = f" with {counted(turns, 'turn')} so far" if chat_options.last else ""
    print_note(f"session {session}{so_far}; Ctrl-D ends the chat", Style.DIM)
    hints = CommandHints.of(graph, graph_options, runner_options)
    for message in _read_messages():

        def events(
            store: Store, writer: AnswerWriter, message: str = message
        ) -> AsyncGenerator[Event]:
            return runner_options.runner(loaded, store).astream(
                message, user_id=chat_options.user, session_id=session, resets=writer.resets
            )

        _take_turn(Executor(loaded, runner_options, hints), events)
    key = SessionKey(chat_options.user, session)
    print_note(f"continue with: {hints.chat(key)}", Style.DIM)
    runner_options.verify_replay()


def _take_turn(executor: Executor, events: EventSource) -> None:
    with suppress(KeyboardInterrupt):  # it ends the turn, not the chat
        try:
            executor.answered(events)
        except (RunError, SessionBusy) as error:
            report_error(error)


def _read_messages() -> Iterator[str]:
    """The user's messages, until the input ends or Ctrl-C; empty lines are not messages."""
    if sys.stdin.isatty():
        with suppress(ImportError):  # makes `input` edit lines and recall earlier ones
            import_module("readline")
    while True:
        try:
            line = input(_PROMPT) if sys.stdin.isatty() else _read_line()
        except (EOFError, KeyboardInterrupt):
            print_note("")
            return
        if line.strip():
            yield line


def _read_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")
