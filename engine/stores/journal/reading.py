"""How a journal's file is taken in: transaction by transaction, up to where it is whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ...errors import Conflict, StoreError
from .header import Header
from .index import Index
from .line import unpack
from .medium import Medium
from .open_file import OpenFile
from .torn import keep_aside, must_be_torn

_CHUNK = 1 << 20


class Gone(Conflict):
    """The journal was deleted."""


class Outdated(StoreError):
    """The journal has an older `version` and must be upgraded before it is used."""

    def __init__(self, path: Path, version: int) -> None:
        super().__init__(f"{path}: it has the old version {version}; open it with a store")
        self.version = version


class Reader:
    """Takes the file of a journal into an index.

    `owner` is what the header says of whose the journal is, more than what was expected; `born`
    the mark of its birth, empty until there is one.
    """

    def __init__(
        self, path: Path, medium: Medium, index: Index, owner: Mapping[str, str | None]
    ) -> None:
        self.owner = owner
        self.born = ""
        self._path = path
        self._disk = medium.disk
        self._form = medium.form
        self._index = index

    def opened(self, *, create: bool) -> OpenFile:
        """Open the file; raises `Gone` if it is not there, nor to be made."""
        try:
            return OpenFile(self._disk, self._path, create=create)
        except FileNotFoundError as error:
            raise Gone(f"{self._path}: there is no such journal") from error

    def there(self, file: OpenFile) -> os.stat_result:
        """What has the journal's name by now, perhaps another file; raises `Gone` if none has."""
        try:
            return file.there()
        except FileNotFoundError as error:
            raise Gone(f"{self._path}: the journal was deleted") from error

    def take_in(self, file: OpenFile, size: int) -> bool:
        """Take in the transactions up to `size`; whether something is there that is none."""
        chunk = _CHUNK
        while True:
            start = self._index.end
            wanted = min(chunk, size - start)
            buffer = self._disk.read(file.descriptor, wanted, start)
            for transaction in unpack(buffer, start):
                if transaction is None or not self._index.follows(transaction):
                    return True
                first = transaction.entries[0]
                if first.verb == "h":
                    data = first.slot.cut(buffer, start)
                    self._meet(Header.read(data, self._path, self._form))
                self._index.apply(transaction)
            if start + wanted == size:
                return False
            if self._index.end == start:
                chunk *= 2

    def settle(self, file: OpenFile, size: int) -> None:
        """Cut a torn tail, after one more look from the beginning: a writer may have cut it too.

        A file that may not be written keeps its tail. The file must be locked.
        """
        self._index.forget()
        self.take_in(file, size)
        end = self._index.end
        rest = self._disk.read(file.descriptor, size - end, end)
        if rest:
            must_be_torn(self._path, rest, end, self._index.sequence + 1)
            if file.is_writable:
                keep_aside(self._disk, self._path, rest)
                self._disk.truncate(file.descriptor, end)

    def _meet(self, header: Header) -> None:
        if header.version != self._form.version:
            raise Outdated(self._path, header.version)
        header.must_belong_to(self.owner, self._path)
        if self.born and self.born != header.born:
            raise Gone(f"{self._path}: the session was deleted and begun anew")
        self.born, self.owner = header.born, header.owner
        self._index.reserve(header.next_numbers)
