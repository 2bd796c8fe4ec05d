"""When a failed attempt is made again, and how long to wait before."""

from __future__ import annotations

import random

from .errors import (
    BudgetExceeded,
    DefinitionError,
    InputError,
    ModelError,
    NodeError,
    PromptError,
    RunError,
)
from .graph import Graph
from .node import Node
from .policy import Retry

_HOPELESS = (PromptError, InputError, DefinitionError, BudgetExceeded, TypeError, NameError)
"""Errors that the same attempt would only make again."""
_SPEAKING = (ModelError, PromptError, InputError, RunError, TimeoutError)
"""Errors whose text says enough without the name of their class."""
MOST_DOUBLINGS = 60
"""More would be longer than any `max_wait`, and one day too large for a float."""


def retry_of(node: Node, graph: Graph) -> Retry:
    """How often and after what waits the node is attempted again."""
    retry = node.retry if node.retry is not None else graph.retry
    return retry if isinstance(retry, Retry) else Retry(times=retry or 0)


def pause(retry: Retry, attempt: int, error: Exception) -> float | None:
    """Seconds to wait before the attempt after number `attempt`, None if there is to be none.

    The wait doubles each time and varies by a quarter, so that many runs do not come back at
    once. A provider's Retry-After is honoured, and if that is longer than `max_wait`, the error
    is final: asking earlier than asked for would only fail again.
    """
    while isinstance(error, NodeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # of a node in a graph inside this one
    if attempt > retry.times or isinstance(error, _HOPELESS):
        return None
    wait = min(retry.wait * 2.0 ** min(attempt - 1, MOST_DOUBLINGS), retry.max_wait)
    wait *= random.uniform(0.75, 1.25)  # noqa: S311  spreads load, keeps no secret
    if not isinstance(error, ModelError):
        return wait
    if not error.retryable or (error.retry_after or 0.0) > retry.max_wait:
        return None
    return max(wait, error.retry_after or 0.0)


def told(error: BaseException) -> str:
    """An error as one line for a record: its text, or its kind where it has none."""
    text = " ".join(str(error).split())
    if isinstance(error, _SPEAKING):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
