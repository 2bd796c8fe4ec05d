"""What a measurement of templates comes to: which branches nobody rendered, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from ..prompts.branch_coverage import Branch, Coverage
from ..prompts.library import Prompts
from ..prompts.sources import BUILTIN


class Covered(Struct, frozen=True):
    """How often each branch was rendered, of the templates that count."""

    counts: Mapping[Branch, int]

    @classmethod
    def of(cls, coverage: Coverage, root: Path) -> Covered:
        """What was measured of the templates in `root`, and of those inside graphs.

        Installed templates do not count: whoever made them tests them.
        """
        return cls({each: n for each, n in coverage.counts.items() if _counts(each, root)})

    @property
    def missing(self) -> list[Branch]:
        """The branches that were not rendered, in reading order."""
        return sorted(branch for branch, count in self.counts.items() if not count)

    @property
    def percent(self) -> float:
        """How many of the branches were rendered, of a hundred; all, if there are none."""
        return _percent(self.counts.values())

    def text(self) -> str:
        """The report as people read it: a line for each template, one for each missing branch."""
        templates = sorted({branch.template for branch in self.counts})
        width = max([len("total"), *map(len, templates)])
        lines: list[str] = []
        for template in templates:
            of = {one: n for one, n in self.counts.items() if one.template == template}
            lines.append(f"{template:<{width}}  {_share(of.values())}")
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


def count_unseen(coverage: Coverage, root: Path) -> None:
    """Count the templates that nobody asked for, too: each of their branches as not rendered."""
    for folders in sorted(coverage.folders):
        near = [folder for folder in folders if folder.absolute().is_relative_to(root)]
        if near:
            Prompts(near).probe()


def _counts(branch: Branch, root: Path) -> bool:
    file = Path(branch.template).absolute()
    if file.is_relative_to(BUILTIN):
        return BUILTIN.is_relative_to(root) and "site-packages" not in BUILTIN.parts
    return "#" in branch.template or file.is_relative_to(root)


def _share(counts: Iterable[int]) -> str:
    values = list(counts)
    taken = sum(map(bool, values))
    return f"{taken:>4}/{len(values):<4} {_percent(values):>5.1f} %"


def _percent(counts: Iterable[int]) -> float:
    values = list(counts)
    return 100 * sum(map(bool, values)) / len(values) if values else 100.0
