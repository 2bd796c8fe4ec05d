"""Options that several commands have, and what they stand for.

A session that a command works on, opened where sessions are kept.

Whose runs a command is about, and where they are.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO, TypeAlias

import typer

from ..blocking import all_items
from ..errors import InputError, NotFound
from ..graph.graph import Graph
from ..graph.settings import make_importable, settings_of
from ..records import SessionKey, Turn
from ..run.runner import Runner
from ..session.session import Session
from ..session.store import Policy, Store
from ..stores.journal.journal_file import TornTail
from ..stores.tinydb.directory import SkippedSession
from ..stores.tinydb.store import TinyDBStore
from .screen import Tone, note


@asynccontextmanager
async def opened_session(key: SessionKey, storing: Storing) -> AsyncGenerator[Session]:
    """The session; that it is not there is told in the words of the command line."""
    async with storing.open() as store:
        try:
            yield Session(key, store)
        except NotFound as error:
            whose = f"user {key.user_id!r} has" if key.user_id is not None else "there is"
            raise NotFound(
                f"{whose} no session {key.session_id!r} in {storing.folder}; `teamgraph sessions "
                "list` shows those there are, of another user with --user, in another store with "
                "--store"
            ) from error


def session_named(key: SessionKey) -> str:
    """The session by its name and its user's, as the middle of a sentence."""
    whose = f" of user {key.user_id!r}" if key.user_id is not None else ""
    return f"session {key.session_id!r}{whose}"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose runs, and of which session."""

    user: User = None
    session: SessionOption = None

    async def key(self, run_id: str, store: Store) -> SessionKey | None:
        """The session of a run of the owner: the one that is named, or wherever it is."""
        if self.session is not None:
            return SessionKey(self.user, self.session)
        return await store.find(self.user, run_id)


@dataclass(frozen=True, slots=True)
class Owners(Owner):
    """Whose runs: one user's, or everybody's."""

    all_users: Annotated[
        bool, typer.Option("--all-users", help="Those of every user, and of none.")
    ] = False

    def __post_init__(self) -> None:
        if self.all_users and (self.user is not None or self.session is not None):
            raise InputError("--all-users is everybody; name no --user and no --session beside it")

    async def users(self, store: Store) -> AsyncIterator[str | None]:
        """All users of the store, or the one that is named."""
        if not self.all_users:
            yield self.user
            return
        async for user in all_items(store.users):
            yield user

    async def sessions(self, store: Store) -> AsyncIterator[SessionKey]:
        """The session that is named, or all of the users."""
        if self.session is not None:
            yield SessionKey(self.user, self.session)
            return
        async for user in self.users(store):
            async for info in all_items(partial(store.sessions, user)):
                yield info.key

    async def unfinished(self, store: Store) -> list[tuple[SessionKey, Turn]]:
        """The runs that are not done, the newest first; some may be under way just now."""
        found = [
            (key, turn)
            async for key in self.sessions(store)
            async for turn in all_items(partial(store.runs, key))
            if turn.status != "done"
        ]
        return sorted(found, key=lambda pair: pair[1].started, reverse=True)

    def words(self) -> list[str]:
        """The options again, for a command to copy."""
        if self.all_users:
            return ["--all-users"]
        return [] if self.user is None else ["--user", self.user]

    def named(self, row: Sequence[str], user: str | None) -> Sequence[str]:
        """A row of a table, with the user behind the session where there may be several."""
        return [*row[:2], user or "", *row[2:]] if self.all_users else row


DEFAULT_STORE = Path(".teamgraph")

GraphFile: TypeAlias = Annotated[
    Path, typer.Argument(metavar="GRAPH", help="A graph file.", show_default=False)
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON value.", show_default=False)
]
User: TypeAlias = Annotated[
    str | None, typer.Option(metavar="ID", help="Whose session it is.", show_default=False)
]
SessionOption: TypeAlias = Annotated[
    str | None, typer.Option(metavar="ID", help="The session.", show_default=False)
]

Output: TypeAlias = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write it there.", show_default=False),
]
Limit: TypeAlias = Annotated[int, typer.Option(min=1, help="At most so many.")]
Offset: TypeAlias = Annotated[int, typer.Option(min=0, help="Leave out the first so many.")]


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a long list."""

    limit: Limit = 20
    offset: Offset = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How a graph file is read."""

    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PACKAGE",
            help="A package whose functions and classes the graph may name; repeatable.",
            show_default=False,
        ),
    ] = None
    prompts: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="A folder of templates; repeatable.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None

    def graph(self, file: Path) -> Graph:
        """The graph; raises `DefinitionError`."""
        settings = settings_of(Path.cwd())
        allow = [*(self.allow or ()), *settings.allow]
        if allow:
            make_importable(Path.cwd(), settings.folder)
        return Graph.load(
            file, prompt_dirs=[*(self.prompts or ()), *settings.prompt_dirs()], allow=allow
        )

    def words(self) -> list[str]:
        """The same options as words of a command."""
        words = [word for package in self.allow or () for word in ("--allow", package)]
        return words + [
            word for folder in self.prompts or () for word in ("--prompts", str(folder))
        ]


@dataclass(frozen=True)
class Storing:
    """Where sessions are kept."""

    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The store; if left out TEAMGRAPH_STORE, the project's, or .teamgraph here.",
            show_default=False,
        ),
    ] = None

    @property
    def folder(self) -> Path:
        """The store's directory, there or not."""
        if self.store is not None:
            return self.store
        if named := os.environ.get("TEAMGRAPH_STORE"):
            return Path(named)
        return settings_of(Path.cwd()).store or DEFAULT_STORE

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Store]:
        """The store, closed afterwards; what it warns of is told without a place in our code."""
        store = TinyDBStore(self.folder)
        with warnings.catch_warnings():
            warnings.showwarning = _tell
            try:
                yield store
            finally:
                await store.close()

    def words(self) -> list[str]:
        """The same options as words of a command."""
        named = self.store is not None or os.environ.get("TEAMGRAPH_STORE")
        return ["--store", str(self.folder)] if named else []


@dataclass(frozen=True)
class Modelling:
    """Which model answers."""

    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The model of every node: an id such as openai/gpt-5-mini, local, or echo.",
            show_default=False,
        ),
    ] = None

    def settle(self) -> None:
        """Let the project's model stand where neither option, graph nor environment names one."""
        model = settings_of(Path.cwd()).model
        if model is not None and not os.environ.get("TEAMGRAPH_MODEL"):
            os.environ["TEAMGRAPH_MODEL"] = model

    def words(self) -> list[str]:
        """The same options as words of a command."""
        return ["--model", self.model] if self.model is not None else []


@dataclass(frozen=True)
class Means(Storing, Modelling):
    """What a run is made with: where it is kept, which model answers, whether it waits."""

    busy: Annotated[
        Policy,
        typer.Option(
            help="While another turn of the session is under way: wait, fail, or go on beside it."
        ),
    ] = "serialize"

    def runner(self, graph: Graph, store: Store) -> Runner:
        """What runs the graph with these means."""
        return Runner(graph, store=store, model=self.model, busy=self.busy)

    def words(self) -> list[str]:
        """The same options as words of a command."""
        return [*Modelling.words(self), *Storing.words(self)]


def _tell(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Tell what the store warns of; what libraries say to their programmers helps nobody here."""
    del filename, lineno, file, line
    if issubclass(category, SkippedSession | TornTail):
        note(f"warning: {message}", Tone.WARNING)
