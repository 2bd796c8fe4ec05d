"""The cases in this folder render every branch of the templates that are shipped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from teamgraph import Graph, Runner, ScriptedModel
from teamgraph.engine.prompts.branch_coverage import CURRENT_COVERAGE, Coverage
from teamgraph.engine.prompts.library import Prompts
from teamgraph.engine.testing.cases import CaseFile, PromptCase
from teamgraph.engine.testing.coverage_report import CoverageReport, count_unused_templates
from teamgraph.engine.testing.snapshots import SUFFIX
from teamgraph.engine.tools.context import CallOutcome, CallStatus, ResultPart
from teamgraph.nodes import Member

ROOT = Path(__file__).parents[2]
ENOUGH = 90


def cases() -> list[PromptCase]:
    files = sorted(Path(__file__).parent.glob(f"*{SUFFIX}"))
    return [case for file in files for case in CaseFile.load(file).cases]


def ask_with_what_is_told_on_the_way() -> None:
    """What no dry run has: a repair, an earlier task, all that can become of a tool call."""
    graph = Graph(name="g", model="m", nodes={"it": Member(returns="int")})
    Runner(graph, model=ScriptedModel(["many", "3"])).run("How many?")
    graph.prompts.render("past_task.jinja", {"message": "Hello", "task": "Greet"})
    for status in get_args(CallStatus):
        further: list[dict[str, Any]] = [
            {},
            {"reason": "no", "meant": "pay"},
            {"tools": ("pay",)},
            {"tools": ("pay",) * 13},
            {"parts": (ResultPart("text", "paid"), ResultPart("image"))},
        ]
        for more in further:
            outcome = CallOutcome("pay", status, **more)
            (told,) = graph.prompts.render("tool_result.jinja", {"call": outcome})
            assert told.content or status == "parts"  # of nothing


@pytest.mark.parametrize(("named", "enough"), [("auto ", ENOUGH), ("", 100)])
def test_enough_branches_are_rendered_by_cases(named: str, enough: int) -> None:
    coverage = Coverage()
    token = CURRENT_COVERAGE.set(coverage)
    for case in cases():
        if case.name.startswith(named):
            case.render()
    ask_with_what_is_told_on_the_way()
    for shipped in ("prompts", "graphs"):
        count_unused_templates(coverage, ROOT / shipped)
    CURRENT_COVERAGE.reset(token)
    covered = CoverageReport.of(coverage, ROOT)
    assert covered.percent >= enough, covered.text()
    assert {Path(one.template).name for one in covered.counts} >= {
        path.name for path in (*ROOT.glob("prompts/*.jinja"), *ROOT.glob("graphs/prompts/*.jinja"))
    }


def test_every_shipped_graph_has_a_case_file() -> None:
    shipped = {path.stem for path in (ROOT / "graphs").glob("*.yaml")}
    assert shipped <= {path.name.removesuffix(SUFFIX) for path in Path(__file__).parent.glob("*")}


def test_no_mark_of_data_looks_like_the_form_of_an_answer() -> None:
    """What a model sees in every prompt it imitates, and its answer reaches the user as it is."""
    templates = [*ROOT.glob("prompts/*.jinja"), *ROOT.glob("graphs/prompts/*.jinja")]
    texts = "".join(path.read_text() for path in templates)
    tags = {*re.findall(r'fence\("([^"]+)"', texts)}
    assert tags == {
        "summary",
        "task",
        "handover",
        "finding",
        "conversation",
        "earlier-message",
        "earlier-answer",
    }


def test_what_a_person_is_shown_has_no_marks_of_data() -> None:
    shown = (ROOT / "prompts" / "human.jinja").read_text()
    assert "fence" not in shown
    assert "include" not in shown  # of what is written for models


@pytest.mark.parametrize(
    "path", sorted((ROOT / "prompts").glob("*.jinja")), ids=lambda path: path.name
)
def test_a_shipped_template_is_valid_so_that_no_graph_checks_it_again(path: Path) -> None:
    shipped = {each.name: each.read_text(encoding="utf-8") for each in path.parent.glob("*.jinja")}
    prompts = Prompts(texts=shipped)
    assert not prompts.is_builtin(path.name)  # as a user's own it is checked whole
    assert prompts.problems(path.name) == []
    assert prompts.type_problems(path.name, {}) == []
