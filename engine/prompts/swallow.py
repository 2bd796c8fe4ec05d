"""Finds the line breaks that block trimming takes away where a line of text ends in a tag."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from jinja2.lexer import Lexer
from msgspec.structs import replace

from ..errors import Problem
from .position import START, Position, position_of
from .role import ROLES
from .tree import Parsed

_SUSPECT = re.compile(
    r"""^(?![ \t]*\{[%#]).*[%#]\}$           # text before a tag,
      | [%#]\}(?!\{[%#]).+[%#]\}$            # or between two,
      | ^[ \t]*\{[%#]-.*[%#]\}.+[%#]\}$      # or two, the first of which joins the line above
    """,
    re.MULTILINE | re.VERBOSE,
)
"""A line that ends in a tag after something that is printed. Few templates have one."""
_PRINTS_NOTHING = frozenset(
    (*ROLES, *(f"end{role}" for role in ROLES), "messages", "set", "endset", "macro", "endmacro")
)
_ENDS = frozenset(("block_end", "comment_end"))
_ENDS_MESSAGE = re.compile(r"\n|\s*\Z|\s*\{%[-+]?\s*end(?:system|user|assistant)\b")
"""Where nothing is lost: a blank line keeps the break, and messages lose their last one anyway."""


def swallowed(template: Parsed, lexer: Lexer) -> Iterator[Problem]:
    """A note for each tag at the end of a line of text, whose line break is not kept."""
    text = template.source.text
    if not _SUSPECT.search(text):
        return
    for tag, at, after in _ends_of_lines(lexer.tokeniter(text, template.name)):
        if tag not in _PRINTS_NOTHING and not _ENDS_MESSAGE.match(text, after):
            yield _note(template, at)


def _ends_of_lines(tokens: Iterable[tuple[int, str, str]]) -> Iterator[tuple[str, Position, int]]:
    """The tags that take a line break from a line of text, each with where the next one begins."""
    prints, tag, at = False, "", START
    for place, kind, value in tokens:
        if kind == "data":
            last = value.rpartition("\n")[2]
            prints = bool(last.strip()) or (prints and "\n" not in value)
        elif kind == "variable_begin":
            prints = True
        elif kind in ("block_begin", "comment_begin"):
            tag, at = "", position_of(place)
        elif kind == "name":
            tag = tag or value
        elif kind in _ENDS and value[0] != "-" and value[-1] == "\n":
            if prints:
                yield tag, at, position_of(place).offset + len(value)
            prints = False


def _note(template: Parsed, at: Position) -> Problem:
    told = "the line break after this tag is not printed, so the next line goes on in this one; "
    told += "write +%} to keep it, or give the tag a line of its own"
    return replace(template.problem_at(at, "P111", told), severity="note")
