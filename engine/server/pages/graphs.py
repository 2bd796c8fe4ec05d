"""The pages of graphs: the drawing, the nodes, the problems, and the prompts rendered."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from markupsafe import Markup
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...errors import TeamgraphError
from ...graph.graph import Graph
from ...graph.node import Node, branches_of, graph_in, loads_history, takes_of, tools_of
from ...messages import JSON
from ...node_path import NodePath
from ...run.dry_run.assumptions import written_output
from ...run.runner import Runner
from ...view.drawing import graph_svg
from ...view.messages import messages_html
from ...view.origins import prompt_origins
from ..access import caller
from ..server import server_of
from .page import (
    ListQuery,
    UserQuery,
    pages_around,
    plain_text,
    read_query,
    show,
    split_query,
)

ASSUME = "assume:"
"""How the fields of a form begin that say what a node gives."""
NODES = 100
"""Nodes on one page of a graph: its table, its menus and its prompts."""


class GraphQuery(ListQuery):
    """Which graph and which page of its nodes, and what its prompts are rendered for."""

    graph: str | None = None
    session_id: str | None = None
    message: str | None = None


class NodeRow(Struct, frozen=True):
    """A node in the table of a graph."""

    path: str
    kind: str
    description: str
    answers: bool
    sources: Sequence[str]
    model: str | None
    tools: Sequence[str]
    template: str | None


class Menu(Struct, frozen=True):
    """A field for what a node gives: its labels, if it is a router, and those that are chosen."""

    path: str
    labels: Sequence[str]
    many: bool
    chosen: Sequence[str]


class ShownPrompt(Struct, frozen=True):
    """A rendered prompt: the name of its template and its messages as HTML."""

    template: str
    messages: Markup


class NodePrompts(Struct, frozen=True):
    """What a node would send, as HTML."""

    id: str
    because: str | None
    prompts: Sequence[ShownPrompt]


async def list_graphs(request: Request) -> Response:
    """All graphs, those that cannot be loaded too."""
    query, server = read_query(request, UserQuery), server_of(request)
    user_id = caller(request).user(query.user_id)
    graphs = [runner.graph for runner in server.runners.values()]
    values = {"graphs": graphs, "broken": server.broken}
    return show(request, "graphs.html", title="Graphs", user_id=user_id, values=values)


async def show_graph(request: Request) -> Response:
    """A graph, with its prompts for a message if there is one."""
    chosen, rest = split_query(request, ASSUME)
    query, server = read_query(request, GraphQuery, rest), server_of(request)
    broken = server.broken.get(query.graph or "", ())
    if broken and query.graph not in server.runners:
        return show(request, "broken.html", title=str(query.graph), values={"problems": broken})
    runner = server.named(query.graph)
    graph, user_id = runner.graph, caller(request).user(query.user_id)
    rows = list(islice(_rows(graph, None, ""), query.offset, query.offset + NODES + 1))
    before, after = pages_around(rows, query.offset, NODES)
    paths = {row.path for row in rows[:NODES]}
    rendered, error = list[NodePrompts](), ""
    if query.message is not None:
        try:
            rendered = await _rendered(runner, query, user_id, chosen, paths)
        except TeamgraphError as raised:
            error = str(raised)
    if (drawing := server.drawings.get(graph.name)) is None:
        drawing = server.drawings[graph.name] = graph_svg(graph)
    menus = list(_menus(graph, chosen, "", paths))
    values = {
        "graph": graph,
        "drawing": drawing,
        "rows": rows[:NODES],
        "before": before,
        "after": after,
        "offset": query.offset,
        "broken": broken,
        "problems": [*graph.warnings, *graph.unknown_models],
        "menus": menus,
        "assumes_output": any(menu.chosen and not menu.labels for menu in menus),
        "asked": {f"{ASSUME}{path}": given for path, given in chosen.items()},
        "query": query,
        "rendered": rendered,
        "error": error,
    }
    return show(request, "graph.html", title=graph.name, user_id=user_id, values=values)


async def _rendered(
    runner: Runner,
    query: GraphQuery,
    user_id: str | None,
    chosen: Mapping[str, Sequence[str]],
    paths: Collection[str],
) -> list[NodePrompts]:
    """What these nodes would send, each with those inside it."""
    wanted = {NodePath(path).outermost for path in paths}
    render = partial(
        runner.render,
        plain_text(query.message or ""),
        assume={path: _assumed(runner.graph, path, given) for path, given in chosen.items()},
        user_id=user_id,
        session_id=query.session_id,
    )
    rendering = await to_thread(render)
    return [
        NodePrompts(
            node.id,
            node.because,
            [
                ShownPrompt(each.template, messages_html(prompt_origins(each, node.id)))
                for each in node.prompts
            ],
        )
        for node in rendering.values()
        if NodePath(node.id).outermost in wanted
    ]


def _assumed(graph: Graph, path: str, given: Sequence[str]) -> JSON:
    return [*given] if len(given) > 1 else written_output(graph, path, given[0])


def _rows(graph: Graph, model: str | None, outer: str) -> Iterator[NodeRow]:
    """The nodes of a graph, each followed by those of the graph inside it."""
    model = _model_id(graph) or model
    for node_id, node in graph.nodes.items():
        toolbox, own = tools_of(node), _model_id(node) or model
        template = graph.templates.get(node_id)
        yield NodeRow(
            path=outer + node_id,
            kind=node.kind,
            description=node.description,
            answers=not outer and node_id in graph.answering,
            sources=graph.plan.stops[node_id].sources,
            model=own if template else None,
            tools=[*toolbox.tools] if toolbox is not None else [],
            template=template,
        )
        if isinstance(inner := graph_in(node), Graph):
            yield from _rows(inner, own, f"{outer}{node_id}/")


def _model_id(declared: Graph | Node) -> str | None:
    model = declared.model
    return model if model is None or isinstance(model, str) else model.id


def _menus(
    graph: Graph, chosen: Mapping[str, Sequence[str]], outer: str, paths: Collection[str]
) -> Iterator[Menu]:
    """A field for each node of these paths whose output can be assumed, or is.

    Those inside of others are nodes of their own.
    """
    for node_id, node in graph.nodes.items():
        path, inner = outer + node_id, graph_in(node)
        if isinstance(inner, Graph):
            yield from _menus(inner, chosen, f"{path}/", paths)
        elif (path in paths or path in chosen) and not loads_history(node):
            labels = tuple(branches_of(node))
            yield Menu(path, labels, bool(labels) and takes_of(node)[1] > 1, chosen.get(path, ()))


routes = [Route("/", list_graphs), Route("/graph", show_graph)]
