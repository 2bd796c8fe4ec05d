"""What an agent and a team have in common: a graph, and the doors to runs and sessions."""

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
    """What can be asked: it builds an ordinary graph, `graph`, and nothing stands beside that.

    Without a store nothing is kept: a session id that comes back finds nothing of the call before.
    `user_id` and `session_id` are those of a call that names none. Nothing of a call sticks to the
    object. A model that is an object is named in the graph, `own/` and the path of its node; only
    the team's own, or a lone agent's, is not.
    """

    _graph: Graph = PrivateAttr()
    _runner: Runner | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _build(self) -> Self:
        problems = [*self._conflicts()]
        if problems:
            raise DefinitionError(problems)
        self._graph = self._declared()
        if self._kept_in is not None:
            self._runner = self._runner_with(self._kept_in)
        return self

    @property
    def graph(self) -> Graph:
        """All that it is, as a graph: to read, to draw, to `dump` as YAML."""
        return self._graph

    @property
    def runner(self) -> Runner:
        """What runs the graph; without a store a new one each time, which keeps nothing."""
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
        """The same, told as it happens; closing it cancels the run. See `Runner.stream`."""
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
        """Answer a message on standard output, with `stream` word by word."""
        whose = self._whose(user_id, session_id)
        return self.runner.print_response(message, stream=stream, **whose)

    def session(self, session_id: str | None = None, *, user_id: str | None = None) -> Session:
        """A session, with all that can be asked of it, also where a loop is running."""
        whose = self._whose(user_id, session_id)
        if whose["session_id"] is None:
            raise InputError("no session is named; give its session_id")
        return self.runner.session(**whose)

    def get_session_summary(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> Summary | None:
        """The newest summary of a session, None as long as there is none."""
        return self.session(session_id, user_id=user_id).summary()

    def get_chat_history(
        self,
        session_id: str | None = None,
        *,
        user_id: str | None = None,
        limit: int | None = None,
    ) -> list[Message]:
        """What was said in the newest `limit` completed turns of a session, or in all of them."""
        return self.session(session_id, user_id=user_id).messages(limit=limit)

    def get_messages_for_session(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> list[Message]:
        """All that was said in a session: each message once, as user and assistant said it."""
        return self.session(session_id, user_id=user_id).messages(limit=None)

    def get_session_state(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> Mapping[str, JSON]:
        """What is stored of a session's state."""
        return self.session(session_id, user_id=user_id).state()

    def get_session_name(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> str | None:
        """What a session was named."""
        return self.session(session_id, user_id=user_id).name()

    def set_session_name(
        self, session_name: str, *, session_id: str | None = None, user_id: str | None = None
    ) -> None:
        """Name a session."""
        self.session(session_id, user_id=user_id).rename(session_name)

    def delete_session(self, session_id: str | None = None, *, user_id: str | None = None) -> None:
        """Delete a session with all that it has."""
        self.session(session_id, user_id=user_id).delete()

    def _asked(self) -> Model | None:
        """Whom the graph asks, if any model is an object: by the ids that it names them by."""
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
