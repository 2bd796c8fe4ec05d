"""What outlives a run, a graph, a store and a model, and the doors to a run.

`arun` and `astream` are the real ones; `run`, `stream` and `print_response` are for scripts. All
of them are views of the same events.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from time import time
from typing import TypeAlias, cast
from uuid import uuid4

from pydantic_core import PydanticSerializationError, to_jsonable_python

from .casting import Cast, cast_of
from .doors import Door, events_of, result_of, told
from .errors import Changed, InputError, NotFound
from .events import Event
from .graph import Graph
from .messages import JSON
from .models import Model
from .printing import print_events
from .rendering import Rendering, Scene, render, render_next
from .session import Run, SessionInfo, SessionKey, Turn
from .sessions import Session
from .stores import MemoryStore, Store
from .turning import Turning

State: TypeAlias = Mapping[str, JSON]


class Runner:
    """Runs one graph, for as many users, sessions, tasks and threads at once as you like.

    `store` keeps the sessions (default: in memory). `model` answers instead of the models that
    the graph names: a `Model`, or the id of one. Nothing of a run sticks to the runner.
    """

    __slots__ = ("_cast", "_graph", "_model", "_store")

    def __init__(
        self, graph: Graph, *, store: Store | None = None, model: Model | str | None = None
    ) -> None:
        self._graph = graph
        self._store: Store = MemoryStore() if store is None else store
        self._model = model
        self._cast: Cast | None = None

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
        what cannot be run, `NodeError` (or another `RunError`, with `.run`) if the run fails.
        """
        turning = self._turning(message, user_id, session_id, state, run_id)
        return await turning.run(None)

    async def astream(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
        run_id: str | None = None,
    ) -> AsyncGenerator[Event]:
        """Like `arun`, telling events as they happen; closing the stream cancels the run.

        The last event is `RunFinished`, or says why not; after `RunFailed` its error is raised.
        """
        turning = self._turning(message, user_id, session_id, state, run_id)
        async with aclosing(told(turning)) as events:
            async for event in events:
                yield event

    async def aresume(
        self, run_id: str, *, user_id: str | None = None, session_id: str | None = None
    ) -> Run:
        """Go on with a run that was cut short; finished nodes are not run again.

        Without `session_id` the run is looked for in all sessions of the user; no user is one of
        its own, as everywhere. Raises `NotFound`, also for a run of somebody else, `InputError` if
        it is done, `Changed` if the graph is another one now.
        """
        return await (await self._taken_up(run_id, user_id, session_id)).run(None)

    async def aresume_stream(
        self, run_id: str, *, user_id: str | None = None, session_id: str | None = None
    ) -> AsyncGenerator[Event]:
        """Like `aresume`, telling events as `astream` does."""
        turning = await self._taken_up(run_id, user_id, session_id)
        async with aclosing(told(turning)) as events:
            async for event in events:
                yield event

    def run(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
        run_id: str | None = None,
    ) -> Run:
        """`arun` for scripts; works where a loop is running too, as in a notebook."""
        turning = self._turning(message, user_id, session_id, state, run_id)
        return result_of(lambda: turning.run(None))

    def stream(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: State | None = None,
        run_id: str | None = None,
    ) -> Iterator[Event]:
        """`astream` for scripts; ending the loop early cancels the run."""
        turning = self._turning(message, user_id, session_id, state, run_id)
        return events_of(lambda: told(turning))

    def resume(
        self, run_id: str, *, user_id: str | None = None, session_id: str | None = None
    ) -> Run:
        """`aresume` for scripts."""
        return result_of(lambda: self.aresume(run_id, user_id=user_id, session_id=session_id))

    def resume_stream(
        self, run_id: str, *, user_id: str | None = None, session_id: str | None = None
    ) -> Iterator[Event]:
        """`aresume_stream` for scripts."""
        return events_of(
            lambda: self.aresume_stream(run_id, user_id=user_id, session_id=session_id)
        )

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
        scene = Scene(message, assume or {}, state=_checked(state) or {}, user_id=user_id)
        if session_id is None:
            return render(self._graph, scene)
        return result_of(lambda: render_next(self._graph, scene, self._store, session_id))

    async def asessions(
        self, user_id: str | None = None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """The user's sessions, the one with the latest activity first."""
        _filled(user_id=user_id)
        return await self._store.sessions(user_id, limit=limit, offset=offset)

    async def adelete_user(self, user_id: str | None) -> int:
        """Delete all sessions of a user, and tell how many there were."""
        _filled(user_id=user_id)
        return await self._store.delete_user(user_id)

    sessions = Door(asessions)
    delete_user = Door(adelete_user)

    def session(self, session_id: str, *, user_id: str | None = None) -> Session:
        """One session of the user, to read, name, export or delete; nothing is read yet."""
        _filled(user_id=user_id, session_id=session_id)
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
        if not isinstance(message, str) or not message.strip():  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            raise InputError("the message is empty; say something to the team")
        _filled(user_id=user_id, session_id=session_id, run_id=run_id)
        turn = Turn(
            run_id=run_id or uuid4().hex,
            input=message,
            graph=self._graph.name,
            given_state=_checked(state),
            started=time(),
        )
        key = SessionKey(user_id, session_id or uuid4().hex)
        return Turning(self._ready(), self._store, key, turn)

    async def _taken_up(self, run_id: str, user_id: str | None, session_id: str | None) -> Turning:
        _filled(user_id=user_id, session_id=session_id, run_id=run_id)
        key = SessionKey(user_id, session_id) if session_id else await self._store.find(run_id)
        run = await self._store.run(key, run_id) if key and key.user_id == user_id else None
        if key is None or run is None:
            raise NotFound(f"there is no run {run_id!r} here; `runs list` shows those there are")
        if run.status == "done":
            raise InputError(f"run {run_id!r} is done: there is nothing to resume")
        parts = self._ready()
        differences = [
            f"node {node_id!r} has changed" if node_id in parts.fingerprints else f"no {node_id!r}"
            for node_id, record in run.records.items()
            if record.is_final and record.fingerprint != parts.fingerprints.get(node_id)
        ]
        if differences:
            raise Changed(differences, run=run)
        turn = replace(run.turn, status="running", answer=None, error=None, ended=0.0)
        return Turning(parts, self._store, key, turn, run.records, resumed=True)

    def _ready(self) -> Cast:
        # Two threads may both make it: they make the same.
        if self._cast is None:
            self._cast = cast_of(self._graph, self._model)
        return self._cast


def _filled(**ids: str | None) -> None:
    for name, value in ids.items():
        if value == "":
            raise InputError(f"{name} is empty; leave it out where there is none")
        if value is not None and not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            # 3 and "3" would be two users in one store, and one user in another.
            raise InputError(f"{name} is {value!r}, and ids are texts; give {str(value)!r}")


def _checked(state: State | None) -> State | None:
    """The state as it comes back from any store; a copy, so that the caller's stays his."""
    if state is None:
        return None
    if not isinstance(state, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
        raise InputError(f"the state is a {type(state).__name__}; give a mapping of keys to values")
    try:
        return cast("State", to_jsonable_python(dict(state)))
    except (PydanticSerializationError, ValueError) as error:
        raise InputError(
            f"the state cannot be kept as JSON: {error}; use text, numbers, lists and mappings"
        ) from error
