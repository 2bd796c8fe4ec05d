"""The session's state as tools read and set it."""

from __future__ import annotations

from typing import Any

import pytest

from teamgraph.kinds import SessionState


def test_what_is_set_is_read_back_and_counts_as_changed() -> None:
    before: dict[str, Any] = {"a": 1, "b": [1]}
    state = SessionState(before)
    state["a"] = 2
    state["c"] = 3
    assert dict(state) == {"a": 2, "b": [1], "c": 3}
    assert len(state) == 3
    assert state.changed() == {"a": 2, "c": 3}
    assert before == {"a": 1, "b": [1]}


def test_what_changed_inside_a_value_counts_too() -> None:
    before: dict[str, Any] = {"cart": ["tea"], "facts": {"age": 3}, "other": [1]}
    state: Any = SessionState(before)
    state["cart"].append("bread")
    state["facts"]["age"] += 1
    assert state["other"] == [1]
    assert state["cart"] == ["tea", "bread"]
    assert state.changed() == {"cart": ["tea", "bread"], "facts": {"age": 4}}
    assert before["cart"] == ["tea"]


def test_nothing_changed_is_nothing() -> None:
    state = SessionState({"a": [1], "n": 1})
    assert (state["a"], state["n"]) == ([1], 1)
    assert "b" not in state
    assert state.changed() == {}


def test_a_key_cannot_be_taken_away() -> None:
    state = SessionState({"a": 1})
    with pytest.raises(TypeError, match="a session's state cannot be deleted; set it to None"):
        del state["a"]
