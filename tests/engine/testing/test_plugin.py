"""The plug-in as its users meet it: pytest in a project of theirs."""

from __future__ import annotations

import pytest

from .conftest import Project

BOTH = {"talk/bonjour.md", "talk/hallo.md"}
MODULE = """\
from teamgraph import Graph

def rendering():
    return Graph.load("team.yaml").render("Hi")

def test_one(prompt_snapshot):
    prompt_snapshot(rendering())
    prompt_snapshot(rendering())
    prompt_snapshot(rendering(), "named")

def test_two(prompt_snapshot):
    prompt_snapshot(rendering())
"""
OF_MODULE = {
    "test_it/test_one.md",
    "test_it/test_one-2.md",
    "test_it/test_one-named.md",
    "test_it/test_two.md",
}


def test_a_new_snapshot_is_a_failure_that_shows_it_and_then_is_written(project: Project) -> None:
    done = project.pytest()
    assert done.code == 1
    assert "there is no snapshot __prompts__/talk/bonjour.md yet:" in done.text
    assert "# team / Bonjour" in done.text
    assert "### french 1 system" in done.text
    assert "write it with: pytest --prompts-update" in done.text
    assert "Traceback" not in done.text
    assert not project.snapshots()
    done = project.pytest("--prompts-update")
    assert done.code == 0
    assert "prompt snapshot written: __prompts__/talk/bonjour.md" in done.text
    assert project.snapshots() == BOTH
    done = project.pytest()
    assert done.code == 0
    assert "2 passed" in done.text
    assert "prompt snapshot" not in done.text


def test_a_changed_prompt_is_a_diff_that_names_the_node_and_the_message(project: Project) -> None:
    project.pytest("--prompts-update")
    graph = project.folder / "team.yaml"
    graph.write_text(graph.read_text().replace("You speak French", "You speak good French"))
    done = project.pytest()
    assert done.code == 1
    assert "1 failed, 1 passed" in done.text
    assert "--- __prompts__/talk/bonjour.md (stored)" in done.text
    assert "@@ french 1 system" in done.text
    assert "-    You speak French." in done.text
    assert "+    You speak good French." in done.text
    assert "accept it with: pytest --prompts-update" in done.text
    assert project.pytest("--prompts-update").code == 0
    assert project.pytest().code == 0


def test_an_unused_snapshot_fails_the_run_and_is_deleted_by_an_update(project: Project) -> None:
    project.pytest("--prompts-update")
    project.write("__prompts__/talk/gone.md", "old")
    project.write("__prompts__/gone/old.md", "old")
    project.write("__prompts__/README.md", "kept")
    done = project.pytest()
    assert done.code == 1
    assert "prompt snapshot unused: __prompts__/talk/gone.md" in done.text
    assert "prompt snapshot unused: __prompts__/gone/old.md" in done.text
    done = project.pytest("--prompts-update")
    assert done.code == 0
    assert "prompt snapshot deleted: __prompts__/talk/gone.md" in done.text
    assert project.snapshots() == {*BOTH, "README.md"}
    assert not (project.folder / "__prompts__" / "gone").exists()


def test_an_update_of_one_case_deletes_nothing_that_another_names(project: Project) -> None:
    project.write("test_it.py", MODULE)
    project.pytest("--prompts-update")
    assert project.snapshots() == BOTH | OF_MODULE
    for words in (["-k", "Bonjour"], ["-k", "test_one"], ["test_it.py::test_one"]):
        done = project.pytest(*words, "--prompts-update")
        assert done.code == 0, done.text
        assert project.snapshots() == BOTH | OF_MODULE


def test_two_processes_write_compare_and_delete_as_one(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write("test_it.py", MODULE)
    project.write("__prompts__/talk/gone.md", "old")
    assert project.pytest("-n", "2", "--prompts-update").code == 0
    assert project.snapshots() == BOTH | OF_MODULE
    project.write("__prompts__/talk/gone.md", "old")
    done = project.pytest("-n", "2")
    assert done.code == 1
    assert "6 passed" not in done.text.splitlines()[0]
    assert done.text.count("prompt snapshot unused: __prompts__/talk/gone.md") == 1
    assert "4 passed" in done.text


def test_a_worker_that_died_leads_to_no_deletion(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write("__prompts__/talk/gone.md", "old")
    project.write("test_dies.py", "import os\n\ndef test_dies():\n    os._exit(1)\n")
    project.pytest("-n", "1", "--max-worker-restart", "0", "--prompts-update")
    assert "talk/gone.md" in project.snapshots()


def test_snapshots_of_tests_that_failed_or_were_left_out_stay(project: Project) -> None:
    project.write("test_it.py", MODULE)
    project.pytest("--prompts-update")
    begins = "def test_two(prompt_snapshot):"
    project.write("test_it.py", MODULE.replace(begins, f"{begins}\n    assert 0"))
    project.pytest("--prompts-update")
    assert project.snapshots() == BOTH | OF_MODULE
    project.pytest("-x", "--prompts-update")
    assert project.snapshots() == BOTH | OF_MODULE


def test_a_test_that_is_gone_leaves_unused_snapshots(project: Project) -> None:
    project.write("test_it.py", MODULE)
    project.pytest("--prompts-update")
    project.write("test_it.py", "def test_other():\n    pass\n")
    done = project.pytest()
    assert done.code == 1
    assert "prompt snapshot unused: __prompts__/test_it/test_two.md" in done.text
    project.pytest("--prompts-update")
    assert project.snapshots() == BOTH


def test_only_a_rendering_can_be_compared(project: Project) -> None:
    project.write("test_it.py", "def test_it(prompt_snapshot):\n    prompt_snapshot('text')\n")
    done = project.pytest("test_it.py")
    assert done.code == 1
    assert "prompt_snapshot takes the result of graph.render(), not str" in done.text


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("mine.py", "pytest"),
        ("mine.py", "update"),
        ("mine.py", "coverage"),
        ("graphs/mine.py", "pytest"),
        ("tests/mine.py", "pytest"),
    ],
)
def test_a_graph_of_a_case_file_may_name_functions_of_its_project(
    project: Project, place: str, command: str
) -> None:
    """Modules are in the project's folder, beside the graph or beside the cases."""
    project.write(place, "def double(message: str) -> str:\n    return message * 2\n")
    project.write("pyproject.toml", '[tool.teamgraph]\nallow = ["mine"]\n')
    project.write("graphs/team.yaml", "name: t\nnodes: {a: {kind: python, call: mine:double}}\n")
    (project.folder / "talk.prompts.yaml").unlink()
    project.write("tests/talk.prompts.yaml", "graph: ../graphs/team.yaml\ncases: {one: {}}\n")
    check = f"""\
        import sys

        def test_the_path_is_as_it_was():
            assert not [path for path in sys.path if path.startswith({str(project.folder)!r})]
        """
    project.write("last/test_path.py", check)
    if command == "pytest":
        done = project.pytest("--import-mode=importlib", "--prompts-update", "tests", "last")
    else:
        done = project.run("teamgraph", "prompts", command)
    assert done.code == 0, done.text


