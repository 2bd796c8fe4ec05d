"""`teamgraph sessions`: list, show, search, rename, export, import and delete sessions."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from time import time
from typing import Annotated, TypeAlias, cast

import typer

from ..blocking import all_items
from ..errors import InputError, NotFound
from ..messages import JSON
from ..records import Head, SessionInfo, SessionKey, Summary, Turn
from ..run.json_forms import head_as_json, info_as_json, metrics_as_json, turn_as_json
from ..session.session import Metrics, Session
from ..session.store import Hit, Store
from .command import command, command_group
from .completion import complete_sessions
from .lookup import RunFilter, find_session, latest_session, open_session, session_title
from .options import (
    JsonFlag,
    OutputOption,
    PageOptions,
    SessionOption,
    StoreOptions,
    UserOption,
    YesFlag,
    confirm,
)
from .output import (
    Style,
    counted,
    indent,
    local_time,
    pretty_json,
    print_json,
    print_note,
    print_paged,
    print_table,
    reason,
    two_columns,
    usage_text,
    write_output,
)

_STANDARD_INPUT = Path("-")
_ALL_SESSIONS = sys.maxsize
_EXCERPT_BEFORE = 30
_EXCERPT_LENGTH = 100
"""Characters of an excerpt, and how many of them are before the text that was searched for."""

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_since(text: str) -> float:
    """A Unix time in seconds from a span before now, such as 2d, or a local date and time."""
    if span := _SPAN.fullmatch(text.strip()):
        return time() - float(span[1]) * _SECONDS[span[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.astimezone()).timestamp()
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is not a time; write 30m, 6h, 2d or 1w, or a date such as 2026-11-27"
        ) from error


app = command_group(
    """List, show, search, rename, export, import and delete sessions.

    Without --user, only sessions that belong to no user.
    """
)

_SESSION_ID = typer.Argument(
    metavar="ID",
    help="The session id, or a unique prefix.",
    show_default=False,
    autocompletion=complete_sessions,
)
SessionId = Annotated[str, _SESSION_ID]
OptionalSessionId = Annotated[str | None, _SESSION_ID]
ExportedSession: TypeAlias = Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions: those of a user or of all users, by name and by time."""

    user: UserOption = None
    all_users: Annotated[
        bool, typer.Option("--all-users", help="Include every user, and sessions without a user.")
    ] = False
    name: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only names with this text.", show_default=False),
    ] = None
    since: Annotated[
        float | None,
        typer.Option(
            parser=parse_since,
            metavar="TIME",
            help="Only sessions active since then: 30m, 6h, 2d, 1w ago, or a date.",
            show_default=False,
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.all_users and self.user is not None:
            raise InputError("--all-users cannot be combined with --user")

    async def read(self, store: Store, page: PageOptions) -> Sequence[SessionInfo]:
        """A page of the sessions, the one with the latest activity first."""
        if not (self.all_users or self.name or self.since is not None):
            return await store.sessions(self.user, limit=page.limit, offset=page.offset)
        users = RunFilter(user=self.user, all_users=self.all_users).users(store)
        found = [
            info
            async for user in users
            async for info in all_items(partial(store.sessions, user))
            if self._has(info)
        ]
        if self.all_users:  # the sessions of one user are in the order of their turns
            found.sort(key=lambda info: info.updated, reverse=True)
        return found[page.offset : page.offset + page.limit]

    def _has(self, info: SessionInfo) -> bool:
        is_named = self.name is None or self.name.casefold() in (info.name or "").casefold()
        return is_named and (self.since is None or info.updated >= self.since)

    def title(self) -> str:
        """Which sessions, in the middle of a sentence."""
        words = ["of any user" if self.all_users else _whose(self.user)]
        words += [f"named {self.name!r}"] if self.name else []
        words += [f"active since {local_time(self.since)}"] if self.since is not None else []
        return " ".join(words)


@command(app, "list")
def list_sessions(
    store: StoreOptions, *, which: SessionFilter, page: PageOptions, json: JsonFlag = False
) -> None:
    """List the sessions of a user, the one with the latest activity first.

    Without --user, lists sessions that belong to no user; with --all-users, those of everybody.
    """

    async def read() -> Sequence[SessionInfo]:
        async with store.open() as opened:
            return await which.read(opened, page)

    found = asyncio.run(read())
    if json:
        print_json([info_as_json(info) for info in found])
    elif found:
        users = ("user",) if which.all_users else ()
        columns = ("session", *users, "name", "turns", "last active", "first message")
        print_table(columns, [_session_row(info, with_user=which.all_users) for info in found])
    else:
        more = "more " if page.offset else ""
        print_note(f"no {more}sessions {which.title()} in {store.title}")


@command(app)
def show(
    store: StoreOptions,
    *,
    session: OptionalSessionId = None,
    last: Annotated[
        bool, typer.Option("--last", help="The user's most recent session.", show_default=False)
    ] = False,
    user: UserOption = None,
    page: PageOptions,
    json: JsonFlag = False,
) -> None:
    """Show a session: its newest turns, its summary, its state and its usage.

    --limit is the number of turns; --offset skips the newest ones.
    """
    if last == (session is not None):
        raise InputError("name a session, or show the most recent one with --last")

    async def read() -> SessionPage:
        key = SessionKey(user, session or "")
        if last:
            key = (await latest_session(user, store, advice=" (--user: of a user)")).key
        async with open_session(key, store) as opened:
            turns = await opened.ahistory(limit=page.limit, offset=page.offset)
            head, metrics = await opened.aget_head(), await opened.ametrics()
        return SessionPage(opened.key, head, metrics, turns, page.offset)

    found = asyncio.run(read())
    key = found.key
    if json:
        print_json(
            {
                "session_id": key.session_id,
                "user_id": user,
                **head_as_json(found.head),
                "metrics": metrics_as_json(found.metrics),
                "turns": [turn_as_json(key, turn) for turn in found.turns],
            }
        )
    else:
        print_paged(found.text())


@command(app)
def search(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="The text to find.", show_default=False)
    ],
    store: StoreOptions,
    *,
    user: UserOption = None,
    last: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only the latest N sessions.", show_default=False),
    ] = None,
    page: PageOptions,
    json: JsonFlag = False,
) -> None:
    """Search the completed turns of a user for a text, newest first; case is ignored."""
    if not text.strip():
        raise InputError("the text is empty; give a text to look for")

    async def read() -> Sequence[Hit]:
        enough = page.offset + page.limit
        async with store.open() as opened:
            hits = await opened.search(user, text, last=last or _ALL_SESSIONS, limit=enough)
        return hits[page.offset :]

    hits = asyncio.run(read())
    if json:
        print_json([turn_as_json(hit.key, hit.turn) for hit in hits])
    elif hits:
        rows = [_hit_row(hit, text) for hit in hits]
        print_table(("session", "turn", "started", "who", "text"), rows)
    else:
        more = "more " if page.offset else ""
        print_note(f"no {more}completed turns {_whose(user)} in {store.title} have {text!r}")


