"""The pages of sessions: lists, searches, one with its turns, and two beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup
from msgspec import Struct
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...messages import NO_USAGE
from ...records import SessionKey, Summary, Turn
from ...session.session import Session
from ...view.difference import difference_html
from ..access import caller
from ..api_sessions import OFFSET, SEARCHED
from ..http import encode
from ..server import server_of
from .page import (
    HEADERS,
    PAGE,
    ListQuery,
    UserQuery,
    go_to,
    pages_around,
    read_form,
    read_query,
    show,
)

MOST_USERS = 100
"""Users who are listed where none is named."""


class SearchQuery(ListQuery):
    """The sessions of a user, or the turns with a text in them."""

    search: str | None = None


class SessionQuery(UserQuery):
    """Which session."""

    session_id: str
    offset: int = Field(0, ge=0, le=OFFSET)
    totals: bool = False


class RenameForm(SessionQuery):
    """The new name of a session; none removes it."""

    name: str | None = None


class CompareSessionsQuery(SessionQuery):
    """Which other session of the same user to compare with."""

    other: str


class ShownTurn(Struct, frozen=True):
    """A run in the list of a session, and how its turn has changed the summary; empty if not."""

    turn: Turn
    summary: Markup


class Pair(Struct, frozen=True):
    """The turns of one number in two sessions, and whether they are the same."""

    left: Turn | None
    right: Turn | None

    @property
    def is_same(self) -> bool:
        """Whether message and answer are the same."""
        left, right = self.left, self.right
        if left is None or right is None:
            return False
        return (left.input, left.answer) == (right.input, right.answer)


async def list_sessions(request: Request) -> Response:
    """The sessions of a user, or the turns with a text in them."""
    query, store = read_query(request, SearchQuery), server_of(request).store
    user_id, offset = caller(request).user(query.user_id), query.offset
    found: Sequence[object]
    if query.search is None:
        found = await store.sessions(user_id, limit=PAGE + 1, offset=offset)
    else:
        limit = offset + PAGE + 1
        hits = await store.search(user_id, query.search, last=SEARCHED, limit=limit)
        found = hits[offset:]
    before, after = pages_around(found, offset)
    may_list = user_id is None and not caller(request).is_fixed  # who has the token, any user
    users = await store.users(limit=MOST_USERS) if may_list else []
    values = {
        "query": query,
        "found": found[:PAGE],
        "before": before,
        "after": after,
        "users": [user for user in users if user is not None],
    }
    return show(request, "sessions.html", title="Sessions", user_id=user_id, values=values)


async def show_session(request: Request) -> Response:
    """A session: a page of its runs, how the summary changed in it, its state."""
    query = read_query(request, SessionQuery)
    session = _session(request, query)
    head = await session.aget_head()
    turns = await session.aruns(limit=PAGE + 1, offset=query.offset)
    before, after = pages_around(turns, query.offset)
    values = {
        "key": session.key,
        "head": head,
        "turns": await _with_summaries(session, turns),
        "usage": sum((turn.usage for turn in turns[:PAGE]), start=NO_USAGE),
        "totals": await session.ametrics() if query.totals else None,
        "before": before,
        "after": after,
    }
    title = head.name or f"Session {session.key.session_id}"
    return show(request, "session.html", title=title, user_id=session.key.user_id, values=values)


async def rename(request: Request) -> Response:
    """Name the session, or remove its name."""
    form = await read_form(request, RenameForm)
    session = _session(request, form)
    await session.arename(form.name)
    return go_to(request, "/session", **session.key._asdict())


async def export(request: Request) -> Response:
    """The whole session as a file of JSON."""
    exported = await _session(request, read_query(request, SessionQuery)).aexport()
    headers = {**HEADERS, "Content-Disposition": 'attachment; filename="session.json"'}
    return Response(encode(exported), headers=headers, media_type="application/json")


async def confirm_deletion(request: Request) -> Response:
    """Ask whether to delete the session."""
    session = _session(request, read_query(request, SessionQuery))
    values = {"key": session.key, "head": await session.aget_head()}
    user_id = session.key.user_id
    return show(request, "delete.html", title="Delete a session", user_id=user_id, values=values)


async def delete(request: Request) -> Response:
    """Delete the session with everything in it."""
    session = _session(request, await read_form(request, SessionQuery))
    await session.adelete()
    return go_to(request, "/sessions", user_id=session.key.user_id)


async def compare(request: Request) -> Response:
    """Two sessions of one user, turn by turn."""
    query = read_query(request, CompareSessionsQuery)
    left = _session(request, query)
    right = Session(SessionKey(left.key.user_id, query.other), left.store)
    columns = [await _turns_by_number(each, query.offset) for each in (left, right)]
    numbers = sorted({*columns[0], *columns[1]})
    pairs = [Pair(columns[0].get(number), columns[1].get(number)) for number in numbers]
    before, after = pages_around(numbers, query.offset)
    values = {
        "left": left.key,
        "right": right.key,
        "pairs": pairs[:PAGE],
        "before": before,
        "after": after,
    }
    return show(
        request, "compare.html", title="Two sessions", user_id=left.key.user_id, values=values
    )


def _session(request: Request, query: SessionQuery) -> Session:
    user_id = caller(request).user(query.user_id)
    return Session(SessionKey(user_id, query.session_id), server_of(request).store)


async def _with_summaries(session: Session, turns: Sequence[Turn]) -> list[ShownTurn]:
    """The turns of a page, the newest first, each with the summary if that became another one."""
    summaries = [
        await session.store.summary(session.key, until=turn.number) if turn.number else None
        for turn in turns
    ]
    older = [*summaries[1:], None]
    return [
        ShownTurn(turn, _difference(then, now))
        for turn, now, then in zip(turns[:PAGE], summaries, older, strict=False)
    ]


def _difference(then: Summary | None, now: Summary | None) -> Markup:
    if now is None or now == then:
        return Markup()
    return difference_html(then.text if then is not None else now.text, now.text)


async def _turns_by_number(session: Session, offset: int) -> Mapping[int, Turn]:
    """The turns of a page, the oldest first, by their numbers; one more than the page has."""
    await session.aget_head()
    turns = await session.store.turns(session.key, since=offset)
    return {turn.number: turn for turn in turns[: PAGE + 1] if turn.number <= offset + PAGE + 1}


routes = [
    Route("/sessions", list_sessions),
    Route("/session", show_session),
    Route("/session/rename", rename, methods=["POST"]),
    Route("/session/export", export),
    Route("/session/delete", confirm_deletion),
    Route("/session/delete", delete, methods=["POST"]),
    Route("/compare", compare),
]
