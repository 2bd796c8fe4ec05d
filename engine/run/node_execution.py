"""One node in one run: its attempts, when a failed one is repeated, and what a record may hold."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping
from typing import TypeVar, cast

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import (
    BudgetExceeded,
    DefinitionError,
    InputError,
    ModelError,
    NoAnswer,
    NodeError,
    PromptError,
    RunError,
)
from ..graph.context import Result, Upstream
from ..graph.fields import Retry
from ..graph.graph import Graph
from ..graph.node import Node
from ..messages import JSON
from ..records import Exchange, Record
from ..values import to_json
from .state_merge import ABSENT, merge_changes

T = TypeVar("T")

DEFAULT_TIMEOUT = 600.0
"""Seconds that an attempt may take if neither its node nor the graph has a `timeout`."""
MAX_DOUBLINGS = 60
"""More would be longer than any `max_wait`, and at some point too large for a float."""
_NOT_RETRIED = (
    PromptError,
    InputError,
    DefinitionError,
    NoAnswer,
    BudgetExceeded,
    TypeError,
    NameError,
)
"""Errors that another attempt would only repeat."""
_CLEAR_TEXT = (ModelError, PromptError, InputError, RunError, TimeoutError)
"""Errors whose text says enough without the name of their class."""


class DefaultTimeout:
    """Cancels attempts after the default time: one timer of the loop for all attempts of a run.

    A timer for each attempt would cost a tenth of what a small node costs.
    """

    __slots__ = ("_expired", "_loop", "_running", "_seconds", "_timer")

    def __init__(self, seconds: float = DEFAULT_TIMEOUT) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[object], float] = {}
        self._expired: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def limit(self, work: Coroutine[object, object, T]) -> T:
        """Await an attempt; raises `TimeoutError` if it takes too long."""
        task = cast("asyncio.Task[object]", asyncio.current_task())
        cancelling = task.cancelling()
        self._running[task] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._check)
        try:
            return await work
        except asyncio.CancelledError as error:
            if task in self._expired and task.uncancel() <= cancelling:
                raise TimeoutError(
                    f"no answer within {self._seconds:g} seconds, the default; give the node or "
                    "the graph a `timeout`"
                ) from error
            raise
        finally:
            self._running.pop(task, None)
            self._expired.discard(task)

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """Cancel what has taken too long, and look again when the next attempt will have."""
        self._timer, now = None, self._loop.time()
        for task, deadline in list(self._running.items()):  # in the order of their deadlines
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._check)
                return
            self._running.pop(task)
            self._expired.add(task)
            task.cancel()


class GraphRuns(Struct):
    """What the graph inside a node has done in the current attempt of the node.

    `earlier` are the records of earlier tries, by the step of the path that each is in
    (`draft[2]`) and its path there. `states` are the own states of the nodes. `patches` are the
    keys of the session's state that were set in each round or item, by its number; those of
    items (`is_items`) are not read by other items.
    """

    is_items: bool
    earlier: Mapping[str, Mapping[str, Record]]
    states: dict[str, Mapping[str, JSON]]
    patches: dict[int, Mapping[str, JSON]] = field(default_factory=dict[int, "Mapping[str, JSON]"])

    @property
    def set_by_rounds(self) -> Mapping[str, JSON]:
        """The keys of the session's state that the next round reads."""
        if self.is_items:
            return {}
        return {key: each[key] for _, each in sorted(self.patches.items()) for key in each}

    def merged(self, node_id: str, read: Mapping[str, JSON]) -> dict[str, JSON]:
        """All keys that were set; raises `InputError` if items contradict each other.

        `read` is the session's state that each of the items read.
        """
        merged, writers = dict[str, JSON](), dict[str, int]()
        for number, patch in sorted(self.patches.items()):
            for key, value in patch.items():
                ours: JSON = value
                if self.is_items and key in merged:
                    base = read.get(key, ABSENT)
                    try:
                        ours = cast("JSON", merge_changes(base, merged[key], value))
                    except ValueError as error:
                        raise InputError(
                            f"session.state: items {writers[key]} and {number} of {node_id!r} both "
                            f"change the key {key!r}, and the changes cannot be merged; let the "
                            "items return what they find, and set the state after them"
                        ) from error
                merged[key], writers[key] = ours, number
        return merged


class NodeExecution(Struct):
    """A node that runs: the number of its current attempt, and the model calls of all of them.

    `records` are the final records of the run so far. `state` is the session's state that the
    current attempt reads, `upstream` its sources; both are filled in when first read. `inside` is
    there if the node has an inner graph.
    """

    node_id: str
    records: Mapping[str, Record]
    attempt: int = 0
    started: float = 0.0
    exchanges: list[Exchange] = field(default_factory=list["Exchange"])
    upstream: list[Upstream] | None = None
    state: Mapping[str, JSON] | None = None
    inside: GraphRuns | None = None


def retry_policy(node: Node, graph: Graph) -> Retry:
    """How often, and after what waits, a failed attempt of the node is repeated."""
    retry = node.retry if node.retry is not None else graph.retry
    return retry if isinstance(retry, Retry) else Retry(times=retry or 0)


def retry_wait(retry: Retry, attempt: int, error: Exception) -> float | None:
    """Seconds to wait after attempt number `attempt` failed; None if there is no further one.

    Exponential backoff with a jitter of a quarter, so that many runs do not retry at once. A
    provider's Retry-After is honoured; if that is longer than `max_wait`, the error is final:
    asking earlier would only fail again.
    """
    while isinstance(error, NodeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # of a node in the graph inside this one
    if attempt > retry.times or isinstance(error, _NOT_RETRIED):
        return None
    wait = min(retry.wait * 2.0 ** min(attempt - 1, MAX_DOUBLINGS), retry.max_wait)
    wait *= random.uniform(0.75, 1.25)  # noqa: S311  spreads load, keeps no secret
    if not isinstance(error, ModelError):
        return wait
    if not error.retryable or (error.retry_after or 0.0) > retry.max_wait:
        return None
    return max(wait, error.retry_after or 0.0)


def error_text(error: BaseException) -> str:
    """An error as one line for a record: its text, or its class where it has none."""
    text = " ".join(str(error).split())
    if isinstance(error, _CLEAR_TEXT):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def storable_result(node_id: str, result: Result) -> Result:
    """The result with fields and states as JSON; raises `InputError` for what cannot be stored."""
    if not (result.fields or result.state or result.session_state or result.tasks):
        return result
    if not all(isinstance(text, str) for pair in result.tasks.items() for text in pair):
        raise InputError(f"node {node_id!r}: its tasks must be texts by label")
    return replace(
        result,
        fields=_storable_mapping(node_id, "fields", result.fields) or {},
        state=_storable_mapping(node_id, "state", result.state),
        session_state=_storable_mapping(node_id, "session_state", result.session_state),
    )


def storable(node_id: str, name: str, value: object) -> JSON:
    """A value as JSON; raises `InputError` that names the node and what cannot be stored."""
    if value is None or isinstance(value, str):
        return value
    return to_json(value, f"node {node_id!r}: its {name}, a {type(value).__name__},")


def _storable_mapping(node_id: str, name: str, value: object) -> dict[str, JSON] | None:
    stored = storable(node_id, name, value)
    if stored is None or isinstance(stored, dict):
        return stored
    raise InputError(f"node {node_id!r}: its {name}, a {type(value).__name__}, must be a mapping")
