"""The public doors to runs: `Runner`, made once for a graph and a store.

`arun` and `astream` are the real ones; `run`, `stream` and `print_response` are their synchronous
doors. All of them execute a run in the same way, and differ in what they do with its events.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import closing
from functools import partial
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, cast, get_args
from uuid import uuid4

from ..blocking import EventStream, RunStart, door, run_blocking, stream_door, warn
from ..errors import InputError, NoSessionWarning, listed
from ..events import Event, Listener, TokenMode
from ..graph.graph import Budget, Graph
from ..graph.node import readers_of_turns
from ..messages import JSON, HistoryItem, Part
from ..models.endpoints import checked_addresses
from ..models.protocol import Model
from ..models.registry import AnyModel
from ..records import Run, SessionInfo, SessionKey, Turn
from ..session.session import Session
from ..session.store import VERSION, Policy, Store, WhileWaiting, lacking
from ..stores.memory import MemoryStore
from ..unknown_names import explained, missing_attribute
from ..values import (
    State,
    as_state,
    check_counts,
    check_ids,
    check_message,
    check_system,
    to_json,
)
from .execution import RunExecution, RunRequest
from .prepared import PreparedGraph, prepare
from .questions import can_wait
from .resume import (
    AnswerRequest,
    ForkRequest,
    RunReference,
    Waits,
    fork_run,
    respond_to_run,
    resume_run,
)

if TYPE_CHECKING:
    from ..attachments import Attachable
    from .dry_run.rendering import Rendering
    from .printing import ResponsePrinter

NOTHING_ATTACHED: Mapping[str, bytes] = MappingProxyType({})


BudgetArgument: TypeAlias = (
    "Budget | Mapping[str, Any] | Sequence[Budget | Mapping[str, Any]] | None"
)
"""Limits for one resumption, as a graph declares them."""


class Runner:
    """Runs one graph, for any number of users, sessions, tasks and threads at once.

    `graph` is a `Graph`, or the file of one. `store` has the sessions (default: a `MemoryStore`,
    which drops old sessions that nobody named); a path is the folder of a `TinyDBStore`. `model` is
    asked instead of the models that the graph names: a `Model`, or the id of one. A runner has no
    state of a run or a session.

    `busy` is what to do while another turn of the same session is running: `serialize` waits for
    it, `reject` raises `SessionBusy`, `fork` runs at the same time, from the session as it is now.
    Concurrent turns are numbered in the order in which they finish. A turn that waits for a person
    does not run, but its session is not free either: with `while_waiting` `refuse` another turn
    raises `SessionBusy` that names the question, with `allow` it runs meanwhile (with `busy` `fork`
    it does in any case).

    `allow_api_base` are addresses to which the graph's models may send prompts and keys, beside
    the providers' own and servers on loopback, with all addresses below them.

    `listeners` are functions that are called with every event of every run, as it happens and in
    the task that it happens in, such as `teamgraph.tracing.OpenTelemetry()`. They only read: they
    must not block, and an error of one is a warning and changes nothing. Tokens come only where a
    run is streamed.
    """

    __slots__ = (
        "_allow_api_base",
        "_busy",
        "_graph",
        "_is_ready",
        "_listeners",
        "_model",
        "_prepared",
        "_store",
        "_warned",
        "_while_waiting",
    )

    @explained
    def __init__(  # noqa: PLR0913  independent options, by keyword
        self,
        graph: Graph | str | os.PathLike[str],
        *,
        store: Store | str | os.PathLike[str] | None = None,
        model: Model | str | None = None,
        busy: Policy = "serialize",
        while_waiting: WhileWaiting = "refuse",
        allow_api_base: Collection[str] = (),
        listeners: Sequence[Listener] = (),
    ) -> None:
        if busy not in get_args(Policy):
            known = ", ".join(get_args(Policy))
            raise InputError(f"busy: {busy!r} is unknown; take one of {known}")
        if while_waiting not in get_args(WhileWaiting):
            raise InputError(
                f"while_waiting: {while_waiting!r} is unknown; take 'refuse' or 'allow'"
            )
        if allow_api_base and model is not None and not isinstance(model, str):
            raise InputError(
                "allow_api_base is for models that are named by ids, and `model` is an object; "
                "pass it to AnyModel(..., allow_api_base=...) instead"
            )
        if model is not None and not isinstance(model, str) and not hasattr(model, "ask"):
            raise InputError(
                f"model is {model!r}; give a Model, or the id of one, such as 'openai/gpt-5-mini'"
            )
        self._listeners = _checked_listeners(listeners)
        self._graph = graph = _graph_of(graph)
        self._allow_api_base = checked_addresses(allow_api_base)
        self._busy: Policy = busy
        self._while_waiting: WhileWaiting = while_waiting
        self._store: Store = store_of(store)
        if while_waiting == "allow" or can_wait(graph):
            _check_can_wait(self._store)
        if isinstance(model, str):
            AnyModel().check(model, {})
        self._model = model
        self._prepared: PreparedGraph | None = None
        self._is_ready = False
        self._warned = False

    if not TYPE_CHECKING:  # pragma: no branch - type checkers would allow every attribute

        def __getattr__(self, name: str) -> object:
            raise missing_attribute(type(self), name, _ALTERNATIVES)

    @property
    def graph(self) -> Graph:
        """The graph that is run."""
        return self._graph

    @property
    def prepared(self) -> PreparedGraph:
        """The graph as it is prepared for its runs, for what shows them."""
        return self._prepare()

    @property
    def store(self) -> Store:
        """The store that has its sessions."""
        return self._store

    @property
    def listeners(self) -> Sequence[Listener]:
        """The functions that are called with the events of all its runs."""
        return self._listeners

    @property
    def declared(self) -> str:
        """The hash of all that the graph declares: nodes, templates, models, edges, tools."""
        return self._prepare().identity

    @explained
    async def arun(  # noqa: PLR0913  independent options, by keyword
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
        run_id: str | None = None,
        history: Sequence[HistoryItem] | None = None,
        system: str | None = None,
        attachments: Sequence[Attachable] | None = None,
    ) -> Run:
        """Run the graph on `message`: one turn of a session, one message in and one answer out.

        Without `session_id` the run is a session of its own. `state` sets keys of
        `session.state`; they win over what is stored, and that over the graph's defaults. `system`
        is a text that templates read as `input.system`. `attachments` are paths, bytes, URLs or
        `Attachment`s, which templates attach.

        With `history` the run is not kept: it is the turn after these, the oldest first, as
        `{input, answer}` or as messages `{role, content}` of user and assistant by turns; `[]` is
        none. History-loaders, windows and summarizers treat them as turns of a session.

        A run that asks a person returns with the status `waiting` and its open `questions`;
        `respond` continues it. Raises `InputError` for invalid arguments, `NodeError` (or another
        `RunError`, with `.run`) if the run fails, `SessionBusy` if another turn of the session is
        running and `busy` is `reject`, or waits for a person.
        """
        start = self._start(
            message, user_id, session_id, state, run_id, history, system, attachments
        )
        return await start(listener=None)

    @explained
    def astream(  # noqa: PLR0913  independent options, by keyword
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
        run_id: str | None = None,
        history: Sequence[HistoryItem] | None = None,
        system: str | None = None,
        attachments: Sequence[Attachable] | None = None,
        tokens: bool = True,
        resets: bool = False,
    ) -> EventStream:
        """Like `run`, yielding events as they happen; closing the generator cancels the run.

        The last event is `RunFinished`, `RunWaiting`, `RunFailed` or `RunCancelled`; after
        `RunFailed` its error is raised.

        Once answer tokens were yielded, no other answer can follow: if the model breaks off then,
        the run fails. With `resets` it is asked again, or its fallback, and an `AnswerReset` says
        that the answer tokens before it are void. Without `tokens` there are none of either, so
        that models may be asked for whole answers, which costs less.
        """
        start = self._start(
            message, user_id, session_id, state, run_id, history, system, attachments
        )
        return EventStream(start, tokens=tokens, resets=resets)

    @explained
    async def aresume(
        self,
        run_id: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        reuse_unchanged: bool = False,
        budget: BudgetArgument = None,
    ) -> Run:
        """Resume a run that failed or was interrupted; finished nodes are not run again.

        Without `session_id` the run is searched in all sessions of the user; without `user_id`, in
        the sessions of no user. Raises `NotFound`, also for a run of another user, `InputError` if
        the run is done, `Changed` if the graph was changed since. With `reuse_unchanged` the nodes
        that were changed, and all that follow from them, are run again instead. `budget` takes the
        place of the graph's limits of the same `per`, for this once.
        """
        start = self._resume(run_id, user_id, session_id, reuse_unchanged, budget)
        return await start(listener=None)

    @explained
    def aresume_stream(  # noqa: PLR0913  independent options, by keyword
        self,
        run_id: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        reuse_unchanged: bool = False,
        budget: BudgetArgument = None,
        tokens: bool = True,
        resets: bool = False,
    ) -> EventStream:
        """Like `resume`, yielding events as `stream` does."""
        start = self._resume(run_id, user_id, session_id, reuse_unchanged, budget)
        return EventStream(start, tokens=tokens, resets=resets)

    @explained
    async def arespond(
        self,
        run_id: str,
        answers: Mapping[str, JSON],
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        by: str | None = None,
    ) -> Run:
        """Answer questions of a run that waits for a person, and continue it.

        `answers` are by the paths of `Run.questions`: one of the options, a value of the declared
        type, a text, or for a tool call `approve`, `reject` or `{approve, reason, arguments}`. They
        are stored with `by`, the user who gives them (default: `user_id`), and the time. The run is
        searched as in `resume`, and may wait again for what is not answered. Raises `NotFound` for
        an unknown run or question, `InputError` if an answer is not valid, or the question was
        answered already or has expired, `Changed` if the graph was changed since.
        """
        return await self._respond(run_id, answers, user_id, session_id, by)(listener=None)

    @explained
    def arespond_stream(  # noqa: PLR0913  independent options, by keyword
        self,
        run_id: str,
        answers: Mapping[str, JSON],
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        by: str | None = None,
        tokens: bool = True,
        resets: bool = False,
    ) -> EventStream:
        """Like `respond`, yielding events as `stream` does."""
        start = self._respond(run_id, answers, user_id, session_id, by)
        return EventStream(start, tokens=tokens, resets=resets)

    @explained
    async def awaiting(
        self, user_id: str | None = None, *, limit: int = 20, offset: int = 0
    ) -> list[Run]:
        """The runs of the user (without `user_id`: of no user) that wait, the newest first.

        Their `questions` can be answered by any process.
        """
        check_ids(user_id=user_id)
        check_counts(limit=limit, offset=offset)
        _check_can_wait(self._store)
        hits = await self._store.waiting(user_id, limit=limit, offset=offset)
        runs = [await self._store.run(hit.key, hit.turn.run_id) for hit in hits]
        return [run for run in runs if run is not None]

    @explained
    async def afork(  # noqa: PLR0913  independent options, by keyword
        self,
        run_id: str,
        *,
        node: str | None = None,
        message: str | None = None,
        prompt: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        into: str | None = None,
    ) -> Run:
        """Run again from `node` on: a new run, with the records of what does not follow from it.

        It is in a new session, `into` or one with a new id, that begins with the turns which the
        old session had before; `Turn.forked_from` is the old run. With another `message` every node
        runs again that may have read the old one: all but history-loaders. With `prompt`, the text
        of a template, `node` asks with that one, in this run alone. So do nodes that were
        changed in the graph since, and all that follow from them. The old run is searched as in
        `resume`. Raises `NotFound`, or `InputError` if the node is unknown or `into` exists, and
        `DefinitionError` with what is wrong with `prompt`.
        """
        source = _reference(run_id, user_id, session_id)
        start = self._fork(ForkRequest(source, node, message, into), prompt)
        return await start(listener=None)

    @explained
    def afork_stream(  # noqa: PLR0913  independent options, by keyword
        self,
        run_id: str,
        *,
        node: str | None = None,
        message: str | None = None,
        prompt: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        into: str | None = None,
        tokens: bool = True,
        resets: bool = False,
    ) -> EventStream:
        """Like `fork`, yielding events as `stream` does."""
        source = _reference(run_id, user_id, session_id)
        start = self._fork(ForkRequest(source, node, message, into), prompt)
        return EventStream(start, tokens=tokens, resets=resets)

    @explained
    async def acancel(
        self, run_id: str, *, user_id: str | None = None, session_id: str | None = None
    ) -> Run:
        """Cancel a run, wherever it is in progress; returns it as it is stored now.

        A run that waits for a person, or whose process died, is `cancelled` at once. One in
        progress is asked to stop: its caller gets `Cancelled`, and it is stored as cancelled soon
        (in another process within about a second, if the store can tell it: `SessionBusy` is
        raised otherwise). The run is searched as in `resume`, and can be resumed. Raises
        `NotFound`, and `InputError` if it is done.
        """
        # Lazy: programs that cancel no run do not load it.
        from .cancel import cancel_run  # noqa: PLC0415

        return await cancel_run(self._store, _reference(run_id, user_id, session_id))

    @explained
    def render(  # noqa: PLR0913  independent options, by keyword
        self,
        message: str,
        *,
        assume: Mapping[str, object] | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
        history: Sequence[HistoryItem] | None = None,
        system: str | None = None,
        attachments: Sequence[str | Part] = (),
    ) -> Rendering:
        """The prompts that `run` would send, as in `Graph.render`; asks no model, writes nothing.

        With `session_id` they are those of the next turn of that session; raises `NotFound` if
        there is none. `history` and `system` are those of `run`.
        """
        # Lazy: programs that only run graphs do not load it.
        from .dry_run.rehearsal import Scene, render, render_next  # noqa: PLC0415

        _check_without_session(history, session_id)
        scene = Scene(
            message,
            assume or {},
            history=() if history is None else history,
            state=as_state(state) or {},
            user_id=user_id,
            system=system,
            attachments=attachments,
        )
        if session_id is None:
            return render(self._graph, scene)
        return run_blocking(render_next(self._graph, scene, self._store, session_id))

    @explained
    async def asessions(
        self, user_id: str | None = None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """The user's sessions (without `user_id`: those of no user), latest activity first."""
        check_ids(user_id=user_id)
        check_counts(limit=limit, offset=offset)
        return await self._store.sessions(user_id, limit=limit, offset=offset)

    @explained
    async def adelete_user(self, user_id: str | None) -> int:
        """Delete all sessions of a user; how many there were."""
        check_ids(user_id=user_id)
        return await self._store.delete_user(user_id)

    run = door(arun)
    stream = stream_door(astream)
    resume = door(aresume)
    resume_stream = stream_door(aresume_stream)
    respond = door(arespond)
    respond_stream = stream_door(arespond_stream)
    waiting = door(awaiting)
    fork = door(afork)
    cancel = door(acancel)
    fork_stream = stream_door(afork_stream)
    sessions = door(asessions)
    delete_user = door(adelete_user)

    @explained
    def session(self, session_id: str, *, user_id: str | None = None) -> Session:
        """Access to one session of the user: read, rename, export, delete. Reads nothing yet."""
        check_ids(user_id=user_id, session_id=session_id)
        return Session(SessionKey(user_id, session_id), self._store)

    @explained
    def print_response(  # noqa: PLR0913  independent options, by keyword
        self,
        message: str,
        *,
        stream: bool = False,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
        attachments: Sequence[Attachable] | None = None,
        show: Collection[str] = (),
    ) -> Run:
        """Run and print the answer on standard output, with `stream` token by token.

        `show` are ids of nodes whose outputs are printed before it. On a terminal the node that
        answers is named, what a router chose is printed, and an answer that breaks off is begun
        again on a new line, if the graph retries. No text has control characters there.
        """
        with closing(_printer(show, is_streamed=stream)) as printer:
            events = self.stream(
                message,
                user_id=user_id,
                session_id=session_id,
                state=state,
                attachments=attachments,
                tokens=stream,
                resets=printer.is_terminal,
            )
            for event in events:
                printer.handle(event)
        return cast("Run", printer.run)

    @explained
    async def aprint_response(  # noqa: PLR0913  independent options, by keyword
        self,
        message: str,
        *,
        stream: bool = False,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
        attachments: Sequence[Attachable] | None = None,
        show: Collection[str] = (),
    ) -> Run:
        """Like `print_response`, in async code."""
        with closing(_printer(show, is_streamed=stream)) as printer:
            events = self.astream(
                message,
                user_id=user_id,
                session_id=session_id,
                state=state,
                attachments=attachments,
                tokens=stream,
                resets=printer.is_terminal,
            )
            async for event in events:
                printer.handle(event)
        return cast("Run", printer.run)

    def _start(  # noqa: PLR0913, PLR0917  the arguments of `run`
        self,
        message: str,
        user_id: str | None,
        session_id: str | None,
        state: State | None,
        run_id: str | None,
        history: Sequence[HistoryItem] | None,
        system: str | None,
        attachments: Sequence[Attachable] | None,
    ) -> RunStart:
        check_message(message)
        check_ids(user_id=user_id, session_id=session_id, run_id=run_id)
        if system is not None:
            check_system(system)
        parts, attached = _read_attachments(attachments)
        prepared = self._prepare()
        if not self._is_ready:
            prepared.check_ready(os.environ)
            self._is_ready = True
        if session_id is None and not self._warned and history is None:
            self._warn_of_no_session()
        # Where nobody named the session it is called as the run, so that a store can tell.
        new_id = "" if run_id and session_id else uuid4().hex
        turn = Turn(
            run_id=run_id or new_id,
            input=message,
            graph=self._graph.name,
            given_state=as_state(state),
            started=time(),
            declared=prepared.facts_hash,
            system=system,
            attachments=parts,
        )
        key = SessionKey(user_id, session_id or new_id)
        request = RunRequest(
            key,
            turn,
            busy=self._busy,
            while_waiting=self._while_waiting,
            attachments=attached,
        )
        store = self._store
        if history is not None:
            _check_without_session(history, session_id)
            # Lazy: few programs give a history.
            from .given_history import UnkeptSession  # noqa: PLC0415

            store = UnkeptSession(key, self._graph, history, store)
        return self._heard(partial(RunExecution.execute, prepared, store, request))

    def _resume(
        self,
        run_id: str,
        user_id: str | None,
        session_id: str | None,
        reuse_unchanged: bool,
        budget: BudgetArgument,
    ) -> RunStart:
        start = partial(
            resume_run,
            self._prepare(),
            self._store,
            _reference(run_id, user_id, session_id),
            waits=Waits(self._busy, self._while_waiting),
            reuse_unchanged=reuse_unchanged,
            budget=_budgets_of(budget),
        )
        return self._heard(start)

    def _respond(
        self,
        run_id: str,
        answers: Mapping[str, JSON],
        user_id: str | None,
        session_id: str | None,
        by: str | None,
    ) -> RunStart:
        check_ids(by=by)
        reference = _reference(run_id, user_id, session_id)
        start = partial(
            respond_to_run,
            self._prepare(),
            self._store,
            AnswerRequest(reference, _checked_answers(answers), user_id if by is None else by),
            waits=Waits(self._busy, self._while_waiting),
        )
        return self._heard(start)

    def _fork(self, request: ForkRequest, prompt: str | None) -> RunStart:
        if request.message is not None:
            check_message(request.message)
        check_ids(into=request.session_id, node=request.node)
        prepared = self._prepare()
        if prompt is not None:
            if request.node is None:
                raise InputError("prompt is another template for `node`; name the node too")
            graph = self._graph.with_prompt(request.node, prompt)
            prepared = prepare(graph, self._model, allow_api_base=self._allow_api_base)
        return self._heard(partial(fork_run, prepared, self._store, request))

    def _heard(self, start: RunStart) -> RunStart:
        """The start of a run whose events the runner's listeners get too."""
        return partial(_start_heard, start, self._listeners) if self._listeners else start

    def _warn_of_no_session(self) -> None:
        """Warn, once for each runner, if the graph reads earlier turns, of which there are none."""
        self._warned = True
        readers = readers_of_turns(self._graph.nodes)
        if readers:
            text = f"graph {self._graph.name!r}: this run has no session_id, so there are no "
            text += f"earlier turns for {listed(readers)}; pass session_id='...', and "
            text += "user_id='...' where there are several users"
            warn(text, NoSessionWarning)

    def _prepare(self) -> PreparedGraph:
        # Two threads may both prepare it: the results are equal.
        if self._prepared is None:
            self._prepared = prepare(self._graph, self._model, allow_api_base=self._allow_api_base)
        return self._prepared


