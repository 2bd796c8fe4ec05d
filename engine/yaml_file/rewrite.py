"""Writing a graph file, and writing it again without losing what a person put there.

Where the file exists, the lines of every entry that stays the same are kept as they are, with
their comments and their empty lines; only entries that differ are written anew.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path as FilePath

from msgspec import Struct

from ..errors import DefinitionError, Problem
from ..messages import JSON
from .document import BREAK, Document, Mark
from .reader import parse, read, shown
from .writer import dumps, entry_lines

_COMMENT = re.compile(r"[ \t]+#.*")
_HEAD_COMMENT = re.compile(r":(?:[ \t]*[|>][-+0-9]*)?([ \t]+#.*)$")


def dump(data: Mapping[str, JSON], path: os.PathLike[str] | str, *, header: str = "") -> None:
    """Write the data as a YAML file, whole or not at all.

    Comments of a file that is there already survive where their keys do. `header` is a comment
    for the top; it is not repeated where the file has it. Raises `DefinitionError` if the data
    cannot be written as YAML, or the file cannot be written.
    """
    text = dumps(data)
    old = _existing(path)
    newline = "\r\n" if old is not None and "\r\n" in old.text else "\n"
    if old is not None:
        text = rewritten(old, data, default=text)
    text = _headed(text, header)
    try:
        _write(FilePath(path), text.replace("\n", newline).encode())
    except (OSError, ValueError, RuntimeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        problem = Problem("Y001", f"the file cannot be written: {reason}", file=shown(path))
        raise DefinitionError([problem]) from error


def rewritten(old: Document, data: Mapping[str, JSON], *, default: str) -> str:
    """The text of `old` changed to hold `data`; `default` where that cannot be done safely."""
    lines = _Rewrite(old).lines(data)
    if lines is None:
        return default
    text = "\n".join(lines).rstrip("\n") + "\n"
    with suppress(DefinitionError):
        if dumps(parse(text, old.file).data) == dumps(data):
            return text
    return default


class _Entry(Struct):
    """The lines of one key: comments above it, itself from `first` to `last`, comments below."""

    lead: list[str]
    first: int
    last: int
    tail: list[str]


class _Rewrite:
    """Puts together the old lines of what is unchanged and new lines of what is not."""

    def __init__(self, old: Document) -> None:
        self._old = old
        self._lines = BREAK.split(old.text)

    def lines(self, data: Mapping[str, JSON]) -> list[str] | None:
        """All lines of the new file, or None if the old one is not laid out line by line."""
        root = self._old.root
        column = self._column(root)
        if column != 0 or not data:
            return None
        entries, rest = self._entries(root, column, end=len(self._lines))
        preamble, first = entries[next(iter(entries))].lead, next(iter(entries))
        entries[first].lead = []
        return [*preamble, *self._mapping(entries, root, self._old.data, data), *rest]

    def _mapping(
        self,
        entries: dict[str, _Entry],
        mark: Mark,
        old: Mapping[str, JSON],
        new: Mapping[str, JSON],
    ) -> list[str]:
        column = self._column(mark) or 0
        lines: list[str] = []
        for key, value in new.items():
            entry = entries.get(key)
            if entry is None:
                lines += self._added(key, value, column, lines)
                continue
            lead = entry.lead if lines else _without_leading_blank(entry.lead)
            lines += [
                *lead,
                *self._body(entry, mark.children[key], key, old[key], value),
                *entry.tail,
            ]
        return lines

    def _added(self, key: str, value: JSON, column: int, before: list[str]) -> list[str]:
        lines = _indented(entry_lines(key, value, depth=0), column)
        airy = len(lines) > 1 and before and before[-1].strip()
        return ["", *lines] if airy else lines

    def _body(self, entry: _Entry, mark: Mark, key: str, old: JSON, new: JSON) -> list[str]:
        """The lines of an entry that is in both files."""
        written = entry_lines(key, new, depth=0)
        if written == entry_lines(key, old, depth=0):
            return self._lines[entry.first : entry.last + 1]
        if isinstance(old, Mapping) and isinstance(new, Mapping) and old and new:
            column = self._column(mark)
            if column is not None:
                entries, _ = self._entries(mark, column, end=entry.last + 1, start=entry.first + 1)
                nested = self._mapping(entries, mark, old, new)
                return [self._lines[entry.first], *nested]
        comment = self._comment(entry, mark)
        if comment:
            written[0] += comment
        column = len(self._lines[entry.first]) - len(self._lines[entry.first].lstrip())
        return _indented(written, column)

    def _entries(
        self, mark: Mark, column: int, *, end: int, start: int = 0
    ) -> tuple[dict[str, _Entry], list[str]]:
        """The entries of an indented mapping, and the lines after the last of them."""
        firsts = [self._line(child.key) for child in mark.children.values()]
        entries: dict[str, _Entry] = {}
        lead = self._lines[start : firsts[0]]
        for (key, child), first, following in zip(
            mark.children.items(), firsts, [*firsts[1:], end], strict=True
        ):
            last = max(first, self._last(child))
            after = self._lines[last + 1 : following]
            own = _deeper(after, column)
            entries[str(key)] = _Entry(lead, first, last, after[:own])
            lead = after[own:]
        return entries, lead

    def _column(self, mark: Mark) -> int | None:
        """The indent of a mapping's keys; None unless each of them begins a line of its own."""
        if mark.flow or mark.at != mark.start or not mark.children:
            return None
        columns: set[int] = set()
        for child in mark.children.values():
            place = self._old.place(child.key)
            if self._lines[place.line - 1][: place.column - 1].strip(" "):
                return None
            columns.add(place.column - 1)
        return columns.pop() if len(columns) == 1 else None

    def _last(self, mark: Mark) -> int:
        """The index of the last line of a value; comments after it do not count."""
        if mark.children and not mark.flow and mark.at == mark.start:
            return max(self._last(child) for child in mark.children.values())
        if mark.at != mark.start:
            return self._line(mark.at)
        raw = self._old.text[mark.start : mark.end]
        if mark.style in ("|", ">") and "+" not in raw[:3]:
            raw = raw.rstrip()
        return self._line(mark.start + max(len(raw) - 1, 0))

    def _comment(self, entry: _Entry, mark: Mark) -> str:
        """The comment at the end of an entry's line, with the space before it."""
        if mark.is_empty or mark.style in ("|", ">") or (mark.children and not mark.flow):
            match = _HEAD_COMMENT.search(self._lines[entry.first])
            return match[1] if match else ""
        place = self._old.place(mark.end)
        match = _COMMENT.match(self._lines[place.line - 1], place.column - 1)
        return match[0] if match else ""

    def _line(self, offset: int) -> int:
        return self._old.place(offset).line - 1


def _deeper(lines: list[str], column: int) -> int:
    """How many of the lines after an entry belong to it: up to its last indented comment."""
    count = 0
    for index, line in enumerate(lines):
        if line.strip() and len(line) - len(line.lstrip()) > column:
            count = index + 1
    return count


def _without_leading_blank(lines: list[str]) -> list[str]:
    start = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
    return lines[start:]


def _indented(lines: list[str], column: int) -> list[str]:
    return [f"{' ' * column}{line}" if line else line for line in lines]


def _headed(text: str, header: str) -> str:
    """The text under the header, unless it is there; every line of it becomes a comment."""
    marked = [
        line if line.startswith("#") else f"# {line}".rstrip() for line in header.splitlines()
    ]
    top = "".join(f"{line}\n" for line in marked)
    return text if text.startswith(top) else top + text


def _existing(path: os.PathLike[str] | str) -> Document | None:
    """What the file holds now, None if there is nothing that can be read."""
    with suppress(DefinitionError):
        return read(path)
    return None


def _write(path: FilePath, content: bytes) -> None:
    """Replace the file in one step; a link stays a link, the file's permissions stay."""
    target = path.resolve()
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    draft = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with draft.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if mode is not None:
            draft.chmod(mode)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
