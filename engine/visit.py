"""One node of one run: its context, its attempts, its record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import time
from typing import Literal

from pydantic_core import PydanticSerializationError, to_jsonable_python

from .asking import Ask, Spent
from .attempt import pause, retry_of, told
from .errors import BudgetExceeded, InputError, ModelError, PromptError
from .events import NodeFailed, NodeFinished, NodeRetried, NodeSkipped, NodeStarted, Teller
from .graph import Graph
from .messages import JSON, NO_USAGE
from .models import Model
from .node import (
    NO_HISTORY,
    Context,
    History,
    Instead,
    ModelSpec,
    Node,
    Result,
    Timeout,
    Upstream,
)
from .past import Past
from .plan import Plan, is_live
from .session import Exchange, Head, Record, Summary
from .tools import Caller, SessionState, ToolContext
from .views import Fields, Scenery, Views, outcome, shown, text_of, variables
from .voice import Voice

NO_MODEL = ModelSpec(id="none")


@dataclass(frozen=True, slots=True)
class Cast:
    """A graph ready to be visited: what templates see of it, each node's models, fingerprints.

    `models` lists the models of each node that asks one, the first choice first. `summarizes` says
    whether a node keeps the session's summary. `kept_prompts` are the hashes whose sources the
    runner's store is known to have. `inner` are the casts of the graphs inside nodes, by node; what
    is in them has its fingerprint here too, by its path.
    """

    graph: Graph
    plan: Plan
    views: Views
    model: Model
    models: Mapping[str, Sequence[ModelSpec]]
    fingerprints: Mapping[str, str]
    summarizes: bool = False
    kept_prompts: set[str] = field(default_factory=set[str])
    inner: Mapping[str, Cast] = field(default_factory=dict[str, "Cast"])

    def paths(self) -> Iterator[str]:
        """Every node in order, each followed by those of the graph inside it, by their paths."""
        for node_id in self.plan.order:
            yield node_id
            if node_id in self.inner:
                yield from (f"{node_id}/{path}" for path in self.inner[node_id].paths())

    def at(self, path: str) -> Cast:
        """The cast that the node of this path belongs to."""
        outer, slash, rest = path.partition("/")
        return self.inner[outer].at(rest) if slash else self


@dataclass(slots=True)
class Visitor:
    """Visits the nodes of one run: implements `engine.scheduler.Work`.

    `state` is the session's state as the run found it, `earlier` the records of an earlier try of
    the run, with those of the graphs inside nodes by their paths. `store` is called with records
    before anything builds on them. `enter` runs the graph inside a node. `outputs` are the
    outputs of the run's nodes as Python has them, `patches` the keys that they set in the session's
    state, `failures` the errors of those that failed, `untold` those of conditions.
    """

    cast: Cast
    scenery: Scenery
    head: Head
    past: Past
    tell: Teller
    voice: Voice
    spent: Spent
    state: Mapping[str, JSON]
    earlier: dict[str, Record]
    store: Callable[[Sequence[Record]], Awaitable[None]]
    enter: Callable[[Visitor, str, str], Awaitable[Result]]
    outputs: dict[str, object] = field(default_factory=dict[str, object])
    patches: dict[str, Mapping[str, JSON]] = field(default_factory=dict[str, "Mapping[str, JSON]"])
    summary: Summary | None = None
    failures: dict[str, Exception] = field(default_factory=dict[str, Exception])
    untold: dict[str, Exception] = field(default_factory=dict[str, Exception])

    def barred(self, node_id: str, records: Mapping[str, Record]) -> str | None:
        """Whether the node's `when` says no."""
        when = self.cast.graph.nodes[node_id].when
        try:
            if when is None or self._ask(_Visit(node_id, records), NO_MODEL).test(when):
                return None
        except PromptError as error:
            self.untold[node_id] = error  # the visit fails with it, as with any other error
            return None
        return f"when: {when} is false"

    def skip(self, node_id: str, because: str) -> Record:
        """Tell that the node does not run."""
        record = self._record(_Visit(node_id, {}), "skipped", because=because)
        self.tell(NodeSkipped, node_id, 1, because, replayed=False)
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
            visit = _Visit(record.node, records)
            context = self._context(visit, self._ask(visit, NO_MODEL))
            node = self.cast.graph.nodes[record.node]
            self.outputs[record.node] = await node.recall(context, record.output)
            summary = node.summarized(record.output, record.fields)
            if summary is not None and summary.covers == self.head.turns + 1:
                self.summary = summary  # unless other turns came in between
            self.tell(NodeFinished, record.node, record.attempt, record, replayed=True)
        else:
            self.tell(NodeSkipped, record.node, record.attempt, record.because or "", True)
        self._note(record)
        self.voice.settle(record)

    def _note(self, record: Record) -> None:
        if record.session_state:
            self.patches[record.node] = record.session_state

    async def visit(self, node_id: str, records: Mapping[str, Record]) -> Record:
        """Attempt the node with each of its models until an attempt holds."""
        node, visit = self.cast.graph.nodes[node_id], _Visit(node_id, records, started=time())
        if (before := self.earlier.get(node_id)) is not None:
            visit.attempt = before.attempt
        error: Exception = InputError("nothing was attempted")
        for spec in self.cast.models.get(node_id, (NO_MODEL,)):
            made = 0
            while True:
                made += 1
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
            if not isinstance(error, ModelError | TimeoutError) or self.voice.has_told(node_id):
                break
        return self._gave_up(node, visit, error)

    def _wait(self, node: Node, made: int, error: Exception, visit: _Visit) -> float | None:
        """Tell that another attempt follows, and when; None if there is none.

        Once part of an answer has been told, another attempt could only contradict it.
        """
        if self.voice.has_told(node_id := visit.node_id):
            return None
        wait = pause(retry_of(node, self.cast.graph), made, error)
        if wait is not None:
            self.tell(NodeRetried, node_id, visit.attempt, told(error), wait)
        return wait

    async def _attempt(self, node: Node, visit: _Visit, spec: ModelSpec) -> Result:
        if (untold := self.untold.get(visit.node_id)) is not None:
            raise untold
        ask = self._ask(visit, spec)
        context = self._context(visit, ask)
        caller = ask.caller = self._caller(node, visit, spec)
        result = await self._timed(node, context)
        if caller is not None and (changed := caller.changed()):
            result = replace(result, session_state={**changed, **(result.session_state or {})})
        return result

    async def _timed(self, node: Node, context: Context) -> Result:
        timeout = node.timeout or self.cast.graph.timeout
        total = timeout.total if isinstance(timeout, Timeout) else timeout
        if total is None:
            return await _run(node, context)
        limit = asyncio.timeout(total)
        try:
            async with limit:
                return await _run(node, context)
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"no answer within {total:g} seconds") from error
            raise

    def _done(self, visit: _Visit, result: Result) -> Record:
        output = result.output if result.stored is None else result.stored
        kept = _as_json(visit.node_id, "output", output)
        result = _plain(visit.node_id, result)
        self._hold_to_what_was_told(visit.node_id, kept)
        self.outputs[visit.node_id] = kept if result.stored is None else result.output
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

    def _gave_up(self, node: Node, visit: _Visit, error: Exception) -> Record:
        """What the failure of the last attempt comes to: `on_error`, or a failed record."""
        failed = told(error)
        # What was told cannot be taken back: neither a skip nor another value could follow it.
        if not isinstance(error, BudgetExceeded) and not self.voice.has_told(visit.node_id):
            policy = node.on_error or self.cast.graph.on_error
            instead = node.instead(error)
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
        visit: _Visit,
        status: Literal["done", "skipped", "failed"],
        *,
        output: JSON = None,
        result: Result | None = None,
        because: str | None = None,
        error: str | None = None,
    ) -> Record:
        usage = NO_USAGE
        for exchange in visit.exchanges:
            usage += exchange.usage
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
            exchanges=tuple(visit.exchanges),
            state=given.state,
            session_state=given.session_state,
            error=error,
            usage=usage,
            fingerprint=self.cast.fingerprints[visit.node_id],
            started=visit.started,
            ended=time() if visit.started else 0.0,
        )

    def _ask(self, visit: _Visit, spec: ModelSpec) -> Ask:
        graph = self.cast.graph
        timeout = graph.nodes[visit.node_id].timeout or graph.timeout
        return Ask(
            graph=graph,
            node_id=visit.node_id,
            attempt=visit.attempt,
            model=self.cast.model,
            spec=spec,
            idle=timeout.idle if isinstance(timeout, Timeout) else None,
            names=lambda: self._names(visit),
            exchanges=visit.exchanges,
            spent=self.spent,
            tell=self.tell,
            voice=self.voice,
        )

    def _caller(self, node: Node, visit: _Visit, spec: ModelSpec) -> Caller | None:
        toolbox = node.toolbox()
        if toolbox is None:
            return None
        state = SessionState(self.session_state(visit.node_id))
        context = ToolContext(
            user_id=self.scenery.user_id,
            session_id=self.scenery.session.id,
            run_id=self.scenery.run.id,
            node_id=visit.node_id,
            session_state=state,
            past=self.past,
        )
        return Caller(toolbox, context, state, spec.id, visit.attempt, self.tell)

    def _context(self, visit: _Visit, ask: Ask) -> Context:
        of, scenery, ran = self.cast, self.scenery, self.outputs
        outputs = {
            source: ran[source] for source in of.plan.stop(visit.node_id).sources if source in ran
        }
        loader = of.views.loaders[visit.node_id]
        history = outputs.get(loader) if loader else None
        return Context(
            node_id=visit.node_id,
            input=scenery.input,
            user_id=scenery.user_id,
            session_id=scenery.session.id,
            run_id=scenery.run.id,
            upstream=self._upstream(visit),
            outputs=outputs,
            history=history if isinstance(history, History) else NO_HISTORY,
            state=self.head.node_states.get(visit.node_id, {}),
            session_state=self.session_state(visit.node_id),
            summary=self.head.summary,
            turns=self.head.turns,
            answer=self.voice.text,
            past=self.past,
            asker=ask,
            summarizes=of.summarizes,
            enter=partial(self.enter, self, visit.node_id) if visit.node_id in of.inner else None,
        )

    def _upstream(self, visit: _Visit) -> list[Upstream]:
        """The sources in `needs` whose edge is live, in declared order."""
        nodes, roles = self.cast.graph.nodes, self.cast.views.roles
        if not (needed := nodes[visit.node_id].needs):
            return []
        labels = dict(self.cast.plan.stop(visit.node_id).needs)
        return [
            Upstream(source, nodes[source].kind, roles[source], _output(self.outputs[source]))
            for source in needed
            if source in self.outputs and is_live(visit.records[source], labels[source])
        ]

    def _heard(self, visit: _Visit) -> list[Upstream]:
        """Those in `reads` that ran, in declared order."""
        nodes, roles = self.cast.graph.nodes, self.cast.views.roles
        return [
            Upstream(source, nodes[source].kind, roles[source], _output(self.outputs[source]))
            for source in nodes[visit.node_id].reads
            if source in self.outputs
        ]

    def session_state(self, node_id: str) -> Mapping[str, JSON]:
        """The session's state with what the nodes before this one have set in this run."""
        state = self.state
        if self.patches:
            before = self.cast.plan.before(node_id)
            for source in self.cast.plan.order:
                if source in before and source in self.patches:
                    state = {**state, **self.patches[source]}
        return state

    def _names(self, visit: _Visit) -> dict[str, object]:
        views, records = self.cast.views, visit.records
        state = self.session_state(visit.node_id)
        scenery = self.scenery
        if state is not self.state:
            scenery = replace(scenery, session=replace(scenery.session, state=Fields(state)))
        stop = self.cast.plan.stop(visit.node_id)
        node = views.node(
            visit.node_id, self.head.node_states.get(visit.node_id, {}), _task(visit, stop.needs)
        )
        outcomes = {
            source: outcome(records[source], self.outputs[source])
            for source in stop.sources
            if source in self.outputs
        }
        node.heard = [replace(one, output=shown(one.output)) for one in self._heard(visit)]
        upstream = [replace(one, output=shown(one.output)) for one in self._upstream(visit)]
        return variables(views, scenery, node, upstream, outcomes)


