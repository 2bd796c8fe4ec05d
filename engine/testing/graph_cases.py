"""The cases of one graph in a project: whether they pass, and which branches none renders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from ..errors import DefinitionError, TeamgraphError
from ..files import files_in
from ..graph.yaml.reader import read_yaml
from ..prompts.branch_coverage import CURRENT_COVERAGE, Branch, Coverage
from .cases import check_case, load_cases
from .coverage_report import CoverageReport
from .snapshots import SUFFIX, PromptMismatch, SnapshotTracker


class CheckedCase(Struct, frozen=True):
    """A case: its place, its name, and what is wrong with it, empty if it passes."""

    place: str
    name: str
    wrong: str = ""


class CheckedCases(Struct, frozen=True):
    """The cases of a graph, and the branches of its templates that none of them renders.

    `percent` is the share of branches that are rendered. A case file that cannot be loaded is one
    case without a name.
    """

    cases: Sequence[CheckedCase]
    missing: Sequence[Branch]
    percent: float


def check_cases_of(graph: Path, project: Path) -> CheckedCases:
    """Check all cases about a graph file in the case files of a project, as pytest does.

    Snapshots are compared, never written.
    """
    graph, project = graph.resolve(), project.resolve()
    snapshots, measured = SnapshotTracker(project, is_updating=False), Coverage()
    checked: list[CheckedCase] = []
    token = CURRENT_COVERAGE.set(measured)
    try:
        for file in files_in(project, lambda each: each.name.endswith(SUFFIX)):
            if _is_about(file, graph):
                checked += _checked(file, snapshots)
    finally:
        CURRENT_COVERAGE.reset(token)
    report = CoverageReport.of(measured, project)
    return CheckedCases(checked, report.missing, report.percent)


def _is_about(file: Path, graph: Path) -> bool:
    """Whether a case file is about a graph; one that cannot be read is about none."""
    try:
        named = read_yaml(file).data.get("graph", "")
    except DefinitionError:
        return False
    return (file.parent / str(named)).resolve() == graph


def _checked(file: Path, snapshots: SnapshotTracker) -> Sequence[CheckedCase]:
    try:
        loaded = load_cases(file, snapshots)
    except DefinitionError as error:
        return [CheckedCase(snapshots.display(file), "", str(error))]
    found: list[CheckedCase] = []
    for case in loaded.cases:
        wrong = ""
        try:
            check_case(case, snapshots)
        except (PromptMismatch, TeamgraphError) as error:
            wrong = str(error)
        found.append(CheckedCase(f"{snapshots.display(file)}:{case.line}", case.name, wrong))
    return found
