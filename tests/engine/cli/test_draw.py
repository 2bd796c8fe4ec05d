"""`teamgraph draw` and `teamgraph schema`: results for other programs."""

from __future__ import annotations

import json
import sys
from xml.etree import ElementTree as ET

import pytest

from teamgraph import Graph
from teamgraph.engine.graph.draw import mermaid

from .conftest import Project


def test_a_graph_is_drawn_as_mermaid(project: Project) -> None:
    done = project.teamgraph("draw", "desk.yaml")
    assert done.exit_code == 0
    assert done.stdout == mermaid(Graph.load("desk.yaml"))


def test_the_name_of_the_output_says_the_format(project: Project) -> None:
    for name in ("desk.mmd", "desk.svg", "desk.PNG"):
        done = project.teamgraph("draw", "desk.yaml", "-o", name)
        assert (done.exit_code, done.stdout) == (0, "")
    assert (project.folder / "desk.mmd").read_text().startswith("flowchart TD\n")
    assert (project.folder / "desk.PNG").read_bytes().startswith(b"\x89PNG")
    root = ET.fromstring((project.folder / "desk.svg").read_text(encoding="utf-8"))  # noqa: S314  ours
    assert root.tag.endswith("svg")
    shown = " ".join(root.itertext())
    assert "You know the prices" in shown
    assert "technical" in shown


def test_a_name_that_says_no_format_is_refused_unless_one_is_named(project: Project) -> None:
    done = project.teamgraph("draw", "desk.yaml", "-o", "desk.pdf")
    assert done.exit_code == 2
    assert "desk.pdf: unknown format '.pdf'; use .mmd, .svg or .png, or name" in done.stderr
    assert not (project.folder / "desk.pdf").exists()
    assert (
        project.teamgraph("draw", "desk.yaml", "-o", "desk.x", "--format", "mermaid").exit_code == 0
    )


def test_a_picture_goes_to_a_pipe_as_it_is(project: Project) -> None:
    done = project.shell("$teamgraph draw desk.yaml --format png | head -c 4 | od -c | head -1")
    assert "P   N   G" in done.stdout


def test_without_the_library_the_way_to_a_png_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mermaidx", None)
    done = project.teamgraph("draw", "desk.yaml", "-o", "desk.png")
    assert done.exit_code == 2
    assert "pip install 'teamgraph[draw]', or use --format svg" in done.stderr
    assert not (project.folder / "desk.png").exists()
    assert (
        project.teamgraph("draw", "desk.yaml", "-o", "desk.png", "--format", "svg").exit_code == 0
    )


def test_an_output_that_cannot_be_written_is_named(project: Project) -> None:
    done = project.teamgraph("draw", "desk.yaml", "-o", "nowhere/desk.mmd")
    assert done.exit_code == 2
    assert "nowhere/desk.mmd: cannot write it: no such file or directory" in done.stderr


def test_a_broken_graph_is_not_drawn(project: Project) -> None:
    project.write("bad.yaml", "name: t\nnodes:\n  a: {rol: x}\n")
    project.write("out.mmd", "before")
    done = project.teamgraph("draw", "bad.yaml", "-o", "out.mmd")
    assert done.exit_code == 2
    assert (project.folder / "out.mmd").read_text() == "before"


def test_the_schema_is_printed_or_written(project: Project) -> None:
    printed = project.teamgraph("schema")
    assert json.loads(printed.stdout)["$schema"].endswith("2020-12/schema")
    assert project.teamgraph("schema", "-o", "graph.v1.json").exit_code == 0
    assert (project.folder / "graph.v1.json").read_text(encoding="utf-8") == printed.stdout
