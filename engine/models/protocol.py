"""What the engine asks of a model: one request in, pieces of text out, one reply at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from msgspec import Struct, field

from ..messages import JSON, NO_USAGE, Message, ToolCall, Usage


class Request(Struct, frozen=True):
    """One question to a model.

    `model` is the id as the graph names it (`openai/gpt-5-mini`, `local`, `echo`). `schema` is a
    JSON Schema that the answer's text must satisfy, None for free text. `choices` are set when a
    router asks: the answer is one of these labels (with `many`, any number of them), as JSON by
    `schema`; a model that can score labels directly may do so and write that JSON itself.
    `parameters` go to the provider as they are (temperature, api_base, ...). `idle` is the number
    of seconds without a sign of life after which the model counts as gone, None for no limit.
    """

    model: str
    messages: tuple[Message, ...]
    schema: Mapping[str, JSON] | None = None
    choices: tuple[str, ...] = ()
    many: bool = False
    tools: tuple[Mapping[str, JSON], ...] = ()
    parameters: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    idle: float | None = None


class Chunk(Struct, frozen=True):
    """A piece of the answer's text, as it arrives."""

    text: str


class Reply(Struct, frozen=True):
    """The whole answer: all chunks put together, tool calls, and what it cost."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = NO_USAGE
    finish_reason: str | None = None
    model: str = ""


class Model(Protocol):
    """Anything that answers a request; safe to ask from many tasks at once."""

    def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        """Stream the answer: any number of chunks, then exactly one `Reply`.

        Raises `ModelError`; its `retryable` tells whether asking again makes sense. Closing the
        iterator early ends the request.
        """
        ...
