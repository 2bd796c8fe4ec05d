"""`/api/sessions`: list, search, read, rename, export, import and delete; `/api/users`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ..messages import JSON
from ..records import SessionKey
from ..run.json_forms import head_as_json, info_as_json, turn_as_json
from ..session.session import Session
from .access import caller
from .http import Body, json_response, path_parameter, read_json, read_query
from .openapi import Operation
from .server import server_of

SEARCHED = 1000
"""The newest sessions of a user that a search looks through."""
OFFSET = 10_000
"""Entries that a page may be away from the newest: they are read to be skipped."""


class WhoseQuery(Body):
    """Whose session it is; the user only counts where no login says it."""

    user_id: str | None = Field(
        None, min_length=1, description="The user; ignored where the login says it."
    )


class UsersQuery(Body):
    """A page of the users."""

    limit: int = Field(20, ge=1, le=100, description="How many.")
    offset: int = Field(0, ge=0, le=OFFSET, description="How many of the newest to skip.")


class PageQuery(UsersQuery, WhoseQuery):
    """A page of a list of a user."""


class SessionsQuery(PageQuery):
    """The sessions of a user, or the turns with a text in them."""

    search: str | None = Field(None, description="A text in the message or answer of a turn.")


class NameBody(WhoseQuery):
    """The name of a session."""

    name: str | None = Field(description="The name; null removes it.")


class ImportBody(WhoseQuery):
    """A session to import."""

    session: Mapping[str, JSON] = Field(description="What an export has given.")


async def list_users(request: Request) -> Response:
    """List the users who have a session, null for sessions without one; of a login only its own."""
    query, who = read_query(request, UsersQuery), caller(request)
    if who.is_fixed:
        users = [who.user_id][query.offset :]
    else:
        users = await server_of(request).store.users(limit=query.limit, offset=query.offset)
    return json_response({"users": [*users]})


async def list_sessions(request: Request) -> Response:
    """List the sessions of a user, or the turns that contain a text, newest first."""
    query = read_query(request, SessionsQuery)
    user_id, store = caller(request).user(query.user_id), server_of(request).store
    if query.search is None:
        infos = await store.sessions(user_id, limit=query.limit, offset=query.offset)
        return json_response({"sessions": [info_as_json(info) for info in infos]})
    hits = await store.search(
        user_id, query.search, last=SEARCHED, limit=query.offset + query.limit
    )
    found = [turn_as_json(hit.key, hit.turn) for hit in hits[query.offset :]]
    return json_response({"turns": [*found]})


async def show_session(request: Request) -> Response:
    """Show a session: its state and summary, and a page of its runs, newest first."""
    query = read_query(request, PageQuery)
    session = _session(request, query)
    head = await session.aget_head()
    turns = await session.aruns(limit=query.limit, offset=query.offset)
    runs: list[JSON] = [turn_as_json(session.key, turn) for turn in turns]
    ids: dict[str, JSON] = {
        "session_id": session.key.session_id,
        "user_id": session.key.user_id,
        "turns": head.turns,
    }
    return json_response({**ids, **head_as_json(head), "runs": runs})


async def rename_session(request: Request) -> Response:
    """Give a session a name, or remove it; the id stays."""
    body = await read_json(request, NameBody)
    session = _session(request, body)
    await session.arename(body.name)
    return json_response({"session_id": session.key.session_id, "name": body.name})


async def export_session(request: Request) -> Response:
    """Export a session as JSON, with all records."""
    return json_response(await _session(request, read_query(request, WhoseQuery)).aexport())


async def import_session(request: Request) -> Response:
    """Create a session, which must not exist yet, from an export."""
    body = await read_json(request, ImportBody)
    session = _session(request, body)
    await session.arestore(body.session)
    return json_response({"session_id": session.key.session_id}, 201)


async def delete_session(request: Request) -> Response:
    """Delete a session with everything in it."""
    session = _session(request, read_query(request, WhoseQuery))
    await session.adelete()
    return json_response({"session_id": session.key.session_id})


def _session(request: Request, whose: WhoseQuery) -> Session:
    user_id = caller(request).user(whose.user_id)
    key = SessionKey(user_id, path_parameter(request, "session_id"))
    return Session(key, server_of(request).store)


_ONE = "/api/sessions/{session_id:path}"
operations = (
    Operation("GET", "/api/users", list_users, query=UsersQuery),
    Operation("GET", "/api/sessions", list_sessions, query=SessionsQuery),
    Operation("GET", f"{_ONE}/export", export_session, query=WhoseQuery),
    Operation("POST", f"{_ONE}/import", import_session, body=ImportBody),
    Operation("GET", _ONE, show_session, query=PageQuery),
    Operation("PATCH", _ONE, rename_session, body=NameBody),
    Operation("DELETE", _ONE, delete_session, query=WhoseQuery),
)
