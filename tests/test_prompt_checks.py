"""docs/prompt-checks.md is true: each wrong example is reported with its code at its mark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from teamgraph import Graph
from teamgraph.errors import DefinitionError, Problem

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "prompt-checks.md").read_text(encoding="utf-8")
_SECTION = re.compile(
    r"^## (P\d+): .*?^```text\n(.*?)^```\n\n```jinja\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_CODE = re.compile(r"[\"'](P\d{3})[\"']")
_MARK = re.compile(r" *\^")


@dataclass(frozen=True)
class Check:
    code: str
    wrong: str
    right: str

    @property
    def template(self) -> str:
        return "".join(f"{line}\n" for line in self._lines if not _MARK.fullmatch(line))

    @property
    def place(self) -> tuple[int, int]:
        """The line and column above the mark."""
        marked = next(index for index, line in enumerate(self._lines) if _MARK.fullmatch(line))
        return marked, len(self._lines[marked])

    @property
    def _lines(self) -> list[str]:
        return self.wrong.splitlines()


CHECKS = [Check(*found) for found in _SECTION.findall(PAGE)]


def problems_of(folder: Path, template: str) -> list[Problem]:
    """The problems of a prompt of the member `reader` in the page's graph."""
    (graph,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (folder / "prompts").mkdir()
    (folder / "prompts" / "reader.jinja").write_text(template, encoding="utf-8")
    file = folder / "checked.yaml"
    file.write_text(graph.replace("reader: {", "reader: {prompt: reader.jinja, "), encoding="utf-8")
    try:
        found = Graph.load(file).warnings
    except DefinitionError as error:
        found = error.problems
    return [problem for problem in found if problem.code[0] == "P"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.code)
def test_the_wrong_example_is_reported_where_it_is_marked(check: Check, tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, check.template)
    assert (problem.code, problem.line, problem.column) == (check.code, *check.place)
    warned = {"P112": "warning"}
    assert problem.severity == warned.get(check.code, "note" if check.code > "P1" else "error")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.code)
def test_the_right_example_has_no_problems(check: Check, tmp_path: Path) -> None:
    assert problems_of(tmp_path, check.right) == []


def test_the_page_has_every_code_and_no_other() -> None:
    files = [*(ROOT / "engine").rglob("*.py"), *(ROOT / "nodes").rglob("*.py")]
    codes = {code for file in files for code in _CODE.findall(file.read_text(encoding="utf-8"))}
    assert set(re.findall(r"\bP\d{3}\b", PAGE)) == codes
    assert codes - {check.code for check in CHECKS} == {"P016"}
    assert [check.code for check in CHECKS] == sorted({check.code for check in CHECKS})
