"""Prints the table: `python -m tests.peers [--short] [NAME...]`; `make peers` installs the peers.

Each peer does each kind of work in a process of its own, one after the other and then all again;
a number is the median of these rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PEERS = ("agno", "burr", "langgraph")
OURS = "ours"
ROUNDS = 3
PYTHON = ROOT / "build" / "peers" / "bin" / "python"
"""The environment of the peers, which is not ours."""


class Line(NamedTuple):
    """One number of a kind of work, its unit, and our upper limit in units of the best peer."""

    work: str
    found: str
    what: str
    unit: str
    bar: float | None = None


LINES = (
    Line("chain", "node", "a function in a chain of 1000", "CPU µs", 1.0),
    Line("chain", "graph", "  making the graph", "CPU ms"),
    Line("fan", "fan", "1 -> 100 functions of 20 ms -> 1", "CPU ms", 1.0),
    Line("session", "turn 10", "a stored turn of the team, at turn 10", "CPU ms", 1.0),
    Line("session", "turn 100", "  at turn 100", "CPU ms", 1.0),
    Line("session", "turn 1000", "  at turn 1000, of those that come so far", "CPU ms", 1.0),
    Line("sessions", "turn", "1000 sessions x 5 turns, 100 at a time, a turn", "CPU ms", 0.9),
    Line("sessions", "p99", "  the slowest in a hundred", "ms", 0.9),
)
Found = Mapping[str, Mapping[str, float]]
"""What was found of each peer, by the name of the number."""


def main(arguments: Sequence[str]) -> None:
    """Measure the named kinds of work, or all, and print the table."""
    if not PYTHON.exists():
        sys.exit(f"{PYTHON} is missing: `make peers` makes it")
    short = "--short" in arguments
    known = list(dict.fromkeys(line.work for line in LINES))
    print(row("", [*PEERS, OURS, "of the best"]))
    for work in [name for name in arguments if name in known] or known:
        found = measure(work, rounds=1 if short else ROUNDS, short=short)
        for line in table(work, found):
            print(line, flush=True)


def measure(work: str, *, rounds: int, short: bool) -> Found:
    """The median of what each of them found."""
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in (*PEERS, OURS)}
    for _ in range(rounds):
        for name, each in found.items():
            each.append(run(name, work, short=short))
    return {name: medians(each) for name, each in found.items()}


def run(name: str, work: str, *, short: bool) -> Mapping[str, float]:
    """What one of them finds, in a process of its own."""
    python = sys.executable if name == OURS else str(PYTHON)
    command = [python, "-W", "ignore", "-m", f"tests.peers.{name}", work]
    done = subprocess.run(
        [*command, *(["--short"] if short else [])],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{name} {work}:\n{done.stderr}")
    found: Mapping[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def medians(found: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The medians of the numbers that every round has."""
    return {
        name: median(each[name] for each in found)
        for name in found[0]
        if all(name in each for each in found)
    }


def table(work: str, found: Found) -> Iterator[str]:
    """The rows of one kind of work; `OVER` where ours misses its bar."""
    for line in LINES:
        numbers = [found[name].get(line.found) for name in (*PEERS, OURS)]
        if line.work != work or numbers[-1] is None:
            continue
        peers = [number for number in numbers[:-1] if number is not None]
        cells = ["-" if number is None else f"{number:.2f}" for number in numbers]
        ratio = numbers[-1] / min(peers) if peers else None
        cells.append("-" if ratio is None else f"{ratio:.2f}")
        over = line.bar is not None and ratio is not None and ratio > line.bar
        bar = "" if line.bar is None else f"  bar {line.bar:g}{'  OVER' if over else ''}"
        yield row(f"{line.what}, {line.unit}", cells) + bar


def row(what: str, cells: Sequence[str]) -> str:
    """One line of the table."""
    return f"{what:<58}" + "".join(f"{cell:>12}" for cell in cells)


if __name__ == "__main__":
    main(sys.argv[1:])
