"""What a run tells while it is under way. Printing, progress and tracing only read these.

Every event carries the run, the session, a sequence number that rises by one, and, where it is
about a node, the node's id and attempt. A run tells exactly one last event: `RunFinished`,
`RunFailed`, `RunCancelled` or `RunWaiting`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from .errors import TeamgraphError
from .messages import JSON, Message
from .records import Record, Run


class _Told(Struct, frozen=True):
    run_id: str
    session_id: str
    sequence: int
    node: str | None
    attempt: int


class RunStarted(_Told, frozen=True):
    """A run begins; `resumed` if records of an earlier try are there."""

    user_id: str | None
    graph: str
    input: str
    resumed: bool


class NodeStarted(_Told, frozen=True):
    """A node is visited for the `attempt`-th time."""

    kind: str


class PromptRendered(_Told, frozen=True):
    """The exact messages that now go to `model`."""

    prompt: str
    model: str
    messages: tuple[Message, ...]


class Token(_Told, frozen=True):
    """A piece of text as it arrives; with `answer` it belongs to what the user is told.

    The texts of a run's answer tokens, put together, are the answer.
    """

    text: str
    answer: bool


class ToolCalled(_Told, frozen=True):
    """A model wants a tool; `arguments` is the JSON text that it wrote."""

    call_id: str
    tool: str
    arguments: str


class ToolAnswered(_Told, frozen=True):
    """What a tool gave back, as the model sees it."""

    call_id: str
    tool: str
    result: str


class NodeRetried(_Told, frozen=True):
    """An attempt failed and another follows in `wait` seconds, perhaps with a fallback model.

    The node's tokens of that attempt are void; none of them were answer tokens, for a node that
    has told part of the answer is not attempted again.
    """

    error: str
    wait: float


class NodeFinished(_Told, frozen=True):
    """A node is done; `replayed` if that was in an earlier try of this run."""

    record: Record
    replayed: bool


class NodeSkipped(_Told, frozen=True):
    """A node will not run, and why."""

    because: str
    replayed: bool


class NodeFailed(_Told, frozen=True):
    """A node gave up after its last attempt."""

    error: str


class Answer(_Told, frozen=True):
    """What the user is told: `value` as the node gave it, `text` as it reads."""

    text: str
    value: JSON


class RunFinished(_Told, frozen=True):
    """All is done and kept."""

    run: Run


class RunFailed(_Told, frozen=True):
    """The run stopped at an error; what was done is kept and can be resumed."""

    run: Run
    error: TeamgraphError


class RunCancelled(_Told, frozen=True):
    """The caller ended the run; what was done is kept."""

    run: Run


class RunWaiting(_Told, frozen=True):
    """The run waits for a person."""

    run: Run


Event: TypeAlias = (
    RunStarted
    | NodeStarted
    | PromptRendered
    | Token
    | ToolCalled
    | ToolAnswered
    | NodeRetried
    | NodeFinished
    | NodeSkipped
    | NodeFailed
    | Answer
    | RunFinished
    | RunFailed
    | RunCancelled
    | RunWaiting
)
"""Any event of a run, told apart by its class."""
Listener: TypeAlias = Callable[[Event], None]
Facts = ParamSpec("Facts")


class EventEmitter:
    """Tells the events of one run to one listener, numbered; tells nothing if there is none."""

    __slots__ = ("_listener", "_run_id", "_sequence", "_session_id")

    def __init__(self, run_id: str, session_id: str, listener: Listener | None) -> None:
        self._run_id = run_id
        self._session_id = session_id
        self._listener = listener
        self._sequence = 0

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens: what nobody heard can still be taken back."""
        return self._listener is not None

    def pass_on(self, event: Event, under: str) -> None:
        """Tell an event of a graph inside the node `under`: its nodes are told by their paths."""
        if self._listener is None:
            return
        self._sequence += 1
        path = f"{under}/{event.node}"
        if isinstance(event, NodeFinished):
            event = replace(event, record=replace(event.record, node=path))
        self._listener(replace(event, sequence=self._sequence, node=path))

    def __call__(
        self,
        event: Callable[Concatenate[str, str, int, str | None, int, Facts], Event],
        node: str | None,
        attempt: int,
        *args: Facts.args,
        **facts: Facts.kwargs,
    ) -> None:
        """Tell `event` of `node` (None: of the run) with the rest of its fields."""
        if self._listener is None:
            return
        self._sequence += 1
        self._listener(
            event(self._run_id, self._session_id, self._sequence, node, attempt, *args, **facts)
        )
