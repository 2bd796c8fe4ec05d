"""The page of the workers that run the turns of this server, and of the turns in their queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...dispatch.protocol import DEAD, OPEN
from ...errors import NotFound
from ..access import caller
from ..api_sessions import OFFSET
from ..errors import Refusal
from ..http import Body
from ..server import server_of
from .page import PAGE, go_to, pages_around, read_form, read_query, show

if TYPE_CHECKING:
    from ...dispatch.dbos import DBOSDispatcher


class QueueQuery(Body):
    """Which part of the turns that wait or run, and of those that were given up."""

    offset: int = Field(0, ge=0, le=OFFSET)
    dead_offset: int = Field(0, ge=0, le=OFFSET)


class RetryForm(Body):
    """The number of a turn that was given up."""

    number: int = Field(ge=1, lt=2**63)


async def show_workers(request: Request) -> Response:
    """Workers, queues, calls of limited models, open turns and dead letters."""
    query, table = read_query(request, QueueQuery), _dispatcher(request).table
    turns = await table.listed(OPEN, limit=PAGE + 1, offset=query.offset)
    dead = await table.listed(DEAD, limit=PAGE + 1, offset=query.dead_offset)
    values = {
        "workers": await table.workers(),
        "depths": await table.depths(),
        "calls": await table.limited_calls(),
        "turns": turns[:PAGE],
        "dead": dead[:PAGE],
        "around_turns": pages_around(turns, query.offset),
        "around_dead": pages_around(dead, query.dead_offset),
        "query": query,
    }
    return show(request, "workers.html", title="Workers", values=values)


async def retry(request: Request) -> Response:
    """Put a turn that was given up back into the queue."""
    dispatcher = _dispatcher(request)
    form = await read_form(request, RetryForm)
    await dispatcher.retry(form.number)
    return go_to(request, "/workers")


def _dispatcher(request: Request) -> DBOSDispatcher:
    """The dispatcher; raises `NotFound` without one, `Refusal` for a user with a login."""
    dispatcher = server_of(request).dispatcher
    if dispatcher is None:
        raise NotFound(
            "this server runs its turns itself and has no workers; start it with --dispatch"
        )
    if caller(request).is_fixed:
        raise Refusal(
            403, "not_yours", "the queue has the turns of all users; look at it with the token"
        )
    return dispatcher


routes = [
    Route("/workers", show_workers),
    Route("/workers/retry", retry, methods=["POST"]),
]
