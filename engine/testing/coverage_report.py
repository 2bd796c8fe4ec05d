"""The report of template coverage: which branches were not rendered, and where they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from ..prompts.branch_coverage import Branch, Coverage
from ..prompts.library import Prompts
from ..prompts.sources import BUILTIN


class CoverageReport(Struct, frozen=True):
    """How often each branch of the project's templates was rendered."""

    counts: Mapping[Branch, int]

    @classmethod
    def of(cls, coverage: Coverage, root: Path) -> CoverageReport:
        """The report on templates in `root`, and on those that stand in graphs.

        Templates of installed packages are left out: their authors test them.
        """
        return cls({each: n for each, n in coverage.counts.items() if _is_in(root, each)})

    @property
    def missing(self) -> list[Branch]:
        """The branches that were not rendered, by file and line."""
        return sorted(branch for branch, count in self.counts.items() if not count)

    @property
    def percent(self) -> float:
        """The share of branches that were rendered, in percent; 100 if there are none."""
        return _percent(self.counts.values())

    def text(self) -> str:
        """The report as text: a line for each template, and one for each missing branch."""
        templates = sorted({branch.template for branch in self.counts})
        width = max([len("total"), *map(len, templates)])
        lines: list[str] = []
        for template in templates:
            counts = [n for branch, n in self.counts.items() if branch.template == template]
            lines.append(f"{template:<{width}}  {_share(counts)}")
            lines += [
                f"  {one.template}:{one.line}:{one.column}: {one.what}: not rendered"
                for one in self.missing
                if one.template == template
            ]
        return "\n".join([*lines, f"{'total':<{width}}  {_share(self.counts.values())}"])

    def as_json(self) -> dict[str, object]:
        """The report for other programs."""
        return {
            "percent": round(self.percent, 2),
            "branches": len(self.counts),
            "missing": [dict(branch._asdict()) for branch in self.missing],
        }


def count_unused_templates(coverage: Coverage, root: Path) -> None:
    """Add the templates in `root` that no graph used: none of their branches was rendered."""
    for folders in sorted(coverage.folders):
        near = [folder for folder in folders if folder.absolute().is_relative_to(root)]
        if near:
            Prompts(near).probe()


def _is_in(root: Path, branch: Branch) -> bool:
    file = Path(branch.template).absolute()
    if file.is_relative_to(BUILTIN):
        return BUILTIN.is_relative_to(root) and "site-packages" not in BUILTIN.parts
    return "#" in branch.template or file.is_relative_to(root)


def _share(counts: Iterable[int]) -> str:
    values = list(counts)
    rendered = sum(map(bool, values))
    return f"{rendered:>4}/{len(values):<4} {_percent(values):>5.1f} %"


def _percent(counts: Iterable[int]) -> float:
    values = list(counts)
    return 100 * sum(map(bool, values)) / len(values) if values else 100.0
