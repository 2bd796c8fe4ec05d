"""The difference of two texts, word by word, as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from markupsafe import Markup

from .origins import CallOrigins, MessageOrigins
from .text import shown

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_MOST_LINES, _MOST_WORDS = 4_000, 2_000
"""Of two texts, or two parts of them, that are compared; longer ones are shown as replaced."""


def difference_html(before: str, after: str) -> Markup:
    """What was deleted (`<del>`) and inserted (`<ins>`) between two texts.

    Lines are compared first, and the words of those that differ. The text of the deletions and of
    what is in neither is `before`, that of the insertions and of the rest `after`, byte for byte
    but for control characters, which are made visible.
    """
    return Markup('<pre class="difference"><span>{}</span></pre>').format(
        Markup("").join(_compared(before, after))
    )


def calls_difference_html(before: CallOrigins | None, after: CallOrigins | None) -> Markup:
    """The difference of the messages of two model calls; None has no messages."""
    old = before.messages if before is not None else ()
    new = after.messages if after is not None else ()
    pairs = _pairs(old, new)
    return Markup('<ol class="message-list">{}</ol>').format(
        Markup("").join(
            Markup('<li class="message role-{0}"><p class="message-role">{0}</p>{1}</li>').format(
                role, difference_html(then, now)
            )
            for role, then, now in pairs
        )
    )


def _pairs(
    old: Sequence[MessageOrigins], new: Sequence[MessageOrigins]
) -> Iterator[tuple[str, str, str]]:
    """The role and both texts of each message; those in only one of the lists have one empty."""
    roles = [message.role for message in old], [message.role for message in new]
    matcher = SequenceMatcher(None, *roles, autojunk=False)
    for operation, first, last, start, end in matcher.get_opcodes():
        if operation == "equal":
            pairs = zip(old[first:last], new[start:end], strict=True)
            yield from ((then.role, then.text, now.text) for then, now in pairs)
        else:
            yield from ((then.role, then.text, "") for then in old[first:last])
            yield from ((now.role, "", now.text) for now in new[start:end])


def _compared(before: str, after: str) -> Iterator[Markup]:
    lines = _LINE.findall(before), _LINE.findall(after)
    for same, old, new in _blocks(*lines, most=_MOST_LINES):
        if same:
            yield Markup("{}").format(shown(new))
            continue
        words = _WORD.findall(old), _WORD.findall(new)
        for is_same, deleted, inserted in _blocks(*words, most=_MOST_WORDS):
            if is_same:
                yield Markup("{}").format(shown(inserted))
                continue
            if deleted:
                yield Markup("<del>{}</del>").format(shown(deleted))
            if inserted:
                yield Markup("<ins>{}</ins>").format(shown(inserted))


def _blocks(
    before: Sequence[str], after: Sequence[str], *, most: int
) -> Iterator[tuple[bool, str, str]]:
    """Stretches of both that are the same, or differ, in their order."""
    if max(len(before), len(after)) > most:
        yield before == after, "".join(before), "".join(after)
        return
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for operation, first, last, start, end in matcher.get_opcodes():
        yield operation == "equal", "".join(before[first:last]), "".join(after[start:end])
