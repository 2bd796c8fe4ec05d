"""Reading a YAML file: the file itself, its characters, its syntax, then its content.

What the parser reports, one event after the other: the only place that knows the library.

The library's objects carry no types, so they are read through the protocols at the end and
become `Event`s of our own.

What an unquoted word of YAML means: the core schema of YAML 1.2, to the letter.

`true` and `null` mean what they say; `no`, `on`, `1_000`, `12:30` and dates are text.

What the parser says about broken syntax, in words that say where it began and how to go on.

The parser names the token at which it could not go on. The mistake is often earlier (a quote that
is never closed), so each rule knows whether to point here or there.

From the parser's events to data and marks, one event at a time.

There is no recursion: open collections are a stack, so depth and size are checked as they grow,
before anything is built from them. What does not hold is noted and reading goes on, so that one
look finds everything.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, Protocol, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace
from ruamel.yaml import YAML
from ruamel.yaml import events as kinds
from ruamel.yaml.error import YAMLError

from ...errors import DefinitionError, KeyPath, Problem, closest, in_reading_order
from .document import Document, Mark, Place, line_starts, place_at

Kind: TypeAlias = Literal["scalar", "mapping", "sequence", "end", "alias", "document"]

_KINDS: dict[type, Kind] = {
    kinds.ScalarEvent: "scalar",
    kinds.MappingStartEvent: "mapping",
    kinds.SequenceStartEvent: "sequence",
    kinds.MappingEndEvent: "end",
    kinds.SequenceEndEvent: "end",
    kinds.AliasEvent: "alias",
    kinds.DocumentStartEvent: "document",
}
# What the library raises on broken input besides its own errors, such as for "\U00110000".
_BROKEN = (
    YAMLError,
    ValueError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
)


class Event(NamedTuple):
    """A scalar, the begin or end of a collection, an alias, or the begin of a document.

    `start` and `end` are offsets into the text. `style` is the sign of a quoted or block scalar,
    empty for a plain one, whose `value` is still to be understood. `flow` is true in brackets,
    `directed` if lines with % stand above a document.
    """

    kind: Kind
    start: int
    end: int
    anchor: str | None = None
    tag: str | None = None
    value: str = ""
    style: str = ""
    flow: bool = False
    directed: bool = False


class SyntaxFault(Exception):
    """The text is not YAML: what the parser said, where, and where it had begun to read."""

    def __init__(self, said: str, *, here: int | None, began: int | None) -> None:
        super().__init__(said)
        self.said = said
        self.here = here
        self.began = began


def events(text: str) -> Iterator[Event]:
    """The events of a text. Raises `SyntaxFault` at the first error."""
    parser = cast("_Parser", YAML(typ="safe", pure=True))
    try:
        for event in parser.parse(text):
            kind = _KINDS.get(type(event))
            if kind is not None:
                yield _event(kind, event)
    except _BROKEN as error:
        said = f"{getattr(error, 'context', None) or ''}: {getattr(error, 'problem', None) or ''}"
        here, began = _index(error, "problem_mark"), _index(error, "context_mark")
        raise SyntaxFault(said, here=here, began=began) from error


def _event(kind: Kind, event: object) -> Event:
    match kind:
        case "scalar":
            word = cast("_Scalar", event)
            return Event(
                kind, *_span(word), word.anchor, _tag(word), word.value, style=word.style or ""
            )
        case "mapping" | "sequence":
            opened = cast("_Collection", event)
            flow = bool(opened.flow_style)
            return Event(kind, *_span(opened), opened.anchor, _tag(opened), flow=flow)
        case "document":
            document = cast("_Document", event)
            directed = bool(document.tags) or document.version not in (None, (1, 2))
            return Event(kind, *_span(document), directed=directed)
        case _:
            alias = cast("_Marked", event)
            return Event(kind, *_span(alias), getattr(event, "anchor", None))


def _span(event: _Marked) -> tuple[int, int]:
    return event.start_mark.index, event.end_mark.index


def _tag(event: _Tagged) -> str | None:
    return None if event.ctag is None else str(event.ctag)


def _index(error: Exception, name: str) -> int | None:
    index = getattr(getattr(error, name, None), "index", None)
    return index if isinstance(index, int) else None


class _Mark(Protocol):
    index: int


class _Marked(Protocol):
    start_mark: _Mark
    end_mark: _Mark


class _Tagged(_Marked, Protocol):
    anchor: str | None
    ctag: object | None


class _Scalar(_Tagged, Protocol):
    value: str
    style: str | None


class _Collection(_Tagged, Protocol):
    flow_style: bool | None


class _Document(_Marked, Protocol):
    version: tuple[int, int] | None
    tags: Mapping[str, str] | None


class _Parser(Protocol):
    def parse(self, stream: str) -> Iterator[object]: ...


_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGERS = (
    (re.compile(r"[-+]?[0-9]+"), 10),
    (re.compile(r"0o[0-7]+"), 8),
    (re.compile(r"0x[0-9a-fA-F]+"), 16),
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
DIGITS_AT_MOST = 1000
_FIRST = frozenset("+-.0123456789")


def resolve(word: str) -> bool | int | float | str | None:
    """The value of an unquoted word.

    Raises `ValueError`, with the reason, for numbers that JSON cannot hold or nobody can mean.
    """
    if word in _NULL:
        return None
    if word in _BOOL:
        return _BOOL[word]
    if word[0] not in _FIRST:
        return word
    return _number(word)


def _number(word: str) -> int | float | str:
    if _NO_NUMBER.fullmatch(word):
        raise ValueError("is not a number that can be stored")
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(word):
            _check_length(word)
            return int(word.removeprefix("0o"), base)
    if not _FLOAT.fullmatch(word):
        return word
    _check_length(word)
    number = float(word)
    if math.isinf(number):
        raise ValueError("is too large for a number")
    return number


def _check_length(word: str) -> None:
    if len(word) > DIGITS_AT_MOST:
        raise ValueError(f"is a number of more than {DIGITS_AT_MOST} digits")


_UNKNOWN = "this is not YAML; compare its quotes, brackets and indents"
_QUOTE_IT = "put the text in quotes"
# What the parser says; our sentence, with the groups of the match; whether to point at the
# beginning of what was being read instead of the place where reading stopped.
_RULES: tuple[tuple[str, str, bool], ...] = (
    (
        r"character '\\t' that",
        "a tab cannot stand here; use spaces, or put a text with tabs in quotes",
        False,
    ),
    (r"character '%' that", f"a text cannot begin with '%'; {_QUOTE_IT}", False),
    (r"character (.+) that", f"a text cannot begin with {{0}}; {_QUOTE_IT}", False),
    (
        r"quoted scalar: .*(?:end of stream|separator)",
        "this quote is never closed; end it with the same quote",
        True,
    ),
    (r"simple key", "this is neither a key nor more of the text above; add ':' or indent it", True),
    (r"sequence entries", "a list cannot begin here; put '-' on a line of its own", False),
    (r"mapping keys", "a key cannot begin here; put it on a line of its own", False),
    (r"an anchor", f"a text cannot begin with '&'; {_QUOTE_IT}", True),
    (r"an alias", f"a text cannot begin with '*'; {_QUOTE_IT}", True),
    (r"[ ]tag\b|tag handle", f"a text cannot begin with '!'; {_QUOTE_IT}", True),
    (r"block scalar", "after | or > nothing can stand; begin the text on the next line", False),
    (
        r"directive|version 1",
        "graph files are YAML 1.2 without directives; remove the % line",
        True,
    ),
    (
        r"document end marker|document start",
        "nothing can follow the end of the document; remove it",
        False,
    ),
    (
        r"node content, but found (.+)",
        "a value is missing before {0}; write one, or remove it",
        False,
    ),
    (
        r"collection: .*<block end>, but found '\?'",
        "a key cannot stand among list items; indent it below its item",
        False,
    ),
    (r"collection: ", "this is not indented like the list items above; align it", False),
    (
        r"mapping: .*<block end>, but found '-'",
        "a list item cannot stand among keys; indent it below its key",
        False,
    ),
    (r"", _UNKNOWN, False),
)
_KEY_FOUND_WITHIN = 1000  # characters; what the parser looks ahead for a colon, rounded down
_TOO_HIGH = re.compile(r"\\U(?!000|0010)[0-9a-fA-F]{8}")


def explain(fault: SyntaxFault, text: str) -> tuple[str, int]:
    """One sentence about a syntax error, and the offset where it stands."""
    if fault.here is None:
        return _without_mark(text)
    here = min(fault.here, len(text))
    began = here if fault.began is None else fault.began
    special = _special(fault.said, text, here, began)
    if special:
        return special
    rule = next(rule for rule in _RULES if re.search(rule[0], fault.said))
    match = re.search(rule[0], fault.said)
    groups = match.groups() if match else ()
    return rule[1].format(*groups), began if rule[2] else here


def _special(said: str, text: str, here: int, began: int) -> tuple[str, int] | None:
    """The mistakes that only a look at the text can tell apart."""
    if "mapping values" in said:
        return _second_colon(text, here)
    if "flow mapping" in said or "flow sequence" in said:
        return _unclosed(said, text, here, began)
    if re.search(r"mapping: expected <block end>, but found '(?!-')", said):
        return _leftover(text, here)
    return _sign(said, text, here)


def _sign(said: str, text: str, here: int) -> tuple[str, int] | None:
    """A backslash or a percent sign where it means something else than was meant."""
    if "escape" in said and "double-quoted" in said:
        start = text.rfind("\\", 0, here + 1)
        written = text[start : start + 2]
        return f"{written} is no escape in double quotes; write \\{written}", start
    if "character '%' that" in said and text.startswith("{%", here - 1):
        return "a text that begins with {% stands in quotes, or in a block after |", here - 1
    return None


def _second_colon(text: str, here: int) -> tuple[str, int]:
    """A colon where no key can be: in a text, or after a line that does not lead to it."""
    before, line = _lines(text, here)
    key = text[line:here]
    at = line + _indent(key)
    if re.search(r":\s", key):
        return f"a text with ': ' in it is taken for a key; {_QUOTE_IT}", here
    if len(key) > _KEY_FOUND_WITHIN:
        return f"a key of more than {_KEY_FOUND_WITHIN} characters; write it after '? '", at
    above = text[before:line].rstrip()
    if re.search(r":\s", above) and _indent(key) > _indent(above):
        return "this key is indented below a line that already has a value; align the two", at
    message = "this line is no key, yet the next one is; write `key: value` in one line each"
    return message, before + _indent(above)


def _unclosed(said: str, text: str, here: int, began: int) -> tuple[str, int]:
    opening = text[began : began + 1]
    closing = "}" if opening == "{" else "]"
    if "stream end" in said:
        return f"this {opening} is never closed; add {closing}", began
    found = said.rsplit("got ", 1)[-1]
    place = _place(text, began)
    message = f"found {found} where ',' or '{closing}' is missing for the {opening} of line"
    return f"{message} {place.line}, column {place.column}; add it, or quote the text", here


def _leftover(text: str, here: int) -> tuple[str, int]:
    """Something after a complete value: on its line, or on a line with an indent of its own."""
    before, line = _lines(text, here)
    if text[line:here].strip():
        return "nothing can follow a complete value; put the whole text in quotes", here
    if text[before:line].strip():
        return "this line is indented like none above it; align it with its siblings", here
    return "the block begins with an empty line that is indented deeper; shorten that line", here


def _without_mark(text: str) -> tuple[str, int]:
    """For errors that are not the parser's own: an escape beyond the last character of Unicode."""
    match = _TOO_HIGH.search(text)
    if match:
        return f"{match[0]} is beyond the last character of Unicode; correct it", match.start()
    return _UNKNOWN, 0


