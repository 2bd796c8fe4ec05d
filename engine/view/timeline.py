"""The timeline of a run as HTML: a table with a row for each node, and a bar of its times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup, escape
from msgspec import Struct

from ..messages import Usage
from ..node_path import NodePath
from ..records import Exchange, Record, Run
from .text import shown

_HEAD = (
    *("node", "status", "start", "queue", "took", "model", "tools", "store"),
    *("tokens", "cost", "time"),
)
_DEEPEST = 9
_WIDTH = 1000
"""The width of a bar in its own units: that of the whole run."""


class NodeTimes(Struct, frozen=True):
    """The times of a node in a run, in seconds; `start` counts from the start of the run.

    `queued` is how long it was ready and waited for others, as no more than `max_parallel` run at
    once; of a node before whose start none had ended, the time since the run began: for the session
    and the store. `stored` is the time from its end until the next node of its graph began, or the
    run ended: the store wrote its record. It is None where another node ended before that: no time
    is taken of the write itself. `model` are its model calls, `tools` what its tool calls took
    (that of a reply after which the model was not asked again is not known). `model_parts`,
    `tool_parts`, and `fault_parts`, the waits after failed attempts, are pairs of start and
    duration.
    """

    path: str
    start: float
    took: float
    queued: float
    stored: float | None
    model_parts: tuple[tuple[float, float], ...] = ()
    tool_parts: tuple[tuple[float, float], ...] = ()
    fault_parts: tuple[tuple[float, float], ...] = ()

    @property
    def model(self) -> float:
        """Seconds in model calls."""
        return sum(duration for _, duration in self.model_parts)

    @property
    def tools(self) -> float:
        """Seconds in tool calls."""
        return sum(duration for _, duration in self.tool_parts)


def times_of(run: Run) -> Mapping[str, NodeTimes]:
    """The times of each node that ran, by its path."""
    ran = [record for record in run.records.values() if record.started and record.ended]
    begun = min([run.turn.started, *(record.started for record in ran)])
    first, stored = _gaps(run, ran)
    return {
        record.node: NodeTimes(
            path=record.node,
            start=record.started - begun,
            took=max(0.0, record.ended - record.started),
            queued=record.started - begun if record.node in first else record.queued,
            stored=stored.get(record.node),
            model_parts=tuple(
                (each.started - begun, max(0.0, each.ended - each.started))
                for each in record.exchanges
            ),
            tool_parts=tuple(_tool_parts(record.exchanges, begun)),
            fault_parts=tuple((each.ended - begun, each.wait) for each in record.faults),
        )
        for record in ran
    }


def timeline_html(run: Run, *, link: Callable[[str], str] | None = None) -> Markup:
    """The timeline of a run, readable without a style; `data-node` has the path of each row.

    `link` gives the address that the name of a node is a link to.
    """
    times = times_of(run)
    end = max((each.start + each.took for each in times.values()), default=0.0)
    rows = "".join(
        _row(record, times.get(path), end, link(path) if link else None)
        for path, record in run.records.items()
    )
    head = "".join(f'<th scope="col">{each}</th>' for each in _HEAD)
    # Rows are put together as plain text, of which a run may have hundreds.
    return Markup(  # noqa: S704  every text in it is escaped
        f'<table class="timeline"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _gaps(run: Run, ran: Sequence[Record]) -> tuple[set[str], dict[str, float]]:
    """The nodes that began before any had ended, and what passed until others began after one.

    Both for each graph by itself: what a graph inside a node waits for is what is in it.
    """
    first, stored = set[str](), dict[str, float]()
    last: dict[str, Record] = {}
    moments = [(record.ended, False, record) for record in ran]
    moments += [(record.started, True, record) for record in ran]
    for moment, is_start, record in sorted(moments, key=lambda each: each[:2]):
        around = NodePath(record.node).parent
        if not is_start:
            last[around] = record
        elif (before := last.get(around)) is not None:
            stored.setdefault(before.node, moment - before.ended)
        elif not around:
            first.add(record.node)
    if (before := last.get("")) is not None and run.turn.ended:
        stored.setdefault(before.node, max(0.0, run.turn.ended - before.ended))
    return first, stored


def _tool_parts(exchanges: Sequence[Exchange], begun: float) -> Iterator[tuple[float, float]]:
    """What lies between a reply that called tools and the request with their results."""
    for exchange, following in pairwise(exchanges):
        if exchange.tool_calls:
            yield exchange.ended - begun, max(0.0, following.started - exchange.ended)


def _row(record: Record, times: NodeTimes | None, end: float, address: str | None) -> str:
    path, name = NodePath(record.node), escape(shown(record.node))
    title = name if address is None else f'<a href="{escape(address)}">{name}</a>'
    reason = record.error or record.because
    status = escape(shown(f"{record.status}: {reason}" if reason else record.status))
    status += f" (attempt {record.attempt})" if record.attempt > 1 else ""
    numbers = ["", "", "", "", "", "", *usage_cells(record.usage)]
    bar = ""
    if times is not None:
        seconds = (times.start, times.queued, times.took, times.model, times.tools)
        numbers[:5] = [_seconds(each) for each in seconds]
        numbers[5] = "" if times.stored is None else _seconds(times.stored)
        bar = _bar(times, end) if end > 0 else ""
    cells = "".join(f'<td class="number">{each}</td>' for each in numbers)
    return (
        f'<tr class="status-{record.status}" data-node="{name}">'
        f'<th scope="row" class="depth-{min(len(path.steps), _DEEPEST)}">{title}'
        f' <span class="node-kind">{escape(shown(record.kind))}</span></th>'
        f'<td class="status">{status}</td>{cells}<td>{bar}</td></tr>'
    )


def usage_cells(usage: Usage) -> tuple[str, str]:
    """Tokens and cost in words; both empty if no model was asked."""
    if not usage.calls:
        return "", ""
    cost = "" if usage.cost is None else f"${usage.cost:.4f}"
    return f"{usage.input_tokens} in, {usage.output_tokens} out", cost


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004  digits


def _bar(times: NodeTimes, end: float) -> str:
    """The node's time within that of the run, with its model calls, tool calls and faults."""
    parts = _part("bar-node", [(times.start, times.took)], end)
    parts += _part("bar-model", times.model_parts, end)
    parts += _part("bar-tools", times.tool_parts, end)
    parts += _part("bar-fault", times.fault_parts, end)
    box = f'viewBox="0 0 {_WIDTH} 10" preserveAspectRatio="none"'
    return f'<svg class="bar" {box} aria-hidden="true">{parts}</svg>'


def _part(name: str, parts: Iterable[tuple[float, float]], end: float) -> str:
    return "".join(
        f'<rect class="{name}" x="{start / end * _WIDTH:.1f}" y="0"'
        f' width="{max(duration / end * _WIDTH, 1.0):.1f}" height="10"/>'
        for start, duration in parts
    )
