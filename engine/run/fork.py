"""A run made again from one of its nodes on, beside the session that it was made in.

The new run is of a session of its own, which begins with the turns that the session had before.
What is copied keeps its ids and its numbers, so that records which name them stay true.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from time import time
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from ..blocking import every
from ..errors import InputError, closest, listed
from ..events import Listener
from ..graph.node import loads_history
from ..messages import NO_USAGE
from ..records import Change, Record, Run, SessionKey, Turn
from ..session.quotes import quoting, texts_of
from ..session.store import Store
from .changes import changed, outdated
from .execution import Turning
from .prepared import PreparedGraph
from .resume import Sought


class Fork(Struct, frozen=True):
    """A run about to be made of the records of another one, but for `node` and what follows it.

    With a `message` in place of the old one every node that may have read that is run anew too, and
    so is what the graph declares in another way now. `session_id` is the new session's.
    """

    cast: PreparedGraph
    store: Store
    source: Sought
    node: str | None
    message: str | None
    session_id: str | None

    async def run(self, listener: Listener | None) -> Run:
        """Make the run; raises `InputError` if the new session is there, or the node is not."""
        wanted = self._wanted()
        run = await self.source.found(self.store)
        key = SessionKey(run.user_id, self.session_id or uuid4().hex)
        if await self.store.head(key) is not None:
            raise InputError(
                f"the session {key.session_id!r} is there already; a fork begins a new one, so "
                "give it another id, or none"
            )
        anew = outdated(self.cast, run.records, [*wanted, *changed(self.cast, run.records)])
        texts = await self._copy_turns_before(run, key)
        turn = Turn(
            run_id=uuid4().hex,
            input=self.message or run.input,
            graph=self.cast.graph.name,
            given_state=run.turn.given_state,
            started=time(),
            declared=self.cast.declared,
            forked_from=run.run_id,
        )
        reused = [
            replace(quoting(record, texts), usage=NO_USAGE)  # that was spent on the old run
            for path, record in run.records.items()
            if record.is_final and path not in anew
        ]
        return await Turning(self.cast, self.store, key, turn, reused).run(listener)

    def _wanted(self) -> list[str]:
        if self.node is None and self.message is None:
            raise InputError("name the node to fork from, or another message, or both")
        known = self.cast.fingerprints
        if self.node is not None and self.node not in known:
            near = closest(self.node, known)
            there = f"did you mean {near!r}?" if near else f"it has {listed(known)}"
            raise InputError(f"the graph has no node {self.node!r} to fork from; {there}")
        heard = [] if self.message is None else self._heard()
        return heard if self.node is None else [self.node, *heard]

    def _heard(self) -> list[str]:
        """The nodes that may read the message: of all but a loader of history nobody can tell."""
        return [
            node_id
            for node_id, node in self.cast.graph.nodes.items()
            if not loads_history(node) or node.when is not None
        ]

    async def _copy_turns_before(self, run: Run, key: SessionKey) -> dict[str, dict[str, str]]:
        """Copy them, and tell what texts there are to quote in them, by the ids of the runs."""
        number, texts = 0, dict[str, dict[str, str]]()
        for turn in await self._turns_before(run):
            number += 1
            while number < turn.number:
                await self._leave_out(key)
                number += 1
            kept = await self.store.run(run.key, turn.run_id)
            records = self._in_order(kept.records) if kept is not None else []
            summary = await self.store.summary(run.key, until=number)
            if summary is not None and summary.covers < number:
                summary = None  # an earlier turn wrote it
            change = replace(Change.of(turn, records), summary=summary)
            texts[turn.run_id] = texts_of(turn, records)
            await self._keep(key, turn, [quoting(record, texts) for record in records], change)
        return texts

    async def _turns_before(self, run: Run) -> list[Turn]:
        """The completed turns that the session had when the run began."""
        turns = await self.store.turns(run.key)
        if (end := run.turn.number) == 0:
            later = [turn.number async for turn in self._begun_after(run) if turn.number]
            end = min(later, default=len(turns) and turns[-1].number + 1)
        return [turn for turn in turns if turn.number < end]

    async def _begun_after(self, run: Run) -> AsyncIterator[Turn]:
        runs = every(partial(self.store.runs, run.key))
        async for turn in runs:  # pragma: no branch - the run is one of them
            if turn.run_id == run.run_id:
                return
            yield turn

    def _in_order(self, records: Mapping[str, Record]) -> list[Record]:
        """The records of a turn as they count: in the graph's order, strangers to it at the end."""
        known = [path for path in self.cast.paths() if path in records]
        return [records[path] for path in dict.fromkeys([*known, *records])]

    async def _leave_out(self, key: SessionKey) -> None:
        """Pass over the number of a turn that was deleted."""
        nobody = Turn(run_id=uuid4().hex, input="(deleted)", status="done")
        await self._keep(key, nobody, (), Change())
        await self.store.delete_run(key, nobody.run_id)

    async def _keep(
        self, key: SessionKey, turn: Turn, records: Sequence[Record], change: Change
    ) -> None:
        lease = await self.store.begin(key, turn)
        try:
            await self.store.put(lease, records)
            await self.store.finish(lease, turn, change)
        finally:
            await self.store.release(lease)
