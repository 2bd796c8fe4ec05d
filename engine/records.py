"""The tool calls of earlier runs, read from the records of those runs.

What a session is made of: turns, the records of their nodes, state and summary.

A record is all the engine knows about a node in a run: edges, joins, routes and the point where
a run is taken up again are computed from records and never stored beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias

from msgspec import Struct, field

from .messages import JSON, NO_USAGE, FrozenStruct, Message, Quote, ToolCall, Usage
from .node_path import NodePath

NodeStatus: TypeAlias = Literal["done", "skipped", "failed", "waiting"]
RunStatus: TypeAlias = Literal["running", "done", "failed", "cancelled", "waiting"]
FINAL: frozenset[str] = frozenset(("done", "skipped"))


class StateKey(NamedTuple):
    """What is kept from turn to turn: a key of the `state`, or what a `node` keeps for itself."""

    scope: str
    name: str


class SessionKey(NamedTuple):
    """Whose session it is and which one. No user is a namespace of its own, not a wildcard."""

    user_id: str | None
    session_id: str


class Exchange(FrozenStruct, frozen=True, eq=False):
    """One model call of a node: what was sent, to whom, and what came back.

    `prompt` is the name of the template, `prompt_hash` the hash of its sources and of everything
    it includes. `tool_calls` are the tools that the model wanted, `tool_results` what they gave it
    back. `started` and `ended` are Unix times in seconds.
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

    @property
    def onward(self) -> tuple[Message, ...]:
        """What goes to the model next: what was sent, its calls, and what they gave back.

        Arguments that are no JSON object go back as an empty one: some providers refuse to read
        their own model's mistake again.
        """
        calls = tuple(_readable(call) for call in self.tool_calls)
        said = Message(role="assistant", content=self.reply, tool_calls=calls)
        return (*self.messages, said, *self.tool_results)


class Record(FrozenStruct, frozen=True, eq=False):
    """What one node did in one run; written once it is final, and once for each failed attempt.

    `output` is what templates read as `node_id.output`, `fields` the further names they can read
    (a router's `reason`, a summary's `topics`). `choices` are the labels that a router took, None
    for nodes that route nothing, and `tasks` what it wrote for each. `task` is what a router wrote
    for this node, where that asked a model. `because` says why a node was skipped, `error` why it
    failed (also when `on_error` made that a skip or a value). `state` is what the node keeps for
    its next turn, `session_state` the keys it sets for all; both count only once the run is done.
    `quotes` are the texts of earlier runs that the messages may repeat.
    """

    beside: ClassVar[frozenset[str]] = frozenset({"quotes"})

    node: str
    status: NodeStatus
    kind: str = "member"
    attempt: int = 1
    because: str | None = None
    output: JSON = None
    fields: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    choices: tuple[str, ...] | None = None
    tasks: Mapping[str, str] = field(default_factory=dict[str, str])
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

    @property
    def is_final(self) -> bool:
        """Whether the node is never visited again in its run."""
        return self.status in FINAL


class Summary(FrozenStruct, frozen=True, eq=False):
    """A session in short. `covers` is the number of the last turn that it takes in.

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
        """The text, under the name that people know from elsewhere."""
        return self.text


class Turn(FrozenStruct, frozen=True, eq=False):
    """One message in, one answer out: what history, summary and search are built from.

    `number` counts the completed turns of the session from 1 and is 0 until the turn is done.
    `answer` is the text that the user was told, None until there is one. `given_state` is the
    state that the caller passed to the run. `declared` is the hash of all that the graph declares,
    under which the store keeps it. `forked_from` is the id of the run whose records this one began
    with, if it is a fork.
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


class Head(FrozenStruct, frozen=True, eq=False):
    """Where a session stands between two turns.

    `version` rises with every finished run. `state` is what all nodes share, `node_states` what
    each keeps for itself, `summary` the newest one. `writers` are the runs that were the last to
    set a key or a node's state, by their names. `deleted` counts the runs that were deleted.
    """

    beside: ClassVar[frozenset[str]] = frozenset({"writers"})

    version: int = 0
    turns: int = 0
    state: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    node_states: Mapping[str, Mapping[str, JSON]] = field(
        default_factory=dict[str, "Mapping[str, JSON]"]
    )
    summary: Summary | None = None
    name: str | None = None
    deleted: int = 0
    writers: Mapping[StateKey, str] = field(default_factory=dict[StateKey, str])


