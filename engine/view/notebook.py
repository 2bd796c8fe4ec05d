"""What a notebook shows of a graph, a run and a rendering: pieces with their style, no script."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from ..graph.graph import Graph
from ..records import Run
from ..run.dry_run.rendering import RenderedNode, Rendering
from .drawing import graph_svg
from .messages import messages_html
from .origins import prompt_origins
from .style import style_sheet
from .text import shown
from .timeline import timeline_html


def graph_html(graph: Graph) -> Markup:
    """The drawing of a graph."""
    return _output(graph_svg(graph))


def run_html(run: Run) -> Markup:
    """The message, the answer or what is in its place, and the timeline of the nodes."""
    usage = run.usage
    facts = [f"run {run.run_id}", run.status, f"{run.duration:.1f} s"]
    facts += [f"{usage.input_tokens} tokens in, {usage.output_tokens} out"] if usage.calls else []
    return _output(
        _paragraph("facts", ", ".join(facts)),
        _text("message", run.input),
        *(_text("question", question.text) for question in run.questions),
        _text("answer", run.answer) if run.answer is not None else "",
        _text("error", run.turn.error) if run.turn.error is not None else "",
        timeline_html(run),
    )


def rendering_html(rendering: Rendering) -> Markup:
    """The messages of each prompt, coloured by origin, and why a node has none."""
    parts = (part for node in rendering.values() for part in _node(node))
    return _output(*parts)


def _output(*parts: str) -> Markup:
    """Pieces as one output of a notebook, which has no style sheet of ours."""
    body = Markup("\n").join(filter(None, parts))
    style = Markup(style_sheet())  # noqa: S704  a file of ours
    return Markup('<style>{}</style>\n<div class="view">\n{}\n</div>').format(style, body)


def _node(node: RenderedNode) -> Iterator[Markup]:
    facts = [node.id, node.kind, *([node.template] if node.template else [])]
    facts += [f"skipped: {node.because}"] if node.because is not None else []
    yield _paragraph("facts", ", ".join(facts))
    for prompt in node.prompts:
        yield messages_html(prompt_origins(prompt, node.id))


def _paragraph(name: str, text: str) -> Markup:
    return Markup('<p class="{}">{}</p>').format(name, shown(text))


def _text(name: str, text: str) -> Markup:
    return Markup('<p class="name">{}</p><pre>{}</pre>').format(name, shown(text))
