"""Stores quotes of earlier runs as references, so that deleting a run deletes its quotes too.

A text that quotes nothing is stored as it is, another one as a list of its pieces: texts of its
own, and `[run, place]` for a text of an earlier run, or `[run, place, parts, length]` where it was
truncated or escaped; `run` is an index into the record's `quotes`. Quotes are found by string
matching: verbatim, truncated, escaped as JSON or in a fence, or indented; `parts` are then ranges
of the quoted text and what was inserted between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from json import dumps
from typing import Any, NamedTuple, Protocol, TypeAlias

from ..messages import JSON, Quote
from ..records import Turn
from ..session.history import ANSWER, ATTACHED, INPUT, RESULT

Range: TypeAlias = tuple[int, int]
QuotePart: TypeAlias = "Range | str"
"""Characters `start` to `end` of the quoted text, or what was inserted between them."""

_HEAD, _SHORT_HEAD = 40, 12
"""Characters that identify a truncated quote; fewer where an ellipsis marks the truncation."""
_CUT = ("…", "...")
_MARGIN = re.compile(r"[ \t>]+")
_INSIDE = re.compile(r"(?<!\\)\w\Z|(?<=\\)[^\Wbfnrt]\Z")


class QuotedSpan(NamedTuple):
    """A quote found in a text: parts of the quoted text, and where the quote ends."""

    parts: tuple[QuotePart, ...]
    end: int


def split(text: str, quoted: str, beginnings: Sequence[str]) -> Iterator[str | QuotedSpan]:
    """Split a text into quotes of `quoted`, found by its beginnings, and what lies between."""
    begun = position = 0
    while (at := _find(text, beginnings, position)) >= 0:
        span = _match(text, at, quoted)
        if span is None:
            position = at + 1
            continue
        if at > begun:
            yield text[begun:at]
        yield span
        begun = position = span.end
    if begun < len(text):
        yield text[begun:]


def has_ellipsis(text: str) -> bool:
    """Whether something in a text may have been truncated."""
    return _CUT[0] in text or _CUT[1] in text


def find_beginnings(texts: Iterable[str], *, truncated: bool) -> list[tuple[str, str]]:
    """Each way in which each text may begin where it is quoted, with the text.

    What has none of these does not quote it.
    """
    length = _SHORT_HEAD if truncated else _HEAD
    return [(beginning, text) for text in texts for beginning in _beginnings(text[:length])]


def quote_text(parts: tuple[QuotePart, ...], quoted: str) -> str:
    """The quote as it stood in the quoting text."""
    return "".join(part if isinstance(part, str) else quoted[slice(*part)] for part in parts)


def _find(text: str, beginnings: Sequence[str], position: int) -> int:
    first = -1
    for head in beginnings:
        at = text.find(head, position) if first < 0 else text.find(head, position, first)
        first = at if at >= 0 else first
    return first


def _match(text: str, at: int, quoted: str) -> QuotedSpan | None:
    """The quote at `at`; None if it is shorter than the quoted text and than its head.

    A match in the middle of a longer word is not a quote.
    """
    is_word = _is_in_word(quoted[0]) and _is_in_word(text[at - 1 : at])
    if is_word and _INSIDE.search(text, max(0, at - 2), at):
        return None
    parts: list[QuotePart] = []
    here, end = 0, at
    while True:
        length = _common_length(quoted, here, text, end)
        if length:
            parts.append((here, here + length))
            here, end = here + length, end + length
        inserted = _inserted(quoted, here, text, end)
        if not inserted:
            break
        parts.append(inserted)
        end += len(inserted)
        here += 0 if _MARGIN.fullmatch(inserted) else 1
    if here == len(quoted):
        is_word = _is_in_word(quoted[-1]) and _is_in_word(text[end : end + 1])
        return None if is_word else QuotedSpan(tuple(parts), end)
    is_enough = here >= _HEAD or (here >= _SHORT_HEAD and text.startswith(_CUT, end))
    return QuotedSpan(tuple(parts), end) if is_enough else None


def _is_in_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _common_length(quoted: str, here: int, text: str, end: int) -> int:
    """The number of characters that both have in common from here on."""
    if not here and text.startswith(quoted, end):
        return len(quoted)
    length, step = 0, 64
    while step:
        part = quoted[here + length : here + length + step]
        if len(part) == step and text.startswith(part, end + length):
            length, step = length + step, step * 2
        else:
            step //= 2
    return length


def _inserted(quoted: str, here: int, text: str, end: int) -> str:
    """The escape of the next character, or the margin inserted at the beginning of a line."""
    if here == len(quoted):
        return ""
    for escaped in _escapes(quoted[here]):
        if text.startswith(escaped, end):
            return escaped
    line = quoted.rfind("\n", 0, here) + 1
    if not line or quoted[line:here].strip(" \t"):
        return ""
    longer, own = _margin(text, end), _margin(quoted, here)
    return longer[: max(0, len(longer) - len(own))]


def _margin(text: str, at: int) -> str:
    found = _MARGIN.match(text, at)
    return found[0] if found else ""


@lru_cache(maxsize=1024)
def _beginnings(head: str) -> tuple[str, ...]:
    """How a text with this head may begin where it is quoted, by the head's first line."""
    first, *rest = (head.split("\n", 1)[0] or head).split("<")[:4]
    forms: dict[str, None] = {}
    for marks in product(("<", "&lt;"), repeat=len(rest)):
        text = first
        for mark, part in zip(marks, rest, strict=True):
            text += mark + part
        forms |= dict.fromkeys((text, *_as_json(text)))
    return tuple(forms)


