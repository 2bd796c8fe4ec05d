"""Case files as pytest sees them: a collector for each file, an item for each case."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ..errors import TeamgraphError
from .ledger import Mismatch
from .plugin import prompt_run
from .snapshot import snapshot
from .suite import Case, Suite, folder_of


class CaseFileCollector(pytest.File):
    """A `*.prompts.yaml` file."""

    def collect(self) -> Iterable[CaseItem]:
        """The cases of the file; their snapshots are in use, whether or not they are run."""
        ledger = prompt_run(self.config).ledger
        ledger.named.setdefault(str(folder_of(self.path)), set())
        try:
            suite = Suite.read(self.path)
        except TeamgraphError:
            ledger.unsure.add(str(folder_of(self.path)))
            raise
        for case in suite.cases:
            if case.snapshot is not None:
                ledger.name(case.snapshot)
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
        rendering = self.case.render()
        wrong = self.case.misses(rendering)
        if self.case.snapshot is not None:
            ledger = prompt_run(self.config).ledger
            try:
                ledger.compare(self.case.snapshot, snapshot(rendering, self.case.name))
            except Mismatch as error:
                wrong.append(str(error))
        if wrong:
            raise Mismatch("\n".join(wrong))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401  as in pytest
        """What is wrong with the prompts, without our own frames."""
        return _told(excinfo.value) or super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the case stands."""
        return self.path, self.case.line - 1, self.case.name


def _told(error: BaseException) -> str | None:
    return str(error) if isinstance(error, Mismatch | TeamgraphError) else None
