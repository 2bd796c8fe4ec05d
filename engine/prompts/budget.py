"""What one rendering may cost: a limit for its text and for the work that makes it.

Work is counted where it is cheap to count: a loop when it begins (its length is known), a call, an
include, and every text that an operator, a filter or a method makes longer. So an endless loop or
a huge text ends in an error after a bounded time, and an honest prompt hardly pays for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextvars import ContextVar
from itertools import islice
from typing import cast

from jinja2 import Undefined

from ..messages import Message

PART = 20
ROUND = 50
CALL = 100
TEMPLATE = 500
"""What looking at a part of a list, a round of a loop, a call and an include cost.

A character costs 1.
"""

_SIZED = frozenset((list, tuple))
_PRINTED = (str, int, float, Undefined)
_ATOMS = frozenset((int, float, bool, type(None)))

_WORK = 50
"""How often a rendering may make its longest text before it works too long."""

_COPIES = 10
"""How often its longest text may fit into what one filter copies."""


class TooMuch(Exception):
    """A template makes more text, or does more work, than one prompt may."""


class Rendering:
    """One rendering under way: the messages so far, and what it may still spend."""

    __slots__ = ("answer", "left", "longest", "messages", "written")

    def __init__(self, longest: int) -> None:
        self.messages: list[Message] = []
        self.longest = longest
        self.left = longest * _WORK
        self.written = 0
        self.answer = False

    def write(self, message: Message) -> None:
        """Add a message that the template wrote itself."""
        self.written += len(message.content)
        if self.written > self.longest:
            raise TooMuch(f"the prompt has more than {self.longest} characters; make it shorter")
        self.messages.append(message)


CURRENT: ContextVar[Rendering] = ContextVar("rendering")


def spend(amount: int) -> None:
    """Take `amount` from what the rendering has left."""
    rendering = CURRENT.get()
    rendering.left -= amount
    if rendering.left < 0:
        raise TooMuch(
            "the template works too long: it loops, calls or builds text without end; "
            "give it fewer rounds or shorter texts"
        )


def allow(length: int) -> None:
    """Refuse a text or list of this length before it is made; take it from what is left."""
    longest = CURRENT.get().longest
    if length > longest:
        raise TooMuch(f"a text or list is longer than {longest}; make it shorter")
    spend(length)


def printed(value: object) -> str:
    """What `{{ value }}` prints: nearly always a text."""
    return value if type(value) is str else as_text(value)


def joined(pieces: Iterable[str]) -> str:
    """The pieces as one text, refused before it is made if it is too long."""
    parts = pieces if isinstance(pieces, list) else list(pieces)
    allow(sum(map(len, parts)))
    return "".join(parts)


def rounds(values: Iterable[object]) -> Iterable[object]:
    """What a loop goes over, its rounds taken from what is left."""
    if type(values) not in _SIZED and not isinstance(values, Sized):
        values = list(islice(values, CURRENT.get().left // ROUND + 1))
    spend(len(cast("Sized", values)) * ROUND)
    return values


def weigh(value: object, most: int) -> int:
    """About how long `value` is as text; stops counting above `most`, and takes what it costs."""
    weight = parts = 0
    todo = [value]
    while todo and weight <= most:
        part = todo.pop()
        parts += 1
        weight += 1
        if isinstance(part, str | bytes):
            weight += len(part)
        elif type(part) not in _ATOMS:
            todo += _parts_of(part)
    spend(parts * PART)
    return weight


def _parts_of(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        # A field may be called `keys` or `items`: nothing but [ ] can be trusted here.
        return [*entries, *(entries[key] for key in entries)]
    if isinstance(value, Sequence | set | frozenset):
        return cast("Iterable[object]", value)
    return ()


def allow_text_of(value: object) -> None:
    """Refuse a value that would be a text too long."""
    allow(weigh(value, CURRENT.get().longest))


def allow_copies_of(value: object) -> None:
    """Refuse a list of which a filter makes copies, if they would be too many or too long."""
    most = CURRENT.get().longest * _COPIES
    weight = weigh(value, most)
    if weight > most:
        raise TooMuch(f"a list is longer than {most} in all; make it shorter")
    spend(weight)


def as_text(value: object) -> str:
    """A value as text, refused before it is made if it is too long or has no text of its own."""
    if not isinstance(value, _PRINTED):
        check_printable(value)
        allow_text_of(value)
    return str(value)


def check_printable(value: object) -> None:
    """Refuse what would print as the address of an object: nobody means it, and it changes."""
    name = type(value).__name__
    if isinstance(value, Iterator):
        raise TypeError(f"a {name} has no text; make it a list with | list, or a text with | join")
    if callable(value):
        raise TypeError(f"a {name} has no text; call it with ()")
    if type(value).__str__ is object.__str__ and type(value).__repr__ is object.__repr__:
        raise TypeError(f"a {name} has no text; print one of its fields")
