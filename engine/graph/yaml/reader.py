"""Reads a YAML file into a `Document`: plain data, with the position of each key and value.

The document is built from the parser's events without recursion: open collections are a stack, so
depth and size are limited as they grow. A problem is added and reading continues, so that all
problems are found at once. Positions are marks, offsets in a tree of the data's own shape; lines
and columns are computed on demand. A position inside a text is found from its place in the parsed
text: a literal block keeps its lines, so the line is counted and the indentation added; every other
style changes only white space, doubled quotes and escapes, so both texts are walked in parallel.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import NoReturn, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from ...errors import DefinitionError, KeyPath, Problem, closest, in_reading_order
from ...messages import JSON
from .parser import (
    BREAK,
    FilePosition,
    ParserEvent,
    YAMLSyntaxError,
    describe,
    line_starts,
    parse_events,
    position_at,
    resolve_word,
)

MAX_BYTES = 1_000_000
MAX_LINE = 100_000  # the parser's time for one word can grow with its square
MAX_DEPTH = 50
MAX_VALUES = 50_000
MAX_PROBLEMS = 100
_MAX_EXCERPT = 60
_CHARACTERS_OF_A_NODE = 100  # a longer text weighs as much as several nodes
_PROPERTIES = re.compile(r"(?:[&!]\S*+(?:\s++|#[^\r\n]*+)*+)+")
_CORE = "tag:yaml.org,2002:"
_TEXT_TAGS = ("!", _CORE + "str")
_TAGS: dict[type, tuple[str, ...]] = {
    type(None): ("null",),
    bool: ("bool",),
    int: ("int", "float"),
    float: ("float",),
    str: (),
    list: ("seq",),
    dict: ("map",),
}
Tree: TypeAlias = "bool | int | float | str | list[Tree] | dict[str, Tree] | None"
_MAX_CHARACTERS = 10
_MAX_ENTRIES = 1000
_NOT_ALLOWED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]"
)
_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|(?:\r\n|\r|\n)[ \t]*|.)"
)
_WHITE_ESCAPES = ("\\n", "\\t", "\\ ", "\\\t", "\\r", "\\N", "\\_", "\\L", "\\P", "\\v", "\\f")
_WHITE = (" ", "\t", "\r", "\n")


def read_yaml(path: os.PathLike[str] | str) -> Document:
    """Read a YAML file.

    Raises `DefinitionError` with all problems at once, also if there is no such file.
    """
    file = display_path(path)
    source = _bytes(path, file)
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse_encoding(file, source, error)
    return parse_yaml(text, file)


def parse_yaml(text: str, file: str) -> Document:
    """Read YAML from a text; `file` is the name that errors show.

    Raises `DefinitionError` with all problems at once.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES:
        _refuse("Y003", _too_large(len(text)), file)
    starts = line_starts(text)
    _check_characters(text, file, starts)
    builder = DocumentBuilder(text, file=file, place=partial(position_at, starts))
    try:
        for event in parse_events(text):
            builder.take(event)
    except YAMLSyntaxError as error:
        message, at = describe(error, text)
        builder.stop("Y007", message, at)
    return _document(builder, file, text)


def display_path(path: os.PathLike[str] | str) -> str:
    """The path relative to the working directory if it lies below it, else absolute."""
    try:
        here = Path.cwd()
    except OSError:  # it was deleted meanwhile
        return os.fspath(path)
    whole = Path(os.path.normpath(here / path))
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix()


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

    def key(self, path: KeyPath) -> FilePosition:
        """The place of the key or list item that `path` leads to.

        Where the path leads nowhere, the place of the last key on it that is there.
        """
        return self.position(self._find(path)[0].key)

    def value(self, path: KeyPath) -> FilePosition:
        """The place of the value's first character; of its key where nothing is written.

        Where the path leads nowhere, the place of the last value on it that is there.
        """
        return self.position(self._find(path)[0].at)

    def inside(self, path: KeyPath, line: int, column: int) -> FilePosition:
        """The place of a character inside a text, given where it stands in the parsed text.

        Exact for block scalars with `|` and for texts on one line, and for every character but
        white space in all others. What lies outside the text is taken to its nearest end.
        """
        mark, whole = self._find(path)
        if mark.text is None or not whole:
            return self.position(mark.at)
        raw = self.text[mark.start : mark.end]
        return self.position(mark.start + offset_inside(raw, mark.text, mark.style, line, column))

    def quoting_advice(self, path: KeyPath) -> str:
        """Why YAML did not read the text that was meant, if a sign in it says so; else empty."""
        mark, _ = self._find(path)
        line = BREAK.split(self.text[mark.key :], maxsplit=1)[0]
        if mark.is_empty and re.search(r":\s+#", line):
            return "what follows # is a comment; put the text in quotes"
        if mark.flow:
            return f"a text that begins with {self.text[mark.start]} needs quotes"
        is_null = resolve_word(self.text[mark.start : mark.end]) is None
        return "" if is_null or mark.children else "put it in quotes"

    def position(self, offset: int) -> FilePosition:
        """The line and column of an offset into `text`."""
        return position_at(self._starts, offset)

    def _find(self, path: KeyPath) -> tuple[Mark, bool]:
        """The mark at the end of the path, or of the last key on it; and whether it is the end."""
        mark = self.root
        for part in path:
            child = mark.children.get(part)
            if child is None and part == 0:
                continue  # the one item of what may also be a list
            if child is None:
                return mark, False
            mark = child
        return mark, True


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


