"""One run, from its lease to its end: every step of a node is in this file.

`RunExecution.execute` takes the session's lease and runs the graph. The scheduler calls `visit` for
each node, which makes its attempts (`_attempt`), and then `save`, which stores the record and folds
it into what later nodes read. At the end `_finish` moves the session on.

A graph inside a node (`run_inner`) is executed by the same class, as a part of the run around it:
there is one lease, and its records are stored by their paths, `node/inner_node`. So an inner graph
is no turn of the session, is resumed with the run around it, and is deleted with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from functools import partial
from itertools import count
from time import time
from typing import Never, Self, TypeVar, cast

from msgspec import Struct, field
from msgspec.structs import replace

from ..blocking import check_event_loop
from ..errors import (
    BudgetExceeded,
    Cancelled,
    InputError,
    ModelError,
    NoAnswer,
    NodeError,
    PromptError,
    RunError,
    StateConflict,
    TeamgraphError,
)
from ..events import (
    Answer,
    AnswerReset,
    Event,
    EventEmitter,
    Listener,
    NodeFailed,
    NodeFinished,
    NodeRetried,
    NodeSkipped,
    NodeStarted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    RunWaiting,
    Token,
    TokenMode,
)
from ..graph.context import (
    NO_HISTORY,
    Context,
    GraphResult,
    HandsOver,
    InnerRun,
    Input,
    NodeWaits,
    Result,
    SessionView,
    Visit,
)
from ..graph.fields import Instead, ModelSpec
from ..graph.graph import Budget, Graph, budgets
from ..graph.node import (
    Node,
    items_of,
    recalled,
    result_after,
    summarizes,
    summary_again,
    visited_field,
)
from ..messages import JSON, NO_USAGE, Part, text_of
from ..models.protocol import RecallsResults, WarmsUp
from ..node_path import ROOT, NodePath, put_inside, select_inside
from ..records import (
    FINAL,
    Change,
    NodeStatus,
    Record,
    Response,
    Run,
    RunStatus,
    SessionKey,
    Summary,
    Turn,
    open_questions,
)
from ..session.history import StoredPast
from ..session.store import (
    Lease,
    Policy,
    Store,
    StoresAttachments,
    WhileWaiting,
    put_attachments,
)
from ..stores.leases import WATCHER
from ..tools.caller import ToolCaller
from ..tools.context import SessionState, ToolContext
from .changes import as_failed, changed_paths, check_unchanged, invalidated
from .model_call import AnswerStream, Limit, ModelCall, UsageMeter
from .node_execution import (
    GraphRuns,
    NodeExecution,
    Timeouts,
    error_text,
    retry_policy,
    retry_wait,
    storable,
    storable_result,
    within_limit,
)
from .prepared import PreparedGraph, own_fingerprint
from .questions import with_responses
from .scheduler import Scheduler
from .template_scope import JSONView, RunView, TemplateScope, json_view, json_views, output_view

T = TypeVar("T")

NO_MODEL = ModelSpec(id="none")
NO_RESULT = Result(None)
_NOT_ATTEMPTED = RuntimeError("nothing was attempted")
_MODEL_FAULTS = (ModelError, TimeoutError)
"""Errors after which a fallback model is asked."""


class RunRequest(Struct, frozen=True):
    """The turn to run, its session, and the records to begin with.

    `records` are those that a new run begins with. `busy` is what to do while another turn of the
    session is running. A resumed run begins with what the store has of it; if the graph was
    changed since, that raises `Changed`, unless `reuse_unchanged`: then what was changed, and all
    that follows from it, runs again. `responses` answer open questions of it, by path.
    `budget` takes the place of what the graph has of the same `per`.
    `attachments` are the bytes that the turn names, by sha256.
    """

    key: SessionKey
    turn: Turn
    records: Sequence[Record] = ()
    busy: Policy = "serialize"
    is_resumed: bool = False
    reuse_unchanged: bool = False
    responses: Mapping[str, Response] = {}
    while_waiting: WhileWaiting = "refuse"
    budget: tuple[Budget, ...] = ()
    attachments: Mapping[str, bytes] = {}


class RunExecution(Struct):
    """A run with the lease of its session, or the part of it inside a node: implements `Work`.

    `earlier` are the records of an earlier try of the run, `records` those of this one, both by
    path. `failures` are the errors of the nodes that failed, `condition_errors` those of `when`.
    `merged_records` are records of other nodes that get the state merged with the one being saved.
    `parent` is the execution of the graph around this one, and `path` the node that this graph is
    inside of; both are about an inner graph only. Without `keeps_state` the nodes' own states are
    dropped, as those of an item. With `only` no other node of the graph is run. `attached` are the
    bytes of attachments that the run was given, or has read, by sha256.
    """

    prepared: PreparedGraph
    store: Store
    lease: Lease
    turn: Turn
    emitter: EventEmitter
    scope: TemplateScope
    answer: AnswerStream
    usage: UsageMeter
    past: StoredPast
    earlier: dict[str, Record]
    parent: RunExecution | None = None
    path: NodePath = ROOT
    keeps_state: bool = True
    only: Visit | None = None
    summary: Summary | None = None
    records: dict[str, Record] = {}
    failures: dict[str, Exception] = {}
    condition_errors: dict[str, Exception] = {}
    timeouts: Timeouts = field(default_factory=Timeouts)
    state_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    merged_records: list[Record] = []
    attached: dict[str, bytes] = {}

    @classmethod
    async def execute(
        cls,
        prepared: PreparedGraph,
        store: Store,
        request: RunRequest,
        *,
        listener: Listener | None = None,
        tokens: TokenMode = "final",
    ) -> Run:
        """Execute a run; raises what ended it, after that was stored and emitted."""
        key, turn = request.key, request.turn
        emitter = EventEmitter(turn.run_id, key.session_id, listener, tokens)
        check_event_loop()
        if request.attachments:  # before the turn that names them
            await put_attachments(store, key, request.attachments)
        lease = await _begin(store, request)
        WATCHER.add(store, lease)
        try:
            await store.put_prompt(prepared.facts_hash, prepared.facts)
            earlier = await _earlier_records(prepared, store, lease, request)
            execution = cls._outermost(prepared, store, lease, turn, emitter, earlier)
            if prepared.graph.budget or request.budget:
                execution.usage.limits = await _limits(prepared.graph, store, lease, request)
            if request.attachments:  # a run that had them too may have been deleted meanwhile
                await put_attachments(store, key, request.attachments)
                execution.attached.update(request.attachments)
            run = await execution.run(is_resumed=request.is_resumed)
        except GeneratorExit:  # its event loop was dropped: nothing can be awaited any more
            raise
        except BaseException:  # a run that came to its end has released the lease itself
            await finish_uncancelled(store.release(lease))
            WATCHER.remove(lease)
            raise
        WATCHER.remove(lease)
        return run

    @classmethod
    def _outermost(
        cls,
        prepared: PreparedGraph,
        store: Store,
        lease: Lease,
        turn: Turn,
        emitter: EventEmitter,
        earlier: dict[str, Record],
    ) -> Self:
        head, graph, key = lease.head, prepared.graph, lease.key
        past = StoredPast(store, key, until=head.turns)
        past.quotes.add_head(head)
        # Copies, since a node may change what it is given.
        given = deepcopy(dict(turn.given_state)) if turn.given_state else {}
        state = {**(deepcopy(dict(graph.state)) if graph.state else {}), **head.state, **given}
        session = SessionView(
            id=key.session_id,
            state=JSONView(state),
            summary=head.summary.text if head.summary else None,
            turns=head.turns,
        )
        scope = TemplateScope(
            graph=prepared.scope,
            input=Input(turn.input, turn.system, turn.attachments),
            user_id=key.user_id,
            session=session,
            run=RunView(turn.run_id),
            now=datetime.fromtimestamp(turn.started, UTC),
            state=state,
            node_states=head.node_states,
        )
        return cls(
            prepared=prepared,
            store=store,
            lease=lease,
            turn=turn,
            emitter=emitter,
            scope=scope,
            answer=AnswerStream(graph.answering, emitter),
            usage=UsageMeter(),
            past=past,
            earlier=earlier,
        )

    async def run(self, *, is_resumed: bool) -> Run:  # noqa: PLR0915  all ways in which it ends
        """Run the graph to its end, close the turn in the store, and emit the one last event."""
        emit, turn, user_id = self.emitter.emit, self.turn, self.lease.key.user_id
        said, parts = (turn.graph, turn.input), turn.attachments
        emit(RunStarted, None, 0, user_id, *said, resumed=is_resumed, attachments=parts)
        for record in self.earlier.values():
            self.usage.count(record.usage)
        self._take_over()
        self.usage.raise_to(turn.usage)
        graph = self.prepared.graph
        try:
            before = await self._replay()
            scheduler = Scheduler(graph.plan, self, before, max_parallel=graph.max_parallel)
            run = await self._end(await scheduler.run())
        except asyncio.CancelledError as error:
            await self._end_cancelled(error)
        except Exception as error:  # noqa: BLE001  whatever went wrong, the last event says so
            failure = error if isinstance(error, RunError) else _as_run_error(error)
            failure.run = await self._stop("failed", error=failure.fact)
            emit(RunFailed, None, 0, failure.run, failure)
            raise failure from failure.__cause__
        except BaseException:  # the event loop was dropped, or the process is to end
            turn = self._ended_turn("cancelled", answer=self.answer.emitted or None)
            with suppress(RuntimeError):  # a closed loop cannot wake who waits for events
                emit(RunCancelled, None, 0, Run(self.lease.key, turn, self._ordered_records()))
            raise
        finally:
            self.timeouts.close()
        if questions := run.questions:
            emit(RunWaiting, questions[0].path, 0, run, questions)
        else:
            emit(RunFinished, None, 0, run)
        return run

    async def _end_cancelled(self, error: asyncio.CancelledError) -> Never:
        """Close the turn of a cancelled run, unless it is handed back to be resumed.

        Raises `error` if the run's own caller has cancelled it, else `Cancelled`.
        """
        how, run = WATCHER.interrupted(self.lease), None
        if how != "handed back":
            run = await self._stop("cancelled", answer=self.answer.emitted or None)
            self.emitter.emit(RunCancelled, None, 0, run)
        task = asyncio.current_task()
        if how is None or task is None or task.uncancel():
            raise error
        text = f"run {self.turn.run_id!r} was {how}; resume it to continue it"
        raise Cancelled(text, run=run) from error

    def _take_over(self) -> None:
        """Begin with the final records of an earlier try, those of inner graphs included."""
        for record in self.earlier.values():
            if record.is_final:
                self.records[record.node] = record

    async def _end(self, records: Mapping[str, Record]) -> Run:
        """Close the turn in the store: it is done, or it waits for a person."""
        try:
            return await self._finish(self._answer_text(records))
        except NodeWaits:
            turn = waiting_turn(self._ended_turn("waiting", answer=self.answer.text), self.records)
            turn = await finish_uncancelled(self.store.finish(self.lease, turn, Change()))
            return Run(self.lease.key, turn, self._ordered_records())

    def _answer_text(self, records: Mapping[str, Record]) -> str:
        """The answer; raises the error of the node that failed, `NodeWaits`, or `NoAnswer`."""
        waits = False
        for record in records.values():
            if record.status == "failed":
                raise self._failure(record)
            waits = waits or record.status == "waiting"
        if waits:
            raise NodeWaits
        if self.answer.text is None:
            skipped = [
                f"{node_id} ({records[node_id].because})"
                for node_id in self.prepared.graph.answering
                if node_id in records
            ]
            raise NoAnswer(f"every node that could answer was skipped: {', '.join(skipped)}")
        return self.answer.text

    def _failure(self, record: Record) -> RunError:
        cause = self.failures.get(record.node)
        if isinstance(cause, BudgetExceeded):
            return cause
        is_numbered = bool(self.path) and self.path.number is not None
        step = NodePath(self.path.steps[-1]) if is_numbered else ROOT
        error = NodeError(step.child(record.node), record.error or "")
        error.__cause__ = cause
        return error

    async def _finish(self, answer: str) -> Run:
        """Close the turn and move the session on; no longer cancellable."""
        records = self._ordered_records()
        turn = self._ended_turn("done", answer=answer)
        if (speaker := self._speaker()) is not None:
            turn = replace(turn, speaker=speaker)
        summary = self.summary and replace(self.summary, updated=turn.ended, run_id=turn.run_id)
        change = Change.of(turn, records.values())
        change = replace(change, summary=summary, turns=self.lease.head.turns)
        turn = await finish_uncancelled(self.store.finish(self.lease, turn, change))
        return Run(self.lease.key, turn, records)

    def _speaker(self) -> str | None:
        """The member that has answered, if the answering node says that in its field `speaker`."""
        for node_id in self.prepared.graph.answering:
            record = self.records.get(node_id)
            speaker = record.fields.get("speaker") if record is not None else None
            if isinstance(speaker, str):
                return speaker
        return None

    async def _stop(
        self, status: RunStatus, *, answer: str | None = None, error: str | None = None
    ) -> Run:
        """Close the turn of a run that did not get to its end, as far as the store lets us."""
        turn = self._ended_turn(status, answer=answer, error=error)
        with suppress(Exception, asyncio.CancelledError):
            # If the store is what failed, the run stays as it was last stored, to be resumed.
            turn = await finish_uncancelled(self.store.finish(self.lease, turn, Change()))
        return Run(self.lease.key, turn, self._ordered_records())

    def _ended_turn(
        self, status: RunStatus, *, answer: str | None = None, error: str | None = None
    ) -> Turn:
        return replace(
            self.turn,
            status=status,
            answer=answer,
            usage=self.usage.usage,
            error=error,
            ended=time(),
        )

    def _ordered_records(self) -> dict[str, Record]:
        prepared, records = self.prepared, self.records
        order = prepared.in_order(records) if prepared.inner else prepared.plan.order
        return {path: records[path] for path in order if path in records}

    def skip_reason(self, node_id: str, records: Mapping[str, Record]) -> str | None:
        """See `Work.skip_reason`."""
        if self.parent is not None and summarizes(self.prepared.graph.nodes[node_id]):
            return "the graph around this one writes the session's summary"
        when = self.prepared.nodes[node_id].when
        if when is None:
            return None
        try:
            call = self._model_call(NodeExecution(node_id, records), NO_MODEL)
            return None if call.test(when) else f"when: {when} is false"
        except PromptError as error:
            self.condition_errors[node_id] = error  # the visit fails with it
            return None

    def skip(self, node_id: str, because: str) -> Record:
        """See `Work.skip`."""
        node = NodeExecution(node_id, {}, attempt=self._attempts_before(node_id) + 1)
        record = self._record(node, "skipped", because=because)
        self.emitter.emit(NodeSkipped, node_id, node.attempt, because, replayed=False)
        self.answer.settle(record)
        return record

    async def visit(self, node_id: str, records: Mapping[str, Record]) -> Record:
        """Attempt the node with each of its models until an attempt succeeds."""
        node = self.prepared.graph.nodes[node_id]
        execution = self._continued(node_id, records)
        error: Exception = _NOT_ATTEMPTED  # replaced by each attempt
        failed: list[str] = []
        for spec in self.prepared.models.get(node_id, (NO_MODEL,)):
            if failed:
                self.emitter.emit(
                    NodeRetried, node_id, execution.attempt, failed[-1], 0.0, type(error).__name__
                )
            for tries in count(1):  # pragma: no branch - it has no end
                execution.begin_attempt()
                self.emitter.emit(NodeStarted, node_id, execution.attempt, node.kind)
                try:
                    result = await self._attempt(node, execution, spec)
                    return (
                        await self._done_with_state(execution, result)
                        if result.session_state
                        else self._done_record(execution, result)
                    )
                except NodeWaits:
                    return self._record(execution, "waiting")
                except Exception as raised:  # noqa: BLE001  whatever a kind raises is its failure
                    error = raised
                execution.paid = []
                self.answer.discard(node_id, execution.attempt)
                wait = self._retry_wait(node, execution, tries, error)
                model = "" if spec is NO_MODEL else spec.id
                execution.fail(error_text(error), type(error).__name__, model, wait or 0.0)
                if wait is None:
                    break
                await asyncio.sleep(wait)
            failed.append(error_text(error))
            if not isinstance(error, _MODEL_FAULTS) or self.answer.is_committed(node_id):
                break
        return self._gave_up(node, execution, error, "; then ".join(failed))

    def _continued(self, node_id: str, records: Mapping[str, Record]) -> NodeExecution:
        """The execution of a node, with what an earlier try of the run has stored of it."""
        execution = NodeExecution(node_id, records, started=time())
        if (before := self.earlier.get(node_id)) is not None:
            now = self.prepared.fingerprints[node_id]
            is_unchanged = own_fingerprint(before.fingerprint) == own_fingerprint(now)
            execution.attempt = self._attempts_before(node_id)
            execution.continue_from(before, is_unchanged=is_unchanged)
        return execution

    def _retry_wait(
        self, node: Node, execution: NodeExecution, tries: int, error: Exception
    ) -> float | None:
        """Seconds until the next attempt, of which an event is emitted; None if there is none."""
        if isinstance(error, StateConflict):
            execution.abandon()
        # Another answer would follow after the part of one that a listener shows already.
        if self.answer.is_committed(execution.node_id):
            return None
        wait = retry_wait(retry_policy(node, self.prepared.graph), tries, error)
        if wait is not None:
            text, kind = error_text(error), type(error).__name__
            self.emitter.emit(NodeRetried, execution.node_id, execution.attempt, text, wait, kind)
        return wait

    async def _attempt(self, node: Node, execution: NodeExecution, spec: ModelSpec) -> Result:
        """One attempt, with one model and within the node's timeout."""
        if (error := self.condition_errors.get(execution.node_id)) is not None:
            raise error
        if self.prepared.warms_up:
            await self._warm_up(execution.node_id, spec.id)
        call = self._model_call(execution, spec)
        context = self._context(execution, call)
        call.caller = self._tool_caller(execution, context, call)
        if execution.node_id in self.prepared.inner:
            self._open_graph(execution, context, call.caller)
        timeout = self.prepared.nodes[execution.node_id].timeout
        work = self.run_node(node, context)
        try:
            if timeout is None and context.enter is not None:
                result = await work  # the nodes of the inner graph have timeouts of their own
            else:
                result = await within_limit(work, self.timeouts, timeout)
        except HandsOver as over:
            result = Result("", fields={"handed_to": over.to, "reason": over.reason})
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError("the node cancelled itself") from error
        return self._completed(execution, result, call.caller)

    async def _warm_up(self, node_id: str, model_id: str) -> None:
        """Let the models of a node do what takes long once, before an attempt's time begins."""
        prepared = self.prepared
        model = cast("WarmsUp", prepared.model)
        if node_id in prepared.models:
            await model.warm_up(model_id)
        if (inner := prepared.inner.get(node_id)) is not None:
            for spec in inner.first_models():
                with suppress(ModelError):  # perhaps it is not asked at all
                    await model.warm_up(spec.id)

    def _completed(
        self, execution: NodeExecution, result: Result, caller: ToolCaller | None
    ) -> Result:
        """The result with the keys of the session's state that inner nodes and tools have set."""
        if not isinstance(result, Result):  # pyright: ignore[reportUnnecessaryIsInstance]  kinds may not type-check
            kind = self.prepared.graph.nodes[execution.node_id].kind
            raise InputError(
                f"node {execution.node_id!r}: the `run` of the kind {kind!r} gave a "
                f"{type(result).__name__}; it must return a Result"
            )
        if execution.inside is None and caller is None:
            return result
        changed: dict[str, JSON] = {}
        if execution.inside is not None and execution.inside.patches:
            read = self.scope.state_read(execution)
            changed = execution.inside.merged(execution.node_id, read)
        if caller is not None:
            changed |= caller.state.changed()
        if not changed:
            return result
        return replace(result, session_state={**changed, **(result.session_state or {})})

    def _tool_caller(
        self, execution: NodeExecution, context: Context, call: ModelCall
    ) -> ToolCaller | None:
        """What executes the tool calls of one attempt; None if the node has no tools."""
        if (toolbox := self.prepared.toolboxes.get(execution.node_id)) is None:
            return None
        if self.only is not None:
            toolbox = toolbox.with_handovers(self.only.hands_to)
        state = SessionState(context.session_state, execution.tool_changes)
        tool_context = ToolContext(
            user_id=context.user_id,
            session_id=context.session_id,
            run_id=context.run_id,
            node_id=self.path.child(execution.node_id),
            session_state=state,
            past=self.past,
        )
        return ToolCaller(
            toolbox,
            tool_context,
            state,
            execution.node_id,
            execution.attempt,
            self.emitter,
            execution.questions,
            call.test_call,
            call.tell,
            partial(self._commit, execution),
            partial(self.run_tool, execution, state),
            call.model if isinstance(call.model, RecallsResults) else None,
        )

    async def run_tool(
        self, execution: NodeExecution, state: SessionState, step: str, message: str
    ) -> str | None:
        """Run a graph that the model of a node calls: see `ToolCaller.run_graph`.

        The graphs that are tools of a node are the nodes of the graph inside it.
        """
        runs = cast("GraphRuns", execution.inside)
        tools = self._inner(execution, runs, InnerRun(message, tokens="events"))
        tools.scope.state = dict(state)
        path = NodePath(step)
        node = NodeExecution(path.node_id, {}, inside=tools._graph_runs(path.node_id))
        try:
            result = await tools.run_inner(node, InnerRun(message, path.number, tokens="events"))
        except NodeWaits:
            return None
        inside = cast("GraphRuns", node.inside)
        runs.states |= put_inside(inside.states, path.node_id)
        for patch in inside.patches.values():
            state.update(patch)
        return text_of(result.output)

    async def _commit(self, execution: NodeExecution) -> None:
        """Store the tool calls of a node before they are executed."""
        await self._put([self._record(execution, "running")])
        execution.committed = len(execution.exchanges)

    def run_node(self, node: Node, context: Context) -> Coroutine[object, object, Result]:
        """What an attempt awaits: the node's own `run`. A dry run overrides it."""
        return node.run(context)

    async def _done_with_state(self, execution: NodeExecution, result: Result) -> Record:
        """The record of a successful attempt that sets keys of the session's state.

        Such nodes are done one after the other: `save` releases the lock.
        """
        await self.state_lock.acquire()
        try:
            result = storable_result(execution.node_id, result)
            merged, others = self.scope.merge(execution, result.session_state or {})
            record = self._done_record(execution, replace(result, session_state=merged))
        except BaseException:
            self.state_lock.release()
            raise
        self.merged_records = [
            replace(
                self.records[node_id],
                session_state={**self.scope.patches[node_id], **values},
            )
            for node_id, values in others.items()
        ]
        return record

    def _done_record(self, node: NodeExecution, result: Result) -> Record:
        output = result.output if result.stored is None else result.stored
        stored = output if type(output) is str else storable(node.node_id, "output", output)
        result = storable_result(node.node_id, result)
        if self.answer.is_committed(node.node_id) and self.answer.emitted != text_of(stored):
            kind = self.prepared.graph.nodes[node.node_id].kind
            raise InputError(
                f"node {node.node_id!r}: its output is not the text that was streamed; the kind "
                f"{kind!r} must not say `streams = True`"
            )
        self.scope.outputs[node.node_id] = stored if result.stored is None else result.output
        if result.summary is not None:
            self.summary = result.summary
        return self._record(node, "done", output=stored, result=result)

    def _gave_up(self, node: Node, execution: NodeExecution, error: Exception, text: str) -> Record:
        """The record after the last attempt: what `on_error` says, or a failed one."""
        node_id = execution.node_id
        # A listener that has part of the answer can get neither a skip nor another value.
        if not isinstance(error, BudgetExceeded) and not self.answer.is_committed(node_id):
            policy = node.on_error or self.prepared.graph.on_error
            instead = result_after(error, node)
            if instead is None and isinstance(policy, Instead):
                instead = Result(policy.value)
            if instead is not None:
                return replace(self._done_record(execution, instead), error=text)
            if policy == "skip":
                because = f"it failed: {text}"
                return self._record(execution, "skipped", because=because, error=text)
        self.failures[node_id] = error
        record = self._record(execution, "failed", error=text)
        if isinstance(error, BudgetExceeded):
            record = replace(record, unfinished=len(execution.exchanges) - execution.began)
        return record

    def _record(
        self,
        node: NodeExecution,
        status: NodeStatus,
        *,
        output: JSON = None,
        result: Result = NO_RESULT,
        because: str | None = None,
        error: str | None = None,
    ) -> Record:
        is_final = status in FINAL
        return Record(
            node=node.node_id,
            status=status,
            kind=self.prepared.nodes[node.node_id].kind,
            attempt=max(node.attempt, 1),
            because=because,
            output=output,
            fields=result.fields,
            choices=result.choices,
            tasks=result.tasks,
            task=self.scope.task(node) if node.exchanges else None,
            exchanges=tuple(node.exchanges),
            state=result.state if self.keeps_state else None,
            session_state=result.session_state if is_final else node.tool_changes or None,
            error=error,
            usage=sum([each.usage for each in node.exchanges], NO_USAGE)
            if node.exchanges
            else NO_USAGE,
            fingerprint=self.prepared.fingerprints[node.node_id],
            started=node.started,
            ended=time() if node.started else 0.0,
            questions=tuple(node.questions),
            calls=node.calls,
            abandoned=0 < node.void == len(node.exchanges) and not is_final,
            faults=node.faults,
        )

    def _context(self, node: NodeExecution, call: ModelCall) -> Context:
        scope, head, node_id = self.scope, self.lease.head, node.node_id
        outputs: dict[str, object] = {}
        for source in self.prepared.plan.stops[node_id].sources:  # faster than a comprehension
            if source in scope.outputs:
                outputs[source] = scope.outputs[source]
        return Context(
            node_id=node_id,
            input=scope.input,
            user_id=scope.user_id,
            session_id=scope.session.id,
            run_id=scope.run.id,
            upstream=scope.upstream(node),
            outputs=outputs,
            history=scope.history_of(node_id, outputs),
            state=scope.node_states.get(node_id, {}),
            session_state=scope.state_read(node),
            summary=head.summary,
            turns=head.turns,
            answer=self.answer.text,
            past=self.past,
            asker=call,
            summarizes=self.prepared.summarizes,
        )

    def _model_call(self, node: NodeExecution, spec: ModelSpec) -> ModelCall:
        prepared = self.prepared
        declared = prepared.nodes[node.node_id]
        return ModelCall(
            graph=prepared.graph,
            model=prepared.model,
            scope=self.scope,
            node=node,
            spec=spec,
            idle=declared.idle,
            usage=self.usage,
            emitter=self.emitter,
            answer=self.answer,
            path=self.path,
            repairs=declared.repairs,
            attachment=self.attachment,
        )

    async def attachment(self, part: Part) -> bytes:
        """The bytes of an attachment; raises `InputError` if the store has them no more."""
        data = self.attached.get(part.sha256)
        if data is None:
            store = cast("StoresAttachments", self.store)
            data = await store.get_attachment(self.lease.key, part.sha256)
            if data is None:
                raise InputError(
                    f"the attachment {part.name!r} is no longer in the store; attach it again in a "
                    "new run, or leave it out of the template"
                )
            self.attached[part.sha256] = data
        return data

    def _attempts_before(self, node_id: str) -> int:
        """Attempts that earlier tries of the run made; those of this one count on.

        One that was interrupted, or waits, is continued under its number.
        """
        before = self.earlier.get(node_id)
        if before is None:
            return 0
        return before.attempt - 1 if before.status in ("running", "waiting") else before.attempt

    async def save(self, records: Sequence[Record]) -> None:
        """See `Work.save`; an event is emitted only once its record is durable."""
        if records[-1].session_state and records[-1].status in FINAL:
            await self._put_state(records)
        else:
            await self._put(records)
        for record in records:
            if record.status == "done":
                if self.emitter.has_listener:
                    self.emitter.emit(
                        NodeFinished, record.node, record.attempt, record, replayed=False
                    )
                self.answer.settle(record)
            elif record.status == "failed":
                text, kind = record.error or "", type(self.failures[record.node]).__name__
                self.emitter.emit(NodeFailed, record.node, record.attempt, text, kind)
            elif record.error is not None:  # skipped by `on_error`; `skip` has emitted the others
                because = record.because or ""
                self.emitter.emit(NodeSkipped, record.node, record.attempt, because, replayed=False)
                self.answer.settle(record)

    async def _put_state(self, records: Sequence[Record]) -> None:
        """Store records, the last of which sets keys of the session's state, and apply these."""
        try:
            records = [*self.merged_records, *records]
            await self._put(records)
            for record in records:
                if record.session_state:
                    self.scope.patch(record.node, record.session_state)
        finally:
            self.merged_records = []
            self.state_lock.release()

    async def _put(self, records: Sequence[Record]) -> None:
        """Store records, after the sources of the prompts and with the quotes they refer to."""
        for record in records:
            for exchange in record.exchanges:
                sources = self.prepared.graph.prompts.sources(exchange.prompt)
                await self.store.put_prompt(exchange.prompt_hash, sources)
        execution = self
        around: list[tuple[RunExecution, Sequence[Record]]] = []
        while execution.parent is not None:
            execution.records.update({record.node: record for record in records})
            node, execution = NodePath(execution.path.steps[-1]), execution.parent
            records = [replace(record, node=str(node.child(record.node))) for record in records]
            around.append((execution, records))
        quoting = records
        if quotes := self.past.quotes.quotes(self.turn):
            # A record without a rendered text quotes nothing.
            quoting = [
                replace(record, quotes=quotes)
                if record.exchanges or record.fields or record.questions
                else record
                for record in records
            ]
        await self.store.put(self.lease, quoting)
        for record in records:
            execution.records[record.node] = record
        for outer, stored in around:  # another attempt of the node around them begins with these
            outer.earlier.update({record.node: record for record in stored})

    async def _replay(self) -> dict[str, Record]:
        """The final records of an earlier try, folded in topological order."""
        records: dict[str, Record] = {}
        for node_id in self.prepared.plan.order:
            record = self.earlier.get(node_id)
            if record is not None and record.is_final:
                await self._replay_record(record, records)
                records[node_id] = record
        return records

    async def _replay_record(self, record: Record, records: Mapping[str, Record]) -> None:
        if record.status == "done":
            execution = NodeExecution(record.node, records)
            context = self._context(execution, self._model_call(execution, NO_MODEL))
            node = self.prepared.graph.nodes[record.node]
            self.scope.outputs[record.node] = await recalled(node, context, record.output)
            summary = summary_again(node, record.output, record.fields)
            if summary is not None and summary.covers == self.lease.head.turns + 1:
                self.summary = summary  # unless other turns came in between
            self.emitter.emit(NodeFinished, record.node, record.attempt, record, replayed=True)
        else:
            because = record.because or ""
            self.emitter.emit(NodeSkipped, record.node, record.attempt, because, replayed=True)
        self.records[record.node] = record
        if record.session_state:
            self.scope.patch(record.node, record.session_state)
        self.answer.settle(record)

    def _open_graph(self, node: NodeExecution, context: Context, caller: ToolCaller | None) -> None:
        """Let a node run the graph inside it, or those that are tools of its model."""
        node.inside = runs = self._graph_runs(node.node_id)
        if visited_field(self.prepared.graph.nodes[node.node_id]) is not None:
            context.visited = runs.visited
        if caller is None:
            context.enter = partial(self.run_inner, node)
        else:
            context.enter_tool = caller.run_graph

    def _graph_runs(self, node_id: str) -> GraphRuns:
        """What the graph inside a node begins with."""
        earlier: dict[str, dict[str, Record]] = {}
        for path, record in self.earlier.items():
            if NodePath(path).is_inside(node_id):
                step, _, rest = path.partition("/")
                earlier.setdefault(step, {})[rest] = replace(record, node=rest)
        is_items = items_of(self.prepared.graph.nodes[node_id]) is not None
        keeps_state = self.keeps_state and not is_items
        states = select_inside(self.scope.node_states, node_id) if keeps_state else {}
        return GraphRuns(is_items, earlier, states)

    async def run_inner(self, node: NodeExecution, asked: InnerRun) -> GraphResult:
        """Run the graph inside a node: what `Context.run_graph` calls."""
        runs = cast("GraphRuns", node.inside)
        inner = self._inner(node, runs, asked)
        before: Mapping[str, Record] = {}
        if inner.earlier:
            inner._take_over()
            before = await inner._replay()
        for record in before.values():
            inner.usage.count(record.usage)
        graph, scope = inner.prepared.graph, inner.scope
        records = await inner._run_nodes(before)
        inner._answer_text(records)
        if scope.patches:
            patches = runs.patches.setdefault(asked.number or 0, {})
            for inner_id in graph.plan.order:
                patches.update(scope.patches.get(inner_id, {}))
        if inner.keeps_state:
            for record in inner.records.values():
                if record.state is not None:
                    runs.states[NodePath(record.node).declared] = record.state
        text = scope.input.message
        fields: dict[str, JSON] = {"input": text} if text != self.scope.input.message else {}
        nodes = {
            inner_id: output_view(records[inner_id], output)
            for inner_id, output in (() if runs.is_items else scope.outputs.items())
        }
        return GraphResult(inner.answer.value, fields=fields, nodes=nodes)

    async def _run_nodes(self, before: Mapping[str, Record]) -> Mapping[str, Record]:
        """Run what is left of an inner graph, or of the one node that is visited."""
        graph = self.prepared.graph
        if self.only is None:
            scheduler = Scheduler(graph.plan, self, before, max_parallel=graph.max_parallel)
            return await scheduler.run()
        if not before:
            before = {self.only.node: await self.visit(self.only.node, {})}
            await self.save([*before.values()])
        return before

    def _inner(self, node: NodeExecution, runs: GraphRuns, asked: InnerRun) -> Self:
        node_id, outer, visit = node.node_id, self.scope, asked.visit
        message, number, names = asked.message, asked.number, asked.names
        step = node_id if number is None else NodePath(node_id).at(number)
        prepared = self.prepared.inner[node_id]
        state = {**prepared.graph.state, **outer.state_now(node)}
        listener = self._inner_listener(step)
        mode: TokenMode = "revocable"
        if asked.tokens == "none" or self.emitter.tokens == "none":
            mode = "none"
        emitter = EventEmitter(outer.run.id, outer.session.id, listener, mode)
        is_text = isinstance(message, str)
        scope = replace(
            outer,
            graph=prepared.scope,
            input=replace(outer.input, message=message) if is_text else json_view(message),
            session=replace(outer.session, state=JSONView(state)),
            state=state,
            node_states=dict(runs.states),
            outputs={},
            patches={},
            patched=0,
            newest={},
            writers={},
            given={**outer.given, **json_views(names)} if names else outer.given,
            history=outer.history_of(node_id, outer.outputs) if visit else NO_HISTORY,
            handover=visit.handover if visit else None,
        )
        around = (self.answer, node_id) if asked.tokens == "output" else None
        candidates = (visit.node,) if visit else prepared.graph.answering
        answer = AnswerStream(candidates, emitter, around)
        return replace(
            self,
            prepared=prepared,
            emitter=emitter,
            scope=scope,
            answer=answer,
            usage=UsageMeter(
                tuple(Limit(each) for each in budgets(prepared.graph.budget) if each.per == "run"),
                outer=self.usage,
            ),
            past=self.past.inside(node_id),
            earlier=dict(runs.earlier.get(step, {})),
            parent=self,
            path=self.path.child(step),
            keeps_state=self.keeps_state and not runs.is_items,
            only=visit,
            summary=None,
            records={},
            failures={},
            condition_errors={},
            state_lock=asyncio.Lock(),
            merged_records=[],
        )

    def _inner_listener(self, step: str) -> Listener | None:
        """Forwards events of the inner graph; its answer is only the output of the node."""
        if not self.emitter.has_listener:
            return None

        def listen(event: Event) -> None:
            match event:
                case Token(answer=True):
                    self.emitter.forward(replace(event, answer=False), step)
                case Answer() | AnswerReset():
                    pass
                case _:
                    self.emitter.forward(event, step)

        return listen


