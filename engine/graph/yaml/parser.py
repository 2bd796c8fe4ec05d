"""The YAML parser: ruamel's events, the core schema of YAML 1.2, and messages for syntax errors.

This is the only module that knows the library; its objects carry no types, so they are read through
the protocols below. An unquoted word has the meaning of the core schema: `true` and `null` are
values; `no`, `on`, `1_000`, `12:30` and dates are text. The library names the token at which it
could not continue; the mistake is often earlier (a quote that is never closed), so each rule for
syntax errors says whether to point there.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, Protocol, TypeAlias, cast

from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml import events as kinds
from ruamel.yaml.error import YAMLError

BREAK = re.compile(r"\r\n|\r|\n")
EventKind: TypeAlias = Literal["scalar", "mapping", "sequence", "end", "alias", "document"]

_KINDS: dict[type, EventKind] = {
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


class FilePosition(Struct, frozen=True):
    """A line and a column of a file, both from 1; columns count code points."""

    line: int
    column: int


class ParserEvent(NamedTuple):
    """One event: a scalar, the start or end of a collection, an alias, the start of a document.

    `start` and `end` are offsets into the text. `style` is the sign of a quoted or block scalar,
    empty for a plain one, whose `value` is still to be understood. `flow` is true in brackets,
    `directed` if lines with % stand above a document.
    """

    kind: EventKind
    start: int
    end: int
    anchor: str | None = None
    tag: str | None = None
    value: str = ""
    style: str = ""
    flow: bool = False
    directed: bool = False


class YAMLSyntaxError(Exception):
    """The text is not YAML.

    `here` is the offset at which the parser stopped, `began` that of the construct it was in.
    """

    def __init__(self, message: str, *, here: int | None, began: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.here = here
        self.began = began


def parse_events(text: str) -> Iterator[ParserEvent]:
    """The events of a text. Raises `YAMLSyntaxError` at the first error."""
    parser = cast("_RuamelParser", YAML(typ="safe", pure=True))
    try:
        for event in parser.parse(text):
            kind = _KINDS.get(type(event))
            if kind is not None:
                yield _event(kind, event)
    except _BROKEN as error:
        message = (
            f"{getattr(error, 'context', None) or ''}: {getattr(error, 'problem', None) or ''}"
        )
        here, began = _index(error, "problem_mark"), _index(error, "context_mark")
        raise YAMLSyntaxError(message, here=here, began=began) from error


def _event(kind: EventKind, event: object) -> ParserEvent:
    match kind:
        case "scalar":
            word = cast("_ScalarEvent", event)
            return ParserEvent(
                kind, *_span(word), word.anchor, _tag(word), word.value, style=word.style or ""
            )
        case "mapping" | "sequence":
            opened = cast("_CollectionEvent", event)
            flow = bool(opened.flow_style)
            return ParserEvent(kind, *_span(opened), opened.anchor, _tag(opened), flow=flow)
        case "document":
            document = cast("_DocumentEvent", event)
            directed = bool(document.tags) or document.version not in (None, (1, 2))
            return ParserEvent(kind, *_span(document), directed=directed)
        case _:
            alias = cast("_Marked", event)
            return ParserEvent(kind, *_span(alias), getattr(event, "anchor", None))


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


class _ScalarEvent(_Tagged, Protocol):
    value: str
    style: str | None


class _CollectionEvent(_Tagged, Protocol):
    flow_style: bool | None


class _DocumentEvent(_Marked, Protocol):
    version: tuple[int, int] | None
    tags: Mapping[str, str] | None


class _RuamelParser(Protocol):
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
MAX_DIGITS = 1000
_FIRST = frozenset("+-.0123456789")


def resolve_word(word: str) -> bool | int | float | str | None:
    """The value of an unquoted word.

    Raises `ValueError`, with the reason, for numbers that JSON cannot represent.
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
    if len(word) > MAX_DIGITS:
        raise ValueError(f"is a number of more than {MAX_DIGITS} digits")


