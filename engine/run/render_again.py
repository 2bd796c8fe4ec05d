"""Renders the prompts of a recorded run again, from what the store has of it.

The run is executed by the same code as ever, as a dry run is: only what is outside is replaced.
Instead of a model the records answer, no tool is called, nothing is stored, and each node leaves
what its record says. So every template gets the names that it had, and the caller can compare what
comes out with what was sent.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar, cast

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import TeamgraphError
from ..events import EventEmitter
from ..graph.context import History, InnerRun, Input, NodeWaits
from ..graph.fields import ModelSpec
from ..graph.node import REPAIR, items_of, recalled, recalls, run_again
from ..messages import JSON, Message
from ..models.protocol import Reply
from ..node_path import NodePath
from ..prompts.library import CapturedPrompt
from ..prompts.provenance import TracedText, render_traced
from ..records import Change, Exchange, Head, Record, Run, StateKey, Summary, Turn
from ..returns.form import Form
from ..session.history import QuoteLog, StoredPast
from ..session.store import Lease, Store
from ..tools.context import SessionState
from .execution import NO_MODEL, RunExecution
from .model_call import ModelCall
from .node_execution import GraphRuns, NodeExecution
from .prepared import PreparedGraph
from .recorded_graph import Unknown, recorded_graph, templates_of
from .resume import begun_after

T = TypeVar("T")

_HISTORY = "history"
_FARTHEST_LOOK = 128
"""Turns that are read back for what a key of the state was before a run."""


class Surroundings(Struct, frozen=True):
    """What the names of a prompt stand for, beside their values.

    `path` is the node whose prompt it is. `message` is where `input.message` comes from, None if it
    is the user's, and `item` where `input.item` comes from. `turns` are the numbers of the turns in
    each history, by the id of its loader and by `history`, None where one is unknown. `turn_of` has
    the number of each run that was read, `past` the message and answer of each number. `tasks` are
    the routers that wrote the node's task. `given_by` are the nodes whose kind gives further names,
    by name; that of a loop or map has the number of its round.
    """

    path: NodePath
    message: MessageSource | None = None
    item: MapSource | None = None
    turns: Mapping[str, Sequence[int | None]] = {}
    turn_of: Mapping[str, int] = {}
    past: Mapping[int, tuple[str, str]] = {}
    tasks: tuple[str, ...] = ()
    given_by: Mapping[str, NodePath] = {}


class MessageSource(Struct, frozen=True):
    """Where the message of an inner graph comes from: the node around it, what that rendered."""

    around: Surroundings
    rendered: TracedPrompt | None


class MapSource(Struct, frozen=True):
    """Where the items of a map come from: what its expression reads."""

    around: Surroundings
    reads: tuple[str, ...]


class TracedPrompt(Struct, frozen=True):
    """The texts of a prompt with their provenance, its values by name, and what they stand for."""

    texts: Sequence[TracedText]
    values: Mapping[str, object]
    around: Surroundings

    @classmethod
    def of(cls, captured: CapturedPrompt, around: Surroundings) -> TracedPrompt:
        """Render a prompt with provenance; without texts if that is not possible any more.

        It is done at once: a kind may change later what it has given to its template.
        """
        try:
            texts = render_traced(captured)
        except Exception:  # noqa: BLE001  whatever the template of then raises, it is not known
            texts = ()
        return cls(texts, captured.variables, around)


class PromptAgain(Struct, frozen=True):
    """A recorded model call of a node, and what the last of its messages were rendered from.

    `prompt` is None where that is not known, or nothing was rendered. `before` is the exchange that
    this one continues: its messages, its reply and the results of its tools come first.
    """

    exchange: Exchange
    prompt: TracedPrompt | None = None
    before: Exchange | None = None


class PromptsAgain(Struct):
    """What is collected: the calls of each node by its path, and what made inner messages.

    `wanted` are the paths of the nodes that are to be rendered, None for all.
    """

    sources: Mapping[str, Mapping[str, str]]
    wanted: Collection[str] | None = None
    calls: dict[str, list[PromptAgain]] = field(default_factory=dict[str, "list[PromptAgain]"])

    def wants(self, path: NodePath) -> bool:
        """Whether the node of this path, or one inside it, is to be rendered."""
        return self.wanted is None or any(
            path == each or NodePath(each).is_inside(path) for each in self.wanted
        )


class TurnLog(QuoteLog):
    """The earlier turns that were read: their numbers by run, and what was said in each."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, int] = {}
        self.said: dict[int, tuple[str, str]] = {}

    def add_turns(self, turns: Iterable[Turn], *, session_id: str | None = None) -> None:
        """Remember the numbers of turns of the same session."""
        if session_id is None:
            for turn in turns:
                self.numbers[turn.run_id] = turn.number
                self.said[turn.number] = turn.input, turn.answer or ""

    def add_run(self, run: Run) -> None:
        """Remember the number of a run."""
        self.numbers[run.run_id] = run.turn.number

    def add_summary(self, summary: Summary | None) -> None:
        """Nothing to remember."""

    def add_head(self, head: Head) -> None:
        """Nothing to remember."""


