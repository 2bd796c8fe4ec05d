"""Writes data as YAML, keeping the comments and layout of an existing file.

In an existing file the lines of every entry that stays the same are copied as they are, with their
comments and empty lines; only entries that differ are rewritten. In new text mappings are
indented, except short ones without further nesting, which are in braces; long texts are blocks;
entries that take several lines are set apart by an empty one. Data that YAML cannot represent is
refused before anything is written.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, cast

from msgspec import Struct

from ...errors import DefinitionError, KeyPath, Problem
from ...messages import JSON
from .parser import BREAK, MAX_DIGITS, resolve_word
from .reader import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_LINE,
    MAX_VALUES,
    Document,
    Mark,
    display_path,
    parse_yaml,
    read_yaml,
)

_LARGEST = 10**MAX_DIGITS
WIDTH = 100
_STEP = "  "
_MAX_KEY = 120  # the parser finds a key only if its colon is near; longer ones are marked
_SPACED_DEPTHS = 2  # the file itself and its sections have empty lines between long entries
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]')
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_WORDS = {None: "null", True: "true", False: "false"}
_SPECIAL_FIRST = frozenset("-?:,[]{}#&*!|>'\"%@`=<\t \xa0")
_UNQUOTABLE = re.compile(r":(?:\s|$)| #|^(?:---|\.\.\.)|\s$|[\n\r\t]")
# What readers of YAML 1.1 take for something else than text.
_MISTAKABLE = re.compile(
    r"(?i:y|n|yes|no|on|off|true|false|null|nan|inf)|[-+.]?[0-9][-+0-9_.:,eExXoObBa-fA-F tTzZ]*"
    r"|[-+]?\.(?:[0-9_]*|(?i:inf|nan))"
)
_COMMENT = re.compile(r"[ \t]+#.*")
_HEAD_COMMENT = re.compile(r":(?:[ \t]*[|>][-+0-9]*)?([ \t]+#.*)$")


def write_yaml(
    data: Mapping[str, JSON],
    path: os.PathLike[str] | str,
    *,
    header: str = "",
    order: Callable[[Mapping[str, JSON], Mapping[str, JSON]], Mapping[str, JSON]] | None = None,
) -> None:
    """Write the data as a YAML file, whole or not at all.

    Comments of an existing file stay with the keys they are at; `order` arranges the data by what
    the file has now. `header` is a comment for the top; it is not repeated if the file has it.
    Raises `DefinitionError` if the data cannot be written as YAML, or the file cannot be written.
    """
    text = to_yaml(data)
    old = _existing(path)
    newline = "\r\n" if old is not None and "\r\n" in old.text else "\n"
    if old is not None:
        data = order(data, old.data) if order is not None else data
        text = rewritten(old, data, default=to_yaml(data))
    text = _headed(text, header)
    try:
        _write(Path(path), text.replace("\n", newline).encode())
    except (OSError, ValueError, RuntimeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        problem = Problem("Y001", f"the file cannot be written: {reason}", file=display_path(path))
        raise DefinitionError([problem]) from error


def to_yaml(data: Mapping[str, JSON]) -> str:
    """The data as YAML text; `parse_yaml(to_yaml(data))` has the same data.

    Raises `DefinitionError` for what YAML cannot represent: half a surrogate pair, a number that is
    none, a key that is not text, more than fifty levels.
    """
    check_writable(data)
    text = "".join(f"{line}\n" for line in mapping_lines(data, depth=0)) if data else "{}\n"
    check_size(text)
    return text


def rewritten(old: Document, data: Mapping[str, JSON], *, default: str) -> str:
    """The text of `old` changed to hold `data`; `default` where that cannot be done safely."""
    lines = _Rewrite(old).lines(data)
    if lines is None:
        return default
    text = "\n".join(lines).rstrip("\n") + "\n"
    with suppress(DefinitionError):
        if to_yaml(parse_yaml(text, old.file).data) == to_yaml(data):
            return text
    return default


def check_size(text: str) -> None:
    """Raise `DefinitionError` if the text is larger than what is read again."""
    if len(text.encode()) > MAX_BYTES:
        _refuse("Y003", f"more than {MAX_BYTES} bytes of YAML; split the data", ())
    if max(map(len, text.split("\n"))) > MAX_LINE:
        _refuse("Y003", f"a text of more than {MAX_LINE} characters on one line; break it", ())


def check_writable(data: Mapping[str, object]) -> None:
    """Raise `DefinitionError`, with the path to it, for what YAML cannot represent.

    Half a surrogate pair, a number that is none, a key that is not text, an object of another
    kind, too many levels or values (also those of data that contains itself).
    """
    waiting: list[tuple[KeyPath, object]] = [((), data)]
    count = 0
    while waiting:
        path, value = waiting.pop()
        count += 1
        if len(path) > MAX_DEPTH:
            _refuse("Y012", f"nested more than {MAX_DEPTH} deep; make it flatter", path)
        if count > MAX_VALUES:
            _refuse("Y003", f"more than {MAX_VALUES} values; split the file", path[:1])
        match value:
            case Mapping():
                pairs = cast("Mapping[object, object]", value)
                waiting += [((*path, _checked_key(key, path)), each) for key, each in pairs.items()]
            case Sequence() if not isinstance(value, str | bytes | bytearray | memoryview):
                items = cast("Sequence[object]", value)
                waiting += [((*path, index), each) for index, each in enumerate(items)]
            case _:
                _check_leaf(value, path)


def _checked_key(key: object, path: KeyPath) -> str:
    if not isinstance(key, str):
        _refuse("Y014", f"the key {key!r} is not text; make it text", path)
    _check_text(key, path)
    return key


def _check_leaf(value: object, path: KeyPath) -> None:
    match value:
        case str():
            _check_text(value, path)
        case None | bool():
            pass
        case int():
            if abs(value) >= _LARGEST:
                _refuse("Y015", f"a number of over {MAX_DIGITS} digits; make it text", path)
        case float():
            if not math.isfinite(value):
                _refuse("Y015", f"{value} is not a number that can be stored; leave it out", path)
        case _:
            kind = type(value).__name__
            _refuse("Y015", f"a {kind} cannot be written as YAML; make it text or a mapping", path)


def _check_text(text: str, path: KeyPath) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        _refuse("Y004", "half a surrogate pair cannot be written as UTF-8; leave it out", path)


def _refuse(code: str, message: str, path: KeyPath) -> NoReturn:
    raise DefinitionError([Problem(code, message, path=path)])


def mapping_lines(mapping: Mapping[str, JSON], *, depth: int) -> list[str]:
    """The lines of an indented mapping, each already indented by `depth` steps."""
    lines: list[str] = []
    was_long = False
    for key, value in mapping.items():
        entry = entry_lines(key, value, depth=depth)
        is_long = len(entry) > 1 and depth < _SPACED_DEPTHS
        if lines and (is_long or was_long):
            lines.append("")
        lines += entry
        was_long = is_long
    return lines


def entry_lines(key: str, value: JSON, *, depth: int) -> list[str]:
    """The lines of one key with its value."""
    pad = _STEP * depth
    word = scalar(key)
    if len(word) > _MAX_KEY:
        return [f"{pad}? {word}", *_value_lines(f"{pad}:", value, depth=depth)]
    return _value_lines(f"{pad}{word}:", value, depth=depth)


def _value_lines(head: str, value: JSON, *, depth: int) -> list[str]:
    """The lines of a value, the first of them after `head`."""
    if isinstance(value, str):
        return _text_lines(head, value, depth=depth)
    if isinstance(value, Mapping) and not _fits(head, value):
        return [head, *mapping_lines(value, depth=depth + 1)]
    if isinstance(value, Sequence) and not _fits(head, value):
        return [head, *_item_lines(value, depth=depth + 1)]
    return [f"{head} {flow(value)}"]


def _fits(head: str, value: JSON) -> bool:
    """Whether a collection can stand behind `head` on one line."""
    short = flow(value)
    return short is not None and (not value or len(head) + 1 + len(short) <= WIDTH)


def _item_lines(items: Sequence[JSON], *, depth: int) -> list[str]:
    head = f"{_STEP * depth}-"
    lines: list[str] = []
    for item in items:
        if isinstance(item, Mapping) and not _fits(head, item):
            nested = mapping_lines(item, depth=depth + 1)
            lines += [f"{head} {nested[0].lstrip(' ')}", *nested[1:]]
        else:
            lines += _value_lines(head, item, depth=depth)
    return lines


def flow(value: JSON) -> str | None:
    """The value on one line, or None if it is nested or long enough to need its own lines."""
    match value:
        case str():
            return scalar(value, in_flow=True) if "\n" not in value.strip("\n") else None
        case Mapping():
            return _braces(value)
        case Sequence():
            items = [None if _is_nested(each) else flow(each) for each in value]
            words = [each for each in items if each is not None]
            return f"[{', '.join(words)}]" if len(words) == len(items) else None
        case _:
            return _WORDS[value] if value is None or isinstance(value, bool) else repr(value)


def _braces(mapping: Mapping[str, JSON]) -> str | None:
    """A mapping without mappings in it, on one line."""
    pairs: list[str] = []
    for key, value in mapping.items():
        word = scalar(key, in_flow=True)
        short = None if isinstance(value, Mapping) and value else flow(value)
        if short is None or len(word) > _MAX_KEY:
            return None
        pairs.append(f"{word}: {short}")
    return "{" + ", ".join(pairs) + "}"


def _is_nested(value: JSON) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str) and bool(value)


def _text_lines(head: str, text: str, *, depth: int) -> list[str]:
    block = _block(text)
    if block is None:
        one = scalar(text)
        folded = _folded(text) if len(head) + 1 + len(one) > WIDTH else None
        if folded is None:
            return [f"{head} {one}"]
        block = folded
    pad = _STEP * (depth + 1)
    sign, lines = block
    return [f"{head} {sign}", *(f"{pad}{line}" if line else "" for line in lines)]


def _block(text: str) -> tuple[str, list[str]] | None:
    """The sign and the lines of a literal block, or None if the text is not one.

    Where more than one line break ends the text, its quoted form is the one that editors keep.
    """
    body = text.removesuffix("\n")
    if "\n" not in text or body.endswith("\n") or not body.strip() or _needs_escapes(text):
        return None
    indicator = "2" if body.lstrip("\n").startswith((" ", "\t")) else ""
    return f"|{indicator}{'' if text.endswith(chr(10)) else '-'}", body.split("\n")


def _folded(text: str) -> tuple[str, list[str]] | None:
    """The sign and the lines of a folded block for a long line of words, else None."""
    words = text.split(" ")
    if _needs_escapes(text) or "\n" in text or "\t" in text or not all(words):
        return None
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > WIDTH - 2 * len(_STEP):
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return (">-", lines) if len(lines) > 1 else None


def scalar(text: str, *, in_flow: bool = False) -> str:
    """The text on one line, quoted only if it must be."""
    if _is_plain(text, in_flow=in_flow):
        return text
    if ('"' in text or "\\" in text) and not _needs_escapes(text) and "\n" not in text:
        doubled = text.replace("'", "''")
        return f"'{doubled}'"
    return '"' + _ESCAPED.sub(lambda match: _escape(match[0]), text) + '"'


def _is_plain(text: str, *, in_flow: bool) -> bool:
    if not text or _UNQUOTABLE.search(text) or _MISTAKABLE.fullmatch(text):
        return False
    first = text[0] in _SPECIAL_FIRST and not (text[0] == "-" and text[1:2].isalnum())
    if first or (in_flow and any(sign in text for sign in ",[]{}")):
        return False
    return not _needs_escapes(text) and isinstance(resolve_word(text), str)


def _needs_escapes(text: str) -> bool:
    return any(match[0] not in '"\\\n\t' for match in _ESCAPED.finditer(text))


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    return f"\\u{code:04x}"


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
            place = self._old.position(child.key)
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
        place = self._old.position(mark.end)
        match = _COMMENT.match(self._lines[place.line - 1], place.column - 1)
        return match[0] if match else ""

    def _line(self, offset: int) -> int:
        return self._old.position(offset).line - 1


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
    """The current content of the file, None if it cannot be read."""
    with suppress(DefinitionError):
        return read_yaml(path)
    return None


def _write(path: Path, content: bytes) -> None:
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
