"""What a prompt was rendered from, kept where somebody wants to know more of it."""

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


RENDERED: ContextVar[list[Rendered] | None] = ContextVar("rendered", default=None)
"""Where the prompts that are now rendered for a model are kept; None: nowhere."""
