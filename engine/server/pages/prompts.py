"""The page of a graph's prompts: its templates, their cases, and what has changed in them."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...errors import InputError
from ...graph.graph import Graph
from ...graph.node import further_templates, graph_in
from ...node_path import NodePath
from ...records import Run
from ...run.dry_run.assumptions import find_node
from ...session.store import Store
from ...testing.graph_cases import CheckedCases, check_cases_of
from ...view.difference import difference_html
from ..access import caller
from ..server import server_of
from .page import PAGE, UserQuery, read_query, show


class PromptsQuery(UserQuery):
    """Whose templates, or those of one node; with `cases` the cases are checked."""

    graph: str | None = None
    node: str | None = None
    cases: bool = False


class Template(Struct, frozen=True):
    """A template of a graph: its text, and the nodes whose prompts are made of it."""

    name: str
    source: str
    nodes: Sequence[str]


class ChangedTemplate(Struct, frozen=True):
    """A template that is not what it was in a run, with the words that came and went."""

    name: str
    node: str
    difference: Markup


async def show_prompts(request: Request) -> Response:
    """All templates of a graph, also those that others include; their cases; what has changed."""
    query, server = read_query(request, PromptsQuery), server_of(request)
    graph = server.named(query.graph or next(iter(server.runners), "")).graph
    user_id = caller(request).user(query.user_id)
    templates = _templates(graph)
    if query.node is not None:
        templates = [each for each in templates if query.node in each.nodes]
    has_cases = graph.file is not None and server.project is not None
    checked: CheckedCases | None = None
    if query.cases and graph.file is not None and server.project is not None:
        checked = await to_thread(check_cases_of, Path(graph.file), server.project)
    last = await _last_run(server.store, user_id, graph.name)
    values = {
        "graph": graph,
        "templates": templates,
        "node": query.node,
        "has_cases": has_cases,
        "checked": checked,
        "last": last,
        "changed": await _changed(server.store, last, graph) if last is not None else [],
    }
    title = f"Prompts of {graph.name}"
    return show(request, "prompts.html", title=title, user_id=user_id, values=values)


async def _last_run(store: Store, user_id: str | None, graph: str) -> Run | None:
    """The newest run of the graph in the latest sessions of the user."""
    for info in await store.sessions(user_id, limit=PAGE):
        for turn in await store.runs(info.key, limit=PAGE):
            if turn.graph == graph:
                return await store.run(info.key, turn.run_id)
    return None


async def _changed(store: Store, run: Run, graph: Graph) -> list[ChangedTemplate]:
    """The templates that the run has used and that are others now; each text once."""
    found: dict[tuple[str, str, str], ChangedTemplate] = {}
    for record in run.records.values():
        declared = NodePath(record.node).declared
        try:
            owner, _ = find_node(graph, declared)
        except InputError:
            continue  # the graph has no such node any more
        for exchange in record.exchanges[:1]:
            if exchange.prompt_hash == owner.prompts.prompt_hash(exchange.prompt):
                continue
            now = owner.prompts.sources(exchange.prompt)
            for name, then in (await store.prompt(exchange.prompt_hash) or {}).items():
                key = (name, then, now.get(name, ""))
                if then != now.get(name, "") and key not in found:
                    found[key] = ChangedTemplate(
                        name, declared, difference_html(then, now.get(name, ""))
                    )
    return [*found.values()]


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
