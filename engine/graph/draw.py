"""Renders a graph as a Mermaid flowchart.

Solid arrows are control (`needs` and routes, with the router's labels), dashed ones are data
(`reads`). A thick border marks the nodes that can give the run's answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from textwrap import shorten, wrap

from .graph import Graph
from .node import Node, branches_of, loads_history, runs_last
from .plan import Edge

_MAX_ROLE = 60
_MAX_LINE = 28
_SPECIAL = re.compile(r'["#<>&`|\\*~\[\]{}]|^\s*(?:\d+[.)]|[-+])')
_STYLE = (
    "classDef node_ fill:#f6f8fa,stroke:#57606a,color:#1f2328",
    "classDef answer fill:#ddf4ff,stroke:#0969da,stroke-width:3px,color:#1f2328",
)


def mermaid(graph: Graph) -> str:
    """The Mermaid source of a graph; it depends on nothing else."""
    lines = ["flowchart TD"]
    lines += [f"    {_box(node_id, node)}" for node_id, node in graph.nodes.items()]
    lines += [f"    {arrow}" for arrow in _arrows(graph.plan.edges)]
    answers = [node_id for node_id in graph.nodes if node_id in graph.answering]
    others = [node_id for node_id in graph.nodes if node_id not in graph.answering]
    lines += [f"    {style}" for style in _STYLE]
    lines += [f"    class {_names(others)} node_"] if others else []
    lines += [f"    class {_names(answers)} answer"]
    return "\n".join(lines) + "\n"


def _box(node_id: str, node: Node) -> str:
    """A node with its kind and role, in a shape that depends on what the kind does."""
    role: object = getattr(node, "role", "")
    about = node.description or (role if isinstance(role, str) else "")
    short = shorten(" ".join(about.split()), _MAX_ROLE, placeholder=" …")
    lines = [node_id, f"({node.kind})", *wrap(short, _MAX_LINE, break_on_hyphens=False)]
    label = "<br/>".join(_escaped(line) for line in lines)
    begin, end = _brackets(node)
    return f'{_name(node_id)}{begin}"{label}"{end}'


def _brackets(node: Node) -> tuple[str, str]:
    if branches_of(node):
        return "{", "}"
    if loads_history(node):
        return "[(", ")]"
    if runs_last(node):
        return "([", "])"
    return ("[", "]") if node.prompts else ("[[", "]]")


def _arrows(edges: Iterable[Edge]) -> Iterator[str]:
    """One arrow for each pair of nodes; a control edge includes data."""
    labels: dict[tuple[str, str], dict[str, None]] = {}
    reads: dict[tuple[str, str], None] = {}
    for edge in edges:
        pair = (edge.source, edge.target)
        if edge.kind == "reads":
            reads[pair] = None
        else:
            labels.setdefault(pair, {}).update(dict.fromkeys(edge.labels))
    for (source, target), names in labels.items():
        label = f'|"{_escaped(", ".join(names))}"|' if names else ""
        yield f"{_name(source)} -->{label} {_name(target)}"
    for source, target in reads:
        if (source, target) not in labels:
            yield f"{_name(source)} -.-> {_name(target)}"


def _names(node_ids: Iterable[str]) -> str:
    return ",".join(map(_name, node_ids))


def _name(node_id: str) -> str:
    """An id that is no keyword of Mermaid, such as `end`."""
    return f"n_{node_id}"


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
