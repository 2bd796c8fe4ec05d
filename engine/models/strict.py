"""Whether a JSON Schema may be sent as `strict`, so that the provider itself holds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.messages import JSON


def is_strict(schema: Mapping[str, JSON]) -> bool:
    """Whether every object in `schema` requires all its properties and allows no others."""
    return all(_is_closed(one) for one in _objects(dict(schema)))


def _objects(value: JSON) -> list[dict[str, JSON]]:
    """All schemas of objects in `value`, at any depth."""
    if isinstance(value, list):
        return [one for part in value for one in _objects(part)]
    if not isinstance(value, dict):
        return []
    inner = [one for part in value.values() for one in _objects(part)]
    return [value, *inner] if value.get("type") == "object" else inner


def _is_closed(schema: dict[str, JSON]) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return (
        schema.get("additionalProperties") is False
        and isinstance(properties, dict)
        and isinstance(required, list)
        and list(properties) == required
    )
