"""What a tool sees beside the arguments that the model wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from copy import deepcopy
from typing import cast

from msgspec import Struct

from ..messages import JSON
from ..session.history import Past


class SessionState(MutableMapping[str, JSON]):
    """The session's state as the tools of one attempt read and set it.

    A list or mapping that is read is a copy that the tools share, and a change inside it counts as
    well: `state["cart"].append("tea")` sets the key `cart`. Nothing is seen outside before the
    attempt holds.
    """

    __slots__ = ("_before", "_lent", "_set")

    def __init__(self, before: Mapping[str, JSON]) -> None:
        self._before = before
        self._lent: dict[str, JSON] = {}
        self._set: dict[str, JSON] = {}

    def __getitem__(self, key: str) -> JSON:
        if key in self._set:
            return self._set[key]
        if key in self._lent:
            return self._lent[key]
        value = self._before[key]
        if not isinstance(value, list | dict):
            return value
        # One step, so that tools in two threads get the same copy.
        return self._lent.setdefault(key, deepcopy(cast("JSON", value)))

    def __setitem__(self, key: str, value: JSON) -> None:
        self._set[key] = value

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"the key {key!r} of a session's state stays; set it to None instead")

    def __iter__(self) -> Iterator[str]:
        return iter({**self._before, **self._set})

    def __len__(self) -> int:
        return len({**self._before, **self._set})

    def changed(self) -> dict[str, JSON]:
        """The keys that were set, or changed inside, with their values."""
        inside = {key: lent for key, lent in self._lent.items() if lent != self._before[key]}
        return {**inside, **self._set}


class ToolContext(Struct, frozen=True):
    """Who asks, and in which run; the engine fills it in and the model never sees it.

    In a graph inside a node, `node_id` is the path that leads there, `node/inner_node`.
    `session_state` may be set key by key; `past` reads the session before this turn.
    `idempotency_key` is `run/node/call`, where call counts from 0 in each attempt of the node: a
    node that is attempted again calls its tools again, so a tool that must act only once can tell
    by this key, and by its arguments, that it has acted before.
    """

    user_id: str | None
    session_id: str
    run_id: str
    node_id: str
    session_state: MutableMapping[str, JSON]
    past: Past
    idempotency_key: str = ""
