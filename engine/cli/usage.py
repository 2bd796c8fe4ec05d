"""`teamgraph usage`: what model calls used and cost, added up by what they were made for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, cast

import typer

from ..messages import JSON, NO_USAGE, Usage, as_plain
from ..records import Run
from .command import command, make_app
from .lookup import RunFilter
from .options import JsonFlag, StoreOptions
from .output import local_time, print_json, print_note, print_table
from .sessions import parse_since

Group: TypeAlias = Literal["model", "graph", "node", "session", "user"]
_COLUMNS = ("runs", "calls", "tokens in", "cached", "tokens out", "reasoning", "cost")

app = make_app()


@dataclass(slots=True)
class _Total:
    """What the calls of one row used, and in how many runs they were made."""

    runs: int = 0
    usage: Usage = NO_USAGE

    def add(self, usage: Usage) -> None:
        self.runs += 1
        self.usage += usage

    def as_json(self) -> dict[str, JSON]:
        return {"runs": self.runs, **cast("dict[str, JSON]", as_plain(self.usage))}

    def row(self) -> tuple[str, ...]:
        used = self.usage
        counts = (used.calls, used.input_tokens, used.cached_tokens, used.output_tokens)
        numbers = map(str, (self.runs, *counts, used.reasoning_tokens))
        return (
            *numbers,
            "unknown" if used.cost is None and used.calls else f"${used.cost or 0:.4f}",
        )


@command(app)
def usage(
    store: StoreOptions,
    *,
    which: RunFilter,
    since: Annotated[
        float | None,
        typer.Option(
            parser=parse_since,
            metavar="TIME",
            help="Only runs that began since then: 30m, 6h, 2d, 1w ago, or a date.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        Group,
        typer.Option(
            metavar="model|graph|node|session|user",
            help="What each row is of; a node is named by its graph and its path.",
        ),
    ] = "model",
    json: JsonFlag = False,
) -> None:
    """Add up the tokens, calls and costs of the runs in a store.

    Without --user, of the runs that belong to no user; with --all-users, of everybody's. Cached
    tokens are a part of those in, reasoning tokens a part of those out. If the cost of one call is
    unknown, so is the cost of its row. A run counts in each row that one of its calls is of.
    """
    totals, whole = asyncio.run(_totals(store, which, since, by))
    rows = sorted(totals.items(), key=lambda pair: (-(pair[1].usage.cost or 0), pair[0]))
    if json:
        items: list[JSON] = [{by: name or None, **total.as_json()} for name, total in rows]
        print_json({"by": by, "since": since, "rows": items, "total": whole.as_json()})
    elif rows:
        lines = [(name or "(none)", *total.row()) for name, total in rows]
        print_table((by, *_COLUMNS), [*lines, ("total", *whole.row())])
    else:
        start = f" since {local_time(since)}" if since is not None else ""
        print_note(f"no model calls{start} in {store.title}")


async def _totals(
    store: StoreOptions, which: RunFilter, since: float | None, by: Group
) -> tuple[Mapping[str, _Total], _Total]:
    """The totals of each row by its name, and of all."""
    totals: dict[str, _Total] = {}
    whole = _Total()
    async with store.open() as opened:
        async for key, turn in which.runs(opened):
            if since is not None and turn.started < since:
                continue
            run = Run(key, turn)
            if by in ("model", "node"):
                run = await opened.run(key, turn.run_id) or run
            for name, used in _parts(run, by):
                if used.calls:
                    totals.setdefault(name, _Total()).add(used)
            if turn.usage.calls:
                whole.add(turn.usage)
    return totals, whole


def _parts(run: Run, by: Group) -> Iterator[tuple[str, Usage]]:
    """What a run used, by the names of the rows that it counts in."""
    if by in ("model", "node"):
        parts: dict[str, Usage] = {}
        for path, record in run.records.items():
            for exchange in record.exchanges:
                name = exchange.model if by == "model" else f"{run.turn.graph}/{path}"
                parts[name] = parts.get(name, NO_USAGE) + exchange.usage
        yield from parts.items()
    else:
        named = {"graph": run.turn.graph, "session": run.session_id, "user": run.user_id or ""}
        yield named[by], run.usage
