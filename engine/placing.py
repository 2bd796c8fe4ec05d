"""Where in a graph file the problems and the edges of its graph stand."""

from __future__ import annotations

from msgspec.structs import replace

from .errors import Problem
from .plan import Edge
from .yaml_file import Document


def place_of(edge: Edge, document: Document | None) -> str:
    """Where an edge is written: `file:line:column`, or its keys where there is no file."""
    problem = Problem("", "", file=edge.file, line=edge.line, column=edge.column, path=edge.path)
    found = placed(replace(problem, on_key=edge.target in edge.labels[:1]), document)
    return str(found).removesuffix(": ")


def placed(problem: Problem, document: Document | None) -> Problem:
    """The problem at its place in the graph file, if it has none yet and there is a file."""
    if problem.file is not None or document is None:
        return problem
    if problem.line is not None and problem.column is not None:
        place = document.inside(problem.path, problem.line, problem.column)
    elif problem.on_key:
        place = document.key(problem.path)
    else:
        place = document.value(problem.path)
    return replace(problem, file=document.file, line=place.line, column=place.column)
