"""Whose runs a command is about, and where they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from ..paging import every
from ..session import SessionKey, Turn
from ..stores import Store
from .options import Session, User


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose runs, and of which session."""

    user: User = None
    session: Session = None

    async def anywhere(self, run_id: str, store: Store) -> SessionKey | None:
        """The session of a run: the one that is named, or wherever it is; only a named user's."""
        if self.session is None and self.user is None:
            return await store.find(run_id)
        return await self.own(run_id, store)

    async def own(self, run_id: str, store: Store) -> SessionKey | None:
        """The session of a run if it is the owner's; no user is an owner too."""
        if self.session is not None:
            return SessionKey(self.user, self.session)
        key = await store.find(run_id)
        if key is None or key.user_id == self.user:
            return key
        # A session that was exported and imported again may be there for two users.
        async for mine in self.sessions(store):
            if await store.run(mine, run_id) is not None:
                return mine
        return None

    async def sessions(self, store: Store) -> AsyncIterator[SessionKey]:
        """The session that is named, or all of the user."""
        if self.session is not None:
            yield SessionKey(self.user, self.session)
            return
        async for info in every(partial(store.sessions, self.user)):
            yield info.key

    async def unfinished(self, store: Store) -> list[tuple[SessionKey, Turn]]:
        """The runs that are not done, the newest first; some may be under way just now."""
        found = [
            (key, turn)
            async for key in self.sessions(store)
            async for turn in every(partial(store.runs, key))
            if turn.status != "done"
        ]
        return sorted(found, key=lambda pair: pair[1].started, reverse=True)
