"""What a prompt was rendered from, and where its words came from, for those who want to know."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

from msgspec import Struct

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
