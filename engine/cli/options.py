"""Options that several commands share, and what the commands open with them.

Each class is a group of options: `command` makes one option of each field.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import warnings
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, TypeAlias, cast

import typer

from ..errors import DamagedStore, InputError, NoModelError
from ..graph.settings import Settings, make_importable, settings_of, store_place
from ..session.store import Policy, Store, WhileWaiting
from ..stores.journal.journal_file import TornTail
from ..stores.places import is_address, open_store, title
from ..stores.tinydb.directory import SkippedSession
from ..terminal import escape_controls
from .command import EXIT_FAILURE
from .completion import complete_graphs, complete_models, complete_sessions, complete_users
from .output import Style, print_note

if TYPE_CHECKING:
    from ..events import Listener
    from ..graph.graph import Graph
    from ..graph.node import Node
    from ..models.recordings import Recorder, Replay
    from ..run.runner import Runner

GraphFile: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="GRAPH",
        help="A graph file.",
        show_default=False,
        autocompletion=complete_graphs,
    ),
]
GraphOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        metavar="GRAPH",
        help="The graph file of the run.",
        show_default=False,
        autocompletion=complete_graphs,
    ),
]
JsonFlag: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON, errors too.", show_default=False)
]
YesFlag: TypeAlias = Annotated[
    bool, typer.Option("--yes", help="Do not ask for confirmation.", show_default=False)
]
UserOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="The user that the session belongs to.",
        show_default=False,
        autocompletion=complete_users,
    ),
]
SessionOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="The session id.",
        show_default=False,
        autocompletion=complete_sessions,
    ),
]
OutputOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write to this file, not to standard output.",
        show_default=False,
    ),
]
ServersOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-mcp",
        metavar="SERVER",
        help="An MCP server of the graph that may be started, or sent to; repeatable.",
        show_default=False,
    ),
]
KindOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASS",
        help="A kind of node that graphs may use, such as myapp.kinds:Translator; repeatable.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How a graph file is loaded."""

    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PACKAGE",
            help="A package whose functions and classes the graph may name; repeatable.",
            show_default=False,
        ),
    ] = None
    allow_mcp: ServersOption = None
    kind: KindOption = None
    prompts: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="A folder of prompt templates; repeatable.",
            show_default=False,
        ),
    ] = None

    def load(self, file: Path) -> Graph:
        """Load the graph, with the project's settings.

        Allowed modules are found in the current folder, the project's and the graph's.
        Raises `DefinitionError`, and `InputError` if a folder of templates does not exist.
        """
        # Lazy: commands that need no graph do not wait for what graphs need.
        from ..graph.graph import Graph

        for folder in self.prompts or ():
            if not folder.is_dir():
                raise InputError(f"--prompts: folder '{folder}' does not exist; name another one")
        settings = settings_of(Path.cwd())
        allow = [*(self.allow or ()), *settings.allow]
        if allow or self.kind or settings.kinds:
            make_importable(Path.cwd(), settings.folder, file.absolute().parent)
        return Graph.load(
            file,
            kinds=all_kinds(self.kind, settings),
            prompt_dirs=[*(self.prompts or ()), *settings.prompt_dirs()],
            allow=allow,
            allow_mcp=[*(self.allow_mcp or ()), *settings.allow_mcp],
        )

    def words(self) -> list[str]:
        """The options as words of a command line."""
        words = [word for package in self.allow or () for word in ("--allow", package)]
        words += [word for server in self.allow_mcp or () for word in ("--allow-mcp", server)]
        words += [word for kind in self.kind or () for word in ("--kind", kind)]
        return words + [
            word for folder in self.prompts or () for word in ("--prompts", str(folder))
        ]


def parse_place(text: str) -> str:
    """The place of a store as it was typed; an empty one would be the current folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty; name a folder or an address, or leave it out")
    return text


@dataclass(frozen=True)
class StoreOptions:
    """Which store."""

    store: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="The store: a folder, or a database's address such as postgresql://host/shop. "
            "Default: TEAMGRAPH_STORE, the project's, or .teamgraph.",
            show_default=False,
            parser=parse_place,
        ),
    ] = None

    @property
    def place(self) -> str:
        """The store's folder, whether it exists or not, or its address."""
        return store_place(self.store)

    @property
    def title(self) -> str:
        """The place as messages name it, without a password."""
        return title(self.place)

    @property
    def may_exist(self) -> bool:
        """Whether the store's folder exists; a database is not asked."""
        return is_address(self.place) or Path(self.place).is_dir()

    def folder(self, action: str) -> Path:
        """The store's folder, for what reads its files; raises `InputError` if it is a database."""
        if is_address(self.place):
            raise InputError(
                f"{self.title}: this {action} the files of a store in a folder, and a database has "
                "tools of its own for that (docs/postgres.md); name a folder with --store"
            )
        return Path(self.place)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Store]:
        """The store, closed afterwards; its warnings are printed as notes."""
        if is_address(self.place):  # its error tells why there is no connection, and only once
            logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        store = open_store(self.place)
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            try:
                yield store
            except DamagedStore as error:
                if "--salvage" in str(error) and (named := self.words()):
                    error.add_note(f"here: teamgraph store repair --salvage {shlex.join(named)}")
                raise
            finally:
                await store.close()

    def words(self) -> list[str]:
        """The options as words of a command line; a password stays where it is.

        What the environment names is repeated, unless a password is in it.
        """
        variable = os.environ.get("TEAMGRAPH_STORE")
        named = self.store is not None or (variable and title(variable) == variable)
        return ["--store", self.title] if named else []


