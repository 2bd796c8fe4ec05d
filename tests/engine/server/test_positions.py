"""Event ids: which finished nodes a client knows, found in what is stored of the run."""

from __future__ import annotations

from itertools import permutations

import pytest

from teamgraph import Record
from teamgraph.engine.server.positions import EventPosition
from teamgraph.errors import InputError


def _records(*ended: tuple[str, float]) -> list[Record]:
    return [Record(node=node, status="done", ended=when) for node, when in ended]


def test_what_was_told_is_found_again_whatever_was_stored_since() -> None:
    """Told in the order of storing, in which two neighbours may have swapped their ends."""
    nodes = "abcd"
    for order in permutations(nodes):
        swaps = sum(order[i] > order[j] for i in range(4) for j in range(i + 1, 4))
        if swaps > 1:
            continue
        stored = _records(*((node, float(nodes.index(node))) for node in nodes))
        position = EventPosition(0, "00000000")
        for count, node in enumerate(order):
            assert position.told(stored) == frozenset(order[:count])
            position = position.with_node(node)
        assert EventPosition.parse(str(position)) == position


def test_a_position_that_fits_nothing_counts_as_nothing_told() -> None:
    position = EventPosition(0, "00000000").with_node("gone").with_node("gone too")
    assert position.told(_records(("a", 1.0), ("b", 2.0), ("c", 3.0))) == frozenset()


@pytest.mark.parametrize("event_id", ["", "7", "1-x-0-0", "1-00000000-0-00000000-", "\u0661-2-3-4"])
def test_another_id_is_refused(event_id: str) -> None:
    with pytest.raises(InputError, match="no id of an event"):
        EventPosition.parse(event_id)