@lru_cache(maxsize=1024)
def _escapes(letter: str) -> tuple[str, ...]:
    """The escapes of a character, the longest first."""
    forms = {*_as_json(letter), *({"&lt;"} if letter == "<" else ())}
    return tuple(sorted(forms - {letter}, key=len, reverse=True))


def _as_json(text: str) -> tuple[str, ...]:
    """A text escaped as JSON once, and twice."""
    wide, ascii_only = dumps(text, ensure_ascii=False)[1:-1], dumps(text)[1:-1]
    return (
        wide,
        ascii_only,
        dumps(wide, ensure_ascii=False)[1:-1],
        dumps(wide)[1:-1],
        dumps(ascii_only, ensure_ascii=False)[1:-1],
        dumps(ascii_only)[1:-1],
    )


DELETED = "(deleted)"
Content: TypeAlias = "str | list[Any]"
"""A text in a document, in pieces if it quotes."""


class References(Protocol):
    """References from documents to runs, made and resolved by a store."""

    def reference(self, run_id: str, session_id: str | None = None) -> JSON:
        """The reference to a run, of another session if that is named; None if it is deleted."""
        ...

    def replayed(self, run_id: str) -> tuple[JSON, Turn] | None:
        """The reference to a run of the same session, and its turn; None if it is deleted."""
        ...

    def turn(self, reference: JSON) -> Turn | None:
        """The turn of a run of the same session, None if it is deleted."""
        ...

    def text(self, reference: JSON, place: str) -> str | None:
        """A text of a run, None if it is deleted."""
        ...