def _document(builder: DocumentBuilder, file: str, text: str) -> Document:
    root = builder.root
    if root is None or (root.value is None and not builder.problems):
        message = "the file is empty; a graph needs at least `name` and `nodes`, cases a `graph`"
        raise DefinitionError([Problem("Y005", message, file=file, line=1, column=1)])
    if not isinstance(root.value, dict):
        kind = "a list" if isinstance(root.value, list) else "a single value"
        message = f"the file contains {kind}; it must be a mapping, such as `name: ...`"
        builder.stop("Y006", message, root.mark.at)
    if builder.problems:
        raise DefinitionError(in_reading_order(builder.problems))
    return Document(dict(root.value), file=file, text=text, root=root.mark)


class DocumentBuilder:
    """Builds a value from events; at the end `root` is the document, `problems` what is wrong."""

    def __init__(self, text: str, *, file: str, place: Callable[[int], FilePosition]) -> None:
        self.root: ParsedValue | None = None
        self.problems: list[Problem] = []
        self._text = text
        self._file = file
        self._place = place
        self._stack: list[_OpenCollection] = []
        self._anchors: dict[str, ParsedValue | None] = {}
        self._weight = 0
        self._documents = 0

    def take(self, event: ParserEvent) -> None:
        """Add one event. Raises `DefinitionError` if reading cannot continue."""
        match event.kind:
            case "scalar":
                self._finish(self._scalar(event), event.anchor)
            case "mapping" | "sequence":
                self._open(event)
            case "end":
                self._close(event.end)
            case "alias":
                self._finish(self._alias(event), None)
            case _:
                self._begin(event)

    def stop(self, code: str, message: str, at: int, *, suggestion: str | None = None) -> NoReturn:
        """Raise `DefinitionError` with this problem and all before it."""
        self._add(code, message, at, suggestion=suggestion)
        raise DefinitionError(in_reading_order(self.problems))

    def _begin(self, event: ParserEvent) -> None:
        self._documents += 1
        if self._documents > 1:
            message = "a file must have one document; put the rest into a file of its own"
            self.stop("Y010", message, event.start)
        if event.directed:
            self._add("Y013", "graph files are YAML 1.2 without directives; remove the % lines", 0)

    def _scalar(self, event: ParserEvent) -> ParsedValue:
        mark = self._mark(event)
        mark.style = event.style
        value: Tree = event.value
        if not event.style and event.tag not in _TEXT_TAGS:
            value = self._resolved(event.value, mark.at)
        if event.tag not in (None, *_TEXT_TAGS):
            self._check_tag(event, value)
        if isinstance(value, str):
            mark.text = value
            self._check_surrogates(value, mark.at)
        weight = 1 + len(event.value) // _CHARACTERS_OF_A_NODE
        self._weigh(weight, mark.at)
        return ParsedValue(value, mark, weight=weight)

    def _resolved(self, word: str, at: int) -> Tree:
        try:
            return resolve_word(word)
        except ValueError as error:
            message = f"{_shortened(word)} {error}; quote it if it is meant as text"
            self._add("Y015", message, at)
            return word

    def _check_tag(self, event: ParserEvent, value: Tree) -> None:
        """Only the core tags are known, and they must fit the value."""
        tag = event.tag or ""
        if tag.startswith(_CORE) and tag.removeprefix(_CORE) in _TAGS[type(value)]:
            return
        excerpt = _shortened(tag.replace(_CORE, "!!"))
        at = max(self._text.find("!", event.start), event.start)
        hint = "remove it" if isinstance(value, dict | list) else "remove it, or quote the text"
        self._add("Y013", f"the tag {excerpt} is not allowed here; {hint}", at)

    def _check_surrogates(self, value: str, at: int) -> None:
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            self._add("Y004", "half a surrogate pair is no character; write it whole", at)

    def _alias(self, event: ParserEvent) -> ParsedValue:
        at = event.start
        name = event.anchor or ""
        if name not in self._anchors:
            near = closest(name, self._anchors)
            hint = "" if near else "; quote a text that begins with *"
            meant = f"*{near}" if near else None
            self.stop("Y011", f"there is no anchor &{name} above{hint}", at, suggestion=meant)
        node = self._anchors[name]
        if node is None:
            self.stop("Y011", f"the alias *{name} contains itself; write the value out", at)
        if self._height() + node.height > MAX_DEPTH:
            self._too_deep(at)
        self._weigh(node.weight, at)
        return replace(node, value=_copy(node.value), mark=replace(node.mark, at=at, key=at))

    def _open(self, event: ParserEvent) -> None:
        if self._height() >= MAX_DEPTH:
            self._too_deep(event.start)
        self._weigh(1, event.start)
        mark = self._mark(event)
        mark.flow = event.flow
        value: Tree = {} if event.kind == "mapping" else []
        if event.tag is not None:
            self._check_tag(event, value)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_OpenCollection(ParsedValue(value, mark), event.anchor, self._name()))

    def _close(self, end: int) -> None:
        closed = self._stack.pop()
        closed.node.mark.end = end
        closed.node.height += 1
        self._finish(closed.node, closed.anchor)

    def _finish(self, node: ParsedValue, anchor: str | None) -> None:
        """Put a complete value into the collection that is open."""
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        parent.node.weight += node.weight
        parent.node.height = max(parent.node.height, node.height)
        match parent.node.value:
            case list() as items:
                self._append(items, parent.node.mark, node)
            case dict() as mapping if parent.key is not None:
                self._put(mapping, parent.node.mark, parent.key, node)
                parent.key = None
            case _:
                parent.key = node

    def _append(self, items: list[Tree], where: Mark, node: ParsedValue) -> None:
        """Append to a list; an empty item has the place of its dash."""
        if node.mark.is_empty and self._text.startswith("-", node.mark.at - 1):
            node.mark.key = node.mark.at = node.mark.at - 1
        where.children[len(items)] = node.mark
        items.append(node.value)

    def _put(
        self, mapping: dict[str, Tree], where: Mark, key: ParsedValue, node: ParsedValue
    ) -> None:
        """Put a value under its key, unless the key is invalid."""
        name = self._key(key, where)
        if name is None:
            return
        node.mark.key = key.mark.at
        if node.mark.is_empty:
            node.mark.at = node.mark.start = node.mark.end = key.mark.at
        mapping[name] = node.value
        where.children[name] = node.mark

    def _key(self, key: ParsedValue, mapping: Mark) -> str | None:
        """The text of the key; None if it is invalid, with a problem added."""
        at = key.mark.at
        if not isinstance(key.value, str):
            self._add("Y014", f"a key must be text; {self._key_hint(key)}", at)
            return None
        if key.value == "<<" and not key.mark.style:
            self._add("Y009", "merge keys (<<) are not read; write the keys out", at)
            return None
        if key.value in mapping.children:
            first = self._place(mapping.children[key.value].key).line
            message = f"key {_shortened(key.value)!r} is a duplicate, first in line {first}"
            self._add("Y008", f"{message}; keep one of them", at, name=key.value)
            return None
        return key.value

    def _key_hint(self, key: ParsedValue) -> str:
        written = self._text[key.mark.start : key.mark.end].strip()
        if isinstance(key.value, dict | list):
            is_template = self._text.startswith("{{", key.mark.at - 1)
            return (
                "quote a text that begins with {{"
                if is_template
                else "a list or mapping cannot be one"
            )
        return f"write '{_shortened(written)}' in quotes" if written else "write one before the ':'"

    def _mark(self, event: ParserEvent) -> Mark:
        """Where a value stands, without the anchor and tag before it."""
        start, end = event.start, event.end
        if self._text.startswith(("&", "!"), start):
            properties = _PROPERTIES.match(self._text, start)
            begins = properties.end() if properties else start
            if begins <= end or event.kind != "scalar":
                start = begins
        return Mark(key=start, at=start, start=start, end=end)

    def _weigh(self, weight: int, at: int) -> None:
        self._weight += weight
        if self._weight > MAX_VALUES:
            self.stop("Y003", f"more than {MAX_VALUES} values, aliases included; split it", at)

    def _too_deep(self, at: int) -> NoReturn:
        self.stop("Y012", f"nested more than {MAX_DEPTH} deep; write it flatter", at)

    def _height(self) -> int:
        return len(self._stack)

    def _name(self) -> str | int | None:
        """The key or index under which the next value will stand."""
        if not self._stack:
            return None
        parent = self._stack[-1]
        if isinstance(parent.node.value, list):
            return len(parent.node.value)
        return parent.key.value if parent.key and isinstance(parent.key.value, str) else None

    def _add(
        self,
        code: str,
        message: str,
        at: int,
        *,
        name: str | None = None,
        suggestion: str | None = None,
    ) -> None:
        names = [*(each.name for each in self._stack), name or self._name()]
        path: KeyPath = tuple(part for part in names if part is not None)
        place = self._place(at)
        self.problems.append(
            Problem(
                code,
                message,
                file=self._file,
                line=place.line,
                column=place.column,
                path=path,
                suggestion=suggestion,
            )
        )
        if len(self.problems) >= MAX_PROBLEMS:
            raise DefinitionError(in_reading_order(self.problems))


