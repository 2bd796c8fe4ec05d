"""The drawing of a graph."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from ...graph.graph import Graph


def graph_svg(graph: Graph, states: Mapping[str, str]) -> Markup:
    """The nodes of a graph as a list."""
    item = Markup('<li class="node kind-{} state-{}" data-node="{}">{}</li>')
    items = (
        item.format(node.kind, states.get(node_id, "none"), node_id, node_id)
        for node_id, node in graph.nodes.items()
    )
    return Markup("<ul>{}</ul>").format(Markup("").join(items))
