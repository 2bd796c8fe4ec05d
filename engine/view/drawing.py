"""Draws a graph as SVG: the layered layout of `layout.py`, a graph inside a node in its frame.

Solid lines are control (`needs`, and routes with the router's labels), dashed ones are data, dotted
ones lead from member to member of a swarm. Whatever says what something looks like is a class; the
attributes are those without which it could not be read where no style sheet is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from math import ceil
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias
from unicodedata import combining, east_asian_width

from markupsafe import Markup, escape

from ..errors import listed
from ..graph.draw import Arrow, arrows_of, lines_of
from ..graph.fields import ModelSpec
from ..graph.graph import Graph
from ..graph.node import (
    Node,
    branches_of,
    ends_of,
    graph_in,
    items_of,
    loads_history,
    runs_last,
    tools_of,
)
from ..node_path import ROOT, NodePath
from .layout import Layout, Link, LinkRoute, lay_out
from .style import own_rules
from .text import shown

NodeState: TypeAlias = Literal["running", "finished", "skipped", "failed", "waiting"]
MARKS: Mapping[str, str] = {
    "running": "▶",
    "finished": "✓",
    "skipped": "↷",
    "failed": "✗",
    "waiting": "?",
}
"""What the corner of a box says of its node's state, so that it is not said by colour alone."""
NO_STATES: Mapping[str, str] = MappingProxyType({})

_MARGIN = 12.0
_LINE = 17.0
_PADDING = 10.0
_NARROWEST = 84.0
_TEXT = 13.0  # height of the letters
_LABEL = 11.0
_ASCENT = 12.0
_LABEL_LINE = 15.0
_MOST_OF_LABEL = 40  # characters
_MOST_OF_LINE = 60
_MOST_NAMED = 20
_FRAME_SIDE = 14.0
_NARROW_LETTERS = frozenset("iljtfrI.,:;'|!()[]/ ")
_WIDE_LETTERS = frozenset("mwMW@%")


def graph_svg(
    graph: Graph,
    states: Mapping[str, str] = NO_STATES,
    *,
    link: Callable[[NodePath], str] | None = None,
) -> Markup:
    """The graph as one `<svg>` element for a page, without script and style.

    Each node is a `<g class="node kind-member" data-node="research/writer">`, with the class
    `answer` if it can answer, and `state-finished` if `states` has one of its path; numbers of
    rounds and items count for the node that was declared, the last entry wins. A line is a
    `<path class="edge route" data-from="..." data-to="...">`. `link` gives the address that a node
    is a link to; without it the drawing is one image.
    """
    return _Drawing(states, link).of(_laid_out(graph, ROOT))


class SVGFile(NamedTuple):
    """A drawing that stands alone, and its size in pixels."""

    text: str
    width: int
    height: int


def svg_file(graph: Graph, states: Mapping[str, str] = NO_STATES) -> SVGFile:
    """The graph as a file of its own: with its style, for light and for dark screens."""
    drawing = _Drawing(states, None, style=f"<style>{escape(own_rules('graph'))}</style>")
    picture = _laid_out(graph, ROOT)
    return SVGFile(f"{drawing.of(picture)}\n", *_size(picture))


class _Box(NamedTuple):
    """A node as it will be drawn: its size, and for a frame what is in it."""

    path: NodePath
    node: Node
    lines: list[str]
    width: float
    height: float
    inner: _Picture | None


class _Picture(NamedTuple):
    """A graph laid out: its boxes and arrows with their places."""

    graph: Graph
    boxes: list[_Box]
    arrows: list[Arrow]
    layout: Layout


