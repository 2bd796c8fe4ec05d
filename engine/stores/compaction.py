"""What takes bytes out of journals for good: writing one anew, and deleting it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from . import disk
from .header import Header
from .journal_file import JournalFile
from .line import Operation, Transaction, pack

KEPT = (".torn", ".damaged")
"""What is kept of writes that were cut, and of a file that was salvaged."""
ASIDE = (*KEPT, ".tmp", ".lock")
_WORTH_IT = 1 << 20


def is_bloated(journal: JournalFile) -> bool:
    """Whether compaction is worth its cost: more than half of a large file counts no more."""
    end = journal.index.end
    return end > _WORTH_IT and journal.index.live * 2 < end


def compact(journal: JournalFile) -> None:
    """Write a journal anew without what counts no more.

    The new file takes the place of the old one in one step, so that a process may be killed at
    any moment; readers go on with the file that they have open.
    """
    temporary = journal.path.with_suffix(".tmp")
    with journal.exclusive():
        try:
            file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                disk.lock(file, wait=True)
                transactions = _copy(journal, file)
                disk.set_modified(file, disk.modified(journal.path))
                if journal.sync != "never":
                    os.fsync(file)
                temporary.rename(journal.path)
            except BaseException:
                os.close(file)
                with suppress(OSError):
                    temporary.unlink()
                raise
            journal.replace(file, transactions)
            if journal.sync != "never":
                disk.sync_directory(journal.path.parent)
        except OSError as error:
            raise disk.failure(error, journal.path) from error


def forget_torn(path: Path) -> None:
    """Delete what was kept aside of a journal."""
    try:
        for suffix in KEPT:
            path.with_suffix(suffix).unlink(missing_ok=True)
    except OSError as error:
        raise disk.failure(error, path) from error


def delete_journal(path: Path, *, sync: bool) -> bool:
    """Delete a journal and what lies beside it, damaged or not; False if there was nothing in it.

    Whoever has it open finds it `Gone`.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            disk.lock(file, wait=True)
            was_there = os.fstat(file).st_size > 0
            for suffix in (*ASIDE, path.suffix):
                path.with_suffix(suffix).unlink(missing_ok=True)
        finally:
            os.close(file)
        if sync:
            disk.sync_directory(path.parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise disk.failure(error, path) from error
    return was_there


def _copy(journal: JournalFile, file: int) -> list[Transaction]:
    """Write what counts, each document a transaction of its own: a bad byte costs no other."""
    sequence, offset = journal.index.sequence, 0
    transactions: list[Transaction] = []
    for operation in _kept(journal):
        sequence += 1
        data, transaction = pack([operation], sequence, offset)
        disk.write_at(file, data, offset)
        transactions.append(transaction)
        offset = transaction.end
    return transactions


def _kept(journal: JournalFile) -> Iterator[Operation]:
    index = journal.index
    yield Header(journal.owner, journal.born, index.next_numbers()).operation()
    for table, slots in list(index.tables.items()):
        if not slots:
            yield Operation("e", table)
        for document, slot in slots.items():
            yield Operation("p", table, document, slot.key, journal.text(slot))
