"""One run of pytest, as far as prompts go: the ledger of snapshots, the coverage, the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from ..errors import InputError
from ..prompts.branch_coverage import CURRENT_COVERAGE, Branch, Coverage
from ..run.dry_run.rendering import Rendering
from .coverage import Covered, count_unseen
from .ledger import HOW, Ledger
from .snapshot import slug, snapshot
from .suite import folder_of


class PromptRun:
    """What is gathered in one process, and what all processes come to."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.ledger = Ledger(
            config.rootpath, is_updating=bool(config.getoption("--prompts-update"))
        )
        self.is_sure = True
        self._unused: list[Path] = []
        self._limit: float | None = config.getoption("--prompts-cov-fail-under")
        is_measured = config.getoption("--prompts-cov") or self._limit is not None
        self._coverage = Coverage() if is_measured else None
        self._token = CURRENT_COVERAGE.set(self._coverage)

    def close(self) -> None:
        """Measure no more."""
        CURRENT_COVERAGE.reset(self._token)

    def fixture(self, request: pytest.FixtureRequest) -> _PromptSnapshot:
        """The `prompt_snapshot` of one test."""
        return _PromptSnapshot(self.ledger, request.path, request.node.nodeid.partition("::")[2])

    def modules(self, modules: Iterable[Path], *, left_out: Iterable[Path]) -> None:
        """Note test modules that have snapshots, and of which not every test came to its end."""
        for module in modules:
            self.ledger.named.setdefault(str(folder_of(module)), set())
        self.ledger.unsure.update(str(folder_of(module)) for module in left_out)

    def plain(self) -> dict[str, Any]:
        """What a worker hands over at its end."""
        counts = self._measured().counts.items() if self._coverage else ()
        return {"ledger": self.ledger.plain(), "counts": [[*each, n] for each, n in counts]}

    def take(self, plain: dict[str, Any] | None) -> None:
        """Take in what a worker hands over; nothing, if it died."""
        if plain is None:
            self.is_sure = False
            return
        self.ledger.take(plain["ledger"])
        if self._coverage is not None:
            for template, line, column, what, count in cast("Sequence[Any]", plain["counts"]):
                self._coverage.add(Branch(template, line, column, what), count)

    def conclude(self) -> bool:
        """Delete or list what is unused; whether all holds."""
        if self.is_sure:
            self._unused = self.ledger.unused()
        if self.ledger.is_updating:
            self.ledger.delete(self._unused)
            self._unused = []
        return not self._unused and not self._is_too_little()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what became of the snapshots, and what was not rendered."""
        ledger, out = self.ledger, terminalreporter
        for line in ledger.told():
            out.write_line(line)
        for file in self._unused:
            out.write_line(f"prompt snapshot unused: {ledger.shown(file)}", red=True)
        if self._unused:
            out.write_line(f"delete what is unused with: {HOW}")
        if self._coverage is None:
            return
        out.write_sep("-", "branches of prompts")
        for line in self._covered().text().splitlines():
            out.write_line(line)
        if self._is_too_little():
            told = f"{self._covered().percent:.1f} % of the branches were rendered"
            out.write_line(f"{told}, less than the {self._limit:g} % wanted", red=True)

    def _measured(self) -> Coverage:
        coverage = self._coverage or Coverage()
        count_unseen(coverage, self._config.rootpath)
        return coverage

    def _covered(self) -> Covered:
        return Covered.of(self._measured(), self._config.rootpath)

    def _is_too_little(self) -> bool:
        return self._limit is not None and self._covered().percent < self._limit


class _PromptSnapshot:
    """The fixture: implements `engine.testing.plugin.PromptSnapshot`."""

    def __init__(self, ledger: Ledger, module: Path, test: str) -> None:
        self._ledger = ledger
        self._module = module
        self._test = test
        self._count = 0

    def __call__(self, rendering: Rendering, name: str | None = None) -> None:
        __tracebackhide__ = True
        if not isinstance(rendering, Rendering):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            raise InputError(
                f"prompt_snapshot takes what graph.render() gives, not {type(rendering).__name__}"
            )
        self._count += 1
        more = name or (str(self._count) if self._count > 1 else None)
        case = self._test if more is None else f"{self._test} {more}"
        file = folder_of(self._module) / f"{slug(case)}.md"
        self._ledger.compare(file, snapshot(rendering, case))