class _Drawing:
    """What all parts of one drawing share."""

    def __init__(
        self,
        states: Mapping[str, str],
        link: Callable[[NodePath], str] | None,
        *,
        style: str = "",
    ) -> None:
        self._states = {NodePath(path).declared: state for path, state in states.items()}
        self._link = link
        self._style = style

    def of(self, picture: _Picture) -> Markup:
        width, height = _size(picture)
        role = "group" if self._link else "img"
        paper = '<rect class="paper" width="100%" height="100%"/>' if self._style else ""
        # Parts are put together as plain text, of which a graph may have thousands.
        return Markup(  # noqa: S704  every text in it is escaped
            f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" role="{role}" width="{width}" '
            f'height="{height}" viewBox="0 0 {width} {height}" fill="none" stroke="currentColor" '
            'font-family="Verdana, DejaVu Sans, sans-serif" font-size="13" text-anchor="middle">'
            f"<title>{escape(shown(picture.graph.name))}</title>"
            f"<desc>{escape(shown(_described(picture)))}</desc>{self._style}{paper}"
            f"{self._moved(picture, _MARGIN, _MARGIN)}</svg>"
        )

    def _moved(self, picture: _Picture, x: float, y: float) -> str:
        parts = "".join(self._parts(picture))
        return f'<g transform="translate({_number(x)} {_number(y)})">{parts}</g>'

    def _parts(self, picture: _Picture) -> Iterator[str]:
        """Lines first, then boxes over them, then labels over both."""
        for arrow, route in zip(picture.arrows, picture.layout.routes, strict=True):
            yield (
                f'<path class="edge {arrow.kind}" {_DASHES[arrow.kind]}'
                f'data-from="{escape(arrow.source)}" data-to="{escape(arrow.target)}" '
                f'd="{_curve(route)}"/>'
            )
        tips = [route.tip for route in picture.layout.routes if route.tip]
        if tips:
            drawn = "".join(
                f"M{_number(x)} {_number(y)}l-4 {-9 if is_down else 9}h8z"
                for (x, y), is_down in tips
            )
            yield f'<path class="tips" fill="currentColor" d="{drawn}"/>'
        for box, (x, y) in zip(picture.boxes, picture.layout.centres, strict=True):
            is_answer = box.path.node_id in picture.graph.answering
            yield self._box(box, picture.graph, x, y, is_answer=is_answer)
            if box.inner:
                left = x - box.inner.layout.width / 2
                yield self._moved(box.inner, left, y - box.height / 2 + _heading(box.lines))
        yield from _labels(picture)

    def _box(self, box: _Box, graph: Graph, x: float, y: float, *, is_answer: bool) -> str:
        state = self._states.get(box.path)
        classes = ["node", f"kind-{_class_name(box.node.kind)}"]
        classes += ["frame"] if box.inner else []
        classes += ["answer"] if is_answer else []
        classes += [f"state-{state}"] if state in MARKS else []
        left, top = x - box.width / 2, y - box.height / 2
        title = escape(shown(_title(box, graph, state)))
        inner = f"<title>{title}</title>{_outline(box, left, top)}"
        middle = _number(x)
        for at, line in enumerate(box.lines):
            name = ("name", "kind", "about")[min(at, 2)]
            inner += _text(middle, top + _PADDING + _LINE * at + _ASCENT, escape(line), name)
        mark = MARKS.get(state or "", "")
        inner += _text(_number(left + box.width - 10), top + 14, mark, "mark")
        path = escape(str(box.path))
        drawn = f'<g class="{" ".join(classes)}" data-node="{path}">{inner}</g>'
        return f'<a href="{escape(self._link(box.path))}">{drawn}</a>' if self._link else drawn


def _size(picture: _Picture) -> tuple[int, int]:
    layout = picture.layout
    return ceil(layout.width + 2 * _MARGIN), ceil(layout.height + 2 * _MARGIN)


