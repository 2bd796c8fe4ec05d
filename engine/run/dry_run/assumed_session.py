"""The session of a dry run: one that the caller describes, or a stored one that is only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias, cast

from msgspec import Struct

from ...errors import InputError, closest
from ...messages import JSON, Message
from ...records import Change, Head, Record, Run, SessionInfo, SessionKey, Summary, Turn
from ...session.store import Hit, Lease, Policy, Store, WhileWaiting
from ...stores.memory import MemorySession, MemoryStore

HistoryItem: TypeAlias = Mapping[str, str] | Message | tuple[str, str]
"""A turn as `{input, answer}` or a pair of texts, or one message as `{role, content}`."""

SESSION_ID = "session-1"
_KEYS = ("id", "summary", "turns", "node_states")


class AssumedTurn(NamedTuple):
    """The input and the answer of an earlier turn."""

    input: str
    answer: str


class AssumedSession(Struct, frozen=True):
    """A session before the turn that is rendered.

    The turns of `history` are the newest; if `turns` is greater, the summary stands for those
    before them.
    """

    session_id: str
    turns: int
    history: tuple[AssumedTurn, ...]
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
        assumed = _turns(history)
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
        turns = {
            f"turn-{number}": Turn(
                run_id=f"turn-{number}",
                input=turn.input,
                status="done",
                answer=turn.answer,
                number=number,
            )
            for number, turn in enumerate(self.history, before + 1)
        }
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


def _turns(history: Sequence[HistoryItem]) -> tuple[AssumedTurn, ...]:
    if isinstance(history, str) or not isinstance(history, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
        raise InputError(f"history is a {type(history).__name__}; give a list of turns")
    turns: list[AssumedTurn] = []
    asked: str | None = None
    for index, one in enumerate(history):
        if (turn := _turn(one)) is not None and asked is None:
            turns.append(turn)
            continue
        role, content = _message(one)
        if role == "user" and asked is None:
            asked = content
        elif role == "assistant" and asked is not None:
            turns.append(AssumedTurn(asked, content))
            asked = None
        else:
            raise _unexpected_item(index)
    if asked is not None:
        raise _unexpected_item(len(history) - 1)
    return tuple(turns)


def _turn(one: HistoryItem) -> AssumedTurn | None:
    match one:
        case (str() as asked, str() as answer):
            return AssumedTurn(asked, answer)
        case {"input": str() as asked, "answer": str() as answer, **more} if not more:
            return AssumedTurn(asked, answer)
        case _:
            return None


def _message(one: HistoryItem) -> tuple[str, str]:
    match one:
        case Message():
            return one.role, one.content
        case {"role": str() as role, "content": str() as content, **more} if not more:
            return role, content
        case _:
            return "", ""


def _unexpected_item(index: int) -> InputError:
    return InputError(
        f"history: item {index + 1} does not fit; give turns as {{input, answer}}, or messages as "
        "{role, content} where each of role user is followed by one of role assistant"
    )


def _text(value: JSON, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"session: the {name} must be text, not {value!r}")
    return value


def _states(value: JSON) -> Mapping[str, Mapping[str, JSON]]:
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise InputError("session: node_states must map node ids to the states of nodes")
    return cast("Mapping[str, Mapping[str, JSON]]", value)