@command(app)
def rename(
    session: SessionId,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help='The new name; "" removes it.', show_default=False)
    ],
    store: StoreOptions,
    *,
    user: UserOption = None,
    json: JsonFlag = False,
) -> None:
    """Name a session."""
    try:
        name.encode()
    except UnicodeError as error:
        raise InputError("the name is not UTF-8; convert it first") from error

    async def write() -> SessionKey:
        async with open_session(SessionKey(user, session), store) as opened:
            await opened.arename(name or None)
            return opened.key

    key = asyncio.run(write())
    if json:
        print_json({"session_id": key.session_id, "user_id": user, "name": name or None})
    else:
        verdict = f"is now named {name!r}" if name else "no longer has a name"
        print_note(f"{session_title(key)} {verdict}", Style.SUCCESS)


@command(app)
def export(
    session: SessionId,
    store: StoreOptions,
    *,
    user: UserOption = None,
    output: OutputOption = None,
) -> None:
    """Write a whole session as JSON: every run with its records, state, summary and name.

    Only the user who runs the command may read the file.
    """

    async def read() -> ExportedSession:
        async with open_session(SessionKey(user, session), store) as opened:
            return await opened.aexport()

    exported = asyncio.run(read())
    write_output(f"{pretty_json(exported)}\n", output, private=True)


