"""`teamgraph chat`: turn after turn in one session."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated
from uuid import uuid4

import typer

from ..errors import InputError, NotFound, RunError, SessionBusy
from ..events import Event
from ..session import SessionInfo, SessionKey
from ..stores import Store
from .command import command
from .failure import report
from .options import GraphFile, Means, Reading, Session, Storing, User
from .screen import Tone, counted, note
from .turn import Way, Written, make

app = typer.Typer(add_completion=False)

_PROMPT = "> "


@dataclass(frozen=True, slots=True)
class Talking:
    """Who talks, and in which session; a new one if it is left out."""

    user: User = None
    session: Session = None
    last: Annotated[
        bool,
        typer.Option(
            "--last", "--continue", help="The user's last session again.", show_default=False
        ),
    ] = False

    def found(self, storing: Storing) -> tuple[str, int]:
        """The session, and how many turns it has if it is taken up as the last one.

        Raises `InputError` if two are named, `NotFound` if there is no last one.
        """
        if not self.last:
            return self.session or uuid4().hex, 0
        if self.session is not None:
            raise InputError("--last and --session name two sessions; leave out one of them")
        latest = asyncio.run(self._latest(storing))
        if not latest:
            whose = f"user {self.user!r} has" if self.user is not None else "there is"
            raise NotFound(
                f"{whose} no session in {storing.folder} to take up; leave out --last to begin one"
            )
        return latest[0].key.session_id, latest[0].turns

    async def _latest(self, storing: Storing) -> Sequence[SessionInfo]:
        async with storing.open() as store:
            return await store.sessions(self.user, limit=1)


@command(app)
def chat(graph: GraphFile, reading: Reading, means: Means, talking: Talking) -> None:
    """Talk to a graph, turn after turn, in one session.

    Ctrl-C while it answers ends that turn, Ctrl-C or Ctrl-D at the prompt ends the talk. A turn
    that fails does not: say it again, or say something else.
    """
    declared = reading.graph(graph)
    means.settle()
    session, turns = talking.found(means)
    so_far = f" with {counted(turns, 'turn')} so far" if talking.last else ""
    note(f"session {session}{so_far}; Ctrl-D ends", Tone.QUIET)
    way = Way.of(graph, reading, means)
    for message in _messages():

        def events(store: Store, message: str = message) -> AsyncGenerator[Event]:
            return means.runner(declared, store).astream(
                message, user_id=talking.user, session_id=session
            )

        _answer(events, means, way)
    note(f"go on with: {way.to_session(SessionKey(talking.user, session))}", Tone.QUIET)


def _answer(events: Callable[[Store], AsyncGenerator[Event]], means: Means, way: Way) -> None:
    written = Written(stream=True)
    with suppress(KeyboardInterrupt):  # it ends the turn, not the talk
        try:
            make(events, means, written, way)
        except (RunError, SessionBusy) as error:
            report(error)
    if written.broken is not None:
        raise written.broken


def _messages() -> Iterator[str]:
    """What is said, until there is no more or the talk is interrupted; nothing is no message."""
    if sys.stdin.isatty():
        with suppress(ImportError):  # with it, lines can be edited and called back
            import_module("readline")
    while True:
        try:
            line = input(_PROMPT) if sys.stdin.isatty() else _line()
        except (EOFError, KeyboardInterrupt):
            note("")
            return
        if line.strip():
            yield line


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")
