"""Prints the table: `python -m tests.faults [--short] [--trials N] [--seed N] [NAME...]`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .damage import cuts, flips
from .judge import Counts, Open
from .kills import kills
from .power import power
from .stores import ours
from .turn import calls, crashes


MEMORY = Path("/dev/shm")  # noqa: S108  no fault here needs a slow disk: the power is cut in a model


@dataclass(frozen=True)
class Fault:
    """A way in which things go wrong, how often it is tried, and how often in short."""

    title: str
    check: Callable[[Open, int, int], Counts]
    trials: int
    short: int


FAULTS = {
    "kills": Fault("kill -9 at random moments", kills, 1_000, 40),
    "crashes": Fault("a crash at every write of a turn", crashes, 100_000, 60),
    "calls": Fault("each system call of a turn fails once", calls, 100_000, 80),
    "cuts": Fault("the last transaction cut at every byte", cuts, 100_000, 60),
    "flips": Fault("one bit flipped anywhere", flips, 3_000, 100),
    "power": Fault("power losses", power, 3_000, 100),
}


def main(arguments: list[str]) -> int:
    """Print the table; 1 if anything in it is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FAULTS))
    parser.add_argument("--short", action="store_true", help="a few trials of each, seed 1")
    parser.add_argument("--trials", type=int, help="trials of each, where they are random")
    parser.add_argument("--seed", type=int, help="where the random choices begin")
    given = parser.parse_args(arguments)
    if MEMORY.is_dir():
        tempfile.tempdir = str(MEMORY)
    seed = given.seed if given.seed is not None else 1 if given.short else random.randrange(10**6)
    print(f"seed {seed}")
    columns = ("trials", "acknowledged", "lost", "unreadable", "again", "wrong", "seconds")
    print(f"{'':40}" + "".join(f"{column:>13}" for column in columns))
    is_clean = True
    for name in given.names or FAULTS:
        fault = FAULTS[name]
        began = time.monotonic()
        counts = fault.check(ours, given.trials or (fault.short if given.short else fault.trials), seed)
        numbers = [getattr(counts, column) for column in columns[:-1]]
        numbers.append(round(time.monotonic() - began))
        print(f"{fault.title:40}" + "".join(f"{number:>13}" for number in numbers), flush=True)
        for note in counts.notes:
            print(f"    {note}")
        is_clean &= counts.is_clean
    return not is_clean


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
