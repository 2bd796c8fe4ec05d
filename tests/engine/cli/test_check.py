"""`teamgraph check`: verdicts, problems and edges."""

from __future__ import annotations

import json
import signal

import pytest

from .conftest import DESK, Project

BAD = "name: t\nnodes:\n  a: {rol: x}\n  b: {kind: membr}\n"
WARNED = "name: t\nnodes:\n  a: {}\n  b: {}\noutput: a\n"


def test_a_valid_graph_is_reported_as_valid(project: Project) -> None:
    done = project.teamgraph("check", "desk.yaml")
    assert done.exit_code == 0
    assert done.stdout == ""
    assert done.stderr.startswith("desk.yaml: valid (4 nodes, ")


def test_all_problems_of_all_graphs_come_at_once(project: Project) -> None:
    project.write("bad.yaml", BAD)
    project.write("worse.yaml", BAD)
    done = project.teamgraph("check", "bad.yaml", "desk.yaml", "worse.yaml")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 4
    verdicts = done.stderr.splitlines()
    assert (verdicts[0], verdicts[2]) == ("bad.yaml: 2 problems", "worse.yaml: 2 problems")
    assert verdicts[1].startswith("desk.yaml: valid (4 nodes, ")


def test_a_file_of_a_folder_that_cannot_be_read_is_no_graph(project: Project) -> None:
    (project.folder / "memory.yaml").symlink_to("/proc/self/mem")
    done = project.teamgraph("check", ".")
    assert done.exit_code == 0
    assert "desk.yaml: valid" in done.stderr
    assert "memory" not in done.stdout + done.stderr


def test_folders_of_templates_are_searched(project: Project) -> None:
    project.write("mine/member.jinja", "{{ no_such }}")
    (project.folder / "empty").mkdir()
    done = project.teamgraph("check", "desk.yaml", "--prompts", "empty", "--prompts", "mine")
    assert done.exit_code == 1
    assert "no_such" in done.stdout


def test_a_warning_is_told_and_is_no_error(project: Project) -> None:
    project.write("odd.yaml", WARNED)
    done = project.teamgraph("check", "odd.yaml")
    assert done.exit_code == 0
    assert (
        "warning: the output of node 'b' is not used; read it in a template, or remove it [G108]"
        in done.stdout
    )


NOTED = """
name: t
nodes:
  a:
    prompt: |
      {% system %}{{ input.message }}{% endsystem %}
"""


def test_notes_are_told_only_to_those_who_ask(project: Project) -> None:
    project.write("noted.yaml", NOTED)
    plain = project.teamgraph("check", "noted.yaml")
    assert (plain.exit_code, plain.stdout) == (0, "")
    asked = project.teamgraph("check", "noted.yaml", "--notes")
    assert asked.exit_code == 0
    assert "noted.yaml:6:22: note: input.message is user input" in asked.stdout
    as_json = json.loads(project.teamgraph("check", "noted.yaml", "--format", "json").stdout)
    assert [(each["code"], each["severity"]) for each in as_json] == [("P110", "note")]


def test_notes_are_not_among_the_problems_of_an_invalid_graph(project: Project) -> None:
    project.write("noted.yaml", NOTED.replace("{{ input", "{{ inptu.x }}{{ input"))
    done = project.teamgraph("draw", "noted.yaml")
    assert done.exit_code == 2
    assert "unknown name 'inptu'" in done.stderr
    assert "what the user wrote" not in done.stderr


def test_json_is_a_list_of_problems(project: Project) -> None:
    project.write("bad.yaml", BAD)
    done = project.teamgraph("check", "bad.yaml", "--format", "json")
    assert json.loads(done.stdout)[0] == {
        "code": "G001",
        "severity": "error",
        "graph": "t",
        "file": "bad.yaml",
        "line": 3,
        "column": 7,
        "message": "node 'a': unknown key 'rol'",
        "suggestion": "role",
    }
    assert json.loads(project.teamgraph("check", "desk.yaml", "--format", "json").stdout) == []


def test_github_gets_annotations_that_no_text_can_forge(project: Project) -> None:
    project.write("a,b:c.yaml", BAD + '  "x%\\n::error::y": {}\n')
    done = project.teamgraph("check", "a,b:c.yaml", "--format", "github")
    assert all(
        line.startswith("::error file=a%2Cb%3Ac.yaml,line=") for line in done.stdout.splitlines()
    )
    assert (
        ",line=3,col=7,title=G001::node 'a': unknown key 'rol'; did you mean 'role'?" in done.stdout
    )


