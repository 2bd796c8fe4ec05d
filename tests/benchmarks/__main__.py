"""Prints the table: `python -m tests.benchmarks [--short] [NAME...]`."""

from __future__ import annotations

import sys

from . import graph, growth, memory, model, overhead, render, serve, start, store, turn, view

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
}


def main(arguments: list[str]) -> None:
    """Print the named tables, or all."""
    short = "--short" in arguments
    wanted = [name for name in arguments if name in TABLES] or list(TABLES)
    for name in wanted:
        print(f"\n{name}")
        for row in TABLES[name](short=short):
            print(f"  {row}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
