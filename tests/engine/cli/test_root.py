"""`teamgraph` itself: help, version, completion, and nothing imported before it is needed."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version

import pytest

from teamgraph.engine.cli import main

from .conftest import Project

COMMANDS = (
    "init",
    "run",
    "chat",
    "check",
    "render",
    "prompts",
    "draw",
    "schema",
    "sessions",
    "runs",
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


def test_the_help_of_a_command_is_about_that_command_alone(project: Project) -> None:
    for name in COMMANDS:
        assert "completion" not in project.teamgraph(name, "--help").stdout


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (("run",), "{GRAPH} {MESSAGE}"),
        (("render",), "{GRAPH} [MESSAGE]"),
        (("check",), "{GRAPH}..."),
        (("prompts", "update"), "[PATH]..."),
        (("runs", "show"), "{RUN_ID}"),
        (("runs", "resume"), "[RUN_ID]"),
        (("sessions", "delete"), "[ID]"),
    ],
)
def test_the_usage_names_what_is_to_be_given(
    project: Project, words: tuple[str, ...], usage: str
) -> None:
    assert f"[OPTIONS] {usage} " in project.teamgraph(*words, "--help").stdout


def test_without_a_command_the_help_is_shown(project: Project) -> None:
    for words in ((), ("sessions",), ("runs",)):
        assert "Usage: " in project.teamgraph(*words).output


def test_the_version_is_that_of_the_package(project: Project) -> None:
    assert project.teamgraph("--version").stdout == f"teamgraph {version('teamgraph')}\n"


def test_the_help_waits_for_nothing_that_it_does_not_need(project: Project) -> None:
    names = (
        "pydantic",
        "networkx",
        "jinja2",
        "ruamel",
        "tinydb",
        "litellm",
        "teamgraph.engine.graph.graph",
    )
    code = (
        "import sys\nfrom teamgraph.engine.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded', [name for name in {names} if name in sys.modules])"
    )
    project.write("help.py", code)
    done = project.shell(f"{sys.executable} help.py --help")
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
