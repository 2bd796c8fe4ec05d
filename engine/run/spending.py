"""What a session, or a user on one day, has spent: read from the store when a run begins.

Only a graph with such a budget pays for it: the turns of the session are read, or those of the
sessions in which the user was active on that day, the newest first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial

from ..blocking import all_items
from ..graph.graph import Budget
from ..messages import NO_USAGE, Usage
from ..records import SessionKey, Turn
from ..session.store import Lease, Store
from .model_call import Limit


async def limit_of(budget: Budget, store: Store, lease: Lease) -> Limit:
    """A budget of a session or a day, with what other runs have spent of it.

    A run that has not ended counts with the records that it has stored so far.
    """
    usage, known_cost = NO_USAGE, 0.0
    if budget.per == "session":
        runs = _runs_of(store, lease.key, since=0.0)
    else:
        runs = _runs_of_day(store, lease.key.user_id)
    async for key, turn in runs:
        if (key, turn.run_id) != (lease.key, lease.run_id):
            used, cost = await _spent(store, key, turn)
            usage, known_cost = usage + used, known_cost + cost
    return Limit(budget, usage, known_cost)


async def _runs_of(
    store: Store, key: SessionKey, *, since: float
) -> AsyncIterator[tuple[SessionKey, Turn]]:
    """The runs of a session that began since then, the newest first."""
    async for turn in all_items(partial(store.runs, key)):
        if turn.started < since:
            return
        yield key, turn


async def _runs_of_day(store: Store, user_id: str | None) -> AsyncIterator[tuple[SessionKey, Turn]]:
    """The runs that the user began on this day (UTC), in all sessions."""
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    async for session in all_items(partial(store.sessions, user_id)):
        if session.updated < midnight:
            return
        async for found in _runs_of(store, session.key, since=midnight):
            yield found


async def _spent(store: Store, key: SessionKey, turn: Turn) -> tuple[Usage, float]:
    """What a run has used, and the part of its cost that is known."""
    if turn.status != "running" and turn.usage.cost is not None:
        return turn.usage, turn.usage.cost
    run = await store.run(key, turn.run_id)
    records = run.records.values() if run is not None else ()
    used = sum((record.usage for record in records), NO_USAGE)
    costs = [each.usage.cost or 0.0 for record in records for each in record.exchanges]
    return (turn.usage if turn.usage.calls > used.calls else used), sum(costs)
