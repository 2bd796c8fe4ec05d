"""Only closed schemas go out as strict."""

from __future__ import annotations

import pytest

from teamgraph import JSON
from teamgraph.engine.models.litellm import is_strict

CLOSED: dict[str, JSON] = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def test_a_closed_schema_is_strict() -> None:
    assert is_strict(CLOSED)


def test_a_schema_without_objects_is_strict() -> None:
    assert is_strict({"type": "array", "items": {"enum": ["a", 1]}})


@pytest.mark.parametrize(
    "change",
    [{"additionalProperties": True}, {"required": []}, {"properties": {"b": CLOSED}}],
)
def test_an_open_schema_is_not_strict(change: dict[str, JSON]) -> None:
    assert not is_strict(CLOSED | change)


def test_an_open_schema_deep_inside_counts() -> None:
    assert not is_strict({"anyOf": [CLOSED, {"type": "object"}]})
