"""A simulation of sessions over many PostgreSQL databases: `python -m tests.benchmarks.scale`.

It prints the tables of docs/scale.md. What one database holds comes from docs/benchmarks.md, so the
pages agree; whatever is random has a fixed seed. A user's share of the turns is lognormal: most
users send little, a few very much.
"""

from __future__ import annotations

import heapq
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from math import ceil
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
SEED = 18
CALLS, CALL_SECONDS = 3, 2.0
"""Model calls of a turn, and the seconds of each; the model of the measured turns took 50 ms."""
CORES, CONNECTIONS, LOG = 16, 1000, 200e6
"""A database's machine: cores, `max_connections`, bytes of write-ahead log that it can take."""
OF_WORKER = 20
"""Connections of each; those of servers are not counted, as a few stand before all workers."""
GATHER = 0.03
"""Seconds between two notifications of a worker, for all of its turns."""
PLANNED = 0.6
"""The part of a limit that is planned with: the rest is for peaks, restarts and vacuum."""
KEPT_DAYS, TURNS_OF_SESSION = 30, 10
USERS, SESSIONS_OF_USER, SPREAD = 100_000, 3, 1.5
"""Users that talk at a time, the sessions of each, and sigma of their shares."""

Rows = Mapping[str, float]
Table = list[tuple[str, ...]]


def measured(page: Path = PAGE) -> dict[str, float]:
    """The rows of the tables `postgres` and `distributed` by name, after that of the row above."""
    found: dict[str, float] = {}
    text = page.read_text(encoding="utf-8")
    for name in ("postgres", "distributed"):
        table = text.partition(f"\n{name}\n")[2].partition("\n\n")[0].partition("```")[0]
        above = ""
        for line in table.splitlines():
            row = re.fullmatch(r"  (\s*)(.+?) {2,}([\d.]+) .*", line)
            assert row is not None, line
            indent, what, number = row.groups()
            above = above if indent else what
            found[f"{above}: {what}" if indent else what] = float(number)
    return found


def limits(rows: Rows) -> dict[str, float]:
    """Turns a second at which one database reaches each of its limits, the lowest first."""
    workers = CONNECTIONS / OF_WORKER
    commits = rows["commits of 8 connections: with a notification in each"]
    core = 1000 / rows["CPU of a turn, worker"]
    found = {
        f"{CONNECTIONS} connections, 8 turns at once in a worker": workers
        * 8
        / (CALLS * CALL_SECONDS),
        f"{CONNECTIONS} connections, workers that fill a core": workers * core,
        "notifications, workers that fill a core": commits * GATHER * core,
        f"CPU of PostgreSQL, {CORES} cores": CORES
        * 1000
        / rows["CPU of a turn, worker: of PostgreSQL"],
        "write-ahead log, 200 MB a second": LOG / rows["bytes of the write-ahead log of a turn"],
    }
    return dict(sorted(found.items(), key=lambda item: item[1]))


def held(rows: Rows) -> float:
    """Turns a second that are planned for one database: its limits without those of settings."""
    names = ("notifications", "CPU", "write-ahead log")
    hard = [turns for name, turns in limits(rows).items() if name.startswith(names)]
    return PLANNED * min(hard)


def fleets(rows: Rows) -> Table:
    """What so many turns a second need."""
    rates = (100, 1_000, 10_000, 100_000)

    def row(what: str, number: Callable[[int], float], form: str) -> tuple[str, ...]:
        return (what, *(f"{number(rate):{form}}" for rate in rates))

    cpu = {name: rows[name] / 1000 for name in rows}
    kept = rows["bytes that a turn leaves in the store"]
    queued = rows["bytes that a turn leaves in the queue"]
    return [
        ("turns a second", *(f"{rate:,}" for rate in rates)),
        row("databases", lambda rate: databases(rows, rate), ",.0f"),
        row("turns in progress", lambda rate: rate * CALLS * CALL_SECONDS, ",.0f"),
        row(
            "cores of workers",
            lambda rate: ceil(rate * cpu["CPU of a turn, worker"] / PLANNED),
            ",.0f",
        ),
        row(
            "cores of servers",
            lambda rate: ceil(
                rate * cpu["CPU of a turn, worker: of the clients, which submit and wait"] / PLANNED
            ),
            ",.0f",
        ),
        row(
            "cores of PostgreSQL, busy",
            lambda rate: rate * cpu["CPU of a turn, worker: of PostgreSQL"],
            ",.0f",
        ),
        row("GB of sessions in a day", lambda rate: rate * kept * 86_400 / 1e9, ",.0f"),
        row(
            "GB of write-ahead log in a day",
            lambda rate: rate * rows["bytes of the write-ahead log of a turn"] * 86_400 / 1e9,
            ",.0f",
        ),
        row("GB in the queue, kept an hour", lambda rate: rate * queued * 3600 / 1e9, ",.1f"),
    ]


