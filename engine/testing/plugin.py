"""The pytest plug-in: options, case files, snapshots, coverage of templates, recorded models.

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
    from ..models.protocol import Model
    from ..run.dry_run.rendering import Rendering
    from .cases import PromptCase
    from .results import SessionResults

UPDATE = "--prompts-update"
RECORD = "--models-record"
RESULTS = "teamgraph-prompts"
TESTS = pytest.StashKey[dict[Path, dict[str, bool] | None]]()
"""The tests of each file that has snapshots, with whether each ran to its end; None for others."""
PASSED = pytest.StashKey[set[str]]()
"""The phases of a test's latest run that passed; a case file's case runs to its end anyway."""

pytest.register_assert_rewrite("teamgraph.engine.testing.conformance")


class _Worker(Protocol):
    config: pytest.Config


class PromptSnapshot(Protocol):
    """Compares a rendering with the test's snapshot; `name` tells several of one test apart."""

    def __call__(self, rendering: Rendering, name: str | None = None) -> None: ...


class RecordedModel(Protocol):
    """Gives a model that answers from the test's recordings, or with `model` records them."""

    def __call__(self, model: Model | str | None = None) -> Model: ...


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
    group.addoption(
        RECORD,
        action="store_true",
        help="Ask the models of tests with `recorded_model`, and record what they answer.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to update in CI; start to measure coverage if that was asked for."""
    config.stash[TESTS] = {}
    for update in (UPDATE, RECORD):
        if config.getoption(update) and os.environ.get("CI"):
            from .snapshots import refused_in_ci  # noqa: PLC0415  see above

            if (refusal := refused_in_ci(update)) is not None:
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
        from .cases import load_cases, module_folders  # noqa: PLC0415  see above

        folders = [*dict.fromkeys(map(str, module_folders(self.path)))]
        with _importable(folders):
            loaded = load_cases(self.path, results_of(self.config).snapshots)
        return [CaseItem.of(self, case, folders) for case in loaded.cases]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401  as in pytest
        """The message alone, without the engine's frames."""
        del style
        return _message(excinfo.value) or super().repr_failure(excinfo)


class CaseItem(pytest.Item):
    """One case: renders its prompts, compares them with the snapshot, checks what is expected."""

    case: PromptCase
    folders: Sequence[str]
    """Where modules that the graph names are found."""

    @classmethod
    def of(cls, parent: CaseFileCollector, case: PromptCase, folders: Sequence[str]) -> CaseItem:
        """The item of a case."""
        item: CaseItem = cls.from_parent(parent, name=case.name)  # pyright: ignore[reportUnknownMemberType]  its options have no types
        item.case, item.folders = case, folders
        return item

    def runtest(self) -> None:
        """Raise `PromptMismatch` with everything that differs."""
        from .cases import check_case  # noqa: PLC0415  see above

        with _importable(self.folders):
            check_case(self.case, results_of(self.config).snapshots)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401  as in pytest
        """The message alone, without the engine's frames."""
        return _message(excinfo.value) or super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The line of the case in its file."""
        return self.path, self.case.line - 1, self.case.name


@contextmanager
def _importable(folders: Iterable[str]) -> Generator[None]:
    """Put folders at the end of `sys.path` for a block."""
    added = [folder for folder in folders if folder not in sys.path]
    sys.path += added
    try:
        yield
    finally:
        for folder in added:
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


@pytest.fixture
def recorded_model(request: pytest.FixtureRequest) -> Generator[RecordedModel]:
    """Models of the test that answer from recordings, in `__recordings__/` beside its module.

    `recorded_model(model)` is a model for a `Runner`; with `--models-record` it asks `model` (as in
    `Recorder`) and records. A test that passes and leaves recordings unused fails.
    """
    from .recorded import RecordedTest  # noqa: PLC0415  see above

    recorded = RecordedTest(request.path, test_name(request.node))
    yield recorded.record if request.config.getoption(RECORD) else recorded.replay
    if "call" in request.node.stash.get(PASSED, set[str]()):
        recorded.verify()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Note the tests of files that have snapshots, before any is deselected."""
    files = item.config.stash[TESTS]
    if item.path not in files:
        has_snapshots = isinstance(item, CaseItem) or _folder(item.path).is_dir()
        files[item.path] = {} if has_snapshots else None
    tests = files[item.path]
    if tests is not None:
        tests[test_name(item)] = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the tests that ran to their end: any other may have stopped before a snapshot.

    A test that is run again counts by its last run.
    """
    report = yield
    passed = item.stash.setdefault(PASSED, set())
    if report.when == "setup":
        passed.clear()
    if report.passed or (report.when == "call" and isinstance(item, CaseItem)):
        passed.add(report.when)
    tests = item.config.stash[TESTS].get(item.path)
    if tests is not None:
        tests[test_name(item)] = passed == {"setup", "call", "teardown"}
    return report


def test_name(item: pytest.Item) -> str:
    """The name of a test in its file; a node id has more after `--dist loadgroup`."""
    names: list[str] = []
    for node in item.listchain():
        names = [] if isinstance(node, pytest.File) else [*names, node.name]
    return "::".join(names)


test_name.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


def _folder(file: Path) -> Path:
    return file.parent / "__prompts__" / file.stem


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
    tests = {path: tests for path, tests in config.stash[TESTS].items() if tests is not None}
    if tests:
        results_of(config).add_tests(tests)
    registered: object = config.pluginmanager.get_plugin(RESULTS)
    if registered is None:
        return
    results = results_of(config)
    output: dict[str, object] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output[RESULTS] = results.to_json()
    elif _has_run(session):
        is_well = results.finish(is_part=_is_part(config))
        if not is_well and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _has_run(session: pytest.Session) -> bool:
    """Whether the session ran tests, and came to its end; otherwise nothing is concluded."""
    is_dry = any(
        session.config.getoption(name) for name in ("collectonly", "setuponly", "setupplan")
    )
    return not is_dry and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


def _is_part(config: pytest.Config) -> bool:
    """Whether tests of a file may be left out before they are collected."""
    is_lf = bool(config.getoption("lf", default=False))
    return is_lf or any("::" in argument for argument in config.args)


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
