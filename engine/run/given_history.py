"""A run with the history that its caller gives: its turns, and a session that is not kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import InputError
from ..graph.graph import Graph
from ..messages import HistoryItem, Message
from ..records import SessionInfo, SessionKey, Turn
from ..session.store import Hit, Store
from ..stores.memory import MemorySession, MemoryStore
from .questions import can_wait


class GivenTurn(NamedTuple):
    """The input and the answer of an earlier turn."""

    input: str
    answer: str


def parse_history(history: Sequence[HistoryItem]) -> tuple[GivenTurn, ...]:
    """The turns that a caller gives, oldest first; raises `InputError` if they are not valid."""
    if isinstance(history, str) or not isinstance(history, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
        raise InputError(f"history is a {type(history).__name__}; give a list of turns")
    turns: list[GivenTurn] = []
    asked: str | None = None
    for index, one in enumerate(history):
        if (turn := _turn(one)) is not None and asked is None:
            turns.append(turn)
            continue
        role, content = _message(one)
        if role == "user" and asked is None:
            asked = content
        elif role == "assistant" and asked is not None:
            turns.append(GivenTurn(asked, content))
            asked = None
        else:
            raise _unexpected_item(index)
    if asked is not None:
        raise _unexpected_item(len(history) - 1)
    return tuple(turns)


def stored_turns(history: Sequence[GivenTurn], before: int = 0) -> dict[str, Turn]:
    """The turns by run id, as a session has them that had `before` others."""
    return {
        f"turn-{number}": Turn(
            run_id=f"turn-{number}",
            input=turn.input,
            status="done",
            answer=turn.answer,
            number=number,
        )
        for number, turn in enumerate(history, before + 1)
    }


class UnkeptSession(MemoryStore):
    """The session of one run with a given history; other sessions are read from `source`.

    What the run writes is dropped with this object. Raises `InputError` for a graph whose run may
    wait for a person.
    """

    def __init__(
        self, key: SessionKey, graph: Graph, history: Sequence[HistoryItem], source: Store
    ) -> None:
        turns = stored_turns(parse_history(history))
        if can_wait(graph):
            raise InputError(
                f"graph {graph.name!r} may ask a person, and a run with a given history is not "
                "kept, so nobody could answer; pass session_id='...' instead of history"
            )
        session = MemorySession(last_number=len(turns), turns=turns, done=[*turns])
        super().__init__({key: session})
        self._key = key
        self.source = source

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        """See `Store.turns`."""
        if key != self._key:
            return await self.source.turns(key, last=last, since=since)
        return await super().turns(key, last=last, since=since)

    async def runs(self, key: SessionKey, *, limit: int = 20, offset: int = 0) -> list[Turn]:
        """See `Store.runs`."""
        if key != self._key:
            return await self.source.runs(key, limit=limit, offset=offset)
        return await super().runs(key, limit=limit, offset=offset)

    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """See `Store.sessions`."""
        return await self.source.sessions(user_id, limit=limit, offset=offset)

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
        return await self.source.search(user_id, text, last=last, exclude=exclude, limit=limit)


def _turn(one: HistoryItem) -> GivenTurn | None:
    match one:
        case (str() as asked, str() as answer):
            return GivenTurn(asked, answer)
        case {"input": str() as asked, "answer": str() as answer, **more} if not more:
            return GivenTurn(asked, answer)
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