class Change(Struct, frozen=True):
    """What a finished run does to its session: keys that it sets, merged one by one.

    `turns` is how many turns the session had when the run began: a summary counts only if no other
    turn came in between, since it does not tell of that one. None if it counts in any case.
    """

    state: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    node_states: Mapping[str, Mapping[str, JSON]] = field(
        default_factory=dict[str, "Mapping[str, JSON]"]
    )
    summary: Summary | None = None
    turns: int | None = None

    @classmethod
    def of(cls, turn: Turn, records: Iterable[Record]) -> Change:
        """The keys that a run sets: those it was given, then those of its nodes."""
        state: dict[str, JSON] = dict(turn.given_state or {})
        node_states: dict[str, Mapping[str, JSON]] = {}
        for record in records:
            # What nodes in an inner graph set is in the record of the node around them, merged.
            if record.session_state and not NodePath(record.node).parent:
                state.update(record.session_state)
            if record.state is not None:
                node_states[record.node] = record.state
        return cls(state, node_states)

    def summary_at(self, number: int) -> Summary | None:
        """The summary, if it counts for the turn that has this number."""
        return self.summary if self.turns in (None, number - 1) else None

    def values(self) -> dict[StateKey, JSON]:
        """What the run sets, by scope and name."""
        values = {StateKey("state", name): value for name, value in self.state.items()}
        for node, state in self.node_states.items():
            values[StateKey("node", node)] = dict(state)
        return values


class SessionInfo(Struct, frozen=True):
    """A session in a list; `started` and `updated` are Unix times in seconds."""

    key: SessionKey
    turns: int
    started: float
    updated: float
    name: str | None = None
    first_input: str = ""


class Run(Struct, frozen=True):
    """A run as the caller gets it: its turn, and what each node did.

    `records` hold the last record of each node by its id: in topological order from a runner, in
    the order in which they were kept from a store.
    """

    key: SessionKey
    turn: Turn
    records: Mapping[str, Record] = field(default_factory=dict[str, Record])

    @property
    def run_id(self) -> str:
        """The name by which the run is shown and resumed."""
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
        """`done`, or what kept the run from it."""
        return self.turn.status

    @property
    def input(self) -> str:
        """The message that came in."""
        return self.turn.input

    @property
    def answer(self) -> str | None:
        """The text that the user was told, None unless there was one."""
        return self.turn.answer

    @property
    def usage(self) -> Usage:
        """The sum of all model calls of all nodes."""
        return self.turn.usage

    @property
    def duration(self) -> float:
        """Seconds from the first to the last moment of the run."""
        return max(0.0, self.turn.ended - self.turn.started)

    if not TYPE_CHECKING:  # type checkers would take every attribute for one

        def __getattr__(self, name: str) -> object:
            if name in _ALTERNATIVES:
                raise AttributeError(f"Run has no {name!r}; use {_ALTERNATIVES[name]}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_ALTERNATIVES = {
    "content": "answer",
    "member_responses": "records, by node",
    "messages": "records[node].exchanges",
    "metrics": "usage",
    "tools": "records[node].exchanges[0].tool_calls",
}
"""Attributes of Agno's `RunOutput`, and where their values are here."""


def _readable(call: ToolCall) -> ToolCall:
    try:
        if isinstance(json.loads(call.arguments), dict):
            return call
    except ValueError:
        pass
    return call.model_copy(update={"arguments": "{}"})


READERS = frozenset(("read_chat_history", "read_tool_call_history", "search_sessions"))
"""The tools whose results are what was said before, and nothing else."""


class PastToolCall(Struct, frozen=True):
    """A tool call of an earlier run: what the model wanted, and what it was given back.

    Calls of one reply of a model have the same `round`.
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
