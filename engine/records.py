"""The stored values of a session: turns, the records of their nodes, state and summaries.

A record is all that is stored about a node in a run. The state of edges, joins and routes, and
the point from which a run is resumed, are computed from records and never stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import asdict

from .messages import (
    JSON,
    NO_USAGE,
    FrozenStruct,
    Message,
    Part,
    Quote,
    ToolCall,
    Usage,
    as_plain,
)
from .node_path import NodePath
from .unknown_names import missing_attribute

NodeStatus: TypeAlias = Literal["done", "skipped", "failed", "running", "waiting"]
RunStatus: TypeAlias = Literal["running", "done", "failed", "cancelled", "waiting"]
_SHORT = 60  # characters of an answer in the text of a run
FINAL: frozenset[str] = frozenset(("done", "skipped"))
JSON_VERSION = 1
"""Version of the JSON form of events and runs; fields may be added to one, never changed."""


class StateKey(NamedTuple):
    """A value that outlives a turn: a key of the shared state, or the own state of a node.

    `scope` is `state` or `node`, `name` the key or the id of the node. A store has the scope `set`
    beside them: what was last done to a key of the state outside of a turn.
    """

    scope: str
    name: str


class SessionKey(NamedTuple):
    """Primary key of a session. `user_id` None is a namespace of its own, not a wildcard."""

    user_id: str | None
    session_id: str


class Exchange(FrozenStruct, frozen=True, eq=False):
    """One model call of a node: the messages sent, the model, and its reply.

    `prompt` is the name of the template, `prompt_hash` the hash of its sources and of everything
    it includes. `tool_calls` are those in the reply, `tool_results` their results. `started` and
    `ended` are Unix times in seconds. `ask` is the number of the request in its attempt, which
    the exchanges that continue it after tool calls share, and `first_call` the number of the first
    of `tool_calls` among all of the node in the run; both count from 1, as does `attempt`, the
    attempt that asked. `reasoning` is that of the `Reply`, if it called tools.
    """

    prompt: str
    prompt_hash: str
    model: str
    messages: tuple[Message, ...]
    reply: str
    usage: Usage = NO_USAGE
    finish_reason: str | None = None
    started: float = 0.0
    ended: float = 0.0
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[Message, ...] = ()
    ask: int = 1
    first_call: int = 0
    reasoning: str = ""
    attempt: int = 1

    @property
    def has_all_results(self) -> bool:
        """Whether every tool call was answered."""
        return len(self.tool_results) == len(self.tool_calls)

    @property
    def onward(self) -> tuple[Message, ...]:
        """The messages of the next request: those sent, the tool calls, and their results.

        Arguments that are not a JSON object become an empty one: some providers refuse a request
        that repeats their own model's mistake.
        """
        calls = tuple(_with_valid_arguments(call) for call in self.tool_calls)
        reply = Message(
            role="assistant", content=self.reply, tool_calls=calls, reasoning=self.reasoning
        )
        return (*self.messages, reply, *self.tool_results)


class Fault(FrozenStruct, frozen=True, eq=False):
    """Why an attempt of a node failed, and what it had used.

    `error` is the text of the error, `error_type` its class. `model` is the id of the model that
    the attempt had, empty if it had none. `wait` are the seconds from `ended` (Unix time) until
    another attempt began; 0 if none did, or at once. `usage` is that of the model calls that
    brought a reply.
    """

    attempt: int
    error: str
    error_type: str
    model: str = ""
    wait: float = 0.0
    ended: float = 0.0
    usage: Usage = NO_USAGE

    @property
    def text(self) -> str:
        """The error with its class."""
        is_named = self.error.startswith(self.error_type)
        return self.error if is_named else f"{self.error_type}: {self.error}"


CONFIRM_WORDS = ("approve", "reject")
"""The answers in a word to whether a tool may be called."""


class Response(FrozenStruct, frozen=True, eq=False):
    """What a person answered: the value, the user who gave it, and when (Unix time).

    `is_default` says that nobody did, and the question's default was taken when it had expired.
    """

    value: JSON
    user_id: str | None = None
    given: float = 0.0
    is_default: bool = False


class Question(FrozenStruct, frozen=True, eq=False):
    """A question that a node waits with, and the response once there is one.

    `path` names it: the path of the node, or `node/tool[2]` if it asks whether the node's second
    tool call may run; then `tool` and `arguments` (the JSON text that the model wrote) are what is
    asked for, and `digest` is their hash. `options` are the possible answers, empty if the answer
    is free text or, where `schema` is given, JSON that fits it. `assign_to` is a text for whoever
    shows the question. `asked` and `expires` are Unix times; `expires` 0 is never.
    """

    path: str
    text: str
    options: tuple[str, ...] = ()
    schema: Mapping[str, JSON] | None = None
    assign_to: str | None = None
    asked: float = 0.0
    expires: float = 0.0
    tool: str | None = None
    arguments: str = ""
    digest: str = ""
    response: Response | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody has answered it yet."""
        return self.response is None

    def has_expired(self, now: float) -> bool:
        """Whether it was not answered in time."""
        return self.response is None and 0 < self.expires <= now

    @property
    def hint(self) -> str:
        """What may be answered, in a few words; empty if it is any text."""
        if self.tool is not None:
            return f"{'/'.join(CONFIRM_WORDS)}, or JSON"
        return "JSON" if self.schema is not None else "/".join(self.options)

    def parse(self, written: str) -> JSON:
        """The answer that a person means: JSON where there is a schema, an option in any case."""
        words = CONFIRM_WORDS if self.tool is not None else self.options
        for word in words:
            if written not in words and written.strip().casefold() == word.casefold():
                return word
        if self.schema is None or written in words:
            return written
        try:
            parsed: JSON = json.loads(written)
        except (ValueError, RecursionError):
            return written
        return parsed


