"""Prints the table: `python -m tests.benchmarks [--short] [NAME...]`."""

from __future__ import annotations

import sys

from tests.postgres import MISSING, programs

from . import (
    distributed,
    graph,
    growth,
    memory,
    model,
    overhead,
    postgres,
    render,
    serve,
    start,
    store,
    turn,
    view,
)

TABLES = {
    "start": start.rows,
    "graph": graph.rows,
    "overhead": overhead.rows,
    "render": render.rows,
    "turn": turn.rows,
    "model": model.rows,
    "store": store.rows,
    "memory": memory.rows,
    "serve": serve.rows,
    "growth": growth.rows,
    "view": view.rows,
    "postgres": postgres.rows,
    "distributed": distributed.rows,
}
ON_POSTGRES = ("postgres", "distributed")
"""Those that start a PostgreSQL server, and are left out where it is not installed."""


def main(arguments: list[str]) -> None:
    """Print the named tables, or all."""
    short = "--short" in arguments
    wanted = [name for name in arguments if name in TABLES] or list(TABLES)
    for name in wanted:
        print(f"\n{name}")
        if name in ON_POSTGRES and programs() is None:
            print(f"  {MISSING}")
            continue
        for row in TABLES[name](short=short):
            print(f"  {row}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
