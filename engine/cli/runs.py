"""`teamgraph runs`: which there are, what each node did, taking one up again, deleting one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import NotFound, closest
from ..events import Event
from ..runner import Runner
from ..session import Run, SessionKey, Turn
from ..stores import Store
from .as_json import records_as_json, turn_as_json
from .command import command
from .consent import Yes, make_sure
from .opened import session_named
from .options import AsJson, Limit, Means, Offset, Reading, Session, Storing, User
from .screen import Tone, note, print_json, print_pages, print_rows, when
from .sources import Kept, Today, differences_told, kept_as_json, kept_of, sources_told
from .telling import run_told
from .turn import Way, Written, finish

app = typer.Typer(no_args_is_help=True)

_PAGE = 100
"""Sessions that are looked through at once."""

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run.", show_default=False)]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose runs, and of which session."""

    user: User = None
    session: Session = None


@dataclass(frozen=True, slots=True)
class Looking:
    """What of a run is shown."""

    node: Annotated[
        str | None, typer.Option(metavar="ID", help="This node only.", show_default=False)
    ] = None
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Also the exact messages that were sent.")
    ] = False
    diff: Annotated[
        bool,
        typer.Option(
            "--diff", help="How the templates that it was asked with differ from today's."
        ),
    ] = False
    graph: Annotated[
        Path | None,
        typer.Option(
            metavar="GRAPH",
            help="The graph whose templates --diff compares with; if left out, the built-in ones.",
            show_default=False,
        ),
    ] = None
    json: AsJson = False

    def today(self, reading: Reading) -> Today | None:
        """The templates to compare with, if that is wanted."""
        if self.graph is not None:
            return Today(reading.graph(self.graph))
        return Today() if self.diff else None


@app.callback()
def runs() -> None:
    """List runs, show what each node did, take up one that was cut short, delete one."""


@command(app, "list")
def list_runs(
    owner: Owner, storing: Storing, *, limit: Limit = 20, offset: Offset = 0, json: AsJson = False
) -> None:
    """List the runs of a session, or of all sessions of a user, the newest first.

    Without --user these are the runs that belong to no user.
    """
    found = asyncio.run(_listed(owner, storing, limit=limit, offset=offset))
    if json:
        print_json([turn_as_json(session, turn) for session, turn in found])
    elif found:
        heads = ("run", "session", "status", "started", "message")
        print_rows(heads, [_row(session, turn) for session, turn in found])
    else:
        note(f"there are no such runs in {storing.folder}; they may be another user's (--user)")


@command(app)
def show(run: RunId, owner: Owner, looking: Looking, reading: Reading, storing: Storing) -> None:
    """Show a run: every node's status and why, choice, attempts, usage, time and error.

    With --prompt also the templates that the messages were made of, as they were then.
    """
    today = looking.today(reading)
    found = asyncio.run(_found(run, owner, storing))
    if looking.node is not None and looking.node not in found.records:
        near = closest(looking.node, found.records)
        there = f"did you mean {near!r}?" if near else f"it has {', '.join(found.records)}"
        raise NotFound(f"run {run!r} has no record of a node {looking.node!r}; {there}")
    node_ids = [looking.node] if looking.node is not None else list(found.records)
    kept = asyncio.run(_kept(found, node_ids, storing)) if looking.prompt or today else []
    if looking.json:
        told = records_as_json(found, node_ids, prompts=looking.prompt)
        print_json({**told, **({"prompts": kept_as_json(kept, today)} if kept else {})})
        return
    parts = [run_told(found, node_ids, prompts=looking.prompt)]
    if kept:
        parts.append(differences_told(kept, today) if today else sources_told(kept))
    print_pages("\n".join(parts))


