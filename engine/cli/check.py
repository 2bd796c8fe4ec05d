"""`teamgraph check`: whether graphs hold, and where they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DefinitionError, Problem
from ..graph import Graph
from .as_json import edge_as_json, problem_as_json
from .command import command
from .failure import NOT_HELD, NOT_TRIED, told
from .options import Reading
from .screen import Tone, counted, note, print_json, print_rows, say

app = typer.Typer()

_UNREADABLE = "Y001"


class Format(Enum):
    """How problems are printed."""

    text = "text"
    json = "json"
    github = "github"


@dataclass(frozen=True, slots=True)
class _Checked:
    """A graph file, the graph if it holds, and what there is to say of it."""

    file: Path
    graph: Graph | None
    problems: Sequence[Problem]

    @property
    def holds(self) -> bool:
        return self.graph is not None

    def without_notes(self) -> _Checked:
        """The same without what only may be better."""
        return replace(self, problems=[one for one in self.problems if one.severity != "note"])

    @property
    def is_unreadable(self) -> bool:
        return any(problem.code == _UNREADABLE for problem in self.problems)


@command(app)
def check(
    graphs: Annotated[
        list[Path], typer.Argument(metavar="GRAPH...", help="Graph files.", show_default=False)
    ],
    reading: Reading,
    *,
    edges: Annotated[
        bool, typer.Option("--edges", help="List every edge and where it comes from.")
    ] = False,
    notes: Annotated[
        bool, typer.Option("--notes", help="Also say what holds and may be better.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", help="How problems are printed.")] = (
        Format.text
    ),
) -> None:
    """Say whether graphs hold, and everything that does not, each at its place.

    Names, edges, routes, templates and types are checked; no model is asked. With --edges the
    edges are the result, and problems go to standard error. JSON has the notes in any case.
    """
    checked = [_checked(file, reading) for file in graphs]
    if not notes and form is not Format.json:
        checked = [one.without_notes() for one in checked]
    if edges:
        _print_problems(checked, note)
        _print_edges(checked, form)
    else:
        _SHOW[form](checked)
    if any(one.is_unreadable for one in checked):
        raise typer.Exit(NOT_TRIED)
    if not all(one.holds for one in checked):
        raise typer.Exit(NOT_HELD)


def _checked(file: Path, reading: Reading) -> _Checked:
    try:
        graph = reading.graph(file)
    except DefinitionError as error:
        return _Checked(file, None, error.problems)
    return _Checked(file, graph, graph.warnings)


def _show_text(checked: Sequence[_Checked]) -> None:
    _print_problems(checked, say)
    for one in checked:
        if one.graph is not None:
            size = [counted(len(one.graph.nodes), "node")]
            size.append(counted(len(one.graph.plan.edges), "edge"))
            note(f"{one.file}: holds ({', '.join(size)})", Tone.GOOD)


def _show_json(checked: Sequence[_Checked]) -> None:
    print_json([problem_as_json(problem) for one in checked for problem in one.problems])


def _show_github(checked: Sequence[_Checked]) -> None:
    for one in checked:
        for problem in one.problems:
            say(_annotation(problem))


def _print_problems(checked: Sequence[_Checked], tell: Callable[[str], None]) -> None:
    for one in checked:
        for problem in one.problems:
            tell(told(problem))


def _print_edges(checked: Sequence[_Checked], form: Format) -> None:
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


_SHOW: Mapping[Format, Callable[[Sequence[_Checked]], None]] = {
    Format.text: _show_text,
    Format.json: _show_json,
    Format.github: _show_github,
}
