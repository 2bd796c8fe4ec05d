"""OpenAI's responses: `/v1/responses`, whose thread (`previous_response_id`) is a session."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from itertools import count, takewhile
from time import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import NotFound, TeamgraphError
from ..messages import JSON, Usage
from ..records import Run, SessionKey
from ..session.store import Store
from .access import caller
from .answers import answer_of, answer_pieces
from .errors import info_of
from .http import event_frame, event_response, json_response, path_parameter, read_json
from .openai_requests import (
    Conversation,
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

PREFIX = "resp_"
"""Begins the id of a response; the rest is that of the run."""
_MOST_TURNS = 20
"""Turns that are looked through for one that follows on a response."""


class Item(SentMessage):
    """A message of the input, or an item that is none."""

    type: str = "message"
    role: str = ""


class TextFormat(Sent):
    """The form that a client wants the answer in."""

    type: str = "text"


class TextOptions(Sent):
    """How the text of an answer is written."""

    format: TextFormat | None = None


class ResponseBody(SentBody):
    """What `responses.create` sends."""

    input: str | Sequence[Item]
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    text: TextOptions | None = None


async def create_response(request: Request) -> Response:
    """Run the graph on the input, as a response.

    It goes on in the session of `previous_response_id`, which must be its last one. Without that it
    begins a session, unless `store` is false, or there are earlier messages in the input: then the
    run is not kept.
    """
    body = await read_json(request, ResponseBody)
    _check(request, body)
    conversation = _conversation(body)
    session_id = None
    if body.previous_response_id is not None:
        user_id = caller(request).user(body.user)
        store = server_of(request).store
        session_id = await _thread(store, user_id, body.previous_response_id)
    asked = read_request(request, body, conversation, session_id=session_id)
    is_kept = body.store is not False and not conversation.history
    started = await start(request, asked, kept=is_kept and asked.session_id is None)
    about = _about(body, is_kept=is_kept or asked.session_id is not None)
    if asked.stream:
        return event_response(frames(started, about), started.headers)
    run = await result(request, started.live)
    return json_response(response_json(run, about), headers=started.headers)


async def show_response(request: Request) -> Response:
    """Show a response that was kept; the user is that of the login, or of the parameter `user`."""
    user_id = caller(request).user(request.query_params.get("user"))
    run = await _run(server_of(request).store, user_id, path_parameter(request, "response_id"))
    return json_response(response_json(run, {"model": run.turn.graph, "store": True}))


def response_json(run: Run, about: Mapping[str, JSON]) -> dict[str, JSON]:
    """A run as a `response`; `about` are the fields that repeat the request."""
    return {
        **_response(run.run_id, int(run.turn.started), about),
        "status": _STATUSES[run.status],
        "output": [_item(run.run_id, answer_of(run))],
        "usage": usage_json(run.usage),
        "teamgraph": ids_of(run),
    }


async def frames(started: Started, about: Mapping[str, JSON]) -> AsyncGenerator[bytes]:
    """The events of a run as the frames of a streamed response."""
    run_id, numbers = started.live.run_id, count()
    response: dict[str, JSON] = {**_response(run_id, int(time()), about), "status": "in_progress"}
    part: dict[str, JSON] = {"item_id": _item_id(run_id), "output_index": 0, "content_index": 0}
    texts: list[str] = []

    def frame(name: str, **fields: JSON) -> bytes:
        return event_frame(name, {"type": name, "sequence_number": next(numbers), **fields})

    yield frame("response.created", response=response)
    yield frame("response.in_progress", response=response)
    item: JSON = {**_item(run_id), "content": [], "status": "in_progress"}
    yield frame("response.output_item.added", output_index=0, item=item)
    yield frame("response.content_part.added", **part, part=_part(""))
    try:
        async with aclosing(answer_pieces(started.live)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    texts.append(piece)
                    yield frame("response.output_text.delta", **part, delta=piece, logprobs=[])
                    continue
                text = "".join(texts)
                done = _item(run_id, text)
                yield frame("response.output_text.done", **part, text=text, logprobs=[])
                yield frame("response.content_part.done", **part, part=_part(text))
                yield frame("response.output_item.done", output_index=0, item=done)
                final = response_json(piece, about)
                yield frame("response.completed", response={**final, "output": [done]})
    except TeamgraphError as error:
        info = info_of(error)
        response["status"] = "failed"
        response["error"] = {"code": info.code, "message": info.message}
        yield frame("response.failed", response=response)


def usage_json(usage: Usage) -> JSON:
    """Tokens as responses count them."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


_STATUSES = {
    "done": "completed",
    "waiting": "completed",  # with the question: the next input of the thread answers it
    "running": "in_progress",
    "failed": "failed",
    "cancelled": "cancelled",
}


def _check(request: Request, body: ResponseBody) -> None:
    """Raise `Refusal` for what changes the answer's form, or the way to it."""
    if body.background:
        raise refused("background", "start the run with POST /api/runs and `detach` instead")
    if body.text is not None and body.text.format is not None:
        check_form(request, body, body.text.format.type, "text.format")


def _conversation(body: ResponseBody) -> Conversation:
    if isinstance(body.input, str):
        message = SentMessage(role="user", content=body.input)
        return read_conversation([message], "input", body.instructions)
    messages = [
        item if item.type == "message" else item.model_copy(update={"role": "tool"})
        for item in body.input
    ]
    return read_conversation(messages, "input", body.instructions)


async def _thread(store: Store, user_id: str | None, response_id: str) -> str:
    """The session that a response belongs to; raises `Refusal` if it is not its last one."""
    run = await _run(store, user_id, response_id)
    newest = await store.runs(SessionKey(user_id, run.session_id), limit=_MOST_TURNS)
    later = takewhile(lambda turn: turn.run_id != run.run_id, newest)
    # Those that failed are not in the thread.
    last = next((turn for turn in later if turn.status not in ("failed", "cancelled")), None)
    if last is not None:
        raise refused(
            "previous_response_id",
            f"{response_id!r} is not the last response of its thread, which goes on with "
            f"'{PREFIX}{last.run_id}'; name that one, or send the earlier messages as `input`",
            code="not_the_last_response",
        )
    return run.session_id


async def _run(store: Store, user_id: str | None, response_id: str) -> Run:
    run_id = response_id.removeprefix(PREFIX)
    key = await store.find(user_id, run_id)
    run = await store.run(key, run_id) if key is not None else None
    if run is None:
        raise NotFound(
            f"there is no response {response_id!r} that was kept; responses are, unless `store` is "
            "false or the input has earlier messages"
        )
    return run


def _about(body: ResponseBody, *, is_kept: bool) -> Mapping[str, JSON]:
    return {
        "model": body.model,
        "previous_response_id": body.previous_response_id,
        "instructions": body.instructions,
        "metadata": dict(body.metadata or {}),
        "store": is_kept,
    }


def _response(run_id: str, created: int, about: Mapping[str, JSON]) -> dict[str, JSON]:
    return {
        "id": f"{PREFIX}{run_id}",
        "object": "response",
        "created_at": created,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [],
        "usage": None,
        **about,
    }


def _item(run_id: str, text: str = "") -> dict[str, JSON]:
    """The one item of the output: the answer as a message."""
    return {
        "id": _item_id(run_id),
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [_part(text)],
    }


def _item_id(run_id: str) -> str:
    return f"msg_{run_id}"


def _part(text: str) -> JSON:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


routes = [
    Route("/v1/responses", create_response, methods=["POST"]),
    Route("/v1/responses/{response_id}", show_response),
]
