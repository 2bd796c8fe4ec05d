"""`teamgraph serve`: graphs behind HTTP."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..errors import InputError, listed
from ..imports import resolve
from .command import command, make_app
from .options import GraphOptions, RunnerOptions
from .output import Style, print_note
from .trace import trace_listeners
from .worker import DsnOption, database, needs_extra

if TYPE_CHECKING:
    from io import TextIOWrapper

    from _typeshed import DataclassInstance

    from ..graph.graph import Graph
    from ..run.runner import Runner
    from ..server.access import Auth
    from ..server.reloading import WatchedGraphs
    from ..session.store import Store

app = make_app()
TOKEN = "TEAMGRAPH_TOKEN"  # noqa: S105  the name of a variable


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """Who may call the server."""

    token: Annotated[
        bool,
        typer.Option(
            "--token/--no-token",
            help="Whether clients need a token: TEAMGRAPH_TOKEN, or one that is made and printed.",
        ),
    ] = True
    auth: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="A function from a request to the user's id, in place of the token.",
            show_default=False,
        ),
    ] = None
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name that the server is called by, beside localhost; repeatable.",
            show_default=False,
        ),
    ] = None
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="An origin such as https://app.example.com whose pages may call; repeatable.",
            show_default=False,
        ),
    ] = None
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse everything that changes something.")
    ] = False
    ui: Annotated[
        bool, typer.Option("--ui/--no-ui", help="Whether there are pages, such as the login.")
    ] = True

    def check(self, host: str) -> None:
        """Raise `InputError` if everybody in the network could call."""
        if self.auth is None and not self.token and not _is_loopback(host):
            raise InputError(
                f"--no-token: {host} can be reached from other machines; leave it out, or bind to "
                "127.0.0.1"
            )

    def new_token(self) -> str | None:
        """The token that clients need; None if they need none."""
        if self.auth is not None or not self.token:
            return None
        return os.environ.get(TOKEN) or secrets.token_urlsafe(24)

    def note(self, token: str | None) -> str:
        """What whoever started the server needs to know about the token."""
        if token is None:
            return f"no token is needed: {self.auth or '--no-token'}"
        return f"token: that of {TOKEN}" if os.environ.get(TOKEN) else f"token: {token}"

    def auth_function(self) -> Auth | None:
        """The function of `--auth`; the command's own folder is searched, too."""
        if self.auth is None:
            return None
        sys.path.insert(0, str(Path.cwd()))
        found = resolve(self.auth, [self.auth.partition(":")[0]])
        if not callable(found):
            raise InputError(f"--auth: {self.auth!r} is no function; name one")
        return cast("Auth", found)


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Where the server listens, how it stops, and what it logs."""

    host: Annotated[str, typer.Option(metavar="NAME", help="Where to listen.")] = "127.0.0.1"
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="0 is any free port.")
    ] = 8700
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="How long a run goes on that nobody reads, and when the server stops.",
        ),
    ] = 30.0
    log_texts: Annotated[
        bool, typer.Option("--log-texts", help="Log messages of errors, which may quote users.")
    ] = False


@dataclass(frozen=True, slots=True)
class MCPOptions:
    """Whether and how the graphs are tools of an MCP server."""

    mcp: Annotated[
        bool, typer.Option("--mcp", help="Also serve MCP at /mcp: each graph is a tool.")
    ] = False
    mcp_stdio: Annotated[
        bool,
        typer.Option(
            "--mcp-stdio", help="Serve MCP over standard input and output, and nothing over HTTP."
        ),
    ] = False

    def check(self, access: AccessOptions, listening: ListenOptions) -> None:
        """Raise `InputError` for options that mean nothing where nothing listens."""
        if given := (["--mcp"] if self.mcp else []) + _given(access) + _given(listening):
            raise InputError(f"--mcp-stdio: nothing is served over HTTP; leave out {listed(given)}")


@dataclass(frozen=True, slots=True)
class DispatchOptions:
    """Whether workers run the turns."""

    dispatch: Annotated[
        bool,
        typer.Option(
            "--dispatch", help="Put turns into the queue of --dsn, for workers.", show_default=False
        ),
    ] = False
    dsn: DsnOption = None

    def database(self, runner_options: RunnerOptions, mcp_options: MCPOptions) -> str | None:
        """The database of the queue, None without --dispatch; raises `InputError`."""
        if self.dispatch and mcp_options.mcp_stdio:
            raise InputError(
                "--dispatch: tools over standard input run here; leave one of them out"
            )
        if self.dispatch and (given := _given(runner_options)):
            raise InputError(
                "--dispatch: workers run the turns, with their own options and the store of --dsn; "
                f"leave out {listed(given)}"
            )
        if not self.dispatch and self.dsn is not None:
            raise InputError("--dsn is for --dispatch; add it, or name the store with --store")
        return database(self.dsn) if self.dispatch else None


def _given(options: DataclassInstance) -> list[str]:
    """The names of the options that are not the default."""
    given: list[str] = []
    for field in fields(options):
        value, name = getattr(options, field.name), field.name.replace("_", "-")
        if value != field.default:
            given.append(f"--no-{name}" if value is False else f"--{name}")
    return given


@command(app)
def serve(  # noqa: PLR0913, PLR0917  groups of options
    graphs: Annotated[
        list[Path],
        typer.Argument(metavar="GRAPH...", help="The graph files.", show_default=False),
    ],
    graph_options: GraphOptions,
    runner_options: RunnerOptions,
    access: AccessOptions,
    listening: ListenOptions,
    mcp_options: MCPOptions,
    dispatch_options: DispatchOptions,
) -> None:
    """Serve graphs over HTTP: runs, event streams, sessions and prompts (docs/serve.md).

    Clients show the token that is printed at the start, as `Authorization: Bearer TOKEN`. The log
    on standard error is JSON, one line for each request. SIGTERM or Ctrl-C stops the server.

    $ teamgraph serve team.yaml
    $ teamgraph serve team.yaml --host 0.0.0.0 --allow-host team.example.com
    $ teamgraph serve team.yaml --mcp-stdio
    $ teamgraph serve team.yaml --dispatch --dsn postgresql://team@db:5432/team
    """
    dsn = dispatch_options.database(runner_options, mcp_options)
    if mcp_options.mcp_stdio:
        mcp_options.check(access, listening)
    else:
        access.check(listening.host)
    loaded = [graph_options.load(graph) for graph in graphs]
    for graph in loaded if dsn is None else ():
        runner_options.begin_import(graph)
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("teamgraph.server").setLevel(logging.INFO)
    names = ", ".join(graph.name for graph in loaded)

    def announce(address: str, token: str | None, login_path: Callable[[], str]) -> None:
        del login_path
        print_note(access.note(token), Style.DIM)
        print_note(f"serving {names} at {address}")

    if mcp_options.mcp_stdio:
        # Not by a KeyboardInterrupt: a thread waits for standard input, and would be waited for.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        asyncio.run(_serve_stdio(loaded, runner_options))
    else:
        mcp = mcp_options.mcp
        work = serve_graphs(
            loaded, runner_options, access, listening, announce=announce, mcp=mcp, dsn=dsn
        )
        asyncio.run(work)


async def _serve_stdio(graphs: list[Graph], runner_options: RunnerOptions) -> None:
    with _extra():
        from ..server.app import mcp_server
    # What functions print goes to standard error, at once: a client may kill this process.
    cast("TextIOWrapper", sys.stdout).reconfigure(line_buffering=True)
    async with _runners(runner_options, None) as (_, make):
        await mcp_server(map(make, graphs)).run_stdio_async()


async def serve_graphs(  # noqa: PLR0913  independent options, by keyword
    graphs: Sequence[Graph],
    runner_options: RunnerOptions,
    access: AccessOptions,
    listening: ListenOptions,
    *,
    announce: Callable[[str, str | None, Callable[[], str]], None],
    files: WatchedGraphs | None = None,
    project: Path | None = None,
    mcp: bool = False,
    dsn: str | None = None,
) -> None:
    """Serve until a signal; with `dsn` workers on that database run the turns.

    With `files` they are loaded again when they were changed on disk.

    `announce` is called once it listens, with its address, its token, and a function that makes
    the path of a login that is good once. Raises `InputError` if the extra is not installed, or
    the address cannot be had.
    """
    with _extra():
        from ..server.access import LOOPBACK
        from ..server.app import create_app
        from ..server.limits import Limits
        from ..server.listen import address_of, bind, server_for
        from ..server.pages.login import login_path
    limits = Limits()
    async with _runners(runner_options, dsn) as (store, make):
        app = create_app(
            map(make, graphs),
            store=store,
            token=access.new_token(),
            auth=access.auth_function(),
            read_only=access.read_only,
            ui=access.ui,
            hosts=[*LOOPBACK, *(access.allow_host or ())],
            origins=access.cors or (),
            limits=limits,
            grace=listening.grace,
            log_texts=listening.log_texts,
            broken=files.broken if files is not None else {},
            project=project,
            mcp=mcp,
        )
        if files is not None:
            from ..server.reloading import reload_changed

            reload_changed(app, files, make)
        with bind(listening.host, listening.port) as bound:
            announce(address_of(bound), app.state.token, partial(login_path, app))
            server = server_for(app, limits=limits, grace=listening.grace)
            # uvicorn raises the signal once more when it has stopped, and nothing is left to do.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, _ignore)
            await server.serve(sockets=[bound])


@asynccontextmanager
async def _runners(
    runner_options: RunnerOptions, dsn: str | None
) -> AsyncGenerator[tuple[Store, Callable[[Graph], Runner]]]:
    """The store, and what makes runners, which submit turns to workers if a database is named."""
    if dsn is None:
        with trace_listeners(runner_options.trace) as listeners:
            async with runner_options.open() as store:
                yield store, partial(runner_options.runner, store=store, listeners=listeners)
        return
    try:
        from ..dispatch.dbos import DBOSDispatcher
        from ..dispatch.dispatched import DispatchedRunner
    except ModuleNotFoundError as error:
        raise needs_extra("serve --dispatch", error) from error
    dispatcher = DBOSDispatcher(dsn)
    try:
        await dispatcher.open()

        def make(graph: Graph) -> Runner:
            return DispatchedRunner(runner_options.with_default(graph), dispatcher)

        yield dispatcher.store, make
    finally:
        await dispatcher.close()


@contextmanager
def _extra() -> Generator[None]:
    """Tell what to install if an import fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f'`teamgraph serve` needs {error.name!r}; install it: pip install "teamgraph[serve]"'
        ) from error


def _ignore(number: int, frame: object) -> None:
    del number, frame


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