async def render_again(
    run: Run, store: Store, now: PreparedGraph | None, nodes: Collection[str] | None = None
) -> Mapping[str, Sequence[PromptAgain]]:
    """The model calls of the nodes of a run by path, each with what it was rendered from.

    `now` is the graph as it is today, for what the store has not: functions and classes. Without
    `nodes` these are all nodes that asked a model. What cannot be rendered again has no prompt.
    """
    found = PromptsAgain({}, None if nodes is None else frozenset(nodes))
    records = {
        path: record
        for path, record in run.records.items()
        if record.exchanges and found.wants(NodePath(path))
    }
    sent = {each.prompt_hash for record in records.values() for each in record.exchanges}
    with suppress(Unknown, TeamgraphError):
        prepared, found.sources = await _as_it_was(run, store, now, sent)
        execution = await RecordedExecution.of(prepared, run, store, found)
        await execution.render_nodes()
    calls: dict[str, Sequence[PromptAgain]] = {}
    for path, record in records.items():
        known = found.calls.get(path, [])
        calls[path] = [*known, *map(PromptAgain, record.exchanges[len(known) :])]
    return calls


class Beginning(Struct, frozen=True):
    """What a run began with: the head of its session then, and the longest history that it loaded.

    `outputs` are those of its own nodes, as templates read them.
    """

    head: Head
    history: History
    outputs: Mapping[str, object]


async def beginning_of(run: Run, store: Store, now: PreparedGraph) -> Beginning:
    """What a recorded run began with; `now` is its graph as it is today."""
    nothing = PromptsAgain({}, frozenset())
    execution = await RecordedExecution.of(now, run, store, nothing)
    await execution.render_nodes()
    outputs = execution.scope.outputs
    histories = [each for each in outputs.values() if isinstance(each, History)]
    longest = max(histories, key=lambda each: len(each.runs), default=History())
    return Beginning(execution.lease.head, longest, outputs)


async def _as_it_was(
    run: Run, store: Store, now: PreparedGraph | None, sent: Collection[str]
) -> tuple[PreparedGraph, Mapping[str, Mapping[str, str]]]:
    """The graph that made the run, and the sources of templates by hash: `sent`, and its own."""
    facts = await store.prompt(run.turn.declared)
    if now is not None and facts in (None, now.facts):
        sources = await _sources(sent, store)
        return now, sources if len(sources) == len(sent) else {**_sources_now(now), **sources}
    if facts is None:
        raise Unknown("the store has no facts of the graph")
    own = templates_of(facts).values()
    hashes = {prompt_hash for templates in own for prompt_hash in templates.values()}
    sources = await _sources({*sent, *hashes}, store)
    return recorded_graph(facts, sources, now), sources


def _sources_now(now: PreparedGraph) -> Mapping[str, Mapping[str, str]]:
    """The sources of today's templates by hash, for runs that were imported or are not kept."""
    return {
        prompt_hash: now.owner(path).graph.prompts.sources(name)
        for path, templates in templates_of(now.facts).items()
        for name, prompt_hash in templates.items()
    }


