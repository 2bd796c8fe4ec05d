"""Executes the tool calls of a model's reply; results and errors become tool messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from ..errors import AnswerError, BudgetExceeded, PromptError, ToolError, closest
from ..events import EventEmitter, ToolAnswered, ToolCalled
from ..messages import JSON, Message, ToolCall
from ..models.protocol import RecallsResults
from ..records import Exchange, Question
from .confirmation import Verdict, ask_to_confirm
from .context import CallOutcome, CallStatus, SessionState, ToolContext
from .tool import HANDS_OVER, BadArguments, Tool
from .toolbox import Toolbox


class CallResult(NamedTuple):
    """The text that the model gets of a call, and what became of it: `done`, or a `CallStatus`."""

    text: str
    status: str = "done"


class HandoverCall(NamedTuple):
    """A tool call that hands over: its id, the node that is handed over to, and the reason."""

    call_id: str
    to: str
    reason: str


class ToolCaller(Struct):
    """Executes the tool calls of one attempt of one node.

    `context` is passed to the tools, with an idempotency key for each call; `state` is the
    session state in it. `node_id` and `attempt` stand in the events. `questions` are those to
    people that the node has asked, to which new ones are added. `test` evaluates the condition
    of a tool that is to be confirmed, `tell` words what became of a call without a plain
    result, and `commit` stores the calls before any of them is executed. `run_graph` runs a
    graph that is a tool, for the last step of the call's path (`research[3]`), on a message; it
    returns None if a node inside waits for a person. `begun` are calls that were stored by an
    earlier try, which may have executed them. `recordings` have the results of servers' tools,
    by the messages `sent` up to the calls.
    """

    toolbox: Toolbox
    context: ToolContext
    state: SessionState
    node_id: str
    attempt: int
    emitter: EventEmitter
    questions: list[Question]
    test: Callable[[str, Mapping[str, JSON]], bool]
    tell: Callable[[CallOutcome], str]
    commit: Callable[[], Awaitable[None]]
    run_graph: Callable[[str, str], Awaitable[str | None]]
    recordings: RecallsResults | None = None
    begun: frozenset[str] = frozenset()
    sent: tuple[Message, ...] = ()

    async def answer(
        self, exchange: Exchange, *, number: int, is_committed: bool
    ) -> tuple[Message, ...]:
        """Execute the calls of a reply that have no result yet, concurrently.

        Returns the results so far in the order of the calls; one that waits to be confirmed has
        none. In the round after the last one (`number` counts from 1) nothing is executed: each
        result says that no more tools can be called. Raises `AnswerError` if the model calls tools
        even after that.
        """
        limit = self.toolbox.rounds
        if number > limit + 1:
            raise AnswerError(
                f"the model still calls tools after {limit} rounds and gives no answer; raise "
                "`max_tool_rounds`, or say in the prompt when to stop",
                model=exchange.model,
                retryable=False,  # another attempt would call them all again
            )
        results = {result.tool_call_id: result for result in exchange.tool_results}
        left = {
            f"{self.context.node_id}/{call.name}[{index}]": call
            for index, call in enumerate(exchange.tool_calls, exchange.first_call)
            if call.id not in results
        }
        if number > limit:
            found = self._refuse(left.values())
        else:
            new = [
                ask_to_confirm(path, self.context.node_id, call)
                for path, call in left.items()
                if self._must_ask(path, call)
            ]
            self.questions += new
            if new or not is_committed:
                await self.commit()
            if self.recordings is not None:
                self.sent = replace(exchange, tool_results=()).onward
            self.begun = frozenset(left) if is_committed else frozenset()
            found = await self._execute(left, self.handover(exchange, number=number))
        results |= {result.tool_call_id: result for result in found}
        return tuple(results[call.id] for call in exchange.tool_calls if call.id in results)

    def handover(self, exchange: Exchange, *, number: int) -> HandoverCall | None:
        """The call in a reply that hands over to another node, the first of several."""
        for call in exchange.tool_calls if number <= self.toolbox.rounds else ():
            tool = self.toolbox.tools.get(call.name)
            if tool is not None and tool.hands_to:
                with suppress(BadArguments):  # the model gets the error
                    reason = str(tool.read(call.arguments)["reason"])
                    return HandoverCall(call.id, tool.hands_to, reason)
        return None

    async def _execute(
        self, calls: Mapping[str, ToolCall], handover: HandoverCall | None
    ) -> Sequence[Message]:
        """The results of calls, by their paths; without those that wait to be confirmed."""
        asked = {question.path: question for question in self.questions}
        ready = {
            path: (call, Verdict.of(call, asked.get(path)))
            for path, call in calls.items()
            if path not in asked or not asked[path].is_open
        }
        work = [self._message(path, *ready[path], handover) for path in ready]
        found = await asyncio.gather(*work, return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):  # it ends the run; others keep what they have
                raise each
        return [message for message in found if isinstance(message, Message)]

    def _must_ask(self, path: str, call: ToolCall) -> bool:
        """Whether a call has to be confirmed, and nobody was asked yet."""
        tool = self.toolbox.tools.get(call.name)
        confirm = tool.options.confirm if tool else None
        if tool is None or not confirm or any(each.path == path for each in self.questions):
            return False
        try:
            arguments = tool.complete(call.arguments)
        except BadArguments:  # the model gets the error, and nothing runs
            return False
        if isinstance(confirm, bool):
            return True
        try:
            return self.test(confirm, arguments)
        except PromptError:  # what cannot be judged is left to a person
            return True

    async def _message(
        self, path: str, call: ToolCall, verdict: Verdict, handover: HandoverCall | None
    ) -> Message | None:
        # Each call is a task, in which all its events are emitted.
        self._called(call, verdict.arguments)
        result = await self._outcome(path, call, verdict, handover)
        return None if result is None else self._answered(call, result)

    async def _outcome(
        self, path: str, call: ToolCall, verdict: Verdict, handover: HandoverCall | None
    ) -> CallResult | None:
        if handover is not None and self.toolbox.hands_over(call.name):
            is_first = call.id == handover.call_id
            status: CallStatus = "handed over" if is_first else "not first"
            return self._told(CallOutcome(call.name, status, to=handover.to))
        if not verdict.is_approved:
            return self._told(CallOutcome(call.name, "rejected", reason=verdict.reason))
        key = f"{self.context.run_id}/{path}"
        context = replace(self.context, idempotency_key=key)
        if self.recordings is not None and self._is_external(call.name):
            return CallResult(self.recordings.tool_result(self.sent, call.id))
        result = await self._result(path, call.name, verdict.arguments, context)
        if result is None:
            return None
        text = result.text
        if verdict.is_changed:
            changed = CallOutcome(call.name, "changed", result=text, arguments=verdict.arguments)
            text = self.tell(changed)
        if path in self.begun and self._is_external(call.name) and not verdict.is_confirmed:
            text = self.tell(CallOutcome(call.name, "repeated", result=text))
        return result._replace(text=text)

    def _refuse(self, calls: Iterable[ToolCall]) -> Sequence[Message]:
        """The results of the calls in the round after the last one."""
        results: list[Message] = []
        for call in calls:
            self._called(call, call.arguments)
            results.append(self._answered(call, self._told(CallOutcome(call.name, "refused"))))
        return results

    def _called(self, call: ToolCall, arguments: str) -> None:
        self.emitter.emit(ToolCalled, self.node_id, self.attempt, call.id, call.name, arguments)

    def _answered(self, call: ToolCall, result: CallResult) -> Message:
        # A lone surrogate can be neither sent nor stored.
        text = result.text.encode("utf-8", "replace").decode("utf-8")
        self.emitter.emit(
            ToolAnswered, self.node_id, self.attempt, call.id, call.name, text, result.status
        )
        return Message(role="tool", content=text, tool_call_id=call.id)

    def _told(self, outcome: CallOutcome) -> CallResult:
        return CallResult(self.tell(outcome), outcome.status)

    async def _result(
        self, path: str, name: str, arguments: str, context: ToolContext
    ) -> CallResult | None:
        tool = self.toolbox.tools.get(name)
        if tool is None:
            return self._told(self._unknown(name))
        try:
            given = tool.read(arguments)
            if tool.is_graph:
                answer = await self.run_graph(path.rpartition("/")[2], str(given["message"]))
                return None if answer is None else CallResult(answer)
            return await self._called_in_time(tool, given, context)
        except (BudgetExceeded, ToolError):
            raise
        except BadArguments as error:
            return self._told(CallOutcome(name, "invalid", reason=str(error)))
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # the run was cancelled, not the tool
            text = " ".join([f"{type(error).__name__}:", *str(error).split()]).removesuffix(":")
            return self._told(CallOutcome(name, "failed", reason=text))

    def _is_external(self, name: str) -> bool:
        return name in self.toolbox.tools and self.toolbox.tools[name].is_external

    def _unknown(self, name: str) -> CallOutcome:
        # Names that share no more than this prefix are not alike.
        names = {each.removeprefix(HANDS_OVER): each for each in self.toolbox.tools}
        near = closest(name.removeprefix(HANDS_OVER), names)
        meant = names[near] if near is not None else ""
        return CallOutcome(name, "unknown", meant=meant, tools=tuple(names.values()))

    async def _called_in_time(
        self, tool: Tool, arguments: Mapping[str, object], context: ToolContext
    ) -> CallResult:
        """The result of a tool within its limits, or that it took too long."""
        await tool.prepare()
        limit = asyncio.timeout(tool.options.timeout)
        try:
            async with limit:
                found = await tool.call(arguments, context)
        except TimeoutError:
            if not limit.expired():
                raise
            seconds = f"{tool.options.timeout:g}"
            return self._told(CallOutcome(tool.name, "late", seconds=seconds))
        if isinstance(found, str):
            result = CallResult(found)
        else:
            result = self._told(replace(found, name=tool.name))
        text, longest = result.text, tool.options.max_result
        if longest is None or len(text) <= longest:
            return result
        cut = CallOutcome(tool.name, "cut", result=text[:longest], length=len(text))
        return self._told(cut)


def with_unique_ids(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """The calls of one reply, each with its own id; some models write none, or one id twice."""
    unique: dict[str, ToolCall] = {}
    for index, call in enumerate(calls):
        call_id = call.id if call.id and call.id not in unique else f"call_{index}_{len(calls)}"
        unique[call_id] = call.model_copy(update={"id": call_id})
    return tuple(unique.values())
