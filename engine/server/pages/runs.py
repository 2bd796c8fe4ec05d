"""The pages of runs: what each node was sent and said; and stop, resume, respond and fork."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Literal

from markupsafe import Markup
from msgspec import Struct
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...blocking import EventStream
from ...errors import InputError, NotFound, closest
from ...messages import JSON
from ...node_path import NodePath
from ...records import Record, Run
from ...run.dry_run.assumptions import find_node
from ...run.questions import find_question
from ...run.render_again import head_before
from ...run.resume import RunReference
from ...run.runner import Runner
from ...session.store import Store
from ...testing.keep import keep_case
from ...testing.snapshots import SUFFIX
from ...view.compare import Comparison, compare_with_previous, compare_with_run, compare_with_today
from ...view.difference import calls_difference_html
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
from ..server import Server, server_of
from .chat import drawing_of, is_live
from .page import (
    PAGE,
    UserQuery,
    go_to,
    link,
    pages_around,
    plain_text,
    read_form,
    read_query,
    show,
)


class RunQuery(UserQuery):
    """Which run, and which of its nodes; `kept` is the case that it was just kept as."""

    run_id: str
    session_id: str | None = None
    node: str | None = None
    kept: str | None = None
    offset: int = Field(0, ge=0, le=OFFSET)


class ChangedValue(Struct, frozen=True):
    """A value of the state before and after a node."""

    name: str
    before: JSON
    after: JSON


class ShownNode(Struct, frozen=True):
    """A node of a run as HTML; one without a record has not run."""

    path: str
    record: Record | None
    details: Markup
    changes: Sequence[ChangedValue]
    template: str


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
    """A run to fork from a node, with another message or another template for it."""

    message: str | None = None
    prompt: str | None = None


class KeepForm(WriteForm):
    """A run to keep as a case: in which file, from the project's folder on, and its name."""

    file: str = ""
    name: str | None = None


class CompareNodeQuery(RunQuery):
    """What a node was sent beside the turn before, today's templates, or another run."""

    to: Literal["previous", "today", "run"] = "previous"
    other: str | None = None


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
        "drawing": drawing_of(runner.graph, run, to_node) if runner else "",
        "is_live": is_live(server, run),
        "is_served": runner is not None,
        "case_file": _case_file(server, runner),
        "kept": query.kept,
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
    message = form.message if form.message != plain_text(run.input) else None
    now = _template(_runner(server_of(request), run), form.node or "")
    prompt = form.prompt if form.prompt is None or form.prompt != plain_text(now) else None
    body = ForkBody(node=form.node, message=message, prompt=prompt, detach=True)
    live = await begin_detached(request, forked(request, run, body))
    return go_to(request, "/run", run_id=live.run_id, **live.key._asdict())


async def keep(request: Request) -> Response:
    """Write the run as a case into a case file of the project."""
    form, server = await read_form(request, KeepForm), server_of(request)
    run = await _stored(request, form)
    if server.project is None:
        raise InputError(
            "this server keeps no cases; `teamgraph ui` does, or project=... in Python"
        )
    graph, file = _runner(server, run).graph, server.project / form.file
    name = await keep_case(run, server.store, graph, file, project=server.project, name=form.name)
    return go_to(
        request, "/run", run_id=run.run_id, **run.key._asdict(), kept=f"{form.file}: {name}"
    )


