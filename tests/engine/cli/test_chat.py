"""`teamgraph chat`: turn after turn in one session."""

from __future__ import annotations

import json

import pytest

from tests.stub import StubAnswer, StubProvider

from .conftest import DESK, Project


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
    terminal.wait_for("\x1b[?2004h> ")
    terminal.interrupt()
    assert terminal.end() == 0
    assert "continue with: teamgraph chat one.yaml --session s" in terminal.shown
    turns = json.loads(project.teamgraph("runs", "list", "--session", "s", "--json").stdout)
    assert [turn["status"] for turn in turns] == ["done", "cancelled"]


COMMANDS = {
    "/history": "answer: echo: one",
    "/state": '"mood": "calm"',
    "/summary": "no summary so far",
    "/session": "continue with: teamgraph chat desk.yaml --model echo --session s",
    "/help": "/undo     delete the last turn",
    "/prompt": "error: name a node; these did: router, billing",
    "/prompt history": "error: 'history' asked no model in the last turn; these did: router, b",
    "/prompt billing": "      You know the prices",
    "/hepl": "error: there is no command '/hepl'; did you mean '/help'? (as a message: //hepl)",
    "/x": "error: there is no command '/x'; /help lists them (as a message: //x)",
}


def test_a_line_with_a_slash_is_a_command_and_no_message(project: Project) -> None:
    project.write("desk.yaml", f"{DESK}state: {{mood: calm}}\n")
    lines = ["one", *COMMANDS, "//hepl", "/etc/hosts has what?", "/exit", "never sent"]
    words = ("chat", "desk.yaml", "--model", "echo", "--session", "s")
    done = project.teamgraph(*words, said="\n".join(lines))
    assert (done.exit_code, done.stdout) == (
        0,
        "echo: one\necho: /hepl\necho: /etc/hosts has what?\n",
    )
    said = done.stderr
    for told in COMMANDS.values():
        assert told in said
        said = said.partition(told)[2]


def test_commands_of_a_talk_that_has_not_begun(project: Project) -> None:
    lines = "/history\n/state\n/summary\n/undo\n/prompt billing\n"
    done = project.teamgraph("chat", "desk.yaml", "--model", "echo", said=lines)
    told = ["no turns so far", "{}", "no summary so far", "nothing to undo"]
    assert done.stderr.splitlines()[1:5] == told
    assert "error: no turn so far, so no prompt was sent" in done.stderr


def test_undo_takes_the_last_turn_back(project: Project) -> None:
    words = ("chat", "desk.yaml", "--model", "echo", "--session", "s")
    project.teamgraph(*words, said="one\ntwo\n/undo\nthree\n")
    shown = json.loads(project.teamgraph("sessions", "show", "s", "--json").stdout)
    assert [turn["input"] for turn in shown["turns"]] == ["one", "three"]


def test_a_summary_is_shown_in_the_talk(project: Project) -> None:
    words = "name: two\nmodel: echo\nnodes:\n  a: {}\n  summary: {kind: summarizer}\noutput: a\n"
    project.write("two.yaml", words)
    done = project.teamgraph("chat", "two.yaml", said="one\n/summary\n")
    assert "summary of 1 turn" in done.stderr


def test_a_talk_that_goes_on_shows_where_it_stood_unless_it_is_quiet(project: Project) -> None:
    words = ("chat", "desk.yaml", "--model", "echo")
    project.teamgraph(*words, said="one\ntwo\n")
    again = project.teamgraph(*words, "--last", said="")
    assert " with 2 turns so far; /help lists commands, Ctrl-D ends it\n2. " in again.stderr
    assert "\n  user: two\n  answer: echo: two\n" in again.stderr
    quiet = project.teamgraph(*words, "--last", "--quiet", said="three\n")
    assert (quiet.stdout, quiet.stderr.strip()) == ("echo: three\n", "")


def test_a_message_is_written_in_an_editor(project: Project) -> None:
    editor = project.write("editor", '#!/bin/sh\nprintf " and more" >> "$1"\n')
    editor.chmod(0o755)
    project.more["EDITOR"] = str(editor)
    words = ("chat", "desk.yaml", "--model", "echo")
    assert project.teamgraph(*words, said="/edit some\n").stdout == "echo: some and more\n"
    project.more["VISUAL"] = "false"
    failed = project.teamgraph(*words, said="/edit\n")
    assert "error: the editor 'false' failed; set EDITOR to another" in failed.stderr


def test_at_a_terminal_lines_are_pasted_recalled_and_cleared(project: Project) -> None:
    project.teamgraph("chat", "desk.yaml", "--model", "echo", said="from before\n")
    terminal = project.terminal("chat", "desk.yaml", "--model", "echo", "--session", "s")
    terminal.wait_for("> ")
    terminal.press("\x1b[200~one\rtwo\x1b[201~")
    terminal.wait_for("two")
    terminal.press("\r")
    terminal.wait_for("chose billing")
    terminal.wait_for("billing: echo: one\r\ntwo")
    terminal.wait_for("> ")
    terminal.press("half a line")
    terminal.wait_for("half a line")
    terminal.interrupt()
    terminal.wait_for("> ")
    terminal.press("\x1b[A\x1b[A")
    terminal.wait_for("from before")
    terminal.press("\r")
    terminal.wait_for("billing: echo: from before")
    terminal.wait_for("\x1b[?2004h> ")
    terminal.interrupt()
    assert terminal.end() == 0
    shown = json.loads(project.teamgraph("sessions", "show", "s", "--json").stdout)
    assert [turn["input"] for turn in shown["turns"]] == ["one\ntwo", "from before"]


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
    assert done.stderr.startswith("session b with 1 turn so far; /help lists commands, ")
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
