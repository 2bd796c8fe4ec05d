"""Runs that begin with records of an earlier one: resumed or answered with its id, or forked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from time import time
from typing import NamedTuple
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from ..blocking import all_items
from ..errors import Advice, InputError, NotFound, closest, listed
from ..events import Listener, TokenMode
from ..graph.graph import Budget
from ..graph.node import loads_history, tools_of
from ..messages import JSON, NO_USAGE
from ..node_path import NodePath
from ..records import Change, Question, Record, Response, Run, SessionKey, Turn
from ..session.history import fill_quotes, run_texts
from ..session.store import (
    FinishedRun,
    Policy,
    Store,
    WhileWaiting,
    put_attachments,
    stored_attachments,
)
from .changes import changed_paths, check_unchanged, invalidated
from .execution import RunExecution, RunRequest
from .prepared import PreparedGraph
from .questions import checked_answer, find_question


class RunReference(Struct, frozen=True):
    """A run by its id; without `session_id` it may be in any session of the user."""

    run_id: str
    user_id: str | None
    session_id: str | None

    async def load(self, store: Store) -> Run:
        """The stored run; raises `NotFound`, also if it is another user's."""
        key: SessionKey | None = None
        if self.session_id is not None:
            key = SessionKey(self.user_id, self.session_id)
        else:
            key = await store.find(self.user_id, self.run_id)
        run = await store.run(key, self.run_id) if key is not None else None
        if run is None:
            whose = "without a user" if self.user_id is None else f"of user {self.user_id!r}"
            raise NotFound(
                f"there is no run {self.run_id!r} {whose} here",
                advice=Advice(
                    python="`Runner.session(...).runs()` lists those of a session",
                    terminal="`teamgraph runs list` lists those there are (--user: of a user)",
                    http="GET /api/sessions/ID lists those of a session (user_id: of a user)",
                ),
            )
        return run


class ForkRequest(Struct, frozen=True):
    """A run to fork: run again from `node`, or from all that may read another `message`.

    The new run is in a new session, `session_id` or one with a new id.
    """

    source: RunReference
    node: str | None
    message: str | None
    session_id: str | None


class Waits(NamedTuple):
    """What a run does while another turn of its session is running, or waits for a person."""

    busy: Policy
    while_waiting: WhileWaiting


async def resume_run(  # noqa: PLR0913  options of two public methods, by keyword
    prepared: PreparedGraph,
    store: Store,
    reference: RunReference,
    *,
    waits: Waits,
    reuse_unchanged: bool,
    budget: tuple[Budget, ...] = (),
    listener: Listener | None = None,
    tokens: TokenMode = "final",
) -> Run:
    """Execute what is left of a run; raises `InputError` if nothing is, or `Changed`."""
    run = await reference.load(store)
    if run.status == "done":
        raise InputError(f"run {run.run_id!r} is done: there is nothing to resume")
    if not reuse_unchanged:
        await check_unchanged(prepared, store, run)  # before anything is written
    request = _resumption(run, prepared, waits)
    request = replace(request, reuse_unchanged=reuse_unchanged, budget=budget)
    return await RunExecution.execute(prepared, store, request, listener=listener, tokens=tokens)


class AnswerRequest(Struct, frozen=True):
    """Answers to questions of a run, by path, and the user who gives them."""

    source: RunReference
    answers: Mapping[str, JSON]
    by: str | None


async def respond_to_run(
    prepared: PreparedGraph,
    store: Store,
    request: AnswerRequest,
    *,
    waits: Waits,
    listener: Listener | None = None,
    tokens: TokenMode = "final",
) -> Run:
    """Store answers to questions of a run, and execute what is left of it.

    Raises `InputError` for an answer that is not valid, or to a question that has one already,
    `NotFound` for an unknown question, `Changed` if the graph is another one now.
    """
    run = await request.source.load(store)
    now = time()
    if not request.answers:
        waiting = [question.path for question in run.questions]
        hint = f"it asks {listed(waiting)}" if waiting else "it asks nothing"
        raise InputError(f"run {run.run_id!r}: no answer is given; {hint}")
    questions = {path: find_question(run, path) for path in request.answers}
    await check_unchanged(prepared, store, run)  # before anything is written
    responses: dict[str, Response] = {}
    for path, question in questions.items():
        value = _checked(prepared, question, request.answers[path])
        responses[path] = Response(value, request.by, now)
    resumption = replace(_resumption(run, prepared, waits), responses=responses)
    return await RunExecution.execute(prepared, store, resumption, listener=listener, tokens=tokens)


def _checked(prepared: PreparedGraph, question: Question, value: JSON) -> JSON:
    path = NodePath(question.path)
    owner = path.parent if question.tool is not None else path
    graph = prepared.owner(owner).graph
    toolbox = tools_of(graph.nodes[owner.node_id])
    tool = toolbox.tools.get(question.tool or "") if toolbox is not None else None
    return checked_answer(question, value, shape=graph.shapes.get(owner.node_id), tool=tool)


def _resumption(run: Run, prepared: PreparedGraph, waits: Waits) -> RunRequest:
    turn = replace(
        run.turn,
        status="running",
        answer=None,
        error=None,
        ended=0.0,
        declared=prepared.facts_hash,
        waiting=(),
        waiting_until=0.0,
    )
    return RunRequest(
        run.key, turn, busy=waits.busy, is_resumed=True, while_waiting=waits.while_waiting
    )