class QuoteEncoder:
    """Replaces quotes in the texts of one record by references; `runs` are the runs referred to."""

    def __init__(self, quotes: Sequence[Quote], references: References) -> None:
        self._by_text: dict[str, Quote] = {}
        for quote in quotes:
            self._by_text.setdefault(quote.text, quote)
        self._by_text.pop("", None)
        self._beginnings: dict[bool, list[tuple[str, str]]] = {}
        self._quotes = quotes
        self._references = references
        self.runs: list[JSON] = []

    def is_deleted(self, run_id: str) -> bool:
        """Whether a run of this session was deleted since it was read."""
        was_read = any(one.run_id == run_id for one in self._quotes if one.session_id is None)
        return was_read and self._references.reference(run_id) is None

    def encode(self, text: str, *, is_result: bool = False) -> Content:
        """The text as it is stored.

        A tool's own result (`is_result`) does not refer to other results: a chain of equal ones
        would have to be followed back to the first.
        """
        if not self._by_text:
            return text
        if (quote := self._by_text.get(text)) and not (is_result and _is_result(quote)):
            return [self._reference(quote)]
        truncated = has_ellipsis(text)
        if (beginnings := self._beginnings.get(truncated)) is None:
            beginnings = find_beginnings(self._by_text, truncated=truncated)
            self._beginnings[truncated] = beginnings
        found = [each for each in beginnings if each[0] in text]
        return self._encode_quotes(text, found, is_result=is_result) if found else text

    def _encode_quotes(
        self, text: str, found: Iterable[tuple[str, str]], *, is_result: bool
    ) -> Content:
        """The text, in pieces if it quotes one of the texts whose beginnings it has."""
        by_quoted: dict[str, list[str]] = {}
        for beginning, quoted in found:
            by_quoted.setdefault(quoted, []).append(beginning)
        pieces: list[str | list[JSON]] = [text]
        for quoted in sorted(by_quoted, key=len, reverse=True):
            if not (is_result and _is_result(self._by_text[quoted])):
                pieces = self._split(pieces, quoted, by_quoted[quoted])
        return pieces if len(pieces) > 1 or isinstance(pieces[0], list) else text

    def _split(
        self, pieces: Iterable[str | list[JSON]], quoted: str, beginnings: Sequence[str]
    ) -> list[str | list[JSON]]:
        """The pieces, with quotes of a text replaced by references."""
        parts: list[str | list[JSON]] = []
        for piece in pieces:
            if not isinstance(piece, str) or not any(map(piece.__contains__, beginnings)):
                parts.append(piece)
                continue
            for part in split(piece, quoted, beginnings):
                if isinstance(part, str):
                    parts.append(part)
                else:
                    parts.append(self._span_reference(part, self._by_text[quoted]))
        return parts

    def _span_reference(self, span: QuotedSpan, quote: Quote) -> list[JSON]:
        reference = self._reference(quote)
        if span.parts != ((0, len(quote.text)),):
            reference.append([part if isinstance(part, str) else [*part] for part in span.parts])
            reference.append(len(quote.text))
        return reference

    def _reference(self, quote: Quote) -> list[JSON]:
        run = self._references.reference(quote.run_id, quote.session_id)
        if run not in self.runs:
            self.runs.append(run)
        return [self.runs.index(run), quote.place]


class QuoteDecoder:
    """Replaces references in the texts of one record by their texts, and collects the `quotes`."""

    def __init__(self, runs: Sequence[JSON], references: References) -> None:
        self._runs = runs
        self._references = references
        self.quotes: dict[Quote, None] = {}

    def decode(self, content: Content) -> str:
        """The text as it was; quotes of deleted runs read `(deleted)`."""
        if isinstance(content, str):
            return content
        return "".join(
            piece if isinstance(piece, str) else self._resolve(*piece) for piece in content
        )

    def _resolve(
        self, number: int, place: str, parts: Sequence[Any] = (), length: int | None = None
    ) -> str:
        run = self._runs[number]
        text = self._references.text(run, place)
        if text is None or length not in (None, len(text)):
            return DELETED  # a text of another length has itself lost a quote
        if (turn := self._references.turn(run)) is not None:
            self.quotes[Quote(turn.run_id, place)] = None
        if not parts:
            return text
        return quote_text(
            tuple(part if isinstance(part, str) else tuple(part) for part in parts), text
        )


def _is_result(quote: Quote) -> bool:
    return quote.place.endswith(RESULT)


def text_of_turn(turn: Turn, place: str) -> str | None:
    """A text of a run that is part of its turn; None for all others."""
    if place.startswith(ATTACHED):
        return turn.attachments[int(place.removeprefix(ATTACHED))].name
    return {INPUT: turn.input, ANSWER: turn.answer}.get(place)