async def _earlier_records(
    prepared: PreparedGraph, store: Store, lease: Lease, request: RunRequest
) -> dict[str, Record]:
    """The records that a run begins with; those that have to run again are turned to failed."""
    earlier: dict[str, Record] = {}
    rewritten = list(request.records)
    # Read under the lease: another process may have resumed the run while we waited for it.
    run = await store.run(lease.key, lease.run_id) if request.is_resumed else None
    if run is not None:
        if request.responses:
            rewritten = await _answered(store, lease, run, request)
        earlier = dict(run.records)
        if not request.reuse_unchanged:
            await check_unchanged(prepared, store, run)
        elif changed := changed_paths(prepared, earlier):
            again = invalidated(prepared, earlier, changed)
            rewritten += as_failed(earlier, again, "the graph was changed since")
    if rewritten:
        # Stored before anything runs, so that whatever ends this try, the next one knows.
        await store.put(lease, rewritten)
        earlier |= {record.node: record for record in rewritten}
    return earlier


async def _limits(
    graph: Graph, store: Store, lease: Lease, request: RunRequest
) -> tuple[Limit, ...]:
    """The limits of a run, with what was spent of those that are not its own alone."""
    replaced = {each.per for each in request.budget}
    declared = [each for each in budgets(graph.budget) if each.per not in replaced]
    limits = [*declared, *request.budget]
    if all(each.per == "run" for each in limits):
        return tuple(map(Limit, limits))
    from .spending import limit_of  # noqa: PLC0415  most graphs limit a run at most

    return tuple(
        [
            Limit(each) if each.per == "run" else await limit_of(each, store, lease)
            for each in limits
        ]
    )


