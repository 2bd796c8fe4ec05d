"""The bytes of attachments in a store: a file for each, beside the journal of their session.

    users/<2 hex>/<user>/<session>.<sha256>.attached

They are written, and synced, before the turn that names them. No link is followed, and what is read
must have the hash that its file is named by.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from ..errors import DamagedStore, StoreError
from .journal.compaction import ATTACHED
from .journal.disk import Disk, chunks, opened, remove_file, replace_file, store_error

_HASH = re.compile("[0-9a-f]{64}")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has none


def attachment_file(journal: Path, digest: str) -> Path:
    """The file of an attachment; raises `StoreError` if that is no hash."""
    if not _HASH.fullmatch(digest):
        raise StoreError(f"{digest[:70]!r} is no sha256, by which attachments are stored; give one")
    return journal.with_name(f"{journal.stem}.{digest}{ATTACHED}")


def put_file(disk: Disk, path: Path, data: bytes, *, sync: bool) -> None:
    """Write an attachment, whole or not at all; one that is there is only marked as used."""
    try:
        if _size(disk, path) == len(data):
            with suppress(PermissionError):  # of another owner
                disk.touch(path)
            return
        replace_file(disk, path, data, sync=sync)
    except OSError as error:
        raise store_error(error, path) from error


def read_attachment(disk: Disk, path: Path) -> bytes | None:
    """The bytes of an attachment, None if there is none; `DamagedStore` if they are others."""
    try:
        with opened(disk, path, os.O_RDONLY | _NO_LINK) as file:
            data = b"".join(chunks(disk, file))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(error, path) from error
    if sha256(data).hexdigest() != hash_in(path):
        raise DamagedStore(
            f"{path}: the attachment is damaged; restore the file from a backup, or delete it"
        )
    return data


def remove_unnamed(disk: Disk, journal: Path, named: Collection[str]) -> None:
    """Delete the attachments beside a journal whose hashes are not among those that turns name."""
    try:
        for path in _files(disk, journal.parent):
            if path.name.startswith(f"{journal.stem}.") and hash_in(path) not in named:
                remove_file(disk, path)
    except OSError as error:
        raise store_error(error, journal) from error


def remove_orphans(disk: Disk, directory: Path) -> None:
    """Delete the attachments in the directory of a user that has no session any more."""
    try:
        for path in _files(disk, directory):
            if not journal_of(path).exists():
                remove_file(disk, path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise store_error(error, directory) from error


def hash_in(path: Path) -> str:
    """The hash in the name of an attachment's file."""
    return path.name.split(".")[1]


def journal_of(path: Path) -> Path:
    """The journal of the session that an attachment's file belongs to."""
    return path.with_name(f"{path.name.split('.')[0]}.jsonl")


def _files(disk: Disk, directory: Path) -> list[Path]:
    return [directory / name for name in disk.names(directory) if name.endswith(ATTACHED)]


def _size(disk: Disk, path: Path) -> int | None:
    try:
        with opened(disk, path, os.O_RDONLY | _NO_LINK) as file:
            return disk.status(file).st_size
    except FileNotFoundError:
        return None
