"""What outlives a run, a graph, a store and a model, and the doors to a run.

`arun` and `astream` are the real ones; `run`, `stream` and `print_response` are for scripts. All
of them are views of the same events.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from time import time
from typing import TYPE_CHECKING, get_args
from uuid import uuid4

from ..blocking import door, result_of, stream_door, told
from ..errors import InputError
from ..events import Event
from ..graph.graph import Graph
from ..models.protocol import Model
from ..records import Run, SessionInfo, SessionKey, Turn
from ..session.session import Session
from ..session.store import Policy, Store
from ..stores.memory import MemoryStore
from ..values import State, as_state, check_ids, check_message
from .execution import Turning
from .fork import Fork
from .prepared import PreparedGraph, prepare
from .printing import print_events
from .resume import Resuming, Sought

if TYPE_CHECKING:
    from .dry_run.rendering import Rendering


class Runner:
    """Runs one graph, for as many users, sessions, tasks and threads at once as you like.

    `store` keeps the sessions (default: in memory). `model` answers instead of the models that
    the graph names: a `Model`, or the id of one. Nothing of a run sticks to the runner.

    `busy` says what a run does while another turn of its session is under way: `serialize` waits,
    `reject` raises `SessionBusy`, `fork` goes on beside it, from the session as it stands. Turns
    that ran side by side follow each other in the order in which they are finished.
    """

    __slots__ = ("_busy", "_cast", "_graph", "_model", "_store")

    def __init__(
        self,
        graph: Graph,
        *,
        store: Store | None = None,
        model: Model | str | None = None,
        busy: Policy = "serialize",
    ) -> None:
        if busy not in get_args(Policy):
            known = ", ".join(get_args(Policy))
            raise InputError(f"busy: {busy!r} is unknown; take one of {known}")
        self._graph = graph
        self._busy: Policy = busy
        self._store: Store = MemoryStore() if store is None else store
        self._model = model
        self._cast: PreparedGraph | None = None

    @property
    def graph(self) -> Graph:
        """The graph that is run."""
        return self._graph

    @property
    def store(self) -> Store:
        """Where its sessions are kept."""
        return self._store

    async def arun(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
        run_id: str | None = None,
    ) -> Run:
        """Take `message` through the graph: one message in, one answer out.

        Without `session_id` the run is a session of its own. `state` sets keys of
        `session.state`, before what is stored and the graph's defaults. Raises `InputError` for
        what cannot be run, `NodeError` (or another `RunError`, with `.run`) if the run fails,
        `SessionBusy` if the runner is not to wait for another turn of the session.
        """
        return await self._turning(message, user_id, session_id, state, run_id).run(None)

    def astream(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
        run_id: str | None = None,
    ) -> AsyncGenerator[Event]:
        """Like `run`, telling events as they happen; closing the stream cancels the run.

        The last event is `RunFinished`, or says why not; after `RunFailed` its error is raised.
        """
        return told(self._turning(message, user_id, session_id, state, run_id).run)

    async def aresume(
        self,
        run_id: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        reuse_unchanged: bool = False,
    ) -> Run:
        """Go on with a run that was cut short; finished nodes are not run again.

        Without `session_id` the run is looked for in all sessions of the user; no user is one of
        its own, as everywhere. Raises `NotFound`, also for a run of somebody else, `InputError` if
        it is done, `Changed` if the graph is another one now: with `reuse_unchanged` what was
        changed since and all that comes after it is run anew instead.
        """
        return await self._resuming(run_id, user_id, session_id, reuse_unchanged).run(None)

    def aresume_stream(
        self,
        run_id: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        reuse_unchanged: bool = False,
    ) -> AsyncGenerator[Event]:
        """Like `resume`, telling events as `stream` does."""
        return told(self._resuming(run_id, user_id, session_id, reuse_unchanged).run)

    async def afork(
        self,
        run_id: str,
        *,
        node: str | None = None,
        message: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        into: str | None = None,
    ) -> Run:
        """Make a run again from `node` on: a new run, which reuses what does not follow from it.

        It is of a new session, `into` or one with a fresh id, that begins with the turns which the
        session had before; `Turn.forked_from` is the old run. Another `message` makes every node
        anew that may have read the old one: all but loaders of history. So does a change of the
        graph for the nodes that it concerns. The old run is sought as `resume` does. Raises
        `NotFound`, or `InputError` if the node is unknown or `into` is there already.
        """
        return await self._fork(run_id, node, message, user_id, session_id, into).run(None)

    def afork_stream(
        self,
        run_id: str,
        *,
        node: str | None = None,
        message: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        into: str | None = None,
    ) -> AsyncGenerator[Event]:
        """Like `fork`, telling events as `stream` does."""
        return told(self._fork(run_id, node, message, user_id, session_id, into).run)

    def render(
        self,
        message: str,
        *,
        assume: Mapping[str, object] | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
    ) -> Rendering:
        """The prompts that `run` would send, as `Graph.render` shows them; asks and keeps nothing.

        With `session_id` they are those of the next turn of that session; raises `NotFound` if
        there is none.
        """
        # Whoever only runs graphs does not wait for it.
        from .dry_run.rehearsal import Scene, render, render_next  # noqa: PLC0415

        scene = Scene(message, assume or {}, state=as_state(state) or {}, user_id=user_id)
        if session_id is None:
            return render(self._graph, scene)
        return result_of(lambda: render_next(self._graph, scene, self._store, session_id))

    async def asessions(
        self, user_id: str | None = None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """The user's sessions, the one with the latest activity first."""
        check_ids(user_id=user_id)
        return await self._store.sessions(user_id, limit=limit, offset=offset)

    async def adelete_user(self, user_id: str | None) -> int:
        """Delete all sessions of a user, and tell how many there were."""
        check_ids(user_id=user_id)
        return await self._store.delete_user(user_id)

    run = door(arun)
    stream = stream_door(astream)
    resume = door(aresume)
    resume_stream = stream_door(aresume_stream)
    fork = door(afork)
    fork_stream = stream_door(afork_stream)
    sessions = door(asessions)
    delete_user = door(adelete_user)

    def session(self, session_id: str, *, user_id: str | None = None) -> Session:
        """One session of the user, to read, name, export or delete; nothing is read yet."""
        check_ids(user_id=user_id, session_id=session_id)
        return Session(SessionKey(user_id, session_id), self._store)

    def print_response(
        self,
        message: str,
        *,
        stream: bool = False,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> Run:
        """Run and print the answer on standard output, with `stream` word by word."""
        events = self.stream(message, user_id=user_id, session_id=session_id)
        return print_events(events, stream=stream)

    def _turning(
        self,
        message: str,
        user_id: str | None,
        session_id: str | None,
        state: State | None,
        run_id: str | None,
    ) -> Turning:
        """A run that is about to be made, if what it was given holds."""
        check_message(message)
        check_ids(user_id=user_id, session_id=session_id, run_id=run_id)
        cast = self._ready()
        turn = Turn(
            run_id=run_id or uuid4().hex,
            input=message,
            graph=self._graph.name,
            given_state=as_state(state),
            started=time(),
            declared=cast.declared,
        )
        key = SessionKey(user_id, session_id or uuid4().hex)
        return Turning(cast, self._store, key, turn, busy=self._busy)

    def _resuming(
        self, run_id: str, user_id: str | None, session_id: str | None, reuse_unchanged: bool
    ) -> Resuming:
        sought = _sought(run_id, user_id, session_id)
        return Resuming(self._ready(), self._store, sought, self._busy, reuse_unchanged)

    def _fork(
        self,
        run_id: str,
        node: str | None,
        message: str | None,
        user_id: str | None,
        session_id: str | None,
        into: str | None,
    ) -> Fork:
        if message is not None:
            check_message(message)
        check_ids(into=into)
        sought = _sought(run_id, user_id, session_id)
        return Fork(self._ready(), self._store, sought, node, message, into)

    def _ready(self) -> PreparedGraph:
        # Two threads may both make it: they make the same.
        if self._cast is None:
            self._cast = prepare(self._graph, self._model)
        return self._cast


def _sought(run_id: str, user_id: str | None, session_id: str | None) -> Sought:
    check_ids(user_id=user_id, session_id=session_id, run_id=run_id)
    return Sought(run_id, user_id, session_id)
