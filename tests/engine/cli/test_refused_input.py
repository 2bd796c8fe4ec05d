"""Each kind of bad input: one readable error, the documented exit code, nothing half-written."""

from __future__ import annotations

import json

import pytest

from tests.stub import StubAnswer, StubProvider

from .conftest import Project

BROKEN = {
    "unknown kind": (
        "name: t\nnodes:\n  a: {kind: membr}\n",
        "bad.yaml:3:13: error: node 'a': unknown kind 'membr'; did you mean 'member'? [G005]",
    ),
    "unknown key": (
        "name: t\nnodes:\n  a: {rol: x}\n",
        "bad.yaml:3:7: error: node 'a': unknown key 'rol'; did you mean 'role'? [G001]",
    ),
    "cycle": (
        "name: t\nnodes:\n  a: {needs: b}\n  b: {needs: a}\noutput: a\n",
        "the nodes form a cycle: ",
    ),
    "unknown node": (
        "name: t\nnodes:\n  first: {}\n  a: {needs: frist}\n",
        "node 'a' needs 'frist', and there is no such node; did you mean 'first'? [G012]",
    ),
    "missing template": (
        "name: t\nnodes:\n  a: {prompt: nowhere.jinja}\n",
        "bad.yaml:3:15: error: there is no template 'nowhere.jinja'",
    ),
    "undefined variable": (
        "name: t\nnodes:\n  a:\n    prompt: |\n      hello {{ inpt.message }}\n",
        "bad.yaml:5:16: error: unknown name 'inpt'; did you mean 'input'?",
    ),
    "wrong type": (
        "name: t\nnodes:\n  a: {retry: many}\n",
        "bad.yaml:3:14: error: node 'a': retry: must be ",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_definition_is_not_run(project: Project, fault: str) -> None:
    text, told = BROKEN[fault]
    project.write("bad.yaml", text)
    done = project.teamgraph("run", "bad.yaml", "hello", "--model", "echo")
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stdout == ""
    assert not (project.folder / ".teamgraph").exists()


@pytest.mark.parametrize("fault", BROKEN)
def test_check_finds_what_run_refuses(project: Project, fault: str) -> None:
    text, told = BROKEN[fault]
    project.write("bad.yaml", text)
    done = project.teamgraph("check", "bad.yaml")
    assert done.exit_code == 1
    assert told in done.stdout


def test_a_graph_file_that_is_not_there_is_not_tried(project: Project) -> None:
    for command in (("run", "dsk.yaml", "hello"), ("check", "dsk.yaml"), ("draw", "dsk.yaml")):
        done = project.teamgraph(*command)
        assert done.exit_code == 2
        told = "dsk.yaml: error: there is no such file; did you mean 'desk.yaml'? [Y001]"
        assert told in done.output


def test_without_a_model_the_ways_out_are_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")
    done = project.teamgraph("run", "desk.yaml", "hello")
    assert done.exit_code == 2
    assert "error: no model is named, and OPENAI_API_KEY is set; name one" in done.stderr
    assert "--model openai/gpt-5-mini" in done.stderr
    assert not (project.folder / ".teamgraph").exists()


def test_a_model_that_cannot_be_reached_was_not_tried(project: Project, stub: StubProvider) -> None:
    stub.push(*[StubAnswer(fault="reset")] * 9)
    model = f"{{id: openai/stub, api_base: '{stub.base_url}', api_key_env: KEY}}"
    project.write("one.yaml", f"name: one\nmodel: {model}\nnodes:\n  only: {{}}\n")
    without_key = project.teamgraph("run", "one.yaml", "hello")
    project.more["KEY"] = "sk-stub"
    unreachable = project.teamgraph("run", "one.yaml", "hello")
    assert without_key.exit_code == 2
    assert "the environment variable KEY is not set" in without_key.stderr
    assert unreachable.exit_code == 2, unreachable.stderr
    assert "the provider cannot be reached" in unreachable.stderr
    assert "resume it: teamgraph runs resume" in unreachable.stderr


def test_a_store_that_cannot_be_written_is_named(project: Project) -> None:
    project.write("file", "")
    done = project.teamgraph("run", "desk.yaml", "hi", "--model", "echo", "--store", "file")
    assert done.exit_code == 2
    assert (
        done.stderr == "error: file: not a directory; a store is a directory; name another path\n"
    )
    assert done.stdout == ""


def test_a_store_of_a_newer_version_is_left_alone(project: Project) -> None:
    marker = project.write("st/store.json", json.dumps({"format": "teamgraph-store", "version": 9}))
    before = marker.read_bytes()
    run = project.teamgraph("run", "desk.yaml", "hi", "--model", "echo", "--store", "st")
    listed = project.teamgraph("sessions", "list", "--store", "st")
    for done in (run, listed):
        assert done.exit_code == 2
        assert "the store has version 9 and this teamgraph reads version 1" in done.stderr
    assert marker.read_bytes() == before
    assert [path.name for path in (project.folder / "st").iterdir()] == ["store.json"]


def test_an_empty_message_is_not_run(project: Project) -> None:
    for message, said in (("", None), ("  \n", None), ("-", "\n")):
        done = project.teamgraph("run", "desk.yaml", message, "--model", "echo", said=said)
        assert done.exit_code == 2
        assert done.stderr == "error: the message is empty; write something\n"
    assert not (project.folder / ".teamgraph").exists()


def test_an_empty_id_is_refused(project: Project) -> None:
    for name in ("--user", "--session"):
        done = project.teamgraph("run", "desk.yaml", "hello", "--model", "echo", name, "")
        assert done.exit_code == 2
        assert "is empty; leave it out where there is none" in done.stderr


def test_wrong_usage_is_told_with_what_was_meant(project: Project) -> None:
    command = project.teamgraph("chek", "desk.yaml")
    option = project.teamgraph("run", "desk.yaml", "hello", "--modle", "echo")
    assert (command.exit_code, option.exit_code) == (2, 2)
    assert "check" in command.stderr
    assert "--model" in option.stderr