class ParsedValue(Struct):
    """A complete value; `weight` counts the values in it, `height` its levels of collections."""

    value: Tree
    mark: Mark
    weight: int = 1
    height: int = 0


class _OpenCollection(Struct):
    """A collection that is being read. `key` waits for its value; `name` leads here."""

    node: ParsedValue
    anchor: str | None
    name: str | int | None
    key: ParsedValue | None = None


def _shortened(word: str) -> str:
    return word if len(word) <= _MAX_EXCERPT else f"{word[:_MAX_EXCERPT]}..."


def _copy(value: Tree) -> Tree:
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_copy(each) for each in value]
    return value


def _bytes(path: os.PathLike[str] | str, file: str) -> bytes:
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            _refuse("Y001", f"this is {kind}; name a YAML file", file)
        with Path(path).open("rb") as stream:
            source = stream.read(MAX_BYTES + 1)
            size = os.fstat(stream.fileno()).st_size
    except FileNotFoundError as error:
        raise _missing(path, file) from error
    except DefinitionError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = Problem("Y001", f"the file cannot be read: {reason.lower()}", file=file)
        raise DefinitionError([problem]) from error
    if len(source) > MAX_BYTES:
        _refuse("Y003", _too_large(size), file)
    return source


def _missing(path: os.PathLike[str] | str, file: str) -> DefinitionError:
    whole = Path(path)
    try:
        found = [each.name for each in islice(whole.parent.iterdir(), _MAX_ENTRIES)]
    except OSError:
        message = f"there is no folder {display_path(whole.parent)!r}; check the path"
        return DefinitionError([Problem("Y001", message, file=file)])
    known = sorted(each for each in found if each.endswith((".yaml", ".yml")))
    message = "there is no such file"
    suggestion = closest(whole.name, known)
    if suggestion is None:
        message += f"; the folder has {', '.join(known[:5])}" if known else "; check the path"
    return DefinitionError([Problem("Y001", message, file=file, suggestion=suggestion)])