@command(app)
def resume(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The run.", show_default=False)],
    graph: Annotated[
        Path,
        typer.Option(metavar="GRAPH", help="The graph that it is a run of.", show_default=False),
    ],
    reading: Reading,
    owner: Owner,
    means: Means,
    *,
    json: AsJson = False,
) -> None:
    """Take up a run that failed or was cut short; what is done is not done again."""
    declared = reading.graph(graph)
    means.settle()

    async def events(store: Store) -> AsyncGenerator[Event]:
        key = await _key(run_id, owner, store)
        user, session = key or (owner.user, owner.session)
        runner = Runner(declared, store=store, model=means.model)
        resumed = runner.aresume_stream(run_id, user_id=user, session_id=session)
        async with aclosing(resumed) as told:
            async for event in told:
                yield event

    way = Way.of(graph, owner.user, reading, means)
    finish(events, means, Written(stream=True, is_quiet=json), way, as_json=json)


@command(app)
def delete(
    run: RunId, owner: Owner, storing: Storing, *, yes: Yes = False, json: AsJson = False
) -> None:
    """Delete a run and every word of it; a summary that takes its turn in goes with it.

    Without --user only a run that belongs to no user.
    """

    async def find() -> SessionKey | None:
        async with storing.open() as store:
            return await _own_key(run, owner, store)

    async def write(key: SessionKey) -> bool:
        async with storing.open() as store:
            return await store.delete_run(key, run)

    key = asyncio.run(find())
    if key is None:
        raise _no_run(run, storing)
    make_sure(f"run {run!r} of {session_named(key)} and every word of it", yes=yes)
    if not asyncio.run(write(key)):
        raise _no_run(run, storing)
    if json:
        print_json({"run_id": run, "session_id": key.session_id, "user_id": key.user_id})
    else:
        note(f"run {run} of {session_named(key)} is deleted", Tone.GOOD)


async def _listed(
    owner: Owner, storing: Storing, *, limit: int, offset: int
) -> Sequence[tuple[str, Turn]]:
    async with storing.open() as store:
        if owner.session is not None:
            key = SessionKey(owner.user, owner.session)
            turns = await store.runs(key, limit=limit, offset=offset)
            return [(owner.session, turn) for turn in turns]
        # The newest runs of a user lie in the newest sessions, so no more of those can matter.
        enough = limit + offset
        found = [
            (info.key.session_id, turn)
            for info in await store.sessions(owner.user, limit=enough)
            for turn in await store.runs(info.key, limit=enough)
        ]
    found.sort(key=lambda pair: pair[1].started, reverse=True)
    return found[offset:enough]


async def _found(run_id: str, owner: Owner, storing: Storing) -> Run:
    async with storing.open() as store:
        key = await _key(run_id, owner, store)
        run = await store.run(key, run_id) if key is not None else None
    if run is None:
        raise _no_run(run_id, storing)
    return run


async def _kept(run: Run, node_ids: Sequence[str], storing: Storing) -> list[Kept]:
    async with storing.open() as store:
        return await kept_of((run.records[node_id] for node_id in node_ids), store)


def _no_run(run_id: str, storing: Storing) -> NotFound:
    return NotFound(
        f"there is no such run {run_id!r} in {storing.folder}; look with `teamgraph runs list`"
    )


async def _key(run_id: str, owner: Owner, store: Store) -> SessionKey | None:
    """The session of a run: the one that is named, or wherever it is; only a named user's."""
    if owner.session is None and owner.user is None:
        return await store.find(run_id)
    return await _own_key(run_id, owner, store)


async def _own_key(run_id: str, owner: Owner, store: Store) -> SessionKey | None:
    """The session of a run if it is the owner's; no user is an owner too."""
    if owner.session is not None:
        return SessionKey(owner.user, owner.session)
    key = await store.find(run_id)
    if key is None or key.user_id == owner.user:
        return key
    # A session that was exported and imported again may be there for two users.
    looked_at = 0
    while page := await store.sessions(owner.user, limit=_PAGE, offset=looked_at):
        for info in page:
            if await store.run(info.key, run_id) is not None:
                return info.key
        looked_at += len(page)
    return None


def _row(session_id: str, turn: Turn) -> Sequence[str]:
    return (turn.run_id, session_id, turn.status, when(turn.started), turn.input)
