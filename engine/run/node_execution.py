"""One node in one run: its attempts, when a failed one is repeated, and what a record may hold."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Coroutine, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import time
from traceback import walk_tb
from types import coroutine
from typing import TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from ..errors import (
    BudgetExceeded,
    DefinitionError,
    Expired,
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
from ..graph.yaml.reader import display_path
from ..messages import JSON, NO_USAGE, Message
from ..node_path import NodePath
from ..records import Exchange, Fault, Question, Record
from ..values import NO_VALUE, merge_changes, to_json

T = TypeVar("T")
DEFAULT_TIMEOUT = 600.0
"""Seconds that an attempt may take if neither its node nor the graph has a `timeout`."""
MAX_DOUBLINGS = 60
"""More would be longer than any `max_wait`, and at some point too large for a float."""
_NOT_RETRIED = (
    *(PromptError, InputError, DefinitionError, NoAnswer, BudgetExceeded, Expired),
    *(TypeError, NameError),
)
"""Errors that another attempt would only repeat."""
_OURS = str(Path(__file__).parents[2]) + os.sep
_STANDARD_LIBRARY = str(Path(os.__file__).parent) + os.sep
_CLEAR_TEXT = (ModelError, PromptError, InputError, RunError, TimeoutError)
"""Errors whose text says enough without the name of their class."""


class Timeouts:
    """Cancels attempts that take too long: one timer of the event loop for all attempts of a run.

    A timer for each attempt would cost a tenth of what a small node costs.
    """

    __slots__ = ("_running", "_timer", "default", "loop")

    def __init__(self, default: float = DEFAULT_TIMEOUT) -> None:
        self.default = default
        self.loop = asyncio.get_running_loop()
        self._running: dict[TimeLimit, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, limit: TimeLimit) -> None:
        """Cancel the limit's task at its deadline, unless it is removed before."""
        self._running[limit] = None
        if self._timer is None or limit.deadline < self._timer.when():
            self._call_at(limit.deadline)

    def remove(self, limit: TimeLimit) -> None:
        """The attempt has ended. The timer stays: the next attempt will need one too."""
        self._running.pop(limit, None)

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _call_at(self, deadline: float) -> None:
        self.close()
        self._timer = self.loop.call_at(deadline, self._check)

    def _check(self) -> None:
        """Cancel what has taken too long, and look again when the next attempt will have."""
        self._timer, now = None, self.loop.time()
        for limit in [each for each in self._running if each.deadline <= now]:
            del self._running[limit]
            limit.is_expired = True
            limit.task.cancel()
        if self._running:
            self._call_at(min(limit.deadline for limit in self._running))


class TimeLimit:
    """A `with` block of the current task; raises `TimeoutError` if it takes longer than allowed.

    `seconds` None is the default time.
    """

    __slots__ = ("_cancelling", "_seconds", "_timeouts", "deadline", "is_expired", "task")

    def __init__(self, timeouts: Timeouts, seconds: float | None) -> None:
        self.is_expired = False
        self.task = cast("asyncio.Task[object]", asyncio.current_task())
        self.deadline = timeouts.loop.time() + (seconds or timeouts.default)
        self._cancelling = self.task.cancelling()
        self._seconds = seconds
        self._timeouts = timeouts

    def __enter__(self) -> None:
        self._timeouts.add(self)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._timeouts.remove(self)
        # More cancellations than that of the timer: it was cancelled from outside as well.
        if not self.is_expired or self.task.uncancel() > self._cancelling:
            return
        if isinstance(error, asyncio.CancelledError):
            hint = ""
            if self._seconds is None:
                hint = ", the default; give the node or the graph a `timeout`"
            seconds = self._seconds or self._timeouts.default
            raise TimeoutError(f"no answer within {seconds:g} seconds{hint}") from error


