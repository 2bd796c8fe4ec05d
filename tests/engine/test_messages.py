"""Values that are kept: when two of them are the same."""

from __future__ import annotations

from teamgraph import Summary, Turn, Usage


def test_values_are_equal_or_not_but_never_both() -> None:
    said = Summary("They talked.", covers=3, run_id="r1")
    for one, other, is_equal in (
        (Usage(calls=1), Usage(calls=1), True),
        (Usage(calls=1), Usage(calls=2), False),
        (said, Summary("They talked.", covers=3, run_id="r2"), True),
        (said, said, True),
        (said, Turn("r1", "hello"), False),
    ):
        assert (one == other) is is_equal
        assert (one != other) is not is_equal
        assert is_equal is False or hash(one) == hash(other)
