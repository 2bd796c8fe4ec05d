"""Compact JSON, one line without spaces: the format of all files of a store.

Texts that UTF-8 cannot encode (lone surrogates) and NaN survive the round trip.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from pydantic_core import PydanticSerializationError, from_json, to_json

from ..errors import DamagedStore, InputError

Document: TypeAlias = dict[str, Any]


def dump_json(value: object) -> bytes:
    """Encode a value; raises `InputError` for what JSON cannot represent."""
    try:
        return to_json(value, inf_nan_mode="constants", fallback=_as_builtin)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        return _dump_slowly(value, error)


def parse_json(data: bytes) -> object:
    """Decode what `dump_json` wrote; raises `DamagedStore` for invalid JSON."""
    try:
        return cast("object", from_json(data))
    except ValueError:
        return _parse_slowly(data)


def parse_document(data: bytes) -> Document:
    """Decode a mapping; raises `DamagedStore` for anything else."""
    document = parse_json(data)
    if not isinstance(document, dict):
        raise DamagedStore("a stored document is not a mapping; restore the file from a backup")
    return cast("Document", document)


def parse_key(data: bytes) -> list[Any]:
    """Decode a list; the caller knows that it is one."""
    return cast("list[Any]", parse_json(data))


def _as_builtin(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    if isinstance(value, Sequence):
        return list(cast("Sequence[object]", value))
    raise TypeError(f"a {type(value).__name__} is not JSON")


def _dump_slowly(value: object, reason: Exception) -> bytes:
    """Encode with escapes what UTF-8 cannot encode; raises `InputError` for anything else."""
    try:
        return json.dumps(value, separators=(",", ":"), default=_as_builtin).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"a value cannot be stored: {error}; use text, numbers, lists and mappings"
        ) from reason


def _parse_slowly(data: bytes) -> object:
    try:
        return cast("object", json.loads(data))
    except (ValueError, RecursionError) as error:
        raise DamagedStore(
            f"a stored document is not valid JSON: {error}; restore the file from a backup"
        ) from error