def _laid_out(graph: Graph, outer: NodePath) -> _Picture:
    arrows = list(arrows_of(graph))
    labels: dict[str, list[str]] = {}
    for arrow in arrows:
        if arrow.kind == "route":
            labels.setdefault(arrow.target, []).append(_label(arrow))
    boxes = [
        _boxed(node, outer.child(node_id), labels.get(node_id, ()))
        for node_id, node in graph.nodes.items()
    ]
    number = {node_id: at for at, node_id in enumerate(graph.nodes)}
    links = [Link(number[arrow.source], number[arrow.target], _group(arrow)) for arrow in arrows]
    spaces = {number[node_id]: _LABEL_LINE * len(lines) for node_id, lines in labels.items()}
    layout = lay_out([(box.width, box.height) for box in boxes], links, spaces)
    return _Picture(graph, boxes, arrows, layout)


def _group(arrow: Arrow) -> str:
    """Which lines may share a part: those that look alike."""
    return "data" if arrow.kind == "data" else "handover" * (arrow.kind == "handover")


def _boxed(node: Node, path: NodePath, labels: Iterator[str] | list[str] | tuple[()]) -> _Box:
    inner = graph_in(node)
    lines = [_cut(line, _MOST_OF_LINE) for line in lines_of(path.node_id, node)]
    widest = max(_width(line) for line in lines)
    widest = max([widest, *(_width(label, _LABEL) for label in labels)])
    width, height = widest + 2 * _PADDING, _LINE * len(lines) + 2 * _PADDING
    if not isinstance(inner, Graph):
        width += 24 if branches_of(node) else 12
        return _Box(path, node, lines, max(_NARROWEST, width), height, None)
    heading = [f"{path.node_id} ({node.kind})", *_repetition(node)]
    lines = [_cut(line, _MOST_OF_LINE) for line in heading]
    picture = _laid_out(inner, path)
    inside = max(_width(lines[-1]) + 2 * _PADDING, picture.layout.width + 2 * _FRAME_SIDE)
    height = picture.layout.height + _heading(lines) + _FRAME_SIDE
    return _Box(path, node, lines, max(width, inside), height, picture)


def _heading(lines: list[str]) -> float:
    """How much of a frame is above what it surrounds."""
    return _LINE * len(lines) + 2 * _PADDING


def _repetition(node: Node) -> Iterator[str]:
    """Until when, or for what, the graph in a frame runs repeatedly."""
    for end in ends_of(node).values():
        yield f"until {end}"
    if source := items_of(node):
        yield f"for each of {source.expression}"


def _outline(box: _Box, left: float, top: float) -> str:
    """The shape of a box: what it is by the protocols of its kind, as in the Mermaid drawing."""
    x, y, w, h = map(_number, (left, top, box.width, box.height))
    node = box.node
    if box.inner is None and branches_of(node):
        side, rest, half = 12, _number(box.width - 24), _number(box.height / 2)
        d = f"M{_number(left + side)} {y}h{rest}l{side} {half}l-{side} {half}h-{rest}"
        return f'<path class="box" d="{d}l-{side} -{half}z"/>'
    corner = 4
    if box.inner is not None:
        corner = 10
    elif loads_history(node) or runs_last(node):
        corner = ceil(box.height / 2)
    drawn = f'<rect class="box" x="{x}" y="{y}" width="{w}" height="{h}" rx="{corner}"/>'
    if box.inner is None and not node.prompts and not loads_history(node):
        bars = f"M{_number(left + 6)} {y}v{h}M{_number(left + box.width - 6)} {y}v{h}"
        drawn += f'<path class="bars" d="{bars}"/>'
    return drawn


def _curve(route: LinkRoute) -> str:
    """The path through the points of a route; it enters and leaves each layer vertically."""
    parts: list[str] = []
    before: tuple[float, float] | None = None
    for x, y in route.points:
        if before is None:
            parts.append(f"M{_number(x)} {_number(y)}")
        elif x == before[0]:
            parts.append(f"V{_number(y)}")
        else:
            middle = _number((before[1] + y) / 2)
            start, end = _number(before[0]), _number(x)
            parts.append(f"C{start} {middle} {end} {middle} {end} {_number(y)}")
        before = x, y
    return "".join(parts)


