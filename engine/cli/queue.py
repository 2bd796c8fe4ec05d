"""`teamgraph queue`: the turns that wait in a database, and those that were given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from .command import command, command_group
from .options import JsonFlag, PageOptions
from .output import Style, print_json, print_note, print_table
from .worker import DsnOption, database, needs_extra

if TYPE_CHECKING:
    from ..dispatch.dbos import DBOSDispatcher

app = command_group("Show the turns that wait for workers, and retry those that were given up.")


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """Which database."""

    dsn: DsnOption = None


@command(app)
def depth(where: DatabaseOptions, *, json: JsonFlag = False) -> None:
    """Count the turns that wait, run and were given up, for the graphs of each release."""
    columns = ("queue", "graphs", "live", "queued", "running", "dead", "oldest")
    rows = asyncio.run(_depths(where))
    if json:
        print_json({"queues": rows})
    else:
        _print_rows(columns, rows, none="nothing waits, and there is no worker")


@command(app)
def calls(where: DatabaseOptions, *, json: JsonFlag = False) -> None:
    """Count the calls that run and wait, for each model that workers have a --limit of."""
    columns = ("model", "limit", "running", "waiting", "oldest")
    rows = asyncio.run(_calls(where))
    if json:
        print_json({"models": rows})
    else:
        _print_rows(columns, rows, none="no model that has a limit is being called")


@command(app, "list")
def list_turns(
    where: DatabaseOptions,
    page: PageOptions,
    *,
    dead: Annotated[
        bool, typer.Option("--dead", help="Those that were given up.", show_default=False)
    ] = False,
    json: JsonFlag = False,
) -> None:
    """List the turns that wait or run, the oldest first, or those that were given up (--dead)."""
    columns = ("number", "run", "session", "user", "graph", "state", "attempts", "waited")
    shown = ("id", "run_id", "session_id", "user_id", "graph", "state", "attempts", "waited")
    rows = asyncio.run(_listed(where, page, dead=dead))
    if json:
        print_json({"turns": rows})
    else:
        values = [{name: row[name] for name in shown} for row in rows]
        _print_rows(columns, values, none="there are none")


@command(app)
def retry(
    where: DatabaseOptions,
    *,
    number: Annotated[
        int,
        typer.Argument(
            min=1, max=2**63 - 1, metavar="NUMBER", help="As --dead lists it.", show_default=False
        ),
    ],
) -> None:
    """Put a turn that was given up back into the queue; its finished nodes are not run again."""
    asyncio.run(_retry(where, number))
    print_note(f"turn {number} is in the queue again", Style.SUCCESS)


def _print_rows(columns: Sequence[str], rows: Sequence[Mapping[str, object]], *, none: str) -> None:
    """A table of the values in their order, or a note that there are none."""
    if rows:
        print_table(columns, [tuple(map(_cell, row.values())) for row in rows])
    else:
        print_note(none)


@asynccontextmanager
async def opened(where: DatabaseOptions) -> AsyncGenerator[DBOSDispatcher]:
    """The dispatcher of the database, closed afterwards."""
    dsn = database(where.dsn)
    try:
        from ..dispatch.dbos import DBOSDispatcher
    except ModuleNotFoundError as error:
        raise needs_extra("queue", error) from error
    dispatcher = DBOSDispatcher(dsn, connections=2)
    try:
        await dispatcher.open()
        yield dispatcher
    finally:
        await dispatcher.close()


async def _depths(where: DatabaseOptions) -> list[dict[str, object]]:
    from ..dispatch.turns import as_json

    async with opened(where) as dispatcher:
        return [{**as_json(row)} for row in await dispatcher.table.depths()]


async def _calls(where: DatabaseOptions) -> list[dict[str, object]]:
    from ..dispatch.turns import as_json

    async with opened(where) as dispatcher:
        return [{**as_json(row)} for row in await dispatcher.table.limited_calls()]


async def _listed(
    where: DatabaseOptions, page: PageOptions, *, dead: bool
) -> list[dict[str, object]]:
    from ..dispatch.protocol import DEAD, OPEN
    from ..dispatch.turns import as_json

    states = DEAD if dead else OPEN
    async with opened(where) as dispatcher:
        rows = await dispatcher.table.listed(states, limit=page.limit, offset=page.offset)
        return [{**as_json(row)} for row in rows]


async def _retry(where: DatabaseOptions, number: int) -> None:
    async with opened(where) as dispatcher:
        await dispatcher.retry(number)


def _cell(value: object) -> str:
    """A value in a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.0f} s"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)
