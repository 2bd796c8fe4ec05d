"""OpenAI's chat completions: `/v1/models` and `/v1/chat/completions`, each graph a model.

A run that waits for a person answers with its question; in a session, the client's next message is
the answer (docs/decisions/0037-openai.md).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from time import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import TeamgraphError
from ..messages import JSON, Usage
from ..records import Run
from .answers import answer_of, answer_pieces
from .errors import info_of, openai_json
from .http import data_frame, event_response, json_response, path_parameter, read_json
from .openai_requests import (
    Sent,
    SentBody,
    SentMessage,
    Started,
    check_form,
    ids_of,
    read_conversation,
    read_request,
    refused,
    result,
    start,
)
from .server import server_of

DONE = b"data: [DONE]\n\n"


class StreamOptions(Sent):
    """How a stream ends."""

    include_usage: bool = False


class ResponseFormat(Sent):
    """The form that a client wants the answer in."""

    type: str


class ChatBody(SentBody):
    """What `chat.completions.create` sends."""

    messages: Sequence[SentMessage]
    stream_options: StreamOptions | None = None
    n: int | None = None
    functions: Sequence[JSON] | None = None
    response_format: ResponseFormat | None = None


async def list_models(request: Request) -> Response:
    """List the graphs, as models."""
    models: list[JSON] = [_model(name) for name in server_of(request).runners]
    return json_response({"object": "list", "data": models})


async def show_model(request: Request) -> Response:
    """Show one graph, as a model."""
    name = path_parameter(request, "model")
    server_of(request).runner(name)
    return json_response(_model(name))


async def complete_chat(request: Request) -> Response:
    """Run the graph on the last message, as a chat completion."""
    body = await read_json(request, ChatBody)
    if body.n not in (None, 1):
        raise refused("n", "a run has one answer; leave it out")
    if body.functions:
        raise refused("functions", "a graph calls its own tools only; declare them in the graph")
    if body.response_format is not None:
        check_form(request, body, body.response_format.type, "response_format")
    asked = read_request(request, body, read_conversation(body.messages))
    started = await start(request, asked)
    if asked.stream:
        options = body.stream_options
        has_usage = options is not None and options.include_usage
        frames = chunks(started, body.model, include_usage=has_usage)
        return event_response(frames, started.headers)
    run = await result(request, started.live)
    return json_response(completion(run, body.model), headers=started.headers)


def completion(run: Run, model: str) -> JSON:
    """A run as a `chat.completion`."""
    message: JSON = {"role": "assistant", "content": answer_of(run), "refusal": None}
    choice: JSON = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return {
        "id": f"chatcmpl-{run.run_id}",
        "object": "chat.completion",
        "created": int(run.turn.started),
        "model": model,
        "choices": [choice],
        "usage": usage_json(run.usage),
        "teamgraph": ids_of(run),
    }


async def chunks(started: Started, model: str, *, include_usage: bool) -> AsyncGenerator[bytes]:
    """The events of a run as frames of `chat.completion.chunk`s; an error is the last of them."""
    head: dict[str, JSON] = {
        "id": f"chatcmpl-{started.live.run_id}",
        "object": "chat.completion.chunk",
        "created": int(time()),
        "model": model,
    }
    yield _chunk(head, {"role": "assistant", "content": ""})
    try:
        async with aclosing(answer_pieces(started.live)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    yield _chunk(head, {"content": piece})
                    continue
                more = {"teamgraph": ids_of(piece)}
                yield _chunk(head, {}, finish_reason="stop", more=more)
                if include_usage:
                    yield data_frame({**head, "choices": [], "usage": usage_json(piece.usage)})
    except TeamgraphError as error:
        yield data_frame(openai_json(info_of(error)))
        return
    yield DONE


def usage_json(usage: Usage) -> JSON:
    """Tokens as chat completions count them."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _chunk(
    head: Mapping[str, JSON],
    delta: JSON,
    *,
    finish_reason: str | None = None,
    more: Mapping[str, JSON] | None = None,
) -> bytes:
    choice: JSON = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    return data_frame({**head, "choices": [choice], **(more or {})})


def _model(name: str) -> JSON:
    return {"id": name, "object": "model", "created": 0, "owned_by": "teamgraph"}


routes = [
    Route("/v1/models", list_models),
    Route("/v1/models/{model:path}", show_model),
    Route("/v1/chat/completions", complete_chat, methods=["POST"]),
]
