"""`teamgraph runs resume` and `runs fork`: a run taken up again, and one made of another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ..errors import InputError, RunError, SessionBusy, TeamgraphError
from ..events import Event
from ..graph.graph import Graph
from ..messages import JSON
from ..records import Run, SessionKey, Turn
from ..session.store import Store
from .failure import NOT_HELD
from .options import AsJson, Means, Owners, Reading, User
from .run import REUSE, Way, Written, finish, make, said
from .screen import Tone, counted, in_line, note, print_json, print_rows

ResumedGraph: TypeAlias = Annotated[
    Path, typer.Option(metavar="GRAPH", help="The graph that it is a run of.", show_default=False)
]


@dataclass(frozen=True, slots=True)
class Resuming:
    """Which runs, and how."""

    everything: Annotated[
        bool, typer.Option("--all", help="Every unfinished run of the graph, the oldest first.")
    ] = False
    reuse_unchanged: Annotated[
        bool,
        typer.Option(
            REUSE,
            help="If the graph has changed, run what was changed and all that follows anew.",
        ),
    ] = False
    json: AsJson = False


@dataclass(frozen=True, slots=True)
class Forking:
    """Where a fork begins, and what is another in it."""

    node: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NODE", help="The first node to run anew.", show_default=False
        ),
    ] = None
    message: Annotated[
        str | None,
        typer.Option(help="Say this instead; - reads standard input.", show_default=False),
    ] = None
    session: Annotated[
        str | None,
        typer.Option(metavar="NEW", help="The id of the new session.", show_default=False),
    ] = None
    json: AsJson = False


def resume(
    graph: ResumedGraph,
    reading: Reading,
    owners: Owners,
    means: Means,
    resuming: Resuming,
    *,
    run_id: Annotated[
        str | None, typer.Argument(metavar="RUN_ID", help="The run.", show_default=False)
    ] = None,
) -> None:
    """Take up a run that failed or was cut short; what is done is not done again.

    With --all every unfinished run of the graph that the user has, one after another; without
    --user those that belong to no user, with --all-users everybody's.
    """
    if resuming.everything == (run_id is not None):
        raise InputError("name one run, or take up all that are unfinished with --all")
    if owners.all_users and run_id is not None:
        raise InputError("--all-users goes with --all; name the user of the run with --user")
    declared = reading.graph(graph)
    means.settle()
    again = _Again(declared, means, Way.of(graph, reading, means), resuming.reuse_unchanged)
    if run_id is None:
        again.resume_all(owners, as_json=resuming.json)
        return

    async def events(store: Store) -> AsyncGenerator[Event]:
        whose = owners.user, owners.session
        async with aclosing(again.events(store, run_id, *whose)) as told:
            async for event in told:
                yield event

    written = Written(stream=True, is_quiet=resuming.json)
    finish(events, means, written, again.way, as_json=resuming.json)


def fork(
    run: Annotated[str, typer.Argument(metavar="RUN_ID", help="The run.", show_default=False)],
    graph: ResumedGraph,
    reading: Reading,
    means: Means,
    forking: Forking,
    *,
    user: User = None,
) -> None:
    """Make a run again from one of its nodes on, in a new session.

    The new run reuses what does not follow from the node; the session begins with the turns that
    came before the old run, which stays as it is. With --message every node that may have read the
    message is run anew as well.
    """
    declared = reading.graph(graph)
    message = None if forking.message is None else said(forking.message)
    means.settle()

    async def events(store: Store) -> AsyncGenerator[Event]:
        making = means.runner(declared, store).afork_stream(
            run,
            node=forking.node,
            message=message,
            user_id=user,
            into=forking.session,
        )
        async with aclosing(making) as told:
            async for event in told:
                yield event

    way = Way.of(graph, reading, means)
    written = Written(stream=True, is_quiet=forking.json)
    forked = finish(events, means, written, way, as_json=forking.json)
    note(f"go on with: {way.to_session(forked.key)}", Tone.QUIET)


@dataclass(frozen=True, slots=True)
class _Again:
    """Takes up runs of one graph."""

    graph: Graph
    means: Means
    way: Way
    reuse_unchanged: bool

    def events(
        self, store: Store, run_id: str, user: str | None, session: str | None
    ) -> AsyncGenerator[Event]:
        runner = self.means.runner(self.graph, store)
        return runner.aresume_stream(
            run_id, user_id=user, session_id=session, reuse_unchanged=self.reuse_unchanged
        )

    def resume_all(self, owners: Owners, *, as_json: bool) -> None:
        """Take up one after another, and say in a line what became of each."""
        found = asyncio.run(self._unfinished(owners))
        mine = [each for each in reversed(found) if each[1].graph == self.graph.name]
        if others := len(found) - len(mine):
            note(f"{counted(others, 'unfinished run')} of other graphs: left alone")
        outcomes = [self._outcome(key, turn) for key, turn in mine]
        if as_json:
            print_json([outcome.as_json() for outcome in outcomes])
        elif outcomes:
            rows = [owners.named(each.row(), each.run.user_id) for each in outcomes]
            print_rows(owners.named(("run", "session", "status", "told"), "user"), rows)
        else:
            note(f"there is no unfinished run of {self.graph.name} in {self.means.folder}")
        if any(outcome.has_failed for outcome in outcomes):
            raise typer.Exit(NOT_HELD)

    async def _unfinished(self, owners: Owners) -> Sequence[tuple[SessionKey, Turn]]:
        async with self.means.open() as store:
            return await owners.unfinished(store)

    def _outcome(self, key: SessionKey, turn: Turn) -> _Outcome:
        try:
            run = make(
                lambda store: self.events(store, turn.run_id, key.user_id, key.session_id),
                self.means,
                Written(stream=True, is_quiet=True),
                self.way,
            )
        except TeamgraphError as error:
            run = error.run if isinstance(error, RunError) and error.run else Run(key, turn)
            return _Outcome(run, error)
        return _Outcome(run)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a run that was to be taken up."""

    run: Run
    error: TeamgraphError | None = None

    @property
    def has_failed(self) -> bool:
        """Whether it should be looked at; one that is under way elsewhere is well."""
        return self.error is not None and not isinstance(self.error, SessionBusy)

    def as_json(self) -> dict[str, JSON]:
        run, error = self.run, self.error
        return {
            "run_id": run.run_id,
            "session_id": run.session_id,
            "user_id": run.user_id,
            "status": run.status,
            "answer": run.answer,
            "error": None if error is None else str(error),
        }

    def row(self) -> Sequence[str]:
        told = self.run.answer or "" if self.error is None else str(self.error)
        return (self.run.run_id, self.run.session_id, self.run.status, in_line(told))
