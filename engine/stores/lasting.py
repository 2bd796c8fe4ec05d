"""The name of a journal, which must outlast a power cut as the journal does."""

from __future__ import annotations

from pathlib import Path

from .disk import Disk


class LastingName:
    """Of a file and of the directories above it: without them it is not found again."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._lasts = False

    def sync(self, lasting: set[Path] | None = None) -> None:
        """Make it last, once; raises `OSError` as the system does.

        `lasting` are directories, never removed, whose names are known to do so.
        """
        if self._lasts:
            return
        lasting = set() if lasting is None else lasting
        *near, part = self._path.parents[:2]
        far = () if part in lasting else self._path.parents[2:4]
        for directory in (*near, part, *far):
            self._disk.sync_directory(directory)
        lasting.add(part)
        self._lasts = True
