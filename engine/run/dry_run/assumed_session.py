"""The session of a dry run: one that the caller describes, or a stored one that is only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from msgspec import Struct

from ...errors import InputError, closest
from ...messages import JSON, HistoryItem
from ...records import Change, Head, Record, Run, SessionInfo, SessionKey, Summary, Turn
from ...session.store import Hit, Lease, Policy, Store, WhileWaiting
from ...stores.memory import MemorySession, MemoryStore
from ..given_history import GivenTurn, parse_history, stored_turns

SESSION_ID = "session-1"
_KEYS = ("id", "summary", "turns", "node_states")


class AssumedSession(Struct, frozen=True):
    """A session before the turn that is rendered.

    The turns of `history` are the newest; if `turns` is greater, the summary stands for those
    before them.
    """

    session_id: str
    turns: int
    history: tuple[GivenTurn, ...]
    summary: str | None
    node_states: Mapping[str, Mapping[str, JSON]]

    @classmethod
    def parse(cls, history: Sequence[HistoryItem], session: Mapping[str, JSON]) -> AssumedSession:
        """The session that a caller describes; raises `InputError` if it is not valid."""
        for key in session:
            if key not in _KEYS:
                near = closest(key, _KEYS)
                meant = f"did you mean {near!r}?" if near else f"it has {', '.join(_KEYS)}"
                raise InputError(f"session: there is no {key!r} in it; {meant}")
        assumed = parse_history(history)
        summary = session.get("summary")
        if summary is not None and not isinstance(summary, str):
            raise InputError("session: the summary must be text, or left out")
        turns = session.get("turns", len(assumed) + (summary is not None))
        if not isinstance(turns, int) or turns < len(assumed):
            raise InputError(
                f"session: turns is {turns!r}, but the history has {len(assumed)} of them; leave "
                "it out, or count those before the history too"
            )
        return cls(
            session_id=_text(session.get("id", SESSION_ID), "id"),
            turns=turns,
            history=assumed,
            summary=summary,
            node_states=_states(session.get("node_states", {})),
        )

    def store(self, key: SessionKey) -> MemoryStore:
        """A store that has this session and nothing else."""
        before = self.turns - len(self.history)
        turns = stored_turns(self.history, before)
        summary = Summary(self.summary, covers=before) if self.summary is not None else None
        return MemoryStore(
            {
                key: MemorySession(
                    last_number=self.turns,
                    turns=turns,
                    done=list(turns),
                    node_states=dict(self.node_states),
                    summaries={before: summary} if summary else {},
                    covers=[before] if summary else [],
                )
            }
        )


class ReadOnlyStore(MemoryStore):
    """Reads from another store; everything that a run writes is dropped."""

    def __init__(self, source: Store) -> None:
        super().__init__()
        self._source = source

    async def begin(
        self,
        key: SessionKey,
        turn: Turn,
        *,
        policy: Policy = "serialize",
        is_stored: bool | None = None,
        while_waiting: WhileWaiting = "refuse",
    ) -> Lease:
        """A lease that locks nothing, with the session as it is."""
        del policy, is_stored, while_waiting
        return Lease(key, turn.run_id, await self._source.head(key) or Head())

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        """Drop the records."""

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Drop the turn."""
        del lease, change
        return turn

    async def release(self, lease: Lease) -> None:
        """Do nothing: nothing was locked."""

    async def get_attachment(self, key: SessionKey, sha256: str) -> bytes | None:
        """No bytes: nothing is sent."""
        del key, sha256
        return b""

    async def head(self, key: SessionKey) -> Head | None:
        """See `Store.head`."""
        return await self._source.head(key)

    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        """See `Store.run`."""
        return await self._source.run(key, run_id)

    async def runs(self, key: SessionKey, *, limit: int = 20, offset: int = 0) -> list[Turn]:
        """See `Store.runs`."""
        return await self._source.runs(key, limit=limit, offset=offset)

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        """See `Store.turns`."""
        return await self._source.turns(key, last=last, since=since)

    async def summary(self, key: SessionKey, *, until: int) -> Summary | None:
        """See `Store.summary`."""
        return await self._source.summary(key, until=until)

    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """See `Store.sessions`."""
        return await self._source.sessions(user_id, limit=limit, offset=offset)

    async def search(
        self,
        user_id: str | None,
        text: str,
        *,
        last: int,
        exclude: str | None = None,
        limit: int = 20,
    ) -> list[Hit]:
        """See `Store.search`."""
        return await self._source.search(user_id, text, last=last, exclude=exclude, limit=limit)


def _text(value: JSON, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"session: the {name} must be text, not {value!r}")
    return value


def _states(value: JSON) -> Mapping[str, Mapping[str, JSON]]:
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise InputError("session: node_states must map node ids to the states of nodes")
    return cast("Mapping[str, Mapping[str, JSON]]", value)
