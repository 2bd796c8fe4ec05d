"""The progress of a run, printed on standard error from the run's events.

On a terminal each node in progress has a spinner, and what is finished stays as a line above;
elsewhere only those lines are printed. No line comes between the words of a streamed answer.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from ..events import (
    Event,
    NodeFailed,
    NodeFinished,
    NodeRetried,
    NodeSkipped,
    NodeStarted,
    PromptRendered,
    RunFinished,
    RunWaiting,
    ToolCalled,
)
from ..models.local.model import LOCAL_NOTICE
from ..records import Record, Run
from ..run.printing import choice_text
from .output import Style, make_console, one_line, usage_text

_NOTICES: Mapping[str, str] = {
    "local": f"local: {LOCAL_NOTICE}",
    "echo": "echo: repeats the message, no model is called",
}


class Progress:
    """Prints events; `pause` while the answer is being written. With `is_quiet` it prints none."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._is_quiet = is_quiet
        self._console = make_console(sys.stderr)
        self._running: dict[str, str] = {}
        self._models_noticed: set[str] = set()
        self._held_back: list[Text] = []
        self._is_paused = False
        self._live: Live | None = None

    def handle(self, event: Event) -> None:
        """Print the line of an event, and update the spinners."""
        if self._is_quiet:
            return
        node = event.node or ""
        if isinstance(event, NodeStarted):
            self._running[node] = event.kind
        elif isinstance(event, NodeFinished | NodeSkipped | NodeFailed):
            self._running.pop(node, None)
        elif isinstance(event, PromptRendered):
            self._notice(event.model)
        line = event_line(event)
        if line is not None:
            self._print(line)
        self._refresh()

    def pause(self) -> None:
        """Remove the spinners, and buffer lines."""
        if not self._is_paused:
            self._stop()
            self._print_gap()
            self._is_paused = True

    def unpause(self) -> None:
        """Print the lines that were held back."""
        if self._is_paused:
            self._is_paused = False
            self._print_gap()
        for line in self._held_back:
            self._print(line)
        self._held_back.clear()
        self._refresh()

    def close(self) -> None:
        """Print what was held back, and leave no spinner."""
        self._running.clear()
        self.unpause()
        self._stop()

    def _notice(self, model: str) -> None:
        """Print once that a demo model or a stand-in answers."""
        if model in _NOTICES and model not in self._models_noticed:
            self._models_noticed.add(model)
            self._print(Text(_NOTICES[model], style=Style.WARNING.value))

    def _print(self, line: Text) -> None:
        if self._is_paused:
            self._held_back.append(line)
        else:
            self._console.print(line)

    def _refresh(self) -> None:
        if self._is_paused or not self._console.is_terminal:
            return
        if not self._running:
            self._stop()
            return
        if self._live is None:
            self._live = Live(console=self._console, transient=True, refresh_per_second=10)
            self._live.start()
        self._live.update(
            Group(*(Spinner("dots", text=_spinner_text(*one)) for one in self._running.items()))
        )

    def _print_gap(self) -> None:
        """Separate the answer from the lines around it."""
        if self._console.is_terminal and not self._is_quiet:
            self._console.print()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def event_line(event: Event) -> Text | None:
    """The line that is printed for an event, None for most of them."""
    node, line = event.node or "", None
    match event:
        case NodeFinished():
            line = _finished_node(event.record, replayed=event.replayed)
        case NodeSkipped():
            line = _line("-", node, f"skipped: {event.because}", Style.DIM)
        case NodeRetried():
            text = f"attempt {event.attempt} failed: {event.error}; retrying in {event.wait:.1f} s"
            line = _line("~", node, text, Style.WARNING)
        case NodeFailed():
            times = f" after {event.attempt} attempts" if event.attempt > 1 else ""
            line = _line("x", node, f"failed{times}", Style.ERROR)
        case ToolCalled():
            line = _line(".", node, f"calls {event.tool}({event.arguments})", Style.DIM)
        case RunFinished() | RunWaiting():
            line = _finished_run(event.run)
        case _:
            pass
    return line


def _finished_run(run: Run) -> Text:
    took = f"{run.status} after {run.duration:.1f} s{usage_text(run.usage)}"
    if run.status == "done":
        took = f"done in {run.duration:.1f} s{usage_text(run.usage)}"
    return Text(one_line(f"{took}; session {run.session_id}, run {run.run_id}"), style="dim")


def _finished_node(record: Record, *, replayed: bool) -> Text:
    text = f"{max(0.0, record.ended - record.started):.1f} s"
    if chosen := choice_text(record):
        text = f"{chosen} ({text})"
    if replayed:
        text = "already done"
    elif record.error is not None:
        text = f"{text}, after it failed: {record.error}"
    return _line("+", record.node, text, Style.WARNING if record.error else Style.SUCCESS)


def _line(mark: str, node: str, text: str, style: Style) -> Text:
    return Text.assemble((f"{mark} ", style.value), (node, "bold"), f": {one_line(text)}")


def _spinner_text(node: str, kind: str) -> Text:
    return Text.assemble((node, "bold"), f" ({kind})")
