"""A run as people read it: what each node did, why, and what it sent.

What a run does, told beside its answer: a reader of events, and nothing more.

On a terminal each node under way has a moving line, and what is done stays as a line above; where
standard error goes elsewhere there are only those lines. While the answer is being written no line
comes between its words.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence

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
    ToolCalled,
)
from ..messages import ToolCall, Usage
from ..models.local.model import LOCAL_NOTICE
from ..records import Exchange, Record, Run
from .screen import Tone, console, counted, facts, in_line, indented, pretty, when

_NOTICES: Mapping[str, str] = {
    "local": f"local: {LOCAL_NOTICE}",
    "echo": "echo: a scripted stand-in, no model is asked",
}


class Progress:
    """Tells events as notes on standard error; `pause` while the answer is being written."""

    def __init__(self) -> None:
        self._console = console(sys.stderr)
        self._running: dict[str, str] = {}
        self._noticed: set[str] = set()
        self._waiting: list[Text] = []
        self._is_paused = False
        self._live: Live | None = None

    def take(self, event: Event) -> None:
        """Tell what there is to tell of an event."""
        node = event.node or ""
        if isinstance(event, NodeStarted):
            self._running[node] = event.kind
        elif isinstance(event, NodeFinished | NodeSkipped | NodeFailed):
            self._running.pop(node, None)
        elif isinstance(event, PromptRendered):
            self._notice(event.model)
        line = line_of(event)
        if line is not None:
            self._print(line)
        self._refresh()

    def pause(self) -> None:
        """Take the moving lines away and keep what is to be told."""
        if not self._is_paused:
            self._stop()
            self._make_room()
            self._is_paused = True

    def go_on(self) -> None:
        """Tell what has waited."""
        if self._is_paused:
            self._is_paused = False
            self._make_room()
        for line in self._waiting:
            self._print(line)
        self._waiting.clear()
        self._refresh()

    def close(self) -> None:
        """Tell what has waited, and leave nothing that moves."""
        self._running.clear()
        self.go_on()
        self._stop()

    def _notice(self, model: str) -> None:
        """Say once what sort of model answers here."""
        if model in _NOTICES and model not in self._noticed:
            self._noticed.add(model)
            self._print(Text(_NOTICES[model], style=Tone.WARNING.value))

    def _print(self, line: Text) -> None:
        if self._is_paused:
            self._waiting.append(line)
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
            Group(*(Spinner("dots", text=_under_way(*one)) for one in self._running.items()))
        )

    def _make_room(self) -> None:
        """Set the answer apart from what is told around it."""
        if self._console.is_terminal:
            self._console.print()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def line_of(event: Event) -> Text | None:
    """The line that stays of an event, None for most of them."""
    node, line = event.node or "", None
    match event:
        case NodeFinished():
            line = _done(event.record, replayed=event.replayed)
        case NodeSkipped():
            line = _line("-", node, f"skipped: {event.because}", Tone.QUIET)
        case NodeRetried():
            text = f"attempt {event.attempt} failed: {event.error}; again in {event.wait:.1f} s"
            line = _line("~", node, text, Tone.WARNING)
        case NodeFailed():
            times = f" after {event.attempt} attempts" if event.attempt > 1 else ""
            line = _line("x", node, f"failed{times}", Tone.BAD)
        case ToolCalled():
            line = _line(".", node, f"calls {event.tool}({event.arguments})", Tone.QUIET)
        case RunFinished():
            line = _finished(event.run)
        case _:
            pass
    return line


def spent(usage: Usage) -> str:
    """What model calls cost, to follow another fact; nothing if there were none."""
    if not usage.calls:
        return ""
    calls = counted(usage.calls, "call")
    cost = f", ${usage.cost:.4f}" if usage.cost else ""
    return f", {calls}, {usage.input_tokens} tokens in, {usage.output_tokens} out{cost}"


def _finished(run: Run) -> Text:
    took = f"done in {run.duration:.1f} s{spent(run.usage)}"
    return Text(in_line(f"{took}; session {run.session_id}, run {run.run_id}"), style="dim")


def _done(record: Record, *, replayed: bool) -> Text:
    text = f"{max(0.0, record.ended - record.started):.1f} s"
    if record.choices is not None:
        text = f"chose {', '.join(record.choices) or 'nothing'} ({text})"
    if replayed:
        text = "was done before"
    elif record.error is not None:
        text = f"{text}, after it failed: {record.error}"
    return _line("+", record.node, text, Tone.WARNING if record.error else Tone.GOOD)


def _line(mark: str, node: str, text: str, tone: Tone) -> Text:
    said = in_line(text)
    return Text.assemble((f"{mark} ", tone.value), (node, "bold"), f": {said}")


def _under_way(node: str, kind: str) -> Text:
    return Text.assemble((node, "bold"), f" ({kind})")


def run_told(run: Run, node_ids: Collection[str], *, prompts: bool) -> str:
    """The run and these of its nodes, in their order; with `prompts` the messages too."""
    parts = [_head(run)]
    parts += [_node(run.records[node_id], prompts=prompts) for node_id in node_ids]
    return "\n\n".join(parts) + "\n"


def _head(run: Run) -> str:
    return facts(
        {
            "run": run.run_id,
            "session": run.session_id,
            "user": run.user_id,
            "graph": run.turn.graph,
            "forked from": run.turn.forked_from,
            "status": run.status,
            "error": run.turn.error,
            "turn": run.turn.number or None,
            "started": when(run.turn.started),
            "took": f"{run.duration:.2f} s{spent(run.usage)}" if run.turn.ended else None,
            "message": in_line(run.input),
            "answer": in_line(run.answer or ""),
        }
    )


def _node(record: Record, *, prompts: bool) -> str:
    took = f"{max(0.0, record.ended - record.started):.2f} s" if record.ended else ""
    told = facts(
        {
            "status": record.status,
            "because": record.because,
            "choice": ", ".join(record.choices) if record.choices is not None else None,
            "task": in_line(record.task) if record.task is not None else None,
            **{name: in_line(str(value)) for name, value in record.fields.items()},
            "error": record.error,
            "attempts": record.attempt if record.attempt > 1 else None,
            "took": f"{took}{spent(record.usage)}",
            "output": "" if record.output is None else in_line(_text(record.output)),
            "state": pretty(record.state) if record.state else None,
        }
    )
    sent = [_exchange(exchange) for exchange in record.exchanges] if prompts else []
    return "\n\n".join([f"{record.node} ({record.kind})\n{indented(told)}", *sent])


def _exchange(exchange: Exchange) -> str:
    """A model call to the letter: every line of a message stands to the right of its role."""
    parts = [f"prompt {exchange.prompt} ({exchange.prompt_hash[:12]}) to {exchange.model}"]
    for message in exchange.messages:
        replayed = f" (of run {message.origin})" if message.origin else ""
        parts.append(indented(f"{message.role}{replayed}:"))
        parts.append(_words(message.content, message.tool_calls))
    parts.append(indented("reply:"))
    parts.append(_words(exchange.reply, exchange.tool_calls))
    for result in exchange.tool_results:
        parts.append(indented("tool:"))
        parts.append(_words(result.content))
    return indented("\n".join(parts))


def _words(text: str, calls: Sequence[ToolCall] = ()) -> str:
    called = [f"calls {call.name}({call.arguments})" for call in calls]
    return indented("\n".join(filter(None, [text, *called])), by="    ") or "    (empty)"


def _text(value: object) -> str:
    return value if isinstance(value, str) else pretty(value)
