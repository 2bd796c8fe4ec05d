"""Whose runs a command is about, and where they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from ..errors import InputError
from ..paging import every
from ..session import SessionKey, Turn
from ..stores import Store
from .options import Session, User


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose runs, and of which session."""

    user: User = None
    session: Session = None

    async def key(self, run_id: str, store: Store) -> SessionKey | None:
        """The session of a run of the owner: the one that is named, or wherever it is."""
        if self.session is not None:
            return SessionKey(self.user, self.session)
        return await store.find(self.user, run_id)


@dataclass(frozen=True, slots=True)
class Owners(Owner):
    """Whose runs: one user's, or everybody's."""

    all_users: Annotated[
        bool, typer.Option("--all-users", help="Those of every user, and of none.")
    ] = False

    def __post_init__(self) -> None:
        if self.all_users and (self.user is not None or self.session is not None):
            raise InputError("--all-users is everybody; name no --user and no --session beside it")

    async def users(self, store: Store) -> AsyncIterator[str | None]:
        """All users of the store, or the one that is named."""
        if not self.all_users:
            yield self.user
            return
        async for user in every(store.users):
            yield user

    async def sessions(self, store: Store) -> AsyncIterator[SessionKey]:
        """The session that is named, or all of the users."""
        if self.session is not None:
            yield SessionKey(self.user, self.session)
            return
        async for user in self.users(store):
            async for info in every(partial(store.sessions, user)):
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

    def words(self) -> list[str]:
        """The options again, for a command to copy."""
        if self.all_users:
            return ["--all-users"]
        return [] if self.user is None else ["--user", self.user]

    def named(self, row: Sequence[str], user: str | None) -> Sequence[str]:
        """A row of a table, with the user behind the session where there may be several."""
        return [*row[:2], user or "", *row[2:]] if self.all_users else row
