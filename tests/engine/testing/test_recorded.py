"""The fixture `recorded_model`: a test of a run that asks a model once, and never again."""

from __future__ import annotations

from .conftest import Project

TEST = """\
from teamgraph import Graph, Runner

def test_french(recorded_model):
    run = Runner(Graph.load("team.yaml"), model=recorded_model("echo")).run("Bonjour")
    assert Runner(run and Graph.load("team.yaml"), model=recorded_model()).run("Salut").answer
    assert run.answer == "echo: Bonjour"
"""
FOLDER = "__recordings__/test_team/test_french"


def test_a_test_is_recorded_replayed_and_strict_about_both(project: Project) -> None:
    test = project.write("test_team.py", TEST)
    done = project.pytest("test_team.py")
    assert done.code == 1
    assert f"{FOLDER}: there are no recordings; make them: pytest --models-record" in done.text
    project.write(f"{FOLDER}/old.json", "{}")
    assert project.pytest("test_team.py", "--models-record").code == 0
    files = [*(project.folder / FOLDER).iterdir()]
    assert len(files) == 4
    done = project.pytest("test_team.py")
    assert (done.code, "1 passed" in done.text) == (0, True)

    test.write_text(TEST.replace("Bonjour", "Hallo"))
    done = project.pytest("test_team.py")
    assert done.code == 1
    assert '-      "content": "Salut"' in done.text or '-      "content": "Bonjour"' in done.text
    assert "nothing asked for" not in done.text

    test.write_text(TEST.replace("    assert Runner", "    assert run or Runner"))
    done = project.pytest("test_team.py")
    assert done.code == 1
    assert "has recordings that nothing asked for: echo-" in done.text


def test_recording_is_refused_in_ci(project: Project) -> None:
    done = Project(project.folder, {"CI": "1"}).pytest("--models-record")
    assert done.code == 4
    assert "--models-record: not in CI" in done.text


def test_a_test_that_runs_nothing_needs_no_recordings(project: Project) -> None:
    project.write("test_none.py", "def test_none(recorded_model):\n    pass\n")
    assert project.pytest("test_none.py").code == 0