def databases(rows: Rows, rate: float) -> int:
    """How many databases so many turns a second need."""
    return ceil(rate / held(rows))


def skew(many: Sequence[int], users: int) -> Table:
    """The load of the fullest database, in units of the mean, when sessions are hashed."""
    chosen = random.Random(SEED)
    shares = [chosen.lognormvariate(0, SPREAD) for _ in range(users)]
    heavy = sum(shares) / 99  # one user more, who sends a hundredth of all turns
    by_user = [(hashed(f"u{user}"), share) for user, share in enumerate(shares)]
    by_session = [
        (hashed(f"u{user}/s{session}"), share / SESSIONS_OF_USER)
        for user, share in enumerate(shares)
        for session in range(SESSIONS_OF_USER)
    ]
    alone = [(hashed("heavy"), heavy)]
    spread = [(hashed(f"heavy/s{session}"), heavy / 1000) for session in range(1000)]
    forms = {
        "by user": by_user,
        "by user and session": by_session,
        "by user, one of whom sends 1 %": by_user + alone,
        "by user and session, that one has 1000": by_session + spread,
    }
    lines = [
        (what, *(f"{fullest(each, number):.2f}" for number in many)) for what, each in forms.items()
    ]
    return [("databases", *(f"{number:,}" for number in many)), *lines]


def hashed(name: str) -> int:
    """The hash by which a database is chosen."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big")


def fullest(shares: Sequence[tuple[int, float]], many: int) -> float:
    """The largest load of so many databases, in units of the mean."""
    loads = [0.0] * many
    for place, share in shares:
        loads[place % many] += share
    return max(loads) * many / sum(loads)


def waits(turns: int) -> Table:
    """Seconds that a turn waits for a free place among 64, by how full these are on average."""
    lines: Table = [("seconds", "half of them", "99 of 100", "the longest")]
    for full in (0.5, 0.7, 0.8, 0.9, 0.95):
        found = sorted(_waited(64, full, turns))
        picked = (found[len(found) // 2], found[len(found) * 99 // 100], found[-1])
        lines.append((f"{full:.0%} full", *(f"{each:.1f}" for each in picked)))
    return lines


def _waited(places: int, full: float, turns: int) -> Iterator[float]:
    """How long each turn waits: arrivals are random, a call takes a lognormal time."""
    chosen = random.Random(SEED)
    sigma = 0.8
    each = [chosen.lognormvariate(-sigma * sigma / 2, sigma) * CALL_SECONDS for _ in range(997)]
    rate = places * full / (CALLS * CALL_SECONDS)
    free = [0.0] * places
    now = 0.0
    for _ in range(turns):
        now += chosen.expovariate(rate)
        begins = max(now, heapq.heappop(free))
        heapq.heappush(free, begins + sum(chosen.choices(each, k=CALLS)))
        yield begins - now


def moves(rows: Rows) -> Table:
    """One database more: what has to move to it, and how long 8 copying processes take."""
    seconds = rows["a session of 10 turns copied to another database, and compared"] / 1000
    lines: Table = [("to move", "sessions", "GB", "hours")]
    for rate in (1_000, 10_000, 100_000):
        turns = rate * 86_400 * KEPT_DAYS
        part = 1 / (databases(rows, rate) + 1)
        sessions = turns / TURNS_OF_SESSION * part
        size = turns * rows["bytes that a turn leaves in the store"] * part
        lines.append(
            (
                f"{rate:,} turns a second",
                f"{sessions:,.0f}",
                f"{size / 1e9:,.0f}",
                f"{sessions * seconds / 8 / 3600:,.0f}",
            )
        )
    return lines


def tables(rows: Rows, *, users: int = USERS, turns: int = 40_000) -> Iterator[str]:
    """The tables, as the page shows them."""
    found = {name: f"{turns:,.0f}" for name, turns in limits(rows).items()}
    planned = ("planned for one database", f"{held(rows):,.0f}")
    yield text_of([("limit", "turns a second"), *found.items(), planned])
    yield text_of(fleets(rows))
    yield text_of(skew((10, 30, 100, 300), users))
    yield text_of(waits(turns))
    yield text_of(moves(rows))


def text_of(lines: Sequence[tuple[str, ...]]) -> str:
    """Lines of columns, the first of which is text."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    print(*tables(measured()), sep="\n\n")
