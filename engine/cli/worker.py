"""`teamgraph worker`: run turns that servers have put into the queue."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ..errors import InputError
from ..terminal import escape_json, write_text
from .command import command, make_app
from .options import GraphOptions, ModelOptions

if TYPE_CHECKING:
    from ..graph.graph import Graph

app = make_app()
DSN = "TEAMGRAPH_DSN"
DsnOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help=f"The database, such as postgresql://user@host:5432/database. Default: {DSN}.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Where a worker gets its turns, and how it runs them."""

    dsn: DsnOption = None
    concurrency: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many turns run at once.")
    ] = 8
    grace: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long turns may go on after SIGTERM."),
    ] = 30.0
    keep: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="How long events are kept after the end."),
    ] = 3600.0
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=N",
            help="Call this model N times at once at most, over all workers; repeatable.",
            show_default=False,
        ),
    ] = None

    def limits(self) -> dict[str, int]:
        """The limits by the ids of models; raises `InputError`."""
        limits: dict[str, int] = {}
        for given in self.limit or ():
            model_id, _, number = given.rpartition("=")
            if not model_id or not number.isdecimal() or len(number) > len(str(2**31)):
                raise InputError(
                    f"--limit: {given!r} is not the id of a model with a number; write for "
                    "instance --limit openai/gpt-5-mini=20"
                )
            if model_id in limits:
                raise InputError(f"--limit: {model_id!r} has two limits; leave one of them out")
            limits[model_id] = int(number)
        return limits


@command(app)
def worker(
    graphs: Annotated[
        list[Path],
        typer.Argument(metavar="GRAPH...", help="The graph files.", show_default=False),
    ],
    graph_options: GraphOptions,
    model_options: ModelOptions,
    options: WorkerOptions,
) -> None:
    """Run the turns of these graphs that servers have submitted (docs/deploy.md).

    Any number of workers on any machines share the queue in the database. The log on standard error
    is JSON. SIGTERM or Ctrl-C stops the worker gracefully: it takes no more turns, waits up to
    --grace seconds for running ones to finish, and returns the rest to the queue, for another
    worker to resume. Ctrl-C during that time returns them immediately.

    $ teamgraph worker team.yaml --dsn postgresql://team@db:5432/team
    $ teamgraph worker team.yaml --dsn postgresql://team@db:5432/team --limit openai/gpt-5-mini=20
    """
    database(options.dsn)
    loaded = [graph_options.load(graph) for graph in graphs]
    asyncio.run(_work(loaded, model_options, options))


async def _work(graphs: list[Graph], model_options: ModelOptions, options: WorkerOptions) -> None:
    from ..run.runner import Runner
    from ..stores.places import open_store

    try:
        from ..dispatch.limited import LimitedModel
        from ..dispatch.worker import Worker
    except ModuleNotFoundError as error:
        raise needs_extra("worker", error) from error
    dsn = database(options.dsn)
    store = open_store(dsn)
    model = LimitedModel(
        options.limits(),
        override=model_options.model,
        allow_api_base=model_options.allowed_addresses(),
    )
    runners = [
        Runner(model_options.with_default(graph), store=store, model=model) for graph in graphs
    ]
    stop, at_once = asyncio.Event(), asyncio.Event()

    def interrupt() -> None:
        (at_once if stop.is_set() else stop).set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
    try:
        worker = Worker(
            runners,
            dsn,
            concurrency=options.concurrency,
            grace=options.grace,
            keep=options.keep,
            log=log_line,
        )
        await worker.run(stop, at_once)
    finally:
        await store.close()


def database(dsn: str | None) -> str:
    """The address of `--dsn` or of the environment; raises `InputError` if there is none."""
    address = dsn or os.environ.get(DSN)
    if not address:
        raise InputError(
            f"no database is named; add --dsn postgresql://user@host:5432/database, or set {DSN}"
        )
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # errors say it, in the log as JSON
    return address


def needs_extra(command_name: str, error: ModuleNotFoundError) -> InputError:
    """The error where the extra is not installed."""
    return InputError(
        f"`teamgraph {command_name}` needs {error.name!r}; install it: "
        'pip install "teamgraph[distributed]"'
    )


def log_line(event: str, facts: Mapping[str, object]) -> None:
    """Print what happened as a line of JSON on standard error."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, ensure_ascii=False)
    write_text(f"{escape_json(line)}\n", sys.stderr)
    sys.stderr.flush()
