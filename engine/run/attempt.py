"""One node of one run: its context, its attempts, its record.

What a node gives back, as it can be kept: JSON and nothing else.

When a failed attempt is made again, and how long to wait before.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import count
from time import time
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic_core import PydanticSerializationError

from ..errors import (
    BudgetExceeded,
    DefinitionError,
    InputError,
    ModelError,
    NodeError,
    PromptError,
    RunError,
)
from ..events import EventEmitter, NodeFailed, NodeFinished, NodeRetried, NodeSkipped, NodeStarted
from ..graph.context import Context, Result
from ..graph.fields import Instead, ModelSpec, Retry, Timeout
from ..graph.graph import Graph
from ..graph.node import Node, recalled, result_after, summary_again, tools_of
from ..messages import JSON, NO_USAGE, text_of
from ..records import Record, Summary
from ..tools.caller import ToolCaller
from ..tools.context import SessionState, ToolContext
from ..tools.toolbox import Toolbox
from ..values import jsonable
from .answer import AnswerStream
from .model_call import ModelCall, Spent
from .prepared import PreparedGraph
from .sight import Sight, Visit


def plain(node_id: str, result: Result) -> Result:
    """The result as it is kept: with nothing in it but JSON."""
    if not (result.fields or result.state or result.session_state):
        return result
    return replace(
        result,
        fields=_mapping(node_id, "fields", result.fields) or {},
        state=_mapping(node_id, "state", result.state),
        session_state=_mapping(node_id, "session_state", result.session_state),
    )


def _mapping(node_id: str, name: str, value: object) -> dict[str, JSON] | None:
    kept = as_json(node_id, name, value)
    if kept is None or isinstance(kept, dict):
        return kept
    raise InputError(f"node {node_id!r}: its {name}, a {type(value).__name__}, must be a mapping")


def as_json(node_id: str, name: str, value: object) -> JSON:
    """A value as JSON; raises `InputError` that names the node and what of it cannot be kept."""
    if value is None or isinstance(value, str):
        return value
    try:
        kept = jsonable(value, by_alias=False)
    except (PydanticSerializationError, ValueError) as error:
        raise InputError(
            f"node {node_id!r}: its {name}, a {type(value).__name__}, cannot be kept as JSON; "
            "use text, numbers, lists, mappings, or a pydantic model"
        ) from error
    return kept


_HOPELESS = (PromptError, InputError, DefinitionError, BudgetExceeded, TypeError, NameError)
"""Errors that the same attempt would only make again."""
_SPEAKING = (ModelError, PromptError, InputError, RunError, TimeoutError)
"""Errors whose text says enough without the name of their class."""
MOST_DOUBLINGS = 60
"""More would be longer than any `max_wait`, and one day too large for a float."""


def retry_of(node: Node, graph: Graph) -> Retry:
    """How often and after what waits the node is attempted again."""
    retry = node.retry if node.retry is not None else graph.retry
    return retry if isinstance(retry, Retry) else Retry(times=retry or 0)


def pause(retry: Retry, attempt: int, error: Exception) -> float | None:
    """Seconds to wait before the attempt after number `attempt`, None if there is to be none.

    The wait doubles each time and varies by a quarter, so that many runs do not come back at
    once. A provider's Retry-After is honoured, and if that is longer than `max_wait`, the error
    is final: asking earlier than asked for would only fail again.
    """
    while isinstance(error, NodeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # of a node in a graph inside this one
    if attempt > retry.times or isinstance(error, _HOPELESS):
        return None
    wait = min(retry.wait * 2.0 ** min(attempt - 1, MOST_DOUBLINGS), retry.max_wait)
    wait *= random.uniform(0.75, 1.25)  # noqa: S311  spreads load, keeps no secret
    if not isinstance(error, ModelError):
        return wait
    if not error.retryable or (error.retry_after or 0.0) > retry.max_wait:
        return None
    return max(wait, error.retry_after or 0.0)


def told(error: BaseException) -> str:
    """An error as one line for a record: its text, or its kind where it has none."""
    text = " ".join(str(error).split())
    if isinstance(error, _SPEAKING):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


NO_MODEL = ModelSpec(id="none")
NOTHING = Result(None)


class Visitor(Struct):
    """Visits the nodes of one run: implements `engine.scheduler.Work`.

    `sight` is what the nodes see, `earlier` the records of an earlier try of the run, with those of
    the graphs inside nodes by their paths. `store` is called with records before anything builds on
    them. `enter` runs the graph inside a node. `failures` are the errors of the nodes that failed,
    `untold` those of conditions. `under` leads to the graph, where that is inside a node.
    """

    cast: PreparedGraph
    sight: Sight
    tell: EventEmitter
    voice: AnswerStream
    spent: Spent
    earlier: dict[str, Record]
    store: Callable[[Sequence[Record]], Awaitable[None]]
    enter: Callable[[Visitor, str, str], Awaitable[Result]]
    summary: Summary | None = None
    failures: dict[str, Exception] = field(default_factory=dict[str, Exception])
    untold: dict[str, Exception] = field(default_factory=dict[str, Exception])
    under: str = ""

    def barred(self, node_id: str, records: Mapping[str, Record]) -> str | None:
        """Whether the node's `when` says no."""
        when = self.cast.graph.nodes[node_id].when
        try:
            if when is None or self._ask(Visit(node_id, records), NO_MODEL).test(when):
                return None
        except PromptError as error:
            self.untold[node_id] = error  # the visit fails with it, as with any other error
            return None
        return f"when: {when} is false"

    def skip(self, node_id: str, because: str) -> Record:
        """Tell that the node does not run."""
        visit = Visit(node_id, {}, attempt=self._attempts(node_id) + 1)
        record = self._record(visit, "skipped", because=because)
        self.tell(NodeSkipped, node_id, visit.attempt, because, replayed=False)
        self.voice.settle(record)
        return record

    async def keep(self, records: Sequence[Record]) -> None:
        """Keep the records, then tell them: what was told is never lost."""
        await self.store(records)
        for record in records:
            if record.status == "failed":
                self.tell(NodeFailed, record.node, record.attempt, record.error or "")
            elif record.status == "done":
                self._note(record)
                self.tell(NodeFinished, record.node, record.attempt, record, replayed=False)
                self.voice.settle(record)
            elif record.error is not None:  # skipped by `on_error`; other skips are told already
                self.tell(NodeSkipped, record.node, record.attempt, record.because or "", False)
                self.voice.settle(record)

    async def finished_before(self) -> dict[str, Record]:
        """The final records of an earlier try, each taken in after those before it."""
        records: dict[str, Record] = {}
        for node_id in self.cast.plan.order:
            record = self.earlier.get(node_id)
            if record is not None and record.is_final:
                await self.restore(record, records)
                records[node_id] = record
        return records

    async def restore(self, record: Record, records: Mapping[str, Record]) -> None:
        """Take in a record of an earlier try of this run."""
        if record.status == "done":
            visit = Visit(record.node, records)
            context = self.sight.context(visit, self._ask(visit, NO_MODEL))
            node = self.cast.graph.nodes[record.node]
            self.sight.outputs[record.node] = await recalled(node, context, record.output)
            summary = summary_again(node, record.output, record.fields)
            if summary is not None and summary.covers == self.sight.head.turns + 1:
                self.summary = summary  # unless other turns came in between
            self.tell(NodeFinished, record.node, record.attempt, record, replayed=True)
        else:
            self.tell(NodeSkipped, record.node, record.attempt, record.because or "", True)
        self._note(record)
        self.voice.settle(record)

    def _note(self, record: Record) -> None:
        if record.session_state:
            self.sight.patches[record.node] = record.session_state

    async def visit(self, node_id: str, records: Mapping[str, Record]) -> Record:
        """Attempt the node with each of its models until an attempt holds."""
        node = self.cast.graph.nodes[node_id]
        visit = Visit(node_id, records, self._attempts(node_id), started=time())
        error: Exception = InputError("nothing was attempted")
        failed: list[str] = []
        for spec in self.cast.models.get(node_id, (NO_MODEL,)):
            if failed:
                self.tell(NodeRetried, node_id, visit.attempt, failed[-1], 0.0)
            for made in count(1):  # pragma: no branch - it has no end
                visit.attempt += 1
                self.tell(NodeStarted, node_id, visit.attempt, node.kind)
                try:
                    return self._done(visit, await self._attempt(node, visit, spec))
                except Exception as raised:  # noqa: BLE001  whatever a kind raises is its failure
                    error = raised
                self.voice.take_back(node_id)
                wait = self._wait(node, made, error, visit)
                if wait is None:
                    break
                await asyncio.sleep(wait)
            failed.append(told(error))
            if not isinstance(error, ModelError | TimeoutError) or self.voice.has_told(node_id):
                break
        return self._gave_up(node, visit, error, "; then ".join(failed))

    def _attempts(self, node_id: str) -> int:
        """How many attempts earlier tries of the run have made: what comes now counts on."""
        return before.attempt if (before := self.earlier.get(node_id)) else 0

    def _wait(self, node: Node, made: int, error: Exception, visit: Visit) -> float | None:
        """Tell that another attempt follows, and when; None if there is none."""
        # Once part of an answer has been told, another attempt could only contradict it.
        if self.voice.has_told(node_id := visit.node_id):
            return None
        wait = pause(retry_of(node, self.cast.graph), made, error)
        if wait is not None:
            self.tell(NodeRetried, node_id, visit.attempt, told(error), wait)
        return wait

    async def _attempt(self, node: Node, visit: Visit, spec: ModelSpec) -> Result:
        if (untold := self.untold.get(visit.node_id)) is not None:
            raise untold
        ask = self._ask(visit, spec)
        context = self.sight.context(visit, ask)
        if visit.node_id in self.cast.inner:
            context.enter = partial(self.enter, self, visit.node_id)
        if (toolbox := tools_of(node)) is None:
            return await self._timed(node, context)
        caller = ask.caller = self._caller(toolbox, context, visit)
        result = await self._timed(node, context)
        if changed := caller.state.changed():
            result = replace(result, session_state={**changed, **(result.session_state or {})})
        return result

    async def _timed(self, node: Node, context: Context) -> Result:
        timeout = node.timeout or self.cast.graph.timeout
        total = timeout.total if isinstance(timeout, Timeout) else timeout
        if total is None:
            return await _run(self.cast.play, node, context)
        limit = asyncio.timeout(total)
        try:
            async with limit:
                return await _run(self.cast.play, node, context)
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"no answer within {total:g} seconds") from error
            raise

    def _done(self, visit: Visit, result: Result) -> Record:
        output = result.output if result.stored is None else result.stored
        kept = as_json(visit.node_id, "output", output)
        result = plain(visit.node_id, result)
        self._hold_to_what_was_told(visit.node_id, kept)
        self.sight.outputs[visit.node_id] = kept if result.stored is None else result.output
        if result.summary is not None:
            self.summary = result.summary
        return self._record(visit, "done", output=kept, result=result)

    def _hold_to_what_was_told(self, node_id: str, output: JSON) -> None:
        if self.voice.has_told(node_id) and self.voice.told != text_of(output):
            kind = self.cast.graph.nodes[node_id].kind
            raise InputError(
                f"node {node_id!r}: its output is not the text that was streamed; the kind "
                f"{kind!r} must not say `streams = True`"
            )

    def _gave_up(self, node: Node, visit: Visit, error: Exception, failed: str) -> Record:
        """What giving up comes to, told as `failed`: `on_error`, or a failed record."""
        # What was told cannot be taken back: neither a skip nor another value could follow it.
        if not isinstance(error, BudgetExceeded) and not self.voice.has_told(visit.node_id):
            policy = node.on_error or self.cast.graph.on_error
            instead = result_after(error, node)
            if instead is None and isinstance(policy, Instead):
                instead = Result(policy.value)
            if instead is not None:
                return replace(self._done(visit, instead), error=failed)
            if policy == "skip":
                return self._record(visit, "skipped", because=f"it failed: {failed}", error=failed)
        self.failures[visit.node_id] = error
        return self._record(visit, "failed", error=failed)

    def _record(
        self,
        visit: Visit,
        status: Literal["done", "skipped", "failed"],
        *,
        output: JSON = None,
        result: Result | None = None,
        because: str | None = None,
        error: str | None = None,
    ) -> Record:
        usage = sum((exchange.usage for exchange in visit.exchanges), NO_USAGE)
        given = result or NOTHING
        return Record(
            node=visit.node_id,
            status=status,
            kind=self.cast.graph.nodes[visit.node_id].kind,
            attempt=max(visit.attempt, 1),
            because=because,
            output=output,
            fields=given.fields,
            choices=given.choices,
            tasks=given.tasks,
            task=self.sight.task(visit) if visit.exchanges else None,
            exchanges=tuple(visit.exchanges),
            state=given.state,
            session_state=given.session_state,
            error=error,
            usage=usage,
            fingerprint=self.cast.fingerprints[visit.node_id],
            started=visit.started,
            ended=time() if visit.started else 0.0,
        )

    def _ask(self, visit: Visit, spec: ModelSpec) -> ModelCall:
        graph = self.cast.graph
        timeout = graph.nodes[visit.node_id].timeout or graph.timeout
        return ModelCall(
            graph=graph,
            node_id=visit.node_id,
            attempt=visit.attempt,
            model=self.cast.model,
            spec=spec,
            idle=timeout.idle if isinstance(timeout, Timeout) else None,
            names=lambda: self.sight.names(visit),
            exchanges=visit.exchanges,
            spent=self.spent,
            tell=self.tell,
            voice=self.voice,
        )

    def _caller(self, toolbox: Toolbox, context: Context, visit: Visit) -> ToolCaller:
        state = SessionState(context.session_state)
        seen = ToolContext(
            user_id=context.user_id,
            session_id=context.session_id,
            run_id=context.run_id,
            node_id=f"{self.under}{visit.node_id}",
            session_state=state,
            past=context.past,
        )
        return ToolCaller(toolbox, seen, state, visit.node_id, visit.attempt, self.tell)


async def _run(
    play: Callable[[Node, Context], Awaitable[Result]], node: Node, context: Context
) -> Result:
    try:
        result: object = await play(node, context)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("it was cancelled from inside") from error
    if isinstance(result, Result):  # pyright: ignore[reportUnnecessaryIsInstance]  a kind's author may not type-check
        return result
    raise InputError(
        f"node {context.node_id!r}: the `run` of the kind {node.kind!r} gave a "
        f"{type(result).__name__}; it must return a Result"
    )
