"""A journal that is cut at every byte of its last transaction, or has bits flipped anywhere."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from engine.errors import StoreError
from engine.session import Change, Record, Turn
from engine.stores import Store
from engine.stores.disk import DISK

from .judge import Counts, Open, at_peace
from .said import KEY

TURNS = 4
_TEXT = "a text of the node, and the number of its turn: {}"


def cuts(open_store: Open, trials: int, seed: int) -> Counts:
    """Cut the last transaction at every byte: it is there as a whole or not at all."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        place, journal, sizes = _made(open_store, Path(folder) / "made")
        places = list(range(sizes[-2], sizes[-1] + 1))
        random.Random(seed).shuffle(places)
        for at in sorted(places[:trials]):
            _tamper(place, Path(folder) / "cut", journal, lambda data, at=at: data[:at])
            turns = TURNS if at == sizes[-1] else TURNS - 1
            _look(open_store, Path(folder) / "cut", counts, turns, f"cut at byte {at}")
    return counts


def flips(open_store: Open, trials: int, seed: int) -> Counts:
    """Flip a bit: what is served is right, or refused in words."""
    chosen = random.Random(seed)
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        place, journal, sizes = _made(open_store, Path(folder) / "made")
        for _ in range(trials):
            at, bit = chosen.randrange(sizes[-1]), 1 << chosen.randrange(8)

            def flip(data: bytes, at: int = at, bit: int = bit) -> bytes:
                return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]

            _tamper(place, Path(folder) / "flipped", journal, flip)
            # A flipped tail cannot be told from a torn one; what lies before it must be refused.
            turns = TURNS - 1 if at >= sizes[-2] else None
            _look(open_store, Path(folder) / "flipped", counts, turns, f"bit {bit} of byte {at}")
    return counts


def _made(open_store: Open, place: Path) -> tuple[Path, Path, list[int]]:
    """A store with a few turns, its journal, and how long it was after each."""
    place.mkdir()
    sizes: list[int] = []

    async def make() -> None:
        store = open_store(place, DISK)
        for number in range(TURNS):
            run_id, text = f"r{number}", _TEXT.format(number)
            lease = await store.begin(KEY, Turn(run_id, text))
            await store.put(lease, [Record("n", "done", output=text)])
            sizes.append(_journal(place).stat().st_size)
            turn = Turn(run_id, text, status="done", answer=text)
            await store.finish(lease, turn, Change({run_id: text}))
        sizes.append(_journal(place).stat().st_size)
        await store.close()

    at_peace(make)
    return place, _journal(place).relative_to(place), sizes


def _journal(place: Path) -> Path:
    return max(place.rglob("*.jsonl"), key=lambda path: path.stat().st_size)


def _tamper(made: Path, place: Path, journal: Path, change: Callable[[bytes], bytes]) -> None:
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(made, place)
    file = place / journal
    file.write_bytes(change(file.read_bytes()))


def _look(open_store: Open, place: Path, counts: Counts, turns: int | None, where: str) -> None:
    """What is there must be right; `turns` done turns must be there, None if it may be refused."""
    counts.trials += 1
    counts.acknowledged += TURNS

    def guarded(look: Callable[[Store], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            try:
                store = open_store(place, DISK)
                await look(store)
                await store.close()
            except StoreError as error:
                if turns is not None:
                    counts.note(f"{where}: {error}", "unreadable")
            except (ValueError, KeyError, TypeError) as error:
                counts.note(f"{where}: {error!r}", "unreadable")

        return run

    async def read(store: Store) -> None:
        found = await store.turns(KEY)
        if len(found) < (turns or 0):
            counts.note(f"{where}: {len(found)} turns", "lost")
        for number, turn in enumerate(found):
            text = _TEXT.format(number)
            run = await store.run(KEY, turn.run_id)
            told = (turn.run_id, turn.input, turn.answer, run and run.records["n"].output)
            if told != (f"r{number}", text, text, text):
                counts.note(f"{where}: {told}", "wrong")
        head = await store.head(KEY)
        for run_id, text in head.state.items() if head else ():
            if run_id != "more" and text != _TEXT.format(run_id[1:]):
                counts.note(f"{where}: state {run_id}: {text}", "wrong")

    async def write(store: Store) -> None:
        lease = await store.begin(KEY, Turn("more", "x"))
        await store.finish(lease, Turn("more", "x", status="done"), Change({"more": 1}))

    at_peace(guarded(read))
    at_peace(guarded(write))
    at_peace(guarded(lambda store: _count(store, counts, turns, where)))


async def _count(store: Store, counts: Counts, turns: int | None, where: str) -> None:
    """What was written afterwards is there, behind all that was there before."""
    found = await store.turns(KEY)
    if turns is not None and [turn.run_id for turn in found[turns:]][-1:] != ["more"]:
        counts.note(f"{where}: written afterwards and not there", "lost")
