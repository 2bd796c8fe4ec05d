"""The commands by name, and what each is for; their modules are imported when they are called.

What makes a function a command: grouped options, readable errors, documented exit codes.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from ..errors import TeamgraphError
from .failure import NOT_HELD, exit_code, report, report_fault

DEBUG = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", show_default=False)
]
BROKEN_PIPE = 141


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of `app`.

    A parameter that is a dataclass stands for as many options as it has fields, so that options
    which go together are declared once. `--debug` comes with every command.
    """

    def add(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name)(_guarded(function))
        return function

    return add


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    parameters, groups = _unfolded(function)

    def call(*, debug: bool, **given: Any) -> None:  # noqa: ANN401  whatever the options are
        with _told_errors(debug=debug):
            for group, (made, names) in groups.items():
                given[group] = made(**{name: given.pop(name) for name in names})
            function(**given)
            sys.stdout.flush()

    call.__name__ = function.__name__
    call.__doc__ = function.__doc__
    call.__annotations__ = {}
    setattr(call, "__signature__", inspect.Signature(parameters))  # noqa: B010  it has no type
    return call


@contextmanager
def _told_errors(*, debug: bool) -> Generator[None]:
    """End with a readable error and its exit code; with `debug` with a traceback."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except BrokenPipeError as error:
        _let_go_of_stdout()
        raise typer.Exit(BROKEN_PIPE) from error
    except Exception as error:
        if debug:
            raise
        if isinstance(error, TeamgraphError):
            report(error)
            raise typer.Exit(exit_code(error)) from error
        report_fault(error)
        raise typer.Exit(NOT_HELD) from error


def _unfolded(
    function: Callable[..., None],
) -> tuple[list[inspect.Parameter], dict[str, tuple[type[Any], list[str]]]]:
    """The options of a command, and which of them make each of its dataclasses."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type[Any], list[str]]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        made: object = parameter.annotation
        if isinstance(made, type) and is_dataclass(made):
            hints = get_type_hints(made, include_extras=True)
            groups[parameter.name] = (made, [field.name for field in fields(made)])
            parameters += [_option(one.name, hints[one.name], one.default) for one in fields(made)]
        else:
            parameters.append(_option(parameter.name, parameter.annotation, parameter.default))
    return [*parameters, _option("debug", DEBUG, default=False)], groups


def _option(name: str, annotation: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _let_go_of_stdout() -> None:
    """Nobody reads any more, and Python would complain of it again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


_ABOUT = {
    "init": "Begin a project: a graph, its prompts and their tests.",
    "run": "Put one message through a graph and print the answer.",
    "chat": "Talk to a graph, turn after turn, in one session.",
    "check": "Say whether graphs hold, and everything that does not.",
    "render": "Render every prompt of a run, without a model.",
    "prompts": "Check, render, compare and measure templates; show those that were once used.",
    "draw": "Draw a graph: Mermaid, SVG or PNG.",
    "schema": "Print the JSON Schema of graph files, for completion in editors.",
    "sessions": "List, show, search, rename, export, import and delete sessions.",
    "runs": "List runs, show what each node did, take up those cut short, fork one, delete one.",
    "store": "Verify the files of a store, repair them, and say how much there is in them.",
}


class Commands(TyperGroup):
    """A group that knows its commands by name, and imports one only to call it."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  typer's signature
        super().__init__(**attributes)
        for name, about in _ABOUT.items():
            self.add_command(TyperCommand(name, help=about))

    def resolve_command(
        self,
        ctx: Any,  # noqa: ANN401  typer keeps the types of click to itself
        args: list[str],
    ) -> tuple[str | None, Any, list[str]]:
        """The command itself in place of its name."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in _ABOUT:
            command = get_command(import_module(f".{name}", __package__).app)
        return name, command, rest


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 it did not hold; 2 it could not be tried; 130 interrupted.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"teamgraph {version('teamgraph')}")
        raise typer.Exit


@app.callback()
def teamgraph(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Declare a team of LLM agents as a graph, run it, and see why it said what it said."""