async def _sources(hashes: Collection[str], store: Store) -> Mapping[str, Mapping[str, str]]:
    found = {each: await store.prompt(each) for each in hashes}
    return {each: texts for each, texts in found.items() if texts is not None}


async def earlier_runs(run: Run, store: Store, *, most: int) -> AsyncIterator[Run]:
    """The last turns before a run, the newest first."""
    past = StoredPast(store, run.key, until=await _turns_before(run, store))
    for turn in reversed(await past.turns(last=most)):
        found = await store.run(run.key, turn.run_id)
        if found is not None:  # pragma: no branch - it may be deleted meanwhile
            yield found


class RecordedExecution(RunExecution):
    """Executes a recorded run again; `earlier` are its records, `again` collects its prompts."""

    again: PromptsAgain = field(default_factory=lambda: PromptsAgain({}))
    turn_log: TurnLog = field(default_factory=TurnLog)
    message: MessageSource | None = None
    item: MapSource | None = None
    given_by: Mapping[str, NodePath] = {}
    rendered: dict[str, dict[str, TracedPrompt]] = field(
        default_factory=dict[str, "dict[str, TracedPrompt]"]
    )

    @classmethod
    async def of(
        cls, prepared: PreparedGraph, run: Run, store: Store, again: PromptsAgain
    ) -> RecordedExecution:
        """The execution of a stored run."""
        key = run.key
        head = await head_before(run, store)
        lease = Lease(key, run.run_id, head)
        emitter = EventEmitter(run.run_id, key.session_id, None, "none")
        execution = cls._outermost(prepared, store, lease, run.turn, emitter, dict(run.records))
        execution.again = again
        execution.past = StoredPast(store, key, until=head.turns, quotes=execution.turn_log)
        return execution

    async def render_nodes(self) -> None:
        """Render the prompts of all nodes that are wanted."""
        await self._run_nodes({})

    async def _run_nodes(self, before: Mapping[str, Record]) -> Mapping[str, Record]:
        """Go through the records, and render the prompts of each node."""
        del before
        records: dict[str, Record] = {}
        for node_id in self.prepared.plan.order:
            record = self.earlier.get(node_id)
            if record is None:
                continue
            if self.again.wants(self.path.child(node_id)):
                await self._render_node(record, records)
            await self._leave(record, records)
            records[node_id] = record
        return records

    async def _render_node(self, record: Record, records: Mapping[str, Record]) -> None:
        """Run the node, with its record in place of a model, as often as it was attempted."""
        node = NodeExecution(record.node, records, questions=list(record.questions))
        has_graph = record.node in self.prepared.inner
        calls: list[PromptAgain] = []
        if record.exchanges:
            self.again.calls[self.path.child(record.node)] = calls
        elif not has_graph or record.status == "skipped":
            return
        left = -1
        while left != len(calls):
            left = len(calls)
            node.begin_attempt()
            node.void = len(node.exchanges)  # what is continued was found by `_converse`
            call = cast("RecordedCall", self._model_call(node, NO_MODEL))
            context = self._context(node, call)
            if has_graph:
                self._open_graph(node, context, None)
            with suppress(Exception, NodeWaits):
                await run_again(self.prepared.graph.nodes[record.node], context)
            if len(calls) == len(record.exchanges):
                break

    async def _leave(self, record: Record, records: Mapping[str, Record]) -> None:
        """Let later nodes read what the record says."""
        self.records[record.node] = record
        if record.status == "done":
            node, output = self.prepared.graph.nodes[record.node], record.output
            if recalls(node):
                execution = NodeExecution(record.node, records)
                context = self._context(execution, self._model_call(execution, NO_MODEL))
                with suppress(Exception):  # what it reads again may be gone
                    output = cast("JSON", await recalled(node, context, record.output))
            self.scope.outputs[record.node] = output
        if record.session_state and record.is_final:
            self.scope.patch(record.node, record.session_state)
        self.answer.settle(record)

    def _model_call(self, node: NodeExecution, spec: ModelSpec) -> ModelCall:
        call = super()._model_call(node, spec)
        fields = {name: getattr(call, name) for name in ModelCall.__struct_fields__}
        return RecordedCall(**fields, execution=self)

    async def _replay(self) -> dict[str, Record]:
        """Nothing: `_run_nodes` goes through all records."""
        return {}

    def _inner(self, node: NodeExecution, runs: GraphRuns, asked: InnerRun) -> RecordedExecution:
        inner = super()._inner(node, runs, asked)
        given, around = asked.message, self.surroundings(node)
        text = given.message if isinstance(given, Input) else given
        inner.message = MessageSource(around, self.rendered.get(node.node_id, {}).get(text))
        inner.given_by = {**self.given_by, **dict.fromkeys(asked.names, inner.path)}
        if (items := items_of(self.prepared.graph.nodes[node.node_id])) is not None:
            reads = self.prepared.graph.expression(items.expression).reads
            inner.item = MapSource(around, tuple(each.path for each in reads))
        return inner

    def surroundings(self, node: NodeExecution, given: Collection[str] = ()) -> Surroundings:
        """What the names in the templates of a node stand for; `given` are those of its kind."""
        scope, needs = self.scope, self.prepared.plan.stops[node.node_id].needs
        outputs = scope.outputs
        histories = {name: each for name, each in outputs.items() if isinstance(each, History)}
        histories[_HISTORY] = scope.history_of(node.node_id, outputs)
        path, numbers = self.path.child(node.node_id), self.turn_log.numbers
        return Surroundings(
            path=path,
            message=self.message,
            item=self.item,
            turns={name: _numbers_of(each, numbers) for name, each in histories.items()},
            turn_of=numbers,
            past=self.turn_log.said,
            tasks=tuple(
                source
                for source, labels in needs
                if labels and source in node.records and labels & node.records[source].tasks.keys()
            ),
            given_by={**self.given_by, **dict.fromkeys(given, path)},
        )


