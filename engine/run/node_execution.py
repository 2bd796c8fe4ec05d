"""One node in one run: its attempts, when a failed one is repeated, and what a record may hold."""

from __future__ import annotations

import random
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic_core import PydanticSerializationError

from ..errors import (
    BudgetExceeded,
    DefinitionError,
    InputError,
    ModelError,
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
from ..values import jsonable

MAX_DOUBLINGS = 60
"""More would be longer than any `max_wait`, and at some point too large for a float."""
_NOT_RETRIED = (PromptError, InputError, DefinitionError, BudgetExceeded, TypeError, NameError)
"""Errors that another attempt would only repeat."""
_CLEAR_TEXT = (ModelError, PromptError, InputError, RunError, TimeoutError)
"""Errors whose text says enough without the name of their class."""


class NodeExecution(Struct):
    """A node that runs: the number of its current attempt, and the model calls of all of them.

    `records` are the final records of the run so far. `upstream` is filled in when first read.
    """

    node_id: str
    records: Mapping[str, Record]
    attempt: int = 0
    started: float = 0.0
    exchanges: list[Exchange] = field(default_factory=list["Exchange"])
    upstream: list[Upstream] | None = None


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
    if not (result.fields or result.state or result.session_state):
        return result
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
    try:
        return jsonable(value, by_alias=False)
    except (PydanticSerializationError, ValueError) as error:
        raise InputError(
            f"node {node_id!r}: its {name}, a {type(value).__name__}, cannot be stored as JSON; "
            "use text, numbers, lists, mappings, or a pydantic model"
        ) from error


def _storable_mapping(node_id: str, name: str, value: object) -> dict[str, JSON] | None:
    stored = storable(node_id, name, value)
    if stored is None or isinstance(stored, dict):
        return stored
    raise InputError(f"node {node_id!r}: its {name}, a {type(value).__name__}, must be a mapping")
