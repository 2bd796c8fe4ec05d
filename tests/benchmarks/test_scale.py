"""docs/scale.md shows what the simulation prints, which reads docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path

from .scale import fullest, hashed, measured, tables

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_page_shows_the_tables_of_the_simulation() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = [block.partition("```")[0].strip("\n") for block in page.split("```text\n")[1:]]
    assert shown == list(tables(measured()))


def test_hashed_names_are_spread_evenly() -> None:
    assert 1 <= fullest([(hashed(f"u{user}"), 1.0) for user in range(10_000)], 10) < 1.1
    assert fullest([(hashed("one"), 1.0)], 10) == 10
