"""Our part of `make peers` works, and its table says where a bar is missed."""

from __future__ import annotations

import asyncio
import json

import pytest

from . import work
from .__main__ import LINES, OURS, PEERS, medians, table
from .ours import Ours


@pytest.mark.parametrize("name", work.WORK)
def test_we_do_the_work_that_is_measured(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    work.main(Ours(), [name, "--short"])
    found = json.loads(capsys.readouterr().out)
    assert all(number > 0 for number in found.values())
    shown = {line.found for line in LINES if line.work == name}
    assert shown - set(found) <= {"turn 100", "turn 1000"}  # of a whole session only


def test_work_that_was_not_done_is_an_error() -> None:
    class Lazy(Ours):
        async def run_fan(self, graph: object) -> int:
            return 0

    with pytest.raises(ValueError, match="0 is not 5: the work was not done"):
        asyncio.run(work.measure_fan(Lazy(), work.SHORT))


def test_the_table_has_the_ratio_to_the_best_peer_and_says_what_misses_its_bar() -> None:
    agno, burr, langgraph = PEERS
    found = {agno: {"fan": 4.0}, burr: {"fan": 5.0}, langgraph: {}, OURS: {"fan": 6.0}}
    (line,) = table("fan", found)
    assert line.split()[-8:] == ["4.00", "5.00", "-", "6.00", "1.50", "bar", "1", "OVER"]
    (line,) = table("fan", {**found, OURS: {"fan": 2.0}})
    assert line.endswith("0.50  bar 1")
    alone = {name: dict[str, float]() for name in PEERS} | {OURS: {"turn 1000": 1.0}}
    (line,) = table("session", alone)
    assert line.split()[-4:] == ["1.00", "-", "bar", "1"]
    assert medians([{"a": 1.0, "b": 2.0}, {"a": 3.0}]) == {"a": 2.0}