class RecordedCall(ModelCall, kw_only=True):
    """A model call whose replies are those of the record; it renders nothing that is not asked for.

    Raises `NodeWaits` where the record has no further exchange, or another one than is asked for.
    """

    execution: RecordedExecution
    pending: TracedPrompt | None = None

    def render(self, prompt: str | None = None, /, **variables: object) -> str:
        """See `Context.render`; remembers what the text was made of."""
        template, names = self._template(prompt), self._names(variables)
        prompts = self.graph.prompts
        messages = prompts.render(template, names)
        text = "\n".join(message.content for message in messages)
        captured = CapturedPrompt(template, prompts.sources(template), names, messages)
        around = self.execution.surroundings(self.node, variables)
        known = self.execution.rendered.setdefault(self.node.node_id, {})
        known[text] = TracedPrompt.of(captured, around)
        return text

    def _rendered(self, template: str, variables: Mapping[str, object]) -> tuple[Message, ...]:
        """No message: what a prompt was made of is kept for the exchange that sent it."""
        exchange, self.pending = self._next(), None
        if exchange is None or exchange.prompt != template:
            raise NodeWaits
        sources = self.execution.again.sources.get(exchange.prompt_hash)
        if sources is not None:
            given = variables.keys() - self.scope.names(self.node).keys()
            around = self.execution.surroundings(self.node, given)
            captured = CapturedPrompt(template, sources, variables, exchange.messages)
            self.pending = TracedPrompt.of(captured, around)
        return ()

    async def _in_form(
        self,
        form: Form,
        read: Callable[[str], T],
        prompt: str | None,
        variables: Mapping[str, object],
    ) -> T:
        """The answer, after the repairs that the record has."""
        reply = await self._send(prompt, variables, form=form)
        while True:
            following, problem = self._next(), ""
            is_repaired = following is not None and following.prompt == REPAIR
            try:
                value = read(reply.text)
                if not is_repaired:
                    return value
            except ValueError as error:
                if not is_repaired:
                    raise
                problem = str(error)
            self._rendered(REPAIR, {**self._request_names(form), "problem": problem})
            reply = await self._converse(REPAIR, (), [], form)

    async def _converse(
        self,
        template: str,
        messages: tuple[Message, ...],
        rounds: list[int],
        form: Form | None,
        *,
        is_output: bool = False,
    ) -> Reply:
        """The reply of the record, after those that called tools."""
        del messages, rounds, form, is_output
        node, execution = self.node, self.execution
        calls = execution.again.calls[execution.path.child(node.node_id)]
        before = node.exchanges[-1] if template == REPAIR else None
        prompt, self.pending = self.pending, None
        while (exchange := self._next()) is not None and exchange.prompt == template:
            if before is not None and exchange.messages[: len(before.onward)] != before.onward:
                break
            calls.append(PromptAgain(exchange, prompt, before))
            node.exchanges.append(exchange)
            await self._run_graphs(exchange)
            if not exchange.tool_calls:
                return Reply(exchange.reply)
            prompt, before = None, exchange
        raise NodeWaits

    def _next(self) -> Exchange | None:
        """The next exchange of the node's record."""
        exchanges = self.execution.earlier[self.node.node_id].exchanges
        position = len(self.node.exchanges)
        return exchanges[position] if position < len(exchanges) else None

    async def _run_graphs(self, exchange: Exchange) -> None:
        """Render the prompts of the graphs that the model has called as tools."""
        execution, node = self.execution, self.node
        for number, call in enumerate(exchange.tool_calls, exchange.first_call):
            step = NodePath(call.name).at(number)
            path = NodePath(node.node_id).child(step)
            if not any(NodePath(each).is_inside(path) for each in execution.earlier):
                continue
            message = json.loads(call.arguments)["message"]
            state = SessionState(execution.scope.state_read(node), {})
            with suppress(Exception):  # the tool failed
                await execution.run_tool(node, state, step, str(message))


