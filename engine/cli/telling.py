"""A run as people read it: what each node did, why, and what it sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..messages import ToolCall
from ..session import Exchange, Record, Run
from .progress import spent
from .screen import facts, in_line, indented, pretty, when


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
