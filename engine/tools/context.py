"""What the engine passes to a tool beside the arguments that the model wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from copy import deepcopy
from types import MappingProxyType
from typing import Literal, TypeAlias, cast

from msgspec import Struct

from ..messages import JSON
from ..session.history import Past


class SessionState(MutableMapping[str, JSON]):
    """The session's state for the tools of one attempt: copy on read, changes recorded by key.

    A list or mapping that is read is a copy which the tools of the attempt share, and a change
    inside it counts: `state["cart"].append("tea")` sets the key `cart`. Changes take effect when
    the node is done. `changes` are those of calls that an earlier try of the run has made.
    """

    __slots__ = ("_before", "_copies", "_set")

    def __init__(
        self, before: Mapping[str, JSON], changes: Mapping[str, JSON] = MappingProxyType({})
    ) -> None:
        self._before = before
        self._copies: dict[str, JSON] = {}
        self._set: dict[str, JSON] = deepcopy(dict(changes))

    def __getitem__(self, key: str) -> JSON:
        if key in self._set:
            return self._set[key]
        if key in self._copies:
            return self._copies[key]
        value = self._before[key]
        if not isinstance(value, list | dict):
            return value
        # Atomic, so that tools in two threads get the same copy.
        return self._copies.setdefault(key, deepcopy(cast("JSON", value)))

    def __setitem__(self, key: str, value: JSON) -> None:
        self._set[key] = value

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"the key {key!r} of a session's state cannot be deleted; set it to None")

    def __iter__(self) -> Iterator[str]:
        return iter({**self._before, **self._set})

    def __len__(self) -> int:
        return len({**self._before, **self._set})

    def changed(self) -> dict[str, JSON]:
        """The keys that were set, or changed inside, with their values."""
        inside = {key: copy for key, copy in self._copies.items() if copy != self._before[key]}
        return {**inside, **self._set}


class ToolContext(Struct, frozen=True):
    """User, session, run and node of a tool call; passed to parameters of this type.

    The model never sees it. In a graph inside a node, `node_id` is a path, `node/inner_node`.
    `session_state` may be set key by key; `past` reads the session before this turn.
    `idempotency_key` is `run/node/tool[2]` for the second tool call of the node in the run. It is
    the same whenever this call is executed again, after a crash, a retry or a resume, and no other
    call's: a tool that must act only once compares it with those of earlier calls.
    """

    user_id: str | None
    session_id: str
    run_id: str
    node_id: str
    session_state: MutableMapping[str, JSON]
    past: Past
    idempotency_key: str = ""


CallStatus: TypeAlias = Literal[
    "rejected",
    "changed",
    "repeated",
    "refused",
    "unknown",
    "invalid",
    "failed",
    "late",
    "cut",
    "lost",
    "declined",
    "malformed",
    "error",
    "parts",
    "handed over",
    "not first",
]


class ResultPart(Struct, frozen=True):
    """A part of what a server gave: `type` is `text`, `image`, ...; only a text has a `text`."""

    type: str
    text: str = ""


class CallOutcome(Struct, frozen=True):
    """What became of a tool call without a plain result, as `tool_result.jinja` reads it.

    `name` is the tool's; `result` what it gave, if it was called; `reason` why it was rejected,
    what is wrong with its arguments, or how it failed. `arguments` are those that a person gave
    instead. An `unknown` tool has the one that was `meant`, or all `tools`. `seconds` is the
    time limit of a `late` one, `length` the characters of a result before it was cut, `to` the
    node that the conversation goes on with. An MCP server that ended during the call has `lost` it;
    one that refused it has `declined` it, and a result that is not valid is `malformed`, each for a
    `reason`; an `error` and a result not only of text have `parts`.
    """

    name: str
    status: CallStatus
    result: str = ""
    reason: str = ""
    arguments: str = ""
    meant: str = ""
    tools: tuple[str, ...] = ()
    seconds: str = ""
    length: int = 0
    to: str = ""
    parts: tuple[ResultPart, ...] = ()
