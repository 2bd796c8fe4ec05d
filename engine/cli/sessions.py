"""`teamgraph sessions`: which there are, what was said in one, its name, its copies, its end.

A session in a file: what `sessions export` writes and `sessions import` reads.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias, cast

import typer

from ..errors import InputError, NotFound
from ..messages import JSON
from ..records import SessionInfo, SessionKey
from ..session.session import Session
from ..session.store import Hit
from .as_json import head_as_json, info_as_json, metrics_as_json, turn_as_json
from .chat import Conversation, found_in
from .command import command
from .consent import Yes, make_sure
from .options import (
    AsJson,
    Output,
    Page,
    SessionOption,
    Storing,
    User,
    opened_session,
    session_named,
)
from .screen import (
    Tone,
    counted,
    note,
    pretty,
    print_json,
    print_pages,
    print_rows,
    when,
    write_out,
)

STANDARD_INPUT = Path("-")
Exported: TypeAlias = Mapping[str, JSON]
_WANTED = "give what `teamgraph sessions export` wrote"


def write_exported(exported: Exported, file: Path | None) -> None:
    """Write it to a file, whole or not at all, or to standard output."""
    # Half a surrogate pair, which UTF-8 cannot hold, becomes the escape that JSON has for it.
    write_out(f"{pretty(exported)}\n".encode(errors="backslashreplace"), file)


def read_exported(file: Path) -> tuple[SessionKey, Exported]:
    """What a file, or standard input, has of a session, and which one that was.

    Raises `InputError` if it cannot be read or is something else.
    """
    try:
        written = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
        data = json.loads(written)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{file}: it cannot be read: {reason}; name another file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: it is not JSON: {error}; {_WANTED}") from error
    exported = cast("dict[str, JSON]", data) if isinstance(data, dict) else {}
    match exported.get("session_id"), exported.get("user_id"):
        case str(session_id), (str() | None) as user_id:
            return SessionKey(user_id, session_id), exported
        case _:
            raise InputError(f"{file}: it is no exported session; {_WANTED}")


app = typer.Typer(add_completion=False, no_args_is_help=True)

SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session.", show_default=False)]
EVERY = sys.maxsize


@app.callback()
def sessions() -> None:
    """List sessions, show what was said in one, search, rename, export, import, delete.

    Without --user it is about the sessions that belong to no user, never about somebody's.
    """


@command(app, "list")
def list_sessions(storing: Storing, *, user: User = None, page: Page, json: AsJson = False) -> None:
    """List the sessions of a user, the one with the latest activity first.

    Without --user these are the sessions that belong to no user.
    """

    async def read() -> Sequence[SessionInfo]:
        async with storing.open() as store:
            return await store.sessions(user, limit=page.limit, offset=page.offset)

    found = asyncio.run(read())
    if json:
        print_json([info_as_json(info) for info in found])
        return
    if not found:
        whose = f"of user {user!r}" if user is not None else "that belong to no user (see --user)"
        note(f"there are no {'more ' if page.offset else ''}sessions {whose} in {storing.folder}")
        return
    print_rows(("session", "name", "turns", "last active", "first message"), map(_row, found))


@command(app)
def show(
    session: SessionId, storing: Storing, *, user: User = None, page: Page, json: AsJson = False
) -> None:
    """Show a session: its newest turns, its summary, its state, and what it cost.

    --limit says how many turns, and --offset leaves out the newest ones.
    """
    key = SessionKey(user, session)

    async def read() -> Conversation:
        async with opened_session(key, storing) as opened:
            turns = await opened.ahistory(limit=page.limit, offset=page.offset)
            head, metrics = await opened.aget_head(), await opened.ametrics()
        return Conversation(key, head, metrics, turns, page.offset)

    found = asyncio.run(read())
    if json:
        print_json(
            {
                "session_id": session,
                "user_id": user,
                **head_as_json(found.head),
                "metrics": metrics_as_json(found.metrics),
                "turns": [turn_as_json(key, turn) for turn in found.turns],
            }
        )
        return
    print_pages(found.told())


@command(app)
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What was said.", show_default=False)],
    storing: Storing,
    *,
    user: User = None,
    last: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Only in so many of the latest sessions.", show_default=False
        ),
    ] = None,
    page: Page,
    json: AsJson = False,
) -> None:
    """Find the completed turns of a user in which a text was said, the newest first.

    Upper and lower case are the same.
    """
    if not text.strip():
        raise InputError("the text is empty; say what to look for")

    async def read() -> Sequence[Hit]:
        enough = page.offset + page.limit
        async with storing.open() as store:
            hits = await store.search(user, text, last=last or EVERY, limit=enough)
        return hits[page.offset :]

    hits = asyncio.run(read())
    if json:
        print_json([turn_as_json(hit.key, hit.turn) for hit in hits])
    elif hits:
        rows = [_hit(hit, text) for hit in hits]
        print_rows(("session", "turn", "started", "who", "said"), rows)
    else:
        whose = f"of user {user!r}" if user is not None else "that belongs to no user (see --user)"
        more = "more " if page.offset else ""
        note(f"no {more}completed turn {whose} in {storing.folder} has {text!r}")


@command(app)
def rename(
    session: SessionId,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help='Its name; "" takes it away.', show_default=False)
    ],
    storing: Storing,
    *,
    user: User = None,
    json: AsJson = False,
) -> None:
    """Name a session."""
    try:
        name.encode()
    except UnicodeError as error:
        raise InputError("the name is not UTF-8; convert it first") from error
    key = SessionKey(user, session)

    async def write() -> None:
        async with opened_session(key, storing) as opened:
            await opened.arename(name or None)

    asyncio.run(write())
    if json:
        print_json({"session_id": session, "user_id": user, "name": name or None})
    else:
        note(
            f"{session_named(key)} {f'is now named {name!r}' if name else 'has no name now'}",
            Tone.GOOD,
        )


@command(app)
def export(
    session: SessionId, storing: Storing, *, user: User = None, output: Output = None
) -> None:
    """Write a whole session as JSON: every run with its records, state, summary and name."""
    key = SessionKey(user, session)

    async def read() -> None:
        async with opened_session(key, storing) as opened:
            exported = await opened.aexport()
        write_exported(exported, output)

    asyncio.run(read())


@command(app, "import")
def import_session(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="What `sessions export` wrote; - is standard input.",
            show_default=False,
        ),
    ],
    storing: Storing,
    *,
    session: SessionOption = None,
    user: User = None,
    json: AsJson = False,
) -> None:
    """Take an exported session in, as the session and of the user that it was.

    --session and --user make it another session, or one of another user. Nothing is written over.
    """
    was, exported = read_exported(file)
    key = SessionKey(
        was.user_id if user is None else user, was.session_id if session is None else session
    )

    async def write() -> int:
        async with storing.open() as store:
            if await store.head(key) is not None:
                raise InputError(
                    f"{session_named(key)} is in {storing.folder} already; delete it, or import "
                    "this as another with --session"
                )
            opened = Session(key, store)
            try:
                await opened.arestore(exported)
            except InputError as error:
                raise InputError(f"{file}: {error}") from error
            return (await opened.aget_head()).turns

    turns = asyncio.run(write())
    if json:
        print_json({"session_id": key.session_id, "user_id": key.user_id, "turns": turns})
    else:
        note(f"{session_named(key)} is imported, with {counted(turns, 'turn')}", Tone.GOOD)


@command(app)
def delete(
    storing: Storing,
    *,
    session: Annotated[
        str | None, typer.Argument(metavar="ID", help="The session.", show_default=False)
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All sessions of the user.", show_default=False)
    ] = False,
    user: User = None,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Delete a session, or with --all a user, and every word of it."""
    if everything == (session is not None):
        raise InputError("name one session, or all of a user with --all --user ID")
    if session is not None:
        _delete_one(SessionKey(user, session), storing, yes=yes)
        count = 1
    elif user is not None:
        count = _delete_all(user, storing, yes=yes)
    else:
        raise InputError("--all deletes what one user has; name the user with --user")
    if json:
        print_json({"session_id": session, "user_id": user, "deleted": count})
    else:
        note(f"{counted(count, 'session')} deleted", Tone.GOOD)


def _delete_one(key: SessionKey, storing: Storing, *, yes: bool) -> None:
    # It is not read first: what is damaged can be deleted too.
    make_sure(f"{session_named(key)} in {storing.folder} and every word of it", yes=yes)

    async def write() -> None:
        async with opened_session(key, storing) as opened:
            await opened.adelete()

    asyncio.run(write())


def _delete_all(user: str, storing: Storing, *, yes: bool) -> int:
    make_sure(f"all sessions of user {user!r} in {storing.folder}", yes=yes)

    async def write() -> int:
        async with storing.open() as store:
            return await store.delete_user(user)

    count = asyncio.run(write())
    if not count:
        raise NotFound(f"user {user!r} has no sessions in {storing.folder}; nothing was deleted")
    return count


def _row(info: SessionInfo) -> Sequence[str]:
    return (
        info.key.session_id,
        info.name or "",
        str(info.turns),
        when(info.updated),
        info.first_input,
    )


def _hit(hit: Hit, text: str) -> Sequence[str]:
    turn = hit.turn
    return (hit.key.session_id, str(turn.number), when(turn.started), *found_in(turn, text))
