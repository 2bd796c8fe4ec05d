"""The events of a run: a closed union of frozen structs, which printing and tracing only read.

Every event has the run, the session, a sequence number that rises by one, the time, and, if it is
about a node, the node's path and attempt. A run emits exactly one last event: `RunFinished`,
`RunFailed`, `RunCancelled` or `RunWaiting`. The JSON form of each is in docs/events.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from time import time
from typing import Concatenate, Literal, ParamSpec, TypeAlias, cast

from msgspec import Struct, field
from msgspec.structs import replace

from .errors import Reader, TeamgraphError
from .messages import JSON, Message, Part, ToolCall, Usage, as_plain
from .node_path import NodePath
from .records import JSON_VERSION, Question, Record, Run


class _Timed(Struct, frozen=True, kw_only=True):
    """`time` is when it happened: Unix time in seconds."""

    time: float = field(default_factory=time)


class _RunEvent(_Timed, frozen=True):
    run_id: str
    session_id: str
    sequence: int
    node: str | None
    attempt: int

    def to_json(self, *, reader: Reader = "python") -> dict[str, JSON]:
        """The event as JSON: `version` (1), its name as `event`, and its fields.

        An error says how to go on for where `reader` reads it.
        """
        form: dict[str, JSON] = {"version": JSON_VERSION, "event": event_name(type(self))}
        for name in self.__struct_fields__:
            form[name] = _to_json(getattr(self, name), reader)
        return form


class RunStarted(_RunEvent, frozen=True):
    """A run begins; `resumed` if it continues from stored records.

    `attachments` came with the message.
    """

    user_id: str | None
    graph: str
    input: str
    resumed: bool
    attachments: tuple[Part, ...] = ()


class NodeStarted(_RunEvent, frozen=True):
    """Attempt number `attempt` of a node begins."""

    kind: str


class PromptRendered(_RunEvent, frozen=True):
    """A prompt was rendered; `messages` are exactly what is sent to `model`."""

    prompt: str
    model: str
    messages: tuple[Message, ...]


class ModelAnswered(_RunEvent, frozen=True):
    """A model call is done: the whole reply, what it used, and how many seconds it took.

    `model` is the one that answered, as its provider names it. It comes after the tokens of the
    reply, and before the tools that it calls.
    """

    prompt: str
    model: str
    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str | None
    usage: Usage
    seconds: float


class Token(_RunEvent, frozen=True):
    """A piece of text as it arrives from a model; with `answer` it is a part of the run's answer.

    The texts of a run's answer tokens, concatenated, are the answer (those since the last
    `AnswerReset`, where these are emitted). Only answers arrive in pieces: what other nodes get
    from their models comes whole, in one token. Where a reply says something and then calls tools,
    that is void after an `AnswerReset`, and else a first paragraph of the answer.
    """

    text: str
    answer: bool


class AnswerReset(_RunEvent, frozen=True):
    """All answer tokens so far are void: the attempt failed, or the reply led to tool calls.

    Another answer follows, after the tool calls, in a further attempt, from a fallback model, by
    `on_error` or from another node. Emitted only to a listener that says it can take back what it
    shows (`stream(..., resets=True)`); for any other, such a failure ends the run.
    """


class ToolCalled(_RunEvent, frozen=True):
    """A model calls a tool; `arguments` is the JSON text that it wrote."""

    call_id: str
    tool: str
    arguments: str


class ToolAnswered(_RunEvent, frozen=True):
    """A call of a tool is over; `result` is the text that the model gets.

    `status` is `done`, or what else became of the call: `cut` (its result was too long), `failed`,
    `late`, `invalid` (its arguments), `unknown` (the tool), `refused` (too many rounds),
    `rejected` (by a person), `handed over` or `not first` (to hand over); of an MCP server `lost`
    (it ended), `declined`, `malformed` (its result), `error` (of the tool), `parts` (not all text).
    """

    call_id: str
    tool: str
    result: str
    status: str


class NodeRetried(_RunEvent, frozen=True):
    """An attempt failed and another follows in `wait` seconds, perhaps with a fallback model.

    The node's tokens of the failed attempt are void. If there are answer tokens among them, an
    `AnswerReset` follows; a node whose answer tokens cannot be taken back is not attempted again.
    `error_type` is the name of the error's class.
    """

    error: str
    wait: float
    error_type: str


class NodeFinished(_RunEvent, frozen=True):
    """A node is done and its record stored; `replayed` if an earlier try of the run did that."""

    record: Record
    replayed: bool


class NodeSkipped(_RunEvent, frozen=True):
    """A node is skipped, and why."""

    because: str
    replayed: bool


class NodeFailed(_RunEvent, frozen=True):
    """The last attempt of a node failed; `error_type` is the name of the error's class."""

    error: str
    error_type: str


