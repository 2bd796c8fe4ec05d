"""At a terminal: moving lines, colours, pages, and no control characters from anybody's texts."""

from __future__ import annotations

import re

from .conftest import Project

COLOUR = "\x1b["


def test_each_node_is_shown_while_it_is_under_way_and_when_it_is_done(project: Project) -> None:
    terminal = project.terminal("run", "desk.yaml", "hello", "--model", "echo")
    assert terminal.end() == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.shown)
    assert "router (router)" in plain
    assert "+ router: chose billing" in plain
    assert "\r\nbilling: echo: hello\r\n" in plain
    assert COLOUR in terminal.shown


def test_an_answer_cannot_steer_the_terminal(project: Project) -> None:
    message = "red \x1b[31malert\x07 \u202egnp"
    terminal = project.terminal("run", "desk.yaml", message, "--model", "echo", "--no-stream")
    assert terminal.end() == 0
    assert "echo: red \u241b[31malert\u2407 \\u202egnp" in terminal.shown


def test_without_colour_nothing_is_coloured(project: Project) -> None:
    project.more["NO_COLOR"] = "1"
    terminal = project.terminal("check", "nowhere.yaml")
    assert terminal.end() == 2
    assert "\x1b[31m" not in terminal.shown


def test_a_table_is_drawn_at_a_terminal(project: Project) -> None:
    project.teamgraph("run", "desk.yaml", "hello", "--model", "echo", "--session", "s")
    terminal = project.terminal("sessions", "list")
    assert terminal.end() == 0
    assert "first message" in terminal.shown
    assert "\u2500\u2500\u2500" in terminal.shown
    assert "\t" not in terminal.shown


def test_a_long_session_is_shown_page_by_page(project: Project) -> None:
    for _ in range(4):
        project.teamgraph("run", "desk.yaml", "line\n" * 9, "--model", "echo", "--session", "s")
    pager = project.write("pager", "#!/bin/sh\necho paged; cat\n")
    pager.chmod(0o755)
    project.more["PAGER"] = str(pager)
    project.more["LINES"] = "24"
    terminal = project.terminal("sessions", "show", "s")
    assert terminal.end() == 0
    assert "paged" in terminal.shown
    short = project.terminal("sessions", "list")
    assert short.end() == 0
    assert "paged" not in short.shown


def test_a_png_is_not_written_to_a_terminal(project: Project) -> None:
    terminal = project.terminal("draw", "desk.yaml", "--format", "png")
    assert terminal.end() == 2
    assert "write it to a file with -o" in terminal.shown


def test_a_run_that_fails_while_it_answers_leaves_the_terminal_in_order(project: Project) -> None:
    project.write("own.py", "def fail(message):\n    raise ValueError('no\\x1b[2J')\n")
    project.write("one.yaml", "name: one\nnodes:\n  a: {kind: python, call: 'own:fail'}\n")
    terminal = project.terminal("run", "one.yaml", "hello", "--allow", "own")
    assert terminal.end() == 1
    assert "no\u241b[2J" in terminal.shown
    hidden, shown = (terminal.shown.count(f"\x1b[?25{letter}") for letter in "lh")
    assert hidden == shown
