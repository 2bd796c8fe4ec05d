"""The order of a user's sessions: a file with their names, that of the latest activity last.

The file `activity.log` beside the journals has lines of the same length. The first says that it is
complete; each other is the name of a session's file, and the last one of a name counts. It is
appended to when a run begins or ends in another session than the last one did, so the newest
sessions are read from its end, however many there are, and no clock decides. Journals that it does
not name (a copy from a backup), or all if it is missing or was not finished, come by their times.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import TypeAlias

from ..journal.disk import Disk, OpenFile, chunks, lock_file, opened, remove_file, write_at

ACTIVITY, RUNS = "activity.log", "runs.index"
"""The file, and what was learnt of the sessions up to some place in it."""
_HEAD = b"teamgraph-activity 1".ljust(32) + b"\n"
_LINE = len(_HEAD)
_NAME = re.compile(rb"([0-9a-f]{32})\n")
_CHUNK = _LINE * 256
_LEAST = 256  # lines; a shorter file is never rewritten
Seen: TypeAlias = tuple[int, int]
"""Inode and size of the file: while both stay, nothing was appended."""
FileOffset: TypeAlias = tuple[int, int]
"""Inode of the file, and an offset into it."""


class ActivityLog:
    """The activity file of one user.

    `scan` gives the names of the journals but those that it is called with, by their times.
    """

    def __init__(
        self, directory: Path, disk: Disk, scan: Callable[[Set[str]], list[str]], *, is_synced: bool
    ) -> None:
        self.directory = directory
        self.path = directory / ACTIVITY
        self._name = os.fspath(self.path)
        self._disk = disk
        self._scan = scan
        self._is_synced = is_synced

    def append(self, name: str, seen: Seen | None = None) -> Seen:
        """Make a session the latest one; one that is already, as of `seen`, costs one `stat`."""
        if seen is not None and self.seen() == seen:
            return seen
        line = f"{name}\n".encode()
        file, size = self._locked(name)
        try:
            end = size - size % _LINE  # a killed process may have left half a line
            if self._disk.read(file.descriptor, _LINE, end - _LINE) != line:
                write_at(self._disk, file.descriptor, line, end)
                end += _LINE
            count = end // _LINE
            if count >= _LEAST and not count & (count - 1):
                self._rewrite(file)
        finally:
            file.close()
        return file.inode, end

    def names(self) -> Iterator[str]:
        """The names of the sessions, the latest first; some may be deleted.

        Journals that the file does not name follow, by their times, so that the directory is read
        only by whoever reads to the end.
        """
        found: set[str] = set()
        for name in self._logged():
            if name not in found:
                found.add(name)
                yield name
        yield from self._scan(found)

    def seen(self) -> Seen | None:
        """Inode and size of the file now; None if there is none."""
        try:
            status = self._disk.status(self._name)
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_size

    def names_since(self, end: int) -> set[str]:
        """The names in the file from the line before byte `end` on.

        That one too: a session is not named again while it is the last.
        """
        with opened(self._disk, self.path) as file:
            data = b"".join(chunks(self._disk, file, max(_LINE, end - end % _LINE - _LINE)))
        return {name.decode() for name in _NAME.findall(data)}

    def _logged(self) -> Iterator[str]:
        """The names in the file from its end, some repeatedly; none if it is not complete.

        The file is open only while a part of it is read: whoever lists may stop anywhere.
        """
        before: FileOffset | None = None
        while before is None or before[1] > _LINE:
            try:
                with opened(self._disk, self.path) as file:
                    lines, before = self._part(file, before)
            except FileNotFoundError:
                return
            yield from (name.decode() for name in reversed(_NAME.findall(lines)))

    def _part(self, file: int, before: FileOffset | None) -> tuple[bytes, FileOffset]:
        """The lines before those read last, and where they begin; if it was replaced, the last."""
        status = self._disk.status(file)
        if self._disk.read(file, _LINE, 0) != _HEAD:
            return b"", (status.st_ino, 0)
        end = status.st_size - status.st_size % _LINE
        if before is not None and before[0] == status.st_ino:
            end = before[1]
        start = max(_LINE, end - _CHUNK)
        return self._disk.read(file, end - start, start), (status.st_ino, start)

    def _locked(self, name: str) -> tuple[OpenFile, int]:
        """The complete file, locked until it is closed, and its size; `name` will be appended."""
        while True:
            file = OpenFile(self._disk, self.path, create=True)
            try:
                lock_file(self._disk, file.descriptor, self.path)
                seen = self.seen()
                if seen is not None and seen[0] == file.inode:
                    return file, self._completed(file, seen[1], name)
            except BaseException:
                file.close()
                raise
            file.close()

    def _completed(self, file: OpenFile, size: int, name: str) -> int:
        """The size of a locked file, which is filled first unless it is complete."""
        if self._disk.read(file.descriptor, _LINE, 0) == _HEAD:
            return size
        self._fill(file, [one.encode() for one in self._scan({name})])
        return self._disk.status(file.descriptor).st_size

    def _fill(self, file: OpenFile, latest_first: list[bytes]) -> None:
        """Write the names, then the first line, which says that they are there."""
        if latest_first:
            remove_file(self._disk, self.path.with_name(RUNS))  # it is of another file
        data = b"".join(name + b"\n" for name in reversed(latest_first))
        write_at(self._disk, file.descriptor, data, _LINE)
        if self._is_synced and latest_first:
            self._disk.sync(file.descriptor)
        write_at(self._disk, file.descriptor, _HEAD, 0)

    def _rewrite(self, file: OpenFile) -> None:
        """Replace the file by one that has each name once, if that is half as long."""
        lines = b"".join(chunks(self._disk, file.descriptor))
        latest_first = list(dict.fromkeys(reversed(_NAME.findall(lines))))
        if 2 * _LINE * len(latest_first) > len(lines):
            return
        temporary = self.path.with_suffix(".tmp")
        new = OpenFile(self._disk, temporary, create=True, extra=os.O_TRUNC)
        try:
            self._fill(new, latest_first)
            new.rename(self.path)
        finally:
            new.close()