def test_edges_are_listed_with_their_origin(project: Project) -> None:
    done = project.teamgraph("check", "desk.yaml", "--edges")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0] == ["source", "target", "kind", "labels", "origin"]
    assert ["router", "billing", "route", "billing", "desk.yaml:6:14"] in rows
    reads = [row for row in rows if row[:3] == ["history", "billing", "reads"]]
    assert reads
    assert all("member.jinja:" in row[4] for row in reads)


def test_edges_as_json_are_the_result_and_problems_stand_beside(project: Project) -> None:
    project.write("odd.yaml", WARNED)
    project.write("bad.yaml", BAD)
    done = project.teamgraph("check", "desk.yaml", "odd.yaml", "--edges", "--format", "json")
    assert {
        "graph": "desk",
        "source": "router",
        "target": "billing",
        "kind": "route",
        "labels": ["billing"],
        "origin": "desk.yaml:6:14",
    } in json.loads(done.stdout)
    assert "[G108]" in done.stderr
    bad = project.teamgraph("check", "bad.yaml", "--edges")
    assert bad.exit_code == 1
    assert "[G001]" in bad.stderr


def test_without_a_name_all_graphs_of_the_project_are_checked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("pyproject.toml", "[tool.teamgraph]\n")
    project.write("graphs/bad.yml", BAD)
    project.write("graphs/talk.prompts.yaml", "graph: bad.yml\ncases: {a: {}}\n")
    project.write("kind.yaml", "apiVersion: v1\nkind: Cluster\nnodes:\n- role: worker\n")
    project.write("compose.yaml", "services:\n  nodes: {}\n")
    for skipped in (".hidden", "build", "node_modules", "env"):
        project.write(f"{skipped}/bad.yaml", BAD)
    project.write("env/pyvenv.cfg", "")
    for folder, place in ((".", ""), ("graphs", "../")):
        monkeypatch.chdir(project.folder / folder)
        done = project.teamgraph("check")
        assert done.exit_code == 1
        verdicts = sorted(line.partition(": ")[0] for line in done.stderr.splitlines())
        assert verdicts == sorted([f"{place}desk.yaml", f"{place}graphs/bad.yml"])
        assert len(done.stdout.splitlines()) == 2


def test_folders_and_files_may_be_named_and_count_once(project: Project) -> None:
    project.write("graphs/odd.yaml", WARNED)
    done = project.teamgraph("check", "graphs", "desk.yaml", "graphs/odd.yaml")
    assert done.exit_code == 0
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "graphs/odd.yaml",
        "desk.yaml",
    ]
    prompts = project.teamgraph("prompts", "check", "graphs")
    assert prompts.stderr == "graphs/odd.yaml: valid (2 prompts)\n"


def test_a_folder_without_graphs_is_an_error_that_names_it(project: Project) -> None:
    project.write("empty/other.yaml", "a: 1\n")
    done = project.teamgraph("check", "empty")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: empty: no graph files here")


def test_fix_puts_misspelt_keys_right_and_leaves_the_rest_as_it_is(project: Project) -> None:
    wrong = (
        "\ufeffnmae: t\r\n# kept\r\nnodes:\r\n  a: {\"rol\": 'x'}  # kept too\r\n"
        '  b: {needs: a, retyr: {times: 1, max_weit: 3}, activate: x, "r\\x6fl": y}\r\n'
    )
    file = project.write("team.yaml", wrong)
    done = project.teamgraph("check", "team.yaml", "--fix")
    right = wrong.replace("nmae", "name").replace('"rol"', '"role"')
    right = right.replace("retyr", "retry").replace("max_weit", "max_wait")
    assert file.read_bytes().decode() == right
    assert "team.yaml:4:7: fixed: rol is now role" in done.stderr
    assert done.exit_code == 1
    assert "unknown key 'activate'; did you mean 'when'?" in done.stdout
    before = file.stat()
    again = project.teamgraph("check", "team.yaml", "--fix")
    assert file.stat().st_ino == before.st_ino  # not written: nothing in it was certain
    assert ("fixed" in again.stderr, file.read_bytes().decode()) == (False, right)


def test_watch_checks_again_when_a_file_changes(project: Project) -> None:
    running = project.start("check", "desk.yaml", "--watch")
    assert running.stderr is not None
    try:
        told = [running.stderr.readline() for _ in range(2)]
        project.write("desk.yaml", DESK.replace("role: You know the prices", "rol: x"))
        told.append(running.stderr.readline())
    finally:
        running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert told == [
        "desk.yaml: valid (4 nodes, 11 edges)\n",
        "watching; Ctrl-C ends it\n",
        "desk.yaml: 1 problem\n",
    ]
    assert running.returncode == 130