def _labels(picture: _Picture) -> Iterator[str]:
    """The labels of routes, each above the box that it leads to."""
    number = {node_id: at for at, node_id in enumerate(picture.graph.nodes)}
    drawn: dict[str, int] = {}
    for arrow in picture.arrows:
        if arrow.kind != "route":
            continue
        at = number[arrow.target]
        x, y = picture.layout.centres[at]
        above = drawn.get(arrow.target, 0)
        drawn[arrow.target] = above + 1
        bottom = y - picture.boxes[at].height / 2 - 12 - _LABEL_LINE * above
        label = _label(arrow)
        width = _width(label, _LABEL) + 6
        yield (
            f'<rect class="halo" x="{_number(x - width / 2)}" y="{_number(bottom - 11)}" '
            f'width="{_number(width)}" height="{_number(_LABEL_LINE)}" stroke="none"/>'
        ) + _text(_number(x), bottom, escape(label), "label")


def _label(arrow: Arrow) -> str:
    return _cut(", ".join(arrow.labels))


def _cut(text: str, most: int = _MOST_OF_LABEL) -> str:
    """A text on one line, safe to show, at most so many characters of it."""
    line = " ".join(text.split())
    return shown(line if len(line) <= most else f"{line[: most - 1]}…")


def _text(x: str, y: float, escaped: str, name: str) -> str:
    return (
        f'<text class="{name}" x="{x}" y="{_number(y)}" fill="currentColor" '
        f'stroke="none">{escaped}</text>'
    )


def _title(box: _Box, graph: Graph, state: str | None) -> str:
    """What is said of a node where the pointer is on it: kind, model, tools, prompt, state."""
    model = box.node.model or graph.model
    facts = [box.node.kind]
    if template := graph.templates.get(box.path.node_id):
        facts += [f"model {model.id if isinstance(model, ModelSpec) else model}"] if model else []
        facts += [f"prompt {template}"]
    toolbox = tools_of(box.node)
    if toolbox is not None:
        facts.append(f"tools {listed(toolbox.tools, at_most=_MOST_NAMED)}")
    return f"{box.path}: {'; '.join(facts)}{f'; {state}' if state else ''}"


def _described(picture: _Picture) -> str:
    """The graph in words, for those who do not see it."""
    nodes = [f"{box.path.node_id} ({box.node.kind})" for box in picture.boxes]
    routes = [
        f"{arrow.source} leads to {arrow.target} ({', '.join(arrow.labels)})"
        for arrow in picture.arrows
        if arrow.kind == "route"
    ]
    parts = [f"Nodes: {listed(nodes, at_most=_MOST_NAMED)}"]
    parts += [f"Routes: {listed(routes, at_most=_MOST_NAMED)}"] if routes else []
    parts += [f"Answers: {listed(picture.graph.answering, at_most=_MOST_NAMED)}"]
    return ". ".join(parts) + "."


_DASHES: Mapping[str, str] = {
    "needs": "",
    "route": "",
    "data": 'stroke-dasharray="5 4" ',
    "handover": 'stroke-dasharray="1 4" stroke-linecap="round" ',
}


def _class_name(kind: str) -> str:
    """The name of a kind as a part of a class."""
    return re.sub(r"[^a-z0-9]+", "-", kind.lower())


def _width(text: str, size: float = _TEXT) -> float:
    """About how many pixels wide a text is, in a wide sans-serif font."""
    return size * sum(map(_letter_width, text))


@lru_cache(maxsize=4096)
def _letter_width(letter: str) -> float:
    if combining(letter):
        return 0
    if east_asian_width(letter) in "WF":
        return 1.05
    if letter in _WIDE_LETTERS:
        return 0.95
    if letter in _NARROW_LETTERS:
        return 0.38
    return 0.75 if letter.isupper() else 0.64


def _number(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")
