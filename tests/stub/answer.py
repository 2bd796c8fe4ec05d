"""What the stub provider was asked, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl

from teamgraph.engine.models.samples import sample


@dataclass
class StubAnswer:
    """One answer, or one way to fail.

    Faults: an HTTP status (`"429"`), `context` (400, context_length_exceeded), `timeout` (no
    answer ever), `reset` (hangs up before any byte), `cut` (hangs up after `after` chunks),
    `malformed` (a chunk that is no JSON), `badschema` (JSON that is no completion), `stall` (goes
    silent after `after` chunks), `sse_error` (an error event after `after` chunks). An answer that
    is no stream is cut, silent or malformed after its half; its error comes with status 200.

    `until` holds a stream up after `after` chunks, until it is true.

    `raw` are the bytes of a whole HTTP response, after which the connection is closed. `events` are
    those of a stream, as JSON or as they are if they are text, after which the body ends.
    """

    text: str | None = None
    tool_calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    fault: str | None = None
    latency: float | None = None
    pause: float | None = None
    chunk_size: int = 4
    after: int = 2
    until: Callable[[], bool] | None = None
    retry_after: float | str | None = None
    finish_reason: str | None = None
    message: str | None = None
    raw: bytes | None = None
    events: tuple[Any, ...] | None = None

    @property
    def is_exact(self) -> bool:
        """Whether it is given to a request for any path, in any provider's format."""
        return self.raw is not None or self.events is not None


@dataclass(frozen=True)
class StubRequest:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def model(self) -> str:
        return str(self.body.get("model", "")) if isinstance(self.body, dict) else ""

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.body.get("messages", []) if isinstance(self.body, dict) else []


def ordered_by_name(request: StubRequest, calls_before: int) -> StubAnswer:
    """The answer that the name of the model orders, `...?fault=500&times=2`."""
    order = dict(parse_qsl(request.model.partition("?")[2]))
    times = int(order.pop("times", "1000000000"))
    known = {field.name for field in fields(StubAnswer)}
    if unknown := set(order) - known:
        raise ValueError(f"the stub knows no {sorted(unknown)}; it knows {sorted(known)}")
    casts = {"latency": float, "pause": float, "chunk_size": int, "after": int}
    answer = StubAnswer(**{name: casts.get(name, str)(text) for name, text in order.items()})
    if calls_before >= times:
        answer.fault = None
    return answer


def fill_in(answer: StubAnswer, request: StubRequest) -> StubAnswer:
    """Give an answer without words the words that the request asks for."""
    if answer.text is not None or answer.tool_calls:
        return answer
    tools, choice = request.body.get("tools") or [], request.body.get("tool_choice")
    wanted = request.body.get("response_format") or {}
    if tools and (choice == "required" or isinstance(choice, dict)):
        name = choice["function"]["name"] if isinstance(choice, dict) else _names(tools)[0]
        (function,) = [tool["function"] for tool in tools if tool["function"]["name"] == name]
        arguments = sample(function.get("parameters") or {}, "stub")
        answer.tool_calls = ((name, arguments),)  # type: ignore[assignment]  # an object's instance
    elif wanted.get("type") == "json_schema":
        answer.text = json.dumps(sample(wanted["json_schema"]["schema"], "stub"))
    else:
        said = [message for message in request.messages if message.get("role") == "user"]
        answer.text = f"echo: {said[-1].get('content') if said else ''}"
    return answer


def deltas(answer: StubAnswer, request: StubRequest) -> Iterator[dict[str, Any]]:
    """The pieces in which the answer is streamed."""
    yield {"role": "assistant", "content": ""}
    for piece in _cut(answer.text or "", answer.chunk_size):
        yield {"content": piece}
    for index, call in enumerate(tool_calls(answer, request)):
        arguments = call["function"]["arguments"]
        opening = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        yield {"tool_calls": [opening]}
        for piece in _cut(arguments, answer.chunk_size):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def tool_calls(answer: StubAnswer, request: StubRequest) -> list[dict[str, Any]]:
    turn = len(request.messages)
    return [
        {
            "id": f"call_{turn}_{index}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
        }
        for index, (name, arguments) in enumerate(answer.tool_calls)
    ]


def finish_reason(answer: StubAnswer) -> str:
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def usage(answer: StubAnswer, request: StubRequest) -> dict[str, int]:
    """Words for tokens, and three more for each message."""
    asked = sum(len(str(one.get("content") or "").split()) + 3 for one in request.messages)
    said = len((answer.text or "").split()) + len(answer.tool_calls)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _names(tools: list[dict[str, Any]]) -> list[str]:
    return [tool["function"]["name"] for tool in tools]


def _cut(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]
