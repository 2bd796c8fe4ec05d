"""Renders a graph as a Mermaid flowchart.

Solid arrows are control (`needs` and routes, with the router's labels), dashed ones are data
(`reads`). A thick border marks the nodes that can give the run's answer. A node with a graph inside
is a frame around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import shorten, wrap
from typing import Literal, NamedTuple

from .graph import Graph
from .node import Node, branches_of, graph_in, handovers_of, loads_history, runs_last

_MAX_ROLE = 60
_MAX_LINE = 28
_SPECIAL = re.compile(r'["#<>&`|\\*~\[\]{}]|^\s*(?:\d+[.)]|[-+])')
_STYLE = (
    "classDef node_ fill:#f6f8fa,stroke:#57606a,color:#1f2328",
    "classDef answer fill:#ddf4ff,stroke:#0969da,stroke-width:3px,color:#1f2328",
)


def mermaid(graph: Graph) -> str:
    """The Mermaid source of a graph; it depends on nothing else."""
    lines = ["flowchart TD", *_parts(graph, "", "    ")]
    answers = list(_named(graph, "", is_answering=True))
    others = list(_named(graph, "", is_answering=False))
    lines += [f"    {style}" for style in _STYLE]
    lines += [f"    class {','.join(others)} node_"] if others else []
    lines += [f"    class {','.join(answers)} answer"]
    return "\n".join(lines) + "\n"


def _parts(graph: Graph, outer: str, indent: str) -> Iterator[str]:
    """The boxes and arrows of a graph; a node with a graph inside is a frame around that."""
    for node_id, node in graph.nodes.items():
        name, inner = _name(outer, node_id), graph_in(node)
        if isinstance(inner, Graph):
            yield f'{indent}subgraph {name}["{_escaped(f"{node_id} ({node.kind})")}"]'
            yield from _parts(inner, name, f"{indent}    ")
            yield f"{indent}end"
        else:
            begin, end = _brackets(node)
            yield f'{indent}{name}{begin}"{_label(node_id, node)}"{end}'
    for arrow in arrows_of(graph):
        label = f'|"{_escaped(", ".join(arrow.labels))}"|' if arrow.labels else ""
        line = "-.->" if arrow.kind == "data" else f"-->{label}"
        yield f"{indent}{_name(outer, arrow.source)} {line} {_name(outer, arrow.target)}"


def _named(graph: Graph, outer: str, *, is_answering: bool) -> Iterator[str]:
    """The names of the boxes of the nodes that can answer, or of the others."""
    for node_id, node in graph.nodes.items():
        name, inner = _name(outer, node_id), graph_in(node)
        if (node_id in graph.answering) is is_answering:
            yield name
        if isinstance(inner, Graph):
            yield from _named(inner, name, is_answering=is_answering)


def lines_of(node_id: str, node: Node) -> list[str]:
    """What a box says: the node's id, its kind, and its description or role in short."""
    role: object = getattr(node, "role", "")
    about = node.description or (role if isinstance(role, str) else "")
    short = " ".join(about.split())
    if len(short) <= _MAX_LINE:  # most are, and textwrap takes more than half of a box's time
        return [node_id, f"({node.kind})", *filter(None, [short])]
    short = shorten(short, _MAX_ROLE, placeholder=" …")
    return [node_id, f"({node.kind})", *wrap(short, _MAX_LINE, break_on_hyphens=False)]


def _label(node_id: str, node: Node) -> str:
    return "<br/>".join(map(_escaped, lines_of(node_id, node)))


def _brackets(node: Node) -> tuple[str, str]:
    if branches_of(node):
        return "{", "}"
    if loads_history(node):
        return "[(", ")]"
    if runs_last(node):
        return "([", "])"
    return ("[", "]") if node.prompts else ("[[", "]]")


class Arrow(NamedTuple):
    """An arrow between two nodes of a graph; a route has the router's labels."""

    source: str
    target: str
    kind: Literal["needs", "route", "data", "handover"]
    labels: tuple[str, ...] = ()


def arrows_of(graph: Graph) -> Iterator[Arrow]:
    """One arrow for each pair of nodes, as a control edge includes data; then the handovers."""
    labels: dict[tuple[str, str], dict[str, None]] = {}
    reads: dict[tuple[str, str], None] = {}
    for edge in graph.plan.edges:
        pair = (edge.source, edge.target)
        if edge.kind == "reads":
            reads[pair] = None
        else:
            labels.setdefault(pair, {}).update(dict.fromkeys(edge.labels))
    for pair, names in labels.items():
        yield Arrow(*pair, "route" if names else "needs", tuple(names))
    for pair in reads:
        if pair not in labels:
            yield Arrow(*pair, "data")
    for node_id, node in graph.nodes.items():
        for other in handovers_of(node):
            yield Arrow(node_id, other, "handover", ("hands over",))


def _name(outer: str, node_id: str) -> str:
    """A name that is no keyword of Mermaid, such as `end`; ids have no capitals."""
    return f"{outer}_IN_{node_id}" if outer else f"n_{node_id}"


def _escaped(text: str) -> str:
    """Escape a text for a label on one line: characters of Mermaid's syntax become codes."""
    visible = "".join(character if character.isprintable() else " " for character in text)
    return _SPECIAL.sub(
        lambda match: "".join(
            character if character.isalnum() or character == " " else f"#{ord(character)};"
            for character in match[0]
        ),
        visible,
    )