class Answer(_RunEvent, frozen=True):
    """The run's answer: `value` as the node returned it, `text` as it is shown."""

    text: str
    value: JSON


class RunFinished(_RunEvent, frozen=True):
    """The run is done, and the session has its turn."""

    run: Run


class RunFailed(_RunEvent, frozen=True):
    """The run stopped at an error; what was done is stored, and the run can be resumed."""

    run: Run
    error: TeamgraphError


class RunCancelled(_RunEvent, frozen=True):
    """The run was cancelled; what was done is stored, and the run can be resumed.

    By its caller, or because its event loop was dropped with the run in it.
    """

    run: Run


class RunWaiting(_RunEvent, frozen=True):
    """The run waits for people to answer `questions`; `Runner.respond` continues it.

    `node` is the path of the first question. Nothing is held: no lease, no task.
    """

    run: Run
    questions: tuple[Question, ...]


Event: TypeAlias = (
    RunStarted
    | NodeStarted
    | PromptRendered
    | ModelAnswered
    | Token
    | AnswerReset
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
"""Any event of a run; match on its class."""
Listener: TypeAlias = Callable[[Event], None]
TokenMode: TypeAlias = Literal["none", "final", "revocable"]
"""Whether a listener gets tokens, and whether it can take back those of the answer."""
EventFields = ParamSpec("EventFields")


def event_name(event: type[Struct]) -> str:
    """The name of a class of events in JSON: `node_started` of `NodeStarted`."""
    return re.sub("(?<!^)(?=[A-Z])", "_", event.__name__).lower()


def _to_json(value: object, reader: Reader) -> JSON:
    """The value of a field as JSON."""
    match value:
        case Run() | Record():
            return value.to_json()
        case TeamgraphError():
            return {"type": type(value).__name__, "message": value.text_for(reader)}
        case tuple():
            return [_to_json(item, reader) for item in cast("tuple[object, ...]", value)]
        case Message():
            return value.to_json()
        case _:
            return as_plain(value)


class EventEmitter:
    """Passes the events of one run to one listener, numbered; does nothing if there is none.

    `has_listener` says whether there is one, and `tokens` which tokens it gets: `none` without.
    """

    __slots__ = ("_listener", "_run_id", "_sequence", "_session_id", "has_listener", "tokens")

    def __init__(
        self,
        run_id: str,
        session_id: str,
        listener: Listener | None,
        tokens: TokenMode = "final",
    ) -> None:
        self._run_id = run_id
        self._session_id = session_id
        self._listener = listener
        self._sequence = 0
        self.has_listener = listener is not None
        self.tokens: TokenMode = "none" if listener is None else tokens

    def emit(
        self,
        event: Callable[Concatenate[str, str, int, str | None, int, EventFields], Event],
        node: str | None,
        attempt: int,
        *args: EventFields.args,
        **fields: EventFields.kwargs,
    ) -> None:
        """Emit an `event` of `node` (None: of the run), made with the rest of its fields."""
        if self._listener is None:
            return
        self._sequence += 1
        self._listener(
            event(self._run_id, self._session_id, self._sequence, node, attempt, *args, **fields)
        )

    def forward(self, event: Event, node: str) -> None:
        """Emit an event of the graph inside `node` again, with the node's path and a new number."""
        if self._listener is None:
            return
        self._sequence += 1
        path = str(NodePath(node).child(event.node or ""))
        if isinstance(event, NodeFinished):
            event = replace(event, record=replace(event.record, node=path))
        self._listener(replace(event, sequence=self._sequence, node=path))
