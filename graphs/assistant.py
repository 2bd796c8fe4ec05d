"""What `Agent` and `Team` have in common: the graph that they build, its runs and sessions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
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
from teamgraph.errors import DefinitionError, InputError, NoSessionWarning, NotFound
from teamgraph.kinds import door, explained, missing_attribute, stream_door, warn

from ..nodes.member import Member
from .options import ALTERNATIVE_METHODS, Options, model_id, model_objects, to_node_id

if TYPE_CHECKING:
    from teamgraph import Attachable

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
        return Runner(
            self._graph,
            store=store,
            model=self._runner_model(),
            busy=self.busy,
            allow_api_base=() if self._objects() else self.allow_api_base,
            listeners=self.listeners,
        )

    @explained
    def with_graph(self, graph: Graph) -> Self:
        """The same agent or team with another graph, such as this one changed: accessors, store.

        Options that build a graph have no effect any more, and the graph names its own models.
        """
        if not isinstance(graph, Graph):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            raise InputError(f"graph is a {type(graph).__name__}; give a Graph")
        changed = self.model_copy()
        changed._graph = graph
        for name in ("_runner", "_printing"):
            runner: Runner | None = getattr(self, name)
            if runner is not None:
                setattr(changed, name, changed._runner_with(runner.store))
        return changed

    @explained
    async def arun(
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
        session_state: Mapping[str, JSON] | None = None,
        attachments: Sequence[Attachable] | None = None,
    ) -> Run:
        """Run the graph on a message; see `Runner.run`.

        `session_state` is merged into the session's state, key by key at every level; `state` sets
        whole keys.
        """
        whose = self._whose(user_id, session_id)
        runner = self._stateless(whose)
        given = await self._agiven_state(whose, state, session_state)
        return await runner.arun(message, **whose, state=given, attachments=attachments)

    @explained
    def astream(  # noqa: PLR0913  independent options, by keyword
        self,
        message: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
        session_state: Mapping[str, JSON] | None = None,
        attachments: Sequence[Attachable] | None = None,
        tokens: bool = True,
        resets: bool = False,
    ) -> AsyncGenerator[Event]:
        """Like `run`, but yields the events; closing it cancels the run. See `Runner.stream`."""
        whose = self._whose(user_id, session_id)
        runner = self._stateless(whose)

        async def events() -> AsyncGenerator[Event]:
            given = await self._agiven_state(whose, state, session_state)
            stream = runner.astream(
                message,
                **whose,
                state=given,
                attachments=attachments,
                tokens=tokens,
                resets=resets,
            )
            async with aclosing(stream):
                async for event in stream:
                    yield event

        return events()

    run = door(arun)  # type: ignore[pydantic-field]  # a method
    stream = stream_door(astream)  # type: ignore[pydantic-field]  # a method

    @explained
    def print_response(  # noqa: PLR0913  independent options, by keyword
        self,
        message: str,
        *,
        stream: bool = False,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
        session_state: Mapping[str, JSON] | None = None,
        attachments: Sequence[Attachable] | None = None,
    ) -> Run:
        """Run the graph and print the answer, piece by piece with `stream`; return the run.

        On a terminal it also says which member answers, and what the team chose.
        Without a session id it goes on in one session for each user of this object.
        """
        whose = self._talk(user_id, session_id)
        given = self._given_state(whose, state, session_state)
        return self._kept_runner().print_response(
            message,
            stream=stream,
            **whose,
            state=given,
            attachments=attachments,
            show=self._shown,
        )

    @explained
    async def aprint_response(  # noqa: PLR0913  independent options, by keyword
        self,
        message: str,
        *,
        stream: bool = False,
        user_id: str | None = None,
        session_id: str | None = None,
        state: Mapping[str, JSON] | None = None,
        session_state: Mapping[str, JSON] | None = None,
        attachments: Sequence[Attachable] | None = None,
    ) -> Run:
        """Like `print_response`, in async code."""
        whose = self._talk(user_id, session_id)
        given = await self._agiven_state(whose, state, session_state)
        return await self._kept_runner().aprint_response(
            message,
            stream=stream,
            **whose,
            state=given,
            attachments=attachments,
            show=self._shown,
        )

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
    def update_session_state(
        self,
        session_state_updates: Mapping[str, JSON] | None = None,
        session_id: str | None = None,
        *,
        user_id: str | None = None,
        remove: Collection[str] = (),
    ) -> Mapping[str, JSON]:
        """Set keys of a session's state as a whole, and remove others; return the new state.

        See `Session.set_state`.
        """
        session = self.session(session_id, user_id=user_id)
        session.set_state(session_state_updates, remove=remove)
        return {**self._graph.state, **session.state()}

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
        allowed = self.allow_api_base
        return AnyModel(own, others=usual, allow_api_base=allowed) if own else usual

    def _declared(self) -> Graph:
        raise InputError("Assistant is the base class of Agent and Team; create one of these")

    def as_member(
        self,
        path: str,
        *,
        history: str | None = None,
        reads: Sequence[str] = (),
        tools: Iterable[str] = (),
        rules: Iterable[str] = (),
        returns: object = None,
    ) -> Member:
        """Return it as one node; the options are what the graph around it adds.

        `path` is the path of the node, from which the id of a model object is made. `returns` is
        the type of its answer, unless it has an output_schema.
        """
        about = self.role or self.description
        own_tools = [
            *self.tools,
            *(tool for tool in self._session_tools if tool not in self.tools),
        ]
        return Member(
            role=about.rstrip("."),
            description=self.description or self.role,
            instructions=[
                *([self.description] if self.role and self.description else ()),
                *self._rules,
                *rules,
            ]
            if self.system_message is None
            else [self.system_message],
            model=model_id(self._named_model, path),
            tools=[*own_tools, *(tool for tool in tools if tool not in own_tools)],
            history=history,
            reads=reads,
            retry=self.retries,
            params=self.dependencies,
            returns=returns if self.output_schema is None else self.output_schema,
            **self._changed("member.jinja"),
        )

    def _alone(self, path: str, returns: object) -> Graph:
        """The graph of one member, for the node at `path`; see `Team`."""
        loaders = self._loaders()
        node_id = to_node_id(self._own_id) or "agent"
        reads = ["search"] if "search" in loaders else []
        member = self.model_copy(update={"model": None}).as_member(
            node_id, reads=reads, returns=returns
        )
        return Graph(
            name=self.name or "agent",
            description=self.description or self.role,
            model=model_id(self._named_model, path),
            state=self.session_state,
            nodes={**loaders, node_id: member, **self._summarizers()},
            output=node_id,
            prompt_dirs=self.prompts,
        )

    async def _agiven_state(
        self,
        whose: Mapping[str, Any],
        state: Mapping[str, JSON] | None,
        session_state: Mapping[str, JSON] | None,
    ) -> Mapping[str, JSON] | None:
        """The keys that a run sets: `state`, and `session_state` merged into what is there."""
        if session_state is None:
            return state
        if not isinstance(session_state, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            what = type(session_state).__name__
            raise InputError(f"session_state is a {what}; give a mapping of keys to values")
        before = dict(self._graph.state)
        if whose["session_id"] is not None:
            with suppress(NotFound):
                before |= await self._kept_runner().session(**whose).astate()
        merged = {key: _merged(before.get(key), value) for key, value in session_state.items()}
        return {**merged, **(state or {})}

    _given_state = door(_agiven_state)

    @property
    def _shown(self) -> tuple[str, ...]:
        """The members whose answers `print_response` prints."""
        return ()

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
            named = f" {self.name!r}" if self.name else ""
            text = f"{type(self).__name__}{named}: this run has no store, so its session "
            text += "is not saved, and the next call will have no earlier turns; pass a store, "
            text += "such as db=TinyDBStore('folder')"
            warn(text, NoSessionWarning)
        return self.runner


def _merged(old: JSON, new: JSON) -> JSON:
    """The new value; a mapping in a mapping's place is merged into it, at every level."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _forget_oldest(talks: dict[Any, Any]) -> None:
    if len(talks) > MAX_TALKS:
        del talks[next(iter(talks))]