class Record(FrozenStruct, frozen=True, eq=False):
    """Outcome of one node in one run; `faults` are those of its attempts that failed.

    `output` is what templates read as `node_id.output`, `fields` the further names they can read
    (a router's `reason`, a summary's `topics`). `choices` are the labels that a router chose, None
    for other nodes, and `tasks` what it wrote for each. `task` is what a router wrote for this
    node. `because` says why a node was skipped, `error` why it failed (also if `on_error` turned
    that into a skip or a value). `state` is the node's own state for the next turn,
    `session_state` the keys that it sets in the shared one; both apply once the run is done.
    `quotes` are the texts of earlier runs that the messages may repeat. `queued` are the seconds
    for which the node was ready and `max_parallel` let it not start; 0 in a graph without it.

    A record that is `running` or `waiting` is replaced by the next one of its attempt: it has the
    tool calls so far (`calls` counts those of the node in all its attempts) and the `questions` to
    people, and `session_state` what the tools have set. `abandoned` says that nothing of it is
    continued, because the graph was changed. Where the budget has stopped an attempt, `unfinished`
    is the number of its exchanges, the last ones: a resumption asks none of them again.
    """

    beside: ClassVar[frozenset[str]] = frozenset({"quotes"})

    node: str
    status: NodeStatus
    kind: str = "member"
    attempt: int = 1
    because: str | None = None
    output: JSON = None
    fields: Mapping[str, JSON] = {}
    choices: tuple[str, ...] | None = None
    tasks: Mapping[str, str] = {}
    task: str | None = None
    exchanges: tuple[Exchange, ...] = ()
    state: Mapping[str, JSON] | None = None
    session_state: Mapping[str, JSON] | None = None
    error: str | None = None
    usage: Usage = NO_USAGE
    fingerprint: str = ""
    started: float = 0.0
    ended: float = 0.0
    quotes: tuple[Quote, ...] = ()
    questions: tuple[Question, ...] = ()
    calls: int = 0
    abandoned: bool = False
    unfinished: int = 0
    faults: tuple[Fault, ...] = ()
    queued: float = 0.0

    @property
    def is_final(self) -> bool:
        """Whether the node is done or skipped, so that it is never run again in its run."""
        return self.status in FINAL

    @property
    def choice(self) -> JSON:
        """The label that a router chose; a list with `select: many`, None for other kinds."""
        return self.output if self.choices is not None else None

    def to_json(self) -> dict[str, JSON]:
        """The outcome as JSON, as in `Run.to_json`: without prompts and replies."""
        return {
            "status": self.status,
            "because": self.because,
            "output": self.output,
            "choice": self.choice,
            "attempts": self.attempt,
            "error": self.error,
            "usage": asdict(self.usage),
        }


class Summary(FrozenStruct, frozen=True, eq=False):
    """Summary of a session; `covers` is the number of the last turn that it includes.

    `updated` is the Unix time, in seconds, at which the run `run_id` that wrote it ended.
    """

    beside: ClassVar[frozenset[str]] = frozenset({"run_id"})

    text: str
    topics: tuple[str, ...] = ()
    covers: int = 0
    updated: float = 0.0
    run_id: str = ""

    @property
    def summary(self) -> str:
        """The same as `text`, the name that other frameworks use."""
        return self.text


