"""What makes a function a command: option groups, help, error reports and exit codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from teamgraph.engine.cli.command import command, exit_code
from teamgraph.errors import (
    AnswerError,
    Changed,
    Conflict,
    DamagedStore,
    DefinitionError,
    InputError,
    ModelError,
    NodeError,
    NoModelError,
    NotFound,
    SessionBusy,
    StoreError,
    TeamgraphError,
    UnknownVersion,
)

app = typer.Typer()


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option()] = 1
    height: Annotated[int, typer.Option()] = 2


@command(app)
def measure(name: Annotated[str, typer.Argument()], size: Size, *, loud: bool = False) -> None:
    """Say how large a thing is."""
    if size.width < 0:
        raise ValueError("a width under nothing")
    typer.echo(f"{name} {size.width}x{size.height}{'!' if loud else ''}")


def test_a_dataclass_stands_for_its_options() -> None:
    done = CliRunner().invoke(app, ["door", "--height", "9", "--loud"])
    assert done.stdout == "door 1x9!\n"


def test_the_help_names_every_option_once() -> None:
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"})
    for name in ("--width", "--height", "--loud", "--debug"):
        assert done.stdout.count(f"{name} ") == 1
    assert "Say how large a thing is." in done.stdout


def test_an_internal_error_is_one_line() -> None:
    done = CliRunner().invoke(app, ["door", "--width", "-1"])
    assert done.exit_code == 1
    assert done.stderr == (
        "error: internal error: ValueError: a width under nothing; please report it "
        "with the traceback that --debug shows\n"
    )


def test_with_debug_the_error_is_raised() -> None:
    done = CliRunner().invoke(app, ["door", "--width", "-1", "--debug"])
    assert isinstance(done.exception, ValueError)


def caused(error: NodeError, cause: Exception) -> NodeError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DefinitionError([]), 2),
        (InputError("empty"), 2),
        (NoModelError("none", model=""), 2),
        (DamagedStore("torn"), 2),
        (UnknownVersion("newer"), 2),
        (Changed(["a"]), 2),
        (StoreError("full"), 2),
        (caused(NodeError("a", "no model"), NoModelError("none", model="")), 2),
        (caused(NodeError("a", "down"), ModelError("down", model="m", retryable=True)), 2),
        (NotFound("nothing"), 1),
        (SessionBusy("busy"), 1),
        (Conflict("moved"), 1),
        (NodeError("a", "wrong"), 1),
        (caused(NodeError("a", "refused"), ModelError("no", model="m", status=400)), 1),
        (caused(NodeError("a", "no label"), AnswerError("no label", model="m")), 1),
        (TeamgraphError("other"), 1),
    ],
)
def test_the_exit_code_tells_a_failure_from_what_could_not_start(
    error: TeamgraphError, code: int
) -> None:
    assert exit_code(error) == code
