"""`Assistant`, the base class of `Agent` and `Team`: builds a graph and runs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self

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

from .options import Options, objects


class Assistant(Options):
    """Builds an ordinary graph, `graph`, from options, and runs it.

    Without a store each call has an empty one of its own, so nothing is remembered. `user_id` and
    `session_id` are the defaults of calls. Calls do not change the object. A model that is an
    object is named `own/` and the path of its node in the graph; only the team's own, or a lone
    agent's, is not named.
    """

    _graph: Graph = PrivateAttr()
    _runner: Runner | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _build(self) -> Self:
        problems = [*self._conflicts()]
        if problems:
            raise DefinitionError(problems)
        self._graph = self._declared()
        if self._own_store is not None:
            self._runner = self._runner_with(self._own_store)
        return self

    @property
    def graph(self) -> Graph:
        """The graph that was built: to read, to draw, to `dump` as YAML."""
        return self._graph

    @property
    def runner(self) -> Runner:
        """The runner of the graph; without a store each access makes one with an empty store."""
        if self._runner is not None:
            return self._runner
        return self._runner_with(MemoryStore())

    def _runner_with(self, store: Store) -> Runner:
        return Runner(self._graph, store=store, model=self._asked(), busy=self.busy)

    async def arun(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
    ) -> Run:
        """Answer a message; see `Runner.run`."""
        return await self.runner.arun(message, **self._whose(user_id, session_id), state=state)

    def astream(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
    ) -> AsyncGenerator[Event]:
        """Answer a message; the events as they happen. Closing it cancels the run."""
        return self.runner.astream(message, **self._whose(user_id, session_id), state=state)

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
        """Print the answer to a message; with `stream` as it arrives."""
        whose = self._whose(user_id, session_id)
        return self.runner.print_response(message, stream=stream, **whose)

    def session(self, session_id: str | None = None, *, user_id: str | None = None) -> Session:
        """The `Session`, whose methods also exist as async ones."""
        whose = self._whose(user_id, session_id)
        if whose["session_id"] is None:
            raise InputError("no session is named; give its session_id")
        return self.runner.session(**whose)

    def get_session_summary(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> Summary | None:
        """The newest summary of a session, None if there is none."""
        return self.session(session_id, user_id=user_id).summary()

    def get_chat_history(
        self,
        session_id: str | None = None,
        *,
        user_id: str | None = None,
        limit: int | None = None,
    ) -> list[Message]:
        """The messages of the last `limit` completed turns of a session, or of all."""
        return self.session(session_id, user_id=user_id).messages(limit=limit)

    def get_messages_for_session(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> list[Message]:
        """All messages of a session, each once, of the user and the assistant."""
        return self.session(session_id, user_id=user_id).messages(limit=None)

    def get_session_state(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> Mapping[str, JSON]:
        """The stored state of a session."""
        return self.session(session_id, user_id=user_id).state()

    def get_session_name(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> str | None:
        """The name of a session, None if it has none."""
        return self.session(session_id, user_id=user_id).name()

    def set_session_name(
        self, session_name: str, *, session_id: str | None = None, user_id: str | None = None
    ) -> None:
        """Name a session."""
        self.session(session_id, user_id=user_id).rename(session_name)

    def delete_session(self, session_id: str | None = None, *, user_id: str | None = None) -> None:
        """Delete a session with its runs, state and summaries."""
        self.session(session_id, user_id=user_id).delete()

    def _asked(self) -> Model | None:
        """The models that are objects, by the ids that the graph has for them."""
        usual = objects({"": self.model}).get("")
        own = {f"{OWN_MODEL}{path}": model for path, model in self._objects().items()}
        return AnyModel(own, others=usual) if own else usual

    def _declared(self) -> Graph:
        raise InputError("an Assistant is what both share; make an Agent or a Team")

    def _whose(self, user_id: str | None, session_id: str | None) -> dict[str, Any]:
        # An empty id is handed on, to be refused: it is not the same as none.
        return {
            "user_id": self.user_id if user_id is None else user_id,
            "session_id": self.session_id if session_id is None else session_id,
        }
