"""What Jinja says of a template that it cannot parse, said as this house says it."""

from __future__ import annotations

import re

from jinja2 import TemplateSyntaxError
from jinja2.lexer import Lexer

from ...errors import Problem, closest
from ..positions import Position, position_of
from ..roles import ATTRIBUTES, ROLES
from ..sources import Source

_ENCLOSING = frozenset(
    (*ROLES, "if", "for", "set", "block", "macro", "call", "filter", "with", "autoescape")
)
_TAGS = (*sorted(_ENCLOSING), "messages", "elif", "else", "extends", "include", "import", "from")
_ENDS = tuple(f"end{tag}" for tag in sorted(_ENCLOSING))
_UNKNOWN = r"Encountered unknown tag '([^']*)'\."
_INNERMOST = r"block that needs to be closed is '([^']*)'"
_ATTRIBUTE = r"takes cache and name, there is no '(.*)'"
_CHARACTER = r"unexpected char (.*) at \d+"


def syntax_problem(source: Source, error: Exception, lexer: Lexer) -> Problem:
    """The problem of a template or expression that cannot be parsed or compiled."""
    if not isinstance(error, TemplateSyntaxError):
        told = "the template is nested too deep, or a number in it is too long; make it simpler"
        return Problem("P011", told, file=source.file, line=1, column=1)
    message = error.message or ""
    place = position_of(error.lineno)
    innermost = re.search(_INNERMOST, message)
    unknown = re.match(_UNKNOWN, message)
    near: str | None = None
    if unknown is not None:
        told, near = _unknown_tag(unknown[1], innermost[1] if innermost else None)
    elif innermost is not None:
        told = f"{{% {innermost[1]} %}} is never closed; add {{% end{innermost[1]} %}}"
        place = _opened(source, innermost[1], lexer)
    elif (character := re.fullmatch(_CHARACTER, message)) is not None:
        told = f"the character {character[1]} has no meaning here"
    else:
        attribute = re.search(_ATTRIBUTE, message)
        near = closest(attribute[1], ATTRIBUTES) if attribute else None
        told = (message[:1].lower() + message[1:]).rstrip(".")
    return Problem(
        "P011", told, file=source.file, line=int(place), column=place.column, suggestion=near
    )


def _unknown_tag(tag: str, innermost: str | None) -> tuple[str, str | None]:
    if innermost is not None and tag.startswith("end"):
        told = f"{{% {tag} %}} does not end {{% {innermost} %}}, which is open here"
        return told, closest(tag, (f"end{innermost}",))
    if tag in (*_ENDS, *_TAGS):
        return f"there is nothing open that {{% {tag} %}} could belong to", None
    return f"there is no tag {tag!r}", closest(tag, _ENDS if tag.startswith("end") else _TAGS)


def _opened(source: Source, tag: str, lexer: Lexer) -> Position:
    """Where the innermost `tag` opens that is not closed."""
    opened: list[Position] = []
    tokens = lexer.tokeniter(source.text, source.name)
    spoken = ((line, kind, value) for line, kind, value in tokens if kind != "whitespace")
    before = ""
    for line, kind, value in spoken:
        if before == "block_begin" and value == tag:
            opened.append(position_of(line))
        elif opened and ((before, value) == ("block_begin", f"end{tag}") or _assigns(tag, value)):
            opened.pop()
        before = kind
    return opened[-1]


def _assigns(tag: str, value: str) -> bool:
    """Whether a token shows that `{% set %}` is the short one, which needs no end."""
    return tag == "set" and value == "="
