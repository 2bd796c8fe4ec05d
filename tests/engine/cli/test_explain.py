"""`teamgraph explain`: every code has a page, and the examples of the pages are true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from teamgraph import Graph
from teamgraph.engine.cli.explain import explanations
from teamgraph.errors import DefinitionError, Problem

from .conftest import Project

ROOT = Path(__file__).parents[3]
SECTIONS = explanations()
EXAMPLES = {
    code: re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for code, text in SECTIONS.items()
    if code[0] != "P" and "```" in text
}


def codes_in_source() -> set[str]:
    found: set[str] = set()
    for folder in ("engine", "nodes", "graphs"):
        for file in (ROOT / folder).rglob("*.py"):
            found.update(re.findall(r"\"([A-Z]\d{3})\"", file.read_text(encoding="utf-8")))
    return found


def problems_of(project: Project, text: str) -> list[Problem]:
    file = project.write("example.yaml", text)
    try:
        return list(Graph.load(file).warnings)
    except DefinitionError as error:
        return list(error.problems)


def test_every_code_has_a_page_and_no_other() -> None:
    missing = codes_in_source() - {*SECTIONS}
    assert not missing, "write a section `## CODE: title` in docs/graph-checks.md"
    assert {*SECTIONS} == codes_in_source()


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_refused_example_has_the_code_and_the_accepted_one_has_no_problem(
    project: Project, code: str
) -> None:
    refused, *accepted = EXAMPLES[code]
    assert code in {problem.code for problem in problems_of(project, refused)}
    for text in accepted:
        assert problems_of(project, text) == []


def test_a_code_is_explained_as_it_is_typed_or_copied(project: Project) -> None:
    for typed in ("G012", "g012", "[G012]"):
        done = project.teamgraph("explain", typed)
        assert done.exit_code == 0
        assert done.stdout.startswith("G012: a name of a node or a file that does not exist\n")
        assert "Refused:\n\n    name: shop\n" in done.stdout
        assert done.stdout.count("Accepted:\n\n    name: shop\n") == 1
        assert "```" not in done.stdout


def test_every_explanation_is_printed(project: Project) -> None:
    for code in SECTIONS:
        assert project.teamgraph("explain", code).stdout.startswith(f"{code}: ")


def test_an_explanation_as_json(project: Project) -> None:
    done = project.teamgraph("explain", "P002", "--json")
    told = json.loads(done.stdout)
    assert (told["code"], told["title"]) == ("P002", "unknown name or field")
    assert "```jinja" in told["text"]


def test_an_unknown_code_is_refused_with_what_may_be_meant(project: Project) -> None:
    near = project.teamgraph("explain", "G01")
    assert near.exit_code == 1
    assert "there is no code 'G01'; known codes: G010, G012, G013" in near.stderr
    far = project.teamgraph("explain", "nothing")
    assert far.exit_code == 1
    assert "known codes: C001, C002" in far.stderr
