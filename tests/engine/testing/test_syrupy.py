"""Beside syrupy: two plug-ins for snapshots, each with its own option, fixture and files."""

from __future__ import annotations

import pytest

from .conftest import Project

pytest.importorskip("syrupy")

MODULE = """\
from teamgraph import Graph

def test_both(snapshot, prompt_snapshot):
    rendering = Graph.load("team.yaml").render("Hi")
    prompt_snapshot(rendering)
    assert rendering["french"].text == snapshot

def test_theirs(snapshot):
    assert {"a": 1} == snapshot
    assert "b" == snapshot(name="named")
"""
OURS = {"talk/bonjour.md", "talk/hallo.md", "test_it/test_both.md"}


def theirs(project: Project) -> set[str]:
    return {path.name for path in (project.folder / "__snapshots__").rglob("*")}


def test_two_processes_update_and_compare_both(project: Project) -> None:
    project.write("test_it.py", MODULE)
    done = project.pytest_apart("-n", "2", "--snapshot-update", "--prompts-update")
    assert done.code == 0, done.text
    assert (project.snapshots(), theirs(project)) == (OURS, {"test_it.ambr"})
    done = project.pytest_apart("-n", "2")
    assert done.code == 0, done.text
    assert "4 passed" in done.text
    assert "unused" not in done.text


def test_an_update_of_one_writes_changes_and_deletes_nothing_of_the_other(
    project: Project,
) -> None:
    project.write("test_it.py", MODULE)
    assert project.pytest_apart("--prompts-update").code == 1  # theirs are not there yet
    assert (project.snapshots(), theirs(project)) == (OURS, set())
    assert project.pytest_apart("--snapshot-update").code == 0
    assert (project.snapshots(), theirs(project)) == (OURS, {"test_it.ambr"})

    stored = project.read("__snapshots__/test_it.ambr")
    project.write("team.yaml", project.read("team.yaml").replace("You speak", "You sing"))
    project.write("test_it.py", MODULE.partition("def test_theirs")[0])
    assert (
        project.pytest_apart("--prompts-update").code == 1
    )  # theirs are changed, and one is unused
    assert project.read("__snapshots__/test_it.ambr") == stored
    project.write("__prompts__/talk/gone.md", "old")
    ours = {name: project.read(f"__prompts__/{name}") for name in OURS}
    done = project.pytest_apart("--snapshot-update")
    assert done.code == 1
    assert "prompt snapshot unused: __prompts__/talk/gone.md" in done.text
    assert {name: project.read(f"__prompts__/{name}") for name in OURS} == ours
    assert "You sing" in project.read("__snapshots__/test_it.ambr")
    assert "named" not in project.read("__snapshots__/test_it.ambr")
