"""What takes bytes out of journals for good: writing one anew, and deleting it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from msgspec.structs import replace

from . import files
from .disk import Disk, failure
from .header import Format
from .journal_file import JournalFile
from .line import MARK, Operation, Transaction, pack
from .medium import Medium
from .open_file import OpenFile

KEPT = (".torn", ".damaged")
"""What is kept of writes that were cut, and of a file that was salvaged."""
ASIDE = (*KEPT, ".tmp", ".seized", ".lock")
_WORTH_IT = 1 << 20


def is_bloated(journal: JournalFile) -> bool:
    """Whether compaction is worth its cost: more than half of a large file counts no more."""
    end = journal.index.end
    return end > _WORTH_IT and journal.index.live * 2 < end


def compact(journal: JournalFile, form: Format | None = None) -> None:
    """Write a journal anew without what counts no more, or in another format.

    The new file takes the place of the old one in one step, so that a process may be killed at
    any moment; readers go on with the file that they have open.
    """
    with journal.exclusive():
        try:
            _compact(journal, form or journal.medium.form)
        except OSError as error:
            raise failure(error, journal.path) from error


def upgrade(path: Path, medium: Medium, version: int) -> None:
    """Write a journal of an older version anew, in the version of `medium`."""
    older = replace(medium, form=Format(version))
    with closing(JournalFile(path, older, owner={}, create=False)) as journal:
        compact(journal, medium.form)


def forget_torn(disk: Disk, path: Path) -> None:
    """Delete what was kept aside of a journal."""
    try:
        for suffix in KEPT:
            files.remove(disk, path.with_suffix(suffix))
    except OSError as error:
        raise failure(error, path) from error


def delete_journal(disk: Disk, path: Path, *, sync: bool) -> bool:
    """Delete a journal and what lies beside it, damaged or not; False if there was nothing in it.

    Whoever has it open finds it `Gone`.
    """
    try:
        with files.opened(disk, path, os.O_RDWR) as file:
            files.lock(disk, file, path)
            was_there = disk.status(file).st_size > 0
            for suffix in (*ASIDE, path.suffix):
                files.remove(disk, path.with_suffix(suffix))
        if sync:
            disk.sync_directory(path.parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise failure(error, path) from error
    return was_there


def _compact(journal: JournalFile, form: Format) -> None:
    medium, disk = journal.medium, journal.medium.disk
    temporary = journal.path.with_suffix(".tmp")
    file = OpenFile(disk, temporary, create=True, extra=os.O_TRUNC)
    try:
        files.lock(disk, file.descriptor, temporary)
        transactions = _copy(journal, form, file.descriptor)
        disk.touch(temporary, disk.status(journal.path).st_mtime_ns)
        if medium.is_synced:
            file.sync()
        file.rename(journal.path)
    except BaseException:
        file.close()
        with suppress(OSError):
            disk.remove(temporary)
        raise
    journal.replace(file, transactions)
    if medium.is_synced:
        disk.sync_directory(journal.path.parent)


def _copy(journal: JournalFile, form: Format, file: int) -> list[Transaction]:
    """Write what counts, each document a transaction of its own: a bad byte costs no other.

    All of it is synced before it gets its name, if anything is; so it may vouch for itself.
    """
    sequence, offset = journal.index.sequence, 0
    transactions: list[Transaction] = []
    for operation in _kept(journal, form):
        sequence += 1
        synced = offset if operation is MARK else None
        data, transaction = pack([operation], sequence, offset, synced)
        files.write_at(journal.medium.disk, file, data, offset)
        transactions.append(transaction)
        offset = transaction.end
    return transactions


def _kept(journal: JournalFile, form: Format) -> Iterator[Operation]:
    yield journal.header(form.version).operation()
    for table, slots in list(journal.index.tables.items()):
        if not slots:
            yield Operation("e", table)
        for document, slot in slots.items():
            operation = Operation("p", table, document, slot.key, journal.text(slot))
            yield form.upgraded(operation, journal.medium.form.version)
    if journal.medium.is_synced:
        yield MARK
