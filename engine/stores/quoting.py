"""References to earlier runs in the documents of a record, in place of the words that it quotes.

A text that quotes nothing is kept as it is. Another one is a list of its pieces: texts of its own,
and `[run, place]` for a text of an earlier run, or `[run, place, parts, length]` where it was cut
or escaped; `run` counts in the record's `quotes`. So whoever deletes a run deletes its words in all
that quoted it, also in what is written later by a run that had read it before.

Where the words of one text stand in another: as they are, cut off, escaped, or indented.

A prompt quotes what was said earlier fenced, as JSON, or cut at some length. The quoting text is
told apart into words of the quoted one, as ranges of it, and what was put between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple, Protocol, TypeAlias

from ..messages import JSON, Quote
from ..records import Turn
from ..session.quotes import ANSWER, INPUT, RESULT

Range: TypeAlias = tuple[int, int]
Part: TypeAlias = "Range | str"
"""Characters `start` to `end` of the quoted text, or what stands between them."""

_HEAD, _SHORT_HEAD = 40, 12
"""Characters by which a text is known where it ends early; fewer where a mark says it was cut."""
_CUT = ("…", "...")
_MARGIN = re.compile(r"[ \t>]+")
_INSIDE = re.compile(r"(?<!\\)\w\Z|(?<=\\)[^\Wbfnrt]\Z")


class Excerpt(NamedTuple):
    """Words of a quoted text; `end` is where they end in the text that quotes them."""

    parts: tuple[Part, ...]
    end: int


def split(text: str, quoted: str, beginnings: tuple[str, ...]) -> Iterator[str | Excerpt]:
    """The text in pieces: excerpts of `quoted`, which begins like that, and what lies between."""
    begun = position = 0
    while (at := _find(text, beginnings, position)) >= 0:
        excerpt = _excerpt(text, at, quoted)
        if excerpt is None:
            position = at + 1
            continue
        if at > begun:
            yield text[begun:at]
        yield excerpt
        begun = position = excerpt.end
    if begun < len(text):
        yield text[begun:]


def is_cut(text: str) -> bool:
    """Whether something may have been cut off in a text."""
    return _CUT[0] in text or _CUT[1] in text


def heads(texts: Iterable[str], *, cut: bool) -> list[tuple[str, tuple[str, ...]]]:
    """Each with how it may begin where it is quoted; what has none of these quotes it nowhere."""
    length = _SHORT_HEAD if cut else _HEAD
    return [(quoted, _heads(quoted[:length])) for quoted in texts]


def joined(parts: tuple[Part, ...], quoted: str) -> str:
    """The excerpt as it stood in the quoting text."""
    return "".join(part if isinstance(part, str) else quoted[slice(*part)] for part in parts)


def _find(text: str, beginnings: tuple[str, ...], position: int) -> int:
    first = -1
    for head in beginnings:
        at = text.find(head, position) if first < 0 else text.find(head, position, first)
        first = at if at >= 0 else first
    return first


def _excerpt(text: str, at: int, quoted: str) -> Excerpt | None:
    """What follows of the quoted text; None if it is less than all of it, or than its head.

    A text that stands in the middle of a longer word is not quoted there.
    """
    is_word = _is_in_word(quoted[0]) and _is_in_word(text[at - 1 : at])
    if is_word and _INSIDE.search(text, max(0, at - 2), at):
        return None
    parts: list[Part] = []
    here, end = 0, at
    while True:
        length = _alike(quoted, here, text, end)
        if length:
            parts.append((here, here + length))
            here, end = here + length, end + length
        between = _between(quoted, here, text, end)
        if not between:
            break
        parts.append(between)
        end += len(between)
        here += 0 if _MARGIN.fullmatch(between) else 1
    if here == len(quoted):
        is_word = _is_in_word(quoted[-1]) and _is_in_word(text[end : end + 1])
        return None if is_word else Excerpt(tuple(parts), end)
    is_enough = here >= _HEAD or (here >= _SHORT_HEAD and text.startswith(_CUT, end))
    return Excerpt(tuple(parts), end) if is_enough else None


def _is_in_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _alike(quoted: str, here: int, text: str, end: int) -> int:
    """For how many characters the two go on alike."""
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


def _between(quoted: str, here: int, text: str, end: int) -> str:
    """What stands in place of the next character, or before it where a line begins."""
    if here == len(quoted):
        return ""
    for escaped in _escapes(quoted[here]):
        if text.startswith(escaped, end):
            return escaped
    line = quoted.rfind("\n", 0, here) + 1
    if not line or quoted[line:here].strip(" \t"):
        return ""
    there, own = _margin(text, end), _margin(quoted, here)
    return there[: max(0, len(there) - len(own))]


def _margin(text: str, at: int) -> str:
    found = _MARGIN.match(text, at)
    return found[0] if found else ""


@lru_cache(maxsize=1024)
def _heads(beginning: str) -> tuple[str, ...]:
    """How a text that begins like this may begin where it is quoted; its first line is enough."""
    head = beginning.split("\n", 1)[0] or beginning
    first, *rest = head.split("<")[:4]
    marked = (
        first + "".join(mark + part for mark, part in zip(marks, rest, strict=True))
        for marks in product(("<", "&lt;"), repeat=len(rest))
    )
    return tuple({form: None for text in marked for form in (text, *_as_json(text))})


@lru_cache(maxsize=1024)
def _escapes(letter: str) -> tuple[str, ...]:
    """What may stand for a character, the longest first."""
    forms = {*_as_json(letter), *({"&lt;"} if letter == "<" else ())}
    return tuple(sorted(forms - {letter}, key=len, reverse=True))


def _as_json(text: str) -> tuple[str, ...]:
    once = [json.dumps(text, ensure_ascii=flag)[1:-1] for flag in (False, True)]
    inside = [json.dumps(form, ensure_ascii=flag)[1:-1] for form in once for flag in (False, True)]
    return (*once, *inside)


DELETED = "(deleted)"
Content: TypeAlias = "str | list[Any]"
"""A text in a document."""


class References(Protocol):
    """What a store knows of the runs that its documents refer to."""

    def source(self, run_id: str, session_id: str | None = None) -> JSON:
        """What stands for a run, of another session if that is named; None if it is gone."""
        ...

    def turn(self, source: JSON) -> Turn | None:
        """The turn of a run of the same session, None if it is gone."""
        ...

    def text(self, source: JSON, place: str) -> str | None:
        """A text of a run, None if it is gone."""
        ...


class Quoting:
    """Puts references into the texts of one record. `sources` are the runs that it refers to."""

    def __init__(self, quotes: Sequence[Quote], references: References) -> None:
        self._by_text: dict[str, Quote] = {}
        for quote in quotes:
            self._by_text.setdefault(quote.text, quote)
        self._by_text.pop("", None)
        self._known: dict[bool, Sequence[tuple[str, tuple[str, ...]]]] = {}
        self._quotes = quotes
        self._references = references
        self.sources: list[JSON] = []

    def has_lost(self, run_id: str) -> bool:
        """Whether a run of this session was deleted since it was read."""
        was_read = any(one.run_id == run_id for one in self._quotes if one.session_id is None)
        return was_read and self._references.source(run_id) is None

    def content(self, text: str, *, of_result: bool = False) -> Content:
        """The text as it is kept.

        A result `of_result` of a tool that made it itself quotes no other results: a chain of equal
        ones would have to be followed back to the first.
        """
        if (quote := self._by_text.get(text)) and not (of_result and _is_result(quote)):
            return [self._reference(quote)]
        pieces: list[str | list[JSON]] = [text]
        own = text
        for quoted, beginnings in self._needles(cut=is_cut(text)):
            for beginning in beginnings:
                if beginning in own and not (of_result and _is_result(self._by_text[quoted])):
                    pieces = list(self._apart(pieces, quoted, beginnings))
                    own = "\0".join(piece for piece in pieces if isinstance(piece, str))
                    break
        return pieces if len(pieces) > 1 or isinstance(pieces[0], list) else text

    def _needles(self, *, cut: bool) -> Sequence[tuple[str, tuple[str, ...]]]:
        """The quoted texts, the longest first, each with how it may begin where it is quoted."""
        if cut not in self._known:
            longest_first = sorted(self._by_text, key=len, reverse=True)
            self._known[cut] = heads(longest_first, cut=cut)
        return self._known[cut]

    def _apart(
        self, pieces: Iterable[str | list[JSON]], quoted: str, beginnings: tuple[str, ...]
    ) -> Iterator[str | list[JSON]]:
        """The pieces, with references in place of what they quote of a text."""
        for piece in pieces:
            if not isinstance(piece, str):
                yield piece
                continue
            for part in split(piece, quoted, beginnings):
                if isinstance(part, str):
                    yield part
                else:
                    yield self._referred(part, self._by_text[quoted])

    def _referred(self, excerpt: Excerpt, quote: Quote) -> list[JSON]:
        reference = self._reference(quote)
        if excerpt.parts != ((0, len(quote.text)),):
            reference.append([part if isinstance(part, str) else [*part] for part in excerpt.parts])
            reference.append(len(quote.text))
        return reference

    def _reference(self, quote: Quote) -> list[JSON]:
        source = self._references.source(quote.run_id, quote.session_id)
        if source not in self.sources:
            self.sources.append(source)
        return [self.sources.index(source), quote.place]


class Reading:
    """Fills words in where a record's texts refer to earlier runs. `quotes` are those it found."""

    def __init__(self, sources: Sequence[JSON], references: References) -> None:
        self._sources = sources
        self._references = references
        self.quotes: dict[Quote, None] = {}

    def text(self, content: Content) -> str:
        """The text as it was, without what has been deleted since."""
        if isinstance(content, str):
            return content
        return "".join(piece if isinstance(piece, str) else self._said(*piece) for piece in content)

    def _said(
        self, number: int, place: str, parts: Sequence[Any] = (), length: int | None = None
    ) -> str:
        source = self._sources[number]
        text = self._references.text(source, place)
        if text is None or length not in (None, len(text)):
            return DELETED  # of another length is a text that itself has lost some words
        if (turn := self._references.turn(source)) is not None:
            self.quotes[Quote(turn.run_id, place)] = None
        if not parts:
            return text
        return joined(tuple(part if isinstance(part, str) else tuple(part) for part in parts), text)


def _is_result(quote: Quote) -> bool:
    return quote.place.endswith(RESULT)


def text_of_turn(turn: Turn, place: str) -> str | None:
    """A text of a run that its turn has; None for all others."""
    return {INPUT: turn.input, ANSWER: turn.answer}.get(place)
