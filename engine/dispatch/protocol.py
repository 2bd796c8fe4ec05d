"""The `Dispatcher` protocol: submit a turn, read its events, wait for it, cancel it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol
from uuid import uuid4

from msgspec import Struct, field

from ..errors import InputError
from ..events import Event
from ..messages import JSON
from ..records import Run, SessionKey
from ..run.resume import RunReference
from ..values import check_ids, check_message

OPEN, DEAD = ("queued", "running"), ("dead",)
"""The states of turns that wait or run, and of those that were given up."""


def _new_id() -> str:
    return uuid4().hex


class Submission(Struct, frozen=True, kw_only=True):
    """A turn to run: a message to a graph, answers to a run that waits, or a run to resume.

    The same submission again is the same turn: `run_id` says which (default: a new id). Without
    `session_id` the run is a session of its own, called as the run. With `answers` the run is the
    one that waits, with `resumes` one that failed or was cancelled; `reuse_unchanged` is that of
    `Runner.resume`, `by` that of `Runner.respond`, `state` and `system` those of `Runner.run`.
    """

    graph: str
    message: str = ""
    run_id: str = field(default_factory=_new_id)
    session_id: str = ""
    user_id: str | None = None
    state: Mapping[str, JSON] | None = None
    system: str | None = None
    answers: Mapping[str, JSON] | None = None
    by: str | None = None
    resumes: bool = False
    reuse_unchanged: bool = False

    @property
    def key(self) -> SessionKey:
        """The session that the run belongs to."""
        return SessionKey(self.user_id, self.session_id or self.run_id)

    @property
    def reference(self) -> RunReference:
        """The run, as the other methods of a dispatcher take it."""
        return RunReference(self.run_id, self.user_id, self.key.session_id)

    @property
    def begins(self) -> bool:
        """Whether this is the first submission of its run."""
        return self.answers is None and not self.resumes

    def check(self) -> None:
        """Raise `InputError` for ids or a message that no run may have."""
        check_ids(user_id=self.user_id, session_id=self.key.session_id, run_id=self.run_id)
        check_ids(by=self.by)
        if self.begins:
            check_message(self.message)
        elif self.answers is not None and self.resumes:
            raise InputError("answers and resumes are both given; answer a run, or resume it")


class Dispatcher(Protocol):
    """Runs turns, here or elsewhere; whoever submits one need not stay.

    The turns of a session run one at a time, in the order in which they were submitted.
    """

    async def submit(self, turn: Submission) -> RunReference:
        """Submit a turn; returns before it runs, and does nothing if it was submitted before.

        Raises `InputError` if it is not valid, `NotFound` for an unknown graph or run,
        `SessionBusy` if the run is in progress and this is another submission of it.
        """
        ...

    def events(self, run: RunReference, *, after: int = 0) -> AsyncGenerator[Event]:
        """The events of a run whose `sequence` is greater than `after`, to the last one.

        The numbers count on over all submissions of the run, and from `AnswerReset` on if it was
        begun again after a crash. Several readers may read at once, and come back: closing the
        generator cancels nothing. Raises `NotFound` if there is no such run.
        """
        ...

    async def result(self, run: RunReference) -> Run:
        """Wait until the run is over or waits for a person; returns it, whatever its status.

        Raises what kept it from beginning, such as `InputError`, and `NotFound`.
        """
        ...

    async def cancel(self, run: RunReference) -> None:
        """Cancel a run that is in the queue or in progress; nothing happens if it is over.

        It returns before the run has ended. Raises `NotFound`.
        """
        ...
