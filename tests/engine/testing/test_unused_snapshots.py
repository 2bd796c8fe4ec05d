"""Nothing is concluded from tests that did not run: no snapshot of theirs is unused, or deleted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import CASES, GRAPH, Project

MODULE = """\
import pytest
from teamgraph import Graph

def rendering():
    return Graph.load("team.yaml").render("Hi")

@pytest.mark.xdist_group("a")
def test_one(prompt_snapshot):
    prompt_snapshot(rendering())

@pytest.mark.xdist_group("b")
class TestBoth:
    @pytest.mark.parametrize("number", [1, 2])
    def test_two(self, prompt_snapshot, number):
        prompt_snapshot(rendering())
        prompt_snapshot(rendering(), "named")
"""
USED = {
    *("talk/bonjour.md", "talk/hallo.md", "test_it/test_one.md"),
    *("test_it/testboth-test_two-1.md", "test_it/testboth-test_two-1-named.md"),
    *("test_it/testboth-test_two-2.md", "test_it/testboth-test_two-2-named.md"),
}
GONE = {"talk/gone.md", "test_it/gone.md", "orphan/gone.md"}
RERUNS = """\
import pytest
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    "A failed test is run again, as pytest-rerunfailures does it."
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in (1, 0):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if left and any(report.failed for report in reports):
            item.funcargs = {}
            item._initrequest()
            continue
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        break
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""
FLAKY = "tries = []\n\ndef test_flaky():\n    tries.append(1)\n    assert len(tries) > 1\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose snapshots are all written."""
    made = Project(tmp_path_factory.mktemp("template"))
    for name, text in (
        ("pytest.ini", "[pytest]\nmarkers = xdist_group\n"),
        ("team.yaml", GRAPH),
        ("talk.prompts.yaml", CASES),
        ("test_it.py", MODULE),
    ):
        made.write(name, text)
    done = made.pytest("--prompts-update")
    assert done.code == 0, done.text
    assert made.snapshots() == USED
    return made.folder


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Project:
    """A copy with three unused snapshots."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    made = Project(tmp_path)
    for name in GONE:
        made.write(f"__prompts__/{name}", "old")
    return made


NOT_RUN = {
    "collect-only": ["--collect-only"],
    "setup-plan": ["--setup-plan"],
    "setup-only": ["--setup-only"],
    "k-nothing": ["-k", "nothing"],
    "usage": ["--no-such-option"],
    "fixtures": ["--fixtures"],
    "collection": ["test_broken.py", "."],
    "interrupted": ["-p", "interrupts"],
    "exit": ["-p", "exits"],
}
PLUGINS = {
    "test_broken.py": "import no_such_module\n",
    "interrupts.py": "def pytest_runtest_setup(item):\n    raise KeyboardInterrupt\n",
    "exits.py": (
        "import pytest\n\n"
        "def pytest_runtest_teardown(item):\n    pytest.exit('now', returncode=0)\n"
    ),
}


@pytest.mark.parametrize("name", NOT_RUN)
def test_a_session_that_did_not_run_concludes_nothing(project: Project, name: str) -> None:
    words = NOT_RUN[name]
    for file, text in PLUGINS.items():
        if file.removesuffix(".py") in words or file in words:
            project.write(file, text)
    inside = Project(project.folder, {"PYTHONPATH": str(project.folder)})
    done = inside.pytest(*words)
    assert "prompt snapshot unused" not in done.text
    assert name not in ("collect-only", "setup-plan", "setup-only") or done.code == 0, done.text
    done = inside.pytest(*words, "--prompts-update")
    assert "prompt snapshot deleted" not in done.text.replace("orphan/gone.md", "")
    assert project.snapshots() >= USED | (GONE - {"orphan/gone.md"})


PART = {
    "k": ["-k", "Bonjour or test_one"],
    "k-module": ["-k", "test_it"],
    "node": ["test_it.py::test_one"],
    "class": ["test_it.py::TestBoth"],
    "case": ["talk.prompts.yaml::Hallo"],
    "deselect": ["--deselect", "test_it.py::test_one", "--deselect", "talk.prompts.yaml::Hallo"],
    "lf": ["--lf"],
    "maxfail": ["--maxfail", "1", "test_a.py", "test_it.py"],
    "x": ["-x", "test_a.py", "test_it.py", "talk.prompts.yaml"],
    "sw": ["--sw", "test_a.py", "test_it.py", "talk.prompts.yaml"],
    "loadgroup": ["-n", "2", "--dist", "loadgroup", "-k", "test_one or Hallo"],
    "xdist-x": ["-n", "1", "-x", "test_a.py", "test_it.py"],
}


@pytest.mark.parametrize("name", PART)
def test_a_part_of_the_tests_says_nothing_of_the_others(project: Project, name: str) -> None:
    words = PART[name]
    if "test_a.py" in words:
        project.write("test_a.py", "def test_fails():\n    assert 0\n")
    cache = name in ("lf", "sw")
    if name == "lf":
        broken = MODULE.replace("def test_one(prompt_snapshot):", "def test_one():\n    assert 0\n")
        project.write("test_it.py", broken.partition('@pytest.mark.xdist_group("b")')[0])
        project.pytest("test_it.py", cache=True)
        project.write("test_it.py", MODULE)
    done = project.pytest(*words, cache=cache)
    kept = USED | {"test_it/gone.md"}
    if name != "k-module":
        assert not [one for one in kept if f"unused: __prompts__/{one}" in done.text], done.text
    update = [*words, "--prompts-update"]
    done = project.pytest(*update, cache=cache)
    assert project.snapshots() >= (USED if name == "k-module" else kept), done.text


@pytest.mark.parametrize(
    "words",
    [[], ["--ff"], ["-n", "2"], ["-n", "2", "--dist", "loadgroup"], ["-p", "reruns"]],
    ids=["all", "ff", "xdist", "loadgroup", "reruns"],
)
def test_a_whole_run_finds_exactly_what_is_unused(project: Project, words: list[str]) -> None:
    if "reruns" in words:
        project.write("reruns.py", RERUNS)
        project.write("test_it.py", f"{MODULE}\n{FLAKY}")
    inside = Project(project.folder, {"PYTHONPATH": str(project.folder)})
    cache = "--ff" in words
    done = inside.pytest(*words, cache=cache)
    unused = {one for one in USED | GONE if f"unused: __prompts__/{one}" in done.text}
    assert unused == GONE, done.text
    assert done.code == 1
    done = inside.pytest(*words, "--prompts-update", cache=cache)
    assert done.code == 0, done.text
    assert project.snapshots() == USED


@pytest.mark.parametrize("words", [["--collect-only"], ["--setup-plan"]])
def test_a_session_that_did_not_run_fails_for_no_coverage(
    project: Project, words: list[str]
) -> None:
    project.write("prompts/member.jinja", "{% if input.message %}A{% else %}B{% endif %}")
    done = project.pytest(*words, "--prompts-cov-fail-under", "100")
    assert done.code == 0, done.text
    assert "less than" not in done.text
