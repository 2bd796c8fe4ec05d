"""Case files as pytest sees them: a collector for each file, an item for each case."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ..errors import TeamgraphError
from .ledger import Mismatch
from .plugin import prompt_run
from .suite import Case, hold, noted_suite


class CaseFileCollector(pytest.File):
    """A `*.prompts.yaml` file."""

    def collect(self) -> Iterable[CaseItem]:
        """The cases of the file; their snapshots are in use, whether or not they are run."""
        for case in noted_suite(self.path, prompt_run(self.config).ledger).cases:
            yield CaseItem.of(self, case)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401  as in pytest
        """The error alone: our own frames help nobody."""
        del style
        return _told(excinfo.value) or super().repr_failure(excinfo)


class CaseItem(pytest.Item):
    """One case: its prompts are rendered, what is expected of them must be true."""

    case: Case

    @classmethod
    def of(cls, parent: CaseFileCollector, case: Case) -> CaseItem:
        """The item of a case."""
        item: CaseItem = cls.from_parent(parent, name=case.name)  # pyright: ignore[reportUnknownMemberType]  its options have no types
        item.case = case
        return item

    def runtest(self) -> None:
        """Render, expect, compare; raises `Mismatch` with all that is wrong."""
        hold(self.case, prompt_run(self.config).ledger)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401  as in pytest
        """What is wrong with the prompts, without our own frames."""
        return _told(excinfo.value) or super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the case stands."""
        return self.path, self.case.line - 1, self.case.name


def _told(error: BaseException) -> str | None:
    return str(error) if isinstance(error, Mismatch | TeamgraphError) else None
