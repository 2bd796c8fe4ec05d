"""`teamgraph chat`: turn after turn in one session.

A session as people read it: what was said in it, what it cost, what it keeps.
"""

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
from ..messages import JSON
from ..records import Head, SessionInfo, SessionKey, Summary, Turn
from ..session.session import Metrics
from ..session.store import Store
from .command import command
from .failure import report
from .options import GraphFile, Means, Reading, SessionOption, Storing, User
from .progress import spent
from .run import Way, Written, make
from .screen import Tone, counted, facts, indented, note, pretty, when

_BEFORE = 30
_LONGEST = 100
"""Characters of a text that was found, and how many of them stand before what was sought."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A session and some of its turns, oldest first; `offset` newer ones are left out."""

    key: SessionKey
    head: Head
    metrics: Metrics
    turns: Sequence[Turn]
    offset: int = 0

    def told(self) -> str:
        """All of it as one text."""
        parts = [self._heading(), *map(_turn, self.turns)]
        if self.head.summary is not None:
            parts.append(_summary(self.head.summary))
        states: dict[str, JSON] = {"state": dict(self.head.state)}
        for node_id, state in self.head.node_states.items():
            states[f"state of {node_id}"] = dict(state)
        parts += [f"{name}\n{indented(pretty(state))}" for name, state in states.items() if state]
        return "\n\n".join(parts) + "\n"

    def _heading(self) -> str:
        metrics = self.metrics
        return facts(
            {
                "session": self.key.session_id,
                "user": self.key.user_id,
                "name": self.head.name,
                "turns": metrics.turns,
                "shown": self._shown(),
                "runs": metrics.runs if metrics.runs > metrics.turns else None,
                "took": f"{metrics.seconds:.2f} s{spent(metrics.usage)}",
            }
        )

    def _shown(self) -> str:
        """Which turns these are, if there are others, and how to see those before."""
        passed = self.offset + len(self.turns)
        if len(self.turns) == self.metrics.turns:
            return ""
        if not self.turns:
            return "none; --offset leaves out all of them"
        before = f"; --offset {passed} shows those before" if passed < self.metrics.turns else ""
        return f"{self.turns[0].number} to {self.turns[-1].number}{before}"


def found_in(turn: Turn, text: str) -> tuple[str, str]:
    """Who said `text` in a turn that has it, and the words around it."""
    sought = text.casefold()
    by_user = sought in turn.input.casefold()
    who, said = ("user", turn.input) if by_user else ("answer", turn.answer or "")
    # Folding makes few letters longer, so the place is right but for a letter or two.
    start = max(0, said.casefold().find(sought) - _BEFORE)
    end = start + _LONGEST
    return who, f"{'…' if start else ''}{said[start:end]}{'…' if end < len(said) else ''}"


def _turn(turn: Turn) -> str:
    heading = f"{turn.number}. {when(turn.started)}, run {turn.run_id}"
    return "\n".join([heading, _said("user", turn.input), _said("answer", turn.answer or "")])


def _said(who: str, text: str) -> str:
    """Who said what; further lines stand to the right, so that no text can look like another's."""
    first, *more = text.splitlines() or [""]
    return "\n".join([f"  {who}: {first}", *(f"      {line}" for line in more)])


def _summary(summary: Summary) -> str:
    about = f"summary of {counted(summary.covers, 'turn')}"
    topics = f"topics: {', '.join(summary.topics)}" if summary.topics else ""
    return "\n".join(filter(None, (about, indented(summary.text), indented(topics))))


app = typer.Typer(add_completion=False)

_PROMPT = "> "


@dataclass(frozen=True, slots=True)
class Talking:
    """Who talks, and in which session; a new one if it is left out."""

    user: User = None
    session: SessionOption = None
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
