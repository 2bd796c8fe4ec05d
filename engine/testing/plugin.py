"""What pytest loads: options, case files, the fixture `prompt_snapshot`, coverage of templates.

Nothing of the engine is imported before there is a case to collect or a snapshot to compare.

Whether somebody looks: in CI nobody would see which snapshots an update changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from ..run.dry_run.rendering import Rendering
    from .run import PromptRun


def refused_in_ci(update: str) -> str | None:
    """Why `update` (an option or a command) is refused here, or None where it is not."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        return None
    return (
        f"{update}: not in CI, where nobody would see what changed; update snapshots where you "
        "work, look at the diff and commit it"
    )


UPDATE = "--prompts-update"
NAME = "teamgraph-prompts"
MODULES = pytest.StashKey[set[Path]]()
"""The test modules that have snapshots."""
LEFT_OUT = pytest.StashKey[set[Path]]()
"""The files of which a test was not run, or did not pass."""


pytest.register_assert_rewrite(
    "teamgraph.engine.testing.conformance"
)  # its asserts say what they compared


class _Worker(Protocol):
    config: pytest.Config


class PromptSnapshot(Protocol):
    """Compares a rendering with the test's snapshot; `name` tells several in one test apart."""

    def __call__(self, rendering: Rendering, name: str | None = None) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("prompts", "prompts of teamgraph")
    group.addoption(
        UPDATE,
        action="store_true",
        help="Write snapshots of prompts that are new or changed, delete those unused.",
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
    """Refuse to update where nobody looks at what changed; begin to measure."""
    config.stash[MODULES] = set()
    config.stash[LEFT_OUT] = set()
    if config.getoption(UPDATE) and (refusal := refused_in_ci(UPDATE)) is not None:
        raise pytest.UsageError(refusal)
    limit = config.getoption("--prompts-cov-fail-under")
    if config.getoption("--prompts-cov") or limit is not None:
        prompt_run(config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a case file."""
    if not file_path.name.endswith(".prompts.yaml"):
        return None
    from .items import CaseFileCollector  # noqa: PLC0415  see above

    return CaseFileCollector.from_parent(parent, path=file_path)  # pyright: ignore[reportUnknownMemberType]  its options have no types


@pytest.fixture
def prompt_snapshot(request: pytest.FixtureRequest) -> PromptSnapshot:
    """Compare a rendering with the snapshot of the test, in `__prompts__/` beside its module."""
    return prompt_run(request.config).fixture(request)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Note the modules of which a test was left out: their snapshots may be in use."""
    for item in items:
        item.config.stash[LEFT_OUT].add(item.path)


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
    """Note the modules of which a test did not come to its end."""
    report = yield
    if not report.passed:
        item.config.stash[LEFT_OUT].add(item.path)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: _Worker) -> None:
    """Take in what a worker of pytest-xdist hands over."""
    output = getattr(node, "workeroutput", None) or {NAME: None}
    if NAME in output:
        prompt_run(node.config).take(output[NAME])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what this worker gathered, or conclude."""
    config = session.config
    if config.stash[MODULES]:
        _note_modules(session)
    there: object = config.pluginmanager.get_plugin(NAME)
    if there is None:
        return
    run = prompt_run(config)
    output: dict[str, object] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output[NAME] = run.plain()
    elif not run.conclude() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _note_modules(session: pytest.Session) -> None:
    config = session.config
    modules, left_out = config.stash[MODULES], config.stash[LEFT_OUT]
    is_part = any("::" in argument for argument in config.args)
    is_part |= bool(config.getoption("lf", default=False))  # it leaves tests out without a word
    is_part |= bool(session.shouldstop or session.shouldfail)
    prompt_run(config).modules(modules, left_out=modules if is_part else modules & left_out)


def prompt_run(config: pytest.Config) -> PromptRun:
    """What is gathered in this process; made when it is first asked for."""
    from .run import PromptRun  # noqa: PLC0415  see above

    there: object = config.pluginmanager.get_plugin(NAME)
    if isinstance(there, PromptRun):
        return there
    made = PromptRun(config)
    config.pluginmanager.register(made, NAME)
    return made


def pytest_unconfigure(config: pytest.Config) -> None:
    """Measure no more."""
    there: object = config.pluginmanager.get_plugin(NAME)
    close: Callable[[], None] | None = getattr(there, "close", None)
    if close is not None:
        close()
