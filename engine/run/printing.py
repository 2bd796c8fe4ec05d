"""A run told on standard output: a reader of events, and nothing more."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ..errors import RunError
from ..events import Answer, Event, RunFinished, Token
from ..records import Run


def print_events(events: Iterable[Event], *, stream: bool) -> Run:
    """Print the answer, with `stream` as it arrives; give the run. Raises what ended the run."""
    for event in events:
        if isinstance(event, Token) and event.answer and stream:
            sys.stdout.write(event.text)
            sys.stdout.flush()
        elif isinstance(event, Answer):
            sys.stdout.write("\n" if stream else f"{event.text}\n")
            sys.stdout.flush()
        elif isinstance(event, RunFinished):
            return event.run
    raise RunError("the run ended without an answer")