@command(app, "import")
def import_session(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="An exported session; - reads standard input.",
            show_default=False,
        ),
    ],
    store: StoreOptions,
    *,
    session: SessionOption = None,
    user: UserOption = None,
    json: JsonFlag = False,
) -> None:
    """Import an exported session.

    It keeps its id and its user unless --session or --user names others. An existing session is
    never overwritten.
    """
    exported_key, exported = _read_export(file)
    key = SessionKey(
        exported_key.user_id if user is None else user,
        exported_key.session_id if session is None else session,
    )

    async def write() -> int:
        async with store.open() as opened:
            if await opened.head(key) is not None:
                raise InputError(
                    f"{session_title(key)} already exists in {store.title}; delete it, or import "
                    "under another id with --session"
                )
            imported = Session(key, opened)
            try:
                await imported.arestore(exported)
            except InputError as error:
                raise InputError(f"{file}: {error}") from error
            return (await imported.aget_head()).turns

    turns = asyncio.run(write())
    if json:
        print_json({"session_id": key.session_id, "user_id": key.user_id, "turns": turns})
    else:
        print_note(f"imported {session_title(key)} with {counted(turns, 'turn')}", Style.SUCCESS)


@command(app)
def delete(
    store: StoreOptions,
    *,
    session: OptionalSessionId = None,
    all_sessions: Annotated[
        bool, typer.Option("--all", help="All sessions of the user.", show_default=False)
    ] = False,
    user: UserOption = None,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Delete a session, or with --all every session of a user, with everything quoted from it."""
    if all_sessions == (session is not None):
        raise InputError("name a session, or delete all of a user with --all --user ID")
    if session is not None:
        session = _delete_session(SessionKey(user, session), store, yes=yes)
        count = 1
    elif user is not None:
        count = _delete_user(user, store, yes=yes)
    else:
        raise InputError("--all deletes the sessions of one user: name the user with --user")
    if json:
        print_json({"session_id": session, "user_id": user, "deleted": count})
    else:
        print_note(f"deleted {counted(count, 'session')}", Style.SUCCESS)


def _delete_session(key: SessionKey, options: StoreOptions, *, yes: bool) -> str:
    """Delete a session, damaged or not; returns its id."""

    async def find() -> SessionKey:
        async with options.open() as store:
            return await find_session(key, store)

    key = asyncio.run(find())
    confirm(f"{session_title(key)} in {options.title} and everything quoted from it", yes=yes)

    async def write() -> None:
        async with open_session(key, options) as opened:
            await opened.adelete()

    asyncio.run(write())
    return key.session_id


def _delete_user(user: str, options: StoreOptions, *, yes: bool) -> int:
    confirm(f"all sessions of user {user!r} in {options.title}", yes=yes)

    async def write() -> int:
        async with options.open() as store:
            return await store.delete_user(user)

    count = asyncio.run(write())
    if not count:
        raise NotFound(f"user {user!r} has no sessions in {options.title}; nothing was deleted")
    return count


def _read_export(file: Path) -> tuple[SessionKey, ExportedSession]:
    """An exported session from a file or standard input, and its key.

    Raises `InputError` if it cannot be read or is something else.
    """
    advice = "use a file that `teamgraph sessions export` wrote"
    try:
        written = sys.stdin.buffer.read() if file == _STANDARD_INPUT else file.read_bytes()
        data = json.loads(written)
    except OSError as error:
        raise InputError(f"{file}: cannot read it: {reason(error)}; name another file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: it is not JSON: {error}; {advice}") from error
    exported = cast("dict[str, JSON]", data) if isinstance(data, dict) else {}
    match exported.get("session_id"), exported.get("user_id"):
        case str(session_id), (str() | None) as user_id:
            return SessionKey(user_id, session_id), exported
        case _:
            raise InputError(f"{file}: not an exported session; {advice}")


def _whose(user: str | None) -> str:
    return f"of user {user!r}" if user is not None else "without a user (see --user)"


def _session_row(info: SessionInfo, *, with_user: bool) -> Sequence[str]:
    return (
        info.key.session_id,
        *((info.key.user_id or "",) if with_user else ()),
        info.name or "",
        str(info.turns),
        local_time(info.updated),
        info.first_input,
    )


def _hit_row(hit: Hit, text: str) -> Sequence[str]:
    turn = hit.turn
    return (hit.key.session_id, str(turn.number), local_time(turn.started), *_excerpt(turn, text))


def _excerpt(turn: Turn, text: str) -> tuple[str, str]:
    """Who said `text` in a turn, and the words around it."""
    sought = text.casefold()
    by_user = sought in turn.input.casefold()
    who, whole = ("user", turn.input) if by_user else ("answer", turn.answer or "")
    # Case folding makes a few letters longer, so the place may be off by a letter or two.
    start = max(0, whole.casefold().find(sought) - _EXCERPT_BEFORE)
    end = start + _EXCERPT_LENGTH
    return who, f"{'…' if start else ''}{whole[start:end]}{'…' if end < len(whole) else ''}"


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A session and some of its turns, oldest first; `offset` newer ones are skipped."""

    key: SessionKey
    head: Head
    metrics: Metrics
    turns: Sequence[Turn]
    offset: int = 0

    def text(self) -> str:
        """The session as people read it."""
        parts = [self._heading(), *map(turn_text, self.turns)]
        if self.head.summary is not None:
            parts.append(summary_text(self.head.summary))
        states: dict[str, JSON] = {"state": dict(self.head.state)}
        for node_id, state in self.head.node_states.items():
            states[f"state of {node_id}"] = dict(state)
        parts += [
            f"{name}\n{indent(pretty_json(state))}" for name, state in states.items() if state
        ]
        return "\n\n".join(parts) + "\n"

    def _heading(self) -> str:
        metrics = self.metrics
        return two_columns(
            {
                "session": self.key.session_id,
                "user": self.key.user_id,
                "name": self.head.name,
                "turns": metrics.turns,
                "shown": self._range(),
                "runs": metrics.runs if metrics.runs > metrics.turns else None,
                "took": f"{metrics.seconds:.2f} s{usage_text(metrics.usage)}",
            }
        )

    def _range(self) -> str:
        """Which turns these are, and how to see earlier ones; empty if they are all."""
        until = self.offset + len(self.turns)
        if len(self.turns) == self.metrics.turns:
            return ""
        if not self.turns:
            return "none; --offset skips all of them"
        earlier = f"; --offset {until} shows earlier ones" if until < self.metrics.turns else ""
        return f"{self.turns[0].number} to {self.turns[-1].number}{earlier}"


def turn_text(turn: Turn) -> str:
    """A turn as people read it: when it was, and who said what."""
    heading = f"{turn.number}. {local_time(turn.started)}, run {turn.run_id}"
    texts = [_speech("user", turn.said), _speech(turn.speaker or "answer", turn.answer or "")]
    return "\n".join([heading, *texts])


def _speech(who: str, text: str) -> str:
    """Who said what; further lines are indented, so that no text can look like another's."""
    first, *more = text.splitlines() or [""]
    return "\n".join([f"  {who}: {first}", *(f"      {line}" for line in more)])


def summary_text(summary: Summary) -> str:
    """A summary with its topics."""
    title = f"summary of {counted(summary.covers, 'turn')}"
    topics = f"topics: {', '.join(summary.topics)}" if summary.topics else ""
    return "\n".join(filter(None, (title, indent(summary.text), indent(topics))))