async def compare(request: Request) -> Response:
    """What a node was sent, word by word beside what it was sent elsewhere."""
    query, server = read_query(request, CompareNodeQuery), server_of(request)
    run, store = await _stored(request, query), server.store
    record = _record(run, query.node or "")
    if record is None:
        raise NotFound(f"run {run.run_id!r} has no record of a node {query.node!r}")
    runner = server.runners.get(run.turn.graph)
    prepared = runner.prepared if runner is not None else None
    found: Comparison | None = None
    note = ""
    if query.to == "today":
        found = await compare_with_today(run, record.node, store, _runner(server, run).graph)
    elif query.to == "run":
        reference = RunReference(query.other or "", run.user_id, None)
        other = await reference.load(store)
        found = await compare_with_run(other, run, record.node, store, prepared)
    else:
        try:
            found = await compare_with_previous(run, record.node, store, prepared)
        except NotFound as error:  # as in the first turn: there is nothing wrong
            note = str(error)
    values = {
        "run": run,
        "path": record.node,
        "both": found.title if found is not None else "",
        "pairs": [calls_difference_html(*pair) for pair in found.pairs()] if found else [],
        "note": note,
    }
    return show(
        request, "difference.html", title="What is different", user_id=run.user_id, values=values
    )


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
    runner, record = server.runners.get(run.turn.graph), _record(run, path)
    graph = runner.graph if runner is not None else None
    if record is None:
        known = [*run.records, *(graph.nodes if graph is not None else ())]
        if path in known:
            return ShownNode(path, None, Markup(), (), "")
        near = closest(path, known)
        hint = f"did you mean {near!r}?" if near else "its page lists those that it has"
        raise NotFound(f"run {run.run_id!r} has no record of a node {path!r}; {hint}")
    prepared = runner.prepared if runner is not None else None
    origins = await run_origins(run, server.store, prepared, nodes=[record.node])
    details = node_html(record, origins.get(record.node, ()))
    changes = await _changes(run, record, server.store, graph.state if graph is not None else {})
    template = _template(runner, record.node) if runner is not None else ""
    return ShownNode(record.node, record, details, changes, template)


def _record(run: Run, path: str) -> Record | None:
    """The record of a node; of one in a loop or a map the last, if no round or item is named."""
    if path in run.records:
        return run.records[path]
    rounds = [each for each in run.records if NodePath(each).declared == path]
    return run.records[rounds[-1]] if rounds else None


def _case_file(server: Server, runner: Runner | None) -> str:
    """Where a case of the graph is kept if nothing else is said; empty if no case can be."""
    if runner is None or server.project is None or runner.graph.file is None:
        return ""
    file = Path(runner.graph.file).resolve()
    folder = server.project.resolve()
    beside = file.parent.relative_to(folder) if file.is_relative_to(folder) else Path()
    return (beside / f"{file.stem}{SUFFIX}").as_posix()


def _runner(server: Server, run: Run) -> Runner:
    """The runner of the run's graph; raises `NotFound`."""
    return server.runner(run.turn.graph)


def _template(runner: Runner, path: str) -> str:
    """The template of a node as it is today, empty if it has none, or is there no more."""
    declared = NodePath(path).declared
    try:
        graph, _ = find_node(runner.graph, declared)
    except InputError:
        return ""
    name = graph.templates.get(declared.node_id)
    return graph.prompts.sources(name)[name] if name is not None else ""


async def _changes(
    run: Run, record: Record, store: Store, defaults: Mapping[str, JSON]
) -> list[ChangedValue]:
    """What the node has changed in the state, with the values from before."""
    if not record.session_state and record.state is None:
        return []
    head = await head_before(run, store)
    state = {**defaults, **head.state, **(run.turn.given_state or {})}
    for other in sorted(run.records.values(), key=attrgetter("ended")):
        if other.session_state and other.ended <= record.started:
            state |= other.session_state
    found = [
        ChangedValue(name, state.get(name), value)
        for name, value in (record.session_state or {}).items()
    ]
    if record.state is not None:
        declared = NodePath(record.node).declared
        own = head.node_states.get(declared)
        before = {**own} if own is not None else None
        found.append(ChangedValue(f"{declared} (its own)", before, {**record.state}))
    return found


routes = [
    Route("/run", show_run),
    Route("/run/stop", stop, methods=["POST"]),
    Route("/run/resume", resume, methods=["POST"]),
    Route("/run/respond", respond, methods=["POST"]),
    Route("/run/fork", fork, methods=["POST"]),
    Route("/run/keep", keep, methods=["POST"]),
    Route("/run/compare", compare),
]
