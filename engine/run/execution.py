"""One run from its first moment to its last: take the session, visit, keep, tell, move on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from time import time
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import BudgetExceeded, Changed, NoAnswer, NodeError, RunError
from ..events import EventEmitter, Listener, RunCancelled, RunFailed, RunFinished, RunStarted
from ..graph.context import Input, SessionView
from ..messages import Quote
from ..records import Change, Head, Record, Run, RunStatus, SessionKey, Turn
from ..session.history import StoredPast
from ..session.quotes import QuoteLog
from ..session.store import Lease, Policy, Store
from .answer import AnswerStream
from .attempt import Visitor, told
from .changes import changed, differences, outdated, reopened
from .model_call import Spent
from .prepared import PreparedGraph
from .scheduler import drive
from .sight import Sight
from .subgraph import run_inside
from .template_scope import Fields, RunView, Scenery

Value = TypeVar("Value")


class Turning(Struct, frozen=True):
    """A run that is about to be made, or taken up again if it is `resumed`.

    `records` are those of another run that it begins with, already taken for its own. `busy` says
    what happens while another turn of the session is under way. With `reuse_unchanged` a run is
    taken up also if its graph has changed: what was changed and all that follows is done anew.
    """

    cast: PreparedGraph
    store: Store
    key: SessionKey
    turn: Turn
    records: Sequence[Record] = ()
    resumed: bool = False
    busy: Policy = "serialize"
    reuse_unchanged: bool = False

    async def run(self, listener: Listener | None) -> Run:
        """Make the run; raises what ended it, after that was kept and told."""
        tell = EventEmitter(self.turn.run_id, self.key.session_id, listener)
        lease = await self.store.begin(self.key, self.turn, policy=self.busy)
        try:
            if self.cast.declared not in self.cast.kept_texts:
                await self.keep_texts(self.cast.declared, self.cast.facts)
            return await _Turn(self, tell, lease, await self._earlier(lease)).run()
        except BaseException:  # a run that came to its end has given the session free itself
            await _undisturbed(self.store.release(lease))
            raise

    async def keep_texts(self, name: str, texts: Mapping[str, str]) -> None:
        """Keep under their hash the texts that records and turns only refer to, once."""
        await self.store.put_prompt(name, texts)
        self.cast.kept_texts.add(name)

    async def _earlier(self, lease: Lease) -> Mapping[str, Record]:
        """The records that are there now that the session is ours.

        Somebody else may have taken the run further while we waited for the session. Records that
        are done anew are kept as such first: whatever ends this try, the next one knows.
        """
        run = await self.store.run(self.key, self.turn.run_id) if self.resumed else None
        earlier = dict(run.records) if run is not None else {}
        rewritten = list(self.records)
        if run is not None and (paths := changed(self.cast, earlier)):
            if not self.reuse_unchanged:
                raise Changed(await differences(self.cast, self.store, run, paths), run=run)
            anew = outdated(self.cast, earlier, paths)
            rewritten = reopened(earlier, anew, "the graph was changed since")
        if rewritten:
            await self.store.put(lease, rewritten)
        return earlier | {record.node: record for record in rewritten}


class _Turn:
    """A run under way: the session is ours."""

    __slots__ = (
        *("_earlier", "_ledger", "_lease", "_of", "_past", "_state", "_tell", "_visitor", "_voice"),
    )

    def __init__(
        self, of: Turning, tell: EventEmitter, lease: Lease, earlier: Mapping[str, Record]
    ) -> None:
        self._of = of
        self._tell = tell
        self._lease = lease
        head, graph = lease.head, of.cast.graph
        given = of.turn.given_state or {}
        # Copies, since what nodes are given they could change.
        self._state = {**deepcopy(dict(graph.state)), **head.state, **deepcopy(dict(given))}
        self._earlier = earlier
        self._past = StoredPast(of.store, of.key, until=head.turns)
        self._past.given.head(head)
        self._ledger = _Ledger(of, lease, self._past.given)
        self._voice = AnswerStream(graph.answering, tell)
        self._visitor = Visitor(
            cast=of.cast,
            sight=Sight(
                cast=of.cast,
                scenery=self._scenery(head),
                head=head,
                past=self._past,
                voice=self._voice,
                found=self._state,
            ),
            tell=tell,
            voice=self._voice,
            spent=Spent(graph),
            earlier=dict(earlier),
            store=self._ledger.keep,
            enter=run_inside,
        )

    async def run(self) -> Run:
        of, turn = self._of, self._of.turn
        self._tell(RunStarted, None, 0, of.key.user_id, turn.graph, turn.input, resumed=of.resumed)
        try:
            run = await self._to_the_end()
        except asyncio.CancelledError:
            run = await self._stop("cancelled", answer=self._voice.told or None)
            self._tell(RunCancelled, None, 0, run)
            raise
        except Exception as error:  # noqa: BLE001  whatever went wrong, the run's end is told
            failure = error if isinstance(error, RunError) else _as_run_error(error)
            failure.run = await self._stop("failed", error=str(failure))
            self._tell(RunFailed, None, 0, failure.run, failure)
            raise failure from failure.__cause__
        self._tell(RunFinished, None, 0, run)
        return run

    async def _to_the_end(self) -> Run:
        graph = self._of.cast.graph
        before = await self._finished_before()
        records = await drive(graph.plan, self._visitor, before, max_parallel=graph.max_parallel)
        for record in records.values():
            if record.status == "failed":
                raise self._failure(record)
        if self._voice.text is None:
            raise self._no_answer(records)
        return await self._finish(self._voice.text)

    async def _finished_before(self) -> dict[str, Record]:
        for record in self._earlier.values():
            self._visitor.spent.count(record.usage)
            if record.is_final:
                self._ledger.records[record.node] = record
        self._visitor.spent.at_least(self._of.turn.usage)
        return await self._visitor.finished_before()

    def _failure(self, record: Record) -> RunError:
        cause = self._visitor.failures.get(record.node)
        if isinstance(cause, BudgetExceeded):
            return cause
        error = NodeError(record.node, record.error or "")
        error.__cause__ = cause
        return error

    def _no_answer(self, records: Mapping[str, Record]) -> NoAnswer:
        skipped = [
            f"{node_id} ({records[node_id].because})" for node_id in self._of.cast.graph.answering
        ]
        return NoAnswer(f"every node that could answer was skipped: {', '.join(skipped)}")

    async def _finish(self, answer: str) -> Run:
        """Move the session on; a cancellation that comes now comes too late."""
        records = self._ledger.in_order()
        turn = self._ended("done", answer=answer)
        written = self._visitor.summary
        summary = written and replace(written, updated=turn.ended, run_id=turn.run_id)
        change = Change.of(turn, records.values())
        change = replace(change, summary=summary, turns=self._lease.head.turns)
        turn = await _undisturbed(self._of.store.finish(self._lease, turn, change))
        return Run(self._of.key, turn, records)

    async def _stop(
        self, status: RunStatus, *, answer: str | None = None, error: str | None = None
    ) -> Run:
        """Close a run that did not get to its end, as far as the store lets us."""
        turn = self._ended(status, answer=answer, error=error)
        with suppress(Exception, asyncio.CancelledError):
            # Where the store is what failed, the run stays as it was last kept, to be resumed.
            turn = await _undisturbed(self._of.store.finish(self._lease, turn, Change()))
        return Run(self._of.key, turn, self._ledger.in_order())

    def _ended(
        self, status: RunStatus, *, answer: str | None = None, error: str | None = None
    ) -> Turn:
        return replace(
            self._of.turn,
            status=status,
            answer=answer,
            usage=self._visitor.spent.usage,
            error=error,
            ended=time(),
        )

    def _scenery(self, head: Head) -> Scenery:
        of = self._of
        return Scenery(
            input=Input(of.turn.input),
            user_id=of.key.user_id,
            session=SessionView(
                id=of.key.session_id,
                state=Fields(self._state),
                summary=head.summary.text if head.summary else None,
                turns=head.turns,
            ),
            run=RunView(of.turn.run_id),
            now=datetime.fromtimestamp(of.turn.started, UTC),
        )


class _Ledger(Struct):
    """The final records of a run. Apart from the rest of it, so that a run has no cycles.

    `given` is what the run was given of earlier ones so far.
    """

    of: Turning
    lease: Lease
    given: QuoteLog
    records: dict[str, Record] = field(default_factory=dict[str, Record])

    async def keep(self, records: Sequence[Record]) -> None:
        """Keep the records in the store, with the texts that they refer to."""
        of = self.of
        for record in records:
            for exchange in record.exchanges:
                if exchange.prompt_hash not in of.cast.kept_texts:
                    sources = of.cast.at(record.node).graph.prompts.sources(exchange.prompt)
                    await of.keep_texts(exchange.prompt_hash, sources)
        quotes = self.given.quotes(of.turn)
        await of.store.put(
            self.lease, [_quoting(record, quotes) if quotes else record for record in records]
        )
        for record in records:
            self.records[record.node] = record

    def in_order(self) -> dict[str, Record]:
        """What was kept, each node followed by those of the graph inside it."""
        return {path: self.records[path] for path in self.of.cast.paths() if path in self.records}


def _quoting(record: Record, quotes: tuple[Quote, ...]) -> Record:
    """The record with what it may quote; one in which no text was rendered quotes nothing."""
    return replace(record, quotes=quotes) if record.exchanges or record.fields else record


def _as_run_error(error: Exception) -> RunError:
    failure = RunError(told(error))
    failure.__cause__ = error
    return failure


async def _undisturbed(work: Coroutine[object, object, Value]) -> Value:
    """Wait for what must not be left half done, however often the caller is cancelled."""
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            return await asyncio.shield(task)
    return task.result()
