"""A run that was cut short, and is about to be taken up again."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from ..errors import Changed, InputError, NotFound
from ..events import Listener
from ..records import Run, SessionKey
from ..session.store import Policy, Store
from .changes import changed, differences
from .execution import Turning
from .prepared import PreparedGraph


class Sought(Struct, frozen=True):
    """A run that somebody names; without `session_id` it may be in any session of the user."""

    run_id: str
    user_id: str | None
    session_id: str | None

    async def found(self, store: Store) -> Run:
        """The run; raises `NotFound`, also if it is somebody else's."""
        key: SessionKey | None = None
        if self.session_id is not None:
            key = SessionKey(self.user_id, self.session_id)
        else:
            key = await store.find(self.user_id, self.run_id)
        run = await store.run(key, self.run_id) if key is not None else None
        if run is None:
            whose = "without a user" if self.user_id is None else f"of user {self.user_id!r}"
            raise NotFound(
                f"there is no run {self.run_id!r} {whose} here; `runs list` shows those there are, "
                "a user's if the user is named"
            )
        return run


class Resuming(Struct, frozen=True):
    """Takes up a run where it stopped."""

    cast: PreparedGraph
    store: Store
    sought: Sought
    busy: Policy
    reuse_unchanged: bool

    async def run(self, listener: Listener | None) -> Run:
        """Go on to the end; raises `InputError` if there is nothing left, or `Changed`."""
        run = await self.sought.found(self.store)
        if run.status == "done":
            raise InputError(f"run {run.run_id!r} is done: there is nothing to resume")
        if not self.reuse_unchanged and (paths := changed(self.cast, run.records)):
            # Now, as long as nothing is written.
            told = await differences(self.cast, self.store, run, paths)
            raise Changed(told, run=run)
        begun = replace(run.turn, status="running", answer=None, error=None, ended=0.0)
        turning = Turning(
            self.cast,
            self.store,
            run.key,
            replace(begun, declared=self.cast.declared),
            resumed=True,
            busy=self.busy,
            reuse_unchanged=self.reuse_unchanged,
        )
        return await turning.run(listener)
