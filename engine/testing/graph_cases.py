"""The cases of one graph in a project: whether they pass, and which branches none renders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from ..errors import DefinitionError, TeamgraphError
from ..files import files_in
from ..graph.yaml.reader import read_yaml
from ..prompts.branch_coverage import CURRENT_COVERAGE, Branch, Coverage
from .cases import load_cases, mismatches
from .coverage_report import CoverageReport
from .snapshots import SUFFIX, SnapshotTracker


class CheckedCase(Struct, frozen=True):
    """A case: its place, its name, and what is wrong with it.

    `snapshot` is the file of its snapshot, None if it has none, and `texts` are the snapshot and
    the prompt where they differ, which `wrong` does not say again.
    """

    place: str
    name: str
    wrong: str = ""
    snapshot: str | None = None
    texts: tuple[str, str] | None = None

    @property
    def passes(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong and self.texts is None


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
        place, wrong = f"{snapshots.display(file)}:{case.line}", list[str]()
        stored = snapshots.display(case.snapshot) if case.snapshot is not None else None
        texts: tuple[str, str] | None = None
        try:
            for each in mismatches(case, snapshots):
                texts = each.texts or texts
                wrong += [str(each)] if each.texts is None else []
        except TeamgraphError as error:
            wrong.append(str(error))
        found.append(CheckedCase(place, case.name, "\n".join(wrong), stored, texts))
    return found
