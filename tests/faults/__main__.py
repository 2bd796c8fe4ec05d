"""Prints the table: `python -m tests.faults [--short] [--trials N] [--seed N] [NAME...]`."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .judge import Counts, Open

if TYPE_CHECKING:
    from .mutants import Mutant

CheckFunction: TypeAlias = Callable[[Open, int, int], Counts]
MEMORY = Path("/dev/shm")  # noqa: S108  no fault here needs a slow disk: the power is cut in a model


@dataclass(frozen=True)
class FaultCheck:
    """A way in which things go wrong, how often it is tried, and how often in short.

    Functions are named, as a module of this package and a name in it: each fault imports what it
    needs, and the suite starts a process for each.
    """

    title: str
    check: str
    trials: int
    short: int
    open_store: str = "stores.ours"


FAULTS = {
    "kills": FaultCheck("kill -9 at random moments", "kills.kills", 1_000, 40),
    "everywhere": FaultCheck(
        "a crash at every write, compaction too", "kills.everywhere", 100_000, 40
    ),
    "crashes": FaultCheck("a crash at every write of a team's turn", "turn.crashes", 100_000, 20),
    "calls": FaultCheck("each system call of a turn fails once", "turn.calls", 100_000, 40),
    "parts": FaultCheck("each write of a turn is cut short once", "turn.parts", 100_000, 8),
    "cuts": FaultCheck("the last transaction cut at every byte", "damage.cuts", 100_000, 60),
    "flips": FaultCheck("one bit flipped anywhere", "damage.flips", 3_000, 100),
    "power": FaultCheck("power losses", "power.power", 3_000, 100),
    "crowd": FaultCheck("8 threads, 50 tasks, 4 processes", "crowd.crowd", 620, 62),
    "evicted": FaultCheck(
        "the same, each file closed after use", "crowd.crowd", 620, 62, "stores.evicting"
    ),
    "reopened": FaultCheck(
        "kill -9, each file closed after use", "kills.kills", 200, 20, "stores.evicting"
    ),
    "saved": FaultCheck(
        "power losses, each index saved", "power.power", 1_000, 60, "stores.evicting"
    ),
    "nonces": FaultCheck("500 sessions, 30 % model faults", "nonces.nonces", 5_000, 200),
    "forks": FaultCheck("forked at every call of a turn", "forks.forks", 384, 24),
    "people": FaultCheck("killed while people are asked", "people.people", 300, 12),
    "waiting": FaultCheck("runs wait, another process answers", "people.waiting", 10_000, 50),
    "loops": FaultCheck("an event loop closed with a run in it", "loops.loops", 24, 4),
    "deletions": FaultCheck("deleted while a resume waits", "deletions.deletions", 600, 48),
    "attached": FaultCheck(
        "a crash at every write of attachments", "attached.attached", 100_000, 12
    ),
    "salvages": FaultCheck("salvaged while it is written", "salvages.salvages", 200, 16),
    "descriptors": FaultCheck("120 sessions, few descriptors", "descriptors.descriptors", 8, 1),
    "replies": FaultCheck("a provider replies with nonsense", "replies.replies", 2_000, 30),
    "steady": FaultCheck("calls, threads and streams", "steady.steady", 2_000, 20),
    "imports": FaultCheck("an import is killed at every change", "imports.imports", 1000, 24),
    "copies": FaultCheck("a copy of sessions is stopped", "copies.copies", 150, 20),
    "mcp": FaultCheck("an MCP server is killed during calls", "mcp.mcp", 500, 40),
    "server": FaultCheck("the server is killed amid streams", "server.server", 500, 20),
    "idle": FaultCheck("connections that send nothing", "idle.idle", 1_000, 50),
    "distributed": FaultCheck(
        "workers over PostgreSQL are killed", "distributed.distributed", 300, 12
    ),
    "suspended": FaultCheck(
        "suspended and revived", "suspended.suspended", 24, 2, "stores.impatient"
    ),
}
DATABASE_FAULTS = {
    "kills": FaultCheck("kill -9 at random moments", "kills.kills", 120, 6, "databases.patient"),
    "crowd": FaultCheck(
        "8 threads, 50 tasks, 4 processes", "crowd.crowd", 620, 62, "databases.database"
    ),
    "nonces": FaultCheck(
        "500 sessions, 30 % model faults", "nonces.nonces", 1_000, 60, "databases.database"
    ),
    "people": FaultCheck(
        "killed while people are asked", "people.people", 60, 2, "databases.patient"
    ),
    "waiting": FaultCheck(
        "runs wait, another process answers", "people.waiting", 1_000, 20, "databases.database"
    ),
    "copies": FaultCheck(
        "a copy of sessions is stopped", "copies.copies", 200, 8, "databases.database"
    ),
    "stopped": FaultCheck(
        "a writer is stopped and revived",
        "databases.stopped",
        24,
        2,
        "databases.impatient_database",
    ),
    "away": FaultCheck(
        "the server is killed, away for 10 s", "databases.away", 8, 1, "databases.patient"
    ),
}
"""What `postgres` runs, on a server that is started for it."""
NAMES = [*FAULTS, "mutants", "postgres"]
DATABASE = ("distributed", "postgres")
"""Those that need PostgreSQL and half an hour: `make distributed` names them."""


def main(arguments: list[str]) -> int:
    """Print the table; 1 if anything in it is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--short", action="store_true", help="a few trials of each, seed 1")
    parser.add_argument("--trials", type=int, help="trials of each, where they are random")
    parser.add_argument("--seed", type=int, help="where the random choices begin")
    parser.add_argument("--jobs", type=int, default=2, help="how many side by side (2)")
    given = parser.parse_args(arguments)
    if MEMORY.is_dir():
        tempfile.tempdir = str(MEMORY)
    seed = given.seed if given.seed is not None else 1 if given.short else random.randrange(10**6)
    print(f"seed {seed}")
    names = given.names or [each for each in NAMES if each not in DATABASE]
    if len(names) > 1 and given.jobs > 1:
        rows = _side_by_side(names, given, seed)
    else:
        rows = [row for name in names for row in _rows(name, given, seed)]
    print("all is as it must be" if all(rows) else "NOT AS IT MUST BE")
    return not all(rows)