def test_nobody_updates_in_ci(project: Project) -> None:
    in_ci = Project(project.folder, {"CI": "true"})
    done = in_ci.pytest("--prompts-update")
    assert done.code == 4
    assert "--prompts-update: not in CI" in done.text
    assert in_ci.pytest().code == 1


def test_ci_that_is_false_is_none(project: Project) -> None:
    done = Project(project.folder, {"CI": "false"}).pytest("--prompts-update")
    assert done.code == 0, done.text
    assert project.snapshots() == BOTH


def test_an_invalid_case_file_is_reported_with_its_place(project: Project) -> None:
    project.pytest("--prompts-update")
    project.write("talk.prompts.yaml", "graph: team.yaml\ncases:\n  a: {inputt: x}\n")
    done = project.pytest("--prompts-update")
    assert done.code == 2
    assert "talk.prompts.yaml:3:7: unknown key 'inputt'; did you mean 'input'?" in done.text
    assert "Traceback" not in done.text
    assert project.snapshots() == BOTH


def test_all_failed_expectations_are_reported_at_once(project: Project) -> None:
    cases = """\
        graph: team.yaml
        cases:
          a:
            input: Bonjour
            snapshot: false
            assume: {router: french}
            expect:
              french: {contains: [German, Hallo], excludes: French, max_chars: 3, max_tokens: 2}
              german: {contains: x}
              router: skipped
          b:
            snapshot: false
            assume: {french: [1]}
        """
    project.write("talk.prompts.yaml", cases)
    done = project.pytest()
    assert done.code == 1
    for text in (
        "french: 'German' is missing",
        "french: 'Hallo' is missing",
        "french: 'French' is excluded, but in the prompt",
        "characters, more than 3",
        "tokens, more than 2",
        "german: it was skipped (router chose french), but a prompt is expected",
        "router: it runs, but is expected to be skipped",
        "assume: node 'french' answers with text, not with [1]",
    ):
        assert text in done.text
    assert "Traceback" not in done.text


def test_branches_that_no_case_renders_are_listed_with_their_places(project: Project) -> None:
    template = "{% if input.message == 'Hallo' %}\nA\n{% else %}\nB\n{% endif %}\n"
    project.write("prompts/member.jinja", template)
    project.write("prompts/unused.jinja", "nobody asks for this")
    project.pytest("--prompts-update")
    for words in ([], ["-n", "2"]):
        done = project.pytest("--prompts-cov", *words)
        assert done.code == 0
        assert "prompts/member.jinja" in done.text
        assert "prompts/unused.jinja:1:1: template rendered: not rendered" in done.text
        assert "75.0 %" in done.text
        assert "router.jinja" not in done.text
    done = project.pytest("-k", "Bonjour", "--prompts-cov-fail-under", "60")
    assert done.code == 1
    assert "prompts/member.jinja:1:4: if taken: not rendered" in done.text
    assert "50.0 % of the branches were rendered, less than the 60 % wanted" in done.text
    assert project.pytest("-n", "2", "--prompts-cov-fail-under", "75").code == 0


def test_without_a_prompt_the_engine_is_not_imported(project: Project) -> None:
    (project.folder / "talk.prompts.yaml").unlink()
    project.write(
        "test_it.py",
        """\
        import sys

        def test_it():
            ours = {name for name in sys.modules if name.startswith("teamgraph")}
            assert ours <= {
                "teamgraph", "teamgraph.engine", "teamgraph.engine.os_fork",
                "teamgraph.engine.testing",
                "teamgraph.engine.testing.plugin",
            }
        """,
    )
    for words in ([], ["-n", "1"]):
        done = project.pytest_apart(*words)
        assert done.code == 0, done.text
