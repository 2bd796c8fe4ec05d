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

_HEAD = ("node", "status", "start", "waited", "took", "model", "tools", "tokens", "cost", "time")
_DEEPEST = 9
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


def _row(record: Record, times: NodeTimes | None, end: float, address: str | None) -> str:
    path, name = NodePath(record.node), escape(shown(record.node))
    title = name if address is None else f'<a href="{escape(address)}">{name}</a>'
    reason = record.error or record.because
    status = escape(shown(f"{record.status}: {reason}" if reason else record.status))
    numbers = ["", "", "", "", "", *_usage(record.usage)]
    bar = ""
    if times is not None:
        seconds = (times.start, times.waited, times.took, times.model, times.tools)
        numbers[:5] = [_seconds(each) for each in seconds]
        bar = _bar(times, end) if end > 0 else ""
    cells = "".join(f'<td class="number">{each}</td>' for each in numbers)
    return (
        f'<tr class="status-{record.status}" data-node="{name}">'
        f'<th scope="row" class="depth-{min(len(path.steps), _DEEPEST)}">{title}'
        f' <span class="node-kind">{escape(shown(record.kind))}</span></th>'
        f'<td class="status">{status}</td>{cells}<td>{bar}</td></tr>'
    )


def _usage(usage: Usage) -> tuple[str, str]:
    if not usage.calls:
        return "", ""
    cost = "" if usage.cost is None else f"${usage.cost:.4f}"
    return f"{usage.input_tokens} in, {usage.output_tokens} out", cost


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004  digits


def _bar(times: NodeTimes, end: float) -> str:
    """The node's time within that of the run, with its model calls and tool calls."""
    parts = _part("bar-node", [(times.start, times.took)], end)
    parts += _part("bar-model", times.model_parts, end)
    parts += _part("bar-tools", times.tool_parts, end)
    box = f'viewBox="0 0 {_WIDTH} 10" preserveAspectRatio="none"'
    return f'<svg class="bar" {box} aria-hidden="true">{parts}</svg>'


def _part(name: str, parts: Iterable[tuple[float, float]], end: float) -> str:
    return "".join(
        f'<rect class="{name}" x="{start / end * _WIDTH:.1f}" y="0"'
        f' width="{max(duration / end * _WIDTH, 1.0):.1f}" height="10"/>'
        for start, duration in parts
    )
