"""`DispatchedRunner`: a `Runner` whose turns are submitted to workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Never
from uuid import uuid4

from ..blocking import RunStart
from ..errors import Cancelled, InputError
from ..events import (
    Answer,
    AnswerReset,
    Event,
    Listener,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunWaiting,
    Token,
    TokenMode,
)
from ..graph.graph import Graph
from ..messages import JSON, HistoryItem
from ..records import Run
from ..run.runner import BudgetArgument, Runner
from ..values import State, as_state
from .protocol import Submission

if TYPE_CHECKING:
    from ..attachments import Attachable
    from .dbos import DBOSDispatcher


class DispatchedRunner(Runner):
    """A runner that submits its turns to workers, and reads their events.

    Whoever leaves a run does not end it. What else a runner does, such as rendering prompts and
    reading sessions, it does itself. Turns with a history, with attachments or with a budget of
    their own are refused, and so are forks.
    """

    __slots__ = ("dispatcher",)

    def __init__(self, graph: Graph, dispatcher: DBOSDispatcher) -> None:
        super().__init__(graph, store=dispatcher.store)
        self.dispatcher = dispatcher

    def _start(  # noqa: PLR0913, PLR0917  as `Runner`
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
        if history is not None or attachments is not None:
            raise InputError(
                "turns that workers run take no history and no attachments; name a session, which "
                "has a history of its own"
            )
        turn = Submission(
            graph=self.graph.name,
            message=message,
            run_id=run_id or uuid4().hex,
            session_id=session_id or "",
            user_id=user_id,
            state=as_state(state),
            system=system,
        )
        return partial(self._submit, turn)

    def _resume(
        self,
        run_id: str,
        user_id: str | None,
        session_id: str | None,
        reuse_unchanged: bool,
        budget: BudgetArgument,
    ) -> RunStart:
        if budget is not None:
            raise InputError("budget: workers resume with the graph's own; leave it out")
        turn = Submission(
            graph=self.graph.name,
            run_id=run_id,
            session_id=session_id or "",
            user_id=user_id,
            resumes=True,
            reuse_unchanged=reuse_unchanged,
        )
        return partial(self._submit, turn)

    def _respond(
        self,
        run_id: str,
        answers: Mapping[str, JSON],
        user_id: str | None,
        session_id: str | None,
        by: str | None,
    ) -> RunStart:
        turn = Submission(
            graph=self.graph.name,
            run_id=run_id,
            session_id=session_id or "",
            user_id=user_id,
            answers=answers,
            by=user_id if by is None else by,
        )
        return partial(self._submit, turn)

    def _fork(self, *arguments: object) -> Never:
        del arguments
        raise InputError("workers do not fork runs; use `teamgraph runs fork` on the same store")

    async def _submit(
        self, turn: Submission, *, listener: Listener | None, tokens: TokenMode = "final"
    ) -> Run:
        """Submit a turn, and pass on the events that follow; what ends the run is raised."""
        run = await self.dispatcher.submit(turn)
        submitted = await self.dispatcher.find(run)
        events = self.dispatcher.events(run, after=submitted.first_event)
        last: Event | None = None
        async with aclosing(events):
            async for event in events:
                has_begun = last is not None or not isinstance(event, RunFailed)
                last = event
                if listener is not None and has_begun:
                    _pass_on(event, listener, tokens)
        return _result(last)


def _pass_on(event: Event, listener: Listener, tokens: TokenMode) -> None:
    """Tell a listener of an event; the answer as a whole if it cannot take back tokens."""
    if isinstance(event, Token | AnswerReset) and tokens != "revocable":
        return
    if isinstance(event, Answer) and tokens == "final":
        at = (event.run_id, event.session_id, event.sequence)
        listener(Token(*at, event.node, event.attempt, text=event.text, answer=True))
    listener(event)


def _result(last: Event | None) -> Run:
    match last:
        case RunFinished(run=run) | RunWaiting(run=run):
            return run
        case RunFailed(error=error):
            raise error
        case _:
            ended = last.run if isinstance(last, RunCancelled) else None
            raise Cancelled("the run was cancelled; resume it to continue it", run=ended)
