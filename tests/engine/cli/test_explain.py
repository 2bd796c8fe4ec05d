"""`teamgraph explain`: every code has a page, and the examples of the pages are true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from runpy import run_path

import pytest

from teamgraph import Graph
from teamgraph.engine.cli.explain import explanations
from teamgraph.engine.testing.cases import CaseFile
from teamgraph.errors import DefinitionError

from .conftest import Project

ROOT = Path(__file__).parents[3]
SECTIONS = explanations()
EXAMPLES = {
    code: re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for code, text in SECTIONS.items()
    if "```jinja" not in text  # tests/test_prompt_checks.py has these
}


def codes_in_source() -> set[str]:
    found: set[str] = set()
    for folder in ("engine", "nodes", "graphs"):
        for file in (ROOT / folder).rglob("*.py"):
            found.update(re.findall(r"\"([A-Z]\d{3})\"", file.read_text(encoding="utf-8")))
    return found


def codes_of(project: Project, text: str) -> set[str]:
    """The codes of the problems of a graph file, of a case file, or of a script of Python."""
    is_script = re.match("from |import ", text) is not None
    file = project.write("example.py" if is_script else "example.yaml", text)
    try:
        if text.startswith("graph: "):
            assert CaseFile.load(file).cases
            return set()
        graph = run_path(str(file)).get("graph") if is_script else Graph.load(file, allow=["shop"])
    except DefinitionError as error:
        return {problem.code for problem in error.problems}
    assert isinstance(graph, Graph), "a script that is accepted, or warned of, has a `graph`"
    return {problem.code for problem in graph.warnings}


def test_every_code_has_a_page_with_an_example_and_no_other() -> None:
    missing = codes_in_source() - {*SECTIONS}
    assert not missing, "write a section `## CODE: title` in docs/graph-checks.md"
    assert {*SECTIONS} == codes_in_source()
    assert [code for code, text in SECTIONS.items() if "```" not in text] == []


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_refused_example_has_the_code_and_the_accepted_one_has_no_problem(
    project: Project, code: str
) -> None:
    refused, *accepted = EXAMPLES[code]
    assert code in codes_of(project, refused)
    for text in accepted:
        assert codes_of(project, text) == set()


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
