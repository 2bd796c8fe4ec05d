"""What a node gives back, as it can be kept: JSON and nothing else."""

from __future__ import annotations

from msgspec.structs import replace
from pydantic_core import PydanticSerializationError

from .context import Result
from .errors import InputError
from .jsonable import jsonable
from .messages import JSON


def plain(node_id: str, result: Result) -> Result:
    """The result as it is kept: with nothing in it but JSON."""
    if not (result.fields or result.state or result.session_state):
        return result
    return replace(
        result,
        fields=_mapping(node_id, "fields", result.fields) or {},
        state=_mapping(node_id, "state", result.state),
        session_state=_mapping(node_id, "session_state", result.session_state),
    )


def _mapping(node_id: str, name: str, value: object) -> dict[str, JSON] | None:
    kept = as_json(node_id, name, value)
    if kept is None or isinstance(kept, dict):
        return kept
    raise InputError(f"node {node_id!r}: its {name}, a {type(value).__name__}, must be a mapping")


def as_json(node_id: str, name: str, value: object) -> JSON:
    """A value as JSON; raises `InputError` that names the node and what of it cannot be kept."""
    if value is None or isinstance(value, str):
        return value
    try:
        kept = jsonable(value, by_alias=False)
    except (PydanticSerializationError, ValueError) as error:
        raise InputError(
            f"node {node_id!r}: its {name}, a {type(value).__name__}, cannot be kept as JSON; "
            "use text, numbers, lists, mappings, or a pydantic model"
        ) from error
    return kept
