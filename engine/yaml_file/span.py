"""From a character of a parsed text back to where it was written.

A literal block keeps its lines, so the line is counted and the indentation added. Every other
style changes nothing but white space, doubled quotes and escapes, so raw and parsed text are
walked side by side.
"""

from __future__ import annotations

import re

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