@dataclass(frozen=True)
class ModelOptions:
    """Which model answers."""

    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Use this model for every node: an id such as openai/gpt-5-mini, local or echo.",
            show_default=False,
            autocompletion=complete_models,
        ),
    ] = None

    allow_api_base: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="A server that prompts and keys may be sent to, if a graph says so; repeatable.",
            show_default=False,
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.model is not None and not self.model.strip():
            raise InputError("--model is empty; name a model, or leave it out")

    def allowed_addresses(self) -> list[str]:
        """The servers of `--allow-api-base` and of the project's settings."""
        return [*(self.allow_api_base or ()), *settings_of(Path.cwd()).allow_api_base]

    def with_default(self, graph: Graph) -> Graph:
        """The graph, with the model of the project's settings if nothing else names one."""
        default = settings_of(Path.cwd()).model
        if default is None or graph.model is not None or os.environ.get("TEAMGRAPH_MODEL"):
            return graph
        return graph.model_copy(update={"model": default})

    def words(self) -> list[str]:
        """The options as words of a command line."""
        words = ["--model", self.model] if self.model is not None else []
        return words + [
            word for address in self.allow_api_base or () for word in ("--allow-api-base", address)
        ]


@dataclass(frozen=True)
class RunnerOptions(StoreOptions, ModelOptions):
    """What a runner is made with: store, model, and what it does if the session is busy."""

    busy: Annotated[
        Policy,
        typer.Option(
            metavar="POLICY",
            help="If the session is busy: serialize (wait for the other turn), reject, or fork.",
        ),
    ] = "serialize"
    while_waiting: Annotated[
        WhileWaiting,
        typer.Option(
            metavar="POLICY",
            help="If a turn of the session waits for a person: refuse, or allow others meanwhile.",
        ),
    ] = "refuse"
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Append every event to this file, as a line of JSON.",
            show_default=False,
        ),
    ] = None
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Record what models are asked and answer, as JSON files in this folder.",
            show_default=False,
        ),
    ] = None
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Answer from what was recorded in this folder; no model is asked.",
            show_default=False,
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replay and (self.record or self.model):
            other = "--record" if self.record else "--model"
            raise InputError(f"--replay asks no model and records nothing; leave out {other}")

    def runner(self, graph: Graph, store: Store, listeners: Sequence[Listener] = ()) -> Runner:
        """A runner of the graph, whose events the listeners get."""
        from ..run.runner import Runner

        model = self.recordings or self.model
        return Runner(
            self.with_default(graph),
            store=store,
            model=model,
            busy=self.busy,
            while_waiting=self.while_waiting,
            listeners=listeners,
            allow_api_base=self.allowed_addresses() if model is self.model else (),
        )

    @cached_property
    def recordings(self) -> Recorder | Replay | None:
        """What records or replays all model calls of the command; None if nothing does."""
        if not self.record and not self.replay:
            return None
        from ..models.recordings import Recorder, Replay

        if self.record:
            return Recorder(self.record, self.model, allow_api_base=self.allowed_addresses())
        return Replay(cast("Path", self.replay))

    def verify_replay(self) -> None:
        """Raise `ReplayMiss` or `UnusedRecordings` if a replay was not of what was recorded."""
        if self.replay and self.recordings is not None:
            cast("Replay", self.recordings).verify()

    def begin_import(self, graph: Graph) -> None:
        """Import litellm in the background if the graph's models need it, which takes seconds."""
        if self.replay:
            return
        from ..models.registry import begin_import
        from ..run.prepared import prepare

        with suppress(NoModelError):  # the run will raise it, and need no import
            addresses = self.allowed_addresses()
            prepared = prepare(self.with_default(graph), self.model, allow_api_base=addresses)
            prepared.check_ready(os.environ)
            begin_import(spec.id for spec in prepared.first_models())

    def words(self) -> list[str]:
        """The options as words of a command line."""
        words = ["--record", str(self.record)] if self.record else []
        words += ["--replay", str(self.replay)] if self.replay else []
        return [*ModelOptions.words(self), *words, *StoreOptions.words(self)]


@dataclass(frozen=True, slots=True)
class PageOptions:
    """Which part of a long list."""

    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show at most N.")] = 20
    offset: Annotated[int, typer.Option(min=0, metavar="N", help="Skip the first N.")] = 0


def all_kinds(named: Sequence[str] | None, settings: Settings) -> Mapping[str, type[Node]]:
    """The kinds of `--kind` and of the project's settings."""
    from ..graph.kinds import named_kinds, project_kinds

    return {**project_kinds(settings.kinds), **named_kinds(named or (), "--kind")}


def confirm(target: str, *, yes: bool, action: str = "delete", done: str = "deleted") -> None:
    """Ask at a terminal whether to delete `target` (or do another `action`), unless `yes`.

    Raises `InputError` without a terminal, `typer.Exit` if the answer is no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(
            f"cannot ask whether to {action} {target}: non-interactive use needs `--yes`"
        )
    if not typer.confirm(escape_controls(f"{action} {target}?"), err=True):
        print_note(f"nothing was {done}")
        raise typer.Exit(EXIT_FAILURE)


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of the store; those of libraries are for their programmers."""
    del filename, lineno, file, line
    if issubclass(category, SkippedSession | TornTail):
        print_note(f"warning: {message}", Style.WARNING)
