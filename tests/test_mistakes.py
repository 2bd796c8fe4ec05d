"""Mistakes that people make (`mistakes.txt`): each is told with place, reason and a way on.

A section of that file is a mistake, then `says` and the whole text of what is told about it. The
files of the folder that it is made in are those of `FILES`; a template is the prompt of the node
`a` of `asks.yaml`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from teamgraph import Graph, Runner
from teamgraph.engine.cli.command import app, problem_line
from teamgraph.errors import DefinitionError
from teamgraph.nodes import Member, Router

FILES = {
    "known.yaml": "name: known\nstate: {topic: tea}\nnodes:\n  a: {role: You answer}\n",
    "routed.yaml": (
        "name: routed\nnodes:\n  router: {kind: router, routes: {tea: Tea, coffee: Coffee}}\n"
        "  tea: {}\n  coffee: {}\noutput: [tea, coffee]\n"
    ),
    "asks.yaml": "name: asks\nnodes:\n  a: {prompt: asked.jinja, params: {tone: calm}}\n",
    "prompts/known.jinja": "{{ input.message }}\n",
}
LIST = Path(__file__).with_name("mistakes.txt")
SECTION = re.compile(
    r"^=== (\w+): (.*)\n((?:.*\n)*?)--- says\n((?:.*\n)*?)(?=^===|\Z)", re.MULTILINE
)
PLACES = {
    "yaml": r"team\.yaml:\d+:\d+: (?:error|warning): ",
    "template": r"prompts/asked\.jinja:\d+:\d+: (?:error|warning): ",
    "python": r"\w+: ",
    "shell": r"(?:error: |Usage: |\S+: error: )",
}


@dataclass(frozen=True)
class Mistake:
    kind: str
    title: str
    made: str
    says: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.title}"


MISTAKES = [Mistake(*found) for found in SECTION.findall(LIST.read_text(encoding="utf-8"))]


def said_of(mistake: Mistake) -> str:
    """What is told about it; the files are in the working directory."""
    match mistake.kind:
        case "yaml":
            Path("team.yaml").write_text(mistake.made, encoding="utf-8")
            return said_of_graph("team.yaml")
        case "template":
            Path("prompts/asked.jinja").write_text(mistake.made, encoding="utf-8")
            return said_of_graph("asks.yaml")
        case "python":
            names = {"Graph": Graph, "Member": Member, "Router": Router, "Runner": Runner}
            with pytest.raises(Exception) as caught:  # noqa: PT011  its type is in the list
                exec(mistake.made, names)  # noqa: S102  lines of our own list
            return f"{caught.type.__name__}: {caught.value}\n"
        case _:
            done = CliRunner().invoke(app, mistake.made.split(), prog_name="teamgraph")
            assert (done.exit_code, done.stdout) in ((1, ""), (2, ""))
            return done.stderr


def said_of_graph(file: str) -> str:
    try:
        found = Graph.load(file).warnings
    except DefinitionError as error:
        found = error.problems
    return "".join(f"{problem_line(each)}\n" for each in found)


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_told_with_its_place_and_a_way_on(
    mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEAMGRAPH_MODEL", raising=False)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    said = said_of(mistake)
    assert said == mistake.says
    for line in (
        said.splitlines() if mistake.kind in ("yaml", "template") else said.splitlines()[:1]
    ):
        assert re.match(PLACES[mistake.kind], line)


def test_there_are_75_mistakes_of_four_kinds() -> None:
    assert len(MISTAKES) >= 75
    assert {each.kind for each in MISTAKES} == {*PLACES}
    assert LIST.read_text(encoding="utf-8").count("=== ") == len(MISTAKES)
