"""JSON on one line, without spaces: what all files of a store are made of.

Texts that UTF-8 cannot hold (lone surrogates) and NaN survive the way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from pydantic_core import PydanticSerializationError, from_json, to_json

from ..errors import DamagedStore, InputError

Document: TypeAlias = dict[str, Any]


def dump(value: object) -> bytes:
    """Put a value into JSON; raises `InputError` for what JSON cannot hold."""
    try:
        return to_json(value, inf_nan_mode="constants", fallback=_plain)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        return _dump_slowly(value, error)


def parse(data: bytes) -> object:
    """Read what `dump` wrote; raises `DamagedStore` for what is no JSON."""
    try:
        return cast("object", from_json(data))
    except ValueError:
        return _parse_slowly(data)


def parse_document(data: bytes) -> Document:
    """Read a mapping; raises `DamagedStore` for anything else."""
    document = parse(data)
    if not isinstance(document, dict):
        raise DamagedStore("a stored document is no mapping; restore the file from a backup")
    return cast("Document", document)


def parse_key(data: bytes) -> list[Any]:
    """Read a list; the caller knows that it is one."""
    return cast("list[Any]", parse(data))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    if isinstance(value, Sequence):
        return list(cast("Sequence[object]", value))
    raise TypeError(f"a {type(value).__name__} is no JSON")


def _dump_slowly(value: object, reason: Exception) -> bytes:
    """Escape what UTF-8 cannot hold; whatever else is in the way is the caller's mistake."""
    try:
        return json.dumps(value, separators=(",", ":"), default=_plain).encode()
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