def _side_by_side(names: Sequence[str], given: argparse.Namespace, seed: int) -> list[bool]:
    """Each in a process of its own, some at the same time; their rows as they come."""
    more = ["--short"] * given.short
    more += ["--trials", str(given.trials)] if given.trials else []

    def one(name: str) -> bool:
        command = [sys.executable, "-m", __package__, name, "--seed", str(seed), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        _, *rows = done.stdout.splitlines()[:-1] or [""]
        print("\n".join([*rows, *done.stderr.splitlines()]), flush=True)
        return done.returncode == 0

    with ThreadPoolExecutor(given.jobs) as pool:
        return [*pool.map(one, names)]


def _rows(name: str, given: argparse.Namespace, seed: int) -> list[bool]:
    """The rows of one name; whether each is as it must be."""
    if name == "mutants":
        return _on_mutants(given, seed)
    if name in DATABASE:
        return _on_database(name, given, seed)
    return [_run(FAULTS[name], given, seed)]


def _on_mutants(given: argparse.Namespace, seed: int) -> list[bool]:
    """The rows of stores that are broken on purpose, in short every third of them."""
    from .mutants import MUTANTS, SOUND  # noqa: PLC0415  see `FaultCheck`

    step = 3 if given.short else 1
    rows = [_is_found(mutant, seed) for mutant in MUTANTS[::step]]
    return rows + [not _is_found(sound, seed) for sound in SOUND[::step]]


def _on_database(name: str, given: argparse.Namespace, seed: int) -> list[bool]:
    """The rows of what needs PostgreSQL; none where that is not installed."""
    from tests.postgres import MISSING, programs  # noqa: PLC0415  see `FaultCheck`

    from .databases import database_server  # noqa: PLC0415

    if programs() is None:
        print(MISSING)
        return []
    if name != "postgres":
        return [_run(FAULTS[name], given, seed)]
    with database_server():
        return [_run(fault, given, seed) for fault in DATABASE_FAULTS.values()]


def _run(fault: FaultCheck, given: argparse.Namespace, seed: int) -> bool:
    """A row of the table; whether it is as it must be."""
    trials = given.trials or (fault.short if given.short else fault.trials)
    began = time.monotonic()
    counts: Counts = _named(fault.check)(_named(fault.open_store), trials, seed)
    seconds = time.monotonic() - began
    print(f"{fault.title:40} {counts} {seconds:6.1f} s", flush=True)
    for note in counts.notes:
        print(f"    {note}")
    return counts.is_clean


def _named(name: str) -> Any:  # noqa: ANN401  a check, or what opens a store
    module, _, function = name.partition(".")
    return getattr(import_module(f".{module}", __package__), function)


def _is_found(mutant: Mutant, seed: int) -> bool:
    """A row of the table; whether the fault finds something in the mutant, soon or late."""
    check: CheckFunction = _named(FAULTS[mutant.fault].check)
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
