"""The pytest plug-in: options, case files, the fixture `prompt_snapshot`, coverage of templates.

Every pytest that has teamgraph installed loads this module. It imports nothing of the engine
before there is a case to collect or a snapshot to compare.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from ..run.dry_run.rendering import Rendering
    from .cases import PromptCase
    from .results import SessionResults

UPDATE = "--prompts-update"
RESULTS = "teamgraph-prompts"
MODULES = pytest.StashKey[set[Path]]()
"""The test modules that have snapshots."""
INCOMPLETE = pytest.StashKey[set[Path]]()
"""The files of which a test was not run, or did not pass."""

pytest.register_assert_rewrite("teamgraph.engine.testing.conformance")


class _Worker(Protocol):
    config: pytest.Config


class PromptSnapshot(Protocol):
    """Compares a rendering with the test's snapshot; `name` tells several of one test apart."""

    def __call__(self, rendering: Rendering, name: str | None = None) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("prompts", "prompts of teamgraph")
    group.addoption(
        UPDATE,
        action="store_true",
        help="Write new and changed snapshots of prompts, delete unused ones.",
    )
    group.addoption(
        "--prompts-cov",
        action="store_true",
        help="Report the branches of templates that were not rendered.",
    )
    group.addoption(
        "--prompts-cov-fail-under",
        type=float,
        metavar="N",
        help="Fail if less than N percent of the branches were rendered.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to update in CI; start to measure coverage if that was asked for."""
    config.stash[MODULES] = set()
    config.stash[INCOMPLETE] = set()
    if config.getoption(UPDATE) and os.environ.get("CI"):
        from .snapshots import refused_in_ci  # noqa: PLC0415  see above

        if (refusal := refused_in_ci(UPDATE)) is not None:
            raise pytest.UsageError(refusal)
    limit = config.getoption("--prompts-cov-fail-under")
    if config.getoption("--prompts-cov") or limit is not None:
        results_of(config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a case file."""
    if not file_path.name.endswith(".prompts.yaml"):
        return None
    return CaseFileCollector.from_parent(parent, path=file_path)  # pyright: ignore[reportUnknownMemberType]  its options have no types


class CaseFileCollector(pytest.File):
    """A `*.prompts.yaml` file."""

    def collect(self) -> Iterable[CaseItem]:
        """An item for each case; its snapshots are in use, whether or not the case is run."""
        from .cases import load_cases  # noqa: PLC0415  see above

        with _importable(self.path):
            loaded = load_cases(self.path, results_of(self.config).snapshots)
        return [CaseItem.of(self, case) for case in loaded.cases]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401  as in pytest
        """The message alone, without the engine's frames."""
        del style
        return _message(excinfo.value) or super().repr_failure(excinfo)


class CaseItem(pytest.Item):
    """One case: renders its prompts, compares them with the snapshot, checks what is expected."""

    case: PromptCase

    @classmethod
    def of(cls, parent: CaseFileCollector, case: PromptCase) -> CaseItem:
        """The item of a case."""
        item: CaseItem = cls.from_parent(parent, name=case.name)  # pyright: ignore[reportUnknownMemberType]  its options have no types
        item.case = case
        return item

    def runtest(self) -> None:
        """Raise `PromptMismatch` with everything that differs."""
        from .cases import check_case  # noqa: PLC0415  see above

        with _importable(self.path):
            check_case(self.case, results_of(self.config).snapshots)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401  as in pytest
        """The message alone, without the engine's frames."""
        return _message(excinfo.value) or super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The line of the case in its file."""
        return self.path, self.case.line - 1, self.case.name


@contextmanager
def _importable(file: Path) -> Generator[None]:
    """Put the project's folder on `sys.path` for a block, if its settings allow packages."""
    from ..graph.settings import settings_of  # noqa: PLC0415  see above

    settings = settings_of(file.parent.absolute())
    folder = str(settings.folder)
    if not settings.allow or folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)


def _message(error: BaseException) -> str | None:
    from ..errors import TeamgraphError  # noqa: PLC0415  see above
    from .snapshots import PromptMismatch  # noqa: PLC0415  see above

    return str(error) if isinstance(error, PromptMismatch | TeamgraphError) else None


@pytest.fixture
def prompt_snapshot(request: pytest.FixtureRequest) -> PromptSnapshot:
    """Compare a rendering with the snapshot of the test, in `__prompts__/` beside its module."""
    return results_of(request.config).fixture(request)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Note the modules of which a test was deselected: it may use any of their snapshots."""
    for item in items:
        item.config.stash[INCOMPLETE].add(item.path)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note the test modules that have snapshots."""
    modules = {item.path for item in items if item.path.suffix == ".py"}
    known = [path for path in modules if (path.parent / "__prompts__" / path.stem).is_dir()]
    config.stash[MODULES].update(known)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the modules of which a test did not pass: it may have stopped before a snapshot."""
    report = yield
    if not report.passed:
        item.config.stash[INCOMPLETE].add(item.path)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: _Worker) -> None:
    """Merge what a worker of pytest-xdist sent."""
    output = getattr(node, "workeroutput", None) or {RESULTS: None}
    if RESULTS in output:
        results_of(node.config).merge(output[RESULTS])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the results to the first process, or, in that, find unused snapshots and fail."""
    config = session.config
    if config.stash[MODULES]:
        _add_modules(session)
    registered: object = config.pluginmanager.get_plugin(RESULTS)
    if registered is None:
        return
    results = results_of(config)
    output: dict[str, object] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output[RESULTS] = results.to_json()
    elif not results.finish() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _add_modules(session: pytest.Session) -> None:
    config = session.config
    modules, incomplete = config.stash[MODULES], config.stash[INCOMPLETE]
    is_part = any("::" in argument for argument in config.args)
    is_part |= bool(config.getoption("lf", default=False))  # it leaves tests out without a word
    is_part |= bool(session.shouldstop or session.shouldfail)
    results_of(config).add_modules(modules, incomplete=modules if is_part else modules & incomplete)


def results_of(config: pytest.Config) -> SessionResults:
    """The results of this process; made, and registered as a plug-in, when first used."""
    from .results import SessionResults  # noqa: PLC0415  see above

    registered: object = config.pluginmanager.get_plugin(RESULTS)
    if isinstance(registered, SessionResults):
        return registered
    results = SessionResults(config)
    config.pluginmanager.register(results, RESULTS)
    return results


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop measuring coverage."""
    registered: object = config.pluginmanager.get_plugin(RESULTS)
    close: Callable[[], None] | None = getattr(registered, "close", None)
    if close is not None:
        close()
