"""A line of the table, and how its number is taken."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time


@dataclass(frozen=True)
class Row:
    """What was measured, the number with its unit, and what it is held against."""

    what: str
    number: float
    unit: str
    bar: float | None = None

    def __str__(self) -> str:
        told = f"{self.what:<66} {self.number:>10.3f} {self.unit:<10}"
        if self.bar is None:
            return told.rstrip()
        return f"{told} bar {self.bar:g} {'' if self.number <= self.bar else '  OVER'}".rstrip()


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


async def wall_of(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds on the wall."""
    started = perf_counter()
    await work()
    return perf_counter() - started


def median(numbers: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(numbers)
