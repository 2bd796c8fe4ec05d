"""What `Agent` and `Team` have in common: the graph that they build, its runs and sessions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Self

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
from teamgraph.errors import DefinitionError, InputError
from teamgraph.kinds import door, stream_door

from .options import ALTERNATIVE_METHODS, Options, model_objects


class Assistant(Options):
    """Base of `Agent` and `Team`: builds an ordinary graph, `graph`, and runs it.

    Without a store nothing is saved: a second call with the same session id has no history.
    `user_id` and `session_id` are defaults for calls that pass none. The object is immutable. The
    graph refers to a model object by `own/` and the path of its node, but to the model of the team
    (or of an agent alone) by no id: it answers for all nodes that name none.
    """

    if not TYPE_CHECKING:  # pragma: no branch - type checkers would take every attribute for one

        def __getattr__(self, name: str) -> object:
            try:
                return super().__getattr__(name)  # pydantic's, which finds private attributes
            except AttributeError:
                if name not in ALTERNATIVE_METHODS:
                    raise
            what = type(self).__name__
            raise AttributeError(f"{what} has no {name!r}; {ALTERNATIVE_METHODS[name]}")

    _graph: Graph = PrivateAttr()
    _runner: Runner | None = PrivateAttr(default=None)

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

    async def arun(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
    ) -> Run:
        """Run the graph on a message; see `Runner.run`."""
        return await self.runner.arun(message, **self._whose(user_id, session_id), state=state)

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
        return self.runner.astream(message, **whose, state=state, tokens=tokens, resets=resets)

    run = door(arun)  # type: ignore[pydantic-field]  # a method
    stream = stream_door(astream)  # type: ignore[pydantic-field]  # a method

    def print_response(
        self,
        message: str,
        *,
        stream: bool = False,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> Run:
        """Run the graph and print the answer, piece by piece with `stream`; return the run."""
        whose = self._whose(user_id, session_id)
        return self.runner.print_response(message, stream=stream, **whose)

    def session(self, session_id: str | None = None, *, user_id: str | None = None) -> Session:
        """Return a session, to read, rename, export or delete it."""
        whose = self._whose(user_id, session_id)
        if whose["session_id"] is None:
            raise InputError("no session is named; pass its session_id")
        return self.runner.session(**whose)

    def get_session_summary(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> Summary | None:
        """Return the newest summary of a session, or None."""
        return self.session(session_id, user_id=user_id).summary()

    def get_chat_history(
        self,
        session_id: str | None = None,
        *,
        user_id: str | None = None,
        limit: int | None = None,
    ) -> list[Message]:
        """Return the messages of the newest `limit` completed turns, or of all, oldest first."""
        return self.session(session_id, user_id=user_id).messages(limit=limit)

    def get_messages_for_session(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> list[Message]:
        """Return the messages of user and assistant in a session, each once, oldest first."""
        return self.session(session_id, user_id=user_id).messages(limit=None)

    def get_session_state(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> Mapping[str, JSON]:
        """Return the stored state of a session."""
        return self.session(session_id, user_id=user_id).state()

    def get_session_name(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> str | None:
        """Return the name of a session, or None."""
        return self.session(session_id, user_id=user_id).name()

    def set_session_name(
        self, session_name: str, *, session_id: str | None = None, user_id: str | None = None
    ) -> None:
        """Rename a session."""
        self.session(session_id, user_id=user_id).rename(session_name)

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
