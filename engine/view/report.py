"""A run as one page of HTML that can be mailed: no script, and nothing to be fetched."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from markupsafe import Markup

from ..graph.graph import Graph
from ..messages import NO_USAGE, Usage, text_of
from ..records import Exchange, Record, Run
from ..run.prepared import PreparedGraph
from ..session.store import Store
from .drawing import graph_svg
from .messages import messages_html
from .origins import CallOrigins, run_origins
from .style import style_sheet
from .text import shown
from .timeline import timeline_html, usage_cells

MOST_NODES = 200
"""Nodes whose messages are on one page, unless they are named."""
_STATES = {"done": "finished"}
_PAGE = Markup(
    "<!doctype html>\n"
    '<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'\">"
    '<meta name="color-scheme" content="light dark">'
    "<title>{title}</title><style>\n{style}</style></head>"
    '<body class="report"><main>{body}</main></body></html>\n'
)


async def run_page(
    run: Run,
    store: Store,
    graph: Graph | PreparedGraph | None = None,
    *,
    nodes: Collection[str] | None = None,
) -> str:
    """One page with the run: its graph, its timeline, and what each node was sent and answered.

    `graph` is the graph as it is today: without it there is no drawing. `nodes` are the paths of
    the nodes whose messages are shown; without, those of all, up to `MOST_NODES`.
    """
    paths = [*run.records] if nodes is None else [path for path in run.records if path in nodes]
    origins = await run_origins(run, store, graph, nodes=paths[:MOST_NODES])
    declared = graph.graph if isinstance(graph, PreparedGraph) else graph
    return _PAGE.format(
        title=shown(f"run {run.run_id}"),
        style=Markup(style_sheet()),  # noqa: S704  a file of ours
        body=Markup("").join(_parts(run, declared, paths, origins)),
    )


def node_html(record: Record, calls: Sequence[CallOrigins]) -> Markup:
    """What a node was asked and answered: its messages by origin, replies, output and faults."""
    answers = zip(record.exchanges, calls, strict=False)
    facts = {
        "status": record.status,
        "because": record.because,
        "error": record.error,
        "attempts": str(record.attempt) if record.attempt > 1 and not record.faults else None,
        "choice": ", ".join(record.choices) if record.choices is not None else None,
        "task": record.task,
        "output": text_of(record.output) if record.output is not None else None,
        "sets": text_of(dict(record.session_state)) if record.session_state else None,
        "own state": text_of(dict(record.state)) if record.state else None,
    }
    return Markup(
        '<section class="node" data-node="{0}"><h3>{0} <span class="node-kind">{1}</span></h3>'
        "{2}{3}{4}</section>"
    ).format(
        shown(record.node),
        shown(record.kind),
        _facts(facts),
        _attempts(record) if record.faults else "",
        Markup("").join(_exchange(*each, is_numbered=bool(record.faults)) for each in answers),
    )


def _parts(
    run: Run,
    graph: Graph | None,
    paths: Sequence[str],
    origins: Mapping[str, Sequence[CallOrigins]],
) -> Iterator[Markup]:
    turn = run.turn
    yield Markup("<h1>{}</h1>").format(shown(f"{turn.graph}: run {run.run_id}"))
    yield _facts(
        {
            "session": run.session_id,
            "user": run.user_id,
            "status": turn.status,
            "turn": str(turn.number) if turn.number else None,
            "forked from": turn.forked_from,
            "message": turn.said,
            "answer": turn.answer,
            "error": turn.error,
        }
    )
    if graph is not None:
        states = {
            path: _STATES.get(record.status, record.status) for path, record in run.records.items()
        }
        yield Markup('<h2>Graph</h2><div class="drawing">{}</div>').format(graph_svg(graph, states))
    yield Markup("<h2>Timeline</h2>{}").format(timeline_html(run))
    yield Markup("<h2>Messages</h2>")
    for path in paths[:MOST_NODES]:
        yield node_html(run.records[path], origins.get(path, ()))
    if len(paths) > MOST_NODES:
        text = f"{len(paths) - MOST_NODES} more nodes are not shown; name one with --node"
        yield Markup("<p>{}</p>").format(text)


def _facts(facts: Mapping[str, str | None]) -> Markup:
    rows = (
        Markup('<dt>{}</dt><dd class="text">{}</dd>').format(name, shown(value))
        for name, value in facts.items()
        if value is not None
    )
    return Markup('<dl class="facts">{}</dl>').format(Markup("").join(rows))


def _attempts(record: Record) -> Markup:
    """A table of the attempts: what each failed with, what it used, and the wait after it."""
    rows = [
        _attempt(
            each.attempt,
            each.text,
            each.usage,
            f"{each.wait:.3f} s" if each.wait else "",
        )
        for each in record.faults
    ]
    if record.faults[-1].attempt < record.attempt:
        used = [each.usage for each in record.exchanges if each.attempt == record.attempt]
        rows.append(_attempt(record.attempt, record.status, sum(used, NO_USAGE), ""))
    return Markup(
        '<table class="attempts"><thead><tr><th scope="col">attempt</th>'
        '<th scope="col">what became of it</th><th scope="col">tokens</th>'
        '<th scope="col">cost</th><th scope="col">then waited</th></tr></thead>'
        "<tbody>{}</tbody></table>"
    ).format(Markup("").join(rows))


def _attempt(number: int, outcome: str, usage: Usage, wait: str) -> Markup:
    tokens, cost = usage_cells(usage)
    return Markup(
        '<tr><th scope="row">{}</th><td class="text">{}</td><td class="number">{}</td>'
        '<td class="number">{}</td><td class="number">{}</td></tr>'
    ).format(number, shown(outcome), tokens, cost, wait)


def _exchange(exchange: Exchange, call: CallOrigins, *, is_numbered: bool) -> Markup:
    usage = exchange.usage
    facts = {
        "attempt": str(exchange.attempt) if is_numbered else None,
        "prompt": exchange.prompt,
        "model": exchange.model,
        "took": f"{max(0.0, exchange.ended - exchange.started):.3f} s",
        "tokens": f"{usage.input_tokens} in, {usage.output_tokens} out",
        "cost": None if usage.cost is None else f"${usage.cost:.4f}",
        "reply": exchange.reply or None,
        "calls": ", ".join(f"{each.name}({each.arguments})" for each in exchange.tool_calls)
        or None,
    }
    messages = messages_html(call, tokens=usage.input_tokens or None)
    return Markup('<article class="call">{}{}</article>').format(messages, _facts(facts))
