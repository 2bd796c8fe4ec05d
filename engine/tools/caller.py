"""Executes the tool calls of a model's reply; results and errors become tool messages."""

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


class ToolCaller(Struct):
    """Executes the tool calls of one attempt of one node.

    `context` is passed to the tools, with an idempotency key for each call; `state` is the session
    state in it. `node_id` and `attempt` stand in the events.
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
        """Execute the calls of a reply concurrently; the messages are in the order of the calls.

        In the round after the last one nothing is executed: each result says that no more tools
        can be called. Raises `AnswerError` if the model calls tools even after that.
        """
        self.rounds += 1
        limit = self.toolbox.rounds
        if self.rounds > limit + 1:
            raise AnswerError(
                f"the model still calls tools after {limit} rounds and gives no answer; raise "
                "`max_tool_rounds`, or say in the prompt when to stop",
                model=model,
                retryable=False,  # another attempt would call them all again
            )
        is_last = self.rounds > limit
        for call in calls:
            self.emitter.emit(
                ToolCalled, self.node_id, self.attempt, call.id, call.name, call.arguments
            )
        first, self.calls = self.calls, self.calls + len(calls)
        return tuple(
            await asyncio.gather(
                *(
                    self._message(call, None if is_last else self._key(index))
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
            # A lone surrogate can be neither sent nor stored.
            result = result.encode("utf-8", "replace").decode("utf-8")
        self.emitter.emit(ToolAnswered, self.node_id, self.attempt, call.id, call.name, result)
        return Message(role="tool", content=result, tool_call_id=call.id)

    async def _result(self, call: ToolCall, context: ToolContext) -> str:
        tool = self.toolbox.tools.get(call.name)
        if tool is None:
            return f"error: there is no tool {call.name!r}; {self._meant(call.name)}"
        try:
            return await tool.call(tool.read(call.arguments), context)
        except BadArguments as error:
            return f"error: the arguments of {call.name!r} do not fit: {error}; call it again"
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # the run was cancelled, not the tool
            text = " ".join(str(error).split())
            named = type(error).__name__
            return f"error: the tool {call.name!r} failed: {named}: {text}".removesuffix(": ")

    def _meant(self, name: str) -> str:
        near = closest(name, self.toolbox.tools)
        return f"did you mean {near!r}?" if near else f"there are {listed(self.toolbox.tools)}"


def with_unique_ids(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """The calls of one reply, each with its own id; some models write none, or one id twice."""
    unique: dict[str, ToolCall] = {}
    for index, call in enumerate(calls):
        call_id = call.id if call.id and call.id not in unique else f"call_{index}_{len(calls)}"
        unique[call_id] = call.model_copy(update={"id": call_id})
    return tuple(unique.values())