_UNKNOWN = "this is not YAML; compare its quotes, brackets and indents"
_QUOTE_IT = "put the text in quotes"
# What the parser says; our sentence, with the groups of the match; whether to point at the
# beginning of what was being read instead of the place where reading stopped.
_RULES: tuple[tuple[str, str, bool], ...] = (
    (
        r"character '\\t' that",
        "a tab is not allowed here; use spaces, or put a text with tabs in quotes",
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
    (r"block scalar", "nothing may follow | or >; begin the text on the next line", False),
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
        "a key is not allowed among list items; indent it below its item",
        False,
    ),
    (r"collection: ", "this is not indented like the list items above; align it", False),
    (
        r"mapping: .*<block end>, but found '-'",
        "a list item is not allowed among keys; indent it below its key",
        False,
    ),
    (r"", _UNKNOWN, False),
)
_MAX_KEY = 1000  # characters; what the parser looks ahead for a colon, rounded down
_TOO_HIGH = re.compile(r"\\U(?!000|0010)[0-9a-fA-F]{8}")


def describe(error: YAMLSyntaxError, text: str) -> tuple[str, int]:
    """One sentence about a syntax error, and the offset to report it at."""
    if error.here is None:
        return _without_mark(text)
    here = min(error.here, len(text))
    began = here if error.began is None else error.began
    special = _special(error.message, text, here, began)
    if special:
        return special
    rule = next(rule for rule in _RULES if re.search(rule[0], error.message))
    match = re.search(rule[0], error.message)
    groups = match.groups() if match else ()
    return rule[1].format(*groups), began if rule[2] else here


def _special(message: str, text: str, here: int, began: int) -> tuple[str, int] | None:
    """Mistakes that only the text itself distinguishes."""
    if "mapping values" in message:
        return _second_colon(text, here)
    if "flow mapping" in message or "flow sequence" in message:
        return _unclosed(message, text, here, began)
    if re.search(r"mapping: expected <block end>, but found '(?!-')", message):
        return _leftover(text, here)
    return _sign(message, text, here)


def _sign(message: str, text: str, here: int) -> tuple[str, int] | None:
    """A backslash or a percent sign where it means something else than was meant."""
    if "escape" in message and "double-quoted" in message:
        start = text.rfind("\\", 0, here + 1)
        written = text[start : start + 2]
        return f"{written} is no escape in double quotes; write \\{written}", start
    if "character '%' that" in message and text.startswith("{%", here - 1):
        return "quote a text that begins with {%, or put it in a block after |", here - 1
    return None


def _second_colon(text: str, here: int) -> tuple[str, int]:
    """A colon where no key can be: in a text, or after a line that does not lead to it."""
    before, line = _lines(text, here)
    key = text[line:here]
    at = line + _indent(key)
    if re.search(r":\s", key):
        return f"a text with ': ' in it is taken for a key; {_QUOTE_IT}", here
    if len(key) > _MAX_KEY:
        return f"a key of more than {_MAX_KEY} characters; write it after '? '", at
    above = text[before:line].rstrip()
    if re.search(r":\s", above) and _indent(key) > _indent(above):
        return "this key is indented below a line that already has a value; align the two", at
    message = "this line is no key, yet the next one is; write `key: value` in one line each"
    return message, before + _indent(above)


def _unclosed(message: str, text: str, here: int, began: int) -> tuple[str, int]:
    opening = text[began : began + 1]
    closing = "}" if opening == "{" else "]"
    if "stream end" in message:
        return f"this {opening} is never closed; add {closing}", began
    found = message.rsplit("got ", 1)[-1]
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


def _place(text: str, offset: int) -> FilePosition:
    return position_at(line_starts(text), offset)


def line_starts(text: str) -> list[int]:
    """The offset at which each line begins; lines end with LF, CRLF or CR."""
    return list(_line_starts(text))


def position_at(starts: list[int], offset: int) -> FilePosition:
    """The line and column of an offset, given where the lines begin."""
    line = bisect_right(starts, offset)
    return FilePosition(line, offset - starts[line - 1] + 1)


def _line_starts(text: str) -> Iterator[int]:
    yield 0
    for match in BREAK.finditer(text):
        yield match.end()
