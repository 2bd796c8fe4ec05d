"""What is asked of the operating system."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from teamgraph.engine.stores.journal.disk import (
    DISK,
    append_or_undo,
    contains,
    read_whole,
    replace_file,
    store_error,
)
from teamgraph.engine.stores.journal.journal_file import JournalFile, JournalSettings
from teamgraph.engine.stores.journal.line import Operation
from teamgraph.engine.stores.tinydb.directory import SessionDirectory
from teamgraph.errors import StoreError


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let the system refuse larger files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """An open file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_write_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as descriptor:
        append_or_undo(DISK, descriptor, b"kept", 0)
        with files_up_to(100), pytest.raises(OSError, match="too large"):
            append_or_undo(DISK, descriptor, b"x" * 1000, 4)
        assert DISK.read(descriptor, 1000, 0) == b"kept"


def test_a_whole_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(DISK, path, b"old", sync=False)
    with files_up_to(100), pytest.raises(OSError, match="too large"):
        replace_file(DISK, path, b"x" * 1000, sync=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_journal_works_after_a_write_that_did_not_fit(tmp_path: Path) -> None:
    journal = JournalFile(
        tmp_path / "s.jsonl", JournalSettings(sync="always"), owner={}, create=True
    )
    with journal.exclusive():
        journal.commit([Operation("p", "t", "1", data=b"1")])
        with files_up_to(1000), pytest.raises(StoreError, match="make room there"):
            journal.commit([Operation("p", "t", "2", data=b'"' + b"x" * 2000 + b'"')])
        journal.commit([Operation("p", "t", "3", data=b"3")])
    journal.close()
    again = JournalFile(tmp_path / "s.jsonl", JournalSettings(sync="never"), owner={}, create=False)
    assert list(again.index.tables["t"]) == ["1", "3"]
    again.close()


def test_a_prompt_that_does_not_fit_raises_and_can_be_stored_later(tmp_path: Path) -> None:
    directory = SessionDirectory(tmp_path, JournalSettings(sync="never"), handles=1)
    directory.put_prompt("small", {"a": "b"})
    with files_up_to(100), pytest.raises(StoreError, match="make room there"):
        directory.put_prompt("large", {"a": "x" * 1000})
    assert directory.prompt("large") is None
    directory.put_prompt("large", {"a": "x" * 1000})
    assert directory.prompt("large") == {"a": "x" * 1000}


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "give this user the right"),
        (errno.EACCES, "give this user the right"),
        (errno.ENOTDIR, "a store is a directory"),
        (errno.EIO, "check the disk"),
        (errno.EINTR, "try again"),
        (errno.EMFILE, "allow this process more open files"),
    ],
)
def test_a_failure_names_the_path_and_the_way_on(number: int, way: str) -> None:
    error = store_error(OSError(number, os.strerror(number)), Path("place"))
    assert str(error).startswith(f"place: {os.strerror(number).lower()}; {way}")


@pytest.mark.parametrize("length", [0, 1, 1 << 16, (1 << 16) + 3, (1 << 16) + (1 << 20) + 3])
def test_a_file_is_read_whole_in_as_many_parts_as_it_needs(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    data = (bytes(max(0, length - 6)) + b"needle")[:length]  # it lies across two parts
    path.write_bytes(data)
    assert read_whole(DISK, path) == data
    assert contains(DISK, path, b"needle") == (length > 1)
