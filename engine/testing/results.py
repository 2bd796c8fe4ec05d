"""The results of one pytest session: snapshots used and written, coverage, and their report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from ..errors import InputError
from ..prompts.branch_coverage import CURRENT_COVERAGE, Branch, Coverage
from ..run.dry_run.rendering import Rendering
from .coverage_report import CoverageReport, count_unused_templates
from .plugin import test_name
from .snapshot_text import slug, snapshot
from .snapshots import UPDATE_COMMAND, SnapshotTracker, folder_of


class SessionResults:
    """What one process gathered; in the first process, merged with the workers' results.

    Registered as a plug-in, so that it adds its part to the summary in the terminal.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.snapshots = SnapshotTracker(
            config.rootpath, is_updating=bool(config.getoption("--prompts-update"))
        )
        self._is_worker_lost = False
        self._has_ended = False
        self._tests: dict[Path, dict[str, bool]] = {}
        self._unused: list[Path] = []
        self._limit: float | None = config.getoption("--prompts-cov-fail-under")
        is_measured = config.getoption("--prompts-cov") or self._limit is not None
        self._coverage = Coverage() if is_measured else None
        self._token = CURRENT_COVERAGE.set(self._coverage)

    def close(self) -> None:
        """Stop measuring coverage."""
        CURRENT_COVERAGE.reset(self._token)

    def fixture(self, request: pytest.FixtureRequest) -> _PromptSnapshot:
        """The `prompt_snapshot` of one test."""
        return _PromptSnapshot(self.snapshots, request.path, test_name(request.node))

    def add_tests(self, files: Mapping[Path, Mapping[str, bool]]) -> None:
        """Add the tests of files with snapshots, with whether each ran to its end."""
        for file, tests in files.items():
            known = self._tests.setdefault(file, {})
            for name, has_ended in tests.items():
                known[name] = known.get(name, False) or has_ended

    def to_json(self) -> dict[str, Any]:
        """What a worker of pytest-xdist sends at its end."""
        counts = self._measured().counts.items() if self._coverage else ()
        return {
            "snapshots": self.snapshots.to_json(),
            "tests": {str(file): tests for file, tests in self._tests.items()},
            "counts": [[*each, n] for each, n in counts],
        }

    def merge(self, other: dict[str, Any] | None) -> None:
        """Add what a worker sent; None if it died."""
        if other is None:
            self._is_worker_lost = True
            return
        self.snapshots.merge(other["snapshots"])
        self.add_tests({Path(file): tests for file, tests in other["tests"].items()})
        if self._coverage is not None:
            for template, line, column, what, count in cast("Sequence[Any]", other["counts"]):
                self._coverage.add(Branch(template, line, column, what), count)

    def finish(self, *, is_part: bool) -> bool:
        """Find unused snapshots, when updating delete them; returns whether all is well.

        With `is_part` not all tests of a file may have been collected. Of a file whose tests did
        not all run to their end no snapshot is unused; if none did, none is.
        """
        self._has_ended = True
        for file, tests in self._tests.items():
            self.snapshots.used.setdefault(str(folder_of(file)), set())
            if is_part or not all(tests.values()):
                self.snapshots.incomplete.add(str(folder_of(file)))
        has_run = any(ended for tests in self._tests.values() for ended in tests.values())
        if has_run and not self._is_worker_lost:
            self._unused = self.snapshots.unused()
        if self.snapshots.is_updating:
            self.snapshots.delete(self._unused)
            self._unused = []
        return not self._unused and not self._is_below_limit()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Report updated and unused snapshots, and the coverage of templates."""
        out = terminalreporter
        for line in self.snapshots.report():
            out.write_line(line)
        for file in self._unused:
            out.write_line(f"prompt snapshot unused: {self.snapshots.display(file)}", red=True)
        if self._unused:
            out.write_line(f"delete unused snapshots with: {UPDATE_COMMAND}")
        if self._coverage is None or not self._has_ended:
            return
        report = self._report()
        out.write_sep("-", "branches of prompts")
        for line in report.text().splitlines():
            out.write_line(line)
        if self._is_below_limit():
            share = f"{report.percent:.1f} % of the branches were rendered"
            out.write_line(f"{share}, less than the {self._limit:g} % wanted", red=True)

    def _measured(self) -> Coverage:
        coverage = self._coverage or Coverage()
        count_unused_templates(coverage, self._config.rootpath)
        return coverage

    def _report(self) -> CoverageReport:
        return CoverageReport.of(self._measured(), self._config.rootpath)

    def _is_below_limit(self) -> bool:
        return self._limit is not None and self._report().percent < self._limit


class _PromptSnapshot:
    """The fixture of one test: implements `engine.testing.plugin.PromptSnapshot`."""

    def __init__(self, snapshots: SnapshotTracker, module: Path, test: str) -> None:
        self._snapshots = snapshots
        self._module = module
        self._test = test
        self._count = 0

    def __call__(self, rendering: Rendering, name: str | None = None) -> None:
        __tracebackhide__ = True
        if not isinstance(rendering, Rendering):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            raise InputError(
                "prompt_snapshot takes the result of graph.render(), not "
                f"{type(rendering).__name__}"
            )
        self._count += 1
        suffix = name or (str(self._count) if self._count > 1 else None)
        case = self._test if suffix is None else f"{self._test} {suffix}"
        file = folder_of(self._module) / f"{slug(case)}.md"
        self._snapshots.compare(file, snapshot(rendering, case))