def _start_heard(
    start: RunStart,
    listeners: Sequence[Listener],
    *,
    listener: Listener | None,
    tokens: TokenMode = "final",
) -> Coroutine[object, object, Run]:
    """Start a run with several listeners, of which `listener` is the caller's own."""

    def hear(event: Event) -> None:
        for each in listeners:
            try:
                each(event)
            except Exception as error:  # noqa: BLE001  a reader of a run does not end it
                what = f"{type(error).__name__}: {error}"
                text = f"a listener failed at {type(event).__name__}, the run goes on: {what}"
                warn(text, RuntimeWarning)
        if listener is not None:
            listener(event)

    return start(listener=hear, tokens="none" if listener is None else tokens)


def _checked_listeners(listeners: Sequence[Listener]) -> Sequence[Listener]:
    if callable(listeners):
        raise InputError("listeners takes a list of functions; write listeners=[...]")
    for each in listeners:
        if not callable(each) or isinstance(each, type):
            raise InputError(
                f"a listener is {each!r}; give a function that takes an event, or an object such "
                "as teamgraph.tracing.OpenTelemetry()"
            )
    return tuple(listeners)


def _printer(show: Collection[str], *, is_streamed: bool) -> ResponsePrinter:
    # Lazy: few programs print a run.
    from .printing import ResponsePrinter  # noqa: PLC0415

    return ResponsePrinter(sys.stdout, show, is_streamed=is_streamed)