def _lines(text: str, offset: int) -> tuple[int, int]:
    """Where the line before that of `offset` begins, and where its own does."""
    starts = line_starts(text[:offset])
    return (starts[-2] if len(starts) > 1 else 0), starts[-1]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _place(text: str, offset: int) -> Place:
    return place_at(line_starts(text), offset)


BYTES_AT_MOST = 1_000_000
LINE_AT_MOST = 100_000  # the parser's time for one word can grow with its square
DEPTH_AT_MOST = 50
NODES_AT_MOST = 50_000
PROBLEMS_AT_MOST = 100
_SHOWN_AT_MOST = 60
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


class Node(Struct):
    """A finished value: `weight` in nodes with all below it, `height` in collections."""

    value: Tree
    mark: Mark
    weight: int = 1
    height: int = 0


class _Open(Struct):
    """A collection that is being read. `key` waits for its value; `name` leads here."""

    node: Node
    anchor: str | None
    name: str | int | None
    key: Node | None = None


class Builder:
    """Takes events one by one; afterwards `root` is the document, `problems` what is wrong."""

    def __init__(self, text: str, *, file: str, place: Callable[[int], Place]) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._text = text
        self._file = file
        self._place = place
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._weight = 0
        self._documents = 0

    def take(self, event: Event) -> None:
        """Go on by one event. Raises `DefinitionError` where reading on makes no sense."""
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

    def stop(self, code: str, message: str, at: int) -> NoReturn:
        """Give up with this problem and all that were found before it."""
        self._note(code, message, at)
        raise DefinitionError(in_reading_order(self.problems))

    def _begin(self, event: Event) -> None:
        self._documents += 1
        if self._documents > 1:
            message = "a file holds one document; put the rest into a file of its own"
            self.stop("Y010", message, event.start)
        if event.directed:
            self._note("Y013", "graph files are YAML 1.2 without directives; remove the % lines", 0)

    def _scalar(self, event: Event) -> Node:
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
        return Node(value, mark, weight=weight)

    def _resolved(self, word: str, at: int) -> Tree:
        try:
            return resolve(word)
        except ValueError as error:
            message = f"{_shortened(word)} {error}; quote it if it is meant as text"
            self._note("Y015", message, at)
            return word

    def _check_tag(self, event: Event, value: Tree) -> None:
        """Only the core tags are known, and they must fit the value."""
        tag = event.tag or ""
        if tag.startswith(_CORE) and tag.removeprefix(_CORE) in _TAGS[type(value)]:
            return
        shown = _shortened(tag.replace(_CORE, "!!"))
        at = max(self._text.find("!", event.start), event.start)
        hint = "remove it" if isinstance(value, dict | list) else "remove it, or quote the text"
        self._note("Y013", f"the tag {shown} does not hold here; {hint}", at)

    def _check_surrogates(self, value: str, at: int) -> None:
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            self._note("Y004", "half a surrogate pair is no character; write it whole", at)

    def _alias(self, event: Event) -> Node:
        at = event.start
        name = event.anchor or ""
        if name not in self._anchors:
            hint = "a text that begins with * stands in quotes"
            self.stop("Y011", f"there is no anchor &{name} above; {hint}", at)
        node = self._anchors[name]
        if node is None:
            self.stop("Y011", f"the alias *{name} contains itself; write the value out", at)
        if self._height() + node.height > DEPTH_AT_MOST:
            self._too_deep(at)
        self._weigh(node.weight, at)
        return replace(node, value=_copy(node.value), mark=replace(node.mark, at=at, key=at))

    def _open(self, event: Event) -> None:
        if self._height() >= DEPTH_AT_MOST:
            self._too_deep(event.start)
        self._weigh(1, event.start)
        mark = self._mark(event)
        mark.flow = event.flow
        value: Tree = {} if event.kind == "mapping" else []
        if event.tag is not None:
            self._check_tag(event, value)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(Node(value, mark), event.anchor, self._name()))

    def _close(self, end: int) -> None:
        closed = self._stack.pop()
        closed.node.mark.end = end
        closed.node.height += 1
        self._finish(closed.node, closed.anchor)

    def _finish(self, node: Node, anchor: str | None) -> None:
        """Put a finished value where it belongs."""
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

    def _append(self, items: list[Tree], where: Mark, node: Node) -> None:
        """Put a value at the end of a list; where nothing is written, its dash stands for it."""
        if node.mark.is_empty and self._text.startswith("-", node.mark.at - 1):
            node.mark.key = node.mark.at = node.mark.at - 1
        where.children[len(items)] = node.mark
        items.append(node.value)

    def _put(self, mapping: dict[str, Tree], where: Mark, key: Node, node: Node) -> None:
        """Put a value under its key, unless the key does not hold."""
        name = self._key(key, where)
        if name is None:
            return
        node.mark.key = key.mark.at
        if node.mark.is_empty:
            node.mark.at = node.mark.start = node.mark.end = key.mark.at
        mapping[name] = node.value
        where.children[name] = node.mark

    def _key(self, key: Node, mapping: Mark) -> str | None:
        """The key's text, or None if it cannot stand here; then the problem is noted."""
        at = key.mark.at
        if not isinstance(key.value, str):
            self._note("Y014", f"a key must be text; {self._key_hint(key)}", at)
            return None
        if key.value == "<<" and not key.mark.style:
            self._note("Y009", "merge keys (<<) are not read; write the keys out", at)
            return None
        if key.value in mapping.children:
            first = self._place(mapping.children[key.value].key).line
            message = f"key {_shortened(key.value)!r} stands twice, first in line {first}"
            self._note("Y008", f"{message}; keep one of them", at, name=key.value)
            return None
        return key.value

    def _key_hint(self, key: Node) -> str:
        written = self._text[key.mark.start : key.mark.end].strip()
        if isinstance(key.value, dict | list):
            is_template = self._text.startswith("{{", key.mark.at - 1)
            return (
                "a text that begins with {{ stands in quotes"
                if is_template
                else "a list or mapping cannot be one"
            )
        return f"write '{_shortened(written)}' in quotes" if written else "write one before the ':'"

    def _mark(self, event: Event) -> Mark:
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
        if self._weight > NODES_AT_MOST:
            self.stop("Y003", f"more than {NODES_AT_MOST} values, aliases included; split it", at)

    def _too_deep(self, at: int) -> NoReturn:
        self.stop("Y012", f"nested more than {DEPTH_AT_MOST} deep; write it flatter", at)

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

    def _note(self, code: str, message: str, at: int, *, name: str | None = None) -> None:
        names = [*(each.name for each in self._stack), name or self._name()]
        path: KeyPath = tuple(part for part in names if part is not None)
        place = self._place(at)
        self.problems.append(
            Problem(code, message, file=self._file, line=place.line, column=place.column, path=path)
        )
        if len(self.problems) >= PROBLEMS_AT_MOST:
            raise DefinitionError(in_reading_order(self.problems))


