"""The page of a graph's prompts: its templates, and who uses them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...graph.graph import Graph
from ...graph.node import further_templates, graph_in
from ..server import server_of
from .page import UserQuery, read_query, show


class PromptsQuery(UserQuery):
    """Whose templates; those of one node first."""

    graph: str | None = None
    node: str | None = None


class Template(Struct, frozen=True):
    """A template of a graph: its text, and the nodes whose prompts are made of it."""

    name: str
    source: str
    nodes: Sequence[str]


async def show_prompts(request: Request) -> Response:
    """All templates of a graph, also those that others include."""
    query, server = read_query(request, PromptsQuery), server_of(request)
    graph = server.named(query.graph or next(iter(server.runners), "")).graph
    templates = _templates(graph)
    if query.node is not None:
        templates = [each for each in templates if query.node in each.nodes]
    values = {"graph": graph, "templates": templates, "node": query.node}
    title = f"Prompts of {graph.name}"
    return show(request, "prompts.html", title=title, values=values)


def _templates(graph: Graph) -> list[Template]:
    """The templates of the graph and of those inside it; two texts of one name are two."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for path, owner, name in _used(graph, ""):
        for included, source in owner.prompts.sources(name).items():
            found.setdefault((included, source), {})[path] = None
    return [Template(name, source, [*nodes]) for (name, source), nodes in found.items()]


def _used(graph: Graph, outer: str) -> Iterator[tuple[str, Graph, str]]:
    """Each node with a prompt: its path, the graph that has it, and the name of its template."""
    for node_id, node in graph.nodes.items():
        names = [graph.templates[node_id]] if node_id in graph.templates else []
        for name in dict.fromkeys([*names, *further_templates(node)]):
            yield outer + node_id, graph, name
        if isinstance(inner := graph_in(node), Graph):
            yield from _used(inner, f"{outer}{node_id}/")


routes = [Route("/prompts", show_prompts)]
