"""A graph inside a node: it runs as part of the run around it.

There is one run, one lease and one set of records: what a node inside did is kept by its path,
`node/inner_node`. So an inner graph is no turn of the session, is resumed with the run around it,
and is deleted with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec.structs import replace

from ..errors import BudgetExceeded, NoAnswer, NodeError
from ..events import Answer, Event, EventEmitter, Listener, Token
from ..graph.context import Input, Result
from ..graph.node import summarizes
from ..messages import JSON
from ..records import Head, Record
from .answer import AnswerStream
from .attempt import Visitor
from .model_call import Spent
from .scheduler import drive
from .sight import Sight, Visit
from .template_scope import Fields


async def run_inside(outer: Visitor, node_id: str, message: str) -> Result:
    """Run the graph inside a node of the run that `outer` visits."""
    guest = _guest(outer, node_id, message)
    before = await guest.finished_before()
    for record in before.values():
        guest.spent.count(record.usage)
    graph = guest.cast.graph
    records = await drive(graph.plan, guest, before, max_parallel=graph.max_parallel)
    for record in records.values():
        if record.status == "failed":
            raise _failure(guest, record)
    if guest.voice.text is None:
        skipped = [f"{answering} ({records[answering].because})" for answering in graph.answering]
        raise NoAnswer(f"every node that could answer was skipped: {', '.join(skipped)}")
    patches: dict[str, JSON] = {}
    for inner_id in graph.plan.order:
        patches.update(guest.sight.patches.get(inner_id, {}))
    given = {} if message == outer.sight.scenery.input.message else {"input": message}
    return Result(guest.voice.value, fields=given, session_state=patches or None)


class _Guest(Visitor):
    """Visits the nodes of a graph inside a node."""

    def barred(self, node_id: str, records: Mapping[str, Record]) -> str | None:
        """No summary is written here: the session has one, and the graph around keeps it."""
        if summarizes(self.cast.graph.nodes[node_id]):
            return "the graph around this one keeps the session's summary"
        return Visitor.barred(self, node_id, records)


def _guest(outer: Visitor, node_id: str, message: str) -> Visitor:
    cast = outer.cast.inner[node_id]
    sight = outer.sight
    scenery, under = sight.scenery, f"{node_id}/"
    state = {**cast.graph.state, **sight.state(Visit(node_id, {}))}
    tell = EventEmitter(scenery.run.id, scenery.session.id, _listener(outer, node_id))
    voice = AnswerStream(cast.graph.answering, tell)
    return _Guest(
        cast=cast,
        sight=Sight(
            cast=cast,
            scenery=replace(
                scenery,
                input=Input(message),
                session=replace(scenery.session, state=Fields(state)),
            ),
            head=_head(sight.head, under),
            past=sight.past.inside(node_id),
            voice=voice,
            found=state,
        ),
        tell=tell,
        voice=voice,
        spent=Spent(cast.graph, outer=outer.spent),
        earlier={
            path.removeprefix(under): replace(record, node=path.removeprefix(under))
            for path, record in outer.earlier.items()
            if path.startswith(under)
        },
        store=_store(outer, under),
        enter=outer.enter,
        under=f"{outer.under}{under}",
    )


def _store(outer: Visitor, under: str) -> Callable[[Sequence[Record]], Awaitable[None]]:
    async def store(records: Sequence[Record]) -> None:
        kept = [replace(record, node=f"{under}{record.node}") for record in records]
        await outer.store(kept)
        # Another attempt of the node around them goes on from here.
        outer.earlier.update({record.node: record for record in kept})

    return store


def _listener(outer: Visitor, node_id: str) -> Listener | None:
    """Passes on what is told inside; the answer's words become words of the outer node."""
    if not outer.tell.is_heard:
        return None

    def hear(event: Event) -> None:
        match event:
            case Token(answer=True, attempt=attempt, text=text):
                outer.voice.say(node_id, attempt, text, streams=True)
            case Answer():
                pass
            case _:
                outer.tell.pass_on(event, node_id)

    return hear


def _head(head: Head, under: str) -> Head:
    """The session as the graph inside sees it: with the states that its own nodes keep."""
    return replace(
        head,
        node_states={
            path.removeprefix(under): state
            for path, state in head.node_states.items()
            if path.startswith(under)
        },
    )


def _failure(guest: Visitor, record: Record) -> Exception:
    cause = guest.failures.get(record.node)
    if isinstance(cause, BudgetExceeded):
        return cause
    error = NodeError(record.node, record.error or "")
    error.__cause__ = cause
    return error