def _budgets_of(given: BudgetArgument) -> tuple[Budget, ...]:
    """The limits that a caller gives; raises `DefinitionError` or `InputError`."""
    several = [given] if isinstance(given, Budget | Mapping) else given or ()
    if not isinstance(several, list | tuple) or any(
        not isinstance(each, Budget | Mapping) for each in several
    ):
        raise InputError(
            f"budget is {given!r}; give limits such as {{'calls': 40}}, or a list of such"
        )
    return tuple(each if isinstance(each, Budget) else Budget(**each) for each in several)


def _read_attachments(
    given: Sequence[Attachable] | None,
) -> tuple[tuple[Part, ...], Mapping[str, bytes]]:
    """What a turn names, and the bytes by their hash; files are read here, once."""
    if given is None:
        return (), NOTHING_ATTACHED
    # Lazy: few runs have any.
    from ..attachments import attachments_of  # noqa: PLC0415

    pairs = [(each.part, each.data) for each in attachments_of(given)]
    data = {part.sha256: data for part, data in pairs if data is not None}
    return tuple(part for part, _ in pairs), data


def _checked_answers(answers: Mapping[str, JSON]) -> Mapping[str, JSON]:
    if not isinstance(answers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
        raise InputError(
            f"the answers are a {type(answers).__name__}; give a mapping of the questions' paths "
            "to answers"
        )
    return cast("Mapping[str, JSON]", to_json(answers, "the answers"))


def _check_without_session(history: object, session_id: str | None) -> None:
    """Raise `InputError` if there is a history besides the session's own."""
    if history is not None and session_id is not None:
        raise InputError(
            f"history and session_id={session_id!r} are both given, and a session has a history of "
            "its own; leave out session_id to run with this history, or history to run in the "
            "session"
        )


def _check_can_wait(store: Store) -> None:
    """Raise `InputError` if the store is of a version that knows no runs that wait."""
    if missing := lacking(store):
        raise InputError(
            f"{type(store).__name__} implements version {getattr(store, 'version', 1)} of the "
            f"store protocol, and a run can wait for a person only with version {VERSION}; it "
            f"lacks {'; '.join(missing)} (docs/your-own-store.md); add them and set `version = "
            f"{VERSION}`, or use another store"
        )


_ALTERNATIVES = {
    **dict.fromkeys(("invoke", "kickoff", "execute"), "use run"),
    **dict.fromkeys(("ainvoke", "kickoff_async"), "use arun"),
    **dict.fromkeys(("get_state", "get_session"), "use session(session_id, user_id=...)"),
    "continue_run": "use resume(run_id)",
}
"""Methods of runners elsewhere, and what takes their place."""


def _graph_of(graph: object) -> Graph:
    if isinstance(graph, str | os.PathLike):
        return Graph.load(cast("str", graph))
    if isinstance(graph, Graph):
        return graph
    text = f"a Runner takes a Graph or the path of a graph file, not a {type(graph).__name__}"
    if isinstance(getattr(graph, "graph", None), Graph):
        text += "; call its own `run`, or pass its `.graph`"
    raise InputError(text)


def store_of(store: object) -> Store:
    """The store that a caller gives, or that at a path; a `MemoryStore` for None."""
    if store is None:
        return MemoryStore()
    if isinstance(store, str | os.PathLike):
        # Lazy: programs with another store do not load it.
        from ..stores.places import open_store  # noqa: PLC0415

        return open_store(cast("str", store))
    if not hasattr(store, "begin"):
        raise InputError(
            f"store is a {type(store).__name__}; give a store, such as TinyDBStore('folder'), or "
            "the path of the folder"
        )
    return cast("Store", store)


def _reference(run_id: str, user_id: str | None, session_id: str | None) -> RunReference:
    check_ids(user_id=user_id, session_id=session_id, run_id=run_id)
    return RunReference(run_id, user_id, session_id)