@dataclass(slots=True)
class _Visit:
    """A node being visited: its attempts so far and what they asked."""

    node_id: str
    records: Mapping[str, Record]
    attempt: int = 0
    started: float = 0.0
    exchanges: list[Exchange] = field(default_factory=list["Exchange"])


NOTHING = Result(None)


async def _run(node: Node, context: Context) -> Result:
    try:
        result: object = await node.run(context)
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


def _plain(node_id: str, result: Result) -> Result:
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
    plain = _as_json(node_id, name, value)
    if plain is None or isinstance(plain, dict):
        return plain
    raise InputError(f"node {node_id!r}: its {name}, a {type(value).__name__}, must be a mapping")


def _as_json(node_id: str, name: str, value: object) -> JSON:
    if value is None or isinstance(value, str):
        return value
    try:
        plain: JSON = to_jsonable_python(value)
    except (PydanticSerializationError, ValueError) as error:
        raise InputError(
            f"node {node_id!r}: its {name}, a {type(value).__name__}, cannot be kept as JSON; "
            "use text, numbers, lists, mappings, or a pydantic model"
        ) from error
    return plain


def _output(output: object) -> object:
    """What `.output` of a node is: a history's is its text."""
    return output.output if isinstance(output, History) else output


def _task(visit: _Visit, needs: Iterable[tuple[str, frozenset[str] | None]]) -> str | None:
    """What a router before the node wrote for it to do."""
    for source, labels in needs:
        record = visit.records.get(source)
        for label, task in record.tasks.items() if record else ():
            if labels and label in labels:
                return task
    return None