class Turn(FrozenStruct, frozen=True, eq=False):
    """One message in, one answer out: the unit of history, summaries and search.

    `number` counts the completed turns of the session from 1 and is 0 until the turn is done.
    `answer` is None until there is one. `given_state` is the state that the caller passed to the
    run, and `system` the text that templates read as `input.system`. `declared` is the hash of the
    graph's declaration, under which the store has it. `forked_from` is the id of the run whose
    records this one began with, if it is a fork. `waiting` are the paths of the questions that the
    run waits with, and `waiting_until` is when all of them have expired (Unix time, 0: never).
    `speaker` is the member that gave the answer, where several may. `attachments` came with the
    message.
    """

    run_id: str
    input: str
    graph: str = ""
    status: RunStatus = "running"
    answer: str | None = None
    number: int = 0
    usage: Usage = NO_USAGE
    error: str | None = None
    given_state: Mapping[str, JSON] | None = None
    started: float = 0.0
    ended: float = 0.0
    declared: str = ""
    forked_from: str | None = None
    waiting: tuple[str, ...] = ()
    waiting_until: float = 0.0
    speaker: str | None = None
    system: str | None = None
    attachments: tuple[Part, ...] = ()

    @property
    def said(self) -> str:
        """The message as later turns show it: with the names of what was attached."""
        if not self.attachments:
            return self.input
        return f"{self.input}\n(attached: {', '.join(map(str, self.attachments))})"

    def is_waiting(self, now: float) -> bool:
        """Whether the run waits for a person, and not all of its questions have expired."""
        is_in_time = not self.waiting_until or now < self.waiting_until
        return self.status == "waiting" and bool(self.waiting) and is_in_time


class Head(FrozenStruct, frozen=True, eq=False):
    """Current values of a session: the number of turns, state, summary and name.

    `version` rises with every finished run. `state` is shared by all nodes, `node_states` has the
    own state of each, `summary` is the newest one. `writers` are the ids of the runs that were the
    last to set each key or node's state. `deleted` counts the runs that were deleted.
    """

    beside: ClassVar[frozenset[str]] = frozenset({"writers"})

    version: int = 0
    turns: int = 0
    state: Mapping[str, JSON] = {}
    node_states: Mapping[str, Mapping[str, JSON]] = {}
    summary: Summary | None = None
    name: str | None = None
    deleted: int = 0
    writers: Mapping[StateKey, str] = {}


class Change(Struct, frozen=True):
    """What a finished run changes in its session; state is merged key by key.

    `turns` is the number of turns that the session had when the run began: a summary is applied
    only if there is no turn since, which it would miss. None applies it in any case.
    """

    state: Mapping[str, JSON] = {}
    node_states: Mapping[str, Mapping[str, JSON]] = {}
    summary: Summary | None = None
    turns: int | None = None

    @classmethod
    def of(cls, turn: Turn, records: Iterable[Record]) -> Change:
        """The keys that a run sets: those passed by the caller, then those of its nodes."""
        state: dict[str, JSON] = dict(turn.given_state or {})
        node_states: dict[str, Mapping[str, JSON]] = {}
        for record in records:
            # What nodes in an inner graph set is in the record of the node around them, merged.
            if record.session_state and not NodePath(record.node).parent:
                state.update(record.session_state)
            if record.state is not None:
                node_states[NodePath(record.node).declared] = record.state  # of the last round
        return cls(state, node_states)

    def summary_at(self, number: int) -> Summary | None:
        """The summary, if it applies when the run becomes the turn of this number."""
        return self.summary if self.turns in (None, number - 1) else None

    def values(self) -> dict[StateKey, JSON]:
        """What the run sets, by scope and name."""
        values = {StateKey("state", name): value for name, value in self.state.items()}
        for node, state in self.node_states.items():
            values[StateKey("node", node)] = dict(state)
        return values


class SessionInfo(Struct, frozen=True):
    """An entry in a list of sessions; `started` and `updated` are Unix times in seconds."""

    key: SessionKey
    turns: int
    started: float
    updated: float
    name: str | None = None
    first_input: str = ""


