"""Base class and builders of the conformance tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import update_wrapper
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import pytest

from ...errors import InputError
from ...messages import Message, Usage
from ...records import Change, Exchange, Record, SessionKey, Turn
from ...session.store import Store

KEY = SessionKey("ann", "trip")
NO_CHANGE = Change()
P = ParamSpec("P")
S = TypeVar("S", bound="StoreTests")


class StoreOpener:
    """Opens the store of one test any number of times; all openers see the same sessions."""

    def __init__(self, open_store: Callable[[Path], Store], place: Path) -> None:
        self.place = place
        self._open_store = open_store
        self._opened: list[Store] = []

    def open(self) -> Store:
        """Open the store."""
        store = self._open_store(self.place)
        self._opened.append(store)
        return store

    def another(self, name: str) -> StoreOpener:
        """An opener of another store, empty at first, to be closed by the caller."""
        place = self.place / name
        place.mkdir()
        return StoreOpener(self._open_store, place)

    async def close(self) -> None:
        """Close everything that was opened."""
        for store in self._opened:
            await store.close()
        self._opened.clear()


class StoreTests:
    """Base class of the parts of the kit: tests of the store that `open_store` opens."""

    def open_store(self, place: Path) -> Store:
        """Open the store at `place`, an empty directory at first.

        Stores opened with the same place must see the same sessions, and with another place none
        of them. A store without files uses the place as a name.
        """
        raise InputError(f"{type(self).__name__}: define open_store(self, place)")

    @pytest.fixture
    def stores(self, tmp_path: Path) -> StoreOpener:
        """The opener of the store under test."""
        return StoreOpener(self.open_store, tmp_path)


def async_test(
    test: Callable[Concatenate[S, StoreOpener, P], Coroutine[object, object, None]],
) -> Callable[Concatenate[S, StoreOpener, P], None]:
    """Run an asynchronous test in an event loop, and close its stores in the same loop."""

    def run(self: S, stores: StoreOpener, *args: P.args, **kwargs: P.kwargs) -> None:
        async def whole() -> None:
            try:
                await test(self, stores, *args, **kwargs)
            finally:
                await stores.close()

        asyncio.run(whole())

    update_wrapper(run, test)
    return run  # type: ignore[return-value]  # pytest gives the stores by name


async def run_turn(
    store: Store,
    key: SessionKey,
    turn: Turn,
    *,
    records: Sequence[Record] = (),
    change: Change = NO_CHANGE,
) -> Turn:
    """Begin and finish a whole turn; returns it as it was stored."""
    lease = await store.begin(key, Turn(turn.run_id, turn.input))
    await store.put(lease, records)
    return await store.finish(lease, turn, change)


def done(run_id: str, text: str = "hello") -> Turn:
    """A done turn with an answer."""
    return Turn(run_id, text, status="done", answer=f"{text}!")


def replayed(turn: Turn) -> tuple[Message, Message]:
    """The two messages of an earlier turn, as a history loader replays them."""
    return (
        Message(role="user", content=turn.input, origin=turn.run_id),
        Message(role="assistant", content=turn.answer or "", origin=turn.run_id),
    )


def asked(*messages: Message, node: str = "writer") -> Record:
    """The record of a node with one model call."""
    usage = Usage(input_tokens=9, output_tokens=2, calls=1, cost=0.25)
    exchange = Exchange(
        "member.jinja", "hash", "echo", messages, "hi", usage, "stop", started=1.5, ended=2.25
    )
    return Record(node, "done", output="hi", exchanges=(exchange,), usage=usage)
