"""A row of a table, and how its number is measured."""

from __future__ import annotations

import os
import statistics
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time


@dataclass(frozen=True)
class Row:
    """What was measured, the number with its unit, and its upper limit (the bar)."""

    what: str
    number: float
    unit: str
    bar: float | None = None

    def __str__(self) -> str:
        text = f"{self.what:<66} {self.number:>10.3f} {self.unit:<10}"
        if self.bar is None:
            return text.rstrip()
        return f"{text} bar {self.bar:g} {'' if self.number <= self.bar else '  OVER'}".rstrip()


def cpu(work: Callable[[], object]) -> float:
    """Seconds of CPU that the process, with all its threads, spends on `work`."""
    started = process_time()
    work()
    return process_time() - started


async def cpu_of(work: Callable[[], Awaitable[object]]) -> float:
    """`cpu` for a coroutine."""
    started = process_time()
    await work()
    return process_time() - started


def cpu_of_processes(processes: Iterable[int]) -> float:
    """CPU seconds of processes so far, with those of their children that have ended."""
    total = 0
    for process in processes:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


async def wall_of(work: Callable[[], Awaitable[object]]) -> float:
    """Wall-clock seconds of `work`."""
    started = perf_counter()
    await work()
    return perf_counter() - started


def median(numbers: Sequence[float]) -> float:
    """The median."""
    return statistics.median(numbers)