async def _begin(store: Store, request: RunRequest) -> Lease:
    key, turn, is_stored = request.key, request.turn, request.is_resumed
    if request.while_waiting == "refuse":  # what a store does that knows of no waiting, too
        return await store.begin(key, turn, policy=request.busy, is_stored=is_stored)
    return await store.begin(
        key, turn, policy=request.busy, is_stored=is_stored, while_waiting=request.while_waiting
    )


async def _answered(store: Store, lease: Lease, run: Run, request: RunRequest) -> list[Record]:
    """The records with the responses; if one came too late, the run goes on waiting."""
    try:
        return with_responses(run, request.responses)
    except TeamgraphError:
        turn = waiting_turn(request.turn, run.records)
        if turn.waiting:
            await finish_uncancelled(store.finish(lease, turn, Change()))
        raise


def waiting_turn(turn: Turn, records: Mapping[str, Record]) -> Turn:
    """The turn of a run that waits with the open questions of these records."""
    questions = open_questions(records.values())
    expires = [question.expires for question in questions]
    return replace(
        turn,
        status="waiting",
        waiting=tuple(question.path for question in questions),
        waiting_until=max(expires) if expires and all(expires) else 0.0,
    )


async def finish_uncancelled(work: Coroutine[object, object, T]) -> T:
    """Await to completion; a cancellation in the meantime is swallowed."""
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            return await asyncio.shield(task)
    return task.result()


def _as_run_error(error: Exception) -> RunError:
    failure = RunError(error_text(error))
    failure.__cause__ = error
    return failure
