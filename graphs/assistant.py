"""What `Agent` and `Team` have in common: the graph that they build, its runs and sessions."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from pydantic import PrivateAttr, model_validator

from teamgraph import (
    JSON,
    OWN_MODEL,
    AnyModel,
    Event,
    Graph,
    MemoryStore,
    Message,
    Model,
    Run,
    Runner,
    Session,
    Store,
    Summary,
)
from teamgraph.errors import DefinitionError, InputError, NoSessionWarning
from teamgraph.kinds import door, explained, missing_attribute, stream_door

from .options import ALTERNATIVE_METHODS, Options, model_objects

MAX_TALKS = 100
"""Users, and sessions, of `print_response` that an object knows: the newest ones."""


class Assistant(Options):
    """Base of `Agent` and `Team`: builds an ordinary graph, `graph`, and runs it.

    `user_id` and `session_id` are defaults for calls that pass none. Without a session id `run` and
    `stream` begin a new session each time, and `print_response` goes on in one session for each
    user; the accessors mean that session then. Without a store only what `print_response` does is
    remembered, until the process ends. The graph refers to a model object by `own/` and the path of
    its node, but to the model of the team (or of an agent alone) by no id: it answers for all nodes
    that name none.
    """

    if not TYPE_CHECKING:  # pragma: no branch - type checkers would take every attribute for one

        def __getattr__(self, name: str) -> object:
            try:
                return super().__getattr__(name)  # pydantic's, which finds private attributes
            except AttributeError:
                options = type(self).model_fields
                raise missing_attribute(type(self), name, ALTERNATIVE_METHODS, options) from None

    _graph: Graph = PrivateAttr()
    _runner: Runner | None = PrivateAttr(default=None)
    _printing: Runner | None = PrivateAttr(default=None)
    """The runner of `print_response` where there is no store."""
    _talks: dict[str | None, str] = PrivateAttr(default_factory=dict[str | None, str])
    """The session that `print_response` goes on in, by user."""
    _talked: dict[str, str | None] = PrivateAttr(default_factory=dict[str, str | None])
    """The user whom `print_response` last answered in a session, the newest session last."""
    _warned: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _build(self) -> Self:
        problems = [*self._conflicts()]
        if problems:
            raise DefinitionError(problems)
        self._graph = self._declared()
        if self._any_store is not None:
            self._runner = self._runner_with(self._any_store)
        return self

    @property
    def graph(self) -> Graph:
        """The graph that was built: read it, draw it, or `dump` it as YAML."""
        return self._graph

    @property
    def runner(self) -> Runner:
        """The runner of the graph; without a store a new one each time, which saves nothing."""
        if self._runner is not None:
            return self._runner
        return self._runner_with(MemoryStore())

    def _runner_with(self, store: Store) -> Runner:
        return Runner(self._graph, store=store, model=self._runner_model(), busy=self.busy)

    @explained
    async def arun(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
    ) -> Run:
        """Run the graph on a message; see `Runner.run`."""
        whose = self._whose(user_id, session_id)
        return await self._stateless(whose).arun(message, **whose, state=state)

    @explained
    def astream(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
        tokens: bool = True,
        resets: bool = False,
    ) -> AsyncGenerator[Event]:
        """Like `run`, but yields the events; closing it cancels the run. See `Runner.stream`."""
        whose = self._whose(user_id, session_id)
        runner = self._stateless(whose)
        return runner.astream(message, **whose, state=state, tokens=tokens, resets=resets)

    run = door(arun)  # type: ignore[pydantic-field]  # a method
    stream = stream_door(astream)  # type: ignore[pydantic-field]  # a method

    @explained
    def print_response(
        self,
        message: str,
        *,
        stream: bool = False,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
    ) -> Run:
        """Run the graph and print the answer, piece by piece with `stream`; return the run.

        Without a session id it goes on in one session for each user of this object.
        """
        whose = self._talk(user_id, session_id)
        return self._kept_runner().print_response(message, stream=stream, **whose, state=state)

    @explained
    async def aprint_response(
        self,
        message: str,
        *,
        stream: bool = False,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
    ) -> Run:
        """Like `print_response`, in async code."""
        whose = self._talk(user_id, session_id)
        runner = self._kept_runner()
        return await runner.aprint_response(message, stream=stream, **whose, state=state)

    @explained
    def session(self, session_id: str | None = None, *, user_id: str | None = None) -> Session:
        """Return a session, to read, rename, export or delete it.

        Without ids it is that of the constructor, or the one that `print_response` was last in.
        Without a user it is that of the user whom `print_response` last answered in it, if any.
        """
        whose = self._whose(user_id, session_id)
        if whose["session_id"] is None:
            whose["session_id"] = next(
                (name for name, user in reversed(self._talked.items()) if user == whose["user_id"]),
                None,
            )
        if whose["session_id"] is None:
            raise InputError("no session is named; pass its session_id")
        if whose["user_id"] is None:
            whose["user_id"] = self._talked.get(whose["session_id"])
        return self._kept_runner().session(**whose)

    @explained
    def get_session_summary(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> Summary | None:
        """Return the newest summary of a session, or None."""
        return self.session(session_id, user_id=user_id).summary()

    @explained
    def get_chat_history(
        self,
        session_id: str | None = None,
        *,
        user_id: str | None = None,
        limit: int | None = None,
    ) -> list[Message]:
        """Return the messages of the newest `limit` completed turns, or of all, oldest first."""
        return self.session(session_id, user_id=user_id).messages(limit=limit)

    @explained
    def get_messages_for_session(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> list[Message]:
        """Return the messages of user and assistant in a session, each once, oldest first."""
        return self.session(session_id, user_id=user_id).messages(limit=None)

    @explained
    def get_session_state(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> Mapping[str, JSON]:
        """Return the state of a session: what is stored, over the defaults of `session_state`."""
        return {**self._graph.state, **self.session(session_id, user_id=user_id).state()}

    @explained
    def get_session_name(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> str | None:
        """Return the name of a session, or None."""
        return self.session(session_id, user_id=user_id).name()

    @explained
    def set_session_name(
        self, session_name: str, *, session_id: str | None = None, user_id: str | None = None
    ) -> None:
        """Rename a session."""
        self.session(session_id, user_id=user_id).rename(session_name)

    @explained
    def delete_session(self, session_id: str | None = None, *, user_id: str | None = None) -> None:
        """Delete a session; see `Session.delete`."""
        self.session(session_id, user_id=user_id).delete()

    def _runner_model(self) -> Model | None:
        """The model of the runner: the model objects by the ids that the graph uses, if any."""
        usual = model_objects({"": self.model}).get("")
        own = {f"{OWN_MODEL}{path}": model for path, model in self._objects().items()}
        return AnyModel(own, others=usual) if own else usual

    def _declared(self) -> Graph:
        raise InputError("Assistant is the base class of Agent and Team; create one of these")

    def _whose(self, user_id: str | None, session_id: str | None) -> dict[str, Any]:
        # An empty id is passed on, to be refused: it is not the same as None.
        return {
            "user_id": self.user_id if user_id is None else user_id,
            "session_id": self.session_id if session_id is None else session_id,
        }

    def _talk(self, user_id: str | None, session_id: str | None) -> dict[str, Any]:
        """The user and the session of a call of `print_response`."""
        whose = self._whose(user_id, session_id)
        if whose["session_id"] is None:
            whose["session_id"] = self._talks.setdefault(whose["user_id"], uuid4().hex)
        self._talked.pop(whose["session_id"], None)
        self._talked[whose["session_id"]] = whose["user_id"]
        _forget_oldest(self._talks)
        _forget_oldest(self._talked)
        return whose

    def _kept_runner(self) -> Runner:
        """The runner of `print_response` and the accessors: with the store, or one in memory."""
        if self._runner is not None:
            return self._runner
        if self._printing is None:
            self._printing = self._runner_with(MemoryStore())
        return self._printing

    def _stateless(self, whose: Mapping[str, Any]) -> Runner:
        """The runner of `run` and `stream`; warns if a named session is not stored."""
        is_lost = self._runner is None and whose["session_id"] is not None and self._remembers
        if is_lost and not self._warned:
            self._warned = True
            text = f"{type(self).__name__} {self.name!r}: this run has no store, so its session "
            text += "is not saved, and the next call will have no earlier turns; pass a store, "
            text += "such as db=TinyDBStore('folder')"
            warnings.warn(text, NoSessionWarning, stacklevel=2)
        return self.runner


def _forget_oldest(talks: dict[Any, Any]) -> None:
    if len(talks) > MAX_TALKS:
        del talks[next(iter(talks))]
