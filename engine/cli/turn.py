"""One run at the command line: its answer on standard output, its progress beside it."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from ..errors import RunError
from ..events import Answer, Event, RunFinished, RunStarted, Token
from ..messages import JSON
from ..session import Record, Run
from ..stores import Store
from .options import Storing
from .progress import Progress
from .screen import Tone, harmless, note

Events = Callable[[Store], AsyncGenerator[Event]]


@dataclass(frozen=True, slots=True)
class Way:
    """How a run that stopped is taken up: the words of the command, but for its ids."""

    words: tuple[str, ...]

    def told(self, run_id: str, session_id: str) -> str:
        """The whole command."""
        command = ["teamgraph", "runs", "resume", run_id, *self.words, "--session", session_id]
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
        if isinstance(event, Token):
            self._write(event.text)
            self._is_open = True
        elif isinstance(event, Answer):
            self._write(f"{'' if self._stream else event.text}\n")
            self._is_open = False
            return True
        return False

    def close(self) -> None:
        """End the line of an answer that broke off."""
        if self._is_open:
            self._write("\n")

    def _write(self, text: str) -> None:
        """Write for as long as somebody reads; the run goes on without them, and is kept."""
        try:
            if self.broken is None:
                sys.stdout.write(harmless(text) if self._is_terminal else text)
                sys.stdout.flush()
        except BrokenPipeError as error:
            self.broken = error


def make(events: Events, storing: Storing, written: Written, way: Way) -> Run:
    """Make the run; raises what ended it, with the command that takes it up again told before."""
    turn = _Turn(written, way)
    try:
        return asyncio.run(turn.make(events, storing))
    except KeyboardInterrupt:
        turn.close()
        note("cancelled; what was done is kept", Tone.WARNING)
        turn.tell_way()
        raise
    except RunError:
        turn.close()
        turn.tell_way()
        raise
    finally:
        turn.close()


class _Turn:
    """What is on the screen while a run is under way."""

    def __init__(self, written: Written, way: Way) -> None:
        self._written = written
        self._way = way
        self._progress = Progress()
        self._started: RunStarted | None = None

    async def make(self, events: Events, storing: Storing) -> Run:
        async with storing.open() as store, aclosing(events(store)) as told:
            async for event in told:
                self._take(event)
                if isinstance(event, RunFinished):
                    return event.run
        raise RunError("the run ended without an answer")

    def _take(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started = event
        if self._written.takes(event):
            self._progress.pause()
            if self._written.take(event):
                self._progress.go_on()
        else:
            self._progress.take(event)

    def close(self) -> None:
        self._written.close()
        self._progress.close()

    def tell_way(self) -> None:
        if self._started is not None:
            told = self._way.told(self._started.run_id, self._started.session_id)
            note(f"take it up again: {told}", Tone.QUIET)


def as_json(run: Run) -> dict[str, JSON]:
    """A run as `--json` prints it."""
    return {
        "run_id": run.run_id,
        "session_id": run.session_id,
        "user_id": run.user_id,
        "status": run.status,
        "answer": run.answer,
        "error": run.turn.error,
        "nodes": {node_id: _node_as_json(record) for node_id, record in run.records.items()},
        "usage": _usage_as_json(run.usage),
        "duration": round(run.duration, 6),
    }
