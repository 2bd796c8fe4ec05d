"""Calls the tools that a reply asks for, and makes a text of whatever comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..errors import AnswerError, closest, listed
from ..events import EventEmitter, ToolAnswered, ToolCalled
from ..messages import Message, ToolCall
from .context import SessionState, ToolContext
from .tool import BadArguments
from .toolbox import Toolbox


class Caller(Struct):
    """The tool calls of one attempt of one node.

    `context` is what the tools see, but for the key of each call; `state` is the one in it.
    `node_id` is told in events.
    """

    toolbox: Toolbox
    context: ToolContext
    state: SessionState
    node_id: str
    attempt: int
    emitter: EventEmitter
    rounds: int = 0
    calls: int = 0

    async def answer(self, calls: Sequence[ToolCall], *, model: str) -> tuple[Message, ...]:
        """What each call of a reply gives back, in the order of the calls; all run side by side.

        After the last round the model is told, once, that it has to do without. Raises
        `AnswerError`, which names the `model`, if it calls tools even then.
        """
        self.rounds += 1
        limit = self.toolbox.rounds
        if self.rounds > limit + 1:
            raise AnswerError(
                f"the model goes on calling tools after {limit} rounds and gives no answer; raise "
                "`max_tool_rounds`, or tell it in the prompt when to stop",
                model=model,
                retryable=False,  # it was told to stop; another attempt would call them all again
            )
        is_over = self.rounds > limit
        for call in calls:
            self.emitter.emit(
                ToolCalled, self.node_id, self.attempt, call.id, call.name, call.arguments
            )
        first, self.calls = self.calls, self.calls + len(calls)
        return tuple(
            await asyncio.gather(
                *(
                    self._message(call, None if is_over else self._key(index))
                    for index, call in enumerate(calls, first)
                )
            )
        )

    def _key(self, index: int) -> str:
        return f"{self.context.run_id}/{self.context.node_id}/{index}"

    async def _message(self, call: ToolCall, key: str | None) -> Message:
        if key is None:
            result = "error: no more tools can be called now; answer with what you have"
        else:
            result = await self._result(call, replace(self.context, idempotency_key=key))
            # Half a surrogate pair can be neither sent nor stored.
            result = result.encode("utf-8", "replace").decode("utf-8")
        self.emitter.emit(ToolAnswered, self.node_id, self.attempt, call.id, call.name, result)
        return Message(role="tool", content=result, tool_call_id=call.id)

    async def _result(self, call: ToolCall, context: ToolContext) -> str:
        tool = self.toolbox.tools.get(call.name)
        if tool is None:
            return f"error: there is no tool {call.name!r}; {self._instead_of(call.name)}"
        try:
            return await tool.call(tool.read(call.arguments), context)
        except BadArguments as error:
            return f"error: the arguments of {call.name!r} do not fit: {error}; call it again"
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # it is the run that ends, not the tool that broke off
            text = " ".join(str(error).split())
            named = type(error).__name__
            return f"error: the tool {call.name!r} failed: {named}: {text}".removesuffix(": ")

    def _instead_of(self, name: str) -> str:
        near = closest(name, self.toolbox.tools)
        return f"did you mean {near!r}?" if near else f"there are {listed(self.toolbox.tools)}"


def told_apart(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """The calls of one reply with an id each; some models write none, or the same one twice."""
    apart: dict[str, ToolCall] = {}
    for index, call in enumerate(calls):
        call_id = call.id if call.id and call.id not in apart else f"call_{index}_{len(calls)}"
        apart[call_id] = call.model_copy(update={"id": call_id})
    return tuple(apart.values())
