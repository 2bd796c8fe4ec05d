"""Power losses: what was synced is there, what was not may be missing, or partly there.

A disk that writes down all that it is asked gives the log, and each moment of the log many states
in which the disk may be found afterwards: each file has the first of its unsynced writes, the last
of them partly or as zeros, or of what was not synced some blocks and others not; and each directory
has some of its unsynced names, whatever the others have.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from teamgraph.engine.stores.journal.disk import Disk, Named

from .judge import Counts, Open, judge
from .said import Said, stream

_BLOCKS = (4096, 512, 64)


@dataclass(frozen=True)
class Event:
    """One thing that was done. `inode` is a file, or a directory whose names change.

    `write` data at offset; `cut` to length; `sync`; `name` (path now means file, or nothing if
    file is 0); `names` all names of the directory are synced; `told` what the store acknowledged.
    """

    what: str
    inode: int = 0
    data: bytes = b""
    offset: int = 0
    path: str = ""
    file: int = 0


class LoggingDisk(Disk):
    """Does everything, and writes it down. Below `root` nothing is known to the disk yet.

    Each sync takes `seconds` by its clock: a store may sync a slow disk elsewhere than a quick one.
    """

    def __init__(self, root: Path, seconds: float) -> None:
        self.log: list[Event] = []
        self.root = root
        self._seconds = seconds
        self._late = 0.0

    def now(self) -> float:
        return super().now() + self._late

    def open(self, path: Named, flags: int) -> int:
        is_new = not os.path.lexists(path)
        file = super().open(path, flags)
        inode = os.fstat(file).st_ino
        if is_new:
            self._name(path, inode)
        if flags & os.O_TRUNC:
            self.log.append(Event("cut", inode))
        return file

    def write(self, file: int, data: bytes, offset: int) -> int:
        written = super().write(file, data, offset)
        self.log.append(Event("write", os.fstat(file).st_ino, bytes(data[:written]), offset))
        return written

    def truncate(self, file: int, length: int) -> None:
        super().truncate(file, length)
        self.log.append(Event("cut", os.fstat(file).st_ino, offset=length))

    def sync(self, file: int) -> None:
        super().sync(file)
        self._late += self._seconds
        self.log.append(Event("sync", os.fstat(file).st_ino))

    def sync_directory(self, path: Named) -> None:
        super().sync_directory(path)
        self.log.append(Event("names", Path(path).stat().st_ino))

    def rename(self, path: Named, new: Named) -> None:
        inode = Path(path).stat().st_ino
        super().rename(path, new)
        self._name(new, inode)
        self._name(path, 0)

    def remove(self, path: Named) -> None:
        super().remove(path)
        self._name(path, 0)

    def make_directory(self, path: Named) -> None:
        super().make_directory(path)
        self._name(path, Path(path).stat().st_ino)

    def remove_directory(self, path: Named) -> None:
        super().remove_directory(path)
        self._name(path, 0)

    def told(self, text: str) -> None:
        """Write down what the store was asked or acknowledged."""
        self.log.append(Event("told", data=text.encode()))

    def _name(self, path: Named, file: int) -> None:
        parent, name = os.path.split(os.fspath(path))
        self.log.append(Event("name", Path(parent).stat().st_ino, path=name, file=file))


def power(open_store: Open, trials: int, seed: int) -> Counts:
    """Cut the power at any moment of a few turns, and find the disk in any state that may be."""
    chosen = random.Random(seed)
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        disks = [LoggingDisk(Path(folder) / "quick", 0.0), LoggingDisk(Path(folder) / "slow", 0.1)]
        for disk in disks:
            disk.root.mkdir()
            asyncio.run(_write(open_store, disk.root, disk, seed))
        for number in range(trials):
            disk = disks[number % 2]
            moment = chosen.randint(0, len(disk.log))
            found = Path(folder) / f"found{number}"
            Found(disk.log[:moment], chosen).put(disk.root.stat().st_ino, found)
            judge(open_store, found, promised(disk.log[:moment]), counts)
    return counts


async def _write(open_store: Open, place: Path, disk: LoggingDisk, seed: int) -> None:
    store = open_store(place, disk)
    await stream(store, disk.told, random.Random(seed), "p", turns=9)
    await store.close()


def promised(log: Sequence[Event]) -> Said:
    """What must outlast a power cut: turns that were finished; what is under way may be lost."""
    lines = [event.data.decode() for event in log if event.what == "told"]
    said = Said()
    said.take(lines)
    said.kept = {key: text for key, text in said.kept.items() if key[0] in said.done}
    # The deletion of a run is promised as well: it is synced before it is acknowledged.
    return said


class Found:
    """A state in which the disk may be found."""

    def __init__(self, log: Sequence[Event], chosen: random.Random) -> None:
        self._chosen = chosen
        self._texts: dict[int, bytes] = {}
        self._directories: set[int] = set()
        self._names: dict[int, dict[str, int]] = {}
        pending: dict[int, list[Event]] = {}
        for event in log:
            if event.what in ("write", "cut", "name"):
                pending.setdefault(event.inode, []).append(event)
            if event.what == "name":
                self._directories.add(event.inode)
            if event.what in ("sync", "names"):
                self._settle(pending.pop(event.inode, []))
        for events in pending.values():
            self._lose(events)

    def put(self, inode: int, path: Path) -> None:
        """Build the directory that is known by `inode`."""
        path.mkdir()
        for name, file in self._names.get(inode, {}).items():
            if file in self._directories or file not in self._texts:
                self._put_either(file, path / name)
            else:
                (path / name).write_bytes(self._texts[file])

    def _put_either(self, file: int, path: Path) -> None:
        if file in self._directories:
            self.put(file, path)
        elif path.suffix:
            path.touch()
        else:
            path.mkdir()

    def _settle(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.what == "name":
                names = self._names.setdefault(event.inode, {})
                names.pop(event.path, None)
                if event.file:
                    names[event.path] = event.file
            else:
                text = self._texts.get(event.inode, b"")[: event.offset]
                if event.what == "write":
                    whole = self._texts.get(event.inode, b"")
                    text = text.ljust(event.offset, b"\0") + event.data
                    text += whole[len(text) :]
                self._texts[event.inode] = text

    def _lose(self, events: Sequence[Event]) -> None:
        """Keep of a file the first so many or some blocks of them, of a directory any."""
        if events[0].what == "name":
            self._settle([event for event in events if self._chosen.random() < 0.5])
            return
        if self._chosen.random() < 0.5:
            self._keep_first(events)
            return
        inode = events[0].inode
        synced = self._texts.get(inode, b"")
        self._settle(events)
        self._texts[inode] = self._mixed(synced, self._texts[inode])

    def _keep_first(self, events: Sequence[Event]) -> None:
        kept = self._chosen.randint(0, len(events))
        self._settle(events[:kept])
        torn = events[kept : kept + 1]
        if torn and torn[0].what == "write" and self._chosen.random() < 0.7:
            event = torn[0]
            data = event.data[: self._chosen.randint(0, len(event.data))]
            if self._chosen.random() < 0.3:
                data = bytes(len(data))
            self._settle([Event("write", event.inode, data, event.offset)])

    def _mixed(self, old: bytes, new: bytes) -> bytes:
        """Some blocks of a file as they were, with zeros where it was shorter, the others new."""
        size = self._chosen.choice(_BLOCKS)
        length = self._chosen.choice((len(new), max(len(old), len(new))))
        texts = old.ljust(length, b"\0"), new.ljust(length, b"\0")
        return b"".join(
            self._chosen.choice(texts)[at : min(at + size, length)] for at in range(0, length, size)
        )
