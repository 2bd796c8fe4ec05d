"""A YAML file that was read: its data, and where each key, value and word of it stands.

Marks are offsets into the text, kept in a tree of the data's own shape; a line and a column are
computed only when somebody asks.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from msgspec import Struct, field

from ..errors import Path
from ..messages import JSON
from .span import offset_inside

BREAK = re.compile(r"\r\n|\r|\n")


class Place(Struct, frozen=True):
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
    """The content of a YAML file as plain Python, with the place of everything in it.

    `file` is the name that errors show, `text` the whole source without a byte order mark.
    """

    __slots__ = ("_starts", "data", "file", "root", "text")

    def __init__(self, data: dict[str, JSON], *, file: str, text: str, root: Mark) -> None:
        self.data = data
        self.file = file
        self.text = text
        self.root = root
        self._starts = line_starts(text)

    def key(self, path: Path) -> Place:
        """The place of the key or list item that `path` leads to.

        Where the path leads nowhere, the place of the last key on it that is there.
        """
        return self.place(self._find(path)[0].key)

    def value(self, path: Path) -> Place:
        """The place of the value's first character; of its key where nothing is written.

        Where the path leads nowhere, the place of the last value on it that is there.
        """
        return self.place(self._find(path)[0].at)

    def inside(self, path: Path, line: int, column: int) -> Place:
        """The place of a character inside a text, given where it stands in the parsed text.

        Exact for block scalars with `|` and for texts on one line, and for every character but
        white space in all others. What lies outside the text is taken to its nearest end.
        """
        mark, whole = self._find(path)
        if mark.text is None or not whole:
            return self.place(mark.at)
        raw = self.text[mark.start : mark.end]
        return self.place(mark.start + offset_inside(raw, mark.text, mark.style, line, column))

    def place(self, offset: int) -> Place:
        """The line and column of an offset into `text`."""
        return place_at(self._starts, offset)

    def _find(self, path: Path) -> tuple[Mark, bool]:
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


def place_at(starts: list[int], offset: int) -> Place:
    """The line and column of an offset, given where the lines begin."""
    line = bisect_right(starts, offset)
    return Place(line, offset - starts[line - 1] + 1)


def _line_starts(text: str) -> Iterator[int]:
    yield 0
    for match in BREAK.finditer(text):
        yield match.end()
