"""`teamgraph` itself: help, version, completion, and nothing imported before it is needed."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import pytest
from typer import Context
from typer.main import get_command

from teamgraph.engine.cli import app, main
from teamgraph.engine.cli.command import reflow

from .conftest import Project


def command_names() -> dict[str, tuple[str, ...]]:
    """Every command, with those in it if it is a group."""
    root: Any = get_command(app)
    found: dict[str, tuple[str, ...]] = {}
    for name in root.commands:
        _, command, _ = root.resolve_command(Context(root), [name])
        found[name] = tuple(getattr(command, "commands", ()))
    return found


COMMANDS = command_names()
GROUPS = {name: inner for name, inner in COMMANDS.items() if inner}
ALL_COMMANDS = (
    (),
    *((name,) for name in COMMANDS),
    *((group, name) for group, names in GROUPS.items() for name in names),
)


def test_the_help_names_every_command(project: Project) -> None:
    done = project.teamgraph("--help")
    assert done.exit_code == 0
    for name in COMMANDS:
        assert f" {name} " in done.stdout


def test_every_command_has_help_of_its_own(project: Project) -> None:
    for name in COMMANDS:
        done = project.teamgraph(name, "--help")
        assert done.exit_code == 0
        assert f"Usage: teamgraph {name}" in done.stdout.replace("root", "teamgraph")


@pytest.mark.parametrize("words", ALL_COMMANDS, ids=" ".join)
def test_the_paragraphs_of_a_help_flow(project: Project, words: tuple[str, ...]) -> None:
    project.more["COLUMNS"] = "80"
    shown = project.teamgraph(*words, "--help").stdout
    lines = [line.strip() for line in re.split("\n[A-Z][a-z]+:\n", shown)[0].splitlines()[1:]]
    for line, following in pairwise(lines):
        first_word = following.partition(" ")[0]
        if line and following and not following.startswith(("#", "$")):
            assert len(f"  {line} {first_word}") > 78, (line, following)


def test_lists_and_commands_in_a_help_stay_lines() -> None:
    text = """One
    two.

    - first
      more
    - second

    Run:
    $ command
    """
    assert reflow(text) == "One two.\n\n- first more\n- second\n\nRun:\n$ command"


def test_a_flag_does_not_look_as_if_it_took_a_value(project: Project) -> None:
    for words in ALL_COMMANDS[1:]:  # typer declares the options of completion
        assert "<bool>" not in project.teamgraph(*words, "--help").stdout.partition("--help")[0]


def test_the_exit_codes_are_in_every_help_once(project: Project) -> None:
    for words in ALL_COMMANDS:
        if words not in [(group,) for group in GROUPS]:
            assert project.teamgraph(*words, "--help").stdout.count("Exit code") == 1, words


def test_the_help_of_a_command_is_about_that_command_alone(project: Project) -> None:
    for name in COMMANDS:
        assert "completion" not in project.teamgraph(name, "--help").stdout


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (("run",), "{GRAPH} {MESSAGE}"),
        (("render",), "{GRAPH} [MESSAGE]"),
        (("check",), "[GRAPH]..."),
        (("prompts", "update"), "[PATH]..."),
        (("runs", "delete"), "{RUN_ID}"),
        (("runs", "show"), "[RUN_ID]"),
        (("runs", "resume"), "[RUN_ID]"),
        (("sessions", "delete"), "[ID]"),
    ],
)
def test_the_usage_names_what_is_to_be_given(
    project: Project, words: tuple[str, ...], usage: str
) -> None:
    assert f"[OPTIONS] {usage}\n" in project.teamgraph(*words, "--help").stdout


def test_without_a_command_the_help_is_shown(project: Project) -> None:
    for words in ((), ("sessions",), ("runs",)):
        assert "Usage: " in project.teamgraph(*words).output


def test_the_version_is_that_of_the_package(project: Project) -> None:
    assert project.teamgraph("--version").stdout == f"teamgraph {version('teamgraph')}\n"


GRAPHS = ("networkx", "jinja2", "ruamel", "litellm", "teamgraph.engine.graph.graph")


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("--help", ("pydantic", "rich", "tinydb", "importlib.metadata", *GRAPHS)),
        ("sessions list", ("rich", "teamgraph.engine.run.runner", *GRAPHS)),
    ],
)
def test_a_command_waits_for_nothing_that_it_does_not_need(
    project: Project, command: str, names: tuple[str, ...]
) -> None:
    code = (
        "import sys\nfrom teamgraph.engine.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded', [name for name in {names} if name in sys.modules])"
    )
    project.write("help.py", code)
    done = project.shell(f"{sys.executable} help.py {command}")
    assert done.stdout.endswith("loaded []\n")


def test_shells_complete_commands_and_their_options(project: Project) -> None:
    complete = "COMP_WORDS='{0}' COMP_CWORD={1} _TEAMGRAPH_COMPLETE=complete_bash {2}"
    program = f"{sys.executable} -m teamgraph"
    commands = project.shell(complete.format("teamgraph ch", 1, program))
    options = project.shell(complete.format("teamgraph run --mo", 2, program))
    assert commands.stdout.split() == ["chat", "check"]
    assert options.stdout.split() == ["--model"]
    unknown = project.shell(complete.format("teamgraph zzz --mo", 2, program))
    assert (unknown.returncode, unknown.stdout.split()) == (0, [])


def test_importing_the_module_runs_nothing() -> None:
    assert import_module("teamgraph.__main__").main is main
