"""`Store`: the protocol between the engine and whatever persists sessions.

A store has sessions: turns, the records of their nodes, state, summaries. A run begins, its
records are put as nodes finish, then it is finished; only that last step changes the session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

from msgspec import Struct

from ..records import Change, Head, Record, Run, SessionInfo, SessionKey, Summary, Turn

Policy: TypeAlias = Literal["serialize", "reject", "fork"]
"""What `Store.begin` does while a session is leased: wait, raise `SessionBusy`, or run beside."""


class Lease(Struct, frozen=True):
    """The exclusive right to write one run of a session; `head` is the session when it began.

    `token` distinguishes it from every other lease that the store has given.
    """

    key: SessionKey
    run_id: str
    head: Head
    token: int = 0


class Hit(NamedTuple):
    """A search result: a turn, and the key of its session."""

    key: SessionKey
    turn: Turn


class Store(Protocol):
    """Persists sessions; safe for concurrent use by tasks and threads.

    Every method raises `StoreError` where the store cannot be read or written. A session or run
    that does not exist is None or an empty list; so is one that belongs to another user.
    """

    async def begin(self, key: SessionKey, turn: Turn, *, policy: Policy = "serialize") -> Lease:
        """Acquire the lease of the session for a run, and store the run as running.

        A run that exists already (it is resumed) keeps its records. While another lease is held,
        `serialize` waits for it, `reject` raises `SessionBusy`, `fork` runs concurrently: turns
        are numbered as they are finished, and state is merged key by key. Raises `InputError` if
        a run of this id exists and is done.
        """
        ...

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        """Keep `records`, all or none; a record of the same node and attempt is replaced.

        What a record quotes of other runs (`Record.quotes`) is kept as references to them. Raises
        `Conflict` if the lease is no longer valid, or if its run or session was deleted.
        """
        ...

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Close the run and give the session free; if the turn is done, the session moves.

        The turn comes back as it was kept, with its number. Only a turn that is done gets one,
        and only then `change` counts, its summary as `Change.summary_at` says, and not where a run
        of the session was deleted since `begin`. Raises `Conflict` if the lease is no longer valid.
        """
        ...

    async def release(self, lease: Lease) -> None:
        """Give the session free and leave the run as it is, to be resumed. Twice does no harm."""
        ...

    async def head(self, key: SessionKey) -> Head | None:
        """Where the session stands, or None if there is no such session."""
        ...

    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        """A run with its records, replayed messages filled in, or None."""
        ...

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        """The done turns with `number` > `since`, the newest `last` of them, oldest first.

        The cost depends on how many turns come back, not on how long the session is.
        """
        ...

    async def runs(self, key: SessionKey, *, limit: int = 20, offset: int = 0) -> list[Turn]:
        """All runs of a session whatever their status, newest first."""
        ...

    async def summary(self, key: SessionKey, *, until: int) -> Summary | None:
        """The newest summary that covers no turn after number `until`."""
        ...

    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """The sessions of one user, the one with the latest activity first."""
        ...

    async def users(self, *, limit: int = 20, offset: int = 0) -> list[str | None]:
        """The users who have a session, None if sessions of no user are among them.

        Their order stays as it is for as long as nobody comes or goes. It is for who runs the
        store; what a user is shown never depends on it.
        """
        ...

    async def search(
        self,
        user_id: str | None,
        text: str,
        *,
        last: int,
        exclude: str | None = None,
        limit: int = 20,
    ) -> list[Hit]:
        """The done turns that have `text` in their input or answer, the newest first.

        Looked at are the user's `last` sessions by activity, without the session id `exclude`.
        Upper and lower case are the same; an empty text is in every turn.
        """
        ...

    async def rename(self, key: SessionKey, name: str | None) -> bool:
        """Name a session, or take its name away; False if there is no such session."""
        ...

    async def delete_run(self, key: SessionKey, run_id: str) -> bool:
        """Delete a run and every word of it that the store knows of; False if there is none.

        The numbers of other turns stay. What other runs replayed or quoted of it, in this session
        and in others of the user, reads `(deleted)`. Summaries that take its turn in go with it,
        and keys of the state that it was the last to set are as they were before it.
        """
        ...

    async def delete_session(self, key: SessionKey) -> bool:
        """Delete a session with all that it has; False if there is none.

        A run that is under way in it can no longer be written: `Conflict`.
        """
        ...

    async def delete_user(self, user_id: str | None) -> int:
        """Delete all sessions of a user, and tell how many there were."""
        ...

    async def find(self, user_id: str | None, run_id: str) -> SessionKey | None:
        """The session of a user that a run belongs to, or None.

        Of several runs of that id the one whose session has the latest activity.
        """
        ...

    async def keep_prompt(self, prompt_hash: str, sources: Mapping[str, str]) -> None:
        """Keep the sources of a template, `{name: text}`, once for each hash."""
        ...

    async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        """The sources kept under a hash, or None."""
        ...

    async def prompt_hashes(self, prefix: str = "") -> list[str]:
        """The hashes that sources are kept under and that begin with `prefix`, sorted."""
        ...

    async def close(self) -> None:
        """Write what is waiting and let go of every file. Twice does no harm."""
        ...