def _refuse_encoding(file: str, source: bytes, error: UnicodeDecodeError) -> NoReturn:
    if source.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse("Y002", "the file is UTF-16; save it as UTF-8", file, cause=error)
    before = source[: error.start].decode("utf-8-sig", errors="replace")
    place = position_at(line_starts(before), len(before))
    message = f"byte {error.start} (0x{source[error.start]:02x}) is not UTF-8; save it as UTF-8"
    problem = Problem("Y002", message, file=file, line=place.line, column=place.column)
    raise DefinitionError([problem]) from error


def _check_characters(text: str, file: str, starts: list[int]) -> None:
    """Refuse what the parser cannot read, or not fast; a few of each kind at once."""
    long_lines = (start for start, end in pairwise([*starts, len(text)]) if end - start > MAX_LINE)
    message = f"a line of more than {MAX_LINE} characters; break it"
    found = [("Y003", message, start) for start in long_lines]
    for match in islice(_NOT_ALLOWED.finditer(text), _MAX_CHARACTERS):
        message = f"character U+{ord(match[0]):04X} is not allowed in a YAML file; remove it"
        found.append(("Y004", message, match.start()))
    problems: list[Problem] = []
    for code, message, at in found:
        place = position_at(starts, at)
        problems.append(Problem(code, message, file=file, line=place.line, column=place.column))
    if problems:
        raise DefinitionError(in_reading_order(problems))


def _too_large(size: int) -> str:
    return f"{size} bytes are too many; a file may have {MAX_BYTES}, so split it"


def _refuse(code: str, message: str, file: str, *, cause: Exception | None = None) -> NoReturn:
    raise DefinitionError([Problem(code, message, file=file)]) from cause


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
    begin = BREAK.search(raw) if style == ">" else None
    start = begin.end() if begin else len(style)
    return _walk(raw, text, start=start, index=index, style=style)


def _in_literal(raw: str, text: str, line: int, column: int) -> int:
    lines = text.split("\n")
    written = [match.end() for match in BREAK.finditer(raw)]
    row = min(max(line, 1), len(lines), len(written))
    start = written[row - 1]
    ends = BREAK.search(raw, start)
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
