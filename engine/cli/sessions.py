"""`teamgraph sessions`: which there are, and what was said in one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from ..errors import NotFound
from ..messages import JSON
from ..session import Head, SessionInfo, SessionKey, Turn
from .as_json import head_as_json, info_as_json, turn_as_json
from .command import command
from .options import AsJson, Limit, Offset, Storing, User
from .screen import (
    counted,
    facts,
    indented,
    note,
    pretty,
    print_json,
    print_pages,
    print_rows,
    when,
)

app = typer.Typer(no_args_is_help=True)

SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session.", show_default=False)]


@app.callback()
def sessions() -> None:
    """List sessions, show what was said in one."""


@command(app, "list")
def list_sessions(
    storing: Storing,
    *,
    user: User = None,
    limit: Limit = 20,
    offset: Offset = 0,
    json: AsJson = False,
) -> None:
    """List the sessions of a user, the one with the latest activity first.

    Without --user these are the sessions that belong to no user.
    """

    async def read() -> Sequence[SessionInfo]:
        async with storing.open() as store:
            return await store.sessions(user, limit=limit, offset=offset)

    found = asyncio.run(read())
    if json:
        print_json([info_as_json(info) for info in found])
        return
    if not found:
        whose = f"of user {user!r}" if user is not None else "that belong to no user (see --user)"
        note(f"there are no {'more ' if offset else ''}sessions {whose} in {storing.folder}")
        return
    print_rows(("session", "name", "turns", "last active", "first message"), map(_row, found))


@command(app)
def show(session: SessionId, storing: Storing, *, user: User = None, json: AsJson = False) -> None:
    """Show a session: its turns, its summary and its state."""
    key = SessionKey(user, session)

    async def read() -> tuple[Head | None, Sequence[Turn]]:
        async with storing.open() as store:
            return await store.head(key), await store.turns(key)

    head, turns = asyncio.run(read())
    if head is None:
        raise NotFound(_no_session(key, storing))
    if json:
        print_json(
            {
                "session_id": session,
                "user_id": user,
                **head_as_json(head),
                "turns": [turn_as_json(session, turn) for turn in turns],
            }
        )
        return
    print_pages(_told(key, head, turns))


def _no_session(key: SessionKey, storing: Storing) -> str:
    whose = f"user {key.user_id!r} has" if key.user_id is not None else "there is"
    return (
        f"{whose} no session {key.session_id!r} in {storing.folder}; `teamgraph sessions list` "
        "shows those there are, of another user with --user, in another store with --store"
    )


def _row(info: SessionInfo) -> Sequence[str]:
    return (
        info.key.session_id,
        info.name or "",
        str(info.turns),
        when(info.updated),
        info.first_input,
    )


def _told(key: SessionKey, head: Head, turns: Sequence[Turn]) -> str:
    parts = [
        facts(
            {"session": key.session_id, "user": key.user_id, "name": head.name, "turns": head.turns}
        )
    ]
    parts += [_turn(turn) for turn in turns]
    if head.summary is not None:
        about = f"summary of {counted(head.summary.covers, 'turn')}"
        topics = f"topics: {', '.join(head.summary.topics)}" if head.summary.topics else ""
        parts.append(
            "\n".join(filter(None, (about, indented(head.summary.text), indented(topics))))
        )
    states: dict[str, JSON] = {"state": dict(head.state)}
    states |= {f"state of {node_id}": dict(state) for node_id, state in head.node_states.items()}
    parts += [f"{name}\n{indented(pretty(state))}" for name, state in states.items() if state]
    return "\n\n".join(parts) + "\n"


def _turn(turn: Turn) -> str:
    heading = f"{turn.number}. {when(turn.started)}, run {turn.run_id}"
    return "\n".join([heading, _said("user", turn.input), _said("answer", turn.answer or "")])


def _said(who: str, text: str) -> str:
    """Who said what; further lines stand to the right, so that no text can look like another's."""
    first, *more = text.splitlines() or [""]
    return "\n".join([f"  {who}: {first}", *(f"      {line}" for line in more)])
