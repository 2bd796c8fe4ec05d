"""A parsed YAML file: its data, and the position of each key, value and character.

Marks are offsets into the text, in a tree of the data's own shape; lines and columns are computed
on demand. A position inside a text is found from its place in the parsed text: a literal block
keeps its lines, so the line is counted and the indentation added; every other style changes only
white space, doubled quotes and escapes, so raw and parsed text are walked in parallel.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from msgspec import Struct, field

from ...errors import KeyPath
from ...messages import JSON

_BREAK = re.compile(r"\r\n|\r|\n")
_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|(?:\r\n|\r|\n)[ \t]*|.)"
)
_WHITE_ESCAPES = ("\\n", "\\t", "\\ ", "\\\t", "\\r", "\\N", "\\_", "\\L", "\\P", "\\v", "\\f")
_WHITE = (" ", "\t", "\r", "\n")


def offset_inside(raw: str, text: str, style: str, line: int, column: int) -> int:
    """The offset in `raw` of the character at a line and column (from 1) of the parsed `text`."""
    if not text:
        return 0
    if style == "|":
        return _in_literal(raw, text, line, column)
    lines = text.split("\n")
    row = min(max(line, 1), len(lines))
    index = sum(len(before) + 1 for before in lines[: row - 1])
    index += min(max(column - 1, 0), len(lines[row - 1]))
    begin = _BREAK.search(raw) if style == ">" else None
    start = begin.end() if begin else len(style)
    return _walk(raw, text, start=start, index=index, style=style)


def _in_literal(raw: str, text: str, line: int, column: int) -> int:
    lines = text.split("\n")
    written = [match.end() for match in _BREAK.finditer(raw)]
    row = min(max(line, 1), len(lines), len(written))
    start = written[row - 1]
    ends = _BREAK.search(raw, start)
    source = raw[start : ends.start() if ends else len(raw)]
    indent = len(source) - len(lines[row - 1]) if lines[row - 1] else 0
    return start + min(indent + max(column - 1, 0), len(source))


def _walk(raw: str, text: str, *, start: int, index: int, style: str) -> int:
    """The offset in `raw` of `text[index]`; just after the last character for the end."""
    at = here = start
    for character in text[: index + 1]:
        here = _next(raw, at, character, style)
        at = here + _length(raw, here, character, style)
    return here if index < len(text) else at


def _next(raw: str, at: int, character: str, style: str) -> int:
    """Where `character` is written, at or after `at`: past folded breaks and white space."""
    while skipped := _skipped(raw, at, character, style):
        at += skipped
    return at


def _skipped(raw: str, at: int, character: str, style: str) -> int:
    """How many characters at `at` are written for something else than `character`."""
    escape = _ESCAPE.match(raw, at) if style == '"' else None
    if escape:
        joins = escape[0][1] in "\r\n"
        white = escape[0].startswith(_WHITE_ESCAPES) and not character.isspace()
        return len(escape[0]) if joins or white else 0
    return int(raw.startswith(_WHITE, at) and character not in _WHITE)


def _length(raw: str, at: int, character: str, style: str) -> int:
    """How many characters of `raw` are spent on one parsed character."""
    escape = _ESCAPE.match(raw, at) if style == '"' else None
    if escape:
        return len(escape[0])
    if style == "'" and raw.startswith("''", at):
        return 2
    if raw.startswith("\r\n", at) and character == "\n":
        return 2
    return int(raw.startswith(character, at))


BREAK = re.compile(r"\r\n|\r|\n")


class Position(Struct, frozen=True):
    """A line and a column of a file, both from 1; columns count code points."""

    line: int
    column: int


class Mark(Struct):
    """Where one value stands in the text, as offsets.

    `key` is its key (in a list, the item itself), `at` the first character of the value, `start`
    and `end` enclose what it is made of: the same as `at`, but for an alias the value it copies.
    `style` is the quote or block sign of a scalar, empty for a plain one; `text` is the parsed
    text, None for a value that is not text. `flow` tells a collection in brackets from one that
    is indented.
    """

    key: int
    at: int
    start: int
    end: int
    style: str = ""
    text: str | None = None
    flow: bool = False
    children: dict[str | int, Mark] = field(default_factory=dict["str | int", "Mark"])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written where the value should be."""
        return self.at == self.start == self.end


class Document:
    """The content of a YAML file as plain Python data, with positions.

    `file` is the name that errors show, `text` the whole source without a byte order mark.
    """

    __slots__ = ("_starts", "data", "file", "root", "text")

    def __init__(self, data: dict[str, JSON], *, file: str, text: str, root: Mark) -> None:
        self.data = data
        self.file = file
        self.text = text
        self.root = root
        self._starts = line_starts(text)

    def key(self, path: KeyPath) -> Position:
        """The place of the key or list item that `path` leads to.

        Where the path leads nowhere, the place of the last key on it that is there.
        """
        return self.position(self._find(path)[0].key)

    def value(self, path: KeyPath) -> Position:
        """The place of the value's first character; of its key where nothing is written.

        Where the path leads nowhere, the place of the last value on it that is there.
        """
        return self.position(self._find(path)[0].at)

    def inside(self, path: KeyPath, line: int, column: int) -> Position:
        """The place of a character inside a text, given where it stands in the parsed text.

        Exact for block scalars with `|` and for texts on one line, and for every character but
        white space in all others. What lies outside the text is taken to its nearest end.
        """
        mark, whole = self._find(path)
        if mark.text is None or not whole:
            return self.position(mark.at)
        raw = self.text[mark.start : mark.end]
        return self.position(mark.start + offset_inside(raw, mark.text, mark.style, line, column))

    def position(self, offset: int) -> Position:
        """The line and column of an offset into `text`."""
        return position_at(self._starts, offset)

    def _find(self, path: KeyPath) -> tuple[Mark, bool]:
        """The mark at the end of the path, or of the last key on it; and whether it is the end."""
        mark = self.root
        for part in path:
            child = mark.children.get(part)
            if child is None:
                return mark, False
            mark = child
        return mark, True


def line_starts(text: str) -> list[int]:
    """The offset at which each line begins; lines end with LF, CRLF or CR."""
    return list(_line_starts(text))


def position_at(starts: list[int], offset: int) -> Position:
    """The line and column of an offset, given where the lines begin."""
    line = bisect_right(starts, offset)
    return Position(line, offset - starts[line - 1] + 1)


def _line_starts(text: str) -> Iterator[int]:
    yield 0
    for match in BREAK.finditer(text):
        yield match.end()