def _shortened(word: str) -> str:
    return word if len(word) <= _SHOWN_AT_MOST else f"{word[:_SHOWN_AT_MOST]}..."


def _copy(value: Tree) -> Tree:
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_copy(each) for each in value]
    return value


_CHARACTERS_SHOWN = 10
_ENTRIES_LOOKED_AT = 1000
_NOT_ALLOWED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]"
)


def read(path: os.PathLike[str] | str) -> Document:
    """Read a YAML file.

    Raises `DefinitionError` with all that can be known at once, also where there is no such file.
    """
    file = shown(path)
    source = _bytes(path, file)
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse_encoding(file, source, error)
    return parse(text, file)


def parse(text: str, file: str) -> Document:
    """Read YAML from a text; `file` is the name that errors show.

    Raises `DefinitionError` with all that can be known at once.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > BYTES_AT_MOST:
        _refuse("Y003", _too_large(len(text)), file)
    starts = line_starts(text)
    _check_characters(text, file, starts)
    builder = Builder(text, file=file, place=partial(place_at, starts))
    try:
        for event in events(text):
            builder.take(event)
    except SyntaxFault as fault:
        message, at = explain(fault, text)
        builder.stop("Y007", message, at)
    return _document(builder, file, text)


def _document(builder: Builder, file: str, text: str) -> Document:
    root = builder.root
    if root is None or (root.value is None and not builder.problems):
        _refuse(
            "Y005",
            "the file is empty; a graph needs at least `name` and `nodes`, cases a `graph`",
            file,
        )
    if not isinstance(root.value, dict):
        kind = "a list" if isinstance(root.value, list) else "a single value"
        message = f"the file holds {kind}; it must be a mapping, such as `name: ...`"
        builder.stop("Y006", message, root.mark.at)
    if builder.problems:
        raise DefinitionError(in_reading_order(builder.problems))
    return Document(dict(root.value), file=file, text=text, root=root.mark)


def shown(path: os.PathLike[str] | str) -> str:
    """The path relative to the working directory where it lies below it, else absolute."""
    try:
        here = Path.cwd()
    except OSError:  # it was deleted under our feet
        return os.fspath(path)
    whole = Path(os.path.normpath(here / path))
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix()


def _bytes(path: os.PathLike[str] | str, file: str) -> bytes:
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            _refuse("Y001", f"this is {kind}; name a YAML file", file)
        with Path(path).open("rb") as stream:
            source = stream.read(BYTES_AT_MOST + 1)
            size = os.fstat(stream.fileno()).st_size
    except FileNotFoundError as error:
        raise _missing(path, file) from error
    except DefinitionError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = Problem("Y001", f"the file cannot be read: {reason.lower()}", file=file)
        raise DefinitionError([problem]) from error
    if len(source) > BYTES_AT_MOST:
        _refuse("Y003", _too_large(size), file)
    return source


def _missing(path: os.PathLike[str] | str, file: str) -> DefinitionError:
    whole = Path(path)
    try:
        found = [each.name for each in islice(whole.parent.iterdir(), _ENTRIES_LOOKED_AT)]
    except OSError:
        message = f"there is no folder {shown(whole.parent)!r}; check the path"
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
    place = place_at(line_starts(before), len(before))
    message = f"byte {error.start} (0x{source[error.start]:02x}) is not UTF-8; save it as UTF-8"
    problem = Problem("Y002", message, file=file, line=place.line, column=place.column)
    raise DefinitionError([problem]) from error


def _check_characters(text: str, file: str, starts: list[int]) -> None:
    """Refuse what would break the parser or take it too long, a few of each kind at once."""
    long_lines = (
        start for start, end in pairwise([*starts, len(text)]) if end - start > LINE_AT_MOST
    )
    message = f"a line of more than {LINE_AT_MOST} characters; break it"
    found = [("Y003", message, start) for start in long_lines]
    for match in islice(_NOT_ALLOWED.finditer(text), _CHARACTERS_SHOWN):
        message = f"character U+{ord(match[0]):04X} cannot stand in a YAML file; remove it"
        found.append(("Y004", message, match.start()))
    problems: list[Problem] = []
    for code, message, at in found:
        place = place_at(starts, at)
        problems.append(Problem(code, message, file=file, line=place.line, column=place.column))
    if problems:
        raise DefinitionError(in_reading_order(problems))


def _too_large(size: int) -> str:
    return f"{size} bytes are too many; a file may have {BYTES_AT_MOST}, so split it"


def _refuse(code: str, message: str, file: str, *, cause: Exception | None = None) -> NoReturn:
    raise DefinitionError([Problem(code, message, file=file)]) from cause
