"""The `Store` protocol: what the engine asks of a store.

A store persists sessions: turns, the records of their nodes, state, summaries. A run is begun, its
records are put as nodes finish, then it is finished; only that last step changes the session.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

from msgspec import Struct

from ..errors import InputError
from ..messages import JSON
from ..records import Change, Head, Record, Run, SessionInfo, SessionKey, Summary, Turn

VERSION = 2
"""The newest version of the protocol; 2 added what a run that waits for a person needs."""
NEW_IN = {
    2: (
        "`finish` with a turn that waits (`Turn.waiting`), records with `questions`",
        "`begin(..., while_waiting=...)`, which refuses a session whose run waits",
        "`waiting(user_id, *, limit, offset)`, which lists the runs that wait",
    )
}
"""What each version added to the one before."""
WhileWaiting: TypeAlias = Literal["refuse", "allow"]
"""What a run does while another one of its session waits for a person."""
Policy: TypeAlias = Literal["serialize", "reject", "fork"]
"""What a run does while its session has another turn in progress: wait, fail or run as well."""


class Lease(Struct, frozen=True):
    """The right to write one run of one session, with the session's head when it was granted.

    `token` is unique to each lease that a store grants.
    """

    key: SessionKey
    run_id: str
    head: Head
    token: int = 0


class FinishedRun(Struct, frozen=True):
    """A run to be stored as a whole: its turn, all records, and what it changes in the session."""

    turn: Turn
    records: Sequence[Record]
    change: Change


class Hit(NamedTuple):
    """A turn found by a search, and its session."""

    key: SessionKey
    turn: Turn


class Store(Protocol):
    """Persists sessions; safe to use from many tasks and threads at once.

    Every method raises `StoreError` where the store cannot be read or written. A session or run
    that does not exist is None or an empty list; so is one that belongs to another user.

    `version` says which version of this protocol a store implements; one without it implements
    version 1 and serves all graphs but those that wait for people.
    """

    version: int

    async def begin(
        self,
        key: SessionKey,
        turn: Turn,
        *,
        policy: Policy = "serialize",
        is_stored: bool | None = None,
        while_waiting: WhileWaiting = "refuse",
    ) -> Lease:
        """Lease the session to a run, and store the run as running.

        A run that is stored already (it is resumed) keeps its records. While another lease is
        held, `serialize` waits for it, `reject` raises `SessionBusy`, `fork` runs concurrently:
        turns are numbered as they are finished, and state is merged key by key.

        While another run of the session waits for a person (`Turn.is_waiting`), `serialize` and
        `reject` raise `SessionBusy` that names it and its questions, unless `while_waiting` is
        `allow` or the run to begin waits itself.

        Raises `InputError` if a run of this id is stored and done, `SessionBusy` if it is in
        progress. With `is_stored` it must be stored once the session is leased, or `NotFound` is
        raised and nothing written: it may be deleted while this waits. With `is_stored=False` it
        must not be, or `InputError` is raised.
        """
        ...

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        """Store `records`, all or none; a record of the same node and attempt is replaced.

        What a record quotes of other runs (`Record.quotes`) is stored as references to them. Raises
        `Conflict` if the lease is no longer valid, or if its run or session was deleted.
        """
        ...

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Finish the run and release the session.

        Returns the turn as it was stored. Only a done turn gets a number, and only for such a turn
        `change` is applied: its summary as `Change.summary_at` says, and not if a run of the
        session was deleted since `begin`. Raises `Conflict` if the lease is no longer valid.
        """
        ...

    async def release(self, lease: Lease) -> None:
        """Release the session and leave the run as it is, to be resumed; idempotent."""
        ...

    async def create(
        self, key: SessionKey, runs: Sequence[FinishedRun], *, name: str | None = None
    ) -> None:
        """Create a session with one or more finished runs, all or nothing.

        Raises `InputError` if it exists, and then or after any other error nothing is stored.
        Done turns keep their numbers if these rise, and are numbered from the one before otherwise.
        """
        ...

    async def head(self, key: SessionKey) -> Head | None:
        """Version, state and summary of the session, or None if there is no such session."""
        ...

    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        """A run with its records, replayed messages filled in, or None."""
        ...

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        """The done turns with `number` > `since`, the newest `last` of them, oldest first.

        The cost depends on the number of turns returned, not on the length of the session.
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
        """The users who have a session; None stands for sessions without a user.

        The order is stable while users are neither added nor removed. This is for operators of the
        store; nothing shown to a user depends on it.
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

        Searches the user's `last` sessions by activity, without the session id `exclude`.
        Case-insensitive; an empty text is in every turn.
        """
        ...

    async def waiting(self, user_id: str | None, *, limit: int = 20, offset: int = 0) -> list[Hit]:
        """The runs of a user that wait for a person, the newest first; also those that expired."""
        ...

    async def rename(self, key: SessionKey, name: str | None) -> bool:
        """Name a session, or remove its name; False if there is no such session."""
        ...

    async def delete_run(self, key: SessionKey, run_id: str) -> bool:
        """Delete a run and its texts wherever the store has them; False if there is none.

        The numbers of other turns stay. What other runs replayed or quoted of it, in this session
        and in others of the user, reads `(deleted)`. Summaries that cover its turn are deleted,
        and state keys that it was the last to set get their earlier values back.
        """
        ...

    async def delete_session(self, key: SessionKey) -> bool:
        """Delete a session with everything in it; False if there is none.

        A run that is in progress in it can no longer be written: `Conflict`.
        """
        ...

    async def delete_user(self, user_id: str | None) -> int:
        """Delete all sessions of a user; returns how many there were."""
        ...

    async def find(self, user_id: str | None, run_id: str) -> SessionKey | None:
        """The session of a user that a run belongs to, or None.

        Of several runs of that id the one whose session has the latest activity.
        """
        ...

    async def put_prompt(self, prompt_hash: str, sources: Mapping[str, str]) -> None:
        """Store the sources of a template, `{name: text}`, once for each hash.

        It is called for every model call, and stores them again if they were removed meanwhile.
        """
        ...

    async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        """The sources stored under a hash, or None."""
        ...

    async def prompt_hashes(self, prefix: str = "") -> list[str]:
        """The hashes under which sources are stored that begin with `prefix`, sorted."""
        ...

    async def close(self) -> None:
        """Write what is pending and close every file; idempotent."""
        ...


@runtime_checkable
class StoresAttachments(Protocol):
    """A store that has room for attachments; with one that has not, nothing can be attached.

    Their bytes belong to one session and are stored once in it. `delete_run` deletes those that
    only that run's turn names (`Turn.attachments`), `delete_session` and `delete_user` all.
    """

    async def put_attachment(self, key: SessionKey, sha256: str, data: bytes) -> None:
        """Store the bytes of this hash; nothing changes if they are there.

        It is called before `begin` and `create`, also where there is no such session yet, so that
        no stored turn names what is not there; and again when the session is leased.
        """
        ...

    async def get_attachment(self, key: SessionKey, sha256: str) -> bytes | None:
        """The bytes of this hash in this session, or None."""
        ...


@runtime_checkable
class SetsState(Protocol):
    """A store that can change state outside of a turn; with another one only turns change it."""

    async def set_state(
        self, key: SessionKey, values: Mapping[str, JSON], *, remove: Collection[str] = ()
    ) -> bool:
        """Set keys of the shared state, and remove others; False if there is no such session.

        It is done at once, also while a run is in progress: that goes on with the state it began
        with, and the keys that it sets replace these when it is done. A key that is not there is
        removed already. Deleting a run takes back nothing of this.
        """
        ...


async def stored_attachments(
    store: object, key: SessionKey, turns: Iterable[Turn]
) -> dict[str, bytes]:
    """The bytes of what these turns name, by hash, as far as the store has them still."""
    hashes = {part.sha256 for turn in turns for part in turn.attachments if part.sha256}
    if not hashes or not isinstance(store, StoresAttachments):
        return {}
    found = {sha256: await store.get_attachment(key, sha256) for sha256 in hashes}
    return {sha256: data for sha256, data in found.items() if data is not None}


async def put_attachments(store: object, key: SessionKey, attachments: Mapping[str, bytes]) -> None:
    """Store the bytes of attachments; raises `InputError` if the store has no room for any."""
    if attachments and not isinstance(store, StoresAttachments):
        raise InputError(
            f"{type(store).__name__} stores no attachments; it lacks `put_attachment` and "
            "`get_attachment` (docs/your-own-store.md); use another store, or attach URLs only"
        )
    for sha256, data in attachments.items():
        await cast("StoresAttachments", store).put_attachment(key, sha256, data)


class Cancels(Protocol):
    """What a store offers beside `Store` if other processes may cancel the runs that it has."""

    async def cancel(self, key: SessionKey, run_id: str) -> None:
        """Ask the process that has the run in progress to cancel it; returns before it has.

        That process learns of it within a second or so, and then calls `LeaseWatcher.interrupt`.
        """
        ...


def lacking(store: object) -> tuple[str, ...]:
    """What a store lacks of the newest version of the protocol, in words."""
    has: int = getattr(store, "version", 1)
    return tuple(what for version in range(has + 1, VERSION + 1) for what in NEW_IN[version])


def mentions(turn: Turn, text: str) -> bool:
    """Whether the input or the answer of a turn contains `text`, case-insensitively."""
    sought = text.casefold()
    return sought in turn.input.casefold() or sought in (turn.answer or "").casefold()