@coroutine
def within_limit(
    work: Coroutine[object, object, T], timeouts: Timeouts, seconds: float | None
) -> Generator[object, object, T]:
    """Await `work`; raises `TimeoutError` if it takes longer than `seconds`, None for the default.

    The limit begins when the work first waits: one that never does needs none, and is most of what
    a small node costs.
    """
    result: T
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        result = done.value
        return result
    with TimeLimit(timeouts, seconds):
        while True:  # what `yield from` does, for a coroutine that has begun
            try:
                came = yield waits_for
            except BaseException as error:  # noqa: BLE001  a cancellation, which is the work's
                resume = partial(work.throw, error)
            else:
                resume = partial(work.send, came)
            try:
                waits_for = resume()
            except StopIteration as done:
                result = done.value
                return result


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
    patches: dict[int, dict[str, JSON]] = {}

    @property
    def visited(self) -> dict[int, str]:
        """The nodes that an earlier try has visited, by the number of the visit."""
        return {
            NodePath(step).number or 0: NodePath(path).outermost
            for step, records in self.earlier.items()
            for path, record in records.items()
            if not record.abandoned
        }

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
        merged: dict[str, JSON] = {}
        writers: dict[str, int] = {}
        for number, patch in sorted(self.patches.items()):
            for key, value in patch.items():
                ours: JSON = value
                if self.is_items and key in merged:
                    base = read.get(key, NO_VALUE)
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

    An attempt continues the tool calls of those before it: the first `committed` of `exchanges` are
    stored, and the first `void` are not continued. `calls` counts the tool calls, `questions` are
    those to people, `tool_changes` the keys that tools have set in the session's state, and
    `faults` those of the attempts that failed. The exchanges from `began` on are those of the
    current attempt; `paid` are those that the budget stopped an earlier try after, to be taken
    instead of asking the same again.
    """

    node_id: str
    records: Mapping[str, Record]
    attempt: int = 0
    started: float = 0.0
    exchanges: list[Exchange] = []
    upstream: list[Upstream] | None = None
    state: Mapping[str, JSON] | None = None
    inside: GraphRuns | None = None
    committed: int = 0
    void: int = 0
    calls: int = 0
    questions: list[Question] = []
    tool_changes: dict[str, JSON] = {}
    began: int = 0
    paid: list[Exchange] = []
    faults: tuple[Fault, ...] = ()

    def continue_from(self, before: Record, *, is_unchanged: bool) -> None:
        """Continue what an earlier try of the run has stored of the node."""
        self.calls, self.faults = before.calls, before.faults
        if before.abandoned or not is_unchanged:
            return
        self.exchanges = [each for each in before.exchanges if each.tool_calls]
        self.committed = len(self.exchanges)
        if before.unfinished:
            attempt = before.exchanges[-before.unfinished :]
            self.paid = [each for each in attempt if not each.tool_calls]
        is_failed = before.status == "failed"  # then a question that expired is asked again
        self.questions = [
            each for each in before.questions if not (is_failed and each.has_expired(time()))
        ]
        self.tool_changes = dict(before.session_state or {})

    def begin_attempt(self) -> None:
        """Begin the next attempt; it reads the state anew, unless its tools have set some."""
        self.attempt += 1
        self.inside = None
        self.began = len(self.exchanges)
        if not self.tool_changes:
            self.state = None

    def fail(self, error: str, error_type: str, model: str, wait: float = 0.0) -> None:
        """Note why the current attempt failed; another one follows after `wait` seconds, if any."""
        usages = [each.usage for each in self.exchanges if each.attempt == self.attempt]
        usage = sum(usages, NO_USAGE)
        fault = Fault(self.attempt, error, error_type, model, wait, time(), usage)
        self.faults = (*self.faults, fault)

    def abandon(self) -> None:
        """Continue nothing of this attempt: its tools have read a state that no longer holds."""
        self.void = len(self.exchanges)
        self.tool_changes = {}

    def take_paid(self, ask: int, prompt: str, messages: Sequence[Message]) -> Exchange | None:
        """The exchange of this very request that an earlier try has paid for, if there is one."""
        for each in self.paid:
            if (each.ask, each.prompt, each.messages) == (ask, prompt, messages):
                self.paid.remove(each)
                self.exchanges.append(each)
                return each
        return None

    def rounds(self, ask: int, prompt: str) -> list[int]:
        """Which exchanges with tool calls the request number `ask` of an attempt continues."""
        return [
            position
            for position, each in enumerate(self.exchanges[self.void :], self.void)
            if each.tool_calls and each.ask == ask and each.prompt == prompt
        ]


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
    """An error as one line for a record: its text, or its class where it has none.

    An exception of a user's function or kind has the line of their code that it comes from.
    """
    text, kind = " ".join(str(error).split()), type(error).__name__
    if isinstance(error, _CLEAR_TEXT):
        return text or kind
    line = _user_line(error)
    return (f"{kind}: {text}" if text else kind) + (f" ({line})" if line else "")


def _user_line(error: BaseException) -> str | None:
    """`file:line` of the last frame of an error in neither our code nor a library's.

    If all are in libraries, the first that is not ours: an installed package may be the user's.
    """
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    theirs = [(file, line) for file, line in frames if not file.startswith((_OURS, "<frozen"))]
    own = [each for each in theirs if not _is_library(each[0])]
    if not theirs:
        return None
    file, line = (own or theirs[:1])[-1]
    return f"{file if file.startswith('<') else display_path(file)}:{line}"


def _is_library(file: str) -> bool:
    return file.startswith(_STANDARD_LIBRARY) or "site-packages" in file


def storable_result(node_id: str, result: Result) -> Result:
    """The result with fields and states as JSON; raises `InputError` for what cannot be stored."""
    state, session_state = result.state, result.session_state
    if not (result.fields or result.tasks or state or session_state):
        return result
    if not all(isinstance(text, str) for pair in result.tasks.items() for text in pair):
        raise InputError(f"node {node_id!r}: its tasks must be texts by label")
    return replace(
        result,
        fields=storable_mapping(node_id, "fields", result.fields),
        state=None if state is None else storable_mapping(node_id, "state", state),
        session_state=None
        if session_state is None
        else storable_mapping(node_id, "session_state", session_state),
    )


def storable(node_id: str, name: str, value: object) -> JSON:
    """A value as JSON; raises `InputError` that names the node and what cannot be stored."""
    if value is None or isinstance(value, str):
        return value
    return to_json(value, f"node {node_id!r}: its {name}, a {type(value).__name__},")


def storable_mapping(node_id: str, name: str, value: object) -> dict[str, JSON]:
    """A mapping as JSON; raises `InputError` as `storable` does, and if it is none."""
    stored = storable(node_id, name, value)
    if isinstance(stored, dict):
        return stored
    raise InputError(f"node {node_id!r}: its {name}, a {type(value).__name__}, must be a mapping")
