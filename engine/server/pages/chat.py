"""The page of a chat: the last turns of a session, the run in progress, and a box for a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import uuid4

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...graph.graph import Graph
from ...node_path import NodePath
from ...records import Run, SessionKey, Turn
from ...view.drawing import graph_svg
from ..access import caller
from ..api_runs import StartBody, begin_detached, started
from ..server import Server, server_of
from .page import PAGE, UserQuery, go_to, read_form, read_query, show

MOST_DRAWN = 100
"""Nodes of a graph that is drawn on the pages of chats and runs; its own page has any drawing."""
STATES = {"done": "finished"}
"""What the drawing calls the status of a record, where that has another name."""


class ChatQuery(UserQuery):
    """The graph and the session of a chat; without them the first graph, and a new session."""

    graph: str | None = None
    session_id: str | None = None


class SayForm(ChatQuery):
    """A message."""

    message: str = ""


async def show_chat(request: Request) -> Response:
    """The last turns of the session, and the newest run as it is."""
    query, server = read_query(request, ChatQuery), server_of(request)
    user_id = caller(request).user(query.user_id)
    key = SessionKey(user_id, query.session_id or uuid4().hex)
    turns = await server.store.runs(key, limit=PAGE) if query.session_id else []
    graph = server.named(query.graph or _graph_of(server, turns)).graph
    run = await server.store.run(key, turns[0].run_id) if turns else None
    values = {
        "graph": graph,
        "key": key,
        "turns": turns[::-1],
        "run": run,
        "steps": run.records.values() if run is not None else (),
        "drawing": drawing_of(graph, run),
        "is_live": run is not None and is_live(server, run),
        "sessions": await server.store.sessions(user_id, limit=PAGE),
    }
    title = f"Chat with {graph.name}"
    return show(request, "chat.html", title=title, user_id=user_id, values=values)


async def say(request: Request) -> Response:
    """Run the graph on a message, and show the run while it goes on."""
    form = await read_form(request, SayForm)
    body = StartBody(
        message=form.message,
        graph=form.graph,
        user_id=form.user_id,
        session_id=form.session_id,
        detach=True,
    )
    live = await begin_detached(request, started(request, body))
    return go_to(request, "/chat", graph=form.graph, **live.key._asdict())


def drawing_of(
    graph: Graph, run: Run | None, link: Callable[[NodePath], str] | None = None
) -> Markup:
    """The drawing of a graph with the states of a run; none of one that is too large for it."""
    if len(graph.nodes) > MOST_DRAWN:
        return Markup()
    records = run.records if run is not None else {}
    states = {path: STATES.get(each.status, each.status) for path, each in records.items()}
    return graph_svg(graph, states, link=link)


def is_live(server: Server, run: Run) -> bool:
    """Whether events of the run are to come, or it is resumed where somebody asks for them."""
    if run.status != "running":
        return False
    live = server.runs.live(run.user_id, run.run_id)
    return not server.is_read_only or (live is not None and not live.is_ended)


def _graph_of(server: Server, turns: Sequence[Turn]) -> str | None:
    """The graph of the newest turn that is served here, else the first one."""
    found = [turn.graph for turn in turns if turn.graph in server.runners]
    return next(iter(found or server.runners), None)


routes = [
    Route("/chat", show_chat),
    Route("/chat", say, methods=["POST"]),
]
