"""`teamgraph check`: load graph files and report all their problems, or list their edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from time import sleep
from typing import Annotated, TypeAlias

import typer

from ..errors import DefinitionError, Problem
from ..files import files_in
from ..graph.graph import Graph
from ..prompts.sources import SUFFIXES
from ..run.json_forms import edge_as_json
from .command import (
    EXIT_FAILURE,
    EXIT_NOT_STARTED,
    command,
    did_you_mean,
    make_app,
    problem_as_json,
    problem_line,
)
from .completion import complete_graphs
from .fix import fix_keys
from .graph_files import graph_files, project_folder
from .options import GraphOptions
from .output import Style, counted, print_json, print_note, print_table, print_text

_UNREADABLE = "Y001"
_WATCH_SECONDS = 0.3

app = make_app()


class ReportFormat(Enum):
    """How problems are printed."""

    text = "text"
    json = "json"
    github = "github"


GraphPaths: TypeAlias = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="GRAPH",
        help="Graph files, or folders with some. Default: all graphs of the project.",
        show_default=False,
        autocompletion=complete_graphs,
    ),
]


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Which problems are printed, and how."""

    notes: Annotated[
        bool, typer.Option("--notes", help="Also show notes: valid, but could be better.")
    ] = False
    format: Annotated[ReportFormat, typer.Option(help="The output format.")] = ReportFormat.text


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A graph file, its graph if it is valid, its problems, and what was checked in words."""

    file: Path
    graph: Graph | None
    problems: Sequence[Problem]
    size: str = ""

    @classmethod
    def load(cls, file: Path, options: GraphOptions) -> CheckedFile:
        """Load a graph file and collect its problems."""
        try:
            graph = options.load(file)
        except DefinitionError as error:
            return cls(file, None, error.problems)
        size = f"{counted(len(graph.nodes), 'node')}, {counted(len(graph.plan.edges), 'edge')}"
        return cls(file, graph, (*graph.warnings, *graph.unknown_models), size)

    def prompts_only(self) -> CheckedFile:
        """The same with only the problems of templates and conditions."""
        problems = [one for one in self.problems if one.code.startswith("P")]
        size = counted(len(self.graph.templates), "prompt") if self.graph else ""
        return replace(self, problems=problems, size=size)

    def without_notes(self) -> CheckedFile:
        """The same without notes."""
        return replace(self, problems=[one for one in self.problems if one.severity != "note"])

    def count(self, severity: str) -> int:
        """How many problems have this severity."""
        return sum(problem.severity == severity for problem in self.problems)

    @property
    def is_valid(self) -> bool:
        """Whether there is a graph, with warnings at most."""
        return self.graph is not None

    @property
    def is_unreadable(self) -> bool:
        """Whether the file could not be read at all."""
        return any(problem.code == _UNREADABLE for problem in self.problems)

    def summary(self) -> str:
        """The verdict in one line, such as "desk.yaml: valid (4 nodes, 9 edges)"."""
        if self.is_valid:
            return f"{self.file}: valid ({self.size})"
        return f"{self.file}: {counted(self.count('error') + self.count('warning'), 'problem')}"


@command(app)
def check(
    graph_options: GraphOptions,
    report: ReportOptions,
    *,
    graphs: GraphPaths = None,
    edges: Annotated[
        bool, typer.Option("--edges", help="List every edge with its origin.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Put misspelt keys right in the files first.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Check again whenever a file changes, until Ctrl-C.")
    ] = False,
) -> None:
    """Check graph files and report every problem with file, line and column.

    Checks names, edges, routes, templates and types; calls no model. With --edges, prints the
    edges, and problems go to standard error. JSON always includes notes. In a folder, graphs are
    the YAML files with `nodes:`; hidden folders, virtual environments and build output are skipped.
    --fix replaces a key that is unknown and spelt almost like one that is known; nothing else in
    the file changes.

    Exit code 0 if all graphs are valid, 1 if one has problems, 2 if a file cannot be read.
    """
    while True:
        before = _fingerprint(graphs)
        files = graph_files(graphs)
        checked = [CheckedFile.load(file, graph_options) for file in files]
        while fix and (lines := fix_keys(each for one in checked for each in one.problems)):
            print_note("\n".join(lines))
            checked = [CheckedFile.load(file, graph_options) for file in files]
        if edges:
            _print_problems(_reported(checked, report), print_note)
            _print_edges(checked, report.format)
        else:
            print_report(checked, report)
        if not watch:
            break
        print_note("watching; Ctrl-C ends it", Style.DIM)
        next(change for change in _later_fingerprints(graphs) if change != before)
    if any(one.is_unreadable for one in checked):
        raise typer.Exit(EXIT_NOT_STARTED)
    if not all(one.is_valid for one in checked):
        raise typer.Exit(EXIT_FAILURE)


def _fingerprint(paths: Sequence[Path] | None) -> Mapping[str, int]:
    """When the files that graphs are made of were last changed, by their paths."""
    folders = [path if path.is_dir() else path.parent for path in paths or [project_folder()]]
    files = [file for folder in folders for file in files_in(folder, _is_source)]
    found: dict[str, int] = {}
    for file in files:
        with suppress(OSError):  # it is gone, which is a change too
            found[str(file)] = file.stat().st_mtime_ns
    return found


def _later_fingerprints(paths: Sequence[Path] | None) -> Iterator[Mapping[str, int]]:
    """The fingerprint again and again, after a moment each."""
    while True:
        sleep(_WATCH_SECONDS)
        yield _fingerprint(paths)


def _is_source(file: Path) -> bool:
    return file.name.endswith((".yaml", ".yml", ".json", ".py", *SUFFIXES))


def print_report(checked: Sequence[CheckedFile], options: ReportOptions) -> None:
    """Print the problems of some graphs in the format that is asked for."""
    checked = _reported(checked, options)
    match options.format:
        case ReportFormat.text:
            _print_problems(checked, print_text)
            for one in checked:
                print_note(one.summary(), Style.SUCCESS if one.is_valid else Style.ERROR)
        case ReportFormat.json:
            print_json([problem_as_json(problem) for one in checked for problem in one.problems])
        case _:  # for GitHub
            _print_problems(checked, print_text, line=_annotation)


def _reported(checked: Sequence[CheckedFile], options: ReportOptions) -> Sequence[CheckedFile]:
    if options.notes or options.format is ReportFormat.json:
        return checked
    return [one.without_notes() for one in checked]


def _print_problems(
    checked: Sequence[CheckedFile],
    output: Callable[[str], None],
    line: Callable[[Problem], str] = problem_line,
) -> None:
    for one in checked:
        for problem in one.problems:
            output(line(problem))


def _print_edges(checked: Sequence[CheckedFile], form: ReportFormat) -> None:
    edges = [
        (graph, edge, graph.place(edge))
        for graph in (one.graph for one in checked)
        if graph is not None
        for edge in graph.plan.edges
    ]
    if form is ReportFormat.json:
        print_json([edge_as_json(graph.name, edge, place) for graph, edge, place in edges])
        return
    print_table(
        ("source", "target", "kind", "labels", "origin"),
        [
            (edge.source, edge.target, edge.kind, ", ".join(edge.labels), place)
            for _, edge, place in edges
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
    written = ",".join(
        f"{name}={_escaped(str(value), ':,')}"
        for name, value in properties.items()
        if value is not None
    )
    return f"::{kind} {written}::{_escaped(problem.message + did_you_mean(problem))}"


def _escaped(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
