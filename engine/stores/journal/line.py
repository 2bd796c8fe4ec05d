"""Line format of a journal: one JSON object with a CRC for each operation on a document.

    {"c":"<crc32>","q":<sequence>,"s":<synced>,"n":<lines left>,
     "o":"d","t":"runs","i":7,"k":[...],"d":{...}}

`c` is the CRC-32 of the rest of the line. All lines of a transaction have one sequence number, one
more than the transaction before; the transaction counts once its last line is written, the one
without `n`. `s` is the byte up to which the file was known to be synced; a line without it claims
that everything before its transaction was. A line without `o` puts a document. `k` is what a store
indexes of a document without parsing it, or null. The first line is the `Header`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from zlib import crc32

from msgspec import DecodeError, Struct, field
from msgspec.json import Decoder, Encoder
from pydantic_core import PydanticSerializationError, from_json, to_json

from ...errors import DamagedStore, InputError, UnknownVersion

Document: TypeAlias = dict[str, Any]
_ENCODER, _DECODER = Encoder(), Decoder()
RECOVER = (
    "restore the file from a backup, or recover the rest with `teamgraph store repair --salvage`"
)
"""The way on where one document of a session cannot be read."""


def dump_json(value: object) -> bytes:
    """Encode a value; raises `InputError` for what JSON cannot represent."""
    try:
        return to_json(value, inf_nan_mode="constants", fallback=_as_builtin)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        return _dump_slowly(value, error)


def parse_json(data: bytes) -> object:
    """Decode what `dump_json` wrote; raises `DamagedStore` for invalid JSON."""
    try:
        return cast("object", from_json(data))
    except ValueError:
        return _parse_slowly(data)


def parse_document(data: bytes) -> Document:
    """Decode a mapping; raises `DamagedStore` for anything else."""
    document = parse_json(data)
    if not isinstance(document, dict):
        raise DamagedStore(f"a stored document is not a mapping; {RECOVER}")
    return cast("Document", document)


def dump_key(key: Sequence[str | int]) -> bytes:
    """Encode a key as `dump_json` does, in a fifth of its time."""
    try:
        return _ENCODER.encode(key)
    except (TypeError, UnicodeEncodeError):  # a subclass of str, or half a surrogate pair
        return dump_json(key)


def parse_key(data: bytes) -> list[Any]:
    """Decode a list; the caller knows that it is one."""
    try:
        return cast("list[Any]", _DECODER.decode(data))
    except DecodeError:
        return cast("list[Any]", parse_json(data))


def _as_builtin(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    if isinstance(value, Sequence):
        return list(cast("Sequence[object]", value))
    raise TypeError(f"a {type(value).__name__} is not JSON")


def _dump_slowly(value: object, reason: Exception) -> bytes:
    """Encode with escapes what UTF-8 cannot encode; raises `InputError` for anything else."""
    try:
        return json.dumps(value, separators=(",", ":"), default=_as_builtin).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"a value cannot be stored: {error}; use text, numbers, lists and mappings"
        ) from reason


def _parse_slowly(data: bytes) -> object:
    try:
        return cast("object", json.loads(data))
    except (ValueError, RecursionError) as error:
        raise DamagedStore(f"a stored document is not valid JSON: {error}; {RECOVER}") from error


Verb: TypeAlias = Literal["p", "d", "e", "x", "h", "m"]
_FORMAT_NAME = "teamgraph-journal"
_PREFIX = len('{"c":"00000000",')
_CHECK = slice(len('{"c":"'), len('{"c":"00000000'))
_LINE = re.compile(
    rb'\{"c":"([0-9a-f]{8})","q":(\d+),(?:"s":(\d+),)?(?:"n":(\d+),)?(?:"o":"([dexhm])",)?'
    rb'"t":("(?:[^"\\]|\\.)*+"),"i":(-?\d+),'
    rb'"k":(null|\[(?:[^"\]]|"(?:[^"\\]|\\.)*+")*+\]),"d":'
)
_START = re.compile(rb'\{"c":"[0-9a-f]{8}","q":')
_VERB_OF: dict[bytes | None, Verb] = {
    None: "p",
    b"d": "d",
    b"e": "e",
    b"x": "x",
    b"h": "h",
    b"m": "m",
}
_VERBS: dict[Verb, bytes] = {
    verb: b'"o":"%b",' % letter if letter else b"" for letter, verb in _VERB_OF.items()
}


class Operation(Struct, frozen=True, gc=False):
    """A change: `p` puts a document, `d` deletes it, `e` empties a table, `x` drops it, `h` header.

    `m`, a mark, changes nothing: it records the line's `s` right after a sync.
    `document` is the number of the document as text, `key` a JSON array or `null`, `data` JSON.
    """

    verb: Verb
    table: str
    document: str = "0"
    key: bytes = b"null"
    data: bytes = b"null"


MARK = Operation("m", "")


class Slot(Struct, frozen=True, gc=False, array_like=True):
    """Position of a document in the file: offset and length of its JSON, length of its line."""

    offset: int
    length: int
    line: int
    key: bytes

    @property
    def start(self) -> int:
        """Where the line begins."""
        return self.offset + self.length + 2 - self.line

    def cut(self, buffer: bytes, offset: int) -> bytes:
        """The JSON, from a buffer that begins at `offset` of the file."""
        start = self.offset - offset
        return buffer[start : start + self.length]

    def checked(self, line: bytes) -> bytes | None:
        """The JSON of the line, None if the line is not intact."""
        try:
            is_intact = _is_intact(line, 0, self.line - 1, line[_CHECK])
        except ValueError:
            return None
        return self.cut(line, self.start) if is_intact else None


class Entry(Struct, frozen=True, gc=False):
    """An operation with the position of its document in the file."""

    verb: Verb
    table: str
    document: str
    slot: Slot


class Transaction(Struct, frozen=True, gc=False):
    """Lines that are committed together; `end` is the offset behind the last.

    They claim that the file was synced up to byte `synced`.
    """

    sequence: int
    entries: Sequence[Entry]
    end: int
    synced: int = 0


Upgrade: TypeAlias = Callable[[Operation], Operation]


class JournalFormat(Struct, frozen=True):
    """The version of the journals that are written, and the upgrades from older ones.

    `upgrades[n]` turns an operation of version n into one of version n + 1.
    """

    version: int = 1
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict[int, Upgrade])

    def check(self, version: object, path: Path) -> int:
        """The version of a journal's header; raises `UnknownVersion` if it cannot be read."""
        if isinstance(version, int) and (version == self.version or version in self.upgrades):
            return version
        raise UnknownVersion(
            f"{path}: it has version {version} and this teamgraph reads version {self.version}; "
            "use the teamgraph that wrote it, or a newer one"
        )

    def upgraded(self, operation: Operation, version: int) -> Operation:
        """An operation of an older version, upgraded to this one."""
        for older in range(version, self.version):
            operation = self.upgrades[older](operation)
        return operation


