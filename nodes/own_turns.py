"""The turns of a session in which one node spoke: with its tasks, and its words as the answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from engine import JSON, Context, Past, Turn


async def own_runs(
    context: Context, node_id: str, *, last: int
) -> tuple[list[str], Mapping[str, JSON]]:
    """The ids of the last runs in which the node spoke, and what to remember of the search.

    Only the turns since the last search are looked at, so it costs the same in a long session.
    """
    seen, known = context.state.get("seen"), context.state.get("runs")
    run_ids = [str(run_id) for run_id in known] if isinstance(known, list) else []
    since = seen if isinstance(seen, int) else 0
    new = [turn.run_id for turn in await context.past.turns(since=since)]
    run_ids += [turn.run_id for turn in await own_turns(context.past, node_id, new)]
    kept: list[JSON] = [*run_ids[max(0, len(run_ids) - last) :]]
    return [str(run_id) for run_id in kept], {"seen": context.turns, "runs": kept}


async def own_turns(past: Past, node_id: str, run_ids: Iterable[object]) -> list[Turn]:
    """The turns of these runs as the node had them; those that were deleted are left out."""
    found = [await _turn(past, str(run_id), node_id) for run_id in run_ids]
    return [turn for turn in found if turn is not None]


async def _turn(past: Past, run_id: str, node_id: str) -> Turn | None:
    run = await past.run(run_id)
    record = run.records.get(node_id) if run is not None else None
    if run is None or record is None or record.status != "done":
        return None
    said = record.output
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    asked = run.input if record.task is None else f"{run.input}\n\nYour task:\n{record.task}"
    return replace(run.turn, input=asked, answer=text)