class Run(Struct, frozen=True):
    """A run: its turn, and the record of each node.

    `records` has the last record of each node by its id, in topological order from a runner and in
    the order of writing from a store.
    """

    key: SessionKey
    turn: Turn
    records: Mapping[str, Record] = {}

    def __repr__(self) -> str:
        answer = self.answer if self.answer is not None else self.turn.error or ""
        short = answer if len(answer) <= _SHORT else f"{answer[: _SHORT - 1]}…"
        return f"Run({self.run_id!r}, {self.status}, {short!r})"

    def _repr_html_(self) -> str:
        """The answer and what each node did, for notebooks."""
        # Lazy: no run needs it; by name, as the view is a room above.
        return str(import_module(".view.notebook", __package__).run_html(self))

    @property
    def run_id(self) -> str:
        """The id by which the run is shown and resumed."""
        return self.turn.run_id

    @property
    def session_id(self) -> str:
        """The session that the run belongs to."""
        return self.key.session_id

    @property
    def user_id(self) -> str | None:
        """The user that the session belongs to, or None."""
        return self.key.user_id

    @property
    def status(self) -> RunStatus:
        """`done`, `running`, `failed`, `cancelled` or `waiting`."""
        return self.turn.status

    @property
    def input(self) -> str:
        """The message that came in."""
        return self.turn.input

    @property
    def answer(self) -> str | None:
        """The text of the answer, None if there is none."""
        return self.turn.answer

    @property
    def usage(self) -> Usage:
        """The sum of all model calls of all nodes."""
        return self.turn.usage

    @property
    def questions(self) -> tuple[Question, ...]:
        """The questions to people that are not answered yet, in the order of the nodes."""
        return open_questions(self.records.values())

    @property
    def duration(self) -> float:
        """Seconds from the start to the end of the run."""
        return max(0.0, self.turn.ended - self.turn.started)

    def to_json(self) -> dict[str, JSON]:
        """The run as `run --json` prints it: answer, usage, and the outcome of each node.

        Its fields are in docs/events.md; `version` is 1. It has no prompts: these are in
        `records[node].exchanges`.
        """
        turn = self.turn
        return {
            "version": JSON_VERSION,
            "run_id": self.run_id,
            "session_id": self.session_id,
            "user_id": self.user_id,
            "graph": turn.graph,
            "status": self.status,
            "input": self.input,
            **({"attachments": as_plain(turn.attachments)} if turn.attachments else {}),
            "answer": self.answer,
            "error": turn.error,
            **({"questions": as_plain(self.questions)} if self.questions else {}),
            "nodes": {path: record.to_json() for path, record in self.records.items()},
            "usage": asdict(self.usage),
            "started": turn.started,
            "duration": self.duration,
        }

    if not TYPE_CHECKING:  # pragma: no branch - type checkers would take every attribute for one

        def __getattr__(self, name: str) -> object:
            raise missing_attribute(type(self), name, _ALTERNATIVES)


_ALTERNATIVES = {
    "content": "use answer",
    "member_responses": "use records, by node",
    "messages": "use records[node].exchanges",
    "metrics": "use usage",
    "tools": "use records[node].exchanges[0].tool_calls",
    "output": "use answer, or records[node].output for the value of one node",
    "raw": "use answer",
    "response": "use answer",
    "text": "use answer",
    "values": "use records, by node, or runner.session(session_id).state()",
}
"""Attributes of runs in Agno, LangGraph and CrewAI, and where their values are here."""


def _with_valid_arguments(call: ToolCall) -> ToolCall:
    try:
        if isinstance(json.loads(call.arguments), dict):
            return call
    except (ValueError, RecursionError):
        pass
    return call.model_copy(update={"arguments": "{}"})


def open_questions(records: Iterable[Record]) -> tuple[Question, ...]:
    """The questions of these records that are not answered yet."""
    return tuple(
        question
        for record in records
        if not record.is_final and not record.abandoned
        for question in record.questions
        if question.is_open
    )


READERS = frozenset(("read_chat_history", "read_tool_call_history", "search_sessions"))
"""The tools whose results only repeat earlier turns."""


class PastToolCall(Struct, frozen=True):
    """A tool call of an earlier run: tool, arguments and result.

    Calls in one reply of a model have the same `round`.
    """

    tool: str
    arguments: str
    result: str
    round: int = 0


def past_tool_calls(records: Iterable[Record]) -> list[PastToolCall]:
    """The tool calls in the records of a run that were answered, in the order of the records."""
    exchanges = [exchange for record in records for exchange in record.exchanges]
    calls: list[PastToolCall] = []
    for number, exchange in enumerate(exchanges):
        results = {result.tool_call_id: result.content for result in exchange.tool_results}
        calls += (
            PastToolCall(call.name, call.arguments, results[call.id], round=number)
            for call in exchange.tool_calls
            if call.id in results
        )
    return calls
