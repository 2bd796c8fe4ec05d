"""The cases in this folder render every branch of the templates that are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from teamgraph.engine.prompts.branch_coverage import CURRENT_COVERAGE, Coverage
from teamgraph.engine.testing.coverage import Covered, count_unseen
from teamgraph.engine.testing.suite import SUFFIX, Case, Suite

ROOT = Path(__file__).parents[2]
ENOUGH = 90


def cases() -> list[Case]:
    files = sorted(Path(__file__).parent.glob(f"*{SUFFIX}"))
    return [case for file in files for case in Suite.read(file).cases]


@pytest.mark.parametrize(("named", "enough"), [("auto ", ENOUGH), ("", 100)])
def test_enough_branches_are_rendered_by_cases(named: str, enough: int) -> None:
    coverage = Coverage()
    token = CURRENT_COVERAGE.set(coverage)
    for case in cases():
        if case.name.startswith(named):
            case.render()
    count_unseen(coverage, ROOT)
    CURRENT_COVERAGE.reset(token)
    covered = Covered.of(coverage, ROOT)
    assert covered.percent >= enough, covered.text()
    assert {Path(one.template).name for one in covered.counts} >= {
        path.name for path in (*ROOT.glob("prompts/*.jinja"), *ROOT.glob("graphs/prompts/*.jinja"))
    }


def test_every_shipped_graph_has_a_case_file() -> None:
    shipped = {path.stem for path in (ROOT / "graphs").glob("*.yaml")}
    assert shipped <= {path.name.removesuffix(SUFFIX) for path in Path(__file__).parent.glob("*")}
