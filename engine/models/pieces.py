"""The pieces in which a provider's answer comes in, and the answer that grows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct, field

from engine.errors import ModelError
from engine.messages import NO_USAGE, ToolCall, Usage

from .protocol import Reply


class CallFunction(Protocol):
    """The function in a piece of a tool call."""

    name: str | None
    arguments: str | None


class CallPiece(Protocol):
    """A piece of a tool call; pieces of one call have the same index."""

    index: int
    id: str | None
    function: CallFunction


class Delta(Protocol):
    """What a piece adds."""

    content: str | None
    tool_calls: Sequence[CallPiece] | None


class PieceChoice(Protocol):
    """A piece of one of the answers; we ask for one."""

    delta: Delta
    finish_reason: str | None


class Piece(Protocol):
    """A piece of the stream as litellm gives it; the last one may also have a `usage`."""

    model: str | None
    choices: Sequence[PieceChoice]


class _Call(Struct):
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])


class Answer(Struct):
    """An answer while its pieces come in."""

    model: str
    texts: list[str] = field(default_factory=list[str])
    usage: Usage = NO_USAGE
    finish_reason: str | None = None
    answered_by: str = ""
    calls: dict[int, _Call] = field(default_factory=dict[int, _Call])

    def take(self, piece: Piece) -> str:
        """Add a piece, and give back the text in it."""
        self.answered_by = piece.model or self.answered_by
        self.usage = _usage(piece) or self.usage
        said = ""
        for choice in piece.choices[:1]:
            self.finish_reason = choice.finish_reason or self.finish_reason
            said = choice.delta.content or ""
            for part in choice.delta.tool_calls or ():
                self._take_call(part)
        if said:
            self.texts.append(said)
        return said

    def reply(self, cost: float | None) -> Reply:
        """The whole; `ModelError` if there is nothing in it."""
        if not self.texts and not self.calls:
            raise self._empty()
        calls = [self.calls[index] for index in sorted(self.calls)]
        return Reply(
            "".join(self.texts),
            tool_calls=tuple(
                ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments))
                for call in calls
            ),
            usage=Usage(
                input_tokens=self.usage.input_tokens,
                output_tokens=self.usage.output_tokens,
                cached_tokens=self.usage.cached_tokens,
                calls=1,
                cost=cost,
            ),
            finish_reason=self.finish_reason,
            model=self.answered_by,
        )

    def _take_call(self, part: CallPiece) -> None:
        call = self.calls.setdefault(part.index, _Call())
        call.id = part.id or call.id
        call.name = part.function.name or call.name
        call.arguments.append(part.function.arguments or "")

    def _empty(self) -> ModelError:
        match self.finish_reason:
            case "length":
                what = "max_tokens was used up before the answer began; raise it"
            case "content_filter":
                what = "the provider's content filter held the answer back; change the prompt"
            case _:
                what = "the answer is empty; ask again, or change the prompt"
        retryable = self.finish_reason not in ("length", "content_filter")
        return ModelError(f"model {self.model}: {what}", model=self.model, retryable=retryable)


def _usage(piece: Piece) -> Usage | None:
    counts: object = getattr(piece, "usage", None)
    if counts is None:
        return None
    details: object = getattr(counts, "prompt_tokens_details", None)
    return Usage(
        input_tokens=getattr(counts, "prompt_tokens", 0) or 0,
        output_tokens=getattr(counts, "completion_tokens", 0) or 0,
        cached_tokens=getattr(details, "cached_tokens", 0) or 0,
        calls=1,
    )
