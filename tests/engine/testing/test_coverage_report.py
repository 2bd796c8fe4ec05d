"""Which templates count, and what a measurement comes to."""

from __future__ import annotations

from pathlib import Path

from teamgraph.engine.prompts.branch_coverage import Branch, Coverage
from teamgraph.engine.prompts.sources import BUILTIN
from teamgraph.engine.testing.coverage_report import CoverageReport, count_unused_templates


def test_only_templates_of_the_project_count(tmp_path: Path) -> None:
    coverage = Coverage()
    mine = str(tmp_path / "prompts" / "mine.jinja")
    for template in (mine, "/elsewhere/x.jinja", str(BUILTIN / "member.jinja"), "member.inline#1a"):
        coverage.add(Branch(template, 1, 1, "template rendered"))
    assert [one.template for one in CoverageReport.of(coverage, tmp_path).missing] == [
        mine,
        "member.inline#1a",
    ]
    assert len(CoverageReport.of(coverage, BUILTIN.parent).counts) == 2


def test_folders_outside_the_project_are_not_searched(tmp_path: Path) -> None:
    coverage = Coverage()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x.jinja").write_text("x")
    coverage.folders.add((tmp_path / "theirs",))
    count_unused_templates(coverage, tmp_path / "mine")
    assert not coverage.counts
