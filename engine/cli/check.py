"""`teamgraph check`: whether graphs hold, and where they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ..errors import DefinitionError, Problem
from ..graph.graph import Graph
from .as_json import edge_as_json, problem_as_json
from .command import command
from .failure import NOT_HELD, NOT_TRIED, told
from .options import Reading
from .screen import Tone, counted, note, print_json, print_rows, say

app = typer.Typer(add_completion=False)

_UNREADABLE = "Y001"


class Format(Enum):
    """How problems are printed."""

    text = "text"
    json = "json"
    github = "github"


GraphFiles: TypeAlias = Annotated[
    list[Path], typer.Argument(metavar="GRAPH", help="Graph files.", show_default=False)
]


@dataclass(frozen=True, slots=True)
class Telling:
    """What is said of the problems, and how."""

    notes: Annotated[
        bool, typer.Option("--notes", help="Also say what holds and may be better.")
    ] = False
    format: Annotated[Format, typer.Option(help="How problems are printed.")] = Format.text


@dataclass(frozen=True, slots=True)
class Checked:
    """A graph file, the graph if it holds, what there is to say of it, and its size in words."""

    file: Path
    graph: Graph | None
    problems: Sequence[Problem]
    size: str = ""

    @classmethod
    def of(cls, file: Path, reading: Reading) -> Checked:
        """Read a graph file."""
        try:
            graph = reading.graph(file)
        except DefinitionError as error:
            return cls(file, None, error.problems)
        size = f"{counted(len(graph.nodes), 'node')}, {counted(len(graph.plan.edges), 'edge')}"
        return cls(file, graph, graph.warnings, size)

    def prompts(self) -> Checked:
        """Only what there is to say of its templates and conditions."""
        problems = [one for one in self.problems if one.code.startswith("P")]
        size = counted(len(self.graph.templates), "prompt") if self.graph else ""
        return replace(self, problems=problems, size=size)

    def without_notes(self) -> Checked:
        """The same without what only may be better."""
        return replace(self, problems=[one for one in self.problems if one.severity != "note"])

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong with the graph."""
        return self.graph is not None

    @property
    def errors(self) -> int:
        """How many of the problems are errors."""
        return sum(problem.severity == "error" for problem in self.problems)

    @property
    def is_unreadable(self) -> bool:
        """Whether there is no graph to speak of."""
        return any(problem.code == _UNREADABLE for problem in self.problems)


@command(app)
def check(
    graphs: GraphFiles,
    reading: Reading,
    telling: Telling,
    *,
    edges: Annotated[
        bool, typer.Option("--edges", help="List every edge and where it comes from.")
    ] = False,
) -> None:
    """Say whether graphs hold, and everything that does not, each at its place.

    Names, edges, routes, templates and types are checked; no model is asked. With --edges the
    edges are the result, and problems go to standard error. JSON has the notes in any case.
    """
    checked = [Checked.of(file, reading) for file in graphs]
    if edges:
        _print_problems(_wanted(checked, telling), note)
        _print_edges(checked, telling.format)
    else:
        show(checked, telling)
    if any(one.is_unreadable for one in checked):
        raise typer.Exit(NOT_TRIED)
    if not all(one.holds for one in checked):
        raise typer.Exit(NOT_HELD)


def show(checked: Sequence[Checked], telling: Telling) -> None:
    """Print what there is to say of some graphs."""
    _SHOW[telling.format](_wanted(checked, telling))


def _wanted(checked: Sequence[Checked], telling: Telling) -> Sequence[Checked]:
    if telling.notes or telling.format is Format.json:
        return checked
    return [one.without_notes() for one in checked]


def _show_text(checked: Sequence[Checked]) -> None:
    _print_problems(checked, say)
    for one in checked:
        if one.holds:
            note(f"{one.file}: holds ({one.size})", Tone.GOOD)


def _show_json(checked: Sequence[Checked]) -> None:
    print_json([problem_as_json(problem) for one in checked for problem in one.problems])


def _show_github(checked: Sequence[Checked]) -> None:
    for one in checked:
        for problem in one.problems:
            say(_annotation(problem))


def _print_problems(checked: Sequence[Checked], tell: Callable[[str], None]) -> None:
    for one in checked:
        for problem in one.problems:
            tell(told(problem))


def _print_edges(checked: Sequence[Checked], form: Format) -> None:
    found = [
        (graph, edge, graph.place(edge))
        for graph in (one.graph for one in checked)
        if graph is not None
        for edge in graph.plan.edges
    ]
    if form is Format.json:
        print_json([edge_as_json(graph.name, edge, place) for graph, edge, place in found])
        return
    print_rows(
        ("source", "target", "kind", "labels", "origin"),
        [
            (edge.source, edge.target, edge.kind, ", ".join(edge.labels), place)
            for _, edge, place in found
        ],
    )


def _annotation(problem: Problem) -> str:
    """A problem as a workflow command of GitHub Actions."""
    kind = "notice" if problem.severity == "note" else problem.severity
    properties = {
        "file": problem.file,
        "line": problem.line,
        "col": problem.column,
        "title": problem.code,
    }
    told = ",".join(
        f"{name}={_escaped(str(value), ':,')}"
        for name, value in properties.items()
        if value is not None
    )
    meant = f"; did you mean {problem.suggestion!r}?" if problem.suggestion else ""
    return f"::{kind} {told}::{_escaped(problem.message + meant)}"


def _escaped(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


_SHOW: Mapping[Format, Callable[[Sequence[Checked]], None]] = {
    Format.text: _show_text,
    Format.json: _show_json,
    Format.github: _show_github,
}