async def fork_run(
    prepared: PreparedGraph,
    store: Store,
    request: ForkRequest,
    *,
    listener: Listener | None = None,
    tokens: TokenMode = "final",
) -> Run:
    """Execute a new run with the records of another that do not follow from the node or message.

    The new session begins with the turns that the old one had before the run. What is copied keeps
    its ids and numbers, so that records which name them stay true. Raises `InputError` if the new
    session exists, or the node does not.
    """
    again = _paths_to_run(prepared, request.node, request.message)
    run = await request.source.load(store)
    _check_ran(run, request.node)
    key = SessionKey(run.user_id, request.session_id or uuid4().hex)
    if await store.head(key) is not None:
        raise InputError(
            f"the session {key.session_id!r} exists already; a fork begins a new one, so give it "
            "another id, or none"
        )
    invalid = invalidated(prepared, run.records, [*again, *changed_paths(prepared, run.records)])
    texts = await _copy_earlier_turns(prepared, store, run, key)
    turn = Turn(
        run_id=uuid4().hex,
        input=request.message or run.input,
        graph=prepared.graph.name,
        given_state=run.turn.given_state,
        system=run.turn.system,
        started=time(),
        declared=prepared.facts_hash,
        forked_from=run.run_id,
        attachments=run.turn.attachments,
    )
    reused = [
        replace(fill_quotes(record, texts), usage=NO_USAGE)  # that was spent on the old run
        for path, record in run.records.items()
        if record.is_final and path not in invalid
    ]
    attachments = await stored_attachments(store, run.key, [turn])
    new_run = RunRequest(key, turn, reused, attachments=attachments)
    return await RunExecution.execute(prepared, store, new_run, listener=listener, tokens=tokens)


def _paths_to_run(prepared: PreparedGraph, node: str | None, message: str | None) -> list[str]:
    """The nodes that the caller wants to run again, by path."""
    if node is None and message is None:
        raise InputError("name the node to fork from, or another message, or both")
    known = prepared.fingerprints
    if node is not None and NodePath(node).declared not in known:
        near = closest(node, known)
        hint = f"did you mean {near!r}?" if near else f"it has {listed(known)}"
        raise InputError(f"the graph has no node {node!r} to fork from; {hint}")
    paths = [node] if node is not None else []
    if message is not None:
        # Any node may read the message, but a history-loader without a condition.
        paths += (
            node_id
            for node_id, each in prepared.graph.nodes.items()
            if not loads_history(each) or each.when is not None
        )
    return paths


def _check_ran(run: Run, node: str | None) -> None:
    """Raise `InputError` for a round or an item that the run did not have."""
    if node is None or NodePath(node).declared == node:
        return
    if node not in run.records and not any(NodePath(path).is_inside(node) for path in run.records):
        raise InputError(
            f"run {run.run_id!r} has no record of {node!r} to fork from",
            advice=Advice(
                python="its `records` are those that it has",
                terminal=f"`teamgraph runs show {run.run_id}` lists those that it has",
                http="GET /api/runs/ID lists those that it has",
            ),
        )


async def _copy_earlier_turns(
    prepared: PreparedGraph, store: Store, run: Run, key: SessionKey
) -> dict[str, dict[str, str]]:
    """Copy the turns before a run to another session; their texts that records may quote.

    The texts are by run id and place.
    """
    texts, copies = dict[str, dict[str, str]](), list[FinishedRun]()
    for turn in await _earlier_turns(store, run):
        stored = await store.run(run.key, turn.run_id)
        records = _ordered(prepared, stored.records) if stored is not None else []
        summary = await store.summary(run.key, until=turn.number)
        if summary is not None and summary.covers < turn.number:
            summary = None  # an earlier turn wrote it
        change = replace(Change.of(turn, records), summary=summary)
        texts[turn.run_id] = run_texts(turn, records)
        copied = [fill_quotes(record, texts) for record in records]
        copies.append(FinishedRun(turn, copied, change))
    if copies:
        attachments = await stored_attachments(store, run.key, [each.turn for each in copies])
        await put_attachments(store, key, attachments)
        await store.create(key, copies)
    return texts


async def _earlier_turns(store: Store, run: Run) -> list[Turn]:
    """The completed turns that the session had when the run began."""
    turns = await store.turns(run.key)
    if (end := run.turn.number) == 0:
        later = [turn.number async for turn in begun_after(store, run) if turn.number]
        end = min(later, default=len(turns) and turns[-1].number + 1)
    return [turn for turn in turns if turn.number < end]


async def begun_after(store: Store, run: Run) -> AsyncIterator[Turn]:
    """The runs of the session that began after this one, the newest first."""
    runs = all_items(partial(store.runs, run.key))
    async for turn in runs:  # pragma: no branch - the run is one of them
        if turn.run_id == run.run_id:
            return
        yield turn


def _ordered(prepared: PreparedGraph, records: Mapping[str, Record]) -> list[Record]:
    """The records in the graph's order; those of nodes that it does not have are last."""
    return [records[path] for path in dict.fromkeys([*prepared.in_order(records), *records])]
