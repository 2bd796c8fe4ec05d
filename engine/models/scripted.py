"""Models that need no network: `ScriptedModel` for tests, `EchoModel` for a first try."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TypeAlias

from ..errors import InputError, ModelError
from ..messages import JSON, Message, Part, Usage
from ..unknown_names import explained
from .protocol import Chunk, Reply, Request
from .samples import choose, sample

ScriptedAnswer: TypeAlias = str | Mapping[str, JSON] | list[str] | Reply | Exception
Script: TypeAlias = (
    str
    | Sequence[ScriptedAnswer]
    | Mapping[str, ScriptedAnswer]
    | Callable[[Request], ScriptedAnswer]
)

_WORD: re.Pattern[str] = re.compile(r"\s+|\S+\s*")
_EXCERPT = 60


class ScriptedModel:
    """A model whose answers are given in advance; `requests` lists all that it was asked.

        ScriptedModel(["english", "Hello!"])              one answer for each call, in this order
        ScriptedModel({"refund": "billing"})              by words of the prompt
        ScriptedModel(lambda request: "...")              computed from the request
        ScriptedModel("Hello!")                           always the same

    Of a mapping the first key counts that is found in the last message, then in the one before,
    and so on. An answer is a text, a mapping or list (sent as JSON), a whole `Reply`, or an
    exception, which is raised. Where a router asks, a bare label (or a list of them) is enough.
    Nodes that run in parallel ask in no fixed order: give those a mapping or a function.
    `delay` is the number of seconds that each answer takes.
    """

    @explained
    def __init__(self, script: Script, *, delay: float = 0.0) -> None:
        self.requests: list[Request] = []
        self._delay = delay
        self._answer = _answer_function(script)

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Stream the scripted answer word by word; `ModelError` if the script has none."""
        self.requests.append(request)
        answer = self._answer(request)
        if self._delay:
            await asyncio.sleep(self._delay)
        if isinstance(answer, Exception):
            raise answer
        reply = answer if isinstance(answer, Reply) else _reply(request, _text(request, answer))
        for chunk in _chunks(reply.text):
            yield chunk
        yield reply

    async def takes(self, request: Request, part: Part) -> bool:
        """See `TakesAttachments`: a script takes everything."""
        del request, part
        return True


class EchoModel:
    """Repeats the last user message, chooses the first label, fills a schema with samples.

    It shows how a graph flows without a model; its replies name it as scripted.
    """

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Stream the echo; never fails."""
        reply = _reply(request, self._answer(request), name="echo (scripted)")
        for chunk in _chunks(reply.text):
            yield chunk
        yield reply

    def _answer(self, request: Request) -> str:
        if request.choices:
            return choose(request, request.choices[:1])
        if request.schema is not None:
            return json.dumps(sample(request.schema, "echo"), ensure_ascii=False)
        messages = [message.content for message in request.messages if message.role == "user"]
        return f"echo: {messages[-1]}" if messages else "echo"


def _answer_function(script: Script) -> Callable[[Request], ScriptedAnswer]:
    if callable(script):
        return script
    if isinstance(script, str):
        return lambda request: script
    if isinstance(script, Mapping):
        return _ByWords(script)
    if not isinstance(script, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
        raise InputError(
            f"the script is a {type(script).__name__}; give a text, a list of answers, a mapping "
            "of words to answers, or a function of the request"
        )
    return _InOrder(script)


class _InOrder:
    """The answers one after the other."""

    def __init__(self, answers: Sequence[ScriptedAnswer]) -> None:
        self._count = len(answers)
        self._left = deque(answers)

    def __call__(self, request: Request) -> ScriptedAnswer:
        try:
            return self._left.popleft()
        except IndexError as error:
            raise ModelError(
                f"model {request.model!r}: the script has {self._count} answers and this is one "
                f"call more, {_excerpt(request.messages)}; give ScriptedModel an answer for "
                "each call",
                model=request.model,
            ) from error


class _ByWords:
    """The answer whose key is found nearest to the end of the prompt."""

    def __init__(self, answers: Mapping[str, ScriptedAnswer]) -> None:
        self._answers = dict(answers)

    def __call__(self, request: Request) -> ScriptedAnswer:
        for message in reversed(request.messages):
            for words, answer in self._answers.items():
                if words in message.content:
                    return answer
        raise ModelError(
            f"model {request.model!r}: no key of the script is in the prompt, "
            f"{_excerpt(request.messages)}; the keys are {', '.join(map(repr, self._answers))}",
            model=request.model,
        )


def _text(request: Request, answer: str | Mapping[str, JSON] | list[str]) -> str:
    if isinstance(answer, str):
        return choose(request, [answer]) if answer in request.choices else answer
    if isinstance(answer, list) and (answer or request.many) and _all_offered(request, answer):
        return choose(request, answer)
    return json.dumps(answer, ensure_ascii=False)


def _all_offered(request: Request, labels: Sequence[str]) -> bool:
    return bool(request.choices) and set(labels) <= set(request.choices)


def _reply(request: Request, text: str, name: str = "scripted") -> Reply:
    """A reply that counts words as tokens and costs nothing."""
    words = sum(len(message.content.split()) for message in request.messages)
    usage = Usage(input_tokens=words, output_tokens=len(text.split()), calls=1, cost=0.0)
    return Reply(text, usage=usage, finish_reason="stop", model=name)


def _chunks(text: str) -> list[Chunk]:
    return [Chunk(word) for word in _WORD.findall(text)]


def _excerpt(messages: Sequence[Message]) -> str:
    text = messages[-1].content if messages else ""
    return f"whose last message ends with {text[-_EXCERPT:]!r}"
