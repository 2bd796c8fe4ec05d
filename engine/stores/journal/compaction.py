"""Compaction and deletion of journals: what removes bytes for good."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from msgspec.structs import replace

from .disk import Disk, OpenFile, lock_file, opened, remove_file, store_error, write_at
from .journal_file import SAVED_INDEX, JournalFile, JournalSettings
from .line import MARK, JournalFormat, Operation, Transaction, pack

SET_ASIDE = (".torn", ".damaged")
"""Suffixes of what was cut from a journal, and of a damaged file that was salvaged."""
ATTACHED = ".attached"
"""Suffix of the files of a session's attachments."""
_BESIDE = (*SET_ASIDE, SAVED_INDEX, ATTACHED, ".tmp", ".seized", ".lock", ".run", ".import")


def compact(journal: JournalFile, form: JournalFormat | None = None) -> None:
    """Rewrite a journal without its dead lines, or in another format.

    The new file replaces the old one by a rename, so a process may be killed at any moment.
    Readers continue with the file that they have open, and open the new one at their next look.
    """
    with journal.exclusive():
        try:
            _compact(journal, form or journal.settings.format)
        except OSError as error:
            raise journal.failure(error) from error


def upgrade(path: Path, settings: JournalSettings, version: int) -> None:
    """Rewrite a journal of an older version in the current one."""
    older = replace(settings, format=JournalFormat(version))
    with closing(JournalFile(path, older, owner={}, create=False)) as journal:
        compact(journal, settings.format)


def remove_set_aside(disk: Disk, path: Path) -> None:
    """Delete what was set aside of a journal: torn tails and damaged files."""
    try:
        for suffix in SET_ASIDE:
            remove_file(disk, path.with_suffix(suffix))
    except OSError as error:
        raise store_error(error, path) from error


def delete_journal(disk: Disk, path: Path, *, sync: bool) -> bool:
    """Delete a journal and the files beside it, damaged or not; False if it was empty.

    Others that have it open get `JournalDeleted`.
    """
    try:
        while True:
            with opened(disk, path, os.O_RDWR) as file:
                lock_file(disk, file, path)
                status = disk.status(file)
                if disk.status(path).st_ino != status.st_ino:
                    continue  # a compaction has replaced it
                for name in disk.names(path.parent):
                    if name.startswith(f"{path.stem}.") and name.endswith(_BESIDE):
                        remove_file(disk, path.with_name(name))
                remove_file(disk, path)
                break
        if sync:
            disk.sync_directory(path.parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise store_error(error, path) from error
    return status.st_size > 0


def _compact(journal: JournalFile, form: JournalFormat) -> None:
    settings, disk = journal.settings, journal.settings.disk
    temporary = journal.path.with_suffix(".tmp")
    file = OpenFile(disk, temporary, create=True, extra=os.O_TRUNC)
    try:
        lock_file(disk, file.descriptor, temporary)
        transactions = _copy(journal, form, file.descriptor)
        remove_file(disk, journal.path.with_suffix(SAVED_INDEX))
        disk.touch(temporary, disk.status(journal.path).st_mtime_ns)
        if settings.is_synced:
            file.sync()
        file.rename(journal.path)
    except BaseException:
        file.close()
        with suppress(OSError):
            disk.remove(temporary)
        raise
    journal.replace(file, transactions)
    if settings.is_synced:
        disk.sync_directory(journal.path.parent)


def _copy(journal: JournalFile, form: JournalFormat, file: int) -> list[Transaction]:
    """Write the live documents, each a transaction of its own, so that a bad byte costs one.

    All of it is synced before it is renamed, if anything is; so the mark may claim that.
    """
    sequence, offset = journal.index.sequence, 0
    transactions: list[Transaction] = []
    for operation in _live_operations(journal, form):
        sequence += 1
        synced = offset if operation is MARK else None
        data, transaction = pack([operation], sequence, offset, synced)
        write_at(journal.settings.disk, file, data, offset)
        transactions.append(transaction)
        offset = transaction.end
    return transactions


def _live_operations(journal: JournalFile, form: JournalFormat) -> Iterator[Operation]:
    yield journal.header(form.version).operation()
    for table, slots in list(journal.index.tables.items()):
        if not slots:
            yield Operation("e", table)
        for document, slot in slots.items():
            operation = Operation("p", table, document, slot.key, journal.text(slot))
            yield form.upgraded(operation, journal.settings.format.version)
    if journal.settings.is_synced:
        yield MARK
