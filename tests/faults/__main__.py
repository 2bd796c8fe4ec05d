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

from tests.postgres import MISSING, programs

from .attached import attached
from .copies import copies
from .crowd import crowd
from .damage import cuts, flips
from .databases import (
    away,
    database,
    database_server,
    impatient_database,
    patient,
    stopped,
)
from .deletions import deletions
from .descriptors import descriptors
from .distributed import distributed
from .forks import forks
from .idle import idle
from .imports import imports
from .judge import Counts, Open
from .kills import everywhere, kills
from .loops import loops
from .mcp import mcp
from .mutants import MUTANTS, SOUND, Mutant
from .nonces import nonces
from .people import people, waiting
from .power import power
from .replies import replies
from .salvages import salvages
from .server import server
from .steady import steady
from .stores import evicting, impatient, ours
from .suspended import suspended
from .turn import calls, crashes, parts

MEMORY = Path("/dev/shm")  # noqa: S108  no fault here needs a slow disk: the power is cut in a model


@dataclass(frozen=True)
class Fault:
    """A way in which things go wrong, how often it is tried, and how often in short."""

    title: str
    check: Callable[[Open, int, int], Counts]
    trials: int
    short: int
    open_store: Open = ours


FAULTS = {
    "kills": Fault("kill -9 at random moments", kills, 1_000, 40),
    "everywhere": Fault("a crash at every write, compaction too", everywhere, 100_000, 40),
    "crashes": Fault("a crash at every write of a team's turn", crashes, 100_000, 20),
    "calls": Fault("each system call of a turn fails once", calls, 100_000, 40),
    "parts": Fault("each write of a turn is cut short once", parts, 100_000, 8),
    "cuts": Fault("the last transaction cut at every byte", cuts, 100_000, 60),
    "flips": Fault("one bit flipped anywhere", flips, 3_000, 100),
    "power": Fault("power losses", power, 3_000, 100),
    "crowd": Fault("8 threads, 50 tasks, 4 processes", crowd, 620, 62),
    "evicted": Fault("the same, each file closed after use", crowd, 620, 62, evicting),
    "reopened": Fault("kill -9, each file closed after use", kills, 500, 20, evicting),
    "saved": Fault("power losses, each index saved", power, 1_000, 60, evicting),
    "nonces": Fault("500 sessions, 30 % model faults", nonces, 5_000, 200),
    "forks": Fault("forked at every call of a turn", forks, 384, 24),
    "people": Fault("killed while people are asked", people, 300, 12),
    "waiting": Fault("runs wait, another process answers", waiting, 10_000, 50),
    "loops": Fault("an event loop closed with a run in it", loops, 24, 4),
    "deletions": Fault("deleted while a resume waits", deletions, 600, 48),
    "attached": Fault("a crash at every write of attachments", attached, 100_000, 12),
    "salvages": Fault("salvaged while it is written", salvages, 200, 16),
    "descriptors": Fault("120 sessions, few descriptors", descriptors, 8, 1),
    "replies": Fault("a provider replies with nonsense", replies, 2_000, 60),
    "steady": Fault("calls, threads and streams", steady, 2_000, 20),
    "imports": Fault("an import is killed at every change", imports, 1000, 24),
    "copies": Fault("a copy of sessions is stopped", copies, 500, 20),
    "mcp": Fault("an MCP server is killed during calls", mcp, 500, 40),
    "server": Fault("the server is killed amid streams", server, 500, 20),
    "idle": Fault("connections that send nothing", idle, 1_000, 50),
    "distributed": Fault("workers over PostgreSQL are killed", distributed, 300, 12),
    "suspended": Fault("suspended and revived", suspended, 24, 2, impatient),
}
DATABASE_FAULTS = {
    "kills": Fault("kill -9 at random moments", kills, 120, 6, patient),
    "crowd": Fault("8 threads, 50 tasks, 4 processes", crowd, 620, 62, database),
    "nonces": Fault("500 sessions, 30 % model faults", nonces, 1_000, 60, database),
    "people": Fault("killed while people are asked", people, 60, 2, patient),
    "waiting": Fault("runs wait, another process answers", waiting, 1_000, 20, database),
    "copies": Fault("a copy of sessions is stopped", copies, 200, 8, database),
    "stopped": Fault("a writer is stopped and revived", stopped, 24, 2, impatient_database),
    "away": Fault("the server is killed, away for 10 s", away, 8, 1, patient),
}
"""What `postgres` runs, on a server that is started for it."""
NAMES = [*FAULTS, "mutants", "postgres"]


def main(arguments: list[str]) -> int:
    """Print the table; 1 if anything in it is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--short", action="store_true", help="a few trials of each, seed 1")
    parser.add_argument("--trials", type=int, help="trials of each, where they are random")
    parser.add_argument("--seed", type=int, help="where the random choices begin")
    given = parser.parse_args(arguments)
    if MEMORY.is_dir():
        tempfile.tempdir = str(MEMORY)
    seed = given.seed if given.seed is not None else 1 if given.short else random.randrange(10**6)
    print(f"seed {seed}")
    rows: list[bool] = []
    for name in given.names or NAMES:
        if name == "mutants":
            rows += [_is_found(mutant, seed) for mutant in MUTANTS]
            rows += [not _is_found(sound, seed) for sound in SOUND]
        elif name == "postgres":
            rows += _on_postgres(given, seed)
        else:
            rows.append(_run(FAULTS[name], given, seed))
    print("all is as it must be" if all(rows) else "NOT AS IT MUST BE")
    return not all(rows)


def _on_postgres(given: argparse.Namespace, seed: int) -> list[bool]:
    """The rows of the store in PostgreSQL; none where that is not installed."""
    if programs() is None:
        print(MISSING)
        return []
    with database_server():
        return [_run(fault, given, seed) for fault in DATABASE_FAULTS.values()]


def _run(fault: Fault, given: argparse.Namespace, seed: int) -> bool:
    """A row of the table; whether it is as it must be."""
    trials = given.trials or (fault.short if given.short else fault.trials)
    began = time.monotonic()
    counts = fault.check(fault.open_store, trials, seed)
    seconds = time.monotonic() - began
    print(f"{fault.title:40} {counts} {seconds:6.1f} s", flush=True)
    for note in counts.notes:
        print(f"    {note}")
    return counts.is_clean


def _is_found(mutant: Mutant, seed: int) -> bool:
    """A row of the table; whether the fault finds something in the mutant, soon or late."""
    check = FAULTS[mutant.fault].check
    began = time.monotonic()
    trials = mutant.soon
    counts = check(mutant.open_store, trials, seed)
    while counts.is_clean and trials < mutant.trials:  # the same ones, and as many more
        trials = min(2 * trials, mutant.trials)
        counts = check(mutant.open_store, trials, seed)
    seconds = time.monotonic() - began
    found = "sound" if counts.is_clean else "broken"
    print(
        f"{mutant.title:40} is {found:6} by {mutant.fault:10} {counts} {seconds:6.1f} s", flush=True
    )
    return not counts.is_clean


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
