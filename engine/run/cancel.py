"""Cancel a run from anywhere: in this process, in another one, or one that nobody executes."""

from __future__ import annotations

from time import time
from typing import cast

from msgspec.structs import replace

from ..errors import InputError, SessionBusy
from ..records import Change, Run
from ..session.store import Cancels, Store
from ..stores.leases import WATCHER
from .execution import finish_uncancelled
from .resume import RunReference


async def cancel_run(store: Store, reference: RunReference) -> Run:
    """Cancel a run; returns it as it is stored now.

    One that waits for a person, or whose process died, is `cancelled` at once. One in progress is
    asked to stop, and is stored as cancelled as soon as it has; one that has failed, or is
    cancelled already, stays as it is. Raises `NotFound`, and `InputError` if the run is done.
    """
    run = await reference.load(store)
    if run.status == "done":
        raise InputError(f"run {run.run_id!r} is done: there is nothing to cancel")
    if run.status not in ("running", "waiting") or WATCHER.interrupt(store, run.key, run.run_id):
        return run
    try:
        lease = await store.begin(run.key, run.turn, policy="fork", is_stored=True)
    except SessionBusy:
        if not hasattr(store, "cancel"):
            raise
        await cast("Cancels", store).cancel(run.key, run.run_id)
        return run
    turn = replace(run.turn, status="cancelled", ended=time(), waiting=(), waiting_until=0.0)
    turn = await finish_uncancelled(store.finish(lease, turn, Change()))
    return Run(run.key, turn, run.records)