def _numbers_of(history: History, numbers: Mapping[str, int]) -> tuple[int | None, ...]:
    """The numbers of the turns in a history, as far as its messages say which they are of."""
    origins = dict.fromkeys(each.origin for each in history.messages)
    known = [numbers.get(origin or "") for origin in origins][-len(history.runs) :]
    return (*(None,) * (len(history.runs) - len(known)), *known) if history.runs else ()


async def head_before(run: Run, store: Store) -> Head:
    """The head of the session as it was when the run began, as far back as is looked."""
    head = await store.head(run.key) or Head()
    until = await _turns_before(run, store)
    summary = await store.summary(run.key, until=until)
    while summary is not None and summary.run_id and await _is_later(summary.run_id, run, store):
        summary = await store.summary(run.key, until=summary.covers - 1)
    values = await _values_before(run, store, head)
    return replace(
        head,
        turns=until,
        writers={},
        state={key.name: value for key, value in values.items() if key.scope == "state"},
        node_states={
            key.name: cast("dict[str, JSON]", value)
            for key, value in values.items()
            if key.scope != "state"
        },
        summary=summary,
    )


async def _turns_before(run: Run, store: Store) -> int:
    """The number of the last turn before the run."""
    if run.turn.number:
        return run.turn.number - 1
    later = [turn.number async for turn in begun_after(store, run) if turn.number]
    if later:
        return min(later) - 1
    turns = await store.turns(run.key, last=1)
    return turns[-1].number if turns else 0


async def _is_later(run_id: str, run: Run, store: Store) -> bool:
    """Whether a run of the session came after this one, or is it."""
    if run_id == run.run_id:
        return True
    other = await store.run(run.key, run_id)
    return other is not None and (
        other.turn.number >= run.turn.number
        if run.turn.number
        else other.turn.started > run.turn.started
    )


async def _values_before(run: Run, store: Store, head: Head) -> Mapping[StateKey, JSON]:
    """The values in the state before the run: those that no run since has set, and older ones."""
    values = dict(Change(head.state, head.node_states).values())
    later = {
        writer
        for writer in dict.fromkeys(head.writers.values())
        if writer and await _is_later(writer, run, store)
    }
    left = {key for key in values if head.writers.get(key) in later}
    for key in left:
        del values[key]
    async for earlier in earlier_runs(run, store, most=_FARTHEST_LOOK if left else 0):
        set_then = Change.of(earlier.turn, earlier.records.values()).values()
        values |= {key: set_then[key] for key in left & set_then.keys()}
        left -= set_then.keys()
        if not left:
            break
    return values
