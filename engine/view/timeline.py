"""The timeline of a run as HTML: a table with a row for each node, and a bar of its times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup
from msgspec import Struct

from ..messages import Usage
from ..node_path import NodePath
from ..records import Exchange, Record, Run
from .text import shown

_WIDTH = 1000
"""The width of a bar in its own units: that of the whole run."""


class NodeTimes(Struct, frozen=True):
    """The times of a node in a run, in seconds; `start` counts from the start of the run.

    `waited` is the time since the node before it in time had ended: the store saved that one's
    record, and the node came to its turn. `model` are its model calls, `tools` what its tool calls
    took (that of a reply after which the model was not asked again is not known). `model_parts` and
    `tool_parts` are these as pairs of start and duration.
    """

    path: str
    start: float
    took: float
    waited: float
    model_parts: tuple[tuple[float, float], ...] = ()
    tool_parts: tuple[tuple[float, float], ...] = ()

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
    waited = dict(_waited(ran, begun))
    return {
        record.node: NodeTimes(
            path=record.node,
            start=record.started - begun,
            took=max(0.0, record.ended - record.started),
            waited=waited[record.node],
            model_parts=tuple(
                (each.started - begun, max(0.0, each.ended - each.started))
                for each in record.exchanges
            ),
            tool_parts=tuple(_tool_parts(record.exchanges, begun)),
        )
        for record in ran
    }


def timeline_html(run: Run) -> Markup:
    """The timeline of a run, readable without a style; `data-node` has the path of each row."""
    times = times_of(run)
    end = max((each.start + each.took for each in times.values()), default=0.0)
    rows = (_row(record, times.get(path), end) for path, record in run.records.items())
    head = ("node", "status", "start", "waited", "took", "model", "tools", "tokens", "cost", "time")
    cells = Markup("").join(Markup('<th scope="col">{}</th>').format(each) for each in head)
    return Markup(
        '<table class="timeline"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'
    ).format(cells, Markup("").join(rows))


def _waited(ran: Sequence[Record], begun: float) -> Iterator[tuple[str, float]]:
    """For each node the time since the last end before its start, in its own graph."""
    ends: dict[str, list[float]] = {}
    moments = [(record.ended, False, record) for record in ran]
    moments += [(record.started, True, record) for record in ran]
    for moment, is_start, record in sorted(moments, key=lambda each: each[:2]):
        around = NodePath(record.node).parent
        if is_start:
            before = ends.get(around, [begun])[-1]
            yield record.node, max(0.0, moment - before)
        else:
            ends.setdefault(around, []).append(moment)


def _tool_parts(exchanges: Sequence[Exchange], begun: float) -> Iterator[tuple[float, float]]:
    """What lies between a reply that called tools and the request with their results."""
    for exchange, following in pairwise(exchanges):
        if exchange.tool_calls:
            yield exchange.ended - begun, max(0.0, following.started - exchange.ended)


def _row(record: Record, times: NodeTimes | None, end: float) -> Markup:
    path = NodePath(record.node)
    reason = record.error or record.because
    status = f"{record.status}: {reason}" if reason else record.status
    numbers = ["", "", "", "", "", *_usage(record.usage)]
    if times is not None:
        seconds = (times.start, times.waited, times.took, times.model, times.tools)
        numbers[:5] = [_seconds(each) for each in seconds]
    cells = Markup("").join(Markup('<td class="number">{}</td>').format(each) for each in numbers)
    return Markup(
        '<tr class="status-{}" data-node="{}"><th scope="row" class="depth-{}">{}'
        ' <span class="node-kind">{}</span></th><td class="status">{}</td>{}<td>{}</td></tr>'
    ).format(
        record.status,
        shown(record.node),
        min(len(path.steps), 9),
        shown(record.node),
        shown(record.kind),
        shown(status),
        cells,
        _bar(times, end) if times is not None and end > 0 else "",
    )


def _usage(usage: Usage) -> tuple[str, str]:
    if not usage.calls:
        return "", ""
    cost = "" if usage.cost is None else f"${usage.cost:.4f}"
    return f"{usage.input_tokens} in, {usage.output_tokens} out", cost


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004  digits


def _bar(times: NodeTimes, end: float) -> Markup:
    """The node's time within that of the run, with its model calls and tool calls."""
    parts = [
        _part("bar-node", [(times.start, times.took)], end),
        _part("bar-model", times.model_parts, end),
        _part("bar-tools", times.tool_parts, end),
    ]
    return Markup(
        '<svg class="bar" viewBox="0 0 {} 10" preserveAspectRatio="none" aria-hidden="true">{}'
        "</svg>"
    ).format(_WIDTH, Markup("").join(parts))


def _part(name: str, parts: Iterable[tuple[float, float]], end: float) -> Markup:
    return Markup("").join(
        Markup('<rect class="{}" x="{:.1f}" y="0" width="{:.1f}" height="10"/>').format(
            name, start / end * _WIDTH, max(duration / end * _WIDTH, 1.0)
        )
        for start, duration in parts
    )
