"""Sessions and runs found by their ids, or by a prefix that no other id has.

An exact id always wins, so a prefix never hides a session or a run. Users are named in full: a
prefix must not open another user's sessions.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from ..blocking import all_items
from ..errors import InputError, NotFound, StoreError, listed
from ..records import SessionInfo, SessionKey, Turn
from ..session.session import Session
from ..session.store import Store
from .options import SessionOption, StoreOptions, UserOption

_SHOWN = 5
_PREFIX_SHOWN = 12


@dataclass(frozen=True, slots=True)
class RunLookup:
    """Where runs are looked up: in the sessions of a user, or in one of them."""

    user: UserOption = None
    session: SessionOption = None

    async def find(self, run_id: str, store: Store) -> tuple[SessionKey, str] | None:
        """The session of a run and the run's whole id, by a unique prefix of it.

        Raises `InputError` if several runs have the prefix.
        """
        if self.session is None:
            key = await store.find(self.user, run_id)
        else:
            key = await find_session(SessionKey(self.user, self.session), store)
            if await store.run(key, run_id) is None:
                key = None
        if key is not None:
            return key, run_id
        if not run_id:
            return None
        found = {turn.run_id: key async for key, turn in self.runs(store)}
        whole = _only(run_id, found, "run")
        return None if whole is None else (found[whole], whole)

    async def latest(self, store: Store) -> tuple[SessionKey, str] | None:
        """The newest run of the session or the user, None if there is none."""
        newest: tuple[SessionKey, Turn] | None = None
        async for key in self.sessions(store):
            for turn in await store.runs(key, limit=1):
                if newest is None or turn.started > newest[1].started:
                    newest = key, turn
        return None if newest is None else (newest[0], newest[1].run_id)

    async def sessions(self, store: Store) -> AsyncIterator[SessionKey]:
        """The session that is named, or all of the users."""
        if self.session is not None:
            yield await find_session(SessionKey(self.user, self.session), store)
            return
        async for user in self.users(store):
            async for info in all_items(partial(store.sessions, user)):
                yield info.key

    async def users(self, store: Store) -> AsyncIterator[str | None]:
        """The users whose sessions are looked at."""
        del store
        yield self.user

    async def runs(self, store: Store) -> AsyncIterator[tuple[SessionKey, Turn]]:
        """All runs, the newest of each session first."""
        async for key in self.sessions(store):
            async for turn in all_items(partial(store.runs, key)):
                yield key, turn


@dataclass(frozen=True, slots=True)
class RunFilter(RunLookup):
    """Which runs: those of a session, of a user, or of all users."""

    all_users: Annotated[
        bool, typer.Option("--all-users", help="Include every user, and runs without a user.")
    ] = False

    def __post_init__(self) -> None:
        if self.all_users and (self.user is not None or self.session is not None):
            raise InputError("--all-users cannot be combined with --user or --session")

    async def users(self, store: Store) -> AsyncIterator[str | None]:
        """All users of the store, or the one that is named."""
        if not self.all_users:
            yield self.user
            return
        async for user in all_items(store.users):
            yield user

    async def unfinished(self, store: Store) -> list[tuple[SessionKey, Turn]]:
        """The runs that are not done, the newest first; some may be in progress."""
        found = [(key, turn) async for key, turn in self.runs(store) if turn.status != "done"]
        return sorted(found, key=lambda pair: pair[1].started, reverse=True)

    def words(self) -> list[str]:
        """The options as words of a command line."""
        if self.all_users:
            return ["--all-users"]
        return [] if self.user is None else ["--user", self.user]

    def with_user(self, row: Sequence[str], user: str | None) -> Sequence[str]:
        """A row of a table, with the user after the session where there may be several."""
        return [*row[:2], user or "", *row[2:]] if self.all_users else row


async def find_session(key: SessionKey, store: Store) -> SessionKey:
    """The session with this id, or else the only one of the user whose id begins with it.

    Returns `key` itself if there is none. Raises `InputError` if there are several.
    """
    try:
        if not key.session_id or await store.head(key) is not None:
            return key
    except StoreError:  # it is there, and damaged
        return key
    infos = [info async for info in all_items(partial(store.sessions, key.user_id))]
    whole = _only(key.session_id, (info.key.session_id for info in infos), "session")
    return key if whole is None else SessionKey(key.user_id, whole)


async def latest_session(user: str | None, options: StoreOptions, *, advice: str) -> SessionInfo:
    """The user's session with the latest activity; raises `NotFound` with `advice`."""
    async with options.open() as store:
        found = await store.sessions(user, limit=1)
    if not found:
        whose = f"user {user!r} has" if user is not None else "there is"
        raise NotFound(f"{whose} no session in {options.title}{advice}")
    return found[0]


@asynccontextmanager
async def open_session(key: SessionKey, options: StoreOptions) -> AsyncGenerator[Session]:
    """The session, by a unique prefix of its id.

    Raises `NotFound` that names the options of the command line.
    """
    async with options.open() as store:
        try:
            yield Session(await find_session(key, store), store)
        except NotFound as error:
            whose = f"user {key.user_id!r} has" if key.user_id is not None else "there is"
            raise NotFound(
                f"{whose} no session {key.session_id!r} in {options.title}; `teamgraph sessions "
                "list` lists sessions (--user: of a user, --store: of another store)"
            ) from error


def session_title(key: SessionKey) -> str:
    """The session and its user, in the middle of a sentence."""
    whose = f" of user {key.user_id!r}" if key.user_id is not None else ""
    return f"session {key.session_id!r}{whose}"


def _only(prefix: str, ids: Iterable[str], kind: str) -> str | None:
    """The only id that has the prefix, None if there is none."""
    found = sorted({each for each in ids if each.startswith(prefix)})
    if len(found) > 1:
        shown = (each[: len(prefix) + _PREFIX_SHOWN] for each in found)
        raise InputError(
            f"{len(found)} {kind}s begin with {prefix!r}: {listed(shown, at_most=_SHOWN)}; give "
            "more of the id"
        )
    return found[0] if found else None
