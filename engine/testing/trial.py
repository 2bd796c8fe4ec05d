"""The cases of a file, held against their snapshots: by pytest, and by `prompts update`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from ..errors import TeamgraphError
from .ledger import Ledger, Mismatch
from .snapshot import snapshot
from .suite import Case, Suite, folder_of


def noted_suite(file: Path, ledger: Ledger) -> Suite:
    """Read a case file, and note the snapshots that its cases have, whether or not they are held.

    Raises `DefinitionError`; then its snapshots count as in use.
    """
    folder = str(folder_of(file))
    ledger.named.setdefault(folder, set())
    try:
        suite = Suite.read(file)
    except TeamgraphError:
        ledger.unsure.add(folder)
        raise
    for case in suite.cases:
        if case.snapshot is not None:
            ledger.name(case.snapshot)
    return suite


def hold(case: Case, ledger: Ledger) -> None:
    """Render a case, expect, compare; raises `Mismatch` with all that is wrong.

    Raises `InputError` or `RunError` if the case cannot be rendered.
    """
    rendering = case.render()
    wrong = case.misses(rendering)
    if case.snapshot is not None:
        try:
            ledger.compare(case.snapshot, snapshot(rendering, case.name))
        except Mismatch as error:
            wrong.append(str(error))
    if wrong:
        raise Mismatch("\n".join(wrong))


class Update(Struct, frozen=True):
    """What became of the snapshots of case files; `wrong` is what did not hold, case by case."""

    ledger: Ledger
    cases: int
    wrong: tuple[str, ...]

    @property
    def has_changed(self) -> bool:
        """Whether any snapshot is not as it was."""
        return any(self.ledger.told())


def update(files: Iterable[Path], root: Path) -> Update:
    """Write the snapshots that are new or changed, delete those that no case names any more.

    `root` is the folder that files are shown relative to. Snapshots of test modules stay.
    """
    ledger = Ledger(root, is_updating=True)
    cases = 0
    wrong: list[str] = []
    for file in files:
        try:
            suite = noted_suite(file.absolute(), ledger)
        except TeamgraphError as error:
            wrong.append(str(error))
            continue
        for case in suite.cases:
            cases += 1
            try:
                hold(case, ledger)
            except (Mismatch, TeamgraphError) as error:
                wrong.append(f"{ledger.shown(suite.file)}:{case.line}: {case.name}: {error}")
    ledger.delete(ledger.unused())
    return Update(ledger, cases, tuple(wrong))
