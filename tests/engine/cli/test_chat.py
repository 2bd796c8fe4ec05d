"""`teamgraph chat`: turn after turn in one session."""

from __future__ import annotations

import json

import pytest

from tests.stub import StubAnswer, StubProvider

from .conftest import Project


def test_every_line_is_a_turn_of_one_session(project: Project) -> None:
    words = ("chat", "desk.yaml", "--model", "echo", "--user", "ann", "--session", "s")
    done = project.teamgraph(*words, said="one\n\n  \ntwo")
    assert done.exit_code == 0
    assert done.stdout == "echo: one\necho: two\n"
    shown = project.teamgraph("sessions", "show", "s", "--user", "ann", "--json")
    assert [turn["input"] for turn in json.loads(shown.stdout)["turns"]] == ["one", "two"]


def test_the_session_and_the_command_to_continue_it_are_printed(project: Project) -> None:
    first = project.teamgraph("chat", "desk.yaml", "--model", "echo", said="one\n")
    command = first.stderr.partition("continue with: teamgraph ")[2].split()
    session = command[command.index("--session") + 1]
    assert first.stderr.startswith(f"session {session}; ")
    again = project.teamgraph(*command, said="two\n")
    assert again.stdout == "echo: two\n"
    shown = project.teamgraph("sessions", "show", session, "--json")
    assert len(json.loads(shown.stdout)["turns"]) == 2


def test_a_turn_that_fails_does_not_end_the_talk(project: Project) -> None:
    project.write(
        "moody.py", "async def mood(message):\n    return 'fine' if message == 'hi' else 1 / 0\n"
    )
    project.write("one.yaml", "name: one\nnodes:\n  a: {kind: python, call: 'moody:mood'}\n")
    done = project.teamgraph("chat", "one.yaml", "--allow", "moody", said="bad\nhi\n")
    assert done.exit_code == 0
    assert done.stdout == "fine\n"
    assert "error: node 'a' failed: ZeroDivisionError: division by zero" in done.stderr
    assert "resume it: teamgraph runs resume " in done.stderr


def test_what_no_turn_can_mend_ends_the_talk(project: Project) -> None:
    project.write("file", "")
    words = ("chat", "desk.yaml", "--model", "echo", "--store", "file")
    done = project.teamgraph(*words, said="one\ntwo\n")
    assert done.exit_code == 2
    assert done.stderr.count("a store is a directory") == 1


def test_at_a_terminal_ctrl_c_ends_the_turn_and_then_the_talk(
    project: Project, stub: StubProvider
) -> None:
    project.more["KEY"] = "sk-stub"
    model = f"{{id: openai/stub, api_base: '{stub.base_url}', api_key_env: KEY}}"
    project.write("one.yaml", f"name: one\nmodel: {model}\nnodes:\n  only: {{}}\n")
    stub.push(StubAnswer(text="a long answer", fault="stall"), "short")
    terminal = project.terminal("chat", "one.yaml", "--session", "s")
    terminal.wait_for("> ")
    terminal.press("hello\n")
    terminal.wait_for("a lo")
    terminal.interrupt()
    terminal.wait_for("cancelled; finished nodes are stored")
    terminal.wait_for("> ")
    terminal.press("again\n")
    terminal.wait_for("short")
    terminal.wait_for("done in ")
    terminal.wait_for("\n> ")
    terminal.interrupt()
    assert terminal.end() == 0
    assert "continue with: teamgraph chat one.yaml --session s" in terminal.shown
    turns = json.loads(project.teamgraph("runs", "list", "--session", "s", "--json").stdout)
    assert [turn["status"] for turn in turns] == ["done", "cancelled"]


def test_at_a_terminal_ctrl_d_ends_the_talk(project: Project) -> None:
    terminal = project.terminal("chat", "desk.yaml", "--model", "echo", "--session", "s")
    terminal.wait_for("> ")
    terminal.press("\x04")
    assert terminal.end() == 0
    assert "continue with: " in terminal.shown


def test_a_reader_that_leaves_ends_the_talk(project: Project) -> None:
    script = "set -o pipefail; yes hello | head -5 | $teamgraph chat desk.yaml --model echo | :"
    done = project.shell(script)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--last", "--continue"])
def test_the_last_session_of_a_user_is_continued(project: Project, option: str) -> None:
    words = ("chat", "desk.yaml", "--model", "echo", "--user", "ann")
    for session in ("a", "b"):
        project.teamgraph(*words, "--session", session, said="one\n")
    project.teamgraph("chat", "desk.yaml", "--model", "echo", "--session", "c", said="one\n")
    done = project.teamgraph(*words, option, said="two\n")
    assert (done.exit_code, done.stdout) == (0, "echo: two\n")
    assert done.stderr.startswith("session b with 1 turn so far; Ctrl-D ends the chat\n")
    shown = project.teamgraph("sessions", "show", "b", "--user", "ann", "--json")
    assert [turn["input"] for turn in json.loads(shown.stdout)["turns"]] == ["one", "two"]


def test_without_a_session_to_continue_there_is_an_error(project: Project) -> None:
    words = ("chat", "desk.yaml", "--model", "echo", "--last")
    project.teamgraph(*words[:-1], "--user", "ann", said="one\n")
    bobs = project.teamgraph(*words, "--user", "bob", said="two\n")
    nobodys = project.teamgraph(*words, said="two\n")
    assert (bobs.exit_code, nobodys.exit_code) == (1, 1)
    left_out = "no session in .teamgraph to continue; leave out --last to begin one\n"
    assert bobs.stderr == f"error: user 'bob' has {left_out}"
    assert nobodys.stderr == f"error: there is {left_out}"


def test_a_session_by_its_name_is_not_the_last_one_too(project: Project) -> None:
    words = ("chat", "desk.yaml", "--model", "echo", "--last", "--session", "s")
    done = project.teamgraph(*words, said="one\n")
    assert done.exit_code == 2
    assert "--last and --session cannot be combined" in done.stderr
