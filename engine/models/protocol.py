"""The interface of a model: one `Request` in, `Chunk`s of text out, one `Reply` at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from ..messages import JSON, NO_USAGE, FrozenStruct, Message, Part, ToolCall, Usage


class Request(Struct, frozen=True):
    """One request to a model.

    `model` is the id as the graph has it (`openai/gpt-5-mini`, `local`, `echo`). `schema` is a
    JSON Schema that the text of the answer must satisfy, None for free text; `answer_tool`
    describes the tool that takes the answer, for a server that is asked so. `choices` are the
    labels that a router offers: the answer is one of them (with `many`, any number), as JSON by
    `schema`; a model that can score labels may do that and write the JSON itself.
    `parameters` are the other keys of the graph's `model` (temperature, api_base, ...). `idle` is
    the number of seconds without a byte after which the request fails, None for no limit.
    `allow_api_base` are addresses that the caller trusts with prompts and keys; `api_base` comes
    from the graph, which is not trusted. `stream` is false if nobody reads the chunks: a model may
    then request its answer whole, which costs less, and give the reply alone. `attachments` are the
    bytes of the messages' `parts`, by `sha256`.
    """

    model: str
    messages: tuple[Message, ...]
    schema: Mapping[str, JSON] | None = None
    choices: tuple[str, ...] = ()
    many: bool = False
    tools: tuple[Mapping[str, JSON], ...] = ()
    parameters: Mapping[str, JSON] = {}
    idle: float | None = None
    allow_api_base: tuple[str, ...] = ()
    stream: bool = True
    attachments: Mapping[str, bytes] = {}
    answer_tool: str = ""


class Chunk(Struct, frozen=True):
    """A piece of the answer's text, as it arrives."""

    text: str


class Reply(FrozenStruct, frozen=True, eq=False):
    """The whole answer: the text of all chunks, the tool calls, usage and cost.

    `reasoning` is what the model wants to get back with the results of its tool calls, such as its
    thoughts. Only the model reads it, from `Message.reasoning`, and nobody is shown it.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = NO_USAGE
    finish_reason: str | None = None
    model: str = ""
    reasoning: str = ""


class Model(Protocol):
    """Anything that answers requests; it must be safe to call from many tasks at once.

    One that cannot call tools says so by an attribute `calls_tools = False`; a run with a node that
    has tools is refused then before it begins.
    """

    def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        """Stream the answer: any number of chunks, or none, then exactly one `Reply`.

        Raises `ModelError`; its `retryable` says whether the same request may succeed later.
        Closing the iterator early cancels the request.
        """
        ...


async def close_answer(pieces: AsyncIterator[Chunk | Reply]) -> None:
    """Close what `Model.ask` returned, which cancels the request if it is not done."""
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()


@runtime_checkable
class WarmsUp(Protocol):
    """A model that has something to do once that takes long, such as an import."""

    async def warm_up(self, model_id: str) -> None:
        """Do it; awaited before the time of an attempt begins, and quick if it is done already."""
        ...


@runtime_checkable
class ServesIds(Protocol):
    """A model that stands for several: it knows which ids it serves, and which is the default.

    `override` is an id to ask in place of all that a graph names, None if there is none.
    """

    @property
    def override(self) -> str | None: ...

    def default_id(self, environ: Mapping[str, str]) -> str:
        """The id of the model of nodes for which none is named; raises `NoModelError`."""
        ...

    def check(self, model_id: str, parameters: Mapping[str, JSON]) -> None:
        """Raise `NoModelError` if the id or its address would be refused; nothing is imported."""
        ...

    def check_ready(
        self,
        model_id: str,
        parameters: Mapping[str, JSON],
        environ: Mapping[str, str],
        *,
        with_tools: bool,
    ) -> None:
        """Raise `NoModelError` if it is certain now that the model cannot answer.

        It is not installed, has no key, or `with_tools` is needed and it cannot call any.
        """
        ...


@runtime_checkable
class TakesAttachments(Protocol):
    """A model that can be sent attachments; one without this method is sent none."""

    async def takes(self, request: Request, part: Part) -> bool:
        """Whether the model of the request takes this attachment; nothing is sent to find out."""
        ...


async def takes(model: Model, request: Request, part: Part) -> bool:
    """Whether a model takes an attachment; not if it does not say so."""
    return isinstance(model, TakesAttachments) and await model.takes(request, part)


@runtime_checkable
class RecallsResults(Protocol):
    """A model that answers from recordings, which have the results of servers' tools as well."""

    def tool_result(self, messages: Sequence[Message], call_id: str) -> str:
        """The recorded result of a call in the last of the messages; raises `ToolError`."""
        ...
