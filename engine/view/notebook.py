"""What a notebook shows of a graph, a run and a rendering: pieces with their style, no script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from markupsafe import Markup

from ..graph.graph import Graph
from ..messages import Message
from ..records import Record, Run
from ..run.dry_run.rendering import RenderedNode, Rendering
from .drawing import graph_svg
from .style import style_sheet
from .text import shown


def graph_html(graph: Graph) -> Markup:
    """The drawing of a graph."""
    return _output(graph_svg(graph))


def run_html(run: Run) -> Markup:
    """The message, the answer or what is in its place, and what each node did."""
    usage = run.usage
    facts = [f"run {run.run_id}", run.status, f"{run.duration:.1f} s"]
    facts += [f"{usage.input_tokens} tokens in, {usage.output_tokens} out"] if usage.calls else []
    return _output(
        _paragraph("facts", ", ".join(facts)),
        _text("message", run.input),
        *(_text("question", question.text) for question in run.questions),
        _text("answer", run.answer) if run.answer is not None else "",
        _text("error", run.turn.error) if run.turn.error is not None else "",
        _table(
            ("node", "kind", "status", "seconds", "tokens", ""), map(_row, run.records.values())
        ),
    )


def rendering_html(rendering: Rendering) -> Markup:
    """The messages of each prompt, and why a node has none."""
    parts = (part for node in rendering.values() for part in _node(node))
    return _output(*parts)


def _output(*parts: str) -> Markup:
    """Pieces as one output of a notebook, which has no style sheet of ours."""
    body = Markup("\n").join(part for part in parts if part)
    return Markup('<style>{}</style>\n<div class="view">\n{}\n</div>').format(style_sheet(), body)


def _row(record: Record) -> tuple[str, ...]:
    usage = record.usage
    return (
        record.node,
        record.kind,
        record.status,
        f"{max(0.0, record.ended - record.started):.2f}",
        f"{usage.input_tokens} + {usage.output_tokens}" if usage.calls else "",
        record.because or record.error or "",
    )


def _node(node: RenderedNode) -> Iterator[Markup]:
    facts = [node.id, node.kind, *([node.template] if node.template else [])]
    facts += [f"skipped: {node.because}"] if node.because is not None else []
    yield _paragraph("facts", ", ".join(facts))
    for prompt in node.prompts:
        yield from map(_message, prompt.messages)


def _message(message: Message) -> Markup:
    return _text(message.role, message.content)


def _paragraph(name: str, text: str) -> Markup:
    return Markup('<p class="{}">{}</p>').format(name, shown(text))


def _text(name: str, text: str) -> Markup:
    return Markup('<p class="name">{}</p><pre>{}</pre>').format(name, shown(text))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Markup:
    def line(cells: Iterable[str], tag: Markup) -> Markup:
        parts = (Markup("<{}>{}</{}>").format(tag, shown(cell), tag) for cell in cells)
        return Markup("<tr>{}</tr>").format(Markup().join(parts))

    body = Markup("\n").join([line(head, Markup("th")), *(line(row, Markup("td")) for row in rows)])
    return Markup("<table>\n{}\n</table>").format(body)
