"""Where a token stands in a template: a line number that also knows its column and offset.

Jinja hands the line number of a token through to every node of its tree without looking at it, so
an `int` that carries more than its value gives each node an exact place.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from jinja2 import TemplateSyntaxError
from jinja2.lexer import Lexer


class Position(int):
    """A line, counted from 1; `column` counts code points from 1, `offset` from 0."""

    column: int
    offset: int

    def __new__(cls, line: int, column: int, offset: int) -> Position:
        self = super().__new__(cls, line)
        self.column = column
        self.offset = offset
        return self


START = Position(1, 1, 0)


class Lines:
    """Where the lines of a text begin; the text has LF line ends only."""

    def __init__(self, text: str) -> None:
        lengths = (len(line) + 1 for line in text.split("\n"))
        self._starts = [0, *accumulate(lengths)]

    def position(self, offset: int) -> Position:
        """The line and column of the character at `offset`."""
        line = min(bisect_right(self._starts, offset), len(self._starts) - 1)
        return Position(line, offset - self._starts[line - 1] + 1, offset)


def with_lf(text: str) -> str:
    """The text with every line end (CRLF, CR) as LF, as Jinja reads it."""
    return re.sub(r"\r\n?", "\n", text)


def position_of(line: int) -> Position:
    """The place that a node's line number carries; column 1 where Jinja made the number itself."""
    return line if isinstance(line, Position) else Position(line, 1, 0)


class PositionLexer(Lexer):
    """Jinja's lexer, with a `Position` for the line of each token and of each error."""

    def tokeniter(
        self,
        source: str,
        name: str | None,
        filename: str | None = None,
        state: str | None = None,
    ) -> Iterator[tuple[int, str, str]]:
        """Yield `(position, token type, value)`; what lies between two values is only space."""
        source = with_lf(source)
        lines = Lines(source)
        begin = end = 0
        tokens = super().tokeniter(source, name, filename, state)
        try:
            for _, token, value in tokens:
                begin = max(source.find(value, end), end)
                end = begin + len(value)
                yield lines.position(begin), token, value
        except TemplateSyntaxError as error:
            # An unclosed comment or raw block is told where it opens, the rest where it stands.
            opened = error.message is not None and error.message.startswith("Missing end of")
            place = lines.position(begin if opened else end)
            raise TemplateSyntaxError(error.message or "", place, name, filename) from error
