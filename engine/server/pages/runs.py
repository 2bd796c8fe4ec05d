"""The pages of runs: what each node was sent and said; and stop, resume, respond and fork."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...errors import NotFound, closest
from ...events import Event
from ...records import Record, Run
from ...run.questions import find_question
from ...run.resume import RunReference
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
from .drawing import graph_svg
from .page import PAGE, UserQuery, go_to, pages_around, read_form, read_query, show


class RunQuery(UserQuery):
    """Which run, and which of its nodes."""

    run_id: str
    session_id: str | None = None
    node: str | None = None
    offset: int = Field(0, ge=0, le=OFFSET)


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
    records = sorted(run.records.values(), key=lambda record: (record.started, record.ended))
    before, after = pages_around(records[query.offset : query.offset + PAGE + 1], query.offset)
    values = {
        "run": run,
        "records": records[query.offset : query.offset + PAGE],
        "count": len(records),
        "record": _record(run, query.node) if query.node is not None else None,
        "drawing": graph_svg(runner.graph, states_of(run)) if runner is not None else "",
        "is_live": is_live(server, run),
        "is_served": runner is not None,
        "offset": query.offset,
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
    source: AsyncGenerator[Event],
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


def _record(run: Run, node: str) -> Record:
    if (record := run.records.get(node)) is None:
        near = closest(node, run.records)
        hint = f"did you mean {near!r}?" if near else "the page of the run lists those that it has"
        raise NotFound(f"run {run.run_id!r} has no record of a node {node!r}; {hint}")
    return record


routes = [
    Route("/run", show_run),
    Route("/run/stop", stop, methods=["POST"]),
    Route("/run/resume", resume, methods=["POST"]),
    Route("/run/respond", respond, methods=["POST"]),
    Route("/run/fork", fork, methods=["POST"]),
]
