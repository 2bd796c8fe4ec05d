"""`teamgraph workers`: who takes turns from the queue of a database."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass

from .command import command, make_app
from .options import JsonFlag
from .output import print_json, print_note, print_table
from .queue import DatabaseOptions, opened

app = make_app()


@command(app)
def workers(database: DatabaseOptions, *, json: JsonFlag = False) -> None:
    """List the workers of a database: their graphs, how many turns each runs, and whether it lives.

    $ teamgraph workers --dsn postgresql://team@db:5432/team
    """
    rows = asyncio.run(_workers(database))
    if json:
        print_json({"workers": [asdict(row) for row in rows]})
    elif rows:
        columns = ("worker", "graphs", "running", "silent", "state")
        print_table(columns, [row.cells() for row in rows])
    else:
        print_note("there is no worker; start one: teamgraph worker GRAPH --dsn ...")


@dataclass(frozen=True)
class ShownWorker:
    """A worker as it is listed; `silent` are the seconds since its last heartbeat."""

    id: str
    bundle: str
    graphs: list[str]
    host: str
    pid: int
    concurrency: int
    running: int
    silent: float
    state: str

    def cells(self) -> tuple[str, ...]:
        """The columns of the table."""
        turns = f"{self.running} of {self.concurrency}"
        return (self.id, ", ".join(self.graphs), turns, f"{self.silent:.0f} s", self.state)


async def _workers(database: DatabaseOptions) -> list[ShownWorker]:
    async with opened(database) as dispatcher:
        return [
            ShownWorker(
                row.id,
                row.bundle,
                [*row.graphs],
                row.host,
                row.pid,
                row.concurrency,
                row.running,
                round(row.silent, 1),
                row.state,
            )
            for row in await dispatcher.table.workers()
        ]
