"""What the tests of the kit are made of: opening the store under test, and telling it turns."""

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
Suite = TypeVar("Suite", bound="Contract")


class Stores:
    """Opens the store of one test, as often as the test asks; all see the same sessions."""

    def __init__(self, open_store: Callable[[Path], Store], place: Path) -> None:
        self.place = place
        self._open_store = open_store
        self._opened: list[Store] = []

    def open(self) -> Store:
        """The store, opened once more."""
        store = self._open_store(self.place)
        self._opened.append(store)
        return store

    def elsewhere(self, name: str) -> Stores:
        """Opens another store, empty at first; whoever asks for it closes it."""
        place = self.place / name
        place.mkdir()
        return Stores(self._open_store, place)

    async def close(self) -> None:
        """Close what was opened."""
        for store in self._opened:
            await store.close()
        self._opened.clear()


class Contract:
    """A part of the kit: tests that get their stores from `open_store`."""

    def open_store(self, place: Path) -> Store:
        """Open the store that lies at `place`, an empty directory at first.

        Whatever is opened with one place sees the same sessions, and what is opened with another
        sees none of them. A store that keeps nothing in files takes the place for a name.
        """
        raise InputError(f"{type(self).__name__}: define open_store(self, place)")

    @pytest.fixture
    def stores(self, tmp_path: Path) -> Stores:
        """What the tests open their stores with."""
        return Stores(self.open_store, tmp_path)


def looped(
    test: Callable[Concatenate[Suite, Stores, P], Coroutine[object, object, None]],
) -> Callable[Concatenate[Suite, Stores, P], None]:
    """Let pytest run an asynchronous test, and close its stores in the loop that they were in."""

    def run(self: Suite, stores: Stores, *args: P.args, **kwargs: P.kwargs) -> None:
        async def whole() -> None:
            try:
                await test(self, stores, *args, **kwargs)
            finally:
                await stores.close()

        asyncio.run(whole())

    update_wrapper(run, test)
    return run  # type: ignore[return-value]  # pytest gives the stores by name


async def tell(
    store: Store,
    key: SessionKey,
    turn: Turn,
    *,
    records: Sequence[Record] = (),
    change: Change = NO_CHANGE,
) -> Turn:
    """One whole turn, begun and finished; it comes back as it was kept."""
    lease = await store.begin(key, Turn(turn.run_id, turn.input))
    await store.put(lease, records)
    return await store.finish(lease, turn, change)


def done(run_id: str, text: str = "hello") -> Turn:
    """A turn that was answered."""
    return Turn(run_id, text, status="done", answer=f"{text}!")


def replayed(turn: Turn) -> tuple[Message, Message]:
    """The two messages of an earlier turn, as a history loader brings them in."""
    return (
        Message(role="user", content=turn.input, origin=turn.run_id),
        Message(role="assistant", content=turn.answer or "", origin=turn.run_id),
    )


def asked(*messages: Message, node: str = "writer") -> Record:
    """The record of a node that asked a model once."""
    usage = Usage(input_tokens=9, output_tokens=2, calls=1, cost=0.25)
    exchange = Exchange(
        "member.jinja", "hash", "echo", messages, "hi", usage, "stop", started=1.5, ended=2.25
    )
    return Record(node, "done", output="hi", exchanges=(exchange,), usage=usage)
