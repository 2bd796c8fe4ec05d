"""`teamgraph runs`: which there are, what each node did, deleting one; the rest is in `again`."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import NotFound, closest
from ..records import Run, SessionKey, Turn
from .again import fork, resume
from .as_json import records_as_json, turn_as_json
from .command import command
from .consent import Yes, make_sure
from .options import AsJson, Owner, Owners, Page, Reading, Storing, session_named
from .progress import run_told
from .prompts import RecordedPrompt, Today, differences_told, kept_as_json, kept_of, sources_told
from .screen import Tone, note, print_json, print_pages, print_rows, when

app = typer.Typer(add_completion=False, no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="The run.", show_default=False)]


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
    """List runs, show what each node did, take up those cut short, fork one, delete one."""


@command(app, "list")
def list_runs(
    owners: Owners,
    storing: Storing,
    *,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Only those that are not done.")
    ] = False,
    page: Page,
    json: AsJson = False,
) -> None:
    """List the runs of a session, or of all sessions of a user, the newest first.

    Without --user these are the runs that belong to no user, with --all-users everybody's.
    """
    look = _unfinished if unfinished else _listed
    found = asyncio.run(look(owners, storing, page))
    if json:
        print_json([turn_as_json(key, turn) for key, turn in found])
    elif found:
        heads = owners.named(("run", "session", "status", "started", "message"), "user")
        print_rows(heads, [owners.named(_row(key, turn), key.user_id) for key, turn in found])
    else:
        elsewhere = "" if owners.all_users else "; they may be another user's (--all-users)"
        note(f"there are no such runs in {storing.folder}{elsewhere}")
    if found and unfinished and not json:
        whose = [*storing.words(), *owners.words()]
        command = ["runs", "resume", "--all", "--graph", "GRAPH", *whose]
        note(f"take them up: {shlex.join(['teamgraph', *command])}", Tone.QUIET)


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


command(app)(resume)
command(app)(fork)


@command(app)
def delete(
    run: RunId, owner: Owner, storing: Storing, *, yes: Yes = False, json: AsJson = False
) -> None:
    """Delete a run and every word of it; a summary that takes its turn in goes with it.

    Without --user only a run that belongs to no user.
    """

    async def find() -> SessionKey | None:
        async with storing.open() as store:
            return await owner.key(run, store)

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


async def _unfinished(
    owners: Owners, storing: Storing, page: Page
) -> Sequence[tuple[SessionKey, Turn]]:
    async with storing.open() as store:
        found = await owners.unfinished(store)
    return found[page.offset : page.offset + page.limit]


async def _listed(
    owners: Owners, storing: Storing, page: Page
) -> Sequence[tuple[SessionKey, Turn]]:
    async with storing.open() as store:
        if owners.session is not None:
            key = SessionKey(owners.user, owners.session)
            turns = await store.runs(key, limit=page.limit, offset=page.offset)
            return [(key, turn) for turn in turns]
        # The newest runs of a user lie in the newest sessions, so no more of those can matter.
        enough = page.limit + page.offset
        found = [
            (info.key, turn)
            async for user in owners.users(store)
            for info in await store.sessions(user, limit=enough)
            for turn in await store.runs(info.key, limit=enough)
        ]
    found.sort(key=lambda pair: pair[1].started, reverse=True)
    return found[page.offset : enough]


async def _found(run_id: str, owner: Owner, storing: Storing) -> Run:
    async with storing.open() as store:
        key = await owner.key(run_id, store)
        run = await store.run(key, run_id) if key is not None else None
    if run is None:
        raise _no_run(run_id, storing)
    return run


async def _kept(run: Run, node_ids: Sequence[str], storing: Storing) -> list[RecordedPrompt]:
    async with storing.open() as store:
        return await kept_of((run.records[node_id] for node_id in node_ids), store)


def _no_run(run_id: str, storing: Storing) -> NotFound:
    return NotFound(
        f"there is no such run {run_id!r} in {storing.folder}; `teamgraph runs list` shows "
        "those there are, of a user with --user"
    )


def _row(key: SessionKey, turn: Turn) -> Sequence[str]:
    return (turn.run_id, key.session_id, turn.status, when(turn.started), turn.input)
