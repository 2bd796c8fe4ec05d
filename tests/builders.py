"""Writes graph files and returns their problems."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from teamgraph import Graph
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import Node

FEWER_PLUGINS = {"PYTEST_ADDOPTS": "-p no:hypothesispytest -p no:anyio"}
"""For pytest in a process of its own: without two plug-ins that take half a second to import."""


def written(folder: Path, text: str, *, name: str = "team.yaml") -> Path:
    """A graph file (or a template, or a module) with this text, without its indent."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def refused(
    path: Path, kinds: Mapping[str, type[Node]] | None = None, *, allow: Sequence[str] = ()
) -> tuple[Problem, ...]:
    """The problems of a graph file."""
    with pytest.raises(DefinitionError) as caught:
        Graph.load(path, kinds=kinds, allow=allow)
    return caught.value.problems


def told(path: Path, *, allow: Sequence[str] = ()) -> list[str]:
    """The problems of a graph file as people read them, without the file's name."""
    problems = refused(path, allow=allow)
    assert {problem.file for problem in problems} == {str(path)}
    return [str(problem).removeprefix(f"{path}:") for problem in problems]
