"""What goes to a model and what comes back: messages, tool calls, usage."""

from __future__ import annotations

import json
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from .kept import Kept

JSON: TypeAlias = JsonValue
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


class ToolCall(BaseModel):
    """A model's wish to call a tool; `arguments` is the JSON text that it wrote."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    arguments: str


class Message(BaseModel):
    """One chat message, as rendered, as sent and as stored.

    `origin` is the id of the earlier run that the message was replayed from, or None. A store
    keeps such a message as a reference to that run, never as a second copy of its words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    cache: bool = False
    origin: str | None = None


class Quote(Kept, frozen=True, eq=False):
    """A text of an earlier run, which a record may repeat.

    `place` tells which of the run's texts it is (`engine.quotes.said`), `session_id` is None for a
    run of the same session. A store keeps a reference to the run in place of the words, and gives
    the quote back without its `text`.
    """

    run_id: str
    place: str
    text: str = ""
    session_id: str | None = None


class Usage(Kept, frozen=True, eq=False):
    """What model calls cost: tokens as the provider counts them, `cost` in US dollars.

    `cost` is None where it is unknown; unknown is never counted as nothing.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    calls: int = 0
    cost: float | None = None

    def __add__(self, other: Usage) -> Usage:
        if not other.calls:
            return self
        if not self.calls:
            return other
        known = self.cost is not None and other.cost is not None
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            calls=self.calls + other.calls,
            cost=(self.cost or 0.0) + (other.cost or 0.0) if known else None,
        )


NO_USAGE = Usage()


def text_of(value: object) -> str:
    """A node's output as the text that a user is told: a text as it is, other JSON as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
