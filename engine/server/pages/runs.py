"""The pages of runs: what each node was sent and said; and stop, resume, respond and fork."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter

from markupsafe import Markup
from msgspec import Struct
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...blocking import EventStream
from ...errors import NotFound, closest
from ...messages import JSON
from ...node_path import NodePath
from ...records import Record, Run
from ...run.questions import find_question
from ...run.render_again import head_before
from ...run.resume import RunReference
from ...session.store import Store
from ...view.drawing import graph_svg
from ...view.origins import run_origins
from ...view.report import node_html
from ...view.timeline import timeline_html
from ..access import caller
from ..api_runs import (
    ForkBody,
    RespondBody,
    ResumeBody,
    Whose,
    begin_detached,
    forked,
    responded,
    resumed,
    stopped,
)
from ..api_sessions import OFFSET
from ..server import server_of
from .chat import is_live, states_of
from .page import PAGE, UserQuery, go_to, link, pages_around, read_form, read_query, show


class RunQuery(UserQuery):
    """Which run, and which of its nodes."""

    run_id: str
    session_id: str | None = None
    node: str | None = None
    offset: int = Field(0, ge=0, le=OFFSET)


class StateChange(Struct, frozen=True):
    """A value of the state before and after a node."""

    name: str
    before: JSON
    after: JSON


class ShownNode(Struct, frozen=True):
    """A node of a run as HTML; one without a record has not run."""

    path: str
    record: Record | None
    details: Markup
    changes: Sequence[StateChange]


class WriteForm(RunQuery):
    """A run to change, and whether the chat is shown afterwards, or the run."""

    then: str = "run"


class ResumeForm(WriteForm):
    """A run to resume."""

    reuse_unchanged: bool = False


class RespondForm(WriteForm):
    """An answer to a question of a run."""

    path: str
    answer: str = ""


class ForkForm(WriteForm):
    """A run to fork, from a node or with another message."""

    message: str | None = None


async def show_run(request: Request) -> Response:
    """A run: its nodes by time, and one of them with all that it was sent."""
    query, server = read_query(request, RunQuery), server_of(request)
    run = await _stored(request, query)
    runner = server.runners.get(run.turn.graph)
    to_node = partial(_node_link, request, run, query.offset)
    records = sorted(run.records.values(), key=lambda record: (record.started, record.ended))
    shown = records[query.offset : query.offset + PAGE + 1]
    before, after = pages_around(shown, query.offset)
    page = Run(run.key, run.turn, {record.node: record for record in shown[:PAGE]})
    values = {
        "run": run,
        "timeline": timeline_html(page, link=to_node),
        "node": await _node(request, run, query.node) if query.node is not None else None,
        "drawing": graph_svg(runner.graph, states_of(run), link=to_node) if runner else "",
        "is_live": is_live(server, run),
        "is_served": runner is not None,
        "before": before,
        "after": after,
    }
    title = f"Turn {run.turn.number}" if run.turn.number else "Run"
    return show(request, "run.html", title=title, user_id=run.user_id, values=values)


async def stop(request: Request) -> Response:
    """Cancel the run."""
    form = await read_form(request, WriteForm)
    whose = Whose(user_id=form.user_id, session_id=form.session_id)
    run = await stopped(request, form.run_id, whose)
    return _back(request, run, form.then)


async def resume(request: Request) -> Response:
    """Resume the run."""
    form = await read_form(request, ResumeForm)
    run = await _stored(request, form)
    body = ResumeBody(reuse_unchanged=form.reuse_unchanged, detach=True)
    return await _begun(request, run, resumed(request, run, body), form, run.records.values())


async def respond(request: Request) -> Response:
    """Answer a question of the run."""
    form = await read_form(request, RespondForm)
    run = await _stored(request, form)
    value = find_question(run, form.path).parse(form.answer)
    body = RespondBody(answers={form.path: value}, by=form.user_id, detach=True)
    return await _begun(request, run, responded(request, run, body), form, run.records.values())


async def fork(request: Request) -> Response:
    """Run again from a node or with another message, in a new session, and show that."""
    form = await read_form(request, ForkForm)
    run = await _stored(request, form)
    is_other = form.message is not None and form.message != run.input
    body = ForkBody(node=form.node, message=form.message if is_other else None, detach=True)
    live = await begin_detached(request, forked(request, run, body))
    return go_to(request, "/run", run_id=live.run_id, **live.key._asdict())


async def _begun(
    request: Request,
    run: Run,
    source: EventStream,
    form: WriteForm,
    before: Iterable[Record],
) -> Response:
    await begin_detached(request, source, before)
    return _back(request, run, form.then)


def _back(request: Request, run: Run, then: str) -> Response:
    if then == "chat":
        return go_to(request, "/chat", graph=run.turn.graph, **run.key._asdict())
    return go_to(request, "/run", run_id=run.run_id, **run.key._asdict())


async def _stored(request: Request, query: RunQuery) -> Run:
    """The run, if it is of the caller's user; raises `NotFound`."""
    user_id = caller(request).user(query.user_id)
    reference = RunReference(query.run_id, user_id, query.session_id)
    return await reference.load(server_of(request).store)


def _node_link(request: Request, run: Run, offset: int, path: str) -> str:
    """The address of the page of the run that shows a node."""
    ids = {"run_id": run.run_id, **run.key._asdict()}
    base: str = request.scope.get("root_path", "")
    return link(base, "/run", node=path, offset=offset or None, **ids) + "#node"


async def _node(request: Request, run: Run, path: str) -> ShownNode:
    """A node of the run; of one in a loop or a map the last round or item, if none is named."""
    server = server_of(request)
    runner = server.runners.get(run.turn.graph)
    record = run.records.get(path)
    if record is None:
        rounds = [each for each in run.records if NodePath(each).declared == path]
        record = run.records[rounds[-1]] if rounds else None
    graph = runner.graph if runner is not None else None
    if record is None:
        known = [*run.records, *(graph.nodes if graph is not None else ())]
        if path in known:
            return ShownNode(path, None, Markup(), ())
        near = closest(path, known)
        hint = f"did you mean {near!r}?" if near else "its page lists those that it has"
        raise NotFound(f"run {run.run_id!r} has no record of a node {path!r}; {hint}")
    origins = await run_origins(run, server.store, graph, nodes=[record.node])
    details = node_html(record, origins.get(record.node, ()))
    changes = await _changes(run, record, server.store, graph.state if graph is not None else {})
    return ShownNode(record.node, record, details, changes)


async def _changes(
    run: Run, record: Record, store: Store, defaults: Mapping[str, JSON]
) -> list[StateChange]:
    """What the node has changed in the state, with the values from before."""
    if not record.session_state and record.state is None:
        return []
    head = await head_before(run, store)
    state = {**defaults, **head.state, **(run.turn.given_state or {})}
    for other in sorted(run.records.values(), key=attrgetter("ended")):
        if other.session_state and other.ended <= record.started:
            state |= other.session_state
    found = [
        StateChange(name, state.get(name), value)
        for name, value in (record.session_state or {}).items()
    ]
    if record.state is not None:
        declared = NodePath(record.node).declared
        own = head.node_states.get(declared)
        before = {**own} if own is not None else None
        found.append(StateChange(f"{declared} (its own)", before, {**record.state}))
    return found


routes = [
    Route("/run", show_run),
    Route("/run/stop", stop, methods=["POST"]),
    Route("/run/resume", resume, methods=["POST"]),
    Route("/run/respond", respond, methods=["POST"]),
    Route("/run/fork", fork, methods=["POST"]),
]
