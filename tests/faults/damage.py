"""A journal that is cut at every byte of its last transaction, or has bits flipped anywhere."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from teamgraph import Change, Record, Store, Turn
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import StoreError

from .judge import Counts, Open, at_peace
from .said import KEY

TURNS = 4
_TEXT = "a text of the node, and the number of its turn: {}"


def cuts(open_store: Open, trials: int, seed: int) -> Counts:
    """Cut at every byte from the last transaction on: it is there as a whole or not at all."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        place, journal, last = _made(open_store, Path(folder) / "made")
        size = (place / journal).stat().st_size
        places = list(range(last.start, size + 1))
        random.Random(seed).shuffle(places)
        for at in sorted(places[:trials]):
            _tamper(place, Path(folder) / "cut", journal, lambda data, at=at: data[:at])
            needed = TURNS if at >= last.stop else TURNS - 1
            where = f"cut at byte {at}"
            Look(open_store, Path(folder) / "cut", counts, needed, False, where).whole()
    return counts


def flips(open_store: Open, trials: int, seed: int) -> Counts:
    """Flip a bit: what is served is right, or refused in words."""
    chosen = random.Random(seed)
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        place, journal, last = _made(open_store, Path(folder) / "made")
        size = (place / journal).stat().st_size
        for _ in range(trials):
            at, bit = chosen.randrange(size), 1 << chosen.randrange(8)

            def flip(data: bytes, at: int = at, bit: int = bit) -> bytes:
                return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]

            _tamper(place, Path(folder) / "flipped", journal, flip)
            # What says that all before it is there may itself be torn; but that it must not miss.
            where = f"bit {bit} of byte {at}"
            may_refuse = at < last.stop
            Look(open_store, Path(folder) / "flipped", counts, TURNS, may_refuse, where).whole()
    return counts


def _made(open_store: Open, place: Path) -> tuple[Path, Path, range]:
    """A store with a few turns, its journal, and where the end of the last turn stands in it."""
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
        await store.close()

    at_peace(make)
    data = _journal(place).read_bytes()
    end = data.index(b"\n", data.rindex(_TEXT.format(TURNS - 1).encode())) + 1
    return place, _journal(place).relative_to(place), range(sizes[-1], end)


def _journal(place: Path) -> Path:
    return max(place.rglob("*.jsonl"), key=lambda path: path.stat().st_size)


def _tamper(made: Path, place: Path, journal: Path, change: Callable[[bytes], bytes]) -> None:
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(made, place)
    file = place / journal
    file.write_bytes(change(file.read_bytes()))


@dataclass(frozen=True)
class Look:
    """How a store is looked at that was tampered with.

    At least so many turns are `needed`; where it `may_refuse`, an error in words will do instead.
    """

    open_store: Open
    place: Path
    counts: Counts
    needed: int
    may_refuse: bool
    where: str

    def whole(self) -> None:
        """Read it, write to it, and read again."""
        self.counts.trials += 1
        self.counts.acknowledged += TURNS
        for look in (self._read, self._write, self._read_on):
            at_peace(lambda look=look: self._guarded(look))

    async def _guarded(self, look: Callable[[Store], Awaitable[None]]) -> None:
        try:
            store = self.open_store(self.place, DISK)
            try:
                await look(store)
            finally:
                await store.close()
        except StoreError as error:
            if not self.may_refuse:
                self._note(str(error), "unreadable")
        except (ValueError, KeyError, TypeError) as error:
            self._note(repr(error), "unreadable")

    async def _read(self, store: Store) -> None:
        found = await store.turns(KEY)
        if len(found) < self.needed:
            self._note(f"{len(found)} turns", "lost")
        for number, turn in enumerate(found):
            text = _TEXT.format(number)
            run = await store.run(KEY, turn.run_id)
            told = (turn.run_id, turn.input, turn.answer, run and run.records["n"].output)
            if told != (f"r{number}", text, text, text):
                self._note(str(told), "wrong")
        head = await store.head(KEY)
        for run_id, text in head.state.items() if head else ():
            if text != _TEXT.format(run_id[1:]):
                self._note(f"state {run_id}: {text}", "wrong")

    async def _write(self, store: Store) -> None:
        lease = await store.begin(KEY, Turn("more", "x"))
        await store.finish(lease, Turn("more", "x", status="done"), Change())

    async def _read_on(self, store: Store) -> None:
        """What was written is there, behind all that was there before."""
        run_ids = [turn.run_id for turn in await store.turns(KEY)]
        if len(run_ids) <= self.needed or run_ids[-1] != "more":
            self._note(f"{run_ids} after one more turn", "lost")

    def _note(self, what: str, count: str) -> None:
        self.counts.note(f"{self.where}: {what}", count)
