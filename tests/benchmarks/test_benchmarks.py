"""Each table can be measured, and docs/benchmarks.md shows its rows, units and bars.

`make distributed` measures that of workers, which takes half a minute.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .__main__ import TABLES

PAGE = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
SHOWN = PAGE.partition("```text\n")[2].partition("```")[0]
COUNTS = ("bytes", "modules", "frames")
"""Units of rows that are the same on every machine, however busy."""
ROW = re.compile(r"  (.+?) {2,}[\d.]+ (.+?)(?: +bar ([\d.]+).*)?")


def without_numbers(what: str) -> str:
    """A row's name as it is whatever was measured how often: short tables do less."""
    return re.sub(r"\d+", "N", what)


def shown_rows(name: str) -> list[tuple[str, str, float | None]]:
    """What, unit and bar of the rows of a table on the page."""
    (table,) = re.findall(rf"^{name}\n((?:  .+\n)+)", SHOWN, re.MULTILINE)
    found = [ROW.fullmatch(line) for line in table.splitlines()]
    rows = [row.groups() for row in found if row is not None]
    assert len(rows) == len(found)
    return [(without_numbers(what), unit, float(bar) if bar else None) for what, unit, bar in rows]


@pytest.mark.parametrize("name", [name for name in TABLES if name != "distributed"])
def test_every_table_can_still_be_measured_and_is_the_one_that_is_shown(name: str) -> None:
    rows = list(TABLES[name](short=True))
    assert all(row.number > 0 or row.unit in ("objects", "descriptors") for row in rows)
    assert all(map(str, rows))
    assert [row for row in rows if row.unit in COUNTS and row.bar and row.number > row.bar] == []
    shown = shown_rows(name)
    assert [(without_numbers(row.what), row.unit) for row in rows] == [row[:2] for row in shown]
    for row, (_, _, bar) in zip(rows, shown, strict=True):
        assert row.bar in (bar, None)  # short tables have fewer bars
