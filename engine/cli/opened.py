"""A session that a command works on, opened where sessions are kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ..errors import NotFound
from ..session import SessionKey
from ..sessions import Session
from .options import Storing


@asynccontextmanager
async def opened_session(key: SessionKey, storing: Storing) -> AsyncGenerator[Session]:
    """The session; that it is not there is told in the words of the command line."""
    async with storing.open() as store:
        try:
            yield Session(key, store)
        except NotFound as error:
            whose = f"user {key.user_id!r} has" if key.user_id is not None else "there is"
            raise NotFound(
                f"{whose} no session {key.session_id!r} in {storing.folder}; `teamgraph sessions "
                "list` shows those there are, of another user with --user, in another store with "
                "--store"
            ) from error


def session_named(key: SessionKey) -> str:
    """The session by its name and its user's, as the middle of a sentence."""
    whose = f" of user {key.user_id!r}" if key.user_id is not None else ""
    return f"session {key.session_id!r}{whose}"
