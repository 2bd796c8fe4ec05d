"""A rendering that failed, told with the template and line where it did.

What a prompt was rendered from, and where its words came from, for those who want to know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar

from jinja2 import Template, UndefinedError
from msgspec import Struct

from ..errors import PromptError, closest
from ..messages import Message


class Rendered(Struct, frozen=True):
    """The sources, by name, of all that the template reaches; the variables; the messages."""

    template: str
    sources: Mapping[str, str]
    variables: Mapping[str, object]
    messages: tuple[Message, ...]


class Stretch(Struct, frozen=True):
    """Words of a message that came from one place: those from `start` up to `end`, in code points.

    `template`, `line` and `column` say what printed them. `values` are the paths of the values that
    they show, such as `input.message` or `upstream[french].output`; none for the template's own.
    `is_text` says that they stand at that place letter by letter.
    """

    start: int
    end: int
    template: str
    line: int
    column: int
    values: tuple[str, ...] = ()
    is_text: bool = False


RENDERED: ContextVar[list[Rendered] | None] = ContextVar("rendered", default=None)
"""Where the prompts that are now rendered for a model are kept; None: nowhere."""


_UNDEFINED = r"'(\w+)' is undefined"


def prompt_error(error: Exception, name: str, variables: Mapping[str, object]) -> PromptError:
    """The error as the caller sees it; what was raised stays its cause."""
    template, line = _place(error, name)
    return PromptError(_explained(error, variables), template=template, line=line)


def _place(error: Exception, name: str) -> tuple[str, int | None]:
    """The innermost template, and its line, that the error passed through."""
    place: tuple[str, int | None] = (name, None)
    trace = error.__traceback__
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            place = (template.name or name, template.get_corresponding_lineno(trace.tb_lineno))
        trace = trace.tb_next
    return place


def _explained(error: Exception, variables: Mapping[str, object]) -> str:
    text = str(error).split("\n", 1)[0].rstrip(".")
    if isinstance(error, RecursionError):
        return "the template calls or includes itself without end"
    if isinstance(error, MemoryError):
        return "the template needs more memory than there is"
    if isinstance(error, UndefinedError) and (missing := re.fullmatch(_UNDEFINED, text)):
        near = closest(missing[1], variables)
        offered = ", ".join(sorted(variables)) or "nothing"
        hint = f"did you mean {near!r}?" if near else f"this prompt is given: {offered}"
        return f"{text}; {hint}"
    return text or type(error).__name__