def _unchanged(operation: Operation) -> Operation:
    return operation


FORMAT = JournalFormat(3, {1: _unchanged, 2: _unchanged})
"""Version 2 may pack the documents of records, version 3 more of them, and those of runs and
summaries (`pack_record`); documents of older versions are read."""


class Header(Struct, frozen=True):
    """First line of a journal: format version, owner, birth mark, next document numbers.

    `born` is unique to each journal created, also under the same path and owner. `next_numbers`
    are the numbers that the next new document of each table gets.
    """

    version: int
    owner: Mapping[str, str | None]
    born: str
    next_numbers: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def read(cls, data: bytes, path: Path, form: JournalFormat) -> Header:
        """Decode a header; raises `UnknownVersion` if a newer teamgraph wrote it."""
        document = parse_document(data)
        if document.get("format") != _FORMAT_NAME:
            raise DamagedStore(f"{path}: it is not a journal of teamgraph; move it away")
        version = form.check(document.get("version"), path)
        owner, born = document.get("owner"), document.get("born")
        if not isinstance(owner, dict) or not isinstance(born, str):
            raise DamagedStore(f"{path}: its first line is damaged; restore it from a backup")
        return cls(version, cast("Mapping[str, str | None]", owner), born, document.get("next", {}))

    def operation(self) -> Operation:
        """The operation that writes the header."""
        document = {
            "format": _FORMAT_NAME,
            "version": self.version,
            "owner": self.owner,
            "born": self.born,
            "next": self.next_numbers,
        }
        return Operation("h", "", data=dump_json(document))

    def must_belong_to(self, owner: Mapping[str, str | None], path: Path) -> None:
        """Raise `DamagedStore` for another owner: the file was moved or copied here."""
        for name, expected in owner.items():
            if self.owner.get(name) != expected:
                raise DamagedStore(
                    f"{path}: it belongs to {name} {self.owner.get(name)!r}, not to {expected!r}; "
                    "move the file back to where it was"
                )


def pack(
    operations: Sequence[Operation], sequence: int, offset: int, synced: int | None = None
) -> tuple[bytes, Transaction]:
    """Encode one transaction, to be written at `offset`."""
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
    """Decode the transactions in a buffer that begins at `offset` of the file; None for a bad line.

    Decoding stops at a bad line, and at a transaction whose last line is missing.
    """
    position = 0
    entries: list[Entry] = []
    current, left = b"", 0
    while (end := buffer.find(b"\n", position)) >= 0:
        match = _LINE.match(buffer, position, end)
        if match is None or not _is_intact(buffer, position, end, match[1]):
            break
        if entries and (match[2], int(match[4] or 0)) != (current, left - 1):
            break
        current, left = match[2], int(match[4] or 0)
        start = match.end()
        slot = Slot(offset + start, end - 1 - start, end + 1 - position, match[8])
        entries.append(Entry(_VERB_OF[match[5]], _name(match[6]), match[7].decode(), slot))
        position = end + 1
        if not left:
            yield Transaction(int(current), entries, offset + position, int(match[3] or 0))
            entries = []
    if end >= 0:
        yield None


def sync_claims(buffer: bytes) -> Iterator[tuple[int, int | None]]:
    """Sequence number and `s` of every intact line, whatever lies between them."""
    for start in _START.finditer(buffer):
        end = buffer.find(b"\n", start.end())
        match = _LINE.match(buffer, start.start(), max(end, 0))
        if match is not None and _is_intact(buffer, start.start(), end, match[1]):
            yield int(match[2]), int(match[3]) if match[3] else None


def header_data(line: bytes) -> bytes | None:
    """The JSON of the header that a file begins with, or None."""
    end = line.find(b"\n")
    match = _LINE.match(line, 0, max(end, 0))
    if match is None or match[5] != b"h" or not _is_intact(line, 0, end, match[1]):
        return None
    return line[match.end() : end - 1]


def _is_intact(buffer: bytes, start: int, end: int, check: bytes) -> bool:
    return crc32(memoryview(buffer)[start + _PREFIX : end]) == int(check, 16)


@lru_cache(maxsize=64)
def _table(name: str) -> bytes:
    return dump_json(name)


@lru_cache(maxsize=64)
def _name(table: bytes) -> str:
    return str(parse_json(table))
