"""The lines of a journal: one JSON object for each operation on a document.

    {"c":"<crc32>","q":<sequence>,"s":<synced>,"n":<lines left>,
     "o":"d","t":"runs","i":7,"k":[...],"d":{...}}

`c` guards the rest of the line. All lines of a transaction have one sequence number, one more
than the transaction before; it counts once its last line is there, the one without `n`. `s` is up
to which byte the file was known to have reached the disk; a line without it vouches for all that
stands before its transaction. A line without `o` puts a document. `k` is what a store wants to know
of a document without reading it, or null.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias
from zlib import crc32

from msgspec import Struct

from ..compact_json import dump, parse

Verb: TypeAlias = Literal["p", "d", "e", "x", "h", "m"]
_PREFIX = len('{"c":"00000000",')
_LINE = re.compile(
    rb'\{"c":"([0-9a-f]{8})","q":(\d+),(?:"s":(\d+),)?(?:"n":(\d+),)?(?:"o":"([dexhm])",)?'
    rb'"t":("(?:[^"\\]|\\.)*+"),"i":(-?\d+),'
    rb'"k":(null|\[(?:[^"\]]|"(?:[^"\\]|\\.)*+")*+\]),"d":'
)
_START = re.compile(rb'\{"c":"[0-9a-f]{8}","q":')
_BY_LETTER: dict[bytes | None, Verb] = {
    None: "p",
    b"d": "d",
    b"e": "e",
    b"x": "x",
    b"h": "h",
    b"m": "m",
}
_VERBS: dict[Verb, bytes] = {
    verb: b'"o":"%b",' % letter if letter else b"" for letter, verb in _BY_LETTER.items()
}


class Operation(Struct, frozen=True, gc=False):
    """What is done: `p` put a document, `d` delete it, `e` empty a table, `x` drop it, `h` header.

    `m`, a mark, does nothing: it is there for the line's `s`, right after a sync.
    `document` is the number of the document as text, `key` a JSON array or `null`, `data` JSON.
    """

    verb: Verb
    table: str
    document: str = "0"
    key: bytes = b"null"
    data: bytes = b"null"


MARK = Operation("m", "")


class Slot(Struct, frozen=True, gc=False):
    """Where a document lies in the file: its JSON, and the length of the whole line."""

    offset: int
    length: int
    line: int
    key: bytes

    def cut(self, buffer: bytes, offset: int) -> bytes:
        """The JSON, out of a part of the file that begins at `offset`."""
        start = self.offset - offset
        return buffer[start : start + self.length]


class Entry(Struct, frozen=True, gc=False):
    """An operation as it stands in a file."""

    verb: Verb
    table: str
    document: str
    slot: Slot


class Transaction(Struct, frozen=True, gc=False):
    """Lines that count together; `end` is the offset behind the last.

    Up to byte `synced` they vouch for the file.
    """

    sequence: int
    entries: Sequence[Entry]
    end: int
    synced: int = 0


def pack(
    operations: Sequence[Operation], sequence: int, offset: int, synced: int | None = None
) -> tuple[bytes, Transaction]:
    """The lines of one transaction, to be written at `offset`."""
    begin = b'"q":%d,' % sequence if synced is None else b'"q":%d,"s":%d,' % (sequence, synced)
    lines: list[bytes] = []
    entries: list[Entry] = []
    left = len(operations)
    for operation in operations:
        left -= 1
        rest = b'%b%b%b"t":%b,"i":%b,"k":%b,"d":%b}' % (
            begin,
            b'"n":%d,' % left if left else b"",
            _VERBS[operation.verb],
            _table(operation.table),
            operation.document.encode(),
            operation.key,
            operation.data,
        )
        line = b'{"c":"%08x",%b\n' % (crc32(rest), rest)
        lines.append(line)
        size, length = len(line), len(operation.data)
        slot = Slot(offset + size - length - 2, length, size, operation.key)
        entries.append(Entry(operation.verb, operation.table, operation.document, slot))
        offset += size
    return b"".join(lines), Transaction(sequence, entries, offset, synced or 0)


def unpack(buffer: bytes, offset: int) -> Iterator[Transaction | None]:
    """The whole transactions in a part of a file that begins at `offset`; None for a bad line.

    Nothing comes after a bad line, nor after a transaction whose end is not there yet.
    """
    position = 0
    entries: list[Entry] = []
    current, left = b"", 0
    while (end := buffer.find(b"\n", position)) >= 0:
        match = _LINE.match(buffer, position, end)
        if match is None or not _is_whole(buffer, position, end, match[1]):
            break
        if entries and (match[2], int(match[4] or 0)) != (current, left - 1):
            break
        current, left = match[2], int(match[4] or 0)
        start = match.end()
        slot = Slot(offset + start, end - 1 - start, end + 1 - position, match[8])
        entries.append(Entry(_BY_LETTER[match[5]], _name(match[6]), match[7].decode(), slot))
        position = end + 1
        if not left:
            yield Transaction(int(current), entries, offset + position, int(match[3] or 0))
            entries = []
    if end >= 0:
        yield None


def claims(buffer: bytes) -> Iterator[tuple[int, int | None]]:
    """Sequence number and `s` of all lines that are whole, whatever lies between them."""
    for start in _START.finditer(buffer):
        end = buffer.find(b"\n", start.end())
        match = _LINE.match(buffer, start.start(), max(end, 0))
        if match is not None and _is_whole(buffer, start.start(), end, match[1]):
            yield int(match[2]), int(match[3]) if match[3] else None


def header_data(line: bytes) -> bytes | None:
    """The JSON of the header that a file's first line is, or None."""
    end = line.find(b"\n")
    match = _LINE.match(line, 0, max(end, 0))
    if match is None or match[5] != b"h" or not _is_whole(line, 0, end, match[1]):
        return None
    return line[match.end() : end - 1]


def _is_whole(buffer: bytes, start: int, end: int, check: bytes) -> bool:
    return crc32(memoryview(buffer)[start + _PREFIX : end]) == int(check, 16)


@lru_cache(maxsize=64)
def _table(name: str) -> bytes:
    return dump(name)


@lru_cache(maxsize=64)
def _name(table: bytes) -> str:
    return str(parse(table))
