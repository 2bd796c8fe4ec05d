"""Options that several commands have, and what they stand for."""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TextIO, TypeAlias

import typer

from ..graph import Graph
from ..settings import make_importable, settings_of
from ..stores import SkippedSession, Store, TinyDBStore, TornTail
from .screen import Tone, note

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
Session: TypeAlias = Annotated[
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
        return ["--store", str(self.store)] if self.store is not None else []


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
    """What a run is made with: where it is kept, and which model answers."""

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
