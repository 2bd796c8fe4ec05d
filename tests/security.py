"""Pytest plug-in: a run of all tests fails if a test that SECURITY.md names did not pass.

Such a test may be skipped, renamed or removed by somebody who does not know the page. Selections
(`-k`, `--lf`, single files) are not judged.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

NAMED = re.compile(r"`(tests/[\w/]+\.py::\w+)`")
SELECTIONS = ("keyword", "markexpr", "deselect", "lf", "ignore", "ignore_glob", "collectonly")


def named_tests(page: str) -> list[str]:
    """The tests that the page names, as `file::name`."""
    return NAMED.findall(page)


class PromisedTests:
    """Gathers how each test ended, in the process that reports."""

    def __init__(self) -> None:
        self._outcomes: defaultdict[str, set[str]] = defaultdict(set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test, or one of its parameter sets, ended."""
        if report.when == "call" or not report.passed:
            file, *_, name = report.nodeid.partition("[")[0].split("::")
            self._outcomes[f"{file}::{name}"].add(report.outcome)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the tests that are missing."""
        for text in self._problems(terminalreporter.config):
            terminalreporter.line(text, red=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run if there is one."""
        if session.exitstatus == pytest.ExitCode.OK and any(self._problems(session.config)):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _problems(self, config: pytest.Config) -> Iterator[str]:
        is_all = config.args_source is pytest.Config.ArgsSource.TESTPATHS
        if not is_all or any(config.getoption(name, default=None) for name in SELECTIONS):
            return
        page = (config.rootpath / "SECURITY.md").read_text(encoding="utf-8")
        for test in named_tests(page):
            if "passed" not in self._outcomes[test]:
                ended = " and ".join(sorted(self._outcomes[test])) or "not run"
                yield f"SECURITY.md names {test}, which was {ended}"


def pytest_configure(config: pytest.Config) -> None:
    """Watch, except in the workers of pytest-xdist, which see only their own tests."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(PromisedTests(), "promised-tests")
