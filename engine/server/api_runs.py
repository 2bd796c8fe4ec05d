"""`/api/runs`: start, stream, read, cancel, resume, fork and answer runs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ..blocking import EventStream
from ..errors import NotFound, TeamgraphError
from ..events import Listener, event_name
from ..messages import JSON
from ..records import Record, Run, SessionKey, Turn
from ..run.cancel import cancel_run
from ..run.json_forms import records_as_json, turn_as_json
from ..run.resume import RunReference
from ..run.stored_events import stored_events
from .access import caller
from .api_sessions import PageQuery
from .attached import check_attaches, read_attachment
from .errors import Refusal, as_json, info_of
from .http import (
    Body,
    event_frame,
    event_response,
    json_response,
    path_parameter,
    read_json,
    read_query,
    until_disconnect,
)
from .openapi import Operation
from .positions import EventPosition
from .runs import LiveRun, TellRun
from .server import Server, server_of

if TYPE_CHECKING:
    from ..dispatch.dbos import DBOSDispatcher

STOPPING = 5.0
"""Seconds that the response to a cancellation waits for the end of the run."""


class Whose(Body):
    """Whose data a request is about; the user only counts where no login says it."""

    user_id: str | None = Field(
        default=None, min_length=1, description="The user; ignored where the login says it."
    )
    session_id: str | None = Field(default=None, min_length=1, description="The session.")


class Telling(Whose):
    """How a run is told to the client that starts it."""

    stream: bool = Field(default=False, description="Answer with the events as they happen.")
    tokens: bool = Field(default=True, description="Tell tokens, where events are told.")
    detach: bool = Field(
        default=False, description="Go on when the client leaves; without `stream`, answer at once."
    )

    @property
    def tells_tokens(self) -> bool:
        """Whether somebody may read tokens; without them models are asked for whole answers."""
        return self.tokens and (self.stream or self.detach)


class SentAttachment(Body):
    """An image, audio or a file that comes with a message."""

    url: str = Field(
        description="A data: URL with the bytes, or an http or https one, which is passed on."
    )
    name: str | None = Field(default=None, description="The file's name; its end says the type.")


class StartBody(Telling):
    """A run to start."""

    message: str = Field(description="The user's message.")
    graph: str | None = Field(
        default=None, description="The graph; may be left out if there is one."
    )
    run_id: str | None = Field(default=None, min_length=1, description="The id of the new run.")
    state: Mapping[str, JSON] | None = Field(
        default=None, description="Keys of `session.state` to set."
    )
    attachments: Sequence[SentAttachment] = Field((), description="What comes with the message.")


class ResumeBody(Telling):
    """A run to resume."""

    reuse_unchanged: bool = Field(
        default=False, description="If the graph has changed, run again only what that concerns."
    )


class ForkBody(Telling):
    """A run to fork."""

    node: str | None = Field(default=None, description="The node to run again from.")
    message: str | None = Field(default=None, description="Another message.")
    prompt: str | None = Field(
        default=None, description="The text of another template for the node, in this run alone."
    )
    into: str | None = Field(default=None, min_length=1, description="The id of the new session.")


class RespondBody(Telling):
    """Answers to questions of a run."""

    answers: Mapping[str, JSON] = Field(description="By the paths of the questions.")
    by: str | None = Field(
        default=None, min_length=1, description="The user who answers; default: the run's."
    )


class ShowQuery(Whose):
    """Which run, and how much of it."""

    prompts: bool = Field(
        default=False, description="With whole records, and the messages as sent."
    )


class WaitingQuery(PageQuery):
    """The runs of a user that wait for a person."""


class EventsQuery(Whose):
    """Which run, and after which of its events."""

    after: str | None = Field(default=None, description="An event id, as the header Last-Event-ID.")


async def start_run(request: Request) -> Response:
    """Run a graph on a message."""
    body = await read_json(request, StartBody)
    return await _respond(request, started(request, body), body)


async def show_run(request: Request) -> Response:
    """Show a run with the outcome of each node."""
    query = read_query(request, ShowQuery)
    queued = await _queued(request, query)
    if queued is not None:
        return json_response(queued)
    run = await _stored(request, query)
    if query.prompts:
        return json_response(records_as_json(run, [*run.records], prompts=True))
    return json_response(run.to_json())


async def list_waiting(request: Request) -> Response:
    """List the runs of a user that wait for a person, newest first."""
    query, store = read_query(request, WaitingQuery), server_of(request).store
    user_id = caller(request).user(query.user_id)
    hits = await store.waiting(user_id, limit=query.limit, offset=query.offset)
    return json_response({"waiting": [turn_as_json(hit.key, hit.turn) for hit in hits]})


async def read_events(request: Request) -> Response:
    """Stream the events of a run, those that there were and those to come.

    After a cut, `Last-Event-ID` continues behind that event. A run that was interrupted, as by a
    crash of the server, is resumed. 204 if there is nothing after the event.
    """
    query = read_query(request, EventsQuery)
    given = request.headers.get("last-event-id") or query.after
    after = EventPosition.parse(given) if given else None
    live = await until_disconnect(request, _live(request, query))
    if after is not None and live.is_over(after):
        return Response(status_code=204)  # so that a browser does not ask again and again
    return event_response(frames(live, after))


async def stop_run(request: Request) -> Response:
    """Cancel a run, wherever it is in progress."""
    body = await read_json(request, Whose)
    run = await stopped(request, path_parameter(request, "run_id"), body)
    return json_response(run.to_json(), 202 if run.status == "running" else 200)


async def resume_run(request: Request) -> Response:
    """Resume a run that failed, was cancelled or interrupted."""
    body = await read_json(request, ResumeBody)
    run = await _stored(request, body)
    return await _respond(request, resumed(request, run, body), body, before=run.records.values())


async def fork_run(request: Request) -> Response:
    """Run again from a node, or with another message, in a new session."""
    body = await read_json(request, ForkBody)
    run = await _stored(request, body)
    return await _respond(request, forked(request, run, body), body)


async def respond_to_run(request: Request) -> Response:
    """Answer questions of a run that waits, and continue it."""
    body = await read_json(request, RespondBody)
    run = await _stored(request, body)
    return await _respond(request, responded(request, run, body), body, before=run.records.values())


def started(request: Request, body: StartBody) -> EventStream:
    """The events of a new run."""
    run_id = body.run_id or uuid4().hex
    runner = server_of(request).named(body.graph)
    attached = {
        (place := f"attachments[{index}]"): read_attachment(each.url, place, name=each.name)
        for index, each in enumerate(body.attachments)
    }
    check_attaches(runner.graph, attached)
    return runner.astream(
        body.message,
        user_id=caller(request).user(body.user_id),
        # A run without a session is called as its session, so that a store need not keep it.
        session_id=body.session_id or run_id,
        run_id=run_id,
        state=body.state,
        attachments=[*attached.values()] or None,
        tokens=body.tells_tokens,
        resets=True,
    )


def resumed(request: Request, run: Run, body: ResumeBody) -> EventStream:
    """The events of the rest of a run."""
    return (
        server_of(request)
        .runner(run.turn.graph)
        .aresume_stream(
            run.run_id,
            user_id=run.user_id,
            session_id=run.session_id,
            reuse_unchanged=body.reuse_unchanged,
            tokens=body.tells_tokens,
            resets=True,
        )
    )


def forked(request: Request, run: Run, body: ForkBody) -> EventStream:
    """The events of a fork of a run."""
    return (
        server_of(request)
        .runner(run.turn.graph)
        .afork_stream(
            run.run_id,
            node=body.node,
            message=body.message,
            prompt=body.prompt,
            into=body.into,
            user_id=run.user_id,
            session_id=run.session_id,
            tokens=body.tells_tokens,
            resets=True,
        )
    )


def responded(request: Request, run: Run, body: RespondBody) -> EventStream:
    """The events of the rest of a run that waited."""
    return (
        server_of(request)
        .runner(run.turn.graph)
        .arespond_stream(
            run.run_id,
            body.answers,
            user_id=run.user_id,
            session_id=run.session_id,
            by=caller(request).user(body.by) or run.user_id,
            tokens=body.tells_tokens,
            resets=True,
        )
    )


async def stopped(request: Request, run_id: str, whose: Whose) -> Run:
    """The run as it is stored once it was asked to stop, and has, or `STOPPING` is over."""
    server, user_id = server_of(request), caller(request).user(whose.user_id)
    reference = RunReference(run_id, user_id, whose.session_id)
    if server.dispatcher is not None:
        await server.dispatcher.cancel(reference)
        return await until_disconnect(request, server.dispatcher.result(reference))
    run = await cancel_run(server.store, reference)
    live = server.runs.live(user_id, run_id)
    if live is not None:
        await asyncio.wait([live.task], timeout=STOPPING)
        run = await reference.load(server.store)
    return run


async def frames(live: LiveRun, after: EventPosition | None = None) -> AsyncGenerator[bytes]:
    """The frames of an event stream; the last one is an `error` if the run has no last event."""
    try:
        async with aclosing(live.read(after)) as events:
            async for each in events:
                event = each.event
                yield event_frame(event_name(type(event)), event.to_json(), str(each.position))
        if live.error is not None and live.status == "running":
            yield event_frame("error", as_json(info_of(live.error)))
    except TeamgraphError as error:
        yield event_frame("error", as_json(info_of(error)))


async def _respond(
    request: Request,
    source: EventStream,
    telling: Telling,
    *,
    before: Iterable[Record] = (),
) -> Response:
    """Start a run, and answer with its events, with its result, or at once."""
    grace = math.inf if telling.detach else None
    live = server_of(request).runs.start(source.tell, grace=grace, before=before)
    if not telling.stream and not telling.detach:
        run = await until_disconnect(request, live.result())
        return json_response(run.to_json())
    await until_disconnect(request, live.begun())
    if telling.stream:
        return event_response(frames(live))
    ids: JSON = {"run_id": live.run_id, "session_id": live.key.session_id, "status": "running"}
    return json_response(ids, 202)


async def _live(request: Request, query: EventsQuery) -> LiveRun:
    """The run with its events: in progress, resumed, or as it is stored."""
    server, user_id = server_of(request), caller(request).user(query.user_id)
    live = server.runs.live(user_id, path_parameter(request, "run_id"))
    if live is not None and (not live.is_ended or live.status == "done"):
        return live
    if server.dispatcher is not None:
        return await _shared(request, query, server.dispatcher, live)
    run = await _stored(request, query)
    if live is not None and live.status == run.status:
        return live
    return await server.runs.open(run, _reopened(server, run))


async def _shared(
    request: Request, query: EventsQuery, dispatcher: DBOSDispatcher, live: LiveRun | None
) -> LiveRun:
    """A run that workers execute, with its events; as it is stored once these are dropped."""
    user_id = caller(request).user(query.user_id)
    reference = RunReference(path_parameter(request, "run_id"), user_id, query.session_id)
    try:
        status = await dispatcher.status(reference)
    except NotFound:
        run = await _stored(request, query)
        return await server_of(request).runs.open(run, partial(_tell_stored, run))
    if live is not None and live.status == status:
        return live
    stub = Run(SessionKey(user_id, query.session_id or ""), Turn(reference.run_id, ""))
    return await server_of(request).runs.open(
        stub, partial(_tell_dispatched, dispatcher, reference, stub)
    )


async def _tell_dispatched(
    dispatcher: DBOSDispatcher, reference: RunReference, run: Run, listener: Listener
) -> Run:
    """Tell the events of a run that workers execute, to the last one."""
    async with aclosing(dispatcher.events(reference)) as events:
        async for event in events:
            listener(event)
            run = getattr(event, "run", run)
    return run


async def _queued(request: Request, query: ShowQuery) -> dict[str, JSON] | None:
    """What is told of a run that waits for a worker; None if it has begun."""
    dispatcher = server_of(request).dispatcher
    if dispatcher is None:
        return None
    user_id = caller(request).user(query.user_id)
    reference = RunReference(path_parameter(request, "run_id"), user_id, query.session_id)
    with suppress(NotFound):
        turn = await dispatcher.find(reference)
        if turn.state == "queued" and turn.submission is not None and turn.submission.begins:
            session_id = turn.submission.key.session_id
            return {"run_id": reference.run_id, "session_id": session_id, "status": "queued"}
    return None


def _reopened(server: Server, run: Run) -> TellRun:
    if run.status != "running":
        return partial(_tell_stored, run)
    if server.is_read_only:
        raise Refusal(
            403,
            "read_only",
            f"run {run.run_id!r} is not in progress here, and this server is read-only, so it "
            "does not resume it; start it without --read-only",
        )
    runner = server.runner(run.turn.graph)
    source = runner.aresume_stream(
        run.run_id, user_id=run.user_id, session_id=run.session_id, resets=True
    )
    return source.tell


async def _tell_stored(run: Run, listener: Listener) -> Run:
    async for event in stored_events(run):
        listener(event)
    return run


async def _stored(request: Request, whose: Whose) -> Run:
    """The run of a path, if it is of the caller's user; raises `NotFound`."""
    user_id = caller(request).user(whose.user_id)
    reference = RunReference(path_parameter(request, "run_id"), user_id, whose.session_id)
    return await reference.load(server_of(request).store)


async def begin_detached(
    request: Request, source: EventStream, before: Iterable[Record] = ()
) -> LiveRun:
    """Start a run that goes on when the client leaves; raises what ends it before it has begun."""
    runs = server_of(request).runs
    return await until_disconnect(request, runs.begin(source.tell, grace=math.inf, before=before))


_ONE = "/api/runs/{run_id:path}"
operations = (
    Operation("POST", "/api/runs", start_run, body=StartBody, events=True),
    Operation("GET", "/api/runs", list_waiting, query=WaitingQuery),
    Operation("GET", f"{_ONE}/events", read_events, query=EventsQuery, events=True),
    Operation("POST", f"{_ONE}/cancel", stop_run, body=Whose),
    Operation("POST", f"{_ONE}/resume", resume_run, body=ResumeBody, events=True),
    Operation("POST", f"{_ONE}/fork", fork_run, body=ForkBody, events=True),
    Operation("POST", f"{_ONE}/respond", respond_to_run, body=RespondBody, events=True),
    Operation("GET", _ONE, show_run, query=ShowQuery),
)
