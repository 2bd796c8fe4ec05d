"""What every kind of node has of its root."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from teamgraph.engine.graph.node import recalled, summary_again
from teamgraph.errors import DefinitionError, InputError
from teamgraph.kinds import Context, Node
from teamgraph.nodes import Member

NOWHERE = cast("Context", None)


class Silent(Node):
    """A kind that forgot to do something."""


def test_a_kind_that_does_nothing_says_so() -> None:
    with pytest.raises(InputError, match="the kind 'silent' has no run method"):
        asyncio.run(Silent().run(NOWHERE))


def test_what_a_record_has_is_the_output_unless_a_kind_recalls_it() -> None:
    assert asyncio.run(recalled(Silent(), NOWHERE, {"a": 1})) == {"a": 1}
    assert summary_again(Silent(), "text", {}) is None


@pytest.mark.parametrize("params", [{"a": float("inf")}, {"a": [1, {"b": [float("nan")]}]}])
def test_constants_are_finite(params: dict[str, float]) -> None:
    with pytest.raises(DefinitionError, match="must be a finite number, not") as caught:
        Member(params=params)
    assert caught.value.problems[0].path == ("params", "a")


def test_constants_are_kept_as_they_are() -> None:
    params = {"a": [1, 2.5, None, True, {"b": "c"}], "d": {}}
    assert Member(params=params).params == params  # type: ignore[arg-type]  # JSON all the same
