"""With `--json` an error is one line of JSON on standard error, whatever the error is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Project

BAD = 'name: t\nnodes:\n  a: {"rol\\e[2J": x}\n  b: {kind: membr}\n'


def error_of(project: Project, *words: str, code: int) -> dict[str, Any]:
    done = project.teamgraph(*words)
    assert done.exit_code == code, done.stderr
    error: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["exit_code"] == code
    assert len(done.stderr.splitlines()) == 1 or words[0] == "run"
    return error


@pytest.mark.parametrize(
    ("words", "code", "kind", "message"),
    [
        (("sessions", "show", "x"), 1, "NotFound", "there is no session 'x' in .teamgraph"),
        (("sessions", "show"), 2, "InputError", "name a session"),
        (("sessions", "import", "x"), 2, "InputError", "x: cannot read it"),
        (("sessions", "delete", "x"), 2, "InputError", "non-interactive use needs `--yes`"),
        (("sessions", "list", "--store", "desk.yaml"), 2, "StoreError", "not a directory"),
        (("runs", "show", "x"), 1, "NotFound", "there is no run 'x' in .teamgraph"),
        (("runs", "resume", "x", "--graph", "desk.yaml"), 1, "NotFound", "there is no run 'x'"),
        (("runs", "list", "--limit", "0"), 2, "UsageError", "'--limit'"),
        (("runs", "lst"), 2, "UsageError", "No such command 'lst'"),
        (("run", "desk.yaml"), 2, "UsageError", "Missing argument 'MESSAGE'"),
        (("run", "desk.yaml", " "), 2, "InputError", "the message is empty"),
        (("run", "desk.yaml", "hi", "--model", ""), 2, "InputError", "model"),
        (("render", "desk.yaml", "--node", "x"), 2, "InputError", "no node 'x'"),
        (("prompts", "coverage"), 1, "NotFound", "no case file"),
        (("prompts", "show", "abc"), 1, "NotFound", "hash 'abc'"),
        (("store", "verify"), 2, "InputError", "no store"),
        (("explain", "X"), 1, "NotFound", "no code 'X'"),
        (("init", "desk.yaml/x"), 2, "InputError", "cannot write it"),
        (("nothing",), 2, "UsageError", "No such command 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_is_json(
    project: Project, words: tuple[str, ...], code: int, kind: str, message: str
) -> None:
    error = error_of(project, *words, "--json", code=code)
    assert message in error["message"]
    if words[0] != "store" and "--model" not in words:
        assert error["type"] == kind
    plain = project.teamgraph(*words)
    assert plain.exit_code == code
    assert '{"error"' not in plain.stderr


def test_the_problems_of_an_invalid_graph_are_json(project: Project) -> None:
    project.write("bad.yaml", BAD)
    error = error_of(project, "run", "bad.yaml", "hi", "--json", code=2)
    assert error["type"] == "DefinitionError"
    assert [problem["code"] for problem in error["problems"]] == ["G001", "G005"]
    assert error["problems"][1]["suggestion"] == "member"
    assert "\x1b" not in project.teamgraph("run", "bad.yaml", "hi", "--json").stderr


def test_a_failed_run_is_json_on_both_outputs(project: Project) -> None:
    project.write("own.py", "def fail(message):\n    raise ValueError('no')\n")
    project.write("fails.yaml", "name: f\nnodes:\n  a: {kind: python, call: 'own:fail'}\n")
    done = project.apart("run", "fails.yaml", "hi", "--allow", "own", "--json")
    run = json.loads(done.stdout)
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert (run["status"], error["type"], error["exit_code"]) == ("failed", "NodeError", 1)
    assert f"teamgraph runs resume {run['run_id']}" in error["message"]


def test_check_with_a_format_of_json_reports_its_errors_as_json_too(project: Project) -> None:
    words = ("check", "desk.yaml", "--prompts", "nowhere", "--format", "json")
    assert "does not exist" in error_of(project, *words, code=2)["message"]
